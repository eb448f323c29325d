"""Choose the asset watcher that wakes `watch_inbox`, by the deployment's settings.

    [sim2edge] inbox_queue = <URL of an SQS queue>    S3 notifies the queue of each READY.json, the queue wakes the DAG
    [sim2edge] inbox_poll_seconds = 5                 otherwise: poll the inbox that often; 0: not at all

The DAG's five-minute sweep runs in any case; with 0 and no queue, it alone wakes the DAG.
"""

from airflow.sdk import Asset, AssetWatcher
from airflow.sdk.configuration import conf
from airflow.triggers.base import BaseEventTrigger

from sim2edge_airflow.number_settings import read_number

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
    if queue := conf.get("sim2edge", "inbox_queue"):
        from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger

        pause = round(max(poll_s, 1))
        return SqsSensorTrigger(
            queue, aws_conn_id=None, max_messages=10, wait_time_seconds=QUEUE_WAIT_S, waiter_delay=pause
        )
    if not poll_s:
        return None
    from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

    return BusTrigger("arrivals", poll_s)
