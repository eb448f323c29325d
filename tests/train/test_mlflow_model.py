"""A model on a real MLflow server: who has only mlflow, numpy and onnxruntime loads the champion, and it predicts."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from mlflow import MlflowClient
from perception_data import DATASET, TINY, put_artifact, run_stage

from sim2edge.recipes.perception_frames import read_frames
from sim2edge.recipes.perception_inference import detect
from sim2edge.registry import crown
from sim2edge.services.loopback import free_ports
from sim2edge.services.mlflow import server_command, server_environment, write_login_settings
from sim2edge.train.cnn_model import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LENIENT = (
    "floors.floor_accuracy=0", "floors.map_50=0", "floors.class_ap_50.default=0", "floors.floor_recall.default=0",
    "tolerance=1", "distance_tolerance_m=10", "resamples=20",
)  # fmt: skip
CONSUMER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sim2edge", "torch", "cv2", "onnx", "sklearn"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import mlflow
import numpy as np

model = mlflow.pyfunc.load_model("models:/perception@champion")
model.predict(np.load(sys.argv[1])).to_json(sys.argv[2], orient="records")
print(model.metadata.signature.inputs.inputs[0].shape, model.metadata.get_output_schema().input_names())
try:
    model.predict(np.zeros((1, 9, 9, 3), np.uint8))
except Exception as error:
    print(type(error).__name__)
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with a login on every page, and this process logged in."""
    (port,), home = free_ports(1), tmp_path / "mlflow"
    home.mkdir()
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": "p" * 20, "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 32}
    write_login_settings(home, secrets["MLFLOW_FLASK_SERVER_SECRET_KEY"])
    files = {"_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(home / "files")}
    environment = {**os.environ, **server_environment(home, "unused"), **files, **secrets}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            server_command(sys.executable, "127.0.0.1", port), env=environment, stdout=log, stderr=log, cwd=home
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", home / "log")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secrets["MLFLOW_AUTH_ADMIN_PASSWORD"])
        yield MlflowClient(url)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url, log):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def test_the_champion_is_loaded_by_its_alias_and_sees_what_the_product_sees(
    bus, dataset_folder, table, server, tmp_path
):
    put_artifact(bus, DATASET, dataset_folder)
    model, _ = run_stage(bus, "train", {"dataset": [DATASET]}, *TINY, "epochs=4")
    verdict, diary = run_stage(bus, "validate", {"model": [model.reference], "dataset": [DATASET]}, *LENIENT)
    assert verdict.refused is None
    assert server.get_model_version_by_alias("perception", "accepted").tags["sim2edge.passed"] == "true"
    run = server.get_run(model.summary["mlflow"]["run"])
    assert run.data.metrics["test_floor_accuracy"] == verdict.summary["floor_accuracy"]
    crown(bus, verdict, diary)

    frames = read_frames(dataset_folder / "test.parquet", table)
    images, found = tmp_path / "images.npy", tmp_path / "found.json"
    np.save(images, frames.images)
    words = [sys.executable, "-c", CONSUMER, str(images), str(found)]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    columns = "['floor', 'floor_probability', 'classes', 'scores', 'boxes', 'distances_m']"
    assert ended.stdout.splitlines() == [f"(-1, 48, 64, 3) {columns}", "MlflowException"]

    folder = bus.fetch(model, tmp_path / "model").folder
    meta = json.loads((folder / "model.json").read_text())
    expected = detect(load_model(folder / "model.pt"), frames, 64, **meta["postprocess"])
    rows = json.loads(found.read_text())
    assert [row["floor"] for row in rows] == [table.floors[each.floor.argmax()] for each in expected]
    assert [row["classes"] for row in rows] == [[table.classes[kind] for kind in each.classes] for each in expected]
    for row, each in zip(rows, expected, strict=True):
        assert row["scores"] == pytest.approx(each.scores, abs=1e-4)
        assert np.ravel(row["boxes"]) == pytest.approx(each.boxes.ravel(), abs=1e-4)
