"""Define the logins of services."""

from dataclasses import dataclass, field

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
