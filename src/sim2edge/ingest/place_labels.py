"""Tell whose image labels without stamps belong to: that with exactly their log time, which only the writer can mean.

How late labels are written cannot be seen in their log times; a writer that logs both at one time, or writes the
image's stamp into the labels, says it. Labels may be for some of the images only; those for none are few.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sim2edge.ingest.align import NONE, SAME_IMAGE_NS, nearest
from sim2edge.ingest.clock import Times
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import Labels
from sim2edge.ingest.source_log import Stream

MAX_ORPHANS = 0.2
"""Largest share of labels without a stamp and without an image; the images may have been lost."""
MAX_STRAY, FEW = 0.02, 3
"""Largest share of labels whose stamp is of no image, and how many never refuse a log."""
NAME_IMAGE = "write the stamp of its image into each, as stamp_ns"


def date_labels(labels: Stream, images: Stream) -> list[int | None]:
    """Return the stamps of labels, for those without one that of the only image with their log time, if there is one.

    Annotations without an object have no stamp, as their format has stamps on objects only.
    """
    times = Counter(images.log_times)
    dates = {log: stamp for log, stamp in zip(images.log_times, images.stamps, strict=True) if times[log] == 1}
    return [stamp or dates.get(log) for log, stamp in zip(labels.log_times, labels.stamps, strict=True)]


def check_stamped(labels: Stream, images: Stream, clock: str) -> list[str]:
    """Check labels with stamps against all images of a log, of which the `clock` (stamps, log_time) counts.

    Returns:
        Notes for an operator.

    Raises:
        BadLog: too many are for no image, all are late by whole images, or several are for one image.
    """
    times = images.stamps if clock == "stamps" else images.log_times
    moments = np.array(sorted({time for time in times if time}), dtype=np.int64)
    dates = date_labels(labels, images)
    dated = np.flatnonzero(np.array([bool(date) for date in dates]))
    if not len(dated) or not len(moments):
        return []
    wanted = np.array([dates[number] for number in dated.tolist()], dtype=np.int64)
    found = nearest(moments, wanted, SAME_IMAGE_NS)
    notes = _check_stray(labels.topic, dated[found == NONE], len(dated))
    lead, trail = int(wanted.min() - moments[0]), int(wanted.max() - moments[-1])
    if lead > SAME_IMAGE_NS and abs(lead - trail) <= SAME_IMAGE_NS:
        raise BadLog(
            f"{labels.topic}: its stamps begin {lead / 1e9:.3f} s after those of the images and end as much after "
            f"them, so they are late: {NAME_IMAGE}"
        )
    _check_one_each(labels, dated[found != NONE], moments[found[found != NONE]])
    return notes


def _check_stray(topic: str, stray: Times, count: int) -> list[str]:
    """Return a note on the labels for no image; `stray` are their numbers."""
    if len(stray) > max(FEW, MAX_STRAY * count):
        raise BadLog(
            f"{topic}: the stamps of {len(stray)} of {count} messages ({len(stray) / count:.0%}) are of no image, "
            f"first message {stray[0]}: stamped when they were made, or for images that were not recorded: {NAME_IMAGE}"
        )
    return [f"{topic}: {len(stray)} labels left out: their stamps are of no image"] if len(stray) else []


def _check_one_each(labels: Stream, numbers: Times, moments: Times) -> None:
    """Refuse different labels for one image, whose time is in `moments`, nanoseconds; equal ones are one."""
    firsts: dict[int, int] = {}
    for number, moment in zip(numbers.tolist(), moments.tolist(), strict=True):
        first = firsts.setdefault(moment, number)
        if _content(labels.values[first]) != _content(labels.values[number]):
            raise BadLog(
                f"{labels.topic}: messages {first} and {number} are different labels for the image at "
                f"{moment / 1e9:.3f} s: send the boxes of an image in one message"
            )


def _content(labels: Labels | None) -> object:
    return labels and (labels.floor, labels.boxes)


def place_labels(labels: Stream, logged: Sequence[int], numbers: Times, times: Times) -> tuple[Times, Times]:
    """Return the numbers of the labels that have an image, in order, and the times of those images.

    `logged` are the log times of all images, `numbers` and `times` those that are used, in order.

    Raises:
        BadLog: too few have one, labels and images are shifted against each other, or several are for one image.
    """
    at = np.array(logged, dtype=np.int64)[numbers]
    single, first, count = np.unique(at, return_index=True, return_counts=True)
    single, first = single[count == 1], first[count == 1]
    wanted = np.array(labels.log_times, dtype=np.int64)
    place = np.minimum(np.searchsorted(single, wanted), max(0, len(single) - 1))
    found = single[place] == wanted if len(single) else np.zeros(len(wanted), dtype=bool)
    if (~found).sum() > MAX_ORPHANS * len(found):
        number = int(np.argmin(found))
        raise BadLog(
            f"{labels.topic}: message {number} has no stamp, and no image has its log time: {NAME_IMAGE} "
            "(or log it at the log time of its image)"
        )
    image = first[place[found]]
    order = np.argsort(image, kind="stable")
    _check_ends(labels.topic, image[order], at, wanted)
    _check_one_each(labels, np.flatnonzero(found), at[image])
    return np.flatnonzero(found)[order], times[image[order]]


def _check_ends(topic: str, image: Times, at: Times, wanted: Times) -> None:
    """Refuse labels that begin later than the images and may be late by whole images; `image` are the labelled ones."""
    stride = float(np.median(np.diff(image))) if len(image) > 1 else 1.0
    lead, trail = int(image[0]), int((wanted > at.max()).sum())
    early, tail = int((wanted < at.min()).sum()), len(at) - 1 - int(image[-1])
    if lead >= max(2.0, 2 * stride) or (lead and trail) or (early and tail):
        raise BadLog(
            f"{topic}: no stamps, and the labels begin {max(lead, early)} messages apart from the images: "
            f"whose they are is not certain: {NAME_IMAGE}"
        )
