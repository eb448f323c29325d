"""The system in containers, on one host: its secrets, the commands around `docker compose`, and two small services.

`secrets` makes what `docker-compose.yaml` mounts; `commands` is `sim2edge compose ...`; `batch` runs one batch through
the system; `mlflow_server` and `camera` are what two of the services run.
"""
