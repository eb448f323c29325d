"""Tell Airflow what this provider is: entry point `apache_airflow_provider` of the distribution; loads nothing else.

`OPTIONS` is the one place where the settings of `[sim2edge]` are described, with their defaults: Airflow's `conf` finds
them here when neither the environment nor airflow.cfg says otherwise, and `make docs` writes docs/settings.md.

The plugin (`plugin.py`) is no part of it: Airflow loads a provider's plugins only where providers are not discovered
lazily, so it has an entry point of its own, `airflow.plugins`; named here as well, it would be loaded twice there.
"""

from typing import Any

DISTRIBUTION = "sim2edge"
SECTION = "sim2edge"
FIRST_VERSION = "0.1.0"

# By option: type, default, description. The default is what an installation without any setting works with.
OPTIONS: dict[str, tuple[str, str, str]] = {
    "runtime": ("string", "process", "Where stages run: process, docker or kubernetes; `runtime` of a stage wins."),
    "stages": ("string", "", "File of each stage's image and limits outside of this process; empty: the defaults."),
    "docker_network": ("string", "sim2edge-stages", "Docker network of stage containers: S3 and MLflow are on it."),
    "docker_conn_id": (
        "string",
        "docker_default",
        "Docker connection: registry login and engine; this may be missing.",
    ),
    "kubernetes_conn_id": ("string", "kubernetes_default", "Kubernetes connection; this one may be missing."),
    "aws_conn_id": ("string", "", "AWS connection to S3; empty: the `AWS_*` variables alone."),
    "deployment": ("string", "sim2edge", "Marks this deployment's containers and pods: each removes its own only."),
    "capture_shards": ("integer", "1", "Artifacts that a batch is captured in, at once; 1: as a whole."),
    "pool_capture": (
        "integer",
        "2",
        "First size of the pool `capture`; later ones are chosen in the UI.",
    ),
    "pool_train": ("integer", "2", "First size of the pool `train`. A heavy stage takes two slots."),
    "pool_backfill": ("integer", "2", "First size of the pool `backfill`: live batches do not wait for one."),
    "preset": ("string", "", "Preset (<name>.yaml of `SIM2EDGE_CONF`) of runs that name none; empty: stage defaults."),
    "mlflow_url": ("string", "", "Where browsers find MLflow, for the links to its runs; empty: no links."),
    "capture_cron": ("string", "", "Cron of new batches, such as `0 2 * * *`; empty: only triggered or backfilled."),
    "release_approval": ("boolean", "false", "Whether a person approves a release before it goes to the fleet."),
    "release_approval_hours": ("float", "24", "Hours until silence means no."),
    "alert_webhook": ("string", "", "Address that failures and late batches are posted to; mostly a secret."),
    "alert_email_to": ("string", "", "Addresses for the same by mail, with commas between; server: `smtp_default`."),
    "late_after_hours": ("float", "12", "Hours after which a batch that is not done is late; 0: never."),
    "inbox_poll_seconds": ("float", "5", "Seconds between two looks at the inbox; 0: only the sweep looks."),
    "inbox_queue": ("string", "", "URL of an SQS queue that S3 tells of new objects: asked instead of the inbox."),
    "inbox_overdue_minutes": ("float", "60", "Minutes without a new file after which an unready batch is warned of."),
}
SENSITIVE = {"alert_webhook"}
"""Airflow hides them, and also reads them from a command (`..._CMD`) or a secrets backend (`..._SECRET`)."""

OPERATORS = ("stage_operator", "register_operator", "retrain_operators", "release_approval", "reap_operator")
LINKS = ("ArtifactLink", "ManifestLink", "ReportLink", "TrackingLink")


def get_provider_info() -> dict[str, Any]:
    """Return the description of the provider, by Airflow's provider_info.schema.json."""
    return {
        "package-name": DISTRIBUTION,
        "name": "sim2edge",
        "description": "Stages from simulated drives to signed models, on Airflow.",
        "versions": [FIRST_VERSION],
        "operators": [
            {"integration-name": "sim2edge", "python-modules": [f"sim2edge_airflow.operators.{o}" for o in OPERATORS]}
        ],
        "extra-links": [f"sim2edge_airflow.operators.links.{link}" for link in LINKS],
        "config": {
            SECTION: {
                "description": "How this deployment runs the stages.",
                "options": {name: describe_option(name) for name in OPTIONS},
            }
        },
    }


def describe_option(name: str) -> dict[str, Any]:
    """Return one option as Airflow's schema wants it."""
    kind, default, description = OPTIONS[name]
    return {
        "description": description,
        "version_added": FIRST_VERSION,
        "type": kind,
        "example": None,
        "default": default,
        "sensitive": name in SENSITIVE,
    }
