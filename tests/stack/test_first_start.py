"""What `sim2edge up` leaves behind: keys and a repository for the first release, and nothing open to other users."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim2edge.push.keys import KeyFolder
from sim2edge.push.metadata import METADATA
from sim2edge.stack.client import Stack
from sim2edge.stack.commands import main
from sim2edge.stack.settings import StackSettings

OTHERS = 0o077


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Have what names no mode open to everyone."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def up(stack: Stack, settings: StackSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Run `sim2edge up` with S3 alone."""
    monkeypatch.setenv("SIM2EDGE_HOME", str(settings.home))
    monkeypatch.setenv("SIM2EDGE_S3_PORT", str(settings.s3_port))
    return lambda: main(["up", "--only", "s3"])


def open_to_others(home: Path) -> dict[str, str]:
    """Path to mode of everything that others could access; not of links.

    `.vif` files say of which version a volume is, not what is in it; SeaweedFS sets their mode itself.
    """
    paths = [path for path in (home, *home.rglob("*")) if not path.is_symlink() and path.suffix != ".vif"]
    modes = {path: path.stat().st_mode for path in paths}
    return {str(path): stat.filemode(mode) for path, mode in modes.items() if mode & OTHERS}


def test_nothing_is_open_to_others(up: Callable[[], int], settings: StackSettings) -> None:
    assert up() == 0
    assert (settings.home / "s3" / "data").is_dir()
    assert open_to_others(settings.home) == {}


@pytest.mark.slow
def test_what_an_earlier_version_left_open_is_closed(
    up: Callable[[], int], stack: Stack, settings: StackSettings
) -> None:
    assert up() == 0
    stack.stop()
    shared = settings.home / "credentials" / "push.env"
    foreign = settings.home / "compose" / "worker"
    foreign.mkdir(parents=True)
    for path in (settings.home, *settings.home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert up() == 0
    kept = {path for path in open_to_others(settings.home) if not path.endswith(".env")}
    assert kept == {str(foreign.parent), str(foreign)}  # of others, as of `sim2edge compose`
    assert shared.stat().st_mode & 0o777 == 0o644  # for a container's user, on purpose
    assert shared.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_the_first_release_has_a_repository_and_keys_that_stay(
    up: Callable[[], int],
    stack: Stack,
    settings: StackSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert up() == 0
    folder = settings.home / "keys"
    assert f"created: ota/, root for devices: {folder / 'root.json'}" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(before) == 7
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    from sim2edge.bus import Bus

    bus = Bus.from_environment()
    assert bus.get(f"{METADATA}/1.root.json") == KeyFolder(folder).read_root()
    assert bus.size(f"{METADATA}/timestamp.json")

    assert up() == 0
    assert "already exists: ota/" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    (folder / "root.json").rename(folder / "elsewhere.json")
    assert up() == 0
    said = capsys.readouterr()
    assert "sim2edge: no release can be pushed: " in said.err
    assert "root.json: missing: `sim2edge ota init` writes it, or copy it from the machine that ran it" in said.err
    assert not (folder / "root.json").exists()


@pytest.mark.slow
def test_the_shell_of_another_s3_is_told_that_the_stack_has_its_own(
    up: Callable[[], int],
    settings: StackSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIM2EDGE_BUCKET", "of-the-company")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    warning = "sim2edge: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID ignored: the local stack has an S3 server of its own"
    assert up() == 0
    assert warning in capsys.readouterr().err
    assert main(["env"]) == 0
    said = capsys.readouterr()
    assert warning in said.err
    assert f"export AWS_ENDPOINT_URL={settings.s3_url}\n" in said.out
    assert "export SIM2EDGE_BUCKET=of-the-company\n" in said.out  # the name of the bucket is a setting of the stack
    for line in said.out.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value.strip("'"))
    assert main(["env"]) == 0
    assert capsys.readouterr() == (said.out, "")
