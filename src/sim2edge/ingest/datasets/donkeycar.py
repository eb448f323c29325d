"""Read a donkeycar tub (version 2): `manifest.json`, `catalog_*.catalog`, `images/`.

A tub is one drawer for all sessions; recording is switched on and off within them. So a drive is a run of records of
one session without a pause. Deleted records are only marked as such, by their number; they end no drive unless the
pause that they leave is too long.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim2edge.episodes.moment import Command
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.datasets.actions import ActionMap, choose
from sim2edge.ingest.datasets.donkeycar_manifest import MANIFEST, read_manifest
from sim2edge.ingest.datasets.drive import Drive, Moment
from sim2edge.ingest.datasets.tables import sha256_of
from sim2edge.ingest.git_lfs import check_fetched
from sim2edge.ingest.mcap_reader import LATEST_NS, BadLog

IMAGES = "images"
ANGLE, THROTTLE, MODE = "user/angle", "user/throttle", "user/mode"
CAMERA = "cam/image_array"
IGNORED = ("lidar/", "pos/", "imu/", "enc/", "gyro/", "accel/", "vel/")
"""Beginnings of inputs with measurements that are not taken."""
FULL_SPEED, FULL_TURN = "full_speed_m_s", "full_turn_rad_s"
"""Metadata of tubs that `sim2edge convert` wrote: the values of 1."""


@dataclass(frozen=True)
class Record:
    """A record that is not deleted."""

    where: str
    """Its catalog and line, for errors."""
    session: str
    time_ms: int
    index: object
    image: Path
    command: Command


class Tub:
    """A tub and the choices by which it is read."""

    def __init__(self, root: Path, config: IngestConfig) -> None:
        """Read the manifest and all records.

        Raises:
            BadInput: the tub lacks a camera, or its actions are no commands.
            BadLog: a file is missing or damaged; with `skip_bad`, bad records are left out.
        """
        self._root, self._config = root, config
        self._bad: list[str] = []
        self._deleted = 0
        self._manifest = read_manifest(root)
        inputs = self._manifest.inputs
        self._camera = config.dataset.image or CAMERA
        if self._camera not in inputs:
            raise BadInput(f"{MANIFEST}: no input '{self._camera}' among: {', '.join(inputs)}: see dataset.image")
        self._steering = self._choose_steering()
        self._actions = inputs[self._steering.linear], inputs[self._steering.angular]
        gap_ms = round(config.max_gap_s * 1000)
        self._drives = list(split(self._rising(self._records(), gap_ms), gap_ms))
        if not self._drives:
            bad = f", {len(self._bad)} bad, first: {self._bad[0]}" if self._bad else ""
            raise BadLog(f"{MANIFEST}: no record is left: {self._deleted} are deleted{bad}")

    def _choose_steering(self) -> ActionMap:
        """Choose the actions; what they stand for is in the metadata of our own tubs."""
        config, own = self._config.dataset, self._manifest.metadata
        if FULL_SPEED in own and config.full_speed_m_s is None:
            config = config.model_copy(update={"full_speed_m_s": float(own[FULL_SPEED])})
        if FULL_TURN in own and config.full_turn_rad_s is None and self._config.wheelbase_m is None:
            config = config.model_copy(update={"full_turn_rad_s": float(own[FULL_TURN])})
        try:
            return choose(self._manifest.inputs, config, self._config.wheelbase_m)
        except BadInput as error:
            raise BadInput(f"{MANIFEST}: {error}") from error

    @property
    def kind(self) -> str:
        """The format, in words."""
        return "donkeycar tub"

    @property
    def names(self) -> list[str]:
        """The names of the drives: their session and, if that has several, their number within it."""
        return name_drives([drive[0].session for drive in self._drives])

    def remarks(self) -> list[str]:
        """Return what was left out."""
        left_out = [name for name in self._manifest.inputs if name.startswith(IGNORED)]
        found = [f"{self._deleted} deleted records left out"] if self._deleted else []
        found += [f"{len(self._bad)} bad records left out, first: {self._bad[0]}"] if self._bad else []
        return found + ([f"not taken: {', '.join(left_out)}"] if left_out else [])

    def open(self, number: int) -> Drive:
        """Return a drive by its number in `names`."""
        records = self._drives[number]
        origin = {
            "format": "donkeycar tub 2",
            "session": records[0].session,
            "camera": self._camera,
            "records": f"{records[0].index} to {records[-1].index}",
            "files": {path: sha256_of(self._root, path) for path in (MANIFEST, *self._manifest.catalogs)},
        }
        return Drive(self.names[number], origin, self._moments(records))

    def _moments(self, records: Sequence[Record]) -> Iterator[Moment]:
        for record in records:
            yield Moment(record.time_ms * 1_000_000, record.image.read_bytes(), record.command)

    def _records(self) -> Iterator[Record]:
        """Yield the records that are not deleted; with `skip_bad`, bad ones are left out."""
        position, following = 0, 0
        for catalog in self._manifest.catalogs:
            for line, text in enumerate(_read_lines(self._root, catalog), 1):
                where, at, position = f"{catalog}: line {line}", position, position + 1
                try:
                    content = _parse(where, text)
                    index = content.get("_index")
                    following = index + 1 if isinstance(index, int) else following
                    if self._is_deleted(where, index, at):
                        self._deleted += 1
                    else:
                        yield self._record(where, content)
                except BadLog as error:
                    self._leave_out(error)
        if following < self._manifest.following:
            ends = f"the next record is _index {self._manifest.following}, but the catalogs end before {following}"
            self._leave_out(BadLog(f"{MANIFEST}: {ends}: truncated?"))

    def _rising(self, records: Iterable[Record], max_gap_ms: int) -> Iterator[Record]:
        """Yield the records, without those that are not after the one before; a clock set back further is a pause."""
        last: Record | None = None
        for record in records:
            if last and record.session == last.session and 0 <= last.time_ms - record.time_ms <= max_gap_ms:
                times = f"{record.time_ms}, after {last.time_ms} in the record before ({last.where})"
                self._leave_out(BadLog(f"{record.where}: _timestamp_ms: {times}: expected times that rise"))
            else:
                yield record
                last = record

    def _leave_out(self, error: BadLog) -> None:
        if not self._config.skip_bad:
            raise BadLog(f"{error} (skip_bad=true leaves bad records out)")
        self._bad.append(str(error))

    def _record(self, where: str, content: Mapping[str, Any]) -> Record:
        index, time = content.get("_index"), content.get("_timestamp_ms")
        if not isinstance(time, int) or not 0 <= time < LATEST_NS // 1_000_000:
            raise BadLog(f"{where}: _timestamp_ms: {time!r}: expected milliseconds")
        values = [_number(where, content, name) for name in driven_by(self._actions, content.get(MODE))]
        command = replace(self._steering, linear=0, angular=1).command(values, where)
        return Record(where, str(content.get("_session_id", "")), time, index, self._image(where, content), command)

    def _is_deleted(self, where: str, index: object, position: int) -> bool:
        """Return whether a record is deleted: users mark its `_index`, donkeycar leaves out that position.

        They differ if records before it are missing.
        """
        marked = isinstance(index, int) and index in self._manifest.deleted
        left_out = position in self._manifest.deleted
        if marked != left_out:
            number = f"_index {index}" if marked else f"record {position}"
            what = f"_index {index} is record {position}, and {MANIFEST} deletes {number}"
            raise BadLog(f"{where}: {what}: it is unclear whether this one is meant")
        return marked

    def _image(self, where: str, content: Mapping[str, Any]) -> Path:
        name = content.get(self._camera)
        if not isinstance(name, str) or Path(name).name != name:
            raise BadLog(f"{where}: {self._camera}: {name!r} is not the name of a file")
        path = self._root / IMAGES / name
        check_fetched(path, f"{IMAGES}/{name}")
        if not path.is_file() or not path.stat().st_size:
            raise BadLog(f"{IMAGES}/{name}: missing or empty, named in {where}")
        return path


def driven_by(actions: tuple[str, str], mode: object) -> tuple[str, str]:
    """Return the inputs that drove, throttle and angle: in an automatic mode those of the pilot."""
    throttle, angle = actions
    if mode in (None, "user") or actions != (THROTTLE, ANGLE):
        return throttle, angle
    return (throttle if mode == "local_angle" else "pilot/throttle"), "pilot/angle"


def _number(where: str, content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        driver = f", although the pilot drove ({MODE} {content.get(MODE)!r})" if name.startswith("pilot/") else ""
        raise BadLog(f"{where}: {name}: {value!r}: expected a number{driver}")
    return float(value)


def split(records: Iterable[Record], max_gap_ms: int) -> Iterator[list[Record]]:
    """Split records into drives: where the session changes, or time jumps back or on by more than the gap."""
    drive: list[Record] = []
    for record in records:
        if drive:
            step = record.time_ms - drive[-1].time_ms
            if record.session != drive[-1].session or not 0 <= step <= max_gap_ms:
                yield drive
                drive = []
        drive.append(record)
    if drive:
        yield drive


def name_drives(sessions: Sequence[str]) -> list[str]:
    """Return a name for each drive from its session: `session_26-11-30_0`, `session_26-11-30_1.002`."""
    safe = [f"session_{re.sub('[^A-Za-z0-9_-]+', '_', session)[:64]}" for session in sessions]
    seen: Counter[str] = Counter()
    names = []
    for name in safe:
        seen[name] += 1
        names.append(f"{name}.{seen[name]:03d}" if safe.count(name) > 1 else name)
    return names


def _parse(where: str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadLog(f"{where}: not JSON: cut off?") from error
    if not isinstance(content, dict):
        raise BadLog(f"{where}: not a record")
    return content


def _read_lines(root: Path, catalog: str) -> list[str]:
    try:
        return (root / catalog).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise BadLog(f"{catalog}: missing, named in {MANIFEST}") from error
