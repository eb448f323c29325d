"""Show the bus and its lineage inside Airflow's UI."""
