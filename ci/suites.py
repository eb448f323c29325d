"""Run the suites of ci/suites.toml whose files changed since they last passed; needs only Python 3.11 and git.

    python3 ci/suites.py plan               # list what would run, and why
    python3 ci/suites.py run                # run these
    python3 ci/suites.py run browser docker # run the named ones, whatever changed
    python3 ci/suites.py run --all          # run all of them

A suite that passes is recorded in ci/passed.json with the digest of the committed files it depends on; commit that file
with the change. How to describe a suite: docs/testing.md.

Exit codes: 0 all passed; 1 one failed or was not run; 2 ci/suites.toml, ci/passed.json or the checkout is invalid.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SUITES, PASSED = "ci/suites.toml", "ci/passed.json"

FIELDS = {
    **dict.fromkeys(("paths", "needs", "exports"), list),
    **dict.fromkeys(("always", "first", "retry"), bool),
    "command": str,
    "minutes": int,
    "cores": float,
}
"""The fields of a suite in ci/suites.toml, with their types."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MAXIMUM = {"minutes": 24 * 60, "cores": 1024}


class Unusable(Exception):
    """The description, the record or the checkout is invalid; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A command to run: a suite, or a need, a prerequisite of suites."""

    kind: str
    """`suite` or `need`."""
    name: str
    command: str
    minutes: int
    """Timeout."""
    paths: tuple[str, ...] = ()
    """Globs of the committed files it depends on; `!` excludes."""
    needs: tuple[str, ...] = ()
    """Names of the steps to run before it, once per run."""
    exports: tuple[str, ...] = ()
    """Files of NAME=value that it writes, for the steps that need it."""
    always: bool = False
    """Whether to run it whatever changed."""
    first: bool = False
    """Whether its failure ends the run."""
    retry: bool = False
    """Whether to run it once more if it fails."""
    cores: float = 0.0
    """Cores that it keeps busy; 0: all of them."""

    @property
    def label(self) -> str:
        """Its name in a log; needs are in parentheses."""
        return self.name if self.kind == "suite" else f"({self.name})"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Needs by name, and suites in their order."""

    needs: Mapping[str, Step]
    suites: tuple[Step, ...]

    def before(self, step: Step) -> list[Step]:
        """Return the steps to run before a step, in order, each once."""
        found: dict[str, Step] = {}
        for name in step.needs:
            for each in (*self.before(self.needs[name]), self.needs[name]):
                found.setdefault(each.name, each)
        return list(found.values())


@dataclasses.dataclass(frozen=True)
class Passed:
    """The record of a suite that passed."""

    digest: str
    commit: str
    seconds: int


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether to run a suite, and why."""

    suite: Step
    run: bool
    why: str
    digest: str
    uncommitted: str = ""
    """A path it depends on with uncommitted changes; empty if none."""


# --- The description ------------------------------------------------------------------------------------------------


def read_plan(text: str) -> Plan:
    """Parse ci/suites.toml.

    Raises:
        Unusable: it is invalid; names the suite and the field.
    """
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unusable(f"{SUITES}: {error}") from error
    if unknown := said.keys() - {"paths", "need", "suite"}:
        raise Unusable(f"{SUITES}: unknown table {min(unknown)!r}")
    if not said.get("suite"):
        raise Unusable(f"{SUITES}: describes no suite")
    sets = said.get("paths", {})
    needs = {name: _read_step("need", name, table, sets) for name, table in said.get("need", {}).items()}
    suites = tuple(_read_step("suite", name, table, sets) for name, table in said["suite"].items())
    for step in (*needs.values(), *suites):
        _check_needs(step, needs)
    return Plan(needs, suites)


def _read_step(kind: str, name: str, table: Mapping[str, Any], sets: Mapping[str, list[str]]) -> Step:
    where = f"{kind}.{name}"
    if not NAME.fullmatch(name):
        raise Unusable(f"{SUITES}: {where}: a name has a-z, 0-9 and '-' only")
    for field, value in table.items():
        if field not in FIELDS:
            raise Unusable(f"{SUITES}: {where}: unknown field {field!r}")
        if type(value) is not FIELDS[field] and not (field == "cores" and type(value) is int):
            raise Unusable(f"{SUITES}: {where}.{field}: {value!r} has the wrong type")
        if isinstance(value, (int, float)) and field in MAXIMUM and not 0 < value <= MAXIMUM[field]:
            raise Unusable(f"{SUITES}: {where}.{field}: {value!r} is not above 0 and at most {MAXIMUM[field]}")
    if missing := {"command", "minutes"} - table.keys():
        raise Unusable(f"{SUITES}: {where}: no {min(missing)}")
    values: dict[str, Any] = {field: tuple(value) if FIELDS[field] is list else value for field, value in table.items()}
    return Step(**values | {"kind": kind, "name": name, "paths": tuple(_expand(where, table.get("paths", []), sets))})


