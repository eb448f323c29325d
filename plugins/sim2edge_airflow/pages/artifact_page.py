"""Pages of artifacts: what one is made of and from, with what matters of its kind first; its files; the refs.

A file is handed out as what a stranger made: in a sandbox, and never from a browser's memory without asking again, so
that it is shown to those alone who may see it now. Asking again costs S3 nothing: a file never changes.
"""

import mimetypes
from typing import Any
from urllib.parse import quote

from airflow.sdk.configuration import conf
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse

from sim2edge.errors import NotFound
from sim2edge.manifest import Manifest, split_reference
from sim2edge.stages import kinds, maker_of
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.pages.artifact_details import as_dict, describe
from sim2edge_airflow.pages.bus_view import CHAMPION
from sim2edge_airflow.pages.rendering import get_view, render

ROUTES = APIRouter()
SHOWN = ("text/", "image/", "application/json")
"""What a browser may show; the rest it downloads."""
DOWNLOAD = "application/octet-stream"
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
"""A report is data that a stage wrote: it is shown without scripts and without the session of who looks at it."""
ASK_AGAIN = {"Cache-Control": "private, no-cache"}
MAX_PARTS = 200


@ROUTES.get("/artifacts", response_class=HTMLResponse)
def show_refs(request: Request) -> HTMLResponse:
    """Return what is current: champion, dataset, rings."""
    refs = sorted(get_view(request).refs().values(), key=lambda ref: ref.name)
    return render(request, "refs.html", refs=refs)


@ROUTES.get("/artifacts/{kind}/{partition}/{identity}", response_class=HTMLResponse)
def show_artifact(request: Request, kind: str, partition: str, identity: str) -> HTMLResponse:
    """Return one artifact: what matters of its kind, summary, inputs, files, config, cost, environment."""
    view = get_view(request)
    manifest = find(request, kind, partition, identity)
    champion = view.refs().get(CHAMPION)
    notes: list[str] = []
    return render(
        request,
        "artifact.html",
        manifest=manifest,
        details=describe(view, manifest, notes),
        notes=notes,
        report=find_report(manifest),
        tracking=find_tracking(manifest),
        most=MAX_PARTS,
        champion=champion.target if champion else None,
        before=champion.previous if champion else None,
        summary={key: value for key, value in manifest.summary.items() if key not in ("seeds", "mlflow")},
        seeds=as_dict(manifest.summary.get("seeds")),
    )


@ROUTES.get("/manifests/{kind}/{partition}/{identity}")
def show_manifest(request: Request, kind: str, partition: str, identity: str) -> Response:
    """Return the manifest, as it lies on the bus."""
    manifest = find(request, kind, partition, identity)
    return Response(manifest.to_json(), media_type="application/json", headers=SANDBOX | ASK_AGAIN)


@ROUTES.get("/reports/{kind}/{partition}/{identity}")
def open_report(request: Request, kind: str, partition: str, identity: str) -> RedirectResponse:
    """Leads to what an artifact has to look at: a report, a picture; else to its page."""
    manifest = find(request, kind, partition, identity)
    file = find_report(manifest)
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}/artifacts/{manifest.reference}" + (f"/{quote(file)}" if file else ""))


@ROUTES.get("/tracking/{kind}/{partition}/{identity}")
def open_tracking(request: Request, kind: str, partition: str, identity: str) -> RedirectResponse:
    """Leads to the MLflow run of a model."""
    manifest = find(request, kind, partition, identity)
    address = find_tracking(manifest)
    if address is None:
        raise HTTPException(404, f"{manifest.reference} was not tracked in MLflow, or [sim2edge] mlflow_url is not set")
    return RedirectResponse(address)


@ROUTES.get("/artifacts/{kind}/{partition}/{identity}/{path:path}")
def show_file(request: Request, kind: str, partition: str, identity: str, path: str) -> Response:
    """Return one file of an artifact: shown when a browser can, downloaded otherwise."""
    manifest = find(request, kind, partition, identity)
    file = next((each for each in manifest.files if each.path == path), None)
    if file is None:
        raise HTTPException(404, f"{manifest.reference} has no file '{path[:80]}'")
    headers = SANDBOX | ASK_AGAIN | {"ETag": f'"{file.sha256}"'}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    get_view(request).check(manifest, file)  # what is missing is said at once, not after the head of the answer
    media = name_media(path)
    headers |= {"Content-Length": str(file.bytes)}
    headers |= {"Content-Disposition": "attachment"} if media == DOWNLOAD else {}
    content = connect_bus().stream(f"{manifest.reference}/{manifest.attempt}/{path}")
    return StreamingResponse(content, media_type=media, headers=headers)


def name_media(path: str) -> str:
    """Return the media type that a file is handed out as.

    Of none that a page could run as its script or take as its style.
    """
    media, packed = mimetypes.guess_type(path)
    if packed or not media or not media.startswith(SHOWN) or "script" in media:
        return DOWNLOAD
    return "text/plain" if media.startswith("text/") and media != "text/html" else media


def find(request: Request, kind: str, partition: str, identity: str) -> Manifest:
    """Return the manifest that three parts of an address name.

    Raises:
        NotFound: there is none, or no stage makes such a kind.
        BadInput: they can name none.
    """
    reference = f"{kind[:80]}/{partition[:80]}/{identity[:80]}"
    if split_reference(reference)[0] not in kinds():
        raise NotFound(f"{reference}: no stage here makes {kind[:80]}")
    return get_view(request).manifest(reference)


def find_report(manifest: Manifest) -> str | None:
    """Return the file to look at first, as its stage declares it; None when there is none."""
    maker = maker_of(manifest.kind, manifest.stage)
    report = maker.shown.report if maker else None
    return report if any(file.path == report for file in manifest.files) else None


def find_tracking(manifest: Manifest) -> str | None:
    """Return the address of the MLflow run, as people reach it; None when it was not tracked."""
    base = conf.get("sim2edge", "mlflow_url", fallback="").rstrip("/")
    where: Any = manifest.summary.get("mlflow")
    if not base or not isinstance(where, dict):
        return None
    return f"{base}/#/experiments/{quote(str(where.get('experiment')))}/runs/{quote(str(where.get('run')))}"
