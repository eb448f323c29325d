"""Open the bucket that `SIM2EDGE_BUCKET` and the usual `AWS_*` variables name, for `bus.py`; sends nothing yet.

store = open_bucket()                # sits out a restart of the server
store = open_bucket(patience_s=5)    # for interactive callers
store = open_bucket(access=S3Access(endpoint="https://s3.example.org"))   # configured without variables
"""

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from sim2edge.errors import Misconfigured
from sim2edge.s3_access import S3Access, find_access

if TYPE_CHECKING:
    from obstore.store import RetryConfig

__all__ = ["S3Access", "open_bucket"]

RETRIES: "RetryConfig" = {
    # No limit: `retry_timeout` ends them. A closed port refuses at once, which would soon use up a number of retries.
    "max_retries": 10_000,
    # A wait is drawn between `init_backoff` and the last one times `base`: below 3 waits shrink more than they grow.
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 4},
    "retry_timeout": timedelta(seconds=90),
}
"""Long enough to sit out a restart of the S3 server."""
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PRINTABLE = re.compile(r"[ -~]*")


def open_bucket(patience_s: float | None = None, access: S3Access = S3Access()) -> S3Store:  # noqa: B008 - frozen
    """Open the bucket.

    Args:
        patience_s: seconds after which a request is given up; None: see `RETRIES`.
        access: takes precedence over the `AWS_*` variables.

    Raises:
        Misconfigured: no bucket is named, there are no credentials, or a variable has an invalid value.
    """
    bucket, given = read_bucket(), check_endpoint(access.endpoint)
    endpoint = given or read_endpoint()
    check_variables()
    access = find_access(access)
    endpoint = endpoint or check_endpoint(access.endpoint, access.source)
    client: dict[str, Any] = {"allow_http": endpoint.startswith("http://"), "connect_timeout": timedelta(seconds=5)}
    retries: RetryConfig = RETRIES
    if patience_s is not None:
        limit = timedelta(seconds=patience_s)
        client |= {"connect_timeout": limit, "timeout": limit}
        retries = {**RETRIES, "max_retries": 1, "retry_timeout": limit}
    try:
        return S3Store(
            bucket,
            config=access.for_obstore() | ({"endpoint": endpoint} if endpoint else {}),  # type: ignore[arg-type]
            client_options=client,  # type: ignore[arg-type]
            retry_config=retries,
            credential_provider=access.credentials,
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(f"the AWS_* variables: {error}") from error


def read_bucket() -> str:
    """Return the name in `SIM2EDGE_BUCKET`.

    Raises:
        Misconfigured: it is not set, or not a valid bucket name.
    """
    bucket = os.environ.get("SIM2EDGE_BUCKET")
    if not bucket:
        raise Misconfigured(
            "SIM2EDGE_BUCKET is not set: name the S3 bucket (`eval $(sim2edge env)` for the local stack)"
        )
    if not BUCKET.fullmatch(bucket):
        raise Misconfigured(f"SIM2EDGE_BUCKET {bucket[:100]!r}: not a valid bucket name")
    return bucket


def check_variables() -> None:
    """Check the variables that the client would take otherwise: it would panic over a line break in a key.

    Raises:
        Misconfigured: a key is not printable ASCII, or conditional puts are disabled; names the variable.
    """
    for name in CREDENTIALS:
        if not PRINTABLE.fullmatch(os.environ.get(name, "")):
            raise Misconfigured(f"{name}: contains a character that is not printable ASCII")
    if os.environ.get("AWS_CONDITIONAL_PUT", "").lower() == "disabled":
        raise Misconfigured(
            "AWS_CONDITIONAL_PUT: is 'disabled', but commits are conditional puts (docs/s3.md): unset it"
        )


def read_endpoint() -> str:
    """Return the address in `AWS_ENDPOINT_URL_S3`, else in `AWS_ENDPOINT_URL`; empty: AWS itself.

    Raises:
        Misconfigured: it is not `http(s)://<host>[:<port>][/<path>]`.
    """
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if found := check_endpoint(os.environ.get(name, ""), name):
            return found
    return ""


def check_endpoint(endpoint: str, name: str = "endpoint_url") -> str:
    """Return `endpoint` if it is empty or a valid address; the client would end the process over an invalid one.

    Raises:
        Misconfigured: it is not `http(s)://<host>[:<port>][/<path>]`, or contains a user, which is not quoted.
    """
    if "@" in endpoint:  # the value is a secret
        raise Misconfigured(f"{name}: contains a user or an '@': give the credentials as key and secret")
    if endpoint and not _is_address(endpoint):
        raise Misconfigured(f"{name} {endpoint[:100]!r}: expected http://<host>:<port> or https://<host>")
    return endpoint


def _is_address(text: str) -> bool:
    try:
        return bool(ENDPOINT.fullmatch(text)) and urlsplit(text).port != 0
    except ValueError:  # invalid IPv6 address, or a port beyond 65535
        return False
