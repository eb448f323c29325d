"""Report what failed or is late: which alert, to which channel, by which runbook."""
