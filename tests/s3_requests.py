"""S3 requests as anyone could make them: through boto3, or signed by hand with a path that no client would send."""

import hashlib
import http.client
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError


def client(environment: Mapping[str, str], service: str = "s3") -> Any:
    """A boto3 client with the keys and the endpoint of `environment`."""
    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
        config=Config(retries={"max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"}),
    )


def refused(action: Callable[[], object]) -> bool:
    """Whether the server forbids it: 403 or AccessDenied, nothing else; other errors are raised."""
    try:
        action()
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status != 403:
            raise
        return True
    return False


def send(environment: Mapping[str, str], method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a signed request for exactly this path and query; status and body of the answer."""
    url = environment["AWS_ENDPOINT_URL"] + path
    request = AWSRequest(method=method, url=url, data=body)
    request.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    S3SigV4Auth(keys, "s3", environment["AWS_REGION"]).add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.putrequest(method, path)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
