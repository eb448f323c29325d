"""Run what the embedded stack and the system in containers share: the S3 server, MLflow, files of roles, ports."""
