"""Define the manifest of an artifact, and the names of artifacts and refs.

A manifest is the commit: an artifact exists when `<kind>/<partition>/<id>/manifest.json` does. Its JSON schema is
`docs/manifest.schema.json`, written by `sim2edge schema`.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sim2edge.errors import BadInput, Corrupt

MANIFEST_VERSION = 3
"""2 added `shard`, 3 `measurements` and `same_bytes`; older manifests are read without them."""
MEASUREMENTS = "measurements"
"""Folder of an attempt for its measurements; no payload has a path below it."""
KIND = re.compile("[a-z]{1,31}")
RESERVED = frozenset(
    (
        "catalog",
        "conditions",
        "devices",
        "fleet",
        "inbox",
        "logs",
        "mlflow",
        "notes",
        "ota",
        "refs",
        "registered",
        "retrain",
        "withdrawn",
    )
)
"""Folders of the bucket without artifacts; any other name of the form is a kind that some stage makes."""
PARTITION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
IDENTITY = re.compile(r"[0-9a-f]{16}")
ENTRY = re.compile(rf"catalog/([0-9]{{8}}T[0-9]{{6}}\.[0-9]{{6}}Z)_([a-z]+)_({PARTITION.pattern})_([0-9a-f]{{16}})")
ENTRY_TIME = "%Y%m%dT%H%M%S.%fZ"
"""ISO 8601 in UTC with microseconds: the order of names is the order of time."""


def check_partition(partition: str) -> str:
    """Return `partition` if it is a batch id: 1 to 63 of `a-z 0-9 . _ -`, starting with a letter or digit.

    Raises:
        BadInput: it is not.
    """
    if not PARTITION.fullmatch(partition):
        shown = partition if len(partition) <= 100 else f"{partition[:100]}..."
        raise BadInput(f"partition {shown!r}: expected 1 to 63 of a-z, 0-9, '.', '_', '-', not starting with a sign")
    return partition


def is_kind(text: str) -> bool:
    """Return whether `text` may name a kind of artifact; `stages.kinds()` are those that installed stages make."""
    return bool(KIND.fullmatch(text)) and text not in RESERVED


def split_reference(reference: str) -> tuple[str, str, str]:
    """Split `<kind>/<partition>/<id>`.

    Raises:
        BadInput: the text is not an artifact reference.
    """
    kind, _, rest = reference.partition("/")
    partition, _, identity = rest.partition("/")
    if not is_kind(kind) or not PARTITION.fullmatch(partition) or not IDENTITY.fullmatch(identity):
        raise BadInput(f"'{reference}' is not an artifact reference: <kind>/<partition>/<16 hex digits>")
    return kind, partition, identity


def latest_partition(references: Iterable[str]) -> str:
    """Return the last partition, in the order of names, among artifact references."""
    return max(split_reference(reference)[1] for reference in references)


def entry_key(reference: str, finished: datetime) -> str:
    """Return the key of an artifact's entry in the catalog, the time-ordered index of commits (`catalog.py`)."""
    return f"catalog/{finished.astimezone(UTC).strftime(ENTRY_TIME)}_{reference.replace('/', '_')}"


def parse_entry(key: str) -> str | None:
    """Return the reference in the key of a catalog entry; None when the key is not one."""
    match = ENTRY.fullmatch(key)
    return f"{match[2]}/{match[3]}/{match[4]}" if match and is_kind(match[2]) else None


def _payload_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or str(PurePosixPath(path)) != path:
        raise ValueError("not a plain relative path")
    return path


class File(BaseModel):
    """One payload file: relative path, size in bytes, SHA-256 of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(_payload_path)]
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Cost(BaseModel):
    """The cost of an artifact; a gathered one includes the cost of its parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_s: float = Field(ge=0, description="seconds from start to commit")
    work_s: float = Field(ge=0, description="seconds inside the stage's own function")
    cpu_s: float = Field(ge=0, description="CPU seconds of the process and its children")
    bytes_in: int = Field(ge=0, description="bytes fetched")
    bytes_out: int = Field(ge=0, description="bytes of payload")

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            wall_s=round(self.wall_s + other.wall_s, 3),
            work_s=round(self.work_s + other.work_s, 3),
            cpu_s=round(self.cpu_s + other.cpu_s, 3),
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
        )


class Manifest(BaseModel):
    """The record of one artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest_version: int = Field(default=MANIFEST_VERSION, ge=1, le=MANIFEST_VERSION)
    kind: str
    partition: str
    id: str = Field(pattern="^[0-9a-f]{16}$")
    stage: str
    version: int = Field(description="version of the stage: raised when its output changes")
    config: dict[str, Any]
    config_hash: str
    seed: int | None = None
    inputs: dict[str, list[str]] = Field(description="role to artifact references")
    parts: list[str] = Field(default_factory=list, description="artifacts this one consists of, by reference")
    shard: str | None = Field(
        default=None, pattern="^[1-9][0-9]*/[1-9][0-9]*$", description="share of the work: 3/8; None: all of it"
    )
    attempt: str = Field(pattern="^[0-9a-z-]+$", description="folder of the payload below the artifact's own")
    files: list[File] = Field(description="the payload: the id determines every byte")
    measurements: list[File] = Field(
        default_factory=list, description="measurements of this run, such as times: they differ from run to run"
    )
    same_bytes: bool | None = Field(
        default=None, description="whether the stage promises that another run gives the same bytes; None: not recorded"
    )
    summary: dict[str, Any]
    refused: str | None = Field(default=None, description="reason of a gate's refusal; None when it passed")
    environment: dict[str, Any]
    started: datetime
    finished: datetime
    cost: Cost

    @property
    def reference(self) -> str:
        """`<kind>/<partition>/<id>`."""
        return f"{self.kind}/{self.partition}/{self.id}"

    @property
    def size(self) -> int:
        """Size of the payload in bytes, that of its parts included."""
        return self.cost.bytes_out

    def to_json(self) -> bytes:
        """Return the manifest as stored on the bus."""
        return self.model_dump_json(indent=1).encode()


def parse_manifest(data: bytes, reference: str) -> Manifest:
    """Read a manifest and check that it is the one of `reference`.

    Raises:
        Corrupt: it is not a manifest, of an unknown version, or of another artifact.
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise Corrupt(f"{reference}/manifest.json: {field}: {first['msg']}") from error
    if manifest.reference != reference:
        raise Corrupt(f"{reference}/manifest.json: belongs to {manifest.reference}")
    return manifest
