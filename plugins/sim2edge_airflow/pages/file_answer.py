"""Answer a request for a file of an artifact: streamed from S3 in chunks, whole or the byte range that is asked for.

No file is held in memory. A range lets a viewer read parts of a log, and a download go on where it stopped:
https://www.rfc-editor.org/rfc/rfc9110#section-14
"""

import mimetypes
import re
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from sim2edge.manifest import File, Manifest
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.pages.bus_view import BusView

SHOWN = ("text/", "image/", "application/json")
"""Prefixes of media types that a browser may show; it downloads all others."""
DOWNLOAD = "application/octet-stream"
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
"""A report is untrusted data that a stage wrote: it is shown without scripts and without the viewer's session."""
ASK_AGAIN = {"Cache-Control": "private, no-cache"}
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Span:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """A file has none of the bytes that are asked for."""


def answer(request: Request, view: BusView, manifest: Manifest, file: File) -> Response:
    """Return a file, 206 with a part of it, 304 if the browser has it, or 416 if it has no such bytes.

    Raises:
        Missing, Erased, Corrupt: it is not on the bus as its manifest says.
    """
    media = name_media(file.path)
    headers = SANDBOX | ASK_AGAIN | {"ETag": f'"{file.sha256}"', "Accept-Ranges": "bytes"}
    if media == DOWNLOAD:
        headers["Content-Disposition"] = f'attachment; filename="{name_download(manifest, file)}"'
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    view.check(manifest, file)  # while the status can still be an error: streaming sends it first
    is_same = request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
    try:
        span = parse_range(request.headers.get("Range") if is_same else None, file.bytes)
    except Unsatisfiable:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{file.bytes}"})
    if span or media == DOWNLOAD:
        headers["Content-Encoding"] = "identity"  # or else Airflow's middleware compresses it, and drops its length
    headers["Content-Length"] = str(span.end - span.start if span else file.bytes)
    if span:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.bytes}"
    key = f"{manifest.reference}/{manifest.attempt}/{file.path}"
    content = connect_bus().stream(key, span.start, span.end) if span else connect_bus().stream(key)
    return StreamingResponse(content, 206 if span else 200, media_type=media, headers=headers)


def parse_range(asked: str | None, size: int) -> Span | None:
    """Return the bytes that a header `Range` asks for; None, the whole file: for none, several, or a strange one.

    Raises:
        Unsatisfiable: the file has none of them.
    """
    found = RANGE.fullmatch(asked.strip()) if asked else None
    if not found:
        return None
    first, last, suffix = found.groups()
    if suffix is None and last and int(last) < int(first):
        return None
    start = max(size - int(suffix), 0) if suffix else int(first)
    end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise Unsatisfiable
    return Span(start, end)


def name_media(path: str) -> str:
    """Return the media type to serve a file as, never one that a page could load as script or style sheet."""
    media, packed = mimetypes.guess_type(path)
    if packed or not media or not media.startswith(SHOWN) or "script" in media:
        return DOWNLOAD
    return "text/plain" if media.startswith("text/") and media != "text/html" else media


def name_download(manifest: Manifest, file: File) -> str:
    """Return the name to store a file under: that of its artifact's batch, and its path."""
    path = file.path if file.path.startswith(f"{manifest.partition}.") else f"{manifest.partition}/{file.path}"
    return UNSAFE.sub("-", path)[-150:]
