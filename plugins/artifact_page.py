"""Pages inside Airflow's UI that show what stages made: every ref, one artifact with what it was made from, its files.

Served by Airflow's API server under `/sim2edge`, to whoever is logged in there, with the credentials of the bus that
the server has in its environment.
"""

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader

from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True)
SHOWN = ("text/", "image/", "application/json")
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
"""A report is data that a stage wrote: it is shown without scripts and without the session of who looks at it."""


def make_app() -> FastAPI:
    """The application that Airflow mounts under `/sim2edge`."""
    logged_in = [Depends(get_user)]  # without it the pages would be public
    app = FastAPI(title="sim2edge", docs_url=None, redoc_url=None, openapi_url=None, dependencies=logged_in)
    app.add_api_route("/artifacts", show_refs, response_class=HTMLResponse)
    app.add_api_route("/artifacts/{kind}/{partition}/{identity}", show_artifact, response_class=HTMLResponse)
    app.add_api_route("/artifacts/{kind}/{partition}/{identity}/{path:path}", show_file)
    return app


def show_refs() -> str:
    """Every ref and where it points."""
    refs = look(lambda: Bus.from_environment().list_refs())
    return TEMPLATES.get_template("refs.html").render(refs=refs)


def show_artifact(kind: str, partition: str, identity: str) -> str:
    """One artifact: summary, inputs, files, config, cost, environment."""
    manifest = look(lambda: Bus.from_environment().open(f"{kind}/{partition}/{identity}"))
    return TEMPLATES.get_template("artifact.html").render(manifest=manifest)


def show_file(kind: str, partition: str, identity: str, path: str) -> StreamingResponse:
    """One file of an artifact: shown when a browser can, downloaded otherwise."""
    bus = Bus.from_environment()
    manifest = look(lambda: bus.open(f"{kind}/{partition}/{identity}"))
    if path not in {file.path for file in manifest.files}:
        raise HTTPException(404, f"{manifest.reference} has no file '{path}'")
    media = mimetypes.guess_type(path)[0] or "application/octet-stream"
    content = bus.stream(f"{manifest.reference}/{manifest.attempt}/{path}")
    headers = {} if media.startswith(SHOWN) else {"Content-Disposition": "attachment"}
    return StreamingResponse(content, media_type=media, headers=SANDBOX | headers)


def look(read: Callable[[], Any]) -> Any:
    """What `read` finds on the bus; errors become answers that say what is wrong."""
    try:
        return read()
    except BadInput as error:
        raise HTTPException(404, str(error)) from error
    except Unavailable as error:
        raise HTTPException(503, str(error)) from error
