"""Describe this provider to Airflow: entry point `apache_airflow_provider` of the distribution; imports nothing else.

`OPTIONS` is the only place that describes the settings of `[sim2edge]` and their defaults: Airflow's `conf` takes the
defaults from here, and `make docs` writes docs/settings.md from them.

The plugin (`plugin.py`) is not listed: Airflow loads a provider's plugins only where providers are not discovered
lazily, so it has an entry point of its own, `airflow.plugins`; listed here as well, it would be loaded twice there.
"""

from typing import Any

DISTRIBUTION = "sim2edge"
SECTION = "sim2edge"
FIRST_VERSION = "0.1.0"

# Option to type, default and description. The defaults work without any configuration.
OPTIONS: dict[str, tuple[str, str, str]] = {
    "runtime": ("string", "process", "Where stages run: process, docker or kubernetes; `runtime` of a stage wins."),
    "stages": ("string", "", "File of each stage's image and limits outside of this process; empty: the defaults."),
    "docker_network": ("string", "sim2edge-stages", "Docker network of stage containers; must reach S3 and MLflow."),
    "docker_conn_id": (
        "string",
        "docker_default",
        "Docker connection: registry login and engine; the default may be undefined.",
    ),
    "kubernetes_conn_id": ("string", "kubernetes_default", "Kubernetes connection; the default may be undefined."),
    "aws_conn_id": ("string", "", "AWS connection to S3; empty: the `AWS_*` variables alone."),
    "deployment": ("string", "sim2edge", "Label of this deployment's containers and pods: it removes only its own."),
    "capture_shards": ("integer", "1", "Shards in which a batch is captured in parallel; 1: as a whole."),
    "pool_capture": (
        "integer",
        "2",
        "Initial size of the pool `capture`; resize it in the UI.",
    ),
    "pool_train": ("integer", "2", "Initial size of the pool `train`. A heavy stage takes two slots."),
    "pool_backfill": ("integer", "2", "Initial size of the pool `backfill`: live batches do not wait for backfills."),
    "preset": ("string", "", "Preset (<name>.yaml of `SIM2EDGE_CONF`) of runs that name none; empty: stage defaults."),
    "mlflow_url": ("string", "", "MLflow's URL for browsers, for the links to its runs; empty: no links."),
    "mcap_viewer_url": (
        "string",
        "",
        "A Foxglove-like viewer of logs on the same origin as Airflow, to open drives in; empty: they are downloaded.",
    ),
    "capture_cron": ("string", "", "Cron of new batches, such as `0 2 * * *`; empty: only triggered or backfilled."),
    "release_approval": ("boolean", "false", "Whether a person approves a release before it goes to the fleet."),
    "release_approval_hours": ("float", "24", "Hours after which an unanswered approval counts as rejected."),
    "alert_webhook": ("string", "", "URL to which failures and late batches are posted; usually a secret."),
    "alert_email_to": ("string", "", "E-mail addresses for the same, separated by commas; server: `smtp_default`."),
    "late_after_hours": ("float", "12", "Hours after which an unfinished batch is late; 0: never."),
    "reconcile_after_minutes": ("float", "5", "Minutes after which an event without a run counts as dropped."),
    "inbox_poll_seconds": ("float", "5", "Seconds between two polls of the inbox; 0: only the five-minute sweep."),
    "inbox_queue": ("string", "", "URL of an SQS queue with S3's notifications of new objects: polled, not the inbox."),
    "inbox_overdue_minutes": ("float", "60", "Minutes without a new file after which an incomplete batch is overdue."),
}
SENSITIVE = {"alert_webhook"}
"""Options that Airflow masks, and also reads from a command (`..._CMD`) or a secrets backend (`..._SECRET`)."""

OPERATORS = (
    "stage_operator",
    "register_operator",
    "retrain_operators",
    "release_approval",
    "reap_operator",
    "reconcile_operators",
)
LINKS = ("ArtifactLink", "ManifestLink", "ReportLink", "TrackingLink", "DocumentationLink")


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
    """Return one option in the form of Airflow's schema."""
    kind, default, description = OPTIONS[name]
    return {
        "description": description,
        "version_added": FIRST_VERSION,
        "type": kind,
        "example": None,
        "default": default,
        "sensitive": name in SENSITIVE,
    }
