"""Serve the documentation of this version, `docs/*.md` of the checkout or the image, as pages beside the others."""

import os
import re
from html import unescape
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from markdown_it import MarkdownIt
from markupsafe import Markup

from sim2edge.errors import NotFound
from sim2edge_airflow.pages.rendering import render

ROUTES = APIRouter()
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PICTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\.(?:png|jpg|svg)")
LINK = re.compile(r'(?P<start><a href=")(?:\.\./)?(?P<page>[a-z0-9-]+)\.md(?P<part>#[^"]*)?"')
HEADING = re.compile(r"<h(?P<level>[1-4])>(?P<text>.*?)</h(?P=level)>")
TAG = re.compile(r"<[^>]+>")
# More than CommonMark for its tables. Raw HTML is escaped: the text is ours, the policy of the pages is strict.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def folder() -> Path:
    """Return where the documentation lies: beside the DAGs, under `SIM2EDGE_ROOT`."""
    return Path(os.environ.get("SIM2EDGE_ROOT", "")) / "docs"


@ROUTES.get("/docs", response_class=HTMLResponse)
def list_pages(request: Request) -> HTMLResponse:
    """Return the list of all pages."""
    pages = {path.stem: title(path.read_text()) for path in sorted(folder().glob("*.md"))}
    return render(request, "docs.html", heading="Documentation", pages=pages)


@ROUTES.get("/docs/{name}", response_class=HTMLResponse)
def show_page(request: Request, name: str) -> HTMLResponse:
    """Return a page of the documentation.

    Raises:
        NotFound: there is none of this name.
    """
    path = folder() / f"{name}.md"
    if not NAME.fullmatch(name) or not path.is_file():
        raise NotFound(f"'{name[:80]}': no page of the documentation has this name")
    text = path.read_text()
    return render(request, "docs.html", heading=title(text), content=Markup(to_html(text)))  # noqa: S704


@ROUTES.get("/docs/pictures/{name}", response_class=FileResponse)
def show_picture(name: str) -> FileResponse:
    """Return a picture of the documentation.

    Raises:
        NotFound: there is none of this name.
    """
    path = folder() / name
    if not PICTURE.fullmatch(name) or not path.is_file():
        raise NotFound(f"'{name[:80]}': the documentation has no such picture")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=300"})


def title(text: str) -> str:
    """Return the heading of a page."""
    return text.partition("\n")[0].lstrip("# ").strip()


def to_html(text: str) -> str:
    """Return Markdown as HTML, with anchors at its headings and links to other pages as they are served."""
    html = HEADING.sub(anchor, MARKDOWN.render(text))
    html = LINK.sub(lambda found: f'{found["start"]}{found["page"]}{found["part"] or ""}"', html)
    html = html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    html = html.replace("<th>", '<th scope="col">').replace("<th style", '<th scope="col" style')
    return re.sub(r'<img src="([a-z0-9-]+\.\w+)"', r'<img loading="lazy" src="pictures/\1"', html)


def anchor(found: re.Match[str]) -> str:
    """Return a heading with the id by which GitHub, too, links to it."""
    words = re.sub(r"[^\w\- ]", "", unescape(TAG.sub("", found["text"])).lower()).replace(" ", "-")
    return f'<h{found["level"]} id="{words}">{found["text"]}</h{found["level"]}>'
