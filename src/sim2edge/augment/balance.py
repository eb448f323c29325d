"""Balance classes: more copies of frames with rare labels, and class weights for the remaining imbalance.

Copies follow the repeat factor sampling of LVIS (Gupta, Dollár and Girshick 2019): a label on a share f of the frames
is repeated `max(1, (t / f) ** power)` times; here t is the mean share of the labels, and a frame takes the largest
factor among its labels.
"""

from collections.abc import Iterable, Mapping


def repeat_factors(frames_with: Mapping[str, int], power: float, largest: float) -> dict[str, float]:
    """Return, for each label, the factor 1..largest by which frames that show it get more copies than usual.

    Args:
        frames_with: label to the number of training frames that show it; labels without frames get no factor.
        power: 0 leaves the balance unchanged, 1 makes labels about even, LVIS uses 0.5.
        largest: upper bound.
    """
    seen = {label: count for label, count in frames_with.items() if count}
    if not seen:
        return {}
    usual = sum(seen.values()) / len(seen)
    return {label: min(largest, max(1.0, (usual / count) ** power)) for label, count in seen.items()}


def copies_of(labels: Iterable[str], factors: Mapping[str, float], copies: int, draw: float) -> int:
    """Return the number of copies of one frame: `copies` times its largest factor, rounded up or down at random.

    Args:
        labels: the classes and the floor that the frame shows.
        factors: from `repeat_factors`.
        copies: the usual number.
        draw: a random number in 0..1 that decides the rounding.
    """
    wanted = copies * max((factors.get(label, 1.0) for label in labels), default=1.0)
    whole = int(wanted)
    return whole + (draw < wanted - whole)


def class_weights(counts: Mapping[str, int], power: float) -> dict[str, float]:
    """Return weights proportional to `count ** -power`, scaled so that the mean over all boxes is 1.

    A class without boxes gets 1.
    """
    raw = {name: count**-power for name, count in counts.items() if count}
    total = sum(counts.values())
    mean = sum(counts[name] * weight for name, weight in raw.items()) / total if total else 1.0
    return {name: round(raw[name] / mean, 6) if name in raw else 1.0 for name in counts}
