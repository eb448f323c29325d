"""List folders whose names may be anything, with boto3: obstore aborts a listing at a key that is not a valid path.

Without it, one such key would hide every other folder: https://github.com/developmentseed/obstore/issues/429
"""

from collections.abc import Sequence

from sim2edge.bucket import S3Access
from sim2edge.errors import BadInput
from sim2edge.storage_errors import translate


def list_folders(bucket: str, prefix: str, access: S3Access) -> Sequence[str]:
    """Return the names of the folders directly below folder `prefix`, sorted.

    Raises:
        BadInput: boto3 is not installed.
        Forbidden, Unavailable: see `storage_errors.py`.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise BadInput(f"{prefix}: contains a key that is not a valid path") from None
    session = boto3.Session()  # the default one keeps the credentials that it first found
    client = session.client("s3", config=Config(s3={"addressing_style": "path"}), **access.for_boto3())
    wanted = {"Bucket": bucket, "Prefix": f"{prefix.rstrip('/')}/", "Delimiter": "/"}
    try:
        pages = client.get_paginator("list_objects_v2").paginate(**wanted)
        found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
    except (BotoCoreError, ClientError) as error:
        raise translate(error, prefix, access.source) from error
    return sorted(name[len(wanted["Prefix"]) : -1] for name in found)
