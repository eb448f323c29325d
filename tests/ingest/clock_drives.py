"""Drives whose clocks are warped in known ways, so that the true error of every pairing can be measured.

    python -m ingest.clock_drives [mixtures]        (from tests/) prints the table of warps and what became of each

The value of a message is the true time at which it was sent, and that of labels the true time of their image.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sim2edge.ingest.clock import Times
from sim2edge.ingest.config import IngestConfig, Role
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import LabelledBox, Labels
from sim2edge.ingest.source_log import Stream
from sim2edge.ingest.understand import choose_ticks

WALL_S, SIMULATED_S = 1_700_000_000.0, 12.0
RATES_HZ: dict[Role, float] = {"image": 10.0, "scan": 10.0, "pose": 50.0, "command": 20.0}
PHASES_S: dict[Role, float] = {"image": 0.0, "scan": 0.013, "pose": 0.004, "command": 0.009}
LATENCY_S: dict[Role, float] = {"image": 0.03, "scan": 0.012, "pose": 0.002, "command": 0.001}
STAMPED: tuple[Role, ...] = ("image", "scan", "pose")


@dataclass(frozen=True)
class Warp:
    """What the clocks of a drive do; all times in seconds of true time unless said."""

    seconds: float = 30.0
    rates_hz: dict[Role, float] = field(default_factory=dict)
    speeds: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """From a time on, so many true seconds pass in a second on the wall."""
    pauses: tuple[tuple[float, float], ...] = ()
    """When, and seconds on the wall; commands go on meanwhile."""
    log_steps: tuple[tuple[float, float], ...] = ()
    stamp_steps: tuple[tuple[float, float], ...] = ()
    stamp_step_of: tuple[Role, ...] = STAMPED
    drift_ppm: float = 0.0
    late_s: dict[Role | str, float] = field(default_factory=dict)
    """How late a topic is logged besides its latency; `all` for every topic."""
    jitter_s: dict[Role | str, float] = field(default_factory=dict)
    """Largest random latency, by topic or `all`, uniform."""
    flush_s: float = 0.0
    """The recorder takes the time when it flushes, so often."""
    stall: tuple[float, float] | None = None
    """When, and for how many seconds on the wall, nothing is recorded; then all that waited, at once."""
    quantum_s: float = 0.0
    """Resolution of log times."""
    float_stamps: bool = False
    lost: float = 0.0
    """Share of messages that are lost."""
    shuffled_s: float = 0.0
    """Messages are written out of order by so much."""
    by_log_time: bool = False
    """Written in the order of log times, not as they were heard."""
    wall_stamps: bool = True
    """Stamps near the log's clock; otherwise from a few seconds on, as of a simulator."""
    other_clock: Role | None = None
    """A topic that is stamped by the wall's clock."""
    wrong_stamps: dict[Role, tuple[int, float]] = field(default_factory=dict)
    """By topic: a message and how far its stamp is off."""
    stamped_commands: bool = False
    labels: str = "logged"
    """How labels name their image: `logged` with it, `stamped` with its stamp, `late` by 8 ms without; empty: none."""
    seed: int = 0


Sent = tuple[float, float, Role, float, int | None]
"""When the recorder heard a message, its log time, role, true time and stamp."""


def drive(warp: Warp) -> dict[Role, Stream]:
    """Return the streams of a drive."""
    rng = np.random.default_rng(warp.seed)
    sent: list[Sent] = []
    for role in RATES_HZ:
        true = _true_times(warp, role)
        wall = _pause_commands(warp, role, true[rng.random(len(true)) >= warp.lost])
        true = np.array([moment for moment, _ in wall])
        stamped = role in STAMPED or (warp.stamped_commands and role == "command")
        stamps = _stamps(warp, role, true) if stamped else [None] * len(wall)
        heard, logged = _logged(warp, role, true, np.array([at for _, at in wall]), rng)
        columns = heard.tolist(), logged.tolist(), [role] * len(true), true.tolist(), stamps
        sent += list(zip(*columns, strict=True))
        if role == "image" and warp.labels:
            late = 0.008 if warp.labels == "late" else warp.late_s.get("labels", 0.0)
            known = stamps if warp.labels == "stamped" else [None] * len(true)
            columns = (heard + late).tolist(), (logged + late).tolist(), ["labels"] * len(true), true.tolist(), known
            sent += list(zip(*columns, strict=True))
    return _written(warp, sent, rng)


