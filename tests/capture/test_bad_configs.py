"""Bad configs on the real command line: exit code 2 and one line that names the field, before anything is started."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from sim2edge import cli
from sim2edge.bus import Bus

BAD = [
    ("episodes=0", "capture.episodes: input should be greater than or equal to 1"),
    ("episodes=many", "capture.episodes: input should be a valid integer"),
    ("episode_seconds=.nan", "capture.episode_seconds: input should be a finite number"),
    ("workers=-1", "capture.workers: input should be greater than or equal to 0"),
    ("simulator=gazebo", "capture.simulator: input should be 'mujoco' or 'webots'"),
    ("verify_every=-5", "capture.verify_every: input should be greater than or equal to 0"),
    ("room.side_m=[-4, 6]", "capture.room.side_m.0: input should be greater than or equal to 2.5"),
    ("room.side_m=[6, 4]", "capture.room.side_m: value error, the range starts at 6 and ends before it, at 4"),
    ("room.side_m=4", "capture.room.side_m: input should be a valid tuple"),
    ("room.side_m=[4, .inf]", "capture.room.side_m.1: input should be"),
    ("room.textures=velvet", "capture.room.textures: input should be 'training', 'held_out' or 'all'"),
    ("room.classes=[box, chair, box]", "capture.room.classes: value error, 'box' is named twice"),
    ("camera.noise=[0, true]", "capture.camera.noise: input should be a number, not true or false"),
    ("room.layouts=[]", "capture.room.layouts: value error, name at least one"),
    ("room.layouts=[maze]", "capture.room.layouts.0: input should be 'rectangle', 'l'"),
    ("room.walking=1.5", "capture.room.walking: input should be less than or equal to 1"),
    ("room.obstacles=[2.5, 4]", "capture.room.obstacles.0: input should be a valid integer"),
    ("lighting.lights=[3, 1]", "capture.lighting.lights: value error, the range starts at 3"),
    ("lidar.beams=0", "capture.lidar.beams: input should be greater than or equal to 8"),
    ("lidar.fov_deg=361", "capture.lidar.fov_deg: input should be less than or equal to 360"),
    ("lidar.min_range_m=9", "capture.lidar.min_range_m: input should be less than or equal to 1"),
    ("lidar.max_range_m=0.05", "capture.lidar.max_range_m: input should be greater than 1"),
    ("lidar.preset=64_over_10", "capture.lidar.preset: input should be"),
    ("lidar.motor.rate_hz=5", "capture.lidar.motor: unknown key"),
    ("lidar=short", "capture.lidar: input should be a valid dictionary"),
    ("lidar_3d.layers=1", "capture.lidar_3d.layers: input should be greater than or equal to 2"),
    ("camera.fov_deg=180", "capture.camera.fov_deg: input should be less than or equal to 120"),
    ("camera.width=wide", "capture.camera.width: input should be a valid integer"),
    ("camera.tilt_deg=[6, 7, 8]", "capture.camera.tilt_deg"),
    ("labels.check_every=0", "capture.labels.check_every: input should be greater than or equal to 1"),
    ("driver.kinds=[racer]", "capture.driver.kinds.0: input should be 'expert', 'noisy'"),
    ("driver.kinds=[policy]", "the driver 'policy' in driver.kinds go together"),
    ("driver.policy=model.onnx", "the driver 'policy' in driver.kinds go together"),
    ("driver.policy_sha256=1234", "capture.driver.policy_sha256"),
    ("camera.renderer=llvmpipe", "camera.renderer goes with camera.backend=egl"),
    ("camera.backend=egl", "camera.renderer goes with camera.backend=egl"),
    ("driver.noise=1", "capture.driver.noise: input should be less than or equal to 0.9"),
    ("colour=red", "capture.colour: unknown key"),
    ("episodes", "override 'episodes': expected key=value"),
]


@pytest.fixture
def refused(bus, monkeypatch, capsys):
    """Run a command line that has to be refused: `refused("capture", ...)` is what it says."""
    monkeypatch.setattr(Bus, "from_environment", lambda: bus)

    def no_pool(*_):
        raise AssertionError("worker processes were started")

    monkeypatch.setattr("sim2edge.capture.run.worker_pool", no_pool)

    def run(*words: str) -> str:
        before = len(psutil.Process().children(recursive=True))
        assert cli.main(["capture", "--partition", "bad", *words]) == 2
        assert list(bus.list("")) == []
        assert len(psutil.Process().children(recursive=True)) == before
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1
        return said

    return run


@pytest.mark.parametrize(("override", "message"), BAD)
def test_a_bad_override_is_refused(refused, override, message):
    assert message in refused(override)


def test_an_unknown_preset_is_refused(refused):
    assert "preset 'nightly' is not one of: default, demo" in refused("--preset", "nightly")


@pytest.mark.parametrize(
    ("shard", "message"), [("3/8", "8 shards, but episodes=2"), ("0/2", "0/2"), ("3/2", "3/2"), ("2", "'2'")]
)
def test_a_shard_that_cannot_be_is_refused(refused, shard, message):
    assert message in refused("--shard", shard, "episodes=2")


def test_all_that_is_wrong_is_told_at_once(refused):
    said = refused("episodes=0", "lidar.beams=0", "camera.zoom=2")
    assert all(field in said for field in ("capture.episodes", "capture.lidar.beams", "capture.camera.zoom"))


def write_policy(path, beams: int, outputs: int = 2) -> str:
    """An ONNX network that drives slowly and turns away from the side where more is near."""
    weights = np.zeros((beams, outputs), np.float32)
    weights[:, -1] = np.sign(np.arange(beams) - beams / 2) / beams
    constants = {"weights": weights, "cruise": np.array([[0.2, 0.0][:outputs]], np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["scan", "weights"], ["turn"]),
            helper.make_node("Add", ["turn", "cruise"], ["go"]),
        ],
        "policy",
        [helper.make_tensor_value_info("scan", TensorProto.FLOAT, [1, beams])],
        [helper.make_tensor_value_info("go", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return str(path)


def led_by(path) -> tuple[str, ...]:
    """The overrides with which the network in a file drives."""
    known = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return "driver.kinds=[policy]", f"driver.policy={path}", f"driver.policy_sha256={known}"


def test_a_policy_that_cannot_drive_is_refused(refused, tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    kind, path, known = led_by(text)
    assert f"capture.driver.policy: '{text}' is not an ONNX model" in refused(kind, path, known)
    assert "no such file" in refused(kind, f"driver.policy={tmp_path}/none.onnx", known)
    text.write_text("another")
    assert f"capture.driver.policy_sha256: not that of '{text}', which is " in refused(kind, path, known)
    other = write_policy(tmp_path / "other.onnx", beams=90)
    assert "does not take one scan of 360 beams" in refused(*led_by(other))
    mute = write_policy(tmp_path / "mute.onnx", beams=360, outputs=1)
    assert "does not return two speeds" in refused(*led_by(mute))


def test_a_policy_drives_an_episode(bus, capture_batch, tmp_path):
    network = write_policy(tmp_path / "policy.onnx", beams=360)
    manifest = capture_batch(bus, "led", "episodes=1", *led_by(network))
    assert manifest.summary["drivers"] == {"policy": 1}
    folder = bus.fetch(manifest, tmp_path / "led").folder
    assert "driver: policy" in (folder / "led.0000" / "config.yaml").read_text()
    # 0.2 m/s for 1.5 s, less what the robot takes to get going.
    assert 0.1 < manifest.summary["path_length_m"] < 0.35
