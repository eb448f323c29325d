"""Speed and memory, measured now, each against a peer or a limit in the same run.

    make bench                              # everything, about 3 minutes on 2 cores
    python -m benchmarks detector ota       # some of it
    python -m benchmarks --json             # one JSON object a line on stdout, the table on stderr

A module a measurement. What they work on is made on the spot: `workplace.py` runs the real stages on a small batch,
against an S3 server of its own. Speed is never a test: the exit code is 0 unless something crashes.
"""
