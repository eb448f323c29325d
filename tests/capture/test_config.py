"""Bad configs are refused with one line that names the field."""

import pytest

from sim2edge.capture.config import CaptureConfig
from sim2edge.config import cache_key_fields, load
from sim2edge.errors import BadInput


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("episodes=0", "capture.episodes: input should be greater than or equal to 1"),
        ("simulator=gazebo", "capture.simulator"),
        ("camera.backend=vulkan", "capture.camera.backend"),
        ("camera.zoom=2", "capture.camera.zoom: unknown key"),
        ("lidar.dropout=1.5", "capture.lidar.dropout"),
        ("lidar.noise_m=.nan", "capture.lidar.noise_m"),
        ("room.side_m=[6, 4]", "capture.room.side_m: value error, the range starts at 6 and ends before it, at 4"),
        ("room.side_m=[1, 4]", "capture.room.side_m.0"),
        ("room.obstacles=[3, 2]", "capture.room.obstacles"),
        ("robot.speed_m_s=fast", "capture.robot.speed_m_s"),
    ],
)
def test_a_bad_field_is_named(override, message):
    with pytest.raises(BadInput, match=r"^capture") as refusal:
        load(CaptureConfig, "capture", overrides=[override])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_number_of_workers_does_not_decide_the_result():
    one, many = (load(CaptureConfig, "capture", overrides=[f"workers={n}"]) for n in (1, 8))
    assert cache_key_fields(one) == cache_key_fields(many)


@pytest.mark.parametrize("preset", ["demo", "default"])
def test_the_presets_load(preset):
    assert load(CaptureConfig, "capture", preset).frames >= 10
