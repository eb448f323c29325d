"""
### sim_capture: one batch of simulated drives

`capture` drives a robot through random rooms and commits the batch's **episodes**; `data_cleaning` follows by itself.

**Start a batch**: *Trigger*, with the batch id (`demo-1`) as the partition key, or

    POST /api/v2/dags/sim_capture/dagRuns
    {"logical_date": null, "partition_key": "demo-1", "conf": {"preset": "demo"}}

A batch that is there already is a cache hit, and the chain goes on with it.

**Backfill**, one batch a day, named by its date:

    airflow backfill create --dag-id sim_capture --from-date 2026-01-01 --to-date 2026-01-07

It runs in the pool `backfill`, behind live batches. `docs/backfills.md`: its settings, and how to do things again.

**Every night**: `[sim2edge] capture_cron = 0 2 * * *` in `airflow.cfg`. Empty: nothing starts by itself.

**On several workers**: `[sim2edge] capture_shards = 8`. Then `capture_shard` captures eight shares of the batch, each
on whatever worker is free, and `capture` makes the batch of them: the same batch as when it is captured whole. Clear a
share that failed alone; the others are there.

**When it fails**: red and not retried is bad config: the last line of the log names the field. Anything else was
retried; clear the task once its cause is gone. Nothing half-written is ever visible.

Owner: whoever owns the simulators.
"""

from datetime import timedelta

from airflow.sdk import dag
from airflow.sdk.configuration import conf

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import EPISODES
from sim2edge_airflow.operators.stage_in_shards import stage_in_shards
from sim2edge_airflow.run_settings import DEFAULT_ARGS, PARAMS
from sim2edge_airflow.scheduling.batch_timetable import BatchTimetable

CRON = conf.get("sim2edge", "capture_cron")


@dag(
    dag_id="sim_capture",
    description="Simulated drives of one batch",
    doc_md=__doc__,
    schedule=BatchTimetable(CRON or "@daily", automatic=bool(CRON)),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "whoever owns the simulators"},
    deadline=late_batch(__doc__),
    params=PARAMS,
    tags=["sim2edge", "data"],
)
def sim_capture() -> None:
    """Capture."""
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
