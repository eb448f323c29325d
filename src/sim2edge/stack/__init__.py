"""Start and stop the local stack: SeaweedFS (S3), MLflow and Airflow on loopback.

`sim2edge up`, `status`, `down` and `env` are in `commands.py`, `airflow` and `trigger` in a module each; code that
needs the stack uses `Stack` in `client.py`. Nothing here imports airflow or mlflow: they run as processes of their own
environments.
"""
