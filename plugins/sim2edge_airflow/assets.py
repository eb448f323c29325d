"""The assets that connect the DAGs.

Most are a kind of artifact, or what leads to one, and the batch is the partition of all of those. An event of an asset
carries in `extra` the artifact's `reference`, and the `preset` and `overrides` it was made with, so that the DAG it
starts goes on with the same. Two are hints without a partition: they only say that somebody should look.
"""

from airflow.sdk import Asset, AssetWatcher

from sim2edge_airflow.scheduling.bus_trigger import BusTrigger

DELIVERY = Asset("delivery")
"""A batch of the inbox that is complete and was registered."""
EPISODES = Asset("episodes")
FRAMES = Asset("frames")
TRAINING = Asset("training")
"""A training that was decided on, with the reasons for it in `extra`."""
DATASET = Asset("dataset")
MODEL = Asset("model")
VERDICT = Asset("verdict")
"""Of accepted models only: a refused verdict is an artifact, but no event."""
RELEASE = Asset("release")
ROLLOUT = Asset("rollout")

ARRIVED = Asset("inbox_arrived")
"""A hint: something is new in the inbox."""
REQUESTED = Asset(
    "retrain_requested",
    watchers=[AssetWatcher(name="retrain_requests", trigger=BusTrigger("requests", poll_s=2.0, remind_s=600.0))],
)
"""A hint: somebody asked for a training."""
