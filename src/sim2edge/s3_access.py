"""Find address and credentials of the S3 server as other S3 clients do; the instance metadata only if allowed.

    access = find_access(S3Access())        the first of these in the environment:
        AWS_ACCESS_KEY_ID                           keys
        AWS_PROFILE                                 a profile of ~/.aws: keys, a role, SSO, a process (needs boto3)
        AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN   a service account (IRSA)
        AWS_CONTAINER_CREDENTIALS_*_URI             a container's or pod's role
        ~/.aws/credentials, ~/.aws/config           the default profile (needs boto3)
        AWS_EC2_METADATA_DISABLED=false             the role of the instance

Without any of them nothing is sent: asking the metadata service of a machine that has none takes long and fails with a
line about that service, and on one that has it, keys that were forgotten would become the keys of the whole machine.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim2edge.errors import Misconfigured
from sim2edge.lines import join_lines

if TYPE_CHECKING:
    from obstore.store import S3Credential

KEPT = timedelta(minutes=15)
"""How long credentials of a profile are used before it is read again; it renews them 15 minutes before they expire."""
PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PROFILE, PROFILE_FILES, CLIENT = "profile", "profile files", "client"


@dataclass(frozen=True)
class S3Access:
    """Address and credentials of the S3 server; what is left out comes from the `AWS_*` variables."""

    endpoint: str = ""
    region: str = ""
    credentials: "Callable[[], S3Credential] | None" = field(default=None, repr=False)
    """Called for the first request and again before its result expires, in a thread of the client."""
    source: str = "AWS_ACCESS_KEY_ID"
    """Where the credentials come from, for messages."""

    def for_obstore(self) -> dict[str, str]:
        """Return the given settings in obstore's form, without the credentials."""
        return {name: value for name, value in (("endpoint", self.endpoint), ("region", self.region)) if value}

    def for_boto3(self) -> dict[str, str]:
        """Return the given settings as arguments of `boto3.client`, with the current credentials."""
        found = {"endpoint_url": self.endpoint, "region_name": self.region}
        if self.credentials:
            given = self.credentials()
            found |= {"aws_access_key_id": given["access_key_id"], "aws_session_token": given.get("token") or ""}
            found["aws_secret_access_key"] = given["secret_access_key"]
        return {name: value for name, value in found.items() if value}


def find_access(access: S3Access) -> S3Access:
    """Return `access` with what the environment has besides: the credentials of a profile, its region and address.

    Raises:
        Misconfigured: there are no credentials, or the profile is invalid.
    """
    if access.credentials:
        return access
    how, source = choose(os.environ, has_profile_files(os.environ))
    if how == CLIENT:
        return replace(access, source=source)
    try:
        return _from_profile(access, os.environ.get("AWS_PROFILE", ""), source)
    except ImportError:
        if how == PROFILE:
            line = f"{source}: profiles need the package boto3, which is not installed: set AWS_ACCESS_KEY_ID instead"
            raise Misconfigured(line) from None
        raise Misconfigured(f"{NONE} (~/.aws is not read without the package boto3)") from None


NONE = (
    "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    "for the role of an AWS instance AWS_EC2_METADATA_DISABLED=false"
)


def choose(environment: Mapping[str, str], profile_files: bool) -> tuple[str, str]:
    """Return who finds the credentials, and their source for messages.

    Raises:
        Misconfigured: there are none, or half a pair of keys.
    """

    def has(*names: str) -> bool:
        return all(environment.get(name) for name in names)

    if has_pair(environment):
        return CLIENT, "AWS_ACCESS_KEY_ID"
    if has("AWS_PROFILE"):
        return PROFILE, f"AWS_PROFILE {environment['AWS_PROFILE']}"
    if has("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"):
        return CLIENT, "AWS_WEB_IDENTITY_TOKEN_FILE"
    for name in ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        if has(name):
            return CLIENT, name
    if environment.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "on", "yes", "y"):
        return CLIENT, "AWS_SKIP_SIGNATURE"
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "false":
        return CLIENT, "the instance's role"
    if profile_files:
        return PROFILE_FILES, "the default profile"
    raise Misconfigured(NONE)


def has_pair(environment: Mapping[str, str]) -> bool:
    """Return whether there is a pair of keys.

    Raises:
        Misconfigured: there is half of one.
    """
    missing = [name for name in PAIR if not environment.get(name)]
    if len(missing) == 1:
        raise Misconfigured(f"{missing[0]} is not set: a key needs both, {' and '.join(PAIR)}")
    return not missing


def has_profile_files(environment: Mapping[str, str]) -> bool:
    """Return whether there is a file of profiles."""
    files = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
    return any(_exists(environment.get(name) or default) for name, default in files.items())


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError):  # no home
        return False


def _from_profile(access: S3Access, profile: str, source: str) -> S3Access:
    """Read a profile with botocore, without its fallback to the instance metadata."""
    import botocore.session
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session(profile=profile or None)
        session.get_component("credential_provider").remove("iam-role")
        found = session.get_credentials()
        provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3")
        endpoint, region = provider.provide(), session.get_config_variable("region")
    except (BotoCoreError, ValueError, KeyError) as error:
        raise Misconfigured(f"{source}: {join_lines(error)}") from error
    if found is None:
        raise Misconfigured(f"{source}: the profile has no credentials" if profile else NONE)
    return S3Access(access.endpoint or endpoint or "", access.region or region or "", _renewed(found), source)


def _renewed(found: Any) -> "Callable[[], S3Credential]":
    """Return a function that gives the current credentials of a profile, which botocore renews."""
    from botocore.exceptions import BotoCoreError, ClientError

    def give() -> "S3Credential":
        try:
            keys = found.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise Misconfigured(join_lines(error)) from error
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token or None,
            "expires_at": datetime.now(UTC) + KEPT,
        }

    return give
