"""An S3 server in this process, which can be told to be a bad one: `with StandIn() as server: server.ignores = ...`."""

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


class StandIn(ThreadingHTTPServer):
    """Objects in memory; get, head, put, uploads in parts, delete, listings without folders. Checks no signature."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str] = []
        self.ignores: set[str] = set()
        """Headers of conditions that it ignores."""
        self.answers: list[tuple[int, str]] = []
        """Status and code with which it answers the next conditional puts."""
        self.always: dict[str, tuple[int, str]] = {}
        """Method, or header of a condition, to the status and code that it always answers."""
        self.clock_s = 0.0
        """How much its clock is ahead, seconds."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def signed_with(self) -> list[str]:
        """The access keys of the requests."""
        return [each.partition("Credential=")[2].partition("/")[0] for each in self.authorizations]

    def environment(self) -> dict[str, str]:
        return {
            "SIM2EDGE_BUCKET": "some",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }

    def count(self, method: str, part: str = "") -> int:
        """How many requests of a method came whose path has a part."""
        return sum(made == method and part in path for made, path in self.requests)


def tag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: StandIn

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate((timestamp or time.time()) + self.server.clock_s, usegmt=True)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def begin(self) -> str | None:
        """The key; None if the request is answered already."""
        self.server.requests.append((self.command, self.path))
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        if found := self.server.always.get(self.command):
            self.refuse(*found)
            return None
        return unquote(urlsplit(self.path).path).removeprefix("/some").lstrip("/")

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True).get(name, [""])[0]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.begin()
        if key is None:
            return None
        if upload := self.query("uploadId"):
            self.server.uploads[upload][int(self.query("partNumber"))] = data
            return self.answer(200, ETag=tag_of(data))
        with self.server.lock:
            wrong = self.condition_fails(key)
            if not wrong:
                self.server.objects[key] = data
        if wrong:
            return self.refuse(*wrong)
        return self.answer(200, ETag=tag_of(data))

    def condition_fails(self, key: str) -> tuple[int, str] | None:
        present = self.server.objects.get(key)
        for header in ("If-None-Match", "If-Match"):
            value = self.headers.get(header)
            if value is None or header in self.server.ignores:
                continue
            if self.server.answers:
                return self.server.answers.pop(0)
            if header in self.server.always:
                return self.server.always[header]
            if header == "If-None-Match" and present is not None:
                return 412, "PreconditionFailed"
            if header == "If-Match" and present is None:
                return 404, "NoSuchKey"
            if header == "If-Match" and value != tag_of(present or b""):
                return 412, "PreconditionFailed"
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        key = self.begin()
        data = self.server.objects.get(key or "")
        if key == "":
            self.list_objects()
        elif key and data is None:
            self.refuse(404, "NoSuchKey")
        elif data is not None:
            self.answer_object(data)

    def answer_object(self, data: bytes) -> None:
        asked = self.headers.get("Range", "")
        if asked and "Range" not in self.server.ignores:
            start, _, end = asked.removeprefix("bytes=").partition("-")
            part = data[int(start) : int(end or len(data)) + 1]
            where = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
            self.answer(206, part, ETag=tag_of(data), Content_Range=where, Last_Modified=self.date_time_string())
        else:
            self.answer(200, data, ETag=tag_of(data), Last_Modified=self.date_time_string())

    def list_objects(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix, after = query.get("prefix", ""), query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(key for key in self.server.objects if key.startswith(prefix) and key > after)
        page = keys[: int(query.get("max-keys", 1000))]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(page) < len(keys) else ""
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            f"<LastModified>{datetime.now(UTC).isoformat()}</LastModified><ETag>{tag_of(self.server.objects[key])}</ETag></Contents>"
            for key in page
        )
        truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        self.answer(200, f"<ListBucketResult>{truncated}{found}{more}</ListBucketResult>".encode())

    def do_DELETE(self) -> None:
        key = self.begin()
        if key is not None:
            self.server.objects.pop(key, None)
            self.answer(204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        key = self.begin()
        if key is None:
            return None
        if key:
            return self.post_upload(key)
        if refusal := self.server.always.get("DELETE"):
            return self.refuse(*refusal)
        keys = re.findall("<Key>(.*?)</Key>", body)
        for each in keys:
            self.server.objects.pop(unescape(each, {"&apos;": "'", "&quot;": '"'}), None)
        deleted = "".join(f"<Deleted><Key>{each}</Key></Deleted>" for each in keys)
        return self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def post_upload(self, key: str) -> None:
        upload = self.query("uploadId")
        if upload:
            parts = self.server.uploads.pop(upload)
            data = self.server.objects[key] = b"".join(parts[number] for number in sorted(parts))
            said = f"<CompleteMultipartUploadResult><ETag>{tag_of(data)}</ETag></CompleteMultipartUploadResult>"
        else:
            upload = uuid.uuid4().hex
            self.server.uploads[upload] = {}
            said = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        self.answer(200, said.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@contextmanager
def start_stand_in() -> Iterator[StandIn]:
    """Run a stand-in until the context ends."""
    with StandIn() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
