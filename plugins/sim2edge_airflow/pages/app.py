"""Build the pages inside Airflow's UI: one application that Airflow's API server mounts under `/sim2edge`.

For users with permission to read assets and runs in Airflow; the server reads the bus with its own credentials, and
writes nothing there: what a user may change (`acting/`) is changed by a run of a DAG. Pages are rendered on the server
(`rendering.py`); three small scripts let links leave the frame in which Airflow shows the pages, show times in the
reader's time zone, and refresh the page in place.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import get_user, requires_access_asset, requires_access_dag
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from sim2edge.errors import BadInput, Corrupt, Erased, Forbidden, Misconfigured, Missing, NotFound, Unavailable
from sim2edge_airflow.pages import (
    artifact_page,
    batch_pictures,
    compare_page,
    docs_page,
    fleet_page,
    flywheel_page,
    lineage_page,
    run_page,
    storage_page,
    timeline_page,
    trends_page,
)
from sim2edge_airflow.pages.acting import routes
from sim2edge_airflow.pages.bus_view import BusView
from sim2edge_airflow.pages.rendering import FOLDER, explain_error, explain_failure, explain_http, explain_validation

STATUS: Mapping[type[Exception], int] = {
    BadInput: 400,
    NotFound: 404,
    Missing: 404,
    Forbidden: 403,
    Erased: 410,
    Corrupt: 502,
    Misconfigured: 503,
    Unavailable: 503,
}
"""Error class to HTTP status; the most derived class of an error applies."""
PARTS = (
    flywheel_page,
    batch_pictures,
    artifact_page,
    lineage_page,
    fleet_page,
    run_page,
    trends_page,
    timeline_page,
    storage_page,
    compare_page,
    docs_page,
    routes,
)
"""Modules with the routes of the pages; the first that matches answers."""
STATIC = ("style.css", "page.js", "times.js", "refresh.js")
"""Files of `templates/` that pages load."""
ALL_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


def make_app(view: BusView | None = None) -> FastAPI:
    """Return the application; `view` is its cached view of the bus."""
    logged_in = [  # Airflow does not protect mounted applications: without these the pages would be public
        Depends(get_user),
        Depends(requires_access_asset("GET")),
        Depends(requires_access_dag("GET", DagAccessEntity.RUN)),
    ]
    off: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None, "redirect_slashes": False}
    app = FastAPI(title="sim2edge", dependencies=logged_in, **off)
    app.state.view = view or BusView()
    app.middleware("http")(add_headers)
    for part in PARTS:
        app.include_router(part.ROUTES)
    for name in STATIC:
        app.add_api_route(f"/{name}", partial(show_static, name), response_class=FileResponse)
    for kind, status in STATUS.items():
        app.add_exception_handler(kind, partial(explain_error, status=status))
    app.add_exception_handler(RequestValidationError, explain_validation)
    app.add_exception_handler(HTTPException, explain_http)
    app.add_exception_handler(Exception, explain_failure)
    return app


def show_static(name: str) -> FileResponse:
    """Return the style sheet or a script."""
    return FileResponse(FOLDER / name, headers={"Cache-Control": "private, max-age=300"})


async def add_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the headers that every response has."""
    response = await call(request)
    response.headers.update(ALL_HEADERS)
    return response
