"""Run one virtual device: the device agent as a process, with frames that no training has seen as its camera."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyarrow.parquet as parquet
from pydantic import ValidationError

from sim2edge.bus import Bus
from sim2edge.enrol.register import Records, change, enrol
from sim2edge.errors import BadInput, Unavailable
from sim2edge.fleet import Device
from sim2edge.private_files import make_private_folder, write_private
from sim2edge.processes import end, spawn

POLL_S = 0.5
NOT_FOR_DEVICES = ("AWS_", "MLFLOW_", "SIM2EDGE_AIRFLOW_", "SIM2EDGE_KEYS", "SIM2EDGE_CREDENTIALS")
"""Variables of the starting process that a device may not have; it gets keys of its own."""


def enrol_virtual(bus: Bus, name: str, ring: str, home: Path) -> None:
    """Enrol a virtual device, whose home is on this machine, unless it is: so that its status is signed."""
    from sim2edge.edge.server.identity import make_key

    public = make_key(home)

    def add(records: Records) -> Records:
        known = records.get(name)
        return records if known and known.public_key == public else enrol(records, name, public, ring, replace=True)

    change(bus, add)


class VirtualDevice:
    """A device of ring `ring` with folder `home`, running for as long as the context is open.

    `environment` has the address of the bucket and the keys of the device's own role.
    """

    def __init__(self, name: str, ring: str, home: Path, root: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.home = home
        self.camera = home / "camera"
        self._command = [sys.executable, "-m", "sim2edge", "device", "run", "--id", name, "--ring", ring]
        self._command += ["--home", str(home), "--root", str(root), "--source", str(self.camera), "--interval", "2"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_DEVICES)}
        self._environment = inherited | dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        make_private_folder(self.camera)
        self._process = spawn(self._command, self._environment, self.home, self.home / "device.log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.poll() is None:
            end([psutil.Process(self._process.pid)], grace_s=10)
        if self._process:
            self._process.wait()

    @property
    def running(self) -> bool:
        """Whether its agent runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The agent's process id."""
        assert self._process  # noqa: S101 - only inside the context
        return self._process.pid

    def status(self) -> Device:
        """Return the device's own status; its state is `unknown` before it has written one."""
        try:
            return Device.model_validate_json((self.home / "status.json").read_bytes())
        except (OSError, ValidationError):
            return Device(device=self.name)

    def wait_for(self, release: str, deadline_s: float) -> Device:
        """Wait until a release has passed its trial on the device; return the status.

        Raises:
            Unavailable: the agent ended, or the deadline passed.
        """
        began = time.monotonic()
        while True:
            status = self.status()
            if status.runs(release):
                return status
            if self._process and self._process.poll() is not None:
                raise Unavailable(f"device {self.name} ended: {self._log_tail()}")
            if time.monotonic() - began > deadline_s:
                raise Unavailable(f"device {self.name} has not installed {release}: {status}: {self._log_tail()}")
            time.sleep(POLL_S)

    def _log_tail(self) -> str:
        return (self.home / "device.log").read_text(errors="replace")[-500:]


def write_unseen_frames(bus: Bus, dataset: str, folder: Path, most: int = 300) -> int:
    """Write frames of a dataset's test split as `<episode>-<frame>.jpg` files into `folder`.

    Args:
        bus: the bucket with the dataset.
        dataset: its reference.
        folder: created if missing; frames of an earlier call are replaced.
        most: the number of frames at most, spread evenly over the split.

    Returns:
        the number of frames written.

    Raises:
        BadInput: the test split is empty.
    """
    with tempfile.TemporaryDirectory() as scratch:
        artifact = bus.fetch(bus.open(dataset), Path(scratch), ("test.parquet",))
        table = parquet.read_table(artifact.path("test.parquet"), columns=["episode_id", "frame", "image"])
    if table.num_rows == 0:
        raise BadInput(f"{dataset}/test.parquet: no frames for the device's camera")
    make_private_folder(folder)
    for old in folder.glob("*.jpg"):
        old.unlink()
    step = max(1, table.num_rows // most)
    rows = table.take(list(range(0, table.num_rows, step))).to_pylist()
    for row in rows:
        write_private(folder / f"{row['episode_id']}-{row['frame']:04d}.jpg", row["image"])
    return len(rows)
