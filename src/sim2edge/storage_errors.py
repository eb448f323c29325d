"""Map errors of the S3 clients to one line: refused credentials are the user's to fix, the rest may be retried.

with storage_errors("refs/x", "AWS_ACCESS_KEY_ID"):     # the key, and where the credentials come from
    obstore.get(store, "refs/x")
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from sim2edge.errors import BadInput, Forbidden, Unavailable
from sim2edge.lines import without_users

REFUSAL = re.compile(r"performing GET \S+list-type=2\S* in \S+ - .*status code: 40[13]\b|code: AccessDenied")
"""A listing that is refused is a generic error of obstore, as is a request of credentials from an instance's metadata,
which is none of S3's; so is a bulk deletion with a forbidden key."""
OWN = re.compile(r"External AWS credential provider: \w+: (.*)")
"""The error of our own function that gives the credentials."""
REFUSED_STATUS = (401, 403)


@contextmanager
def storage_errors(key: str, source: str) -> Iterator[None]:
    """Map the errors of obstore; conflicts are left to the caller.

    Raises:
        Forbidden: the server refuses the credentials, which are those of `source`.
        BadInput: `key` is not a valid name.
        Unavailable: any other error.
    """
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except ValueError as error:  # obstore rejects paths with an empty part, `..` or a control character
        raise BadInput(f"{key!r}: not a valid object name") from error
    except BaseError as error:
        raise translate(error, key, source) from error


def translate(error: Exception, key: str, source: str) -> Forbidden | Unavailable:
    """Return the line for an error of obstore or boto3; see `storage_errors`."""
    if own := OWN.search(str(error)):
        return Forbidden(f"{source}: {own[1]}")
    if is_refusal(error):
        code = read_code(error)
        return Forbidden(f"{key}: the S3 server refused the credentials ({source}){f': {code}' if code else ''}")
    return Unavailable(f"{key}: {first_line(error)}")


def is_refusal(error: Exception) -> bool:
    """Return whether the server refused the credentials."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return True
    answer = getattr(error, "response", {}).get("ResponseMetadata", {})  # of boto3's ClientError
    return answer.get("HTTPStatusCode") in REFUSED_STATUS or bool(REFUSAL.search(str(error)))


def first_line(error: Exception) -> str:
    """Return the first line of an error, with the code of the server's answer instead of its XML."""
    line = without_users(str(error).partition("\n")[0]).partition(": <")[0]
    code = read_code(error)
    return line if code in line else f"{line}: {code}"


def read_code(error: Exception) -> str:
    """Return the code of the server's answer, such as `SignatureDoesNotMatch`; empty if it has none."""
    code = re.search(r"<Code>(\w+)</Code>|(?<!status )code: (\w+)|An error occurred \((\w+)\)", str(error))
    return next(filter(None, code.groups())) if code else ""
