"""The assets that connect the DAGs: one a kind of artifact. The batch is the partition of all of them.

An event of an asset carries in `extra` the artifact's `reference`, and the `preset` and `overrides` it was made with,
so that the DAG it starts goes on with the same.
"""

from airflow.sdk import Asset

EPISODES = Asset("episodes")
FRAMES = Asset("frames")
DATASET = Asset("dataset")
MODEL = Asset("model")
VERDICT = Asset("verdict")
"""Of accepted models only: a refused verdict is an artifact, but no event."""
RELEASE = Asset("release")
ROLLOUT = Asset("rollout")
