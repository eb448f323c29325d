"""Whose image labels are: those for no image, those for one image together, those that are all late."""

import pytest
from ingest.clock_drives import Warp, drive
from ingest.test_annotations import MAPPED, TOPICS, write_annotated

from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import Stream
from sim2edge.ingest.understand import choose_ticks, understand

PERIOD = 100_000_000


class Drive:
    """A drive of 10 s at 10 Hz, whose labels can be changed."""

    def __init__(self, named: str = "stamped", labelled: slice = slice(None)) -> None:
        self.streams = drive(Warp(seconds=10, labels=named))
        self.labels: Stream = self.streams["labels"]
        for column in (self.labels.log_times, self.labels.stamps, self.labels.values):
            column[:] = column[labelled]

    def move(self, by_ns: int, which: slice = slice(None)) -> "Drive":
        """Make stamps later."""
        self.labels.stamps[which] = [stamp + by_ns for stamp in self.labels.stamps[which]]
        return self

    def repeat(self, number: int, value_of: int, by_ns: int = 0) -> "Drive":
        """Send labels for the image of a message once more, with the content of another message."""
        stamp = self.labels.stamps[number]
        self.labels.log_times.insert(number + 1, self.labels.log_times[number])
        self.labels.stamps.insert(number + 1, stamp and stamp + by_ns)
        self.labels.values.insert(number + 1, self.labels.values[value_of])
        return self

    def ticks(self) -> tuple[int, list[str]]:
        """How many there are, and what is noted."""
        placed, ticks = choose_ticks(self.streams, IngestConfig())
        return len(ticks), placed.notes


@pytest.mark.parametrize("named", ["stamped", "logged"])
def test_different_labels_for_one_image_are_refused(named):
    said = (
        r"^/labels: messages 7 and 8 are different labels for the image at .* s: send the boxes of an image in one me"
    )
    with pytest.raises(BadLog, match=said):
        Drive(named).repeat(7, value_of=6).ticks()


def test_labels_are_for_one_image_although_their_stamps_are_rounded():
    with pytest.raises(BadLog, match="messages 7 and 8 are different labels"):
        Drive().repeat(7, value_of=6, by_ns=1_000_000).ticks()


@pytest.mark.parametrize("named", ["stamped", "logged"])
def test_labels_that_are_sent_twice_count_once(named):
    assert Drive(named).repeat(7, value_of=7).ticks() == Drive(named).ticks()


def test_labels_that_are_late_are_refused():
    with pytest.raises(
        BadLog, match=r"^/labels: the stamps of 100 of 100 messages \(100%\) are of no image, first mess"
    ):
        Drive().move(30_000_000).ticks()
    with pytest.raises(BadLog, match=r"the stamps of 5 of 100 messages \(5%\) are of no image, first message 95"):
        Drive().move(5 * PERIOD).ticks()
    with pytest.raises(BadLog, match=r"its stamps begin 0.100 s after those of the images and end as much after them"):
        Drive().move(PERIOD).ticks()


def test_few_labels_for_no_image_are_counted():
    count, notes = Drive().move(30_000_000, slice(40, 43)).ticks()
    assert (count, notes) == (97, ["/labels: 3 labels left out: their stamps are of no image"])


@pytest.mark.parametrize("labelled", [slice(50), slice(50, None), slice(20, 60), slice(None, None, 3)])
def test_labels_for_some_of_the_images_are_taken(labelled):
    found = Drive(labelled=labelled)
    assert found.ticks() == (len(found.labels.stamps), [])


def test_annotations_of_foxglove_that_are_late_are_refused(tmp_path):
    config = IngestConfig(topics=TOPICS, classes=MAPPED, floor="wood")
    log = write_annotated(tmp_path / "a.mcap", ticks=12, stamp_late_ns=40_000_000)
    with pytest.raises(BadLog, match=r"^/camera/annotations: the stamps of 12 of 12 messages \(100%\) are of no image"):
        understand(log, config)
