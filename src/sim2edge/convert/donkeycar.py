"""Write episodes as a tub of donkeycar (version 2): images unchanged, commands as shares of the full speed and turn.

A tub has no place for a scan, a pose or the end of an episode: each episode is a session, and the clock pauses between.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sim2edge.convert.episodes import Episode, Tick, topics_of
from sim2edge.episodes.moment import RATE_HZ, Command
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest

RECORDS_A_CATALOG = 1000
BETWEEN_SESSIONS = timedelta(minutes=1)
INPUTS = ("cam/image_array", "user/angle", "user/throttle", "user/mode")
TYPES = ("image_array", "float", "float", "str")


def find_scale(episodes: Sequence[Episode]) -> Command:
    """Return the largest speed and turn of the episodes, which become 1; 1 m/s or rad/s if there is none.

    Raises:
        BadInput: an episode cannot be read.
    """
    commands = [tick.command for episode in episodes for tick in episode.ticks()]
    fastest = max((abs(command.linear_m_s) for command in commands), default=0.0)
    sharpest = max((abs(command.angular_rad_s) for command in commands), default=0.0)
    return Command(fastest or 1.0, sharpest or 1.0)


class TubWriter:
    """Writes a tub into a new folder."""

    def __init__(self, folder: Path, manifest: Manifest, scale: Command) -> None:
        """Create the folder of images; `scale` is the command of full throttle and full lock."""
        self._folder, self._made, self._scale = folder, manifest.finished, scale
        self._reference = manifest.reference
        self._count = 0
        self._lines: list[str] = []
        self._catalogs: list[str] = []
        self._sessions: list[str] = []
        (folder / "images").mkdir()

    def write(self, episodes: Sequence[Episode]) -> Iterator[int]:
        """Write the episodes, and yield their number so far.

        Raises:
            BadInput: an episode cannot be read, or a command is beyond the scale.
        """
        clock = self._made
        for number, episode in enumerate(episodes):
            session = f"{self._made:%y-%m-%d}_{number}"
            self._sessions.append(session)
            last = 0
            for tick in episode.ticks():
                time = clock + timedelta(seconds=tick.index / RATE_HZ)
                self._write_record(episode, tick, session, round(time.timestamp() * 1000))
                last = tick.index
            clock += timedelta(seconds=last / RATE_HZ) + BETWEEN_SESSIONS
            yield number + 1
        self._close_catalog()
        self._write_manifest()

    def remarks(self, episodes: Sequence[Episode]) -> list[str]:
        """Return what 1 stands for, and what a tub has no place for."""
        left_out = sorted(set.union(*topics_of(episodes)))
        found = [
            f"throttle 1 is {self._scale.linear_m_s:g} m/s, angle -1 is {self._scale.angular_rad_s:g} rad/s to the left"
        ]
        return found + ([f"a tub has no place for {', '.join(left_out)}: left out"] if left_out else [])

    def _write_record(self, episode: Episode, tick: Tick, session: str, time_ms: int) -> None:
        image = f"{self._count}_cam_image_array_.jpg"
        (self._folder / "images" / image).write_bytes(tick.jpeg)
        throttle = tick.command.linear_m_s / self._scale.linear_m_s
        angle = -tick.command.angular_rad_s / self._scale.angular_rad_s
        for value, name in ((throttle, "--full-speed"), (angle, "--full-turn")):
            if abs(value) > 1 + 1e-9:
                raise BadInput(f"{episode.folder.name}: tick {tick.index}: the command is {value:.3g} of {name}")
        record: dict[str, Any] = {"_index": self._count, "_session_id": session, "_timestamp_ms": time_ms}
        record |= dict(zip(INPUTS, (image, angle, throttle, "user"), strict=True))
        self._lines.append(json.dumps(record, allow_nan=False, sort_keys=True) + "\n")
        self._count += 1
        if len(self._lines) == RECORDS_A_CATALOG:
            self._close_catalog()

    def _close_catalog(self) -> None:
        """Write the catalog, and beside it the length of each of its lines, by which donkeycar seeks."""
        if not self._lines:
            return
        name = f"catalog_{len(self._catalogs)}.catalog"
        (self._folder / name).write_text("".join(self._lines), encoding="utf-8", newline="\n")
        about = {
            "created_at": self._made.timestamp(),
            "line_lengths": [len(line) for line in self._lines],
            "path": f"{name}_manifest",
            "start_index": self._count - len(self._lines),
        }
        text = json.dumps(about, sort_keys=True) + "\n"
        (self._folder / f"{name}_manifest").write_text(text, encoding="utf-8", newline="\n")
        self._catalogs.append(name)
        self._lines = []

    def _write_manifest(self) -> None:
        scale = {"full_speed_m_s": str(self._scale.linear_m_s), "full_turn_rad_s": str(self._scale.angular_rad_s)}
        last = {"last_id": len(self._sessions) - 1, "last_full_id": self._sessions[-1]}
        sessions = {"all_full_ids": self._sessions, **last}
        lines = (
            INPUTS,
            TYPES,
            {"made_from": self._reference, **scale},
            {"created_at": self._made.timestamp(), "sessions": sessions},
            {
                "paths": self._catalogs,
                "current_index": self._count,
                "max_len": RECORDS_A_CATALOG,
                "deleted_indexes": [],
            },
        )
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self._folder / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
