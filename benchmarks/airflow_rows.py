"""Fill Airflow's database with runs of synthetic batches; run by Airflow's interpreter, for `benchmarks/page.py`.

python benchmarks/airflow_rows.py 1000
"""

import sys
import uuid
from datetime import timedelta

from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.timezone import utcnow
from sqlalchemy import insert

CHAIN = {"sim_capture": ("capture",), "data_cleaning": ("clean",), "train_model": ("augment", "train", "validate")}


def main(batches: int) -> None:
    """Insert one run of each DAG for each batch, each task with an XCom `outcome`."""
    runs, tasks, values = [], [], []
    start, number = utcnow() - timedelta(hours=batches), 0
    for batch in range(batches):
        for dag, stages in CHAIN.items():
            number += 1
            when = start + timedelta(hours=batch)
            run = {"dag_id": dag, "run_id": f"made-up-{batch}"}
            runs.append({**run, "id": number, "run_type": "manual", "state": "success", "run_after": when,
                         "start_date": when, "end_date": when, "partition_key": f"night-{batch:04d}"})  # fmt: skip
            for stage in stages:
                tasks.append({**run, "id": uuid.uuid4(), "task_id": stage, "map_index": -1, "pool": "default_pool",
                              "state": "success", "start_date": when, "end_date": when, "try_number": 1,
                              "max_tries": 1})  # fmt: skip
                values.append({**run, "dag_run_id": number, "task_id": stage, "map_index": -1, "key": "outcome",
                               "value": {"cached": batch % 3 == 0}})  # fmt: skip
    with settings.engine.begin() as connection:
        for model, rows in ((DagRun, runs), (TaskInstance, tasks), (XComModel, values)):
            for first in range(0, len(rows), 500):
                connection.execute(insert(model.__table__), rows[first : first + 500])


if __name__ == "__main__":
    main(int(sys.argv[1]))
