"""Keep the folder of role files: `<role>.env` with the keys of each role, created once.

    init_roles(folder, devices=["pi-7"])       creates missing files; existing ones stay
    read_keys(folder)                           role to key pair; an invalid file is an error
    read_valid_keys(folder)                     the same without invalid files: the S3 server's accounts
    unknown_roles(folder)                       a warning for each file that these accounts leave out

Each file can be given to a process on its own (`SIM2EDGE_SECRETS_FILE`). Those of `train` and `validate` contain the
login of MLflow, too, and that of `mlflow` the secrets of the server itself.

The logins of the services are here, too.
"""

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sim2edge.access import ADMIN, Keys, fixed_roles, grants_of
from sim2edge.errors import BadInput, NotFound
from sim2edge.private_files import make_private_folder, write_private
from sim2edge.secrets_file import format_secrets, read_role

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
TRACKING_USER, TRACKING_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SERVER_PASSWORD, SERVER_KEY = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
MLFLOW_USER = "admin"
TRACKING_STAGES = ("train", "validate")
SHORTEST = {ACCESS_KEY: 3, SECRET_KEY: 16}
"""Characters that a key and its secret have at least: the server would refuse shorter ones."""


@dataclass(frozen=True)
class MlflowSecrets:
    """The password of MLflow's only user, and the key that its server signs sessions with."""

    password: str = field(repr=False)
    server_key: str = field(repr=False)


def init_roles(
    folder: Path, devices: Iterable[str] = (), admin: Keys | None = None, mlflow: MlflowSecrets | None = None
) -> list[str]:
    """Create the missing files, of every fixed role and of the devices; complete files stay untouched.

    Args:
        folder: created if missing, mode 0700; a new file has mode 0600, a changed one keeps its mode.
        devices: ids of devices.
        admin: the keys of `admin`, if they are given.
        mlflow: MLflow's secrets, if they are given.

    Returns:
        the roles whose file was created or changed.

    Raises:
        BadInput: a device's id is invalid, or an existing file is.
    """
    roles = [*fixed_roles(), *(f"device-{device}" for device in devices)]
    with _locked(folder):
        login = mlflow or _mlflow_secrets(folder)
        imposed = {role: _imposed(role, login, admin) for role in roles}
        return [role for role in roles if _complete(folder, role, imposed[role])]


def add_role(folder: Path, role: str) -> bool:
    """Create the file of one more role, such as a new device; return False when it exists.

    Raises:
        BadInput: there is no such role, or its file is invalid.
    """
    with _locked(folder):
        return _complete(folder, role, {})


def rotate_role(folder: Path, role: str) -> None:
    """Give a role new keys; the old ones stop working when the S3 server reloads its roles.

    Raises:
        BadInput: the role has no file.
    """
    with _locked(folder):
        before = _parse(folder, role)
        if not before:
            raise BadInput(f"{folder / role}.env: no such role to rotate")
        _write(folder, role, before | _new_keys())


def read_keys(folder: Path) -> dict[str, Keys]:
    """Return the key pair of every role that has a file; files of unknown roles are left out (`unknown_roles`).

    Raises:
        BadInput: the admin has no file, or one is invalid.
    """
    found, problems = read_valid_keys(folder)
    for problem in problems:
        raise BadInput(problem)
    return found


def read_valid_keys(folder: Path) -> tuple[dict[str, Keys], list[str]]:
    """Return the key pair of every role whose file is valid, and an error line for each other one.

    Raises:
        BadInput: the admin has no file, or it is invalid.
    """
    if not (folder / f"{ADMIN}.env").exists():
        raise BadInput(f"{folder}: no {ADMIN}.env: create the role files with `sim2edge access init`")
    found, problems = {ADMIN: _read(folder, ADMIN)}, list[str]()
    for path in sorted(folder.glob("*.env")):
        try:
            if _is_role(path.stem):
                found[path.stem] = _read(folder, path.stem)
        except BadInput as error:
            problems.append(str(error))
    return {role: Keys(variables[ACCESS_KEY], variables[SECRET_KEY]) for role, variables in found.items()}, problems


