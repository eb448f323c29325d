"""
### sim_capture: one batch of simulated drives

`capture` drives a robot through random rooms and commits the batch's **episodes**; `data_cleaning` follows.

**Start a batch**: *Trigger*, with its name (`demo-1`) in the field *Batch*, or

    sim2edge trigger sim_capture --partition demo-1 --preset demo

or

    POST /api/v2/dags/sim_capture/dagRuns
    {"logical_date": null, "partition_key": "demo-1", "conf": {"preset": "demo"}}

A batch that was captured before is a cache hit, and the chain continues with it.

**Backfill**, one batch a day, named by its date:

    sim2edge airflow backfill create --dag-id sim_capture --from-date 2026-01-01 --to-date 2026-01-07

It runs in the pool `backfill`, with lower priority than live batches. `docs/backfills.md`: settings and reprocessing.

**Every night**: `[sim2edge] capture_cron = 0 2 * * *` in `airflow.cfg`. Empty: no schedule.

**On several workers**: `[sim2edge] capture_shards = 8`. Then `capture_shard` captures eight shards of the batch, each
on any free worker, and `capture` gathers them: the same batch as if captured as a whole. Clear only the shard that
failed; the others are kept.

**When it fails**: failed without a retry means bad config: the last line of the log names the field. Other failures
were retried; clear the task once the cause is fixed. Partial results are never visible.

Owner: simulation engineering.
"""

from datetime import timedelta

from airflow.sdk import dag

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import EPISODES
from sim2edge_airflow.deployment_settings import read_cron
from sim2edge_airflow.operators.stage_in_shards import stage_in_shards
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params
from sim2edge_airflow.scheduling.batch_timetable import BatchTimetable

CRON = read_cron("capture_cron")


@dag(
    dag_id="sim_capture",
    description="Simulated drives of one batch",
    doc_md=__doc__,
    schedule=BatchTimetable(CRON or "@daily", automatic=bool(CRON)),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "simulation engineering"},
    deadline=late_batch(__doc__),
    params=run_params("sim_capture"),
    tags=["sim2edge", "data"],
)
def sim_capture() -> None:
    """Capture a batch."""
    stage_in_shards(
        stage="capture",
        setting="capture_shards",
        outlets=[EPISODES],
        execution_timeout=timedelta(hours=6),
        pool="capture",
        pool_slots=2,
        doc_md="Seeded rooms, a robot, a camera and a LiDAR: episodes with ground truth.",
    )


sim_capture()