def _true_times(warp: Warp, role: Role) -> np.ndarray:
    rate = warp.rates_hz.get(role, RATES_HZ[role])
    return np.arange(PHASES_S[role], warp.seconds, 1 / rate)


def _wall(warp: Warp, true: np.ndarray) -> np.ndarray:
    """Wall time of true times, from 0."""
    starts = np.array([start for start, _ in warp.speeds])
    speeds = np.array([speed for _, speed in warp.speeds])
    at_start = np.concatenate([[0.0], np.cumsum(np.diff(starts) / speeds[:-1])])
    part = np.searchsorted(starts, true, side="right") - 1
    wall = at_start[part] + (true - starts[part]) / speeds[part]
    for when, seconds in warp.pauses:
        wall = wall + seconds * (true > when)
    return np.asarray(wall)


def _pause_commands(warp: Warp, role: Role, true: np.ndarray) -> list[tuple[float, float]]:
    """True and wall times of messages; commands are sent on the wall's clock while simulated time stands."""
    wall = list(zip(true.tolist(), _wall(warp, true).tolist(), strict=True))
    if role == "command":
        for when, seconds in warp.pauses:
            begins = float(_wall(warp, np.array([when]))[0])
            wall += [(when, begins + after) for after in np.arange(0.02, seconds, 0.05).tolist()]
    return sorted(wall, key=lambda moment: moment[1])


def _stamps(warp: Warp, role: Role, true: np.ndarray) -> list[int]:
    base = WALL_S if warp.wall_stamps else SIMULATED_S
    times = true * (1 + warp.drift_ppm * 1e-6)
    if role == warp.other_clock:
        times, base = _wall(warp, true), WALL_S
    for when, seconds in warp.stamp_steps:
        if role in warp.stamp_step_of:
            times = times + seconds * (true > when)
    stamps = np.array([round(base * 1e9) + round(time * 1e9) for time in times.tolist()])
    if warp.float_stamps:
        stamps = np.array([int(float(stamp) / 1e9 * 1e9) for stamp in stamps.tolist()])
    if role in warp.wrong_stamps:
        number, off = warp.wrong_stamps[role]
        stamps[number] += round(off * 1e9)
    return list(stamps.tolist())


