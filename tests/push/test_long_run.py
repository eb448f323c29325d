"""400 days in fast time on a real S3 server: the fleet never stops by itself, and stops where nobody does the ceremony.

The clock is stepped through the code that `refresh_fleet` runs, every six hours instead of every hour; a device checks
for updates every day, just before the refresh. A worker has the keys that its runtime gives it: all of them on the
local stack, the online ones in a container or a pod.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError
from tuf.ngclient import Updater, UpdaterConfig

from sim2edge.bus import Bus
from sim2edge.edge.server.tuf_fetcher import BusFetcher
from sim2edge.errors import BadInput
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import BundleTarget, Repository

START = datetime(2027, 1, 1, tzinfo=UTC)
ONLINE = ("root.json", "targets-*.pem", "snapshot-*.pem", "timestamp-*.pem")


class Years:
    """An update repository and a device in time that passes fast."""

    def __init__(self, bus: Bus, folder: Path, *, root_keys_at_hand: bool) -> None:
        self.bus = bus
        self.folder = folder
        self.time = START
        self.admins = Repository(bus, KeyFolder(folder / "admin"), PushConfig(), lambda: self.time)
        self.admins.create()
        given = folder / "admin"
        if not root_keys_at_hand:
            given = folder / "worker"
            given.mkdir()
            for path in (path for pattern in ONLINE for path in (folder / "admin").glob(pattern)):
                shutil.copy(path, given)
        self.workers = Repository(bus, KeyFolder(given), PushConfig(), lambda: self.time)
        self.root = KeyFolder(given).read_root()
        self.renewed: dict[str, int] = {}

    def live(self, days: int) -> Iterator[int]:
        """Let days pass, with a refresh every six hours; yield each day at its end, after a device has checked."""
        for _ in range(days):
            for _ in range(3):
                self.time += timedelta(hours=6)
                self.refresh()
            self.time += timedelta(hours=6)
            self.check()
            yield self.day
            self.refresh()

    def refresh(self) -> None:
        """What `sim2edge ota refresh --root` does, as the DAG runs it."""
        root = ("root",) if self.workers.renew_root() else ()
        for role in (*root, *self.workers.refresh()):
            self.renewed[role] = self.renewed.get(role, 0) + 1

    def check(self) -> None:
        """A device checks for updates."""
        home = self.folder / "device"
        home.mkdir(exist_ok=True)
        fetcher, limits = BusFetcher(self.bus), UpdaterConfig(max_root_rotations=1024)
        client = Updater(str(home), "ota/metadata/", str(home), fetcher=fetcher, config=limits, bootstrap=self.root)
        client._trusted_set.reference_time = self.time
        client.refresh()

    def push(self, release: str) -> bool:
        """A worker pushes a release."""
        file = self.folder / f"{release}.tar"
        file.write_bytes(release.encode())
        return self.workers.publish("canary", BundleTarget(release, file, "{}"))

    @property
    def day(self) -> int:
        """Days since the start."""
        return (self.time - START).days


@pytest.mark.slow
def test_where_the_root_keys_are_at_hand_400_days_pass_without_anybody(s3, tmp_path):
    years = Years(s3, tmp_path, root_keys_at_hand=True)
    assert list(years.live(400)) == list(range(1, 401))
    assert years.push("r1")
    years.check()
    assert years.renewed == {"root": 2, "targets": 8, "snapshot": 107, "timestamp": 800}


@pytest.mark.slow
def test_where_they_are_not_one_ceremony_a_year_is_enough_and_its_absence_is_told_in_time(s3, tmp_path):
    years = Years(s3, tmp_path, root_keys_at_hand=False)
    refused, warned = None, None
    for day in years.live(364):
        try:
            soon = years.workers.check_root()
            warned = warned or (day if soon else None)
        except BadInput:
            refused = refused or day
    assert (warned, refused) == (276, 359)
    with pytest.raises(BadInput, match="too soon to push under it"):
        years.push("r1")
    assert years.admins.rotate_root() == 2
    assert list(years.live(36))[-1] == 400
    assert years.push("r1")
    years.check()


@pytest.mark.slow
def test_without_the_ceremony_it_stops_after_a_year_loudly_and_goes_on_after_it(s3, tmp_path):
    years = Years(s3, tmp_path, root_keys_at_hand=False)
    years.time += timedelta(days=366)
    with pytest.raises(BadInput, match="the root expired on 2028-01-01, devices refuse every update"):
        years.refresh()
    with pytest.raises(ExpiredMetadataError):
        years.check()
    years.admins.rotate_root()
    years.check()


def test_the_refresh_may_be_away_for_half_a_day_whenever_it_goes(bus, tmp_path):
    years = Years(bus, tmp_path, root_keys_at_hand=False)
    for worked in range(0, 25, 6):
        for _ in range(worked):
            years.time += timedelta(hours=1)
            years.refresh()
        years.time += timedelta(hours=11, minutes=59)
        years.check()
        years.refresh()
    years.time += timedelta(days=1)
    with pytest.raises(ExpiredMetadataError):
        years.check()
