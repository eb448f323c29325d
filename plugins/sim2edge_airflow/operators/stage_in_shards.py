"""Split a stage among several workers: one task, or a mapped task with one instance per shard and one that gathers.

    stage_in_shards(stage="capture", setting="capture_shards", outlets=[EPISODES], execution_timeout=...)

The number of shards is a setting of the deployment, `[sim2edge] <setting>`; the artifact does not depend on it.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.configuration import conf

from sim2edge.errors import BadInput
from sim2edge.shards import all_shards, check_count
from sim2edge_airflow.operators.stage_operator import StageOperator


def stage_in_shards(
    *,
    stage: str,
    setting: str,
    outlets: list[Asset],
    execution_timeout: timedelta,
    pool: str,
    pool_slots: int,
    **more: Any,
) -> StageOperator:
    """Return the task that makes the stage's artifact, with its shards' tasks upstream if there are several.

    A shard takes one slot of the pool, whatever the stage as a whole takes.

    Raises:
        BadInput: the setting is not a valid number of shards.
    """
    shards = read_count(setting)
    if shards == 1:
        return StageOperator(
            stage=stage,
            outlets=outlets,
            execution_timeout=execution_timeout,
            pool=pool,
            pool_slots=pool_slots,
            **more,
        )
    pieces = StageOperator.partial(
        task_id=f"{stage}_shard",
        stage=stage,
        execution_timeout=execution_timeout,
        pool=pool,
        map_index_template="{{ task.shard }}",
        doc_md=f"A share of the work of `{stage}`.",
    ).expand(shard=[str(shard) for shard in all_shards(shards)])
    whole = StageOperator(
        stage=stage, gather=shards, outlets=outlets, execution_timeout=execution_timeout, pool=pool, **more
    )
    pieces >> whole
    return whole


def read_count(setting: str) -> int:
    """Return the number of shards that `[sim2edge] <setting>` sets.

    Raises:
        BadInput: it is not a valid number of shards.
    """
    try:
        return check_count(conf.get("sim2edge", setting))
    except BadInput as error:
        raise BadInput(f"[sim2edge] {setting}: {error}") from error
