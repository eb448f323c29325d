"""Tell whose image labels without stamps belong to: that with exactly their log time, which only the writer can mean.

How late labels are written cannot be seen in their log times; a writer that logs both at one time, or writes the
image's stamp into the labels, says it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sim2edge.ingest.clock import Times
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import Stream

MAX_ORPHANS = 0.2
"""Largest share of labels without an image; the images may have been lost."""
NAME_IMAGE = "write the stamp of its image into each, as stamp_ns"


def date_labels(labels: Stream, images: Stream) -> list[int | None]:
    """Return the stamps of labels, for those without one that of the only image with their log time, if there is one.

    Annotations without an object have no stamp, as their format has stamps on objects only.
    """
    times = Counter(images.log_times)
    dates = {log: stamp for log, stamp in zip(images.log_times, images.stamps, strict=True) if times[log] == 1}
    return [stamp or dates.get(log) for log, stamp in zip(labels.log_times, labels.stamps, strict=True)]


def place_labels(labels: Stream, logged: Sequence[int], numbers: Times, times: Times) -> tuple[Times, Times]:
    """Return the numbers of the labels that have an image, in order, and the times of those images.

    `logged` are the log times of all images, `numbers` and `times` those that are used, in order.

    Raises:
        BadLog: too few have one, or labels and images are shifted against each other.
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
