"""Record requests for a training, and the trainings that fulfilled them, as small objects on the bus.

    retrain/open/<request>.json          submitted, not fulfilled yet
    retrain/served/<request>.json        the training that fulfilled it: a request is fulfilled when this exists
    retrain/trainings/<training>.json    a training that was decided on, with the requests that it joins

    request = make_request("drift", "new lamps in hall 3", {"device": "pi-7", "day": "2026-05-04"}, by="monitor")
    submit(bus, request)                 any program that may write retrain/open/
    fulfil(bus, training)                the DAG `retrain`, once it has decided

A request's id is a hash of kind, evidence, preset and overrides, so submitting it twice is submitting it once, also
after it was fulfilled; a repeated event needs other evidence (another day, another artifact).
`retrain_decision.py` decides when open requests become a training.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from sim2edge.bus import Bus, in_threads
from sim2edge.config import cache_key_fields, digest, load, parse_overrides
from sim2edge.errors import BadInput, Conflict, Corrupt
from sim2edge.lines import first_problem
from sim2edge.manifest import check_partition
from sim2edge.stages import between, stage_names
from sim2edge.withdrawal import Withdrawn

OPEN, FULFILLED, TRAININGS = "retrain/open", "retrain/served", "retrain/trainings"
FRAMES = "refs/frames"
TUNABLE = ("augment", "train")
"""The stages whose settings a request may change: those of the gate and of a release are the deployment's."""
MAX_BYTES = 8192
"""The largest request, bytes of JSON."""
MAX_JOINED = 5000
"""Requests that one training joins; the next one takes the rest. Their record stays below `MAX_TRAINING_BYTES`."""
MAX_TRAINING_BYTES = 64 << 20
CLOCKS_DIFFER_BY = timedelta(minutes=2)

TRAINING_ID = re.compile("[0-9]{8}t[0-9]{6}-[0-9a-f]{8}")

FAILED = "failed_training"
"""Key of the evidence of a request that a failed training gave back: the training's id."""

Kind = Literal["data", "drift", "degradation", "manual"]


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("expected one line of printable characters")
    return text


def _override(word: str) -> str:
    stage, dot, rest = _line(word).partition(".")
    if stage not in stage_names() or not dot:
        raise ValueError(f"expected stage.key=value with a stage of: {', '.join(stage_names())}")
    try:
        parse_overrides([rest])
    except BadInput as error:
        raise ValueError(str(error)) from error
    return word


def _batch(name: str) -> str:
    try:
        return check_partition(name)
    except BadInput as error:
        raise ValueError(str(error)) from error


Line = Annotated[str, AfterValidator(_line)]
Override = Annotated[str, Field(max_length=500), AfterValidator(_override)]
Preset = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Batch = Annotated[str, AfterValidator(_batch)]


class Request(BaseModel):
    """A request for a training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = 1
    id: str = Field(pattern="^[0-9a-f]{16}$", description="hash of kind, evidence, preset and overrides")
    kind: Kind
    reason: Annotated[Line, Field(max_length=300)] = Field(description="one sentence, for people")
    evidence: dict[str, JsonValue] = Field(description="what it is about, for programs; part of the id", max_length=32)
    submitted: AwareDatetime = Field(
        description="UTC; `asked` in requests of older versions", validation_alias=AliasChoices("submitted", "asked")
    )
    by: Annotated[Line, Field(max_length=120)] = Field(description="the submitter: a program, a DAG, a person")
    preset: Preset | None = Field(default=None, description="a file of conf/; None: the deployment's")
    overrides: tuple[Override, ...] = Field(default=(), max_length=64, description="stage.key=value words")
    batch: Batch | None = Field(default=None, description="the batch that is new, of a `data` request")
    frames: int = Field(default=0, ge=0, description="frames that are new, of a `data` request")
    backfill: bool = Field(default=False, description="whether the batch was made by a backfill")
    now: bool = Field(default=False, description="skip the cool-down; only by hand")

    @model_validator(mode="after")
    def _check(self) -> "Request":
        if self.id != identify(self.kind, self.evidence, self.preset, self.overrides):
            raise ValueError("id: is not that of its kind, evidence, preset and overrides")
        if self.now and self.kind != "manual":
            raise ValueError("now: only a request of kind manual may skip the cool-down")
        if len(self.to_json()) > MAX_BYTES:
            raise ValueError(f"evidence: the request is longer than {MAX_BYTES} bytes")
        return self

    def to_json(self) -> bytes:
        """Return the request as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