def unknown_roles(folder: Path) -> list[str]:
    """Return a warning for each file that belongs to no role here, such as that of a stage that was removed."""
    return [
        f"{path}: left out: no stage of this installation, service, device or producer is called '{path.stem}'"
        for path in sorted(folder.glob("*.env"))
        if not _is_role(path.stem)
    ]


def _is_role(name: str) -> bool:
    try:
        grants_of(name)
    except NotFound:
        return False
    return True


def read_variables(folder: Path, role: str) -> dict[str, str]:
    """Return all variables in the file of a role.

    Raises:
        BadInput: there is no such file, or it is invalid.
    """
    if not (folder / f"{role}.env").exists():
        raise BadInput(f"{folder}: no {role}.env: create it with `sim2edge access add {role}`")
    return _read(folder, role)


def _read(folder: Path, role: str) -> dict[str, str]:
    grants_of(role)
    variables = _parse(folder, role)
    for name, shortest in SHORTEST.items():
        if len(variables.get(name, "")) < shortest:
            reason = f"{folder / role}.env: {name} is missing or shorter than {shortest} characters"
            raise BadInput(f"{reason}{_remedy(role)}")
    return variables


def _parse(folder: Path, role: str) -> dict[str, str]:
    """Return the variables in the file of a role; empty when there is none.

    Raises:
        BadInput: it is invalid, such as half-written; the message tells how to replace it.
    """
    try:
        return read_role(folder, role)
    except BadInput as error:
        raise BadInput(f"{error}{_remedy(role)}") from None


def _remedy(role: str) -> str:
    """Return what to do about an invalid file; nobody but a person knows which of its lines are still needed."""
    command = "init" if role in fixed_roles() else f"add {role}"
    return f"; delete the file, and create it again with `sim2edge access {command}`"


def _imposed(role: str, login: MlflowSecrets, admin: Keys | None) -> dict[str, str]:
    """Return the variables that the file of a role has to contain, whatever it contained before."""
    if role == ADMIN and admin:
        return {ACCESS_KEY: admin.access, SECRET_KEY: admin.secret}
    if role in TRACKING_STAGES:
        return {TRACKING_USER: MLFLOW_USER, TRACKING_PASSWORD: login.password}
    if role == "mlflow":
        return {SERVER_PASSWORD: login.password, SERVER_KEY: login.server_key}
    return {}


def _complete(folder: Path, role: str, imposed: Mapping[str, str]) -> bool:
    """Write the file of a role unless it is complete; other variables in it stay, half a pair of keys does not."""
    grants_of(role)
    before = _parse(folder, role)
    usable = all(len(before.get(name, "")) >= shortest for name, shortest in SHORTEST.items())
    after = {**_new_keys(), **before, **({} if usable else _new_keys()), **imposed}
    if after == before:
        return False
    _write(folder, role, after)
    return True


def _write(folder: Path, role: str, variables: Mapping[str, str]) -> None:
    path = folder / f"{role}.env"
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    write_private(path, format_secrets(variables))
    if mode is not None:  # the mode may be wider on purpose, for a container's user
        path.chmod(mode)


def _new_keys() -> dict[str, str]:
    return {ACCESS_KEY: secrets.token_hex(10), SECRET_KEY: secrets.token_urlsafe(30)}


def _mlflow_secrets(folder: Path) -> MlflowSecrets:
    """Return the secrets in the folder, or new ones."""
    found = _parse(folder, "mlflow")
    return MlflowSecrets(
        found.get(SERVER_PASSWORD) or secrets.token_urlsafe(15), found.get(SERVER_KEY) or secrets.token_hex(48)
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder, created if missing."""
    make_private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


USER = "admin"
"""The user of every service that is started with a generated password."""


@dataclass(frozen=True)
class Login:
    """The address of a service, its user and password."""

    url: str
    user: str
    password: str = field(repr=False)


RETIRED = ("inbox_token",)
"""Fields that earlier versions stored with the secrets, now unused."""


def without_retired(content: object) -> object:
    """Return the content of a secrets file without retired fields, so that an older file can be read."""
    if not isinstance(content, dict):
        return content
    return {name: value for name, value in content.items() if name not in RETIRED}
