"""A truncated log is kept up to its last whole chunk with `skip_bad`, and the report says how much."""

import json
import re
from pathlib import Path

import pytest
import zstandard
from ingest.bags import write_ros1, write_ros2
from ingest.foreign_logs import robot_drive, write_bag

from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.understand import Understood, understand

pytestmark = pytest.mark.slow
TICKS = 30
KEEP = IngestConfig(skip_bad=True)


def cut_mcap(folder: Path) -> Path:
    return write_bag(folder / "a.mcap", robot_drive(TICKS), chunk_size=4096)


def cut_unchunked(folder: Path) -> Path:
    from mcap_ros2.writer import Writer  # a recorder without chunks writes each message at once

    plain = Writer.__init__

    def without_chunks(self, *words, **settings):
        plain(self, *words, **settings)
        self._writer._Writer__chunk_builder = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "__init__", without_chunks)
        return write_bag(folder / "a.mcap", robot_drive(TICKS))


def cut_ros1(folder: Path) -> Path:
    return write_ros1(folder / "a.bag", robot_drive(TICKS), "lz4", chunk_bytes=4096)


def cut_sqlite(folder: Path) -> Path:
    return write_ros2(folder / "drive", robot_drive(TICKS)) / "drive.db3"


def keep(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def salvaged(path: Path) -> Understood:
    understood = understand(path, KEEP)
    assert understood.log.cut is not None
    return understood


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("write", [cut_mcap, cut_unchunked, cut_ros1, cut_sqlite])
def test_what_is_whole_of_a_truncated_log_is_kept(tmp_path, write, share):
    path = keep(write(tmp_path), share)
    size = path.stat().st_size
    with pytest.raises(
        BadLog, match=r"truncated \(.*\): \d+ messages were readable \(.* s\): skip_bad=true keeps those$"
    ):
        understand(path, IngestConfig())
    found = salvaged(path)
    cut = found.log.cut
    assert TICKS * share * 0.5 < len(found.ticks) < TICKS * share * 1.2 + 1
    assert cut.messages == sum(topic.messages for topic in found.log.topics.values())
    assert size * 0.3 < cut.bytes <= cut.of_bytes == size
    assert abs(cut.seconds - found.duration_s) < 0.2


@pytest.mark.parametrize("write", [cut_mcap, cut_ros1, cut_sqlite])
def test_a_whole_log_is_not_salvaged(tmp_path, write):
    understood = understand(write(tmp_path), KEEP)
    assert understood.log.cut is None
    assert len(understood.ticks) == TICKS


def test_a_log_that_lost_its_end_only_keeps_every_message(tmp_path):
    path = cut_mcap(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    assert len(salvaged(path).ticks) == TICKS


def test_a_bag_that_lost_its_index_only_has_lost_no_message(tmp_path):
    path = cut_ros1(tmp_path)
    path.write_bytes(path.read_bytes()[:-4])
    assert len(understand(path, IngestConfig()).ticks) == TICKS


def test_a_recorder_that_lost_power_leaves_zeros(tmp_path):
    path = keep(cut_mcap(tmp_path), 0.5)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert len(salvaged(path).ticks) >= TICKS * 0.4


def test_a_bag_that_was_never_closed(tmp_path):
    path = cut_ros1(tmp_path)
    data = path.read_bytes()
    index = int.from_bytes(data[data.index(b"index_pos=") + 10 :][:8], "little")
    path.write_bytes(data[:index].replace(b"index_pos=" + index.to_bytes(8, "little"), b"index_pos=" + bytes(8)))
    found = salvaged(path)
    assert found.log.cut.reason == "truncated (was not closed)"
    assert len(found.ticks) == TICKS


def test_a_truncated_compressed_log(tmp_path):
    content, packer = cut_mcap(tmp_path).read_bytes(), zstandard.ZstdCompressor().compressobj()
    data = b"".join(
        packer.compress(content[at : at + 4096]) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for at in range(0, len(content), 4096)
    )
    (tmp_path / "a.mcap.zstd").write_bytes(data[: len(data) * 2 // 3])
    assert TICKS / 3 < len(salvaged(tmp_path / "a.mcap.zstd").ticks) < TICKS


def test_damage_in_the_middle_is_not_a_cut(tmp_path):
    path = cut_mcap(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BadLog, match=r"^damaged "):
        understand(path, KEEP)


@pytest.mark.parametrize("write", [cut_mcap, cut_ros1, cut_sqlite])
def test_a_log_without_a_whole_message_is_refused(tmp_path, write):
    path = keep(write(tmp_path), 0.005)
    with pytest.raises(BadLog, match=r"truncated|damaged|no messages"):
        understand(path, KEEP)


def test_the_report_says_how_much(folder, ingest, fetch):
    keep(cut_mcap(folder), 0.6)
    write_ros1(folder / "b.bag", robot_drive(3))
    result = ingest(folder, "skip_bad=true")
    _, made = fetch(result)
    cut, whole = json.loads((made / "ingest_report.json").read_text())["logs"]
    assert whole["salvaged"] is None
    assert cut["refused"] is None
    assert set(cut["salvaged"]) == {"reason", "messages", "seconds", "bytes", "of_bytes"}
    words = r"a\.mcap: truncated \(.*\): salvaged \d\.\d+ s, \d+ messages, \d+ of \d+ bytes"
    assert any(re.fullmatch(words, line) for line in result.lines), result.lines
