"""The metrics of a device, read back with Prometheus' own parser."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sim2edge.edge.bundle import Release
from sim2edge.edge.obstacle_detector import Detection, Obstacle
from sim2edge.edge.prometheus_metrics import DeviceMetrics, read_temperature

RELEASE = Release("r1", "perception", "model.tflite", {}, "litert", 64, "2026-01-02T03:04:05+00:00", {})
SEEN = Detection("tile", 0.9, (Obstacle("chair", 0.8, (0, 0, 1, 1), 2.0), Obstacle("chair", 0.7, (0, 0, 2, 2), 3.0)))


def read(metrics: DeviceMetrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    return {",".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_what_happened_is_counted(tmp_path: Path) -> None:
    metrics = DeviceMetrics(RELEASE, tmp_path / "no-thermal-zone")
    metrics.observe(SEEN, seconds=0.003)
    metrics.count_error("camera")
    values = read(metrics)
    assert values["sim2edge_inferences_total"] == 1
    assert values["sim2edge_detections_total,chair"] == 2
    assert values["sim2edge_floors_total,tile"] == 1
    assert values["sim2edge_errors_total,camera"] == 1
    assert values["sim2edge_inference_seconds_bucket,0.005"] == 1
    assert values["sim2edge_inference_seconds_bucket,0.002"] == 0
    assert values["sim2edge_release_info,perception,r1"] == 1
    assert values["sim2edge_resident_memory_bytes"] > 0
    assert values["sim2edge_model_age_seconds"] > 0
    assert "sim2edge_temperature_celsius" not in values


def test_a_release_without_a_clock_time_is_as_old_as_its_installation() -> None:
    timeless = replace(RELEASE, trained="")
    age = read(DeviceMetrics(timeless, installed=time.time() - 60))["sim2edge_model_age_seconds"]
    assert 60 <= age < 120
    assert "sim2edge_model_age_seconds" not in read(DeviceMetrics(timeless))


def test_two_devices_in_one_process_do_not_share_counters(tmp_path: Path) -> None:
    first, second = DeviceMetrics(RELEASE), DeviceMetrics(RELEASE)
    first.observe(SEEN, seconds=0.003)
    assert read(second)["sim2edge_inferences_total"] == 0


@pytest.mark.parametrize(("content", "degrees"), [("48312\n", 48.312), ("", None), ("hot", None)])
def test_the_temperature_is_read_where_there_is_one(tmp_path: Path, content: str, degrees: float | None) -> None:
    zone = tmp_path / "temp"
    zone.write_text(content)
    assert read_temperature(zone) == degrees
    assert read(DeviceMetrics(RELEASE, zone)).get("sim2edge_temperature_celsius") == degrees
