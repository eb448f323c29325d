"""Send alerts about failed tasks and late batches, with the runbook's advice."""
