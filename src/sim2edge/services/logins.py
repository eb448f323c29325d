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


RETIRED = ("inbox_token",)
"""What earlier versions kept with the secrets, and nothing reads any more."""


def without_retired(content: object) -> object:
    """Return what a file of secrets holds, without what is retired, so that an older file can be read."""
    if not isinstance(content, dict):
        return content
    return {name: value for name, value in content.items() if name not in RETIRED}
