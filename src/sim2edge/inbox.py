"""Deliver batches made outside (by a robot, a Webots farm) to the inbox, and fetch them for a stage.

    inbox/<batch>/<folder>/<path>   the files, as produced; a producer that uploads by hand may leave out the folder
    inbox/<batch>/READY.json        their listing, written last and once: its existence is the commit

    deliver(bus, "lab-1", folder, [describe(folder, "a.mcap")])     the producer
    config = pin(bus, stage, config, "lab-1")                       planning, before the artifact's id is computed
    fetch(bus, config, "lab-1", folder)                             the runner, for the stage

The SHA-256 of `READY.json` is a field of the stage's config, so it affects the artifact's id, is in its manifest, and a
delivery that changes later is detected. `docs/ingest.md` specifies what a producer writes.

Several producers may deliver the same batch at once: the first `READY.json` wins. `deliver` uploads into a folder that
is named after the content, and completes no upload whose bytes are not those of the listing. So whoever writes there,
an object has one possible content, and no producer changes what another has listed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from sim2edge.bus import Bus, in_threads
from sim2edge.config import StageConfig
from sim2edge.errors import BadInput, Conflict, Corrupt
from sim2edge.lines import first_problem, quote
from sim2edge.manifest import File, check_partition
from sim2edge.stage import Stage

READY = "READY.json"
LOG_SUFFIXES = (".mcap", ".mcap.zstd", ".mcap.zst", ".db3", ".db3.zstd", ".db3.zst", ".bag")
"""Endings of the logs that a batch consists of."""
BAG_METADATA = "metadata.yaml"
"""Makes one log of the files of a ROS 2 bag beside it."""
PAYLOAD = (*sorted({f"*.{suffix.rpartition('.')[2]}" for suffix in LOG_SUFFIXES}), f"*/{BAG_METADATA}")
"""Patterns of the files in the inbox, besides `READY.json`; short, as a user's inline policy has 2,048 characters."""
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of the pictures of a batch for `annotate`, in lower case."""
ANNOTATED = ("*.jp*g", "*.png", "*.bmp", "*.webp", "*.tif", "*.tiff", "*.JP*G", "*.PNG", "*/*/*.json")
"""Patterns of the files of such a batch; JSON only in a folder of it, so that `READY.json` is none of them."""
MAX_FILES = 10_000
"""The most episodes of a batch."""
MAX_READY_BYTES = 8 << 20
DEEPEST = 8
CHUNK = 1 << 20
FOLDER = re.compile("[0-9a-f]{32}")
"""Folder of a delivery by `deliver`: the start of the SHA-256 of its listing."""
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
RULE = "1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -"


class InboxConfig(StageConfig):
    """Base of the config of a stage that reads the inbox."""

    ready: str = Field(
        default="",
        pattern="^([0-9a-f]{64})?$",
        description="SHA-256 of the READY.json to read; empty: the current one",
    )
    max_file_mb: int = Field(default=4096, ge=1, le=1_000_000, description="largest accepted file, megabytes (1e6)")


C = TypeVar("C", bound=StageConfig)


def _distinct(files: tuple[File, ...]) -> tuple[File, ...]:
    paths = {file.path for file in files}
    if len(paths) < len(files):
        raise ValueError("duplicate path")
    for path in paths:
        if not is_safe(path):
            raise ValueError(f"{quote(path)}: at most {DEEPEST} parts of {RULE}")
        if folder := next((each for each in map(str, PurePosixPath(path).parents) if each in paths), None):
            raise ValueError(f"'{folder}' is a file and the folder of '{path}'")
    return files


class Ready(BaseModel):
    """`READY.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1, 2]
    batch: str
    folder: str = Field(default="", validate_default=True)
    """Where the files are, below `inbox/<batch>`; since version 2."""
    stage: str = Field(default="", pattern="^([a-z][a-z0-9]{0,30})?$")
    """The stage that reads it; empty: by its files (`arrivals.stage_of`)."""
    files: Annotated[tuple[File, ...], AfterValidator(_distinct)] = Field(min_length=1, max_length=MAX_FILES)

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, folder: str, info: ValidationInfo) -> str:
        version = info.data.get("version")
        if version == 1 and folder:
            raise ValueError("needs version 2")
        if version == 2 and not is_safe(folder):
            raise ValueError(f"{quote(folder)}: at most {DEEPEST} parts of {RULE}")
        return folder

    def to_json(self) -> bytes:
        """Return the listing as stored in the inbox: the same files give the same bytes."""
        return (json.dumps(self.model_dump(mode="json", exclude_defaults=True), indent=1) + "\n").encode()

    def key(self, file: File) -> str:
        """Return the key of one of the files."""
        return "/".join(("inbox", self.batch, *filter(None, (self.folder,)), file.path))


def is_safe(path: str) -> bool:
    """Return whether a relative path means the same to every file system and S3 server."""
    parts = path.split("/")
    return len(parts) <= DEEPEST and all(PART.fullmatch(part) for part in parts) and parts[-1] != READY


def check_path(path: str) -> str:
    """Return `path` if it is a safe name.

    Raises:
        BadInput: it is not.
    """
    if not is_safe(path):
        raise BadInput(f"{quote(path)}: not a valid name: at most {DEEPEST} parts of {RULE}")
    return path


def parse_ready(data: bytes, batch: str) -> Ready:
    """Read a `READY.json` and check that it is the one of `batch`.

    Raises:
        BadInput: it is too large, of an unknown version, has a wrong field, or belongs to another batch.
    """
    check_length(data, batch)
    where = f"inbox/{batch}/{READY}"
    try:
        ready = Ready.model_validate_json(data)
    except ValidationError as error:
        raise BadInput(f"{where}: {first_problem(error, 'content')}") from error
    if ready.batch != batch:
        raise BadInput(f"{where}: batch: is {quote(ready.batch)}: the listing of another batch")
    return ready


def check_length(data: bytes, batch: str) -> None:
    """Check the length of a `READY.json`.

    Raises:
        BadInput: it is too long.
    """
    if len(data) > MAX_READY_BYTES:
        raise BadInput(f"inbox/{batch}/{READY}: more than {MAX_READY_BYTES} bytes")


def digest(data: bytes) -> str:
    """Return the SHA-256 of a `READY.json`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_size(path: str, size: int, config: InboxConfig) -> None:
    """Check a file against `max_file_mb`.

    Raises:
        BadInput: it is too large.
    """
    if size > config.max_file_mb * 1_000_000:
        raise BadInput(f"{path}: {size / 1e6:.1f} MB, more than max_file_mb={config.max_file_mb}")


def describe(folder: Path, path: str) -> File:
    """Return relative path, size in bytes and SHA-256 of a file below `folder`."""
    with (folder / path).open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return File(path=path, bytes=stream.tell(), sha256=sha256)


def deliver(bus: Bus, batch: str, folder: Path, files: Sequence[File], stage: str = "") -> str:
    """Upload files of `folder` to the inbox as a batch, `READY.json` last; do nothing when they are already there.

    Returns:
        the SHA-256 of `READY.json`.

    Raises:
        BadInput: a name or the listing is invalid, a file is no longer what `files` describes, or the batch has
            another delivery.
    """
    check_partition(batch)
    for file in files:
        check_path(file.path)
    ready = list_files(batch, files, stage)
    if found := _find_delivered(bus, ready):
        return found
    bus.check_conditions()
    in_threads(lambda file: bus.put(ready.key(file), read_checked(folder, file)), ready.files)
    try:
        bus.put(f"inbox/{batch}/{READY}", ready.to_json(), only_new=True)
    except Conflict:
        return _find_delivered(bus, ready) or digest(ready.to_json())
    return digest(ready.to_json())


def list_files(batch: str, files: Sequence[File], stage: str = "") -> Ready:
    """Return the listing of a delivery, in the folder that is named after its content.

    Raises:
        BadInput: the listing is invalid.
    """
    try:
        content = Ready(version=1, batch=batch, files=tuple(sorted(files, key=lambda file: file.path)))
    except ValidationError as error:
        raise BadInput(f"inbox/{batch}/{READY}: {first_problem(error)}") from error
    folder = digest(content.to_json())[:32]
    ready = Ready(version=2, batch=batch, folder=folder, stage=stage, files=content.files)
    check_length(ready.to_json(), batch)
    return ready


def read_checked(folder: Path, file: File) -> Iterator[bytes]:
    """Yield a file's content in chunks, the last one only if all of it is what `file` describes.

    So an upload of these chunks is never completed with other bytes, even if a recorder is still writing the file.

    Raises:
        BadInput: the file has changed, or cannot be read.
    """
    found, size, last = hashlib.sha256(), 0, b""
    try:
        with (folder / file.path).open("rb") as stream:
            while size <= file.bytes and (chunk := stream.read(CHUNK)):
                if last:
                    yield last
                last = chunk
                size += len(chunk)
                found.update(chunk)
    except OSError as error:
        raise BadInput(f"{folder / file.path}: {error.strerror}") from error
    if size != file.bytes or found.hexdigest() != file.sha256:
        raise BadInput(f"{folder / file.path}: changed while it was delivered: deliver it again when it is complete")
    yield last


def _find_delivered(bus: Bus, ready: Ready) -> str:
    """Return the SHA-256 of the batch's `READY.json` if it lists the same files, wherever they are; empty: none.

    Raises:
        BadInput: it is another delivery's.
    """
    found = find_ready(bus, ready.batch)
    if found is None:
        return ""
    try:
        same = parse_ready(found, ready.batch).files == ready.files
    except BadInput:  # an invalid listing is another one, too
        same = False
    if not same:
        raise BadInput(f"inbox/{ready.batch}: has another delivery: name another batch")
    return digest(found)


def pin(bus: Bus, stage: Stage, config: C, batch: str) -> C:
    """Return the config with `ready` filled in, after checking that the stage may make this batch from the inbox.

    Raises:
        BadInput: the inbox has no such batch, or its listing is invalid or has changed.
    """
    if not isinstance(config, InboxConfig):
        raise TypeError(f"the config of {stage.name} is not an InboxConfig")
    data, ready = read_ready(bus, batch)
    for file in ready.files:
        check_size(ready.key(file), file.bytes, config)
    found = digest(data)
    if config.ready not in ("", found):
        raise BadInput(f"inbox/{batch}/{READY}: is {found[:12]}, not {config.ready[:12]} as config.ready requires")
    _check_unchanged(bus, stage, batch, found)
    return config.model_copy(update={"ready": found})


def read_ready(bus: Bus, batch: str) -> tuple[bytes, Ready]:
    """Return the listing of a batch, as bytes and parsed.

    Raises:
        BadInput: it is missing or invalid.
    """
    found = find_ready(bus, batch)
    if found is None:
        raise BadInput(
            f"inbox/{batch}/{READY}: missing: nothing was delivered under this batch id, or not all of it yet"
        )
    return found, parse_ready(found, batch)


def find_ready(bus: Bus, batch: str) -> bytes | None:
    """Return the bytes of `READY.json`, None if missing; reads at most one chunk more than `parse_ready` accepts."""
    data = bytearray()
    try:
        for chunk in bus.stream(f"inbox/{batch}/{READY}"):
            data += chunk
            if len(data) > MAX_READY_BYTES:
                break
    except Corrupt:  # how a stream reports a missing object
        return None
    return bytes(data)


def _check_unchanged(bus: Bus, stage: Stage, batch: str, ready: str) -> None:
    """Check that the batch was not made from another delivery before."""
    ref = bus.read_ref(stage.ref.format(partition=batch)) if stage.ref else None
    made = bus.find(ref.target) if ref else None
    if made and made.config.get("ready") != ready:
        raise BadInput(
            f"inbox/{batch}/{READY}: changed since {made.reference} was made from it: restore it, or name another batch"
        )


def fetch(bus: Bus, config: InboxConfig, batch: str, folder: Path) -> Path:
    """Download a batch, its listing included, and check every file.

    Raises:
        BadInput: the listing is not the one that the config names.
        Corrupt: a file is missing or differs from the listing.
    """
    data, ready = read_ready(bus, batch)
    if digest(data) != config.ready:
        raise BadInput(f"inbox/{batch}/{READY}: changed while it was read: run again")
    folder.mkdir(parents=True)
    (folder / READY).write_bytes(data)
    in_threads(lambda file: _fetch_file(bus, ready, file, folder), ready.files)
    return folder


def _fetch_file(bus: Bus, ready: Ready, file: File, folder: Path) -> None:
    key = ready.key(file)
    size = bus.size(key)
    if size != file.bytes:
        raise Corrupt(f"{key}: {'missing' if size is None else f'has {size} bytes'}, {READY} lists {file.bytes} bytes")
    bus.download(key, folder / PurePosixPath(file.path), file.sha256, listed=f"inbox/{ready.batch}/{READY}")