def _expand(where: str, paths: Iterable[str], sets: Mapping[str, list[str]]) -> Iterable[str]:
    """Return the paths with the named sets (`@name`) expanded."""
    for path in paths:
        if not path.startswith("@"):
            yield path
        elif path[1:] in sets:
            yield from _expand(f"paths.{path[1:]}", sets[path[1:]], sets)
        else:
            raise Unusable(f"{SUITES}: {where}: no set of paths {path!r}")


def _check_needs(step: Step, needs: Mapping[str, Step], above: tuple[str, ...] = ()) -> None:
    for name in step.needs:
        if name not in needs:
            raise Unusable(f"{SUITES}: {step.name}: no need {name!r}")
        if name in above:
            raise Unusable(f"{SUITES}: need.{name}: needs itself")
        _check_needs(needs[name], needs, (*above, name))


# --- What a suite depends on ----------------------------------------------------------------------------------------


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Compile a glob: `*` and `?` do not match a slash, `**` does."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts), re.DOTALL)


def select(patterns: Sequence[str], paths: Collection[str], where: str) -> set[str]:
    """Return the paths that a step depends on; `!` wins, whatever the order of the patterns.

    Raises:
        Unusable: a pattern matches no path, which happens unnoticed when files are moved.
    """
    taken: set[str] = set()
    refused: set[str] = set()
    for pattern in patterns:
        glob = compile_glob(pattern.removeprefix("!"))
        found = {path for path in paths if glob.fullmatch(path)}
        if not found:
            raise Unusable(f"{SUITES}: {where}: {pattern!r} matches no committed file")
        (refused if pattern.startswith("!") else taken).update(found)
    return taken - refused


def depends_on(plan: Plan, suite: Step, paths: Collection[str]) -> set[str]:
    """Return every committed file that a suite depends on, directly or through its needs.

    Raises:
        Unusable: it depends on no file of its own and is not `always` run; or see `select`.
    """
    found: set[str] = set()
    for step in (*plan.before(suite), suite):
        found |= select(step.paths, paths, step.name)
    if not (suite.always or select(suite.paths, paths, suite.name) - {PASSED}):
        raise Unusable(f"{SUITES}: {suite.name}: depends on no file of its own: it would run once and never again")
    return found - {PASSED}


def digest(plan: Plan, suite: Step, blobs: Mapping[str, str], paths: Collection[str]) -> str:
    """Hash a suite's commands and the committed files it depends on; `blobs` maps a path to its mode and blob."""
    steps = [[step.name, step.command, *step.exports] for step in (*plan.before(suite), suite)]
    lines = [json.dumps(steps), *(f"{blobs[path]} {path}" for path in sorted(paths))]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:24]


# --- The decision ---------------------------------------------------------------------------------------------------


def decide(
    plan: Plan, blobs: Mapping[str, str], dirty: Collection[str], passed: Mapping[str, Passed]
) -> list[Decision]:
    """Decide for each suite whether to run it.

    Args:
        plan: needs and suites.
        blobs: path to mode and blob, of each committed file.
        dirty: paths with uncommitted changes.
        passed: suite to its record.
    """
    decisions = []
    for suite in plan.suites:
        paths = depends_on(plan, suite, blobs)
        now = digest(plan, suite, blobs, paths)
        uncommitted = find_uncommitted(plan, suite, paths, dirty)
        decisions.append(Decision(suite, *_judge(suite, now, uncommitted, passed), now, uncommitted))
    return decisions


def _judge(suite: Step, now: str, uncommitted: str, passed: Mapping[str, Passed]) -> tuple[bool, str]:
    last = passed.get(suite.name)
    if suite.always:
        return True, "always runs"
    if uncommitted:
        return True, f"not committed: {uncommitted}"
    if last is None:
        return True, "no record that it passed"
    if last.digest != now:
        return True, f"changed since it passed on {last.commit[:12]}"
    return False, f"last passed on {last.commit[:12]}, with the same files"


def find_uncommitted(plan: Plan, step: Step, paths: Collection[str], dirty: Collection[str]) -> str:
    """Return the first uncommitted path of a step: changed, deleted, or new and matched by its patterns; else ""."""
    if SUITES in dirty:
        return SUITES
    patterns = [pattern for each in (*plan.before(step), step) for pattern in each.paths]
    globs = [compile_glob(pattern) for pattern in patterns if not pattern.startswith("!")]
    refused = [compile_glob(pattern[1:]) for pattern in patterns if pattern.startswith("!")]
    for path in sorted(set(dirty) - {PASSED}):
        if path in paths or (any(g.fullmatch(path) for g in globs) and not any(g.fullmatch(path) for g in refused)):
            return path
    return ""


# --- The record -----------------------------------------------------------------------------------------------------


