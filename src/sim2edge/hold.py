"""Describe a hold: every DAG paused for maintenance, with the reason, and which of them to unpause afterwards.

It is kept in Airflow's variable `sim2edge_hold`, where the pages and `sim2edge hold` find it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sim2edge.errors import BadInput, Corrupt
from sim2edge.lines import first_problem

VARIABLE = "sim2edge_hold"
EXCEPT = ("reap_containers", "refresh_fleet")
"""DAGs that go on: they only clear up, and keep the fleet's signatures from expiring."""
MAX_REASON = 300

Name = Annotated[str, Field(max_length=250)]


class Hold(BaseModel):
    """A hold of the system."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    by: Annotated[str, Field(min_length=1, max_length=120)]
    at: AwareDatetime
    dags: tuple[Name, ...] = Field(description="the DAGs that it paused: the others were paused before")

    def __str__(self) -> str:
        return f"on hold since {self.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC by {self.by}: {self.reason}"


def begin(reason: str, by: str, active: Iterable[str], now: datetime) -> Hold:
    """Return the hold that pauses the active DAGs.

    Raises:
        BadInput: the reason is empty, too long, or not one line.
    """
    return Hold(reason=check_reason(reason), by=by, at=now, dags=tuple(sorted(set(active) - {*EXCEPT})))


def check_reason(reason: str) -> str:
    """Return the reason if it is one printable line.

    Raises:
        BadInput: it is not.
    """
    text = reason.strip()
    if not text or len(text) > MAX_REASON or not text.isprintable():
        raise BadInput(f"reason: expected one line of 1 to {MAX_REASON} printable characters")
    return text


def parse(text: str) -> Hold:
    """Return the hold in the variable's value.

    Raises:
        Corrupt: it is not one.
    """
    try:
        return Hold.model_validate_json(text)
    except ValidationError as error:
        raise Corrupt(f"Airflow variable {VARIABLE}: {first_problem(error)}") from error
