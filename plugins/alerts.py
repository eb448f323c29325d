"""Keep the callback's old path: runs that were queued before there was the package sim2edge_airflow call it when late.

Needed until those runs have ended. Goes with version 0.2.
"""

from sim2edge_airflow.alerts.report import report_late

__all__ = ["report_late"]
