"""The files of a frames artifact, for the stages that make one: the columns, the checks of values, the report.

docs/data-format.md specifies the files. Light to import: the configs of stages are built on `config.py`.
"""
