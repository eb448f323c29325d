"""The command that measures a device profile, on this machine."""

from pathlib import Path

import pytest

from sim2edge.export.config import ExportConfig
from sim2edge.export.device_profile import read_profile
from sim2edge.export.measure_profile import main
from sim2edge.stage import Job, Outcome

Released = tuple[Job[ExportConfig], Outcome]


def test_a_profile_is_measured_and_other_networks_are_kept(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    words = [str(released[0].output), "my-board", "--rounds", "2"]
    assert main(words) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "profiles" / "my-board.yaml"
    path.write_text(path.read_text().replace("height: 32", "height: 64"))
    assert main(words) == 0
    here, other = read_profile("my-board").networks
    assert (here.network["height"], other.network["height"]) == (32, 64)
    assert set(here.latency_ms) == {"onnx", "tflite-float32", "tflite-float16", "tflite-int8"}
    assert "1 thread" in here.measured
    assert "measure_profile" in here.measured
    assert read_profile("my-board").find("perception", {"height": 32, "width": 48}) is None  # not all that it was


@pytest.mark.parametrize(("name", "problem"), [("empty", "has no bundle.tar"), ("damaged", "not a readable tar file")])
def test_what_is_no_release_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, problem: str
) -> None:
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    for folder in ("empty", "damaged"):
        (tmp_path / folder).mkdir()
    (tmp_path / "damaged" / "bundle.tar").write_bytes(b"no tar")
    assert main([str(tmp_path / name), "my-board"]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "profiles").exists()
