"""Render pages about the bus and its lineage inside Airflow's UI."""
