"""Define the assets that connect the DAGs.

Most stand for a kind of artifact, or for a step towards one, and are partitioned by batch. An asset event carries in
`extra` the artifact's `reference` and the `preset` and `overrides` that produced it, so that the DAG it starts uses
the same. Two are hints without a partition: they only wake a DAG that then checks the bus.
"""

from airflow.sdk import Asset, AssetWatcher

from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

DELIVERY = Asset("delivery")
"""A complete batch of the inbox that was registered."""
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
