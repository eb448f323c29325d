"""Move a ring of the fleet to a release that exists: the task of `fleet_change`."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Context, Param

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.manifest import split_reference
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import batch_param

PARAMS = {
    "batch": batch_param("fleet_change"),
    "release": Param(
        "", type="string", maxLength=200, title="Release", description_md="**release/BATCH/ID**. **Required**."
    ),
    "ring": Param(
        "canary", type="string", maxLength=31, title="Ring", description_md="The ring that gets it. Default: canary."
    ),
    "reason": Param("", type="string", maxLength=300, title="Reason", description_md="One sentence. **Required**."),
    "expected": Param(
        "",
        type=["null", "string"],
        maxLength=200,
        title="What the ring has",
        description_md="The rollout that the ring has now, **rollout/BATCH/ID**: if it has another one, nothing is "
        "done. Default: not compared.",
    ),
}


class RingOperator(StageOperator):
    """Pushes the release that the run names to the ring that it names: `sim2edge push --input release=... ring=...`."""

    def execute(self, context: Context) -> str:
        """Push the release, and return the reference of the rollout.

        Raises:
            AirflowFailException: the release or the ring is invalid, or the ring has moved since it was decided.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        params, batch = context["params"], context["dag_run"].partition_key
        plainly(lambda: check(connect_bus(), params, batch))
        self.inputs = {"release": params["release"]}
        self.overrides = [f"ring={params['ring']}"]
        return super().execute(context)


def check(bus: Bus, params: Mapping[str, Any], batch: str | None) -> None:
    """Check that a ring is where it was when its move was decided.

    Raises:
        BadInput: it is not, or the release is none, or is filed under another batch than the run's.
    """
    if not params["reason"].strip():
        raise BadInput("reason: missing: one sentence, why the ring moves")
    kind, partition, _ = split_reference(params["release"])
    if (kind, partition) != ("release", batch):
        raise BadInput(f"release: '{params['release']}' is not release/{batch}/<id>: the run's partition key names it")
    now = bus.read_ref(f"refs/rings/{params['ring']}")
    have = now.target if now else None
    bus.open(params["release"])
    if params["expected"] and have != params["expected"] and release_of(bus, have) != params["release"]:
        raise BadInput(f"ring {params['ring']} has moved to {have or 'nothing'} since: look at it, and decide again")


def release_of(bus: Bus, rollout: str | None) -> str | None:
    """Return the release of a rollout."""
    return next(iter(bus.open(rollout).inputs.get("release", ())), None) if rollout else None
