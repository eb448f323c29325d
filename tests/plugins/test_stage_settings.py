"""What a stage's container may take, read from YAML."""

from pathlib import Path

import pytest

from sim2edge.errors import BadInput
from sim2edge.stages import stage_names
from sim2edge_airflow.runtimes.stage_settings import read_stage_settings

CHECKOUT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "stages.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("stage", stage_names())
def test_the_file_of_the_repository_is_right(stage: str) -> None:
    settings = read_stage_settings(CHECKOUT / "containers/stages.yaml", stage, "1.2")
    assert settings.image == f"sim2edge/{stage}:1.2"


def test_a_stages_own_lines_win_over_those_for_all(tmp_path: Path) -> None:
    path = write(tmp_path, "all: {cpus: 1, memory_mb: 512}\ntrain: {memory_mb: 4096, runtime: kubernetes}\n")
    train, clean = (read_stage_settings(path, stage, "1") for stage in ("train", "clean"))
    assert (train.cpus, train.memory_mb, train.runtime) == (1, 4096, "kubernetes")
    assert (clean.cpus, clean.memory_mb, clean.runtime) == (1, 512, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all: [", "not YAML"),
        ("- train", "expected stages"),
        ("all: 3", "expected stages"),
        ("tarin: {cpus: 1}", "'tarin' is not a stage"),
        ("train: {memory_mb: 1}", "memory_mb: Input should be greater than or equal to 64"),
        ("train: {memory: 1}", "memory: Extra inputs are not permitted"),
        ("train: {runtime: moon}", "runtime: Input should be"),
        ("all: {image: 'a/{stagee}'}", "only {stage} and {tag}"),
        ("train: {kubernetes: {tolerations: [{operator: Maybe}]}}", "kubernetes.tolerations.0.operator"),
    ],
)
def test_a_mistake_is_named_with_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=r"stages\.yaml") as caught:
        read_stage_settings(write(tmp_path, text), "train", "1")
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.yaml: No such file"):
        read_stage_settings(tmp_path / "absent.yaml", "train", "1")
