"""Report a stage's input and output artifacts to OpenLineage, where that is enabled.

An artifact is the dataset `<reference>` of the namespace `s3://<bucket>`: the lineage equals that of the manifests.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class StageLineage:
    """The methods that Airflow's OpenLineage provider calls on an operator with `inputs` and `artifact`."""

    inputs: dict[str, Any]
    artifact: str | None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return inputs and output, also of a refused artifact: a verdict is an artifact, too."""
        return describe(self.inputs, self.artifact)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return the inputs: a failed task has no output."""
        return describe(self.inputs, None)


def describe(inputs: dict[str, Any], artifact: str | None) -> "OperatorLineage":
    """Return inputs and output as OpenLineage datasets, without inputs that were not resolved to references."""
    from airflow.providers.openlineage.extractors import OperatorLineage  # only where it is enabled
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    namespace = f"s3://{os.environ.get('SIM2EDGE_BUCKET', '')}"
    read = [name for names in inputs.values() if isinstance(names, list) for name in names]
    return OperatorLineage(
        inputs=[InputDataset(namespace, name) for name in dict.fromkeys(read)],
        outputs=[OutputDataset(namespace, artifact)] if artifact else [],
    )