def read_passed(text: str) -> dict[str, Passed]:
    """Parse ci/passed.json.

    Raises:
        Unusable: it is damaged, for instance by a merge. Without the file every suite runs.
    """
    try:
        return {name: Passed(**fields) for name, fields in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise Unusable(
            f"{PASSED}: damaged ({error}); delete the lines of the suites in question, or the file"
        ) from error


def write_passed(passed: Mapping[str, Passed]) -> str:
    """Format ci/passed.json, one line per suite, so that changes of different suites merge."""
    lines = [f"{json.dumps(name)}: {json.dumps(dataclasses.asdict(passed[name]))}" for name in sorted(passed)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --- git ------------------------------------------------------------------------------------------------------------


class Checkout:
    """A git checkout with the description and the record in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def plan(self) -> Plan:
        """Read the suites."""
        return read_plan(self._read(SUITES) or "")

    def passed(self) -> dict[str, Passed]:
        """Read the record; empty if there is none."""
        return read_passed(self._read(PASSED) or "{}")

    def decide(self, plan: Plan) -> list[Decision]:
        """Decide by the committed files and the record."""
        return decide(plan, self.blobs(), self.dirty(), self.passed())

    def blobs(self) -> dict[str, str]:
        """Return path to mode and blob, of each file of HEAD."""
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", "HEAD").split("\0")
        parts = [entry.split("\t", 1) for entry in listed if entry]
        return {path: meta for meta, path in parts}

    def dirty(self) -> set[str]:
        """Return paths that differ from HEAD: changed, deleted, renamed (both names), new and not ignored."""
        listed = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames").split("\0")
        return {entry[3:] for entry in listed if entry}

    def uncommitted(self, plan: Plan, step: Step) -> str:
        """Return an uncommitted path of a step; "" if there is none."""
        blobs = self.blobs()
        paths = {path for each in (*plan.before(step), step) for path in select(each.paths, blobs, each.name)}
        return find_uncommitted(plan, step, paths, self.dirty())

    def record(self, plan: Plan, before: Decision, seconds: int) -> str:
        """Record that a suite passed; return the reason if it cannot be recorded, else "".

        The tested files are known only if they equalled the committed ones at the decision, and do so now.
        """
        after = next(each for each in self.decide(plan) if each.suite.name == before.suite.name)
        if uncommitted := before.uncommitted or after.uncommitted:
            return f"not committed: {uncommitted}"
        if after.digest != before.digest:
            return "a file it depends on changed while it ran"
        if before.suite.always:
            return ""
        self._write(
            self.passed() | {before.suite.name: Passed(before.digest, self._git("rev-parse", "HEAD").strip(), seconds)}
        )
        return ""

    def forget(self, suite: Step) -> None:
        """Remove the record of a suite."""
        if suite.name in (passed := self.passed()):
            self._write({name: record for name, record in passed.items() if name != suite.name})

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the checkout against other runs.

        Raises:
            Unusable: another run holds the lock.
        """
        folder = os.open(self.root / "ci", os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unusable("another run is under way in this checkout") from error
            yield
        finally:
            os.close(folder)

    def _write(self, passed: Mapping[str, Passed]) -> None:
        written = self.root / f"{PASSED}.new"
        written.write_text(write_passed(passed))
        written.replace(self.root / PASSED)

    def _read(self, path: str) -> str | None:
        file = self.root / path
        return file.read_text() if file.exists() else None

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(self.root), *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
        if done.returncode:
            raise Unusable(f"git {words[0]}: {done.stderr.strip()}")
        return done.stdout


# --- The commands ---------------------------------------------------------------------------------------------------


def choose(decisions: Sequence[Decision], names: Sequence[str], everything: bool) -> list[Decision]:
    """Apply the suites selected on the command line to the decisions.

    Raises:
        Unusable: a name is not a suite.
    """
    known = [decision.suite.name for decision in decisions]
    for name in names:
        if name not in known:
            raise Unusable(f"{name!r} is not a suite: {', '.join(known)}")
    if not names and not everything:
        return list(decisions)
    return [
        dataclasses.replace(each, run=True, why=each.why if each.run else f"requested; {each.why}")
        for each in decisions
        if everything or each.suite.name in names
    ]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run a command and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("plan", "run"))
    parser.add_argument("names", nargs="*", metavar="SUITE", help="run these, whatever changed")
    parser.add_argument("--all", action="store_true", help="all suites, whatever changed")
    parser.add_argument("--until", type=int, default=24 * 60, help="start no step whose timeout ends after this minute")
    options = parser.parse_intermixed_args(argv)
    checkout = Checkout(root)
    try:
        plan = checkout.plan()
        chosen = choose(checkout.decide(plan), options.names, options.all)
        if options.what == "plan":
            for each in chosen:
                print(f"{'run ' if each.run else '    '} {each.suite.name:12} {each.why}")
            return 0
        from suite_runner import Runner

        with checkout.alone():
            return Runner(checkout, plan, options.until).run(chosen)
    except Unusable as error:
        print(f"suites: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
