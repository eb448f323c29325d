"""Define an action of the pages: who may do it, what it would do, and how it is done.

    Action("hold", "Hold the system", (), permissions, describe, perform)

An action has an address, `/sim2edge/actions/<name>?<field>=<value>`, whose page says what it would do and asks for a
reason (`routes.py`). `describe` changes nothing; `perform` is called once it is confirmed, and returns the address of
the page where its progress is seen. Pure, but for the functions that an action brings along.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

from sim2edge.errors import BadInput
from sim2edge_airflow.pages.acting.permissions import Permission
from sim2edge_airflow.pages.bus_view import BusView

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_REASON = 200
MAX_VALUE = 200
"""Characters of a field."""

Given = Mapping[str, str]
"""The fields of an action, by name; an empty one is left out."""


class Refused(BadInput):
    """What is to be done cannot be done now (HTTP 409)."""


@dataclass(frozen=True)
class Asker:
    """Who wants something done, and what is known: the pages' view of the bus, and Airflow's database."""

    view: BusView
    session: "Session"
    user: BaseUser


@dataclass(frozen=True)
class Confirmed:
    """What a person has confirmed."""

    reason: str
    nonce: str
    """The same for every attempt to send the same form."""
    asked: datetime
    """When the form was shown."""

    @property
    def run_id(self) -> str:
        """The id of the run that it starts: one form starts one run, however often it is sent."""
        return f"manual__{self.asked:%Y-%m-%dT%H:%M:%S}+00:00_{self.nonce}"


@dataclass(frozen=True)
class Field:
    """A value that an action needs."""

    name: str
    label: str
    check: Callable[[str], str]
    """Returns the value; raises BadInput."""
    required: bool = True
    options: Callable[[], Sequence[str]] | None = None
    """The values to choose from; None: any text."""
    hint: str = ""


@dataclass(frozen=True)
class Affected:
    """A heading, and the names of what an action changes."""

    heading: str
    names: Sequence[str]
    """References of artifacts, or other names."""


@dataclass(frozen=True)
class Offer:
    """What an action would do now."""

    steps: Sequence[str]
    """What happens, in order."""
    affected: Sequence[Affected] = ()
    warnings: Sequence[str] = ()
    refusal: str = ""
    """Why it cannot be done now."""
    already: tuple[str, str] | None = None
    """What is so already, in words, and the path of the page that shows it: confirmed again, it is only shown."""
    to_type: str = ""
    """What has to be typed to confirm."""
    commands: Sequence[str] = ()
    """Commands that do the same."""


@dataclass(frozen=True)
class Action:
    """An action of the pages."""

    name: str
    title: str
    fields: Sequence[Field]
    permissions: Callable[[Given], Sequence[Permission]]
    describe: Callable[[Asker, Given], Offer]
    perform: Callable[[Asker, Given, Confirmed], str] | None
    """Returns the path of the page to go to, below the pages' own; None: the page only tells how it is done."""
    button: str = "Confirm"
    back: Callable[[Given], str] = field(default=lambda _: "/flywheel")
    """The path of the page that the action belongs to."""

    def read(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the fields among some values, checked; others are an error.

        Raises:
            BadInput: a field is invalid, or has another name.
        """
        known = {each.name: each for each in self.fields}
        if unknown := sorted(set(values) - set(known)):
            raise BadInput(f"'{unknown[0][:80]}' is not one of: {', '.join(known) or 'nothing'}")
        return {name: check_value(known[name], value) for name, value in values.items() if value}

    def lacks(self, given: Given) -> list[str]:
        """Return the names of the required fields that are not given."""
        return [each.name for each in self.fields if each.required and each.name not in given]


def check_value(known: Field, value: str) -> str:
    """Return the value of a field.

    Raises:
        BadInput: it is invalid; the message names the field.
    """
    if len(value) > MAX_VALUE or not value.isprintable():
        raise BadInput(f"{known.name}: expected one line of up to {MAX_VALUE} printable characters")
    if known.options and value not in known.options():
        raise BadInput(f"{known.name}: '{value[:80]}' is not one of: {', '.join(known.options())}")
    return known.check(value)


def check_reason(reason: str) -> str:
    """Return the reason if it is one printable line.

    Raises:
        BadInput: it is not.
    """
    text = reason.strip()
    if not 0 < len(text) <= MAX_REASON or not text.isprintable():
        raise BadInput(f"reason: expected one line of 1 to {MAX_REASON} printable characters")
    return text
