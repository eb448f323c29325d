"""Read the settings of a pipeline file once in a run: an edit of the file changes later runs, not this one.

settings = PipelineSettings(task_id="settings", pipeline=path)
StageOperator(stage="train", overrides=settings.output["train"], ...)
"""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context

from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline


class PipelineSettings(BaseOperator):
    """Returns each stage's overrides in a pipeline file, as `key=value` words.

    Args:
        pipeline: the file.
    """

    ui_color = "#e4e4f4"

    def __init__(self, *, pipeline: Path, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)  # an XCom a stage, for `output["train"]`
        self.pipeline = str(pipeline)

    def execute(self, context: Context) -> dict[str, list[str]]:  # noqa: ARG002
        """Read the file.

        Raises:
            AirflowFailException: the file is invalid; names the field.
        """
        stages = plainly(lambda: read_pipeline(Path(self.pipeline))).stages
        return {name: list(stage.overrides) for name, stage in stages.items()}
