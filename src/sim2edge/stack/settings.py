"""Define the settings of the stack: its folder, ports and interpreters.

Each setting comes from an argument of the command, else from the variable `SIM2EDGE_<NAME>`, else from its default.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim2edge.errors import BadInput
from sim2edge.services.loopback import holder, is_taken
from sim2edge.services.seaweedfs import INTERNAL_PORTS

CHECKOUT = Path(__file__).resolve().parents[3]
Part = Literal["s3", "mlflow", "airflow"]
PARTS: tuple[Part, ...] = ("s3", "mlflow", "airflow")


class StackSettings(BaseModel):
    """The settings of the local stack; every server listens on 127.0.0.1 only."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    root: Path = Field(CHECKOUT, description="the checkout: holds airflow.cfg, dags/, plugins/, conf/")
    home: Path = Field(CHECKOUT / ".sim2edge", description="folder of the stack's data, logs and credentials")
    bucket: str = Field(
        "sim2edge", pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", description="S3 bucket, created if missing"
    )
    preset: str = Field("default", description="preset (conf/<name>.yaml) of runs that name none")
    s3_port: int = Field(8333, ge=1024, le=65525, description="S3; the nine ports after it are used inside SeaweedFS")
    mlflow_port: int = Field(5000, ge=1024, le=65535, description="MLflow")
    airflow_port: int = Field(8080, ge=1024, le=65535, description="Airflow's UI and API")
    airflow_python: Path = Field(CHECKOUT / ".venvs/airflow/bin/python", description="interpreter that has Airflow")
    stage_python: Path = Field(
        CHECKOUT / ".venvs/stages/bin/python", description="interpreter that has the stages, MLflow"
    )
    only: tuple[Part, ...] = Field(PARTS, description="the parts that are started")

    @model_validator(mode="after")
    def _s3_first(self) -> "StackSettings":
        if "s3" not in self.only:
            raise ValueError("'only' must contain s3: the others store their data there")
        return self

    @property
    def roles(self) -> Path:
        """The folder of the role files."""
        return self.home / "credentials"

    @property
    def s3_ports(self) -> dict[str, int]:
        """Flag of `weed mini` to port."""
        flags = ("s3.port", *INTERNAL_PORTS)
        return {flag: self.s3_port + offset for offset, flag in enumerate(flags)}

    @property
    def s3_url(self) -> str:
        """Endpoint of the S3 server."""
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI and API."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and API."""
        return f"http://127.0.0.1:{self.airflow_port}"

    def ports(self) -> Iterator[tuple[str, int, str]]:
        """Yield every port as (service, port, name of its setting)."""
        for flag, port in self.s3_ports.items():
            yield f"S3 server, {flag}", port, "s3_port"
        if "mlflow" in self.only:
            yield "MLflow", self.mlflow_port, "mlflow_port"
        if "airflow" in self.only:
            yield "Airflow", self.airflow_port, "airflow_port"


def load_settings(arguments: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> StackSettings:
    """Build the settings: `arguments` that are not None override `SIM2EDGE_<NAME>` variables, those the defaults.

    Raises:
        BadInput: a setting is invalid; the message names each.
    """
    names = [name for name in StackSettings.model_fields if name not in ("root", "only")]
    from_environment = {name: environment.get(f"SIM2EDGE_{name.upper()}") or None for name in names}
    chosen = {**from_environment, **{name: value for name, value in arguments.items() if value is not None}}
    try:
        settings = StackSettings.model_validate({name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        problems = (f"{_name(item['loc'])}: {item['msg']} (got {item['input']!r})" for item in error.errors())
        raise BadInput("; ".join(problems)) from error
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


def _name(location: tuple[int | str, ...]) -> str:
    return f"stack setting {'.'.join(map(str, location))}" if location else "stack settings"


def check_ports(settings: StackSettings) -> None:
    """Check that every port is free and used once.

    Raises:
        BadInput: one is not; the message names the port, its use, its holder, and how to choose another.
    """
    seen: dict[int, str] = {}
    for service, port, name in settings.ports():
        advice = f"choose another with --{name.replace('_', '-')} or SIM2EDGE_{name.upper()}"
        if name == "s3_port" and port != settings.s3_port:
            advice += " (the nine ports after it are used too)"
        if port in seen:
            raise BadInput(f"port {port} is used for both {seen[port]} and {service}: {advice}")
        seen[port] = service
        if is_taken(port):
            raise BadInput(f"port {port} ({service}) is taken by {_describe(port)}: {advice}")


def _describe(port: int) -> str:
    process = holder(port)
    return f"{process.name()} (pid {process.pid})" if process else "a process of another user"


def check_interpreters(settings: StackSettings) -> None:
    """Check that the interpreters of both environments exist.

    Raises:
        BadInput: one is missing.
    """
    needed = {"mlflow": settings.stage_python, "airflow": settings.airflow_python}
    for part, python in needed.items():
        if part in settings.only and not os.access(python, os.X_OK):
            raise BadInput(f"{part}: no interpreter at {python}: run `make install`")
