"""The device image on arm64, under emulation: the same outputs as on amd64, updates, roll-backs. Prints its figures.

Times under emulation mean nothing, and memory holds the emulator's own; sizes and outputs are what a Pi would see.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from device_container import LOCKED_DOWN, DeviceContainer, docker
from ota_server import OtaServer

from sim2edge.export.parity import measure_distance
from sim2edge.export.variants import FORMS

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ARCHITECTURES = ("amd64", "arm64")
FRAMES = 16
REQUIRES = {
    "amd64": {"runtime": "onnxruntime", "memory_mb": 128, "cpu_ms_p95": 80},
    "arm64": {"runtime": "onnxruntime", "memory_mb": 512, "cpu_ms_p95": 80},
}
"""What the releases declare: the emulator's translation of the code counts as the process's own memory, and grows."""


@pytest.fixture(scope="module")
def pictures(released, tmp_path_factory) -> Path:
    """Held-out frames as JPEG files."""
    folder = tmp_path_factory.mktemp("pictures")
    column = pq.read_table(released[0].input("dataset").path("test.parquet"))["image"].to_pylist()
    for number, data in enumerate(column[:FRAMES]):
        (folder / f"{number:03}.jpg").write_bytes(data)
    return readable_by_all(folder)


def readable_by_all(folder: Path) -> Path:
    """Let the image's user into the folder, and into those above it that pytest made."""
    for path in (folder, *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    return folder


@pytest.fixture(scope="module")
def outputs(released, pictures, device_image, tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """Architecture to what every exported form gives on the pictures, in that architecture's image."""
    script = Path(__file__).with_name("run_variants.py")
    models = readable_by_all(released[0].output / "variants")
    found = {}
    for architecture in ARCHITECTURES:
        folder = tmp_path_factory.mktemp(architecture)
        folder.chmod(0o777)
        mounts = {script: "/probe.py:ro", models: "/models:ro", pictures: "/pictures:ro", folder: "/out"}
        volumes = [word for here, there in mounts.items() for word in ("-v", f"{here}:{there}")]
        how = ("--rm", "--platform", f"linux/{architecture}", "--network", "none", *LOCKED_DOWN, *volumes)
        command = ("/probe.py", "/models", "/pictures", "/out/out.npz")
        docker("run", *how, "--entrypoint", "python", device_image(architecture), *command, timeout=400)
        found[architecture] = dict(np.load(folder / "out.npz"))
    return found


@pytest.mark.parametrize("form", [form for form in FORMS if form.on_device], ids=lambda form: form.name)
def test_a_form_gives_the_same_on_arm64_as_on_amd64(form, outputs, released, capsys) -> None:
    job, _ = released
    limits = job.config.limits
    amd64, arm64 = ({name: outputs[a][f"{form.file}/{name}"] for name in ("floor", "obstacles")} for a in ARCHITECTURES)
    about = json.loads((job.input("model").folder / "model.json").read_text())
    distance = measure_distance(arm64, amd64, about["postprocess"], len(about["classes"]))
    with capsys.disabled():
        print(f"\n{form.name} on arm64 against amd64: {distance}")
    assert len(arm64["floor"]) == FRAMES
    assert distance.floor_agreement == 1
    assert distance.agreement >= limits.min_agreement
    if form.precision != "int8":
        limit = limits.max_difference_float16 if form.precision == "float16" else limits.max_difference
        assert max(distance.difference.values()) <= limit


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_device_installs_updates_and_rolls_back(
    architecture, device_image, s3, members, pictures, tmp_path_factory, monkeypatch, capsys
) -> None:
    s3.delete(s3.list("ota"))
    server = OtaServer(s3, tmp_path_factory.mktemp("server"), members)
    readable_by_all(server.keys.root_file.parent)
    server.keys.root_file.chmod(0o644)
    requires = REQUIRES[architecture]
    server.publish("good", requires=requires)
    image = device_image(architecture)
    device = DeviceContainer(image, architecture, server, pictures)
    try:
        device.until_running("good")
        memory = device.memory()
        with monkeypatch.context() as patch:
            patch.setattr(server, "_members", lambda **fields: with_bad_model(members(**fields)))
            server.publish("bad", requires=requires)
        status = device.until(lambda s: s["state"] == "running" and s["failure"])
        assert (status["failure"]["release"], status["release"]) == ("bad", "good")
        server.publish("better", requires=requires)
        assert device.until_running("better")["previous"] == "good"
    finally:
        device.end()
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6
    with capsys.disabled():
        print(f"\ndevice image on {architecture}: {size:.0f} MB; agent and detector together {memory}")


def with_bad_model(members: dict[str, bytes]) -> dict[str, bytes]:
    """The members of a bundle whose model is no model, all hashes right."""
    bad = b"not a model"
    release = json.loads(members["release.json"])
    release["files"]["model.onnx"] = hashlib.sha256(bad).hexdigest()
    return members | {"model.onnx": bad, "release.json": json.dumps(release).encode()}