def _logged(
    warp: Warp, role: Role, true: np.ndarray, wall: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """When messages were heard, and the log times that they got."""
    late = LATENCY_S[role] + warp.late_s.get("all", 0.0) + warp.late_s.get(role, 0.0)
    jitter = warp.jitter_s.get("all", 0.0) + warp.jitter_s.get(role, 0.0)
    logged = wall + late + rng.uniform(0, jitter or 1e-9, len(wall)) + rng.uniform(0, 2e-4, len(wall))
    if jitter:
        logged = np.maximum.accumulate(logged)
    heard = logged
    if warp.stall:
        begins, seconds = warp.stall
        logged = np.where((logged > begins) & (logged < begins + seconds), begins + seconds, logged)
    if warp.flush_s:
        logged = np.ceil(logged / warp.flush_s) * warp.flush_s
    for when, seconds in warp.log_steps:
        logged = logged + seconds * (true > when)
    if warp.quantum_s:
        logged = np.floor(logged / warp.quantum_s) * warp.quantum_s
    return heard, logged


def _written(warp: Warp, sent: list[Sent], rng: np.random.Generator) -> dict[Role, Stream]:
    """The streams, in the order in which the messages were written: as they were heard, or by log time."""
    noise = rng.uniform(0, 1, len(sent)) * warp.shuffled_s
    order = sorted(range(len(sent)), key=lambda number: sent[number][0] + noise[number])
    if warp.by_log_time:
        order = sorted(range(len(sent)), key=lambda number: sent[number][1])
    streams: dict[Role, Stream] = {}
    for number in order:
        _, logged, role, true, stamp = sent[number]
        stream = streams.setdefault(role, Stream(f"/{role}"))
        stream.log_times.append(round(WALL_S * 1e9) + round(logged * 1e9))
        stream.stamps.append(stamp)
        box = LabelledBox.model_validate(
            {"class": "chair", "x_min": true, "y_min": 0, "x_max": 1, "y_max": 1, "distance_m": 1, "bearing_rad": 0}
        )
        stream.values.append(Labels(floor="wood", boxes=(box,)) if role == "labels" else true)
    return streams


@dataclass(frozen=True)
class Outcome:
    """What became of a drive."""

    refused: str = ""
    ticks: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    error_ms: dict[str, float] = field(default_factory=dict)
    """By role: true time from a message to its image, beyond the spacing of the role's messages; labels: all of it."""

    @property
    def right(self) -> bool:
        """Whether the log was refused, or every pairing is right."""
        allowed = {"labels": 0.0, "command": 10.0, "scan": 1.0, "pose": 1.0}
        return bool(self.refused) or all(self.error_ms.get(role, 0.0) <= most for role, most in allowed.items())


def ingest(warp: Warp, config: IngestConfig | None = None) -> Outcome:
    """Choose the ticks of a drive and measure the true errors of their pairings."""
    try:
        streams = drive(warp)
        _, ticks = choose_ticks(streams, config or IngestConfig())
    except BadLog as error:
        return Outcome(refused=str(error))
    return Outcome("", len(ticks), dict(ticks.dropped), _errors(warp, ticks.chosen, streams))


def _errors(warp: Warp, chosen: Mapping[Role, Times], streams: Mapping[Role, Stream]) -> dict[str, float]:
    images = np.array([streams["image"].values[number] for number in chosen["image"].tolist()])
    errors = {}
    for role, numbers in chosen.items():
        values = [streams[role].values[number] for number in numbers.tolist()]
        true = np.array([value.boxes[0].x_min if role == "labels" else value for value in values])
        off = np.abs(true - images) - (0.0 if role == "labels" else _spacing(warp, role, streams[role], images))
        errors[str(role)] = round(float(max(0.0, off.max(initial=0.0))) * 1e3, 3)
    return errors


def _spacing(warp: Warp, role: Role, stream: Stream, images: np.ndarray) -> np.ndarray:
    """The spacing of a role's messages at each image: more where messages were lost."""
    recorded = np.sort(np.array(stream.values))
    last = recorded[np.maximum(np.searchsorted(recorded, images, side="right") - 1, 0)]
    return np.maximum(1 / warp.rates_hz.get(role, RATES_HZ[role]), np.abs(images - last))


SPEEDS = (0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 3.0)
PAUSES_S = (0.5, 1.0, 1.8, 5.0, 30.0)
STEPS_S = (0.3, 0.8, 1.5, 5.0)


def listed() -> Iterator[tuple[str, Warp]]:
    """The warps that are tried one by one."""
    yield "nothing", Warp()
    for speed in SPEEDS:
        yield f"real-time factor {speed}", Warp(speeds=((0.0, speed),), wall_stamps=False)
    yield "factor 1, 0.4, 2", Warp(speeds=((0.0, 1.0), (8.0, 0.4), (20.0, 2.0)), wall_stamps=False)
    for pause in PAUSES_S:
        yield f"pause of {pause} s", Warp(pauses=((12.345, pause),), wall_stamps=False)
    yield "two pauses, factor 0.5", Warp(pauses=((9.02, 2.0), (15.55, 5.0)), speeds=((0.0, 0.5),), wall_stamps=False)
    for step in STEPS_S:
        for sign in (1, -1):
            yield f"log time steps {sign * step:+} s", Warp(log_steps=((14.321, sign * step),))
            yield f"stamps step {sign * step:+} s", Warp(stamp_steps=((14.321, sign * step),))
            yield f"stamps of scans step {sign * step:+} s", Warp(
                stamp_steps=((14.321, sign * step),), stamp_step_of=("scan",)
            )
    for ppm in (-200, 200):
        yield f"drift of {ppm} ppm, 10 min", Warp(seconds=600, drift_ppm=ppm)
    for late in (0.2, 1.5):
        yield f"recorder {late} s late", Warp(late_s={"all": late})
        for role in (*RATES_HZ, "labels"):
            yield f"{role} logged {late} s late", Warp(late_s={role: late})
    for jitter in (0.005, 0.02, 0.1, 0.5):
        yield f"jitter of {jitter * 1e3:g} ms", Warp(jitter_s={"all": jitter})
        yield f"jitter of {jitter * 1e3:g} ms, images", Warp(jitter_s={"image": jitter})
    for role in STAMPED:
        yield f"{role} on the wall's clock, factor 0.8", Warp(speeds=((0.0, 0.8),), other_clock=role)
        yield f"{role} on the wall's clock", Warp(wall_stamps=False, other_clock=role)
        yield f"one stamp of {role} 3 s back", Warp(wrong_stamps={role: (50, -3.0)})
        yield f"one stamp of {role} far ahead", Warp(wrong_stamps={role: (50, 1e6)})
    yield from unforeseen()


def unforeseen() -> Iterator[tuple[str, Warp]]:
    """Warps that the map was not made for."""
    yield "5 Hz scans, 30 Hz camera", Warp(rates_hz={"scan": 5, "image": 30}, speeds=((0.0, 0.6),), wall_stamps=False)
    yield "all 10 Hz, pause", Warp(rates_hz={"pose": 10, "command": 10}, pauses=((7.77, 3.0),), wall_stamps=False)
    yield "a tenth of messages lost", Warp(lost=0.1, speeds=((0.0, 0.5),), wall_stamps=False)
    yield "log times in ms", Warp(quantum_s=0.001)
    yield "log times in ms, factor 3", Warp(quantum_s=0.001, speeds=((0.0, 3.0),))
    yield "log times in 10 ms", Warp(quantum_s=0.01)
    yield "log times in s", Warp(quantum_s=1.0)
    yield "flushes of 200 ms", Warp(flush_s=0.2)
    yield "flushes of 1 s", Warp(flush_s=1.0)
    yield "a stall of 1 s", Warp(stall=(10.0, 1.0))
    yield "float stamps", Warp(float_stamps=True)
    yield "written out of order", Warp(shuffled_s=0.02)
    yield "written by log time", Warp(by_log_time=True)
    yield "log time steps back, written by log time", Warp(log_steps=((9.5, -0.8),), by_log_time=True)
    yield "labels 8 ms late", Warp(labels="late")
    yield "labels with stamps, factor 0.3", Warp(labels="stamped", speeds=((0.0, 0.3),), wall_stamps=False)
    yield "labels with stamps, late", Warp(labels="stamped", late_s={"labels": 4.0})
    yield "200 Hz poses, factor 2", Warp(rates_hz={"pose": 200}, speeds=((0.0, 2.0),), wall_stamps=False)
    yield "100 Hz commands, pause", Warp(rates_hz={"command": 100}, pauses=((8.0, 2.0), (8.3, 2.0)))
    yield "everything", Warp(
        speeds=((0.0, 0.7), (9.0, 1.3)), pauses=((5.0, 1.0), (20.0, 6.0)), log_steps=((13.0, 0.8),), drift_ppm=200,
        late_s={"all": 0.4}, jitter_s={"all": 0.004, "image": 0.03}, lost=0.02, wall_stamps=False,
    )  # fmt: skip


def mixture(seed: int) -> Warp:
    """A random mixture of warps."""
    rng = np.random.default_rng([12, seed])

    def speed() -> float:
        return float(rng.choice(SPEEDS))

    def topic() -> Role:
        return STAMPED[int(rng.integers(3))]

    parts: list[Callable[[Warp], Warp]] = [
        lambda w: replace(w, speeds=((0.0, speed()), (float(rng.uniform(3, 20)), speed()))),
        lambda w: replace(w, speeds=((0.0, float(rng.uniform(0.1, 3))),)),
        lambda w: replace(w, pauses=tuple((float(rng.uniform(2, 28)), float(rng.choice(PAUSES_S))) for _ in range(2))),
        lambda w: replace(w, log_steps=((float(rng.uniform(2, 28)), float(rng.uniform(-2, 2))),)),
        lambda w: replace(w, stamp_steps=((float(rng.uniform(2, 28)), float(rng.uniform(-2, 2))),)),
        lambda w: replace(w, drift_ppm=float(rng.uniform(-200, 200)), seconds=60.0),
        lambda w: replace(w, late_s={"all": float(rng.uniform(0, 2))}),
        lambda w: replace(w, late_s={topic(): float(rng.uniform(0, 2))}),
        lambda w: replace(w, jitter_s={"all": float(rng.uniform(0, 0.05))}),
        lambda w: replace(w, jitter_s={topic(): float(rng.uniform(0, 0.2))}),
        lambda w: replace(w, lost=float(rng.uniform(0, 0.2))),
        lambda w: replace(w, quantum_s=float(rng.choice([0.001, 0.005, 0.02]))),
        lambda w: replace(w, flush_s=float(rng.choice([0.02, 0.05, 0.2]))),
        lambda w: replace(w, stall=(float(rng.uniform(3, 20)), float(rng.uniform(0.1, 2)))),
        lambda w: replace(w, shuffled_s=float(rng.uniform(0, 0.05))),
        lambda w: replace(w, by_log_time=True),
        lambda w: replace(w, labels=str(rng.choice(["stamped", "late", ""]))),
        lambda w: replace(w, other_clock=topic()),
        lambda w: replace(w, wrong_stamps={topic(): (int(rng.integers(100)), float(rng.uniform(-9, 9)))}),
        lambda w: replace(w, float_stamps=True),
        lambda w: replace(w, stamped_commands=True),
    ]  # fmt: skip
    rates: dict[Role, float] = {
        "image": float(rng.choice([5, 10, 15, 30])), "scan": float(rng.choice([5, 10, 20])),
        "pose": float(rng.choice([10, 20, 50, 100])), "command": float(rng.choice([5, 10, 20, 50])),
    }  # fmt: skip
    warp = Warp(seconds=30.0, rates_hz=rates, wall_stamps=bool(rng.integers(2)), seed=seed)
    for part in rng.choice(len(parts), size=int(rng.integers(1, 4)), replace=False).tolist():
        warp = parts[part](warp)
    return warp


def main(mixtures: int) -> None:
    """Print the table."""
    drives = [*listed(), *((f"mixture {seed}", mixture(seed)) for seed in range(mixtures))]
    wrong = refused = 0
    for name, warp in drives:
        found = ingest(warp)
        wrong, refused = wrong + (not found.right), refused + bool(found.refused)
        told = found.refused or f"{found.ticks} ticks, dropped {found.dropped}, beyond spacing, ms: {found.error_ms}"
        if not name.startswith("mixture") or not found.right:
            print(f"{'ok   ' if found.right else 'WRONG'} {name:45} {told}")
            if name.startswith("mixture"):
                print("     ", warp)
    print(f"{len(drives)} drives: {refused} refused, {wrong} wrong")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
