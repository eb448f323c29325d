"""What our own small services do: the cameras' frames, MLflow's start, the judgement of a batch."""

import cv2
import pytest

from sim2edge.compose import camera, mlflow_server
from sim2edge.errors import BadInput
from sim2edge.follow.pipeline import judge
from sim2edge.follow.stages import StageState


def test_the_cameras_get_real_frames_once(tmp_path):
    assert camera.main(["--frames", "25", str(tmp_path)]) == 0
    frames = sorted(tmp_path.glob("*.jpg"))
    assert len(frames) == 25
    pictures = [cv2.imread(str(path)) for path in frames]
    assert {picture.shape for picture in pictures} == {(120, 160, 3)}
    assert (pictures[0] != pictures[-1]).any()
    before = [path.stat().st_mtime_ns for path in frames]
    assert camera.main(["--frames", "25", str(tmp_path)]) == 0
    assert [path.stat().st_mtime_ns for path in frames] == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("missing", [*mlflow_server.SECRETS, "SIM2EDGE_BUCKET"])
def test_mlflow_without_a_secret_is_one_line(tmp_path, monkeypatch, missing):
    for name in (*mlflow_server.SECRETS, "SIM2EDGE_BUCKET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(missing)
    with pytest.raises(BadInput, match=f"{missing} is not set"):
        mlflow_server.become_server(tmp_path, "127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["success", "success"], 0),
        (["success", "failed", "upstream_failed"], 1),
        (["success", "skipped", "pending"], 3),
    ],
)
def test_a_batch_is_judged_by_its_stages(states, code):
    assert judge([StageState("dag", "stage", state) for state in states]) == code
