"""The documentation as pages: every page, its links, its pictures, and names that are none."""

import re
from pathlib import Path

import pytest

from sim2edge.stages import get_stage, stage_names
from sim2edge_airflow.operators.links import DocumentationLink, page_about
from sim2edge_airflow.pages.docs_page import to_html

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))


def test_every_page_is_listed_and_shown_and_leads_only_to_what_is_there(visitor):
    listed = visitor.get("/sim2edge/docs").text
    anchors, links = {}, []
    for name in PAGES:
        assert f'href="/sim2edge/docs/{name}"' in listed
        page = visitor.get(f"/sim2edge/docs/{name}")
        assert page.status_code == 200
        anchors[name] = set(re.findall(r'<h\d id="([^"]+)"', page.text))
        article = page.text.partition("<article")[2]
        links += [(name, target) for target in re.findall(r'<a href="([^"]+)"', article)]
        for picture in re.findall(r'<img [^>]*src="([^"]+)"', article):
            assert visitor.get(f"/sim2edge/docs/{picture}").status_code == 200, picture
    for name, target in links:
        page, _, part = target.partition("#")
        if "/" in target or ":" in target:
            continue
        assert (page or name) in anchors, (name, target)
        assert not part or part in anchors[page or name], (name, target)


@pytest.mark.parametrize("name", ["nothing", "..%2fREADME", "%2e%2e", "Access", "a" * 200, "manifest.schema"])
def test_a_name_that_is_none_is_not_found(visitor, name):
    assert visitor.get(f"/sim2edge/docs/{name}").status_code == 404
    assert visitor.get(f"/sim2edge/docs/pictures/{name}").status_code == 404


def test_without_the_folder_the_list_says_where_it_lies(visitor, monkeypatch, tmp_path):
    monkeypatch.setenv("SIM2EDGE_ROOT", str(tmp_path))
    assert "of the repository" in visitor.get("/sim2edge/docs").text
    assert visitor.get("/sim2edge/docs/access").status_code == 404


def test_raw_html_stays_text():
    assert "<script>" not in to_html("# T\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n")
    assert 'href="javascript' not in to_html("[x](javascript:alert(1))")


def test_every_stage_of_ours_names_a_page_that_exists():
    assert {get_stage(name).shown.documented for name in stage_names()} <= set(PAGES)
    assert page_about("none-of-ours") == ""
    link = DocumentationLink().get_link(type("Task", (), {"stage": "clean"})(), ti_key=None)
    assert link.endswith("/sim2edge/docs/data-format")
