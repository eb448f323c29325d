"""The file that carries an enrolment from the admin to the device: who it is, its credentials, the root it trusts.

    write_enrolment(Path("pi-7.enrolment"), Enrolment(device="pi-7", ...))        mode 0600
    read_enrolment(Path("pi-7.enrolment")).variables["AWS_ACCESS_KEY_ID"]

It is a secret: whoever has it is the device. Delete it once the device has it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sim2edge.enrol.names import DEVICE, RING
from sim2edge.errors import BadInput
from sim2edge.private_files import reserve_private, write_private

MAX_BYTES = 256 * 1024
NAMES = (
    "SIM2EDGE_BUCKET",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
"""The variables that it may hold."""


class Enrolment(BaseModel):
    """What a device needs to be itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Annotated[str, StringConstraints(pattern=f"^{DEVICE}$")]
    ring: Annotated[str, StringConstraints(pattern=f"^{RING}$")]
    """Its ring until the update repository says another one."""
    public_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    private_key: str | None = Field(None, repr=False)
    """PEM; None: the device made its key itself."""
    variables: dict[str, str] = Field(repr=False)
    """`NAMES`: the bucket, its address, the device's credentials."""
    root: str | None = None
    """`root.json` of the update repository, as text."""


def write_enrolment(path: Path, enrolment: Enrolment) -> None:
    """Write the file, readable by its owner only."""
    write_private(path.absolute(), _serialize(enrolment), durable=True)


@contextmanager
def reserve_enrolment(path: Path) -> Iterator[Callable[[Enrolment], None]]:
    """Yield what writes the file, once it is certain that it can be written: the key in it has no other copy.

    Raises:
        BadInput: it cannot be written.
    """
    with ExitStack() as stack:
        try:
            write = stack.enter_context(reserve_private(path.absolute(), MAX_BYTES))
        except OSError as error:
            raise BadInput(f"{path}: cannot write the enrolment: {str(error.strerror).lower()}") from None
        yield lambda enrolment: write(_serialize(enrolment))


def _serialize(enrolment: Enrolment) -> bytes:
    return (enrolment.model_dump_json(indent=1) + "\n").encode()


def read_enrolment(path: Path) -> Enrolment:
    """Read the file.

    Raises:
        BadInput: there is none, or a field is missing or invalid.
    """
    if path.exists() and not path.is_file():  # a pipe without a writer would wait for ever
        raise BadInput(f"{path}: cannot read the enrolment: not a regular file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the enrolment: {error.strerror}") from None
    return parse_enrolment(content, path)


def parse_enrolment(content: bytes, path: Path) -> Enrolment:
    """Parse what the file at `path` holds.

    Raises:
        BadInput: a field is missing or invalid.
    """
    if len(content) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes: not an enrolment")
    try:
        found = Enrolment.model_validate_json(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "JSON"
        raise BadInput(f"{path}: {where}: not an enrolment: `sim2edge device enrol` writes it") from None
    if strange := set(found.variables) - set(NAMES):
        raise BadInput(f"{path}: variables.{min(strange)[:60]}: not one of {', '.join(NAMES)}")
    return found
