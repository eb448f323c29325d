"""Stands in for the stages' interpreter: takes the command line of a stage and behaves as it is told.

The file that `FAKE_STAGE` names holds a JSON object, stage name to behaviour: `commit` (the default: a real artifact
with a trivial payload), `slow` (the same after `SLOW_S`), `refuse`, or a name in `COMMITS` or `BEHAVIOURS`. It runs in
Airflow's environment, so it needs nothing that the real stages need.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from sim2edge import cli, config, runner
from sim2edge import plan as plans
from sim2edge.alternates import choose_ref
from sim2edge.bus import Bus
from sim2edge.manifest import Cost, Manifest
from sim2edge.progress import emit

SLOW_S = 4
REFS = ("capture", "ingest", "clean", "annotate")


def commit(name: str, argv: list[str], refused: str | None = None) -> int:
    """Do what a stage does, without the work."""
    arguments = cli.stage_parser(name).parse_intermixed_args(argv)
    bus = Bus.from_environment()
    planned = cli.plan_stage(bus, name, arguments)
    for done in range(1, 4):
        emit("progress", stage=name, done=done, total=3, loss=1.0 / done)
    manifest = planned.manifest or produce(bus, planned, refused)
    if name in REFS and not manifest.refused and not planned.shard:
        ref = choose_ref(bus, planned.stage, manifest, planned.config, replace=planned.replace)
        bus.move_ref(str(ref), manifest.reference)
    emit("committed", reference=manifest.reference, cached=planned.manifest is not None, summary=manifest.summary)
    if manifest.refused:
        emit("error", message=f"refused: {manifest.refused}", code=3)
        return 3
    return 0


def produce(bus: Bus, planned: plans.Plan, refused: str | None) -> Manifest:
    """Commit an artifact with one small file."""
    kind, partition, identity = planned.reference.split("/")
    now = datetime.now(UTC)
    resolved = config.resolve(planned.config)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "payload.txt").write_text(planned.reference)
        files = bus.upload(planned.reference, "a-1", Path(folder))
    return bus.commit(
        Manifest(
            kind=kind,
            partition=partition,
            id=identity,
            stage=planned.stage.name,
            version=planned.stage.version,
            config=resolved,
            config_hash=config.digest(resolved),
            inputs={role: list(references) for role, references in planned.inputs.items()},
            parts=[shard.reference for shard in runner.find_shards(bus, planned)] if planned.parts else [],
            shard=str(planned.shard) if planned.shard else None,
            attempt="a-1",
            files=list(files),
            summary={"rows": 3},
            refused=refused,
            environment={},
            started=now,
            finished=now,
            cost=Cost(wall_s=12.5, work_s=12.0, cpu_s=1.0, bytes_in=0, bytes_out=9),
        )
    )


def be_ahead(name: str, argv: list[str]) -> int:
    """Be an image whose stage is one version ahead."""
    ahead = replace(plans.get_stage(name), version=plans.get_stage(name).version + 1)
    plans.get_stage = lambda _: ahead
    return commit(name, argv)


def have_other_presets(name: str, argv: list[str]) -> int:
    """Be an image with another `conf/`."""
    preset = next(word.partition("=")[2] for word in argv if word.startswith("--preset="))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{preset}.yaml").write_text("capture: {episodes: 7}\nclean: {width: 77}\n")
        os.environ["SIM2EDGE_CONF"] = folder
        return commit(name, argv)


def ignore_what_is_expected(name: str, argv: list[str]) -> int:
    """Commit what the stage's own plan says, as an image did that knew nothing of `--expect`."""
    return commit(name, [*(word for word in argv if not word.startswith("--expect")), "episodes=77"])


def fail(message: str, code: int) -> int:
    """End as the command line does on an error."""
    emit("error", message=message, code=code)
    return code


def print_junk() -> int:
    """A line of a megabyte, bytes that are no text, escape sequences, JSON that is no event, no newline at the end."""
    out = sys.stdout.buffer
    out.write(b"x" * (1 << 20) + b"\n\xff\xfe\x00\x1b[31mred\n" + b'{"a": 1}\n[' + b"[" * 5000 + b"\nlast")
    out.flush()
    return 0


def leave_children() -> int:
    """Start a child, and one in a session of its own, and hang; the pids go into the file `FAKE_PIDS` names."""
    sleep = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    ]
    pids = [os.getpid(), subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
    Path(os.environ["SIM2EDGE_SCRATCH"], "half-written").write_text("x")
    written = Path(os.environ["FAKE_PIDS"] + ".tmp")
    written.write_text(json.dumps({"pids": pids, "scratch": os.environ["SIM2EDGE_SCRATCH"]}))
    written.rename(os.environ["FAKE_PIDS"])
    time.sleep(600)
    return 0


def renew() -> int:
    """Do what `sim2edge ota refresh` says: the root has 100 days, the rest is renewed."""
    now, days = datetime.now(UTC), {"root": 100, "targets": 90, "snapshot": 7, "timestamp": 1}
    roles = {role: (now + timedelta(days=left)).isoformat() for role, left in days.items()}
    shown = {role: {"expires": expires, "due": expires, "days_left": 1} for role, expires in roles.items()}
    emit("refreshed", message="renewed timestamp", renewed=["timestamp"], roles=shown)
    return 0


COMMITS = {
    "commit": commit,
    "ahead": be_ahead,
    "other presets": have_other_presets,
    "ignore what is expected": ignore_what_is_expected,
}
BEHAVIOURS = {
    "renew": lambda: renew(),
    "find no repository": lambda: emit("refreshed", message="nothing here", renewed=[], roles={}) or 0,
    "commit nothing": lambda: 0,
    "bad input": lambda: fail("clean.width: input should be greater than 0", 2),
    "unavailable": lambda: fail("bucket/key: connection refused", 75),
    "crash": lambda: int("not a number"),
    "junk": print_junk,
    "hang": leave_children,
    "tell secrets": lambda: print("key is", os.environ["AWS_SECRET_ACCESS_KEY"]) or 0,
    "print arguments": lambda: print(psutil.Process().parent().cmdline()) or 0,
    "print environment": lambda: print(json.dumps(sorted(os.environ))) or 0,
}


def main(argv: list[str]) -> int:
    """`-m sim2edge <stage> ...`."""
    _, module, name, *rest = argv
    assert module == "sim2edge"
    behaviour = json.loads(Path(os.environ["FAKE_STAGE"]).read_text()).get(name, "commit")
    if behaviour == "slow":
        time.sleep(SLOW_S)
        behaviour = "commit"
    if behaviour in COMMITS:
        return cli.guard(lambda: COMMITS[behaviour](name, rest))
    if behaviour == "refuse":
        return commit(name, rest, refused="floor_accuracy 0.61 is below 0.95")
    return BEHAVIOURS[behaviour]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
