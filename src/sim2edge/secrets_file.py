"""Pass secrets to a process in a file: anyone who may inspect a container can read its variables.

    SIM2EDGE_SECRETS_FILE=/run/sim2edge/secrets.env sim2edge train ...              `sim2edge` loads it first
    SIM2EDGE_SECRETS_FILE=... python -m sim2edge.secrets_file -- airflow scheduler   for programs that do not

The file has lines `NAME=value`; blank lines and those that begin with `#` are ignored. A value is taken verbatim,
quotes included. An error about a line gives its number and never its text, which may be a secret.
"""

import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from sim2edge.errors import BadInput

VARIABLE = "SIM2EDGE_SECRETS_FILE"
MAX_BYTES = 64 * 1024
"""The largest secrets file, bytes."""
NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
ROLE = re.compile(r"[a-z0-9][a-z0-9-]{0,69}")
"""Long enough for `device-` and the longest device id."""
EXIT_BAD_INPUT, EXIT_NOT_STARTED = 2, 127


def load_secrets_file(environment: MutableMapping[str, str]) -> None:
    """Add the variables of the file that `SIM2EDGE_SECRETS_FILE` names to `environment`, overriding existing ones.

    Raises:
        BadInput: there is no such file, or a line is invalid.
    """
    if path := environment.get(VARIABLE):
        environment.update(read_secrets(Path(path)))


def read_role(folder: Path, role: str) -> dict[str, str]:
    """Return the variables of one role, from `<folder>/<role>.env`; empty when there is no such file.

    Raises:
        BadInput: `role` is not a valid name, or a line of its file is invalid.
    """
    if not ROLE.fullmatch(role):
        raise BadInput(f"role '{role}': expected small letters, digits and '-', 70 at most")
    path = folder / f"{role}.env"
    if not path.exists():
        return {}
    if not path.is_file():  # such as a pipe, which would be waited for
        raise BadInput(f"{path}: not a file")
    return read_secrets(path)


def read_secrets(path: Path) -> dict[str, str]:
    """Return the variables of one file.

    Raises:
        BadInput: it cannot be read, is larger than `MAX_BYTES`, or has an invalid line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot read the secrets file: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes: not a secrets file")
    try:
        return parse_secrets(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None
    except ValueError as error:
        raise BadInput(f"{path}, {error}") from None


def parse_secrets(text: str) -> dict[str, str]:
    """Return the variables in `text`.

    Raises:
        ValueError: a line is invalid; the message gives its number and the reason, never its text.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise ValueError(f"line {number}: expected NAME=value, a name in capitals")
        if not value.isprintable():
            raise ValueError(f"line {number}: the value of {name} has an unprintable character")
        if name in found:
            raise ValueError(f"line {number}: {name} is given twice")
        found[name] = value
    return found


def format_secrets(variables: Mapping[str, str]) -> str:
    """Return the text that `parse_secrets` reads as `variables`.

    Raises:
        ValueError: a name or a value cannot be written; the message never contains the value.
    """
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    if parse_secrets(text) != dict(variables):
        raise ValueError("a name or value does not fit on a line NAME=value")
    return text


def main(argv: Sequence[str]) -> int:
    """Load the file, then exec the command after `--`; return only if that fails."""
    if len(argv) < 2 or argv[0] != "--":
        sys.stderr.write("usage: python -m sim2edge.secrets_file -- command [argument]...\n")
        return EXIT_BAD_INPUT
    try:
        load_secrets_file(os.environ)
        os.execvp(argv[1], list(argv[1:]))  # noqa: S606 - running that command is the purpose
    except BadInput as error:
        sys.stderr.write(f"sim2edge: {error}\n")
        return EXIT_BAD_INPUT
    except OSError as error:
        sys.stderr.write(f"sim2edge: cannot start '{argv[1]}': {error.strerror}\n")
        return EXIT_NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
