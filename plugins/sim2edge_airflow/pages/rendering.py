"""Render a page, one page of a table, or an error page.

Every page shows the age of its data, and is still served when S3 does not answer.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from starlette.exceptions import HTTPException

from sim2edge_airflow.pages import page_times, page_words
from sim2edge_airflow.pages.bus_view import BusView

PREFIX = "/sim2edge"
FOLDER = Path(__file__).parent / "templates"
MAX_MESSAGE = 300
PAGE = 100
"""Rows of a table before the next page."""

T = TypeVar("T")

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "Cache-Control": "no-store",
}

TEMPLATES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
TEMPLATES.filters |= {"at": page_times.at, "since": page_times.since}
for filter_name in ("ago", "duration", "size", "number", "moment", "short", "words"):
    TEMPLATES.filters[filter_name] = getattr(page_words, filter_name)


def get_view(request: Request) -> BusView:
    """Return the application's cached view of the bus."""
    view: BusView = request.app.state.view
    return view


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Return a page. Links to other pages begin with `root`, links into Airflow with `airflow`."""
    view = get_view(request)
    root = request.scope.get("root_path", "")
    shared = {
        "root": root,
        "airflow": root.removesuffix(PREFIX),
        "here": request.url.path,
        "troubles": view.troubles(),
        "age_s": view.age_s,
        "pending": view.pending,
    }
    text = TEMPLATES.get_template(template).render(shared | context)
    return HTMLResponse(text.encode(errors="replace"), status, PAGE_HEADERS)  # a stage's JSON may hold lone surrogates


def cut(items: Sequence[T], page: int) -> tuple[Sequence[T], dict[str, int]]:
    """Return the items of one page, or of the last if there are fewer pages, and the arguments of the `pager` macro."""
    pages = max(math.ceil(len(items) / PAGE), 1)
    page = min(page, pages)
    return items[(page - 1) * PAGE : page * PAGE], {"page": page, "pages": pages, "total": len(items)}


def explain(request: Request, status: int, message: str) -> HTMLResponse:
    """Return an error page with a one-line message."""
    asked = str(request.url.replace(scheme="", netloc=""))
    message = page_words.short(message, MAX_MESSAGE)
    return render(request, "error.html", status, code=status, message=message, asked=asked)


def explain_error(request: Request, error: Exception, status: int) -> HTMLResponse:
    """Render an expected error with its own message."""
    return explain(request, status, str(error))


def explain_http(request: Request, error: Exception) -> HTMLResponse:
    """Render an HTTP error of FastAPI or Airflow, such as that a login is required."""
    assert isinstance(error, HTTPException)  # noqa: S101
    return explain(request, error.status_code, str(error.detail))


def explain_validation(request: Request, error: Exception) -> HTMLResponse:
    """Render status 400 for an invalid parameter."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    return explain(request, 400, f"{first['loc'][-1]}: {first['msg']}")


def explain_failure(request: Request, error: Exception) -> HTMLResponse:
    """Render status 500 for an unexpected error; the API server logs its traceback."""
    return explain(request, 500, f"{type(error).__name__}: see the log of the API server")
