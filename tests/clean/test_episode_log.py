"""Reading logs: damage of any kind ends as `Unreadable`, never as another error."""

import tempfile
from pathlib import Path

import foxglove
import pytest
from clean.episode_files import write_episode
from foxglove import channels, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.data_processor import Task, process_episode
from sim2edge.clean.episode_log import LABELS, SCAN, Unreadable, read_log
from sim2edge.frames.episode import Scan


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return write_episode(tmp_path_factory.mktemp("log"), ticks=3) / "simulation.mcap"


def test_messages_keep_their_order_and_times(log):
    found = read_log(log)
    assert found[SCAN].times == [0, 100_000_000, 200_000_000]
    assert len(found[SCAN].read(1).ranges) == 36
    assert found[LABELS].read(0).startswith(b"{")


def test_a_log_without_a_topic(tmp_path):
    context = foxglove.Context()
    with foxglove.open_mcap(tmp_path / "simulation.mcap", context=context):
        channels.LaserScanChannel("/lidar/scan", context=context).log(messages.LaserScan(), log_time=0)
    with pytest.raises(Unreadable, match="no messages on /camera/image, /robot/pose, /robot/control, /labels"):
        read_log(tmp_path / "simulation.mcap")


def test_a_topic_of_another_schema(tmp_path):
    context = foxglove.Context()
    with foxglove.open_mcap(tmp_path / "simulation.mcap", context=context):
        channels.LaserScanChannel("/camera/image", context=context).log(messages.LaserScan(), log_time=0)
    with pytest.raises(Unreadable, match=r"/camera/image is foxglove\.LaserScan, expected foxglove\.CompressedImage"):
        read_log(tmp_path / "simulation.mcap")


@settings(max_examples=60)
@given(st.data())
def test_damage_never_escapes(log, data):
    damaged = bytearray(log.read_bytes())
    whole = len(damaged)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, whole - 1))] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.one_of(st.just(whole), st.integers(0, whole)))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "simulation.mcap").write_bytes(damaged[:kept])
        episode = process_episode(Task(Path(folder), "toy.0000", CleanConfig(), Scan(36, -3.14159265, 0.17453293)))
    assert episode.frames is not None or episode.quarantined
