"""Measure speed and memory, each against a peer or a limit in the same run.

    make bench                              # everything, about 3 minutes on 2 cores
    python -m benchmarks detector ota       # selected measurements
    python -m benchmarks --json             # one JSON object per line on stdout, the table on stderr

Each measurement is a module. Its input is produced on the spot: `workplace.py` runs the real stages on a small batch,
against an S3 server of its own. Speed is never a test: the exit code is 0 unless a measurement crashes.
"""