class Training(BaseModel):
    """A training that was decided on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    id: str = Field(pattern=f"^{TRAINING_ID.pattern}$", description="begins with its time: ids sort by it")
    started: AwareDatetime = Field(description="UTC, when it was decided")
    batch: Batch = Field(description="the newest batch, by name, that it learns from: its partition")
    preset: Preset | None = None
    overrides: tuple[Override, ...] = ()
    settings: str = Field(pattern="^[0-9a-f]{16}$", description="of versions and settings: see `fingerprint`")
    frames: tuple[str, ...] = Field(description="the frames that existed, by reference")
    requests: tuple[Request, ...] = Field(min_length=1, description="the requests that it joins, oldest first")

    @property
    def reasons(self) -> list[str]:
        """The reasons: a line for each request, oldest first."""
        return [f"{request.kind}: {request.reason} ({request.by})" for request in self.requests]

    def to_json(self) -> bytes:
        """Return the training as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


@dataclass(frozen=True)
class Open:
    """The content of `retrain/open/`."""

    requests: Sequence[Request]
    """Requests not fulfilled yet, oldest first, `MAX_JOINED` at most."""
    leftovers: Sequence[str] = ()
    """Keys of fulfilled requests that are still listed, as the run was killed before it deleted them."""
    bad: Sequence[str] = ()
    """Errors of invalid requests: a line each, naming object and field."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Keys of requests for the data of a withdrawn batch, with a line each that says who withdrew it and why."""


# Requests


def identify(kind: str, evidence: Mapping[str, Any], preset: str | None, overrides: Sequence[str]) -> str:
    """Return the id of a request: 16 hex digits, a hash of its arguments."""
    about = {"kind": kind, "evidence": dict(evidence), "preset": preset, "overrides": list(overrides)}
    return digest(about)[:16]


def make_request(
    kind: Kind,
    reason: str,
    evidence: Mapping[str, Any],
    *,
    by: str,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    submitted: datetime | None = None,
    **more: Any,
) -> Request:
    """Build a request and compute its id; `more` are `batch`, `frames`, `backfill`, `now`.

    Raises:
        BadInput: a field is wrong; the message names it.
    """
    if kind in ("drift", "degradation") and not evidence:
        raise BadInput(f"a request of kind {kind} has no evidence: name where it was observed")
    try:
        return Request(
            id=identify(kind, evidence, preset, overrides),
            kind=kind,
            reason=reason,
            evidence=dict(evidence),
            submitted=submitted or datetime.now(UTC),
            by=by,
            preset=preset,
            overrides=tuple(overrides),
            **more,
        )
    except ValidationError as error:
        raise BadInput(f"request: {first_problem(error)}") from error
    except (TypeError, ValueError) as error:
        raise BadInput(f"request: evidence: not JSON: {error}") from error


def fingerprint(
    preset: str | None, overrides: Sequence[str], defaults: Sequence[str] = (), deployment: str | None = None
) -> str:
    """Return 16 hex digits that identify versions and settings of the stages from `augment` to `push`.

    They are part of the evidence of a `data` request: after a change of settings or code, known frames count as new.

    Args:
        preset: a file of conf/, for the stages in `TUNABLE`; None: the deployment's.
        overrides: `stage.key=value` words for these stages; others have no effect.
        defaults: words of the same form from the deployment; `overrides` take precedence.
        deployment: the deployment's preset, for the other stages.

    Raises:
        BadInput: unknown preset, unknown key, or a wrong value.
    """
    found = []
    for stage in between("dataset", "rollout"):  # what a training and its release depend on
        name, chosen = stage.name, stage.name in TUNABLE
        given = [*defaults, *overrides] if chosen else defaults
        words = [word.removeprefix(f"{name}.") for word in given if word.startswith(f"{name}.")]
        config = load(stage.config, name, preset or deployment if chosen else deployment, words)
        found.append([name, stage.version, cache_key_fields(config)])
    return digest(found)[:16]


