"""The stage end to end: what it writes, what it says of bad data, and that a kill costs one epoch at most."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from perception_data import DATASET, TINY, Diary, make_rows, put_artifact, run_stage, write_split

from sim2edge.errors import BadInput
from sim2edge.plan import plan
from sim2edge.recipes.perception import signature
from sim2edge.train import STAGE
from sim2edge.train.config import TrainConfig
from sim2edge.train.run import describe_run, warn_of_differences


def test_a_model_holds_what_the_format_says(trained, tmp_path):
    bus, manifest, diary = trained
    assert [file.path for file in manifest.files] == ["curves.png", "history.json", "model.json", "model.pt"]
    folder = bus.fetch(manifest, tmp_path).folder
    meta, history = (json.loads((folder / name).read_text()) for name in ("model.json", "history.json"))
    assert meta["recipe"] == "perception"
    assert meta["network"]["width_multiplier"] == 0.25
    assert meta["postprocess"] == signature(48, 64, meta["postprocess"]["score_threshold"])
    assert meta["config_hash"] == manifest.config_hash
    assert meta["metrics"]["map_50"] == manifest.summary["map_50"]
    assert [row["epoch"] for row in history] == [1, 2]
    assert diary.updates[-1] == (10, 10)
    assert "MLFLOW_TRACKING_URI is not set: this run is not tracked" in diary.messages
    assert not list(bus.list(f"{manifest.reference}/checkpoints"))


def test_how_fast_it_was_is_measured_beside_the_model(trained):
    bus, manifest, _ = trained
    speeds = json.loads(bus.get(f"{manifest.reference}/{manifest.attempt}/measurements/speed.json"))
    assert [speed["train_frames_per_second"] > 0 for speed in speeds] == [True, True]


def test_golden_model(trained):
    """Raise the stage's version, and then this, when the output changes on purpose, or with a new release of torch."""
    _, manifest, _ = trained
    digest = hashlib.sha256("".join(file.sha256 for file in manifest.files).encode()).hexdigest()
    assert (STAGE.version, digest[:16]) == (4, "3ad909382c9c24df"), (
        f"{[(file.path, file.sha256[:8]) for file in manifest.files]}: if nothing was changed, this processor computes "
        "otherwise in spite of the pinned code paths"
    )


def test_without_a_true_box_to_validate_by_the_floor_alone_is_judged(bus, dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "no-box")
    write_split(folder / "validation.parquet", [{**row, "boxes": []} for row in make_rows(10, 1)])
    put_artifact(bus, DATASET, folder)
    manifest, diary = run_stage(bus, "train", {"dataset": [DATASET]}, *TINY, "epochs=2")
    history = json.loads(bus.fetch(manifest, tmp_path / "model").path("history.json").read_text())
    assert (manifest.summary["map_50"], manifest.summary["map_50_95"]) == (None, None)
    assert [row["validation_score"] for row in history] == [row["validation_floor_accuracy"] for row in history]
    assert any(message.startswith("WARNING: validation.parquet has no box") for message in diary.messages)


def test_what_trains_is_part_of_the_identity(bus, dataset):
    machines = ("threads=1", "threads=2", "device=cuda")
    plans = [plan(bus, "train", overrides=[*TINY, each], inputs={"dataset": [dataset]}) for each in machines]
    assert len({each.reference for each in plans}) == 3
    assert [STAGE.deterministic(each.config) for each in plans] == [True, False, False]


def test_a_corrupt_image_is_named(bus, dataset_folder, tmp_path):
    for name in ("dataset.json", "validation.parquet"):
        (tmp_path / name).write_bytes((dataset_folder / name).read_bytes())
    rows = make_rows(20, seed=0)
    rows[13]["image"] = rows[13]["image"][:40]
    write_split(tmp_path / "train.parquet", rows)
    reference = put_artifact(bus, "dataset/toy-1/" + "b" * 16, tmp_path)
    with pytest.raises(BadInput, match=r"train\.parquet: row 13 \(toy-0\.0001, frame 3\): image is not a JPEG"):
        run_stage(bus, "train", {"dataset": [reference]}, *TINY)


def test_an_empty_validation_split_is_named(bus, dataset_folder, tmp_path):
    for name in ("dataset.json", "train.parquet"):
        (tmp_path / name).write_bytes((dataset_folder / name).read_bytes())
    write_split(tmp_path / "validation.parquet", [])
    reference = put_artifact(bus, "dataset/toy-1/" + "c" * 16, tmp_path)
    with pytest.raises(BadInput, match=r"validation\.parquet: no frames"):
        run_stage(bus, "train", {"dataset": [reference]}, *TINY)


def test_a_checkpoint_of_another_config_is_told_by_field():
    diary = Diary()
    then, now = (describe_run(TrainConfig(epochs=e, learning_rate=r)) for e, r in ((5, 0.001), (6, 0.002)))
    then["versions"]["torch"] = "1.0"
    warn_of_differences(then, now, diary)
    assert diary.messages == [
        "WARNING: the checkpoint was made with other config: epochs, learning_rate",
        "WARNING: the checkpoint was made with other versions: torch",
    ]
    quiet = Diary()
    warn_of_differences(now, now, quiet)
    assert quiet.messages == []


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(bus, s3, dataset_folder):
    """The command line is killed with SIGKILL after its second epoch; the whole run happens on another bus."""
    inputs, overrides = {"dataset": [DATASET]}, (*TINY, "epochs=6", "flip=0.5")
    for each in (bus, s3):
        put_artifact(each, DATASET, dataset_folder)
    whole, _ = run_stage(bus, "train", inputs, *overrides)
    kill_after(2, ["train", "--partition", "toy-1", "--input", f"dataset={DATASET}", *overrides])
    assert not s3.exists(whole.reference)
    resumed, diary = run_stage(s3, "train", inputs, *overrides)
    assert resumed.reference == whole.reference
    resumed_after = [int(m.rsplit(" ", 1)[1]) for m in diary.messages if m.startswith("resumed after epoch")]
    assert resumed_after[0] >= 1
    assert resumed.files == whole.files


def kill_after(epoch, words):
    """Run the command line and SIGKILL it when it reports the end of `epoch`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sim2edge", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if json.loads(line).get("message") == f"epoch {epoch}":
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
