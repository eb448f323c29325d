"""Device profiles: read when a run is planned, part of what the artifact's id is made from."""

from pathlib import Path

import pytest
import yaml

from sim2edge import config as configs
from sim2edge.errors import BadInput
from sim2edge.export.config import ExportConfig
from sim2edge.export.device_profile import DeviceProfile, read_profile, resolve

ENTRY = {
    "recipe": "perception",
    "network": {"height": 96, "width": 128},
    "latency_ms": {"onnx": 0.5, "tflite-int8": 0.2},
    "measured": "2026-11-29, by hand",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the profile of class `pi` into a `conf/` of the test's own."""
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    (tmp_path / "profiles").mkdir()

    def to(content: object) -> None:
        (tmp_path / "profiles" / "pi.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))

    return to


def planned(*overrides: str) -> ExportConfig:
    return resolve(configs.load(ExportConfig, "export", overrides=["device_class=pi", *overrides]))


def test_another_profile_is_another_config(write) -> None:
    seen = []
    for latency in (0.5, 0.6):
        write({"device_class": "pi", "networks": [ENTRY | {"latency_ms": {"onnx": latency}}]})
        seen.append(configs.digest(configs.cache_key_fields(planned())))
    assert len(set(seen)) == 2
    (entry,) = planned().profile.networks
    assert entry.latency_ms == {"onnx": 0.6}


def test_a_class_without_a_profile_is_unmeasured_and_stays_so(write) -> None:
    config = planned()
    assert config.profile == DeviceProfile(device_class="pi")
    write({"device_class": "pi", "networks": [ENTRY]})
    assert resolve(config) == config  # as an artifact that is made again: its manifest decides
    again = configs.build(ExportConfig, configs.resolve(config), "export")
    assert resolve(again) == config


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "pi.yaml: expected a mapping"),
        ("[1]", "pi.yaml: expected a mapping"),
        ("device_class: [", "pi.yaml: not YAML"),
        ({"networks": []}, "export.profile: is of device class ''"),
        ({"device_class": "other", "networks": []}, "is of device class 'other', but device_class is 'pi'"),
        ({"device_class": "pi", "networks": [ENTRY | {"latency_ms": {"coreml": 1}}]}, r"latency_ms.coreml.\[key\]"),
        ({"device_class": "pi", "networks": [ENTRY | {"latency_ms": {"onnx": 0}}]}, "onnx: input should be greater"),
        ({"device_class": "pi", "networks": [ENTRY | {"latency_ms": {"onnx": -1.5}}]}, "onnx: input should be greater"),
        ("device_class: pi\nnetworks: [{recipe: p, network: {h: 1}, measured: m, latency_ms: {onnx: .nan}}]", "onnx: "),
        ("device_class: pi\nnetworks: [{recipe: p, network: {h: 1}, measured: m, latency_ms: {onnx: .inf}}]", "onnx: "),
        ({"device_class": "pi", "networks": [ENTRY | {"network": {}}]}, "networks.0.network: "),
        ({"device_class": "pi", "networks": [ENTRY | {"measured": ""}]}, "networks.0.measured: "),
    ],
)
def test_a_profile_that_is_wrong_is_named(write, content: object, problem: str) -> None:
    write(content)
    with pytest.raises(BadInput, match=problem) as caught:
        planned()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", ["device_class=../secrets", "latency_budget_ms=0", "unmeasured=perhaps"])
def test_settings_that_cannot_be_are_refused(words: str) -> None:
    with pytest.raises(BadInput, match=f"export.{words.partition('=')[0]}: "):
        configs.load(ExportConfig, "export", overrides=[words])


def test_the_profiles_that_are_shipped_are_profiles() -> None:
    files = list((configs.conf_folder() / "profiles").glob("*.yaml"))
    assert "x86-64" in {file.stem for file in files}
    for file in files:
        profile = read_profile(file.stem)
        assert profile.device_class == file.stem
        assert all(entry.latency_ms for entry in profile.networks)
