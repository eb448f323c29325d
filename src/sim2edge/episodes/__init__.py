"""The files of an episode, for the stages that write one: capture, which simulates it, and ingest, which converts it.

docs/data-format.md specifies the files.
"""
