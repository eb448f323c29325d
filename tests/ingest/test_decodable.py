"""A picture that looks whole but cannot be decoded costs its tick, never the batch, and nothing of it is delivered."""

import json

import cv2
import pytest
from ingest.foreign_logs import Sent, changed, jpeg, picture, write_bag

from sim2edge import cli
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.decodable import look_at
from sim2edge.ingest.images import Picture, size_of
from sim2edge.ingest.understand import understand

IMAGE = "/camera/image_raw/compressed"


def png(index: int) -> bytes:
    return bytes(cv2.imencode(".png", picture(index)[..., ::-1])[1])


def cut_jpeg(index: int, keep: float = 0.5) -> bytes:
    """A JPEG without its second half, closed by the marker of the end: its size can be read, its pixels cannot."""
    data = jpeg(index)
    return data[: int(len(data) * keep)] + b"\xff\xd9"


def drive(*bad: bytes, ticks: int = 6, good=jpeg) -> list[Sent]:
    """A drive whose pictures from the second on are `bad`, as many as given."""
    seen = -1

    def change(sent: Sent) -> Sent:
        nonlocal seen
        if sent[0] != IMAGE:
            return sent
        seen += 1
        data = bad[seen - 1] if 1 <= seen <= len(bad) else good(seen)
        return sent[0], sent[1], sent[2], sent[3] | {"data": data}

    return changed(change, ticks)


BAD = {
    "half a PNG": png(1)[: len(png(1)) // 2],
    "a PNG without its last byte": png(1)[:-1],
    "a PNG with a changed byte": png(1)[:60] + b"\0\1" + png(1)[62:],
    "a JPEG cut and closed": cut_jpeg(1),
    "a JPEG of headers": cut_jpeg(1, 0.3),
    "a JPEG without pixels": jpeg(1)[: jpeg(1).index(b"\xff\xda") + 14] + b"\xff\xd9",
    "a PNG of no size": png(1)[:16] + bytes(8) + png(1)[24:],
    "a PNG of another size": png(1)[:16] + b"\0\0\1\0" + png(1)[20:],
    "text that begins as a PNG": b"\x89PNG\r\n\x1a\n" + b"hello world" * 20,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_broken_picture_costs_its_tick_only(tmp_path, bad, capfd):
    assert size_of(Picture(bad, "png")) is None or look_at(Picture(bad, "png")) is None
    good = png if bad.startswith(b"\x89PNG") else jpeg
    episode = understand(write_bag(tmp_path / "a.mcap", drive(bad, good=good)), IngestConfig())
    assert episode.ticks.index.tolist() == [0, 2, 3, 4, 5]
    assert episode.ticks.dropped["image"] == 1
    assert len(episode.log.streams["image"].usable) == 5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("good", [png, jpeg])
def test_a_whole_picture_is_kept(tmp_path, good):
    assert look_at(Picture(good(3), "")) is not None
    assert len(understand(write_bag(tmp_path / "a.mcap", drive(good=good)), IngestConfig()).ticks) == 6


def test_a_first_picture_that_is_broken_moves_the_start(tmp_path):
    sent = drive(cut_jpeg(1), good=lambda index: cut_jpeg(0) if index == 0 else jpeg(index))
    episode = understand(write_bag(tmp_path / "a.mcap", sent), IngestConfig())
    assert episode.ticks.index.tolist() == [0, 1, 2, 3]


def test_the_command_takes_the_batch_without_the_tick(folder, ingest, fetch, partition):
    write_bag(folder / "a.mcap", drive(png(1)[:-30], good=png))
    manifest, made = fetch(ingest(folder))
    (log,) = json.loads((made / "ingest_report.json").read_text())["logs"]
    assert (log["ticks"], log["broken_images"], log["dropped"]) == (5, 1, {"image": 1})
    assert manifest.summary["ticks_dropped"] == {"image": 1}


def test_nothing_of_a_refused_delivery_stays_and_the_corrected_one_is_taken(folder, ingest, s3, partition):
    broken = cut_jpeg(1)
    write_bag(folder / "a.mcap", drive(*[broken] * 3, ticks=3, good=lambda _: broken))
    result = ingest(folder)
    assert result.code == cli.EXIT_BAD_INPUT
    assert "a.mcap: /camera/image_raw/compressed: none of 3 images is whole" in result.err
    assert list(s3.list(f"inbox/{partition}")) == []
    write_bag(folder / "a.mcap", drive(ticks=3))
    assert ingest(folder).committed
