"""Airflow for sim2edge: operators, runtimes, triggers, pages and alerts, as an Airflow provider.

    from sim2edge_airflow.operators.stage_operator import StageOperator

`provider_info.py` is what Airflow reads of it; `plugin.py` is what it adds to Airflow's processes.
"""
