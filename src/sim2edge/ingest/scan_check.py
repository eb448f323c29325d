"""Find scans that say nothing or something else than they seem to, over a whole log: pure functions.

    scans = drop_odd_angles(topic, scans)       # angles in degrees, a last angle that contradicts the others
    check_one_scanner(topic, scans)             # two scanners on one topic
    check_units(topic, scans, max_range_m)      # millimetres
    seen = check_returns(topic, scans, beams, max_range_m)  # a blank scanner; how many beams have returns

A log with few returns is accepted: a hall larger than the scanner's range has one only here and there.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim2edge.ingest.lidar import Floats, Scan, limits_of
from sim2edge.ingest.mcap_reader import BadLog

MAX_ODD_SHARE = 0.1
"""Share of scans with impossible angles that is left out, such as the first turns of a motor; more refuse the log."""
MAX_TURNS = 1.1
"""Scanners overlap by some beams, and never by a tenth of a turn."""
ANGLE_SLACK = 0.1
"""Share of the field of view by which the last angle may contradict step and number of beams."""
SAME_SCANNER_RAD = 0.5
"""Drivers that leave out beams without returns change start and end of a scan, by less than this."""
SAME_SCANNER_BEAMS = 1.5
MIN_ALTERNATION = 0.25
"""Share of the scans that each of two scanners has, and at which they take turns."""
FAR_M, NEAR_M = 100.0, 0.03
"""A median range outside these is not one of metres: no 2D scanner on a robot sees that far, or so little."""
MIN_WHOLE, MIN_VALUES = 0.99, 10
"""Ranges of which so many are whole numbers, and so many different ones, were not measured in metres."""
MIN_SCANS_WITH_RETURNS = 0.01
MANY_BLANK = 0.1
MAX_SAMPLED = 200


@dataclass(frozen=True)
class Seen:
    """What the scanner of a log saw."""

    returns: float
    """Share of the beams, over all scans, with a return."""
    notes: tuple[str, ...] = ()
    """What an operator should know."""


def check_one_scanner(topic: str, scans: Sequence[Scan]) -> None:
    """Check that the scans are of one scanner.

    Raises:
        BadLog: two frames, or two geometries that take turns.
    """
    frames = Counter(scan.frame for scan in scans if scan.frame)
    if len(frames) > 1:
        names = ", ".join(f"'{frame}' ({count} scans)" for frame, count in frames.most_common(3))
        raise BadLog(f"{topic}: several scanners on one topic, in the frames {names}: frames.scan=<frame> chooses one")
    first = scans[0]
    other = np.array([not _same_scanner(first, scan) for scan in scans])
    changes = np.count_nonzero(np.diff(other)) / len(scans)
    if min(other.mean(), 1 - other.mean(), changes) >= MIN_ALTERNATION:
        shapes = " and ".join(_shape(scan) for scan in (first, scans[int(np.argmax(other))]))
        raise BadLog(f"{topic}: scans of two scanners take turns, {shapes}: record each on a topic of its own")


def _same_scanner(one: Scan, other: Scan) -> bool:
    a, b = one.geometry, other.geometry
    more = max(a.beams, b.beams) / min(a.beams, b.beams)
    begins, spans = a.start_rad - b.start_rad, a.step_rad * a.beams - b.step_rad * b.beams
    return more <= SAME_SCANNER_BEAMS and abs(begins) <= SAME_SCANNER_RAD and abs(spans) <= SAME_SCANNER_RAD


def _shape(scan: Scan) -> str:
    g = scan.geometry
    return f"{g.beams} beams from {math.degrees(g.start_rad):.0f} degrees over {math.degrees(g.step_rad * g.beams):.0f}"


def drop_odd_angles(topic: str, scans: Sequence[Scan | None]) -> list[Scan | None]:
    """Return the scans, None for each whose angles cannot be.

    Raises:
        BadLog: more than `MAX_ODD_SHARE` of them are odd; names the first.
    """
    problems = [angle_problem(scan) if scan is not None else "" for scan in scans]
    odd = sum(map(bool, problems))
    if odd > MAX_ODD_SHARE * len(scans):
        number, problem = next((number, problem) for number, problem in enumerate(problems) if problem)
        raise BadLog(f"{topic}: message {number}: {problem}; so in {odd} of {len(scans)} scans")
    return [None if problem else scan for scan, problem in zip(scans, problems, strict=True)]


def angle_problem(scan: Scan) -> str:
    """Return what is wrong with the angles of a scan; empty if nothing is."""
    g = scan.geometry
    span, last = abs(g.step_rad) * g.beams, g.start_rad + g.step_rad * (g.beams - 1)
    if span > MAX_TURNS * math.tau or abs(g.start_rad) > MAX_TURNS * math.tau:
        return (
            f"angles: {g.beams} beams from {g.start_rad:.4g} in steps of {g.step_rad:.4g} rad are "
            f"{span / math.tau:.1f} turns: expected radians, these look like degrees"
        )
    if scan.end_rad is None or g.beams < 3:
        return ""
    slack = max(3 * abs(g.step_rad), ANGLE_SLACK * span)
    if abs(scan.end_rad - last) <= slack:
        return ""
    return (
        f"angles: angle_max is {scan.end_rad:.4g} rad, but {g.beams} beams from {g.start_rad:.4g} in steps of "
        f"{g.step_rad:.4g} rad end at {last:.4g}"
    )


def check_units(topic: str, scans: Sequence[Scan], max_range_m: float) -> None:
    """Check that the ranges are metres.

    Raises:
        BadLog: their median is no distance in metres that a scanner measures, or nearly all are whole numbers.
    """
    values = _measured(scans)
    if not len(values):
        return
    middle = float(np.median(values))
    units = "millimetres" if middle > 1000 else "centimetres or millimetres"
    if middle > max(FAR_M, max_range_m):
        raise BadLog(f"{topic}: ranges: the median is {middle:.4g}: expected metres, these look like {units}")
    whole = float(np.mean(values == np.rint(values)))
    if whole >= MIN_WHOLE and len(np.unique(values)) >= MIN_VALUES:
        raise BadLog(f"{topic}: ranges: whole numbers, median {middle:.4g}: expected metres, these look like {units}")
    if middle < NEAR_M:
        raise BadLog(f"{topic}: ranges: the median is {middle:.3g} m: not metres, or the scanner is covered")


def _measured(scans: Sequence[Scan]) -> Floats:
    """Return the finite positive ranges of up to `MAX_SAMPLED` scans that are spread evenly over the log."""
    picked = np.unique(np.linspace(0, len(scans) - 1, min(len(scans), MAX_SAMPLED)).astype(int))
    values: Floats = np.concatenate([np.asarray(scans[number].ranges, dtype=np.float64) for number in picked])
    found: Floats = values[np.isfinite(values) & (values > 0)]
    return found


def check_returns(topic: str, scans: Sequence[Scan], beams: Sequence[Floats], max_range_m: float) -> Seen:
    """Return what was seen; `beams` are the ranges of each scan along our beams, inf for no return.

    Raises:
        BadLog: nearly no scan has a return, or all returns are the same distance.
    """
    counts = np.array([np.isfinite(row).sum() for row in beams])
    total, blank = len(beams), int((counts == 0).sum())
    if total - blank < max(1, MIN_SCANS_WITH_RETURNS * total):
        raise BadLog(f"{topic}: ranges: no return in {blank} of {total} scans: {why_blank(scans, max_range_m)}")
    nearest = min(float(row.min()) for row in beams)
    farthest = max(float(row.max(initial=0.0, where=np.isfinite(row))) for row in beams)
    if nearest == farthest and min(total, counts.mean()) >= MIN_VALUES:
        raise BadLog(f"{topic}: ranges: every return in {total} scans is {nearest:g} m: nothing was measured")
    notes = [_unset(scans)]
    if blank > MANY_BLANK * total:
        notes.append(f"{blank} of {total} scans have no return")
    return Seen(float(counts.mean()) / len(beams[0]), tuple(filter(None, notes)))


def _unset(scans: Sequence[Scan]) -> str:
    unset = [scan.max_range_m for scan in scans if not scan.max_range_m > 0]
    return f"range_max is {unset[0]:g} in {len(unset)} of {len(scans)} scans: taken as unset" if unset else ""


def why_blank(scans: Sequence[Scan], max_range_m: float) -> str:
    """Return why the ranges of scans are no returns, the commonest reasons first."""
    reasons: Counter[str] = Counter()
    for scan in scans:
        ranges, limits = np.asarray(scan.ranges, dtype=np.float64), limits_of(scan, max_range_m)
        high = min(limits.high_m, limits.full_m)
        positive = ranges[np.isfinite(ranges) & (ranges > 0)]
        reasons["NaN"] += int(np.isnan(ranges).sum())
        reasons["infinite"] += int(np.isinf(ranges).sum())
        reasons["0 or less"] += int((np.isfinite(ranges) & (ranges <= 0)).sum())
        reasons[f"below range_min={limits.low_m:.4g}"] += int((positive < limits.low_m).sum())
        reasons[f"not below range_max={high:.4g}"] += int(((positive >= high) & (positive >= limits.low_m)).sum())
    total = sum(np.size(scan.ranges) for scan in scans)
    said = [f"{count / total:.0%} of the ranges are {reason}" for reason, count in reasons.most_common(3) if count]
    lost = total - reasons.total()
    return ", ".join([*said, "the rest is outside lidar.fov_deg"] if lost else said)
