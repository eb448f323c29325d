"""Run the system in containers on one host: its secrets, the commands around `docker compose`, two small services.

`secrets` creates what `docker-compose.yaml` mounts; `commands` is `sim2edge compose ...`; `batch` runs one batch
through the system; `mlflow_server` and `camera` are run by two of the services.
"""
