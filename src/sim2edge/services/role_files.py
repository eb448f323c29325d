"""The folder of role files: `<role>.env` with the keys of each role, made once, kept, and handed to whoever plays it.

    init_roles(folder, devices=["pi-7"])       makes what is missing; what is there stays
    read_keys(folder)                           role to key pair: what the S3 server has to know

Each file can be given to a process on its own (`SIM2EDGE_SECRETS_FILE`). Those of `train` and `validate` hold the login
of MLflow, too, and that of `mlflow` holds what the server itself needs.
"""

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sim2edge.access import ADMIN, Keys, fixed_roles, grants_of
from sim2edge.errors import BadInput
from sim2edge.secrets_file import format_secrets, read_role
from sim2edge.services.files import write_private

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
TRACKING_USER, TRACKING_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SERVER_PASSWORD, SERVER_KEY = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"
MLFLOW_USER = "admin"
TRACKING_STAGES = ("train", "validate")
MIN_SECRET = 16


@dataclass(frozen=True)
class MlflowSecrets:
    """The login of MLflow's only user, and the key that its server signs sessions with."""

    password: str = field(repr=False)
    server_key: str = field(repr=False)


def init_roles(
    folder: Path, devices: Iterable[str] = (), admin: Keys | None = None, mlflow: MlflowSecrets | None = None
) -> list[str]:
    """Make the files that are missing, of every fixed role and of the devices; files that are complete stay untouched.

    Args:
        folder: made if missing, mode 0700; a new file has mode 0600, one that is changed keeps its mode.
        devices: ids of devices.
        admin: the keys of `admin`, where something else decides them.
        mlflow: MLflow's secrets, where something else decides them.

    Returns:
        the roles whose file was made or changed.

    Raises:
        BadInput: a device's id cannot be one, or a file that is there is wrong.
    """
    roles = [*fixed_roles(), *(f"device-{device}" for device in devices)]
    with _locked(folder):
        login = mlflow or _mlflow_secrets(folder)
        imposed = {role: _imposed(role, login, admin) for role in roles}
        return [role for role in roles if _complete(folder, role, imposed[role])]


def add_role(folder: Path, role: str) -> bool:
    """Make the file of one more role, as a new device; False when it is there.

    Raises:
        BadInput: there is no such role, or its file is wrong.
    """
    with _locked(folder):
        return _complete(folder, role, {})


def rotate_role(folder: Path, role: str) -> None:
    """Give a role new keys; the old ones stop working as soon as the S3 server knows.

    Raises:
        BadInput: the role has no file.
    """
    with _locked(folder):
        before = read_role(folder, role)
        if not before:
            raise BadInput(f"{folder / role}.env: there is no such role to rotate")
        _write(folder, role, before | _new_keys())


def read_keys(folder: Path) -> dict[str, Keys]:
    """Return the key pair of every role that has a file.

    Raises:
        BadInput: there is no file, one is not that of a role, or one is wrong.
    """
    found = {path.stem: _read(folder, path.stem) for path in sorted(folder.glob("*.env"))}
    if ADMIN not in found:
        raise BadInput(f"{folder}: no {ADMIN}.env: make the role files with `sim2edge access init`")
    return {role: Keys(variables[ACCESS_KEY], variables[SECRET_KEY]) for role, variables in found.items()}


def read_variables(folder: Path, role: str) -> dict[str, str]:
    """Return all that the file of a role holds.

    Raises:
        BadInput: there is no such file, or it is wrong.
    """
    if not (folder / f"{role}.env").exists():
        raise BadInput(f"{folder}: no {role}.env: make it with `sim2edge access add {role}`")
    return _read(folder, role)


def _read(folder: Path, role: str) -> dict[str, str]:
    grants_of(role)
    variables = read_role(folder, role)
    for name, shortest in ((ACCESS_KEY, 3), (SECRET_KEY, MIN_SECRET)):
        if len(variables.get(name, "")) < shortest:
            raise BadInput(f"{folder / role}.env: {name} is missing or shorter than {shortest} characters")
    return variables


def _imposed(role: str, login: MlflowSecrets, admin: Keys | None) -> dict[str, str]:
    """Return what the file of a role has to hold, whatever it held before."""
    if role == ADMIN and admin:
        return {ACCESS_KEY: admin.access, SECRET_KEY: admin.secret}
    if role in TRACKING_STAGES:
        return {TRACKING_USER: MLFLOW_USER, TRACKING_PASSWORD: login.password}
    if role == "mlflow":
        return {SERVER_PASSWORD: login.password, SERVER_KEY: login.server_key}
    return {}


def _complete(folder: Path, role: str, imposed: Mapping[str, str]) -> bool:
    """Write the file of a role unless it holds all it has to; what it holds besides stays."""
    grants_of(role)
    before = read_role(folder, role)
    after = {**_new_keys(), **before, **imposed}
    if after == before:
        return False
    _write(folder, role, after)
    return True


def _write(folder: Path, role: str, variables: Mapping[str, str]) -> None:
    path = folder / f"{role}.env"
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    write_private(path, format_secrets(variables))
    if mode is not None:  # others may have been let in on purpose, a container's user say
        path.chmod(mode)


def _new_keys() -> dict[str, str]:
    return {ACCESS_KEY: secrets.token_hex(10), SECRET_KEY: secrets.token_urlsafe(30)}


def _mlflow_secrets(folder: Path) -> MlflowSecrets:
    """Return the secrets that the folder holds already, or new ones."""
    found = read_role(folder, "mlflow")
    return MlflowSecrets(
        found.get(SERVER_PASSWORD) or secrets.token_urlsafe(15), found.get(SERVER_KEY) or secrets.token_hex(48)
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if missing, against others that change it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
