"""Run a stage as a process, a Docker container or a Kubernetes pod."""
