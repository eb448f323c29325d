"""Serve the pages of artifacts: details, inputs, files, refs.

Files are served as untrusted content: in a sandbox, and revalidated by the browser at every view, so that only users
with permission see them (`file_answer.py`). Revalidation costs S3 nothing: a file never changes.
"""

from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from sim2edge.catalog import Catalog
from sim2edge.errors import NotFound
from sim2edge.manifest import Manifest, split_reference
from sim2edge.stages import kinds, maker_of
from sim2edge_airflow.deployment_settings import read_url
from sim2edge_airflow.pages.acting.offered import offer_for_artifact
from sim2edge_airflow.pages.artifact_details import as_dict, describe
from sim2edge_airflow.pages.bus_view import CHAMPION
from sim2edge_airflow.pages.costs import bill
from sim2edge_airflow.pages.file_answer import ASK_AGAIN, SANDBOX, answer
from sim2edge_airflow.pages.model_standing import judge_model
from sim2edge_airflow.pages.rendering import get_view, render

ROUTES = APIRouter()
MAX_PARTS = 200


@ROUTES.get("/artifacts", response_class=HTMLResponse)
def show_refs(request: Request) -> HTMLResponse:
    """Return the page of the current refs: champion, dataset, rings."""
    refs = sorted(get_view(request).refs().values(), key=lambda ref: ref.name)
    return render(request, "refs.html", refs=refs)


@ROUTES.get("/artifacts/{kind}/{partition}/{identity}", response_class=HTMLResponse)
def show_artifact(request: Request, user: GetUserDep, kind: str, partition: str, identity: str) -> HTMLResponse:
    """Return the page of an artifact: details of its kind, summary, inputs, files, config, cost, environment."""
    view = get_view(request)
    manifest = find(request, kind, partition, identity)
    notes: list[str] = []
    champion = view.refs().get(CHAMPION)
    return render(
        request,
        "artifact.html",
        manifest=manifest,
        erased=view.is_erased(manifest.reference),
        details=describe(view, manifest, notes),
        note=view.notes().get(manifest.reference),
        compared_with=choose_other(view.catalog(), manifest, champion.target if champion else None),
        champion=champion.target if champion else None,
        bill=bill(view.catalog(), manifest.reference),
        notes=notes,
        report=find_report(manifest),
        tracking=find_tracking(manifest),
        most=MAX_PARTS,
        standing=judge_model(view.catalog(), view.refs(), manifest.reference) if manifest.kind == "model" else None,
        summary={key: value for key, value in manifest.summary.items() if key not in ("seeds", "mlflow")},
        seeds=as_dict(manifest.summary.get("seeds")),
        actions=offer_for_artifact(user, view, manifest.reference),
    )


def choose_other(catalog: Catalog, manifest: Manifest, champion: str | None) -> str | None:
    """Return what an artifact is best compared with: the champion, or the one of its kind before it; None: nothing."""
    if manifest.kind == "model" and champion not in (None, manifest.reference):
        return champion
    older = (r for r in catalog.records() if r.kind == manifest.kind and r.finished < manifest.finished and not r.shard)
    before = max(older, key=lambda record: record.finished, default=None)
    return before.reference if before else None


@ROUTES.get("/manifests/{kind}/{partition}/{identity}")
def show_manifest(request: Request, kind: str, partition: str, identity: str) -> Response:
    """Return the manifest as JSON."""
    manifest = find(request, kind, partition, identity)
    return Response(manifest.to_json(), media_type="application/json", headers=SANDBOX | ASK_AGAIN)


@ROUTES.get("/reports/{kind}/{partition}/{identity}")
def open_report(request: Request, kind: str, partition: str, identity: str) -> RedirectResponse:
    """Redirect to an artifact's report or picture, else to its page."""
    manifest = find(request, kind, partition, identity)
    file = find_report(manifest)
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}/artifacts/{manifest.reference}" + (f"/{quote(file)}" if file else ""))


@ROUTES.get("/tracking/{kind}/{partition}/{identity}")
def open_tracking(request: Request, kind: str, partition: str, identity: str) -> RedirectResponse:
    """Redirect to the MLflow run of a model."""
    manifest = find(request, kind, partition, identity)
    address = find_tracking(manifest)
    if address is None:
        raise HTTPException(404, f"{manifest.reference} was not tracked in MLflow, or [sim2edge] mlflow_url is not set")
    return RedirectResponse(address)


@ROUTES.get("/artifacts/{kind}/{partition}/{identity}/{path:path}")
def show_file(request: Request, kind: str, partition: str, identity: str, path: str) -> Response:
    """Return a file of an artifact, to be shown if a browser can show it safely, else to be downloaded."""
    manifest = find(request, kind, partition, identity)
    file = next((each for each in manifest.files if each.path == path), None)
    if file is None:
        raise HTTPException(404, f"{manifest.reference} has no file '{path[:80]}'")
    return answer(request, get_view(request), manifest, file)


def find(request: Request, kind: str, partition: str, identity: str) -> Manifest:
    """Return the manifest that three segments of a URL name.

    Raises:
        NotFound: no installed stage makes this kind.
        Missing: the artifact does not exist.
        BadInput: the segments are not a valid reference.
    """
    reference = f"{kind[:80]}/{partition[:80]}/{identity[:80]}"
    if split_reference(reference)[0] not in kinds():
        raise NotFound(f"{reference}: no stage here makes {kind[:80]}")
    return get_view(request).manifest(reference)


def find_report(manifest: Manifest) -> str | None:
    """Return the artifact's report, the file that its stage declares; None if it has none."""
    maker = maker_of(manifest.kind, manifest.stage)
    report = maker.shown.report if maker else None
    return report if any(file.path == report for file in manifest.files) else None


def find_tracking(manifest: Manifest) -> str | None:
    """Return the browser URL of the MLflow run; None if it was not tracked or `mlflow_url` is not set.

    Raises:
        Misconfigured: `mlflow_url` is not an http(s) URL.
    """
    base = read_url("mlflow_url").rstrip("/")
    where: Any = manifest.summary.get("mlflow")
    if not base or not isinstance(where, dict):
        return None
    return f"{base}/#/experiments/{quote(str(where.get('experiment')))}/runs/{quote(str(where.get('run')))}"
