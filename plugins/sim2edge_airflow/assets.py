"""Define the assets that connect the DAGs, and what wakes the DAG that watches the inbox.

Most stand for a kind of artifact, or for a step towards one, and are partitioned by batch. An asset event carries in
`extra` the artifact's `reference` and the `preset` and `overrides` that produced it, so that the DAG it starts uses
the same. Two are hints without a partition: they only wake a DAG that then checks the bus.

    [sim2edge] inbox_queue = <URL of an SQS queue>    S3 notifies the queue of each READY.json, the queue wakes the DAG
    [sim2edge] inbox_poll_seconds = 5                 otherwise: poll the inbox that often; 0: never

Whatever is chosen, the sweep every five minutes finds what no event announced.
"""

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger

from sim2edge_airflow.deployment_settings import read_url
from sim2edge_airflow.number_settings import read_number
from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

DELIVERY = Asset("delivery")
"""A complete batch of the inbox that was registered."""
ANNOTATIONS = Asset("annotations")
"""A complete batch of pictures with annotations that was registered."""
EPISODES = Asset("episodes")
FRAMES = Asset("frames")
TRAINING = Asset("training")
"""A training to run, with its reasons in `extra`."""
DATASET = Asset("dataset")
MODEL = Asset("model")
VERDICT = Asset("verdict")
"""Accepted verdicts only: a refused verdict is an artifact, but emits no event."""
RELEASE = Asset("release")
ROLLOUT = Asset("rollout")

ARRIVED = Asset("inbox_arrived")
"""A hint: the inbox has a new batch."""
REQUESTED = Asset(
    "retrain_requested",
    watchers=[AssetWatcher(name="retrain_requests", trigger=BusTrigger("requests", poll_s=2.0, remind_s=600.0))],
)
"""A hint: a training was requested."""


MIN_POLL_S = 0.5
QUEUE_WAIT_S = 10
"""Seconds one request waits for messages (long polling): the queue answers at once when it has one."""


def watched(asset: Asset) -> Asset:
    """Return the asset, with a watcher if this deployment configures one.

    Raises:
        BadInput: the setting is invalid.
    """
    trigger = _trigger()
    watchers = [AssetWatcher(name=f"{asset.name}_watcher", trigger=trigger)] if trigger else []
    return Asset(asset.name, uri=asset.uri, watchers=watchers)


def _trigger() -> BaseEventTrigger | None:
    poll_s = read_number("inbox_poll_seconds", MIN_POLL_S, 3600, or_zero=True)
    if queue := read_url("inbox_queue"):
        from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger

        pause = round(max(poll_s, 1))
        return SqsSensorTrigger(
            queue, aws_conn_id=None, max_messages=10, wait_time_seconds=QUEUE_WAIT_S, waiter_delay=pause
        )
    if not poll_s:
        return None
    from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

    return BusTrigger("arrivals", poll_s)
