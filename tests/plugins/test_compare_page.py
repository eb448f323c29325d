"""Two artifacts side by side: what differs first, and which is better."""

import re
from datetime import UTC, datetime

import pytest
from benchmarks.made_up import commit

ID = "0123456789abcdef"


@pytest.fixture
def models(bucket):
    """The models of the bucket, the oldest first."""
    return [next(iter(bucket.artifacts("model", batch))) for batch in ("night-0001", "night-0003", "night-0005")]


def test_two_models_are_compared_with_the_figures_of_their_verdicts(visitor, models):
    page = visitor.get(f"/sim2edge/compare?left={models[0]}&right={models[2]}").text
    held_out = page[page.index("On held-out episodes") : page.index("<h2>Result")]
    assert "They were judged on different datasets" in held_out
    row = re.search(r'<th scope="row">map_50</th>.*?</tr>', held_out, re.S)[0]
    assert '<td class="better">0.435 <span class="tag committed">✓ better</span>' in row
    assert "+0.0210" in row or "+0.021" in row
    assert page.index("<h2>Result") < page.index("<h2>Made from") < page.index("What is the same")


def test_a_ref_names_an_artifact_too(visitor, bucket, models):
    page = visitor.get(f"/sim2edge/compare?left={models[0]}&right=refs/models/champion").text
    assert bucket.read_ref("refs/models/champion").target in page


def test_an_artifact_does_not_differ_from_itself(visitor, models):
    assert "Nothing differs." in visitor.get(f"/sim2edge/compare?left={models[0]}&right={models[0]}").text


def test_models_are_chosen_on_their_page_the_champion_first(visitor, bucket, models):
    page = visitor.get("/sim2edge/models").text
    assert page.count('type="radio" name="left"') == page.count('type="radio" name="right"') == 3
    checked = re.findall(r'name="(left|right)" value="([^"]+)"[^>]* checked', page)
    champion = bucket.read_ref("refs/models/champion").target
    assert dict(checked)["right"] == models[2]
    assert dict(checked)["left"] == (champion if champion != models[2] else models[1])
    older = visitor.get(f"/sim2edge/artifacts/{models[0]}").text
    assert f'href="/sim2edge/compare?left={champion}&amp;right={models[0]}">compare with the champion' in older
    dataset = sorted(bucket.artifacts("dataset"))
    assert "compare with the one before" in visitor.get(f"/sim2edge/artifacts/{dataset[-1]}").text


def test_without_two_names_it_asks_for_them(visitor, models):
    page = visitor.get(f"/sim2edge/compare?left={models[0]}").text
    assert f'<option value="{models[1]}">' in page
    assert 'name="right" value=""' in page


@pytest.mark.parametrize(
    ("left", "right", "status", "part"),
    [
        ("model", "dataset", 400, "are of different kinds"),
        ("<script>1", "model", 400, "left: &#39;&lt;script&gt;1"),
        ("model", "../../x", 400, "right: "),
        ("model", "refs/models/nobody", 404, "is not one of the refs"),
        ("model", f"model/b/{ID}", 404, "no such artifact"),
        ("model", f"unknown/b/{ID}", 404, "no stage here makes this kind"),
        ("model", "x" * 201, 400, "right: "),
    ],
)
def test_a_wrong_name_is_one_clear_line(visitor, bucket, models, left, right, status, part):
    known = {"model": models[0], "dataset": next(iter(bucket.artifacts("dataset")))}
    query = {"left": known.get(left, left), "right": known.get(right, right)}
    answer = visitor.get("/sim2edge/compare", params=query)
    assert answer.status_code == status
    assert part in answer.text
    assert "<script>1" not in answer.text
    assert "Traceback" not in answer.text


def test_values_that_a_stage_made_up_are_text(visitor, bucket):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = [
        commit(bucket, "clean", "frames", batch, {}, {"<b>x</b>": value, "seeds": {"a": batch}}, now, 1.0, {})
        for batch, value in (("lab-1", "<script>1</script>"), ("lab-2", {"deep": {"er": [1, {"a": None}]}}))
    ]
    answer = visitor.get(f"/sim2edge/compare?left={made[0].reference}&right={made[1].reference}")
    assert answer.status_code == 200
    assert "&lt;script&gt;1" in answer.text
    assert "<script>1" not in answer.text
    assert "seeds.a" not in answer.text