def tunable(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides of the stages in `TUNABLE`."""
    return tuple(word for word in overrides if word.partition(".")[0] in TUNABLE)


def check_tunable(overrides: Sequence[str]) -> None:
    """Check that every override is one that a request may have.

    Raises:
        BadInput: an override is of another stage; names it.
    """
    if other := next((word for word in overrides if word not in tunable(overrides)), None):
        raise BadInput(f"override '{other}': a training takes settings of {', '.join(TUNABLE)}")


def check_requests(
    requests: Sequence[Request], preset: str, defaults: Sequence[str]
) -> tuple[list[Request], list[str]]:
    """Return the requests whose settings are valid, and an error line for each of the others.

    Args:
        requests: the open requests.
        preset: the deployment's, for requests that name none.
        defaults: see `fingerprint`.
    """
    fit, problems = [], []
    for request in requests:
        try:
            fingerprint(request.preset, request.overrides, defaults, preset)
            fit.append(request)
        except BadInput as error:
            problems.append(f"{OPEN}/{request.id}.json: {error}")
    return fit, problems


# On the bus


def submit(bus: Bus, request: Request) -> str | None:
    """Store a request; do nothing when it is open already, or was fulfilled.

    Returns:
        the id of the training that fulfilled it; None: it is open.
    """
    if fulfilled := fulfilled_by(bus, request.id):
        return fulfilled
    with contextlib.suppress(Conflict):
        bus.put(f"{OPEN}/{request.id}.json", request.to_json(), only_new=True)
    return None


def fulfilled_by(bus: Bus, request: str) -> str | None:
    """Return the id of the training that fulfilled a request; None when none has.

    Raises:
        Corrupt: the record cannot be read.
    """
    key = f"{FULFILLED}/{request}.json"
    found = bus.get_tagged(key)
    if found is None:
        return None
    try:
        return str(json.loads(found[0])["training"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{key}: names no training") from error


def pending(bus: Bus) -> set[str]:
    """Return the ids of the requests listed as open, by one S3 request."""
    return {_id_of(key) for key in bus.list(OPEN)}


def open_requests(bus: Bus, now: datetime) -> Open:
    """Return the open requests; separate those already fulfilled, invalid ones, and those of withdrawn batches."""
    found = in_threads(lambda key: (key, *_read_open(bus, key, now)), sorted(bus.list(OPEN)))
    requests, withdrawn = [request for _, request, _ in found if isinstance(request, Request)], Withdrawn(bus)
    dropped = {
        f"{OPEN}/{each.id}.json": f"request {each.id} ({each.reason}): batch '{each.batch}' was {record.why}"
        for each in requests
        if each.kind == "data" and each.batch and (record := withdrawn.get(each.batch))
    }
    requests = [each for each in requests if f"{OPEN}/{each.id}.json" not in dropped]
    return Open(
        requests=sorted(requests, key=lambda request: (request.submitted, request.id))[:MAX_JOINED],
        leftovers=[key for key, _, fulfilled in found if fulfilled],
        bad=[str(problem) for _, problem, _ in found if isinstance(problem, BadInput)],
        dropped=dropped,
    )


def _read_open(bus: Bus, key: str, now: datetime) -> tuple[Request | BadInput | None, bool]:
    """Return the request at a key, its error if it is invalid, or None if it is gone; and whether it was fulfilled."""
    try:
        if fulfilled_by(bus, _id_of(key)):
            return None, True
        found = bus.get_tagged(key)
        return (parse_request(found[0], key, now) if found else None), False
    except BadInput as error:
        return error, False


def _id_of(key: str) -> str:
    return key.removeprefix(f"{OPEN}/").removesuffix(".json")


def parse_request(data: bytes, key: str, now: datetime) -> Request:
    """Read a request and check that it is the one its key names.

    Raises:
        BadInput: it is too long, of an unknown version, from the future, has a wrong field, or another request's key.
    """
    if len(data) > MAX_BYTES * 2:
        raise BadInput(f"{key}: {len(data)} bytes: too long for a request")
    try:
        request = Request.model_validate_json(data)
    except ValidationError as error:
        raise BadInput(f"{key}: {first_problem(error)}") from error
    if key != f"{OPEN}/{request.id}.json":
        raise BadInput(f"{key}: is request {request.id}")
    if request.submitted > now + CLOCKS_DIFFER_BY:
        raise BadInput(f"{key}: submitted: {request.submitted.isoformat()} is in the future")
    return request


def find_training(bus: Bus, training: str) -> Training | None:
    """Return the record of a training; None when there is none.

    Raises:
        Corrupt: it cannot be read.
    """
    key = f"{TRAININGS}/{training}.json"
    found = bus.get_tagged(key)
    if found is None:
        return None
    try:
        if len(found[0]) > MAX_TRAINING_BYTES:
            raise Corrupt(f"{key}: {len(found[0])} bytes: too long for a training")
        return Training.model_validate_json(found[0])
    except ValidationError as error:
        raise Corrupt(f"{key}: {first_problem(error)}") from error


def last_training(bus: Bus) -> Training | None:
    """Return the training that was decided on last; None when there is none."""
    return find_training(bus, ids[-1]) if (ids := training_ids(bus)) else None


def training_ids(bus: Bus) -> list[str]:
    """Return the ids of all trainings, oldest first; other objects are ignored."""
    names = (key.removeprefix(f"{TRAININGS}/").removesuffix(".json") for key in bus.list(TRAININGS))
    return sorted(name for name in names if TRAINING_ID.fullmatch(name))


def newest_batch(bus: Bus) -> str | None:
    """Return the newest batch, by name, that has frames and is not withdrawn; None when there is none."""
    names = sorted((key.removeprefix(f"{FRAMES}/") for key in bus.list(FRAMES)), reverse=True)
    withdrawn = Withdrawn(bus)
    return next((name for name in names if not withdrawn.get(name)), None)


def current_frames(bus: Bus) -> list[str]:
    """Return the frames that a training would learn from: those of every batch that is not withdrawn."""
    withdrawn = Withdrawn(bus)
    return [ref.target for ref in bus.list_refs(FRAMES) if not withdrawn.find(ref.artifact)]


def is_learned(bus: Bus, frames: str, settings: str) -> tuple[bool, str]:
    """Return whether the last training had these frames and settings; and its id, empty when there was none.

    Raises:
        BadInput: the batch of the frames is withdrawn: no training is to learn from it.
    """
    Withdrawn(bus).check_artifact(frames)
    last = last_training(bus)
    return bool(last and last.settings == settings and frames in last.frames), last.id if last else ""


# Fulfilling


def training_id(run: str, moment: datetime) -> str:
    """Return the id of the training that a DAG run starts: the same for every try.

    Args:
        run: the run's id.
        moment: when the run was due.
    """
    return f"{moment.astimezone(UTC):%Y%m%dt%H%M%S}-{digest(run)[:8]}"


def merge_settings(requests: Sequence[Request]) -> tuple[str | None, tuple[str, ...]]:
    """Return preset and overrides of joined requests: those of the newest that names some.

    Settings with which a training has failed do not count.
    """
    naming = [request for request in requests if (request.preset or request.overrides) and not is_given_back(request)]
    newest = max(naming, key=lambda request: (request.submitted, request.id), default=None)
    return (newest.preset, tunable(newest.overrides)) if newest else (None, ())


def is_given_back(request: Request) -> bool:
    """Return whether a failed training gave the request back."""
    return FAILED in request.evidence


def fulfil(bus: Bus, training: Training) -> Training | None:
    """Record a training and mark its requests as fulfilled.

    Each request is fulfilled by exactly one training: its fulfilment record names it, is written once and never
    changed. A try that is killed before it writes the training leaves all requests open. Killed later, the next try of
    the same run finds the training by its id and continues with the requests in it, not with those open by then: it
    writes the missing fulfilment records and deletes the requests that are still open. If that try never comes,
    requests without a record are open to the next run; if it comes after that, it finds their records with the other
    training's id and leaves them to it. A request that is open and has a record counts as fulfilled
    (`open_requests`); the next run deletes it.

    Returns:
        the training with the requests that are its own; None when other trainings fulfilled them all.
    """
    try:
        bus.put(f"{TRAININGS}/{training.id}.json", training.to_json(), only_new=True)
    except Conflict:
        training = find_training(bus, training.id) or training
    own = [request for request in training.requests if _mark(bus, request, training.id)]
    bus.delete(f"{OPEN}/{request.id}.json" for request in training.requests)
    return training.model_copy(update={"requests": tuple(own)}) if own else None


def _mark(bus: Bus, request: Request, training: str) -> bool:
    """Write the fulfilment record of a request; return whether it names this training."""
    mark = {"version": 1, "training": training}
    try:
        bus.put(f"{FULFILLED}/{request.id}.json", json.dumps(mark).encode(), only_new=True)
    except Conflict:
        return fulfilled_by(bus, request.id) == training
    return True


def clear_leftovers(bus: Bus, found: Open) -> None:
    """Delete fulfilled requests that are still listed as open, and those of withdrawn batches."""
    bus.delete([*found.leftovers, *found.dropped])
