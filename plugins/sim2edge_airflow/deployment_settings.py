"""Read the texts of `[sim2edge]` in airflow.cfg: an invalid one is refused where it is read, in one line that names it.

    runtime = read_runtime()               # process, docker or kubernetes
    limits = read_stage("train", tag)      # of the file that `stages` names

A DAG that reads one while it is parsed reports it as an import error. Numbers: `number_settings.py`.
"""

import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from airflow.sdk.configuration import conf

from sim2edge.errors import BadInput, Misconfigured
from sim2edge.lines import quote
from sim2edge_airflow.runtimes.stage_settings import RuntimeName, StageSettings, read_stage_settings

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""Value of a label in Docker and in Kubernetes."""
PRESET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
URL = re.compile(r"https?://[A-Za-z0-9.:_\[\]-]+(/[^\s<>'\"?#]*)?")


def read_runtime() -> str:
    """Return `[sim2edge] runtime`.

    Raises:
        Misconfigured: it is none of the runtimes.
    """
    known = get_args(RuntimeName)
    return _read("runtime", re.compile("|".join(known)), f"is not one of: {', '.join(known)}")


def read_deployment() -> str:
    """Return `[sim2edge] deployment`.

    Raises:
        Misconfigured: it cannot be the value of a label.
    """
    return _read("deployment", LABEL, "expected 1 to 63 letters, digits, '.', '_' and '-', as in a label")


def read_default_preset() -> str:
    """Return `[sim2edge] preset`; empty: none.

    Raises:
        Misconfigured: it cannot be the name of a file of `SIM2EDGE_CONF`.
    """
    return _read("preset", PRESET, "expected the name of a preset: letters, digits, '.', '_' and '-'")


def read_url(name: str) -> str:
    """Return an option that is an http(s) URL, or empty.

    Raises:
        Misconfigured: it is not a URL, or contains a user, which is not quoted.
    """
    text = str(conf.get("sim2edge", name, fallback=""))
    if "@" in text:
        raise Misconfigured(f"[sim2edge] {name}: contains a user or an '@': expected http(s)://<host>/...")
    if text and not _is_url(text):
        raise Misconfigured(f"[sim2edge] {name}: {quote(text)}: expected http(s)://<host>/...")
    return text


def read_cron(name: str) -> str:
    """Return an option that is a cron expression, or empty.

    Raises:
        Misconfigured: it is not a cron expression.
    """
    from airflow.exceptions import AirflowTimetableInvalid
    from airflow.timetables.trigger import CronTriggerTimetable

    text = str(conf.get("sim2edge", name)).strip()
    try:
        if text:
            CronTriggerTimetable(text, timezone="UTC").validate()
    except (AirflowTimetableInvalid, ValueError):
        raise Misconfigured(f"[sim2edge] {name}: {quote(text)}: expected a cron expression") from None
    return text


def read_stage(stage: str, tag: str) -> StageSettings:
    """Return the image and limits of a stage, of the file that `[sim2edge] stages` names.

    Raises:
        Misconfigured: the file is missing or invalid; names the option and the file.
    """
    try:
        return read_stage_settings(Path(conf.get("sim2edge", "stages")), stage, tag)
    except (BadInput, OSError) as error:
        raise Misconfigured(f"[sim2edge] stages: {error}") from None


def _read(name: str, form: re.Pattern[str], expected: str) -> str:
    text = str(conf.get("sim2edge", name))
    if not form.fullmatch(text):
        raise Misconfigured(f"[sim2edge] {name} {quote(text)}: {expected}")
    return text


def _is_url(text: str) -> bool:
    try:
        return bool(URL.fullmatch(text)) and urlsplit(text).port != 0
    except ValueError:  # invalid IPv6 address, or a port beyond 65535
        return False
