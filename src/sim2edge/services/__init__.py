"""Run the services that the embedded stack and the system in containers share: S3 server, MLflow, role files, ports."""
