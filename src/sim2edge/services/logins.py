"""Name who logs in where."""

from dataclasses import dataclass, field

USER = "admin"
"""The user of every service that is started with a generated password."""


@dataclass(frozen=True)
class Login:
    """An address, and the user and password that it takes."""

    url: str
    user: str
    password: str = field(repr=False)
