"""Keep the callback's old path: runs queued before the package sim2edge_airflow existed call it when late.

Needed until those runs have ended. To be removed in version 0.2.
"""

from sim2edge_airflow.alerts.report import report_late

__all__ = ["report_late"]
