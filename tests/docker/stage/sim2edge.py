#!/opt/sim2edge/bin/python
"""Stands in for `sim2edge` in a stage's image: takes a stage's command line, and behaves as the test directs.

The server at `DIRECTOR` says as JSON under `/behaviours` how each stage behaves: `commit` (the default: a real artifact
with a trivial payload), what `fake_stage.py` knows, or a name in `BEHAVIOURS`; under `/go` whether those that wait may
go on. It is no object on the bus: a stage's own credentials give no access to it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/fake")
import fake_stage

from sim2edge.progress import emit
from sim2edge.secrets_file import load_secrets_file

PATIENCE_S = 120


def ask(what: str) -> Any:
    address = f"{os.environ['DIRECTOR']}/{what}"
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - the test itself
        return json.load(answer)


def say(stage: str, text: str) -> None:
    emit("log", stage=stage, message=text)


def wait_for_go(stage: str, argv: list[str]) -> int:
    """Say something, wait to be let go, say more, commit."""
    say(stage, "first line")
    until = time.monotonic() + PATIENCE_S
    while not ask("go") and time.monotonic() < until:
        time.sleep(0.1)
    say(stage, "last line")
    return fake_stage.commit(stage, argv)


def talk(stage: str, argv: list[str]) -> int:
    """A numbered line every 10 ms on both streams, for a while."""
    for number in range(300):
        say(stage, f"number {number}")
        print(f"error {number}", file=sys.stderr, flush=True)
        time.sleep(0.01)
    return fake_stage.commit(stage, argv)


def hog(stage: str, argv: list[str]) -> int:
    """Take memory without end."""
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)) * 8)


def hog_in_child(stage: str, argv: list[str]) -> int:
    """Let a child take memory without end; end as a stage does whose worker died."""
    code = "taken = []\nwhile True: taken.append(bytearray(1 << 24))"
    child = subprocess.run([sys.executable, "-c", code], check=False)
    return fake_stage.fail(f"a worker died: {child.returncode}", 1)


def stubborn(stage: str, argv: list[str]) -> int:
    """Ignore the polite request to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(stage, "first line")
    time.sleep(PATIENCE_S)
    return 0


def breed(stage: str, argv: list[str]) -> int:
    """Start processes until the limit is met."""
    children = []
    try:
        for _ in range(10_000):
            children.append(subprocess.Popen(["sleep", "60"]))  # noqa: PERF401 - those before the limit count
    except BlockingIOError as error:
        return fake_stage.fail(f"{len(children)} processes: {error.strerror}", 1)
    return 0


def fill(stage: str, argv: list[str]) -> int:
    """Fill /tmp."""
    try:
        with Path("/tmp/large").open("wb") as file:
            for _ in range(1024):
                file.write(bytes(1 << 20))
    except OSError as error:
        return fake_stage.fail(f"/tmp: {error.strerror}", 1)
    return 0


def look_around(stage: str, argv: list[str]) -> int:
    """Say what the container is like from the inside."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    writable = {folder: is_writable(Path(folder)) for folder in ("/", "/opt", "/etc", "/tmp", "/scratch", "/run")}
    secrets = [path for path in sorted(Path("/run/sim2edge").rglob("*")) if path.is_file()]
    commands = [path.read_bytes().decode() for path in Path("/proc").glob("[0-9]*/cmdline")]
    found = {
        "uid": [os.getuid(), os.getgid()],
        "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")],
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "writable": [folder for folder, able in writable.items() if able],
        "secrets": {str(path): [oct(path.stat().st_mode & 0o777), path.stat().st_uid] for path in secrets},
        "environment": json.loads(os.environ["FIRST_ENVIRONMENT"]),
        "commands": [command.split("\0") for command in commands],
        "processes_end_with": Path("/proc/1/comm").read_text().strip(),
    }
    say(stage, "seen " + json.dumps(found))
    return 0


def is_writable(folder: Path) -> bool:
    try:
        (folder / "probe").write_text("x")
    except OSError:
        return False
    return True


BEHAVIOURS = {
    "wait": wait_for_go,
    "talk": talk,
    "hog": hog,
    "hog in child": hog_in_child,
    "stubborn": stubborn,
    "breed": breed,
    "fill": fill,
    "look around": look_around,
}


def main(argv: list[str]) -> int:
    os.environ["FIRST_ENVIRONMENT"] = json.dumps(dict(os.environ))
    load_secrets_file(os.environ)
    told = ask("behaviours")
    behaviour = told.get(argv[0], "commit")
    if behaviour in BEHAVIOURS:
        return BEHAVIOURS[behaviour](argv[0], argv[1:])
    os.environ["FAKE_STAGE"] = "/tmp/behaviours.json"
    Path(os.environ["FAKE_STAGE"]).write_text(json.dumps(told))
    return fake_stage.main(["-m", "sim2edge", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
