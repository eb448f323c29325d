"""Star, name and archive an artifact from its page."""

import json

import pytest
from airflow.models.log import Log
from airflow.utils.session import create_session
from page_visitor import WHY, send
from sqlalchemy import select

from sim2edge.errors import Conflict
from sim2edge.notes import read_note


@pytest.fixture
def model(bucket):
    """The newest model."""
    return next(iter(bucket.artifacts("model", "night-0005")))


def test_a_star_is_given_and_taken_from_the_page_of_an_artifact(person, bucket, model):
    client = person("user")
    page = client.get(f"/sim2edge/artifacts/{model}").text
    assert "★ Star" in page
    answer = send(client, f"star?artifact={model}&star=yes")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sim2edge/artifacts/{model}"
    note = read_note(bucket, model)[0]
    assert (note.star, note.by) == (True, "user")
    page = client.get(f"/sim2edge/artifacts/{model}").text
    assert "<b>★ starred</b>" in page
    assert "Remove the star" in page
    assert "That is so already" in client.get(f"/sim2edge/actions/star?artifact={model}&star=yes").text
    send(client, f"star?artifact={model}&star=no")
    assert not read_note(bucket, model)[0].star


def test_a_name_is_asked_for_and_who_and_why_are_kept(person, bucket, model):
    client = person("user")
    form = client.get(f"/sim2edge/actions/name?artifact={model}").text
    assert 'name="name"' in form
    send(client, f"name?artifact={model}&name=spring+fair&text=the+first")
    note = read_note(bucket, model)[0]
    assert (note.name, note.text) == ("spring fair", "the first")
    with create_session() as session:
        (entry,) = session.scalars(select(Log).where(Log.event == "sim2edge: note"))
        assert entry.owner == "user"
        assert json.loads(entry.extra)["reason"] == WHY


def test_an_archived_model_is_restored(person, bucket, model):
    client = person("op")
    send(client, f"archive?artifact={model}&archived=yes")
    assert f'value="{model}"' not in client.get("/sim2edge/models").text
    assert "Restore" in client.get(f"/sim2edge/artifacts/{model}").text
    send(client, f"archive?artifact={model}&archived=no")
    assert f'value="{model}"' in client.get("/sim2edge/models").text


@pytest.mark.parametrize(
    "query",
    ["star?artifact=../x&star=yes", "star?artifact={model}&star=maybe", "name?artifact={model}&name=" + "x" * 61],
)
def test_a_wrong_field_is_one_clear_line(person, model, query):
    answer = person("user").get(f"/sim2edge/actions/{query.format(model=model)}")
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_what_does_not_exist_gets_no_note(person):
    page = person("user").get("/sim2edge/actions/star?artifact=model/b/0123456789abcdef&star=yes")
    assert "the catalog does not list it" in page.text
    assert 'method="post"' not in page.text


def test_who_never_gets_his_turn_is_told_to_try_again(person, model, monkeypatch):
    from sim2edge_airflow.pages.acting import note_actions

    def lose(*_):
        raise Conflict("notes/x: changed by another writer")

    monkeypatch.setattr(note_actions, "edit", lose)
    answer = send(person("user"), f"star?artifact={model}&star=yes")
    assert answer.status_code == 409
    assert "changed by another writer" in answer.text
