"""Keep the stack's passwords and keys: random, created at the first start, in `<home>/credentials.json` (mode 0600)."""

import base64
import json
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.errors import BadInput
from sim2edge.private_files import write_private
from sim2edge.services.role_files import without_retired


def _password() -> str:
    return secrets.token_urlsafe(15)


def _key() -> str:
    return secrets.token_hex(48)


def _fernet() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Credentials(BaseModel):
    """Every secret of the stack; `repr` hides them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10), min_length=8)
    s3_secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30), min_length=16, repr=False)
    mlflow_password: str = Field(default_factory=_password, min_length=12, repr=False)
    mlflow_secret_key: str = Field(default_factory=_key, min_length=32, repr=False)
    airflow_password: str = Field(default_factory=_password, min_length=8, repr=False)
    airflow_jwt_secret: str = Field(default_factory=_key, min_length=64, repr=False)
    airflow_secret_key: str = Field(default_factory=_key, min_length=32, repr=False)
    airflow_fernet_key: str = Field(default_factory=_fernet, min_length=44, repr=False)


def credentials_path(home: Path) -> Path:
    """Return the path of the credentials."""
    return home / "credentials.json"


def load_credentials(home: Path) -> Credentials:
    """Read the credentials, or create and store new ones when there are none.

    Raises:
        BadInput: the file is invalid; it is never repaired automatically, because data depend on these keys.
    """
    path = credentials_path(home)
    try:
        return Credentials.model_validate(without_retired(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        made = Credentials()
        write_private(path, made.model_dump_json(indent=2))
        return made
    except (ValueError, ValidationError) as error:
        problem = error.errors()[0]["loc"] if isinstance(error, ValidationError) else "not JSON"
        raise BadInput(f"{path}: damaged ({problem}): restore it, or remove it to get new logins") from error
