"""What strangers wrote is shown so that no terminal obeys it and no log is filled with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from sim2edge.lines import MAX_LINE, MAX_NAME, first_problem, one_line, quote


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 1

    @field_validator("size")
    @classmethod
    def _check(cls, size: int) -> int:
        if size < 0:
            raise ValueError("too small")
        return size


def problem(text: str, whole: str = "") -> str:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate_json(text)
    return first_problem(caught.value, whole)


@given(st.text() | st.text(max_size=3).map(lambda text: text * 1000))
def test_any_text_becomes_a_short_printable_line(text):
    for shown, longest in ((one_line(text), MAX_LINE), (quote(text), MAX_NAME)):
        assert shown.isprintable()
        assert len(shown) <= longest + len("...")


@given(st.text(st.characters(exclude_categories=("C", "Z")), max_size=MAX_LINE))
def test_a_line_that_is_fine_stays_as_it_is(text):
    assert one_line(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"size": "x"}', "size: Input should be a valid integer, unable to parse string as an integer"),
        ('{"size": -1}', "size: too small"),
        ('{"\\u001b[2J": 1}', r"\x1b[2J: Extra inputs are not permitted"),
        ('{"\\u202egpj": 1}', r"\u202egpj: Extra inputs are not permitted"),
        ("[]", "the file: Input should be an object"),
    ],
)
def test_the_first_problem_is_named_by_its_field(text, shown):
    assert problem(text, "the file") == shown


def test_a_field_of_a_megabyte_is_no_line_of_a_megabyte():
    assert len(problem(f'{{"{"x" * 1_000_000}": 1}}')) == MAX_LINE + 3
