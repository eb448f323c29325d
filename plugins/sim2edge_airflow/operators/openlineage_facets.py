"""What a stage's task tells OpenLineage, where that is switched on: the artifacts it read and the one it made.

An artifact is the dataset `<reference>` of the namespace `s3://<bucket>`: the lineage there is that of the manifests.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class StageLineage:
    """Methods that Airflow's provider looks for on an operator; of one with `inputs` and `artifact` as stages have."""

    inputs: dict[str, Any]
    artifact: str | None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return what was read and made, also when a gate refused it: a verdict is an artifact."""
        return describe(self.inputs, self.artifact)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> "OperatorLineage":  # noqa: ARG002
        """Return what was read: nothing was made."""
        return describe(self.inputs, None)


def describe(inputs: dict[str, Any], artifact: str | None) -> "OperatorLineage":
    """Inputs and output as OpenLineage names them; inputs that were not resolved to references are left out."""
    from airflow.providers.openlineage.extractors import OperatorLineage  # only where it is switched on
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    namespace = f"s3://{os.environ.get('SIM2EDGE_BUCKET', '')}"
    read = [name for names in inputs.values() if isinstance(names, list) for name in names]
    return OperatorLineage(
        inputs=[InputDataset(namespace, name) for name in dict.fromkeys(read)],
        outputs=[OutputDataset(namespace, artifact)] if artifact else [],
    )
