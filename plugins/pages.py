"""The pages inside Airflow's UI: one application that Airflow's API server mounts under `/sim2edge`.

Read-only, to whoever may read assets and runs in Airflow, with the credentials of the bus that the server has in its
environment. Everything is rendered here; the one script only lets links leave the frame that Airflow puts pages into.
Every page says how old what it shows is, and still comes when S3 does not answer.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import page_words
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_asset, requires_access_dag
from bus_view import BusView
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader
from starlette.exceptions import HTTPException

from sim2edge.errors import BadInput, Unavailable

PREFIX = "/sim2edge"
FOLDER = Path(__file__).parent / "templates"
MOST_OF_A_MESSAGE = 300
PAGE = 100
"""Rows of a table before the next page."""

T = TypeVar("T")

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "Cache-Control": "no-store",
}
ALL_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}

TEMPLATES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
for filter_name in ("ago", "duration", "size", "number", "moment", "short", "words"):
    TEMPLATES.filters[filter_name] = getattr(page_words, filter_name)


def make_app(view: BusView | None = None) -> FastAPI:
    """The application; `view` is what its pages know of the bus."""
    import artifact_page
    import fleet_page
    import flywheel_page
    import lineage_page
    import run_page

    logged_in = [  # without them the pages would be public
        Depends(get_user),
        Depends(requires_access_asset("GET")),
        Depends(requires_access_dag("GET", DagAccessEntity.RUN)),
    ]
    off: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None, "redirect_slashes": False}
    app = FastAPI(title="sim2edge", dependencies=logged_in, **off)
    app.state.view = view or BusView()
    app.middleware("http")(add_headers)
    for part in (flywheel_page, artifact_page, lineage_page, fleet_page, run_page):
        app.include_router(part.ROUTES)
    app.add_api_route("/style.css", lambda: show_static("style.css"), response_class=FileResponse)
    app.add_api_route("/page.js", lambda: show_static("page.js"), response_class=FileResponse)
    app.add_exception_handler(BadInput, lambda request, error: explain(request, 404, str(error)))
    app.add_exception_handler(Unavailable, lambda request, error: explain(request, 503, str(error)))
    app.add_exception_handler(RequestValidationError, explain_validation)
    app.add_exception_handler(HTTPException, explain_http)
    app.add_exception_handler(Exception, explain_failure)
    return app


def show_static(name: str) -> FileResponse:
    """The style sheet or the script."""
    return FileResponse(FOLDER / name, headers={"Cache-Control": "private, max-age=300"})


async def add_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """What every answer carries."""
    response = await call(request)
    response.headers.update(ALL_HEADERS)
    return response


def get_view(request: Request) -> BusView:
    """What the pages of this application know of the bus."""
    view: BusView = request.app.state.view
    return view


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page. Links begin with `root`, those into Airflow itself with `airflow`."""
    view = get_view(request)
    root = request.scope.get("root_path", "")
    shared = {
        "root": root,
        "airflow": root.removesuffix(PREFIX),
        "here": request.url.path,
        "troubles": view.troubles(),
        "age_s": view.age_s,
        "waiting": view.waiting,
    }
    text = TEMPLATES.get_template(template).render(shared | context)
    return HTMLResponse(text.encode(errors="replace"), status, PAGE_HEADERS)  # a stage's JSON may hold half a character


def cut(items: Sequence[T], page: int) -> tuple[Sequence[T], dict[str, int]]:
    """The items of one page, and what `pager` of the templates is told; the last page when there are not so many."""
    pages = max(math.ceil(len(items) / PAGE), 1)
    page = min(page, pages)
    return items[(page - 1) * PAGE : page * PAGE], {"page": page, "pages": pages, "total": len(items)}


def explain(request: Request, status: int, message: str) -> HTMLResponse:
    """A page that says in one line what is wrong."""
    return render(request, "error.html", status, code=status, message=page_words.short(message, MOST_OF_A_MESSAGE))


def explain_http(request: Request, error: Exception) -> HTMLResponse:
    """An answer of FastAPI's or Airflow's own, such as that one has to log in."""
    assert isinstance(error, HTTPException)  # noqa: S101
    return explain(request, error.status_code, str(error.detail))


def explain_validation(request: Request, error: Exception) -> HTMLResponse:
    """A parameter that is none."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    return explain(request, 422, f"{first['loc'][-1]}: {first['msg']}")


def explain_failure(request: Request, error: Exception) -> HTMLResponse:
    """A mistake of ours: the log of the API server says more."""
    return explain(request, 500, f"{type(error).__name__}: the log of the API server says where")
