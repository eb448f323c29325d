"""What an episode is on disk, for whoever writes one: capture, which drives it, and ingest, which is given it.

docs/data-format.md specifies the files.
"""
