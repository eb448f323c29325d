"""Defaults, presets, overrides and hashes of stage configs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from toy_stage import ToyConfig

from sim2edge import config as configs
from sim2edge.errors import BadInput


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    (tmp_path / "small.yaml").write_text("capture:\n  lines: 2\n  range: {high: 9}\nclean: {}\n")
    return tmp_path


def test_overrides_win_over_the_preset_which_wins_over_defaults(conf):
    config = configs.load(ToyConfig, "capture", "small", ["range.low=0.5", "word=two words"])
    assert (config.lines, config.range.low, config.range.high, config.word) == (2, 0.5, 9.0, "two words")


def test_a_preset_without_the_stage_leaves_the_defaults(conf):
    assert configs.load(ToyConfig, "push", "small") == ToyConfig()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lines"], "override 'lines': expected key=value"),
        (["=3"], "override '=3': expected key=value"),
        (["range..low=3"], "expected key=value"),
        (["lines=[1"], "the value is not YAML"),
        (["lines=!!bool x"], "the value is not YAML"),
        (["lines=!!timestamp x"], "the value is not YAML"),
        (["lines=2026-13-01"], "the value is not YAML"),
        (["lines=1:30"], "override 'lines=1:30': the value is not YAML: '1:30' would be a sexagesimal number"),
        (["range.low=1:30.5"], "'1:30.5' would be a sexagesimal number"),
        (["range={low: 1, low: 2}"], "'low' is a duplicate key"),
        (["lines=true"], "capture.lines: input should be a number, not true or false"),
        (["range.low=yes"], "capture.range.low: input should be a number, not true or false"),
        (["lines=many"], "capture.lines: input should be a valid integer"),
        (["lines=-1"], "capture.lines: input should be greater than or equal to 0"),
        (["colour=red"], "capture.colour: unknown key"),
        (["range.depth=1"], r"capture.range.depth: unknown key"),
        (["range.low=.nan"], "capture.range.low: input should be a finite number"),
        (["range.low=.inf"], "capture.range.low"),
        (["lines=1", "lines.x=2"], "'lines' is already given a value"),
    ],
)
def test_a_bad_override_names_its_field(overrides, message):
    with pytest.raises(BadInput, match=message):
        configs.load(ToyConfig, "capture", None, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("capture: [", "not YAML"),
        ("- a", "expected a mapping"),
        ("capture: 3", "capture: expected a mapping"),
        ("capture:", "capture: expected a mapping"),
        ("clean:\n  width: 1\ncapture:", "capture: expected a mapping"),
        ("", "empty: expected a mapping"),
        ("# nothing but words", "empty: expected a mapping"),
        ("captur: {lines: 2}", "'captur' is not a stage: annotate, augment, capture, clean, .*, validate"),
        ("capture: {lines: 1}\ncapture: {word: x}", "not YAML: 'capture' is a duplicate key"),
        ("capture: {lines: 1, lines: 2}", "not YAML: 'lines' is a duplicate key"),
        ("capture: {lines: 1:30}", "not YAML: '1:30' would be a sexagesimal number"),
    ],
)
def test_a_bad_preset_names_its_file(conf, text, message):
    (conf / "broken.yaml").write_text(text)
    with pytest.raises(BadInput, match=rf"broken\.yaml: {message}"):
        configs.load(ToyConfig, "capture", "broken")


@pytest.mark.parametrize("name", ["missing", "../small", "/etc/passwd"])
def test_an_unknown_preset_lists_the_known(conf, name):
    with pytest.raises(BadInput, match="is not one of: small"):
        configs.load(ToyConfig, "capture", name)


def test_fields_that_do_not_decide_stay_out_of_the_identity():
    assert "workers" in configs.resolve(ToyConfig())
    assert "workers" not in configs.cache_key_fields(ToyConfig())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    assert configs.digest(value) == configs.digest(dict(reversed(value.items())))


@given(st.dictionaries(st.text(), JSON, max_size=5), st.dictionaries(st.text(), JSON, max_size=5))
def test_after_a_merge_the_second_is_merged_already(base, over):
    merged = configs.merge(base, over)
    assert configs.merge(merged, over) == merged


def test_truth_and_text_are_taken_where_they_are_meant():
    config = configs.load(ToyConfig, "capture", None, ["refuse=yes", "word='1:30'"])
    assert (config.refuse, config.word) == (True, "1:30")


class Nested(configs.StageConfig):
    """Numbers in collections."""

    by_name: dict[str, float] = Field(default={})
    pair: tuple[int, ...] = ()
    either: bool | int = 0


@pytest.mark.parametrize(("word", "field"), [("by_name={a: 1, b: true}", "by_name"), ("pair=[1, no]", "pair")])
def test_truth_is_no_number_in_a_collection_either(word, field):
    with pytest.raises(BadInput, match=f"nested.{field}: input should be a number, not true or false"):
        configs.load(Nested, "nested", None, [word])
    assert configs.load(Nested, "nested", None, ["either=true"]).either is True


def test_a_mapping_may_be_merged_into_another(conf):
    (conf / "merged.yaml").write_text("capture: &a {lines: 5, word: x}\nclean: {<<: *a, lines: 6}\n")
    assert configs.load(ToyConfig, "clean", "merged") == ToyConfig(lines=6, word="x")


def test_a_file_without_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(BadInput, match="more than 1,000,000 characters are no settings"):
        configs.read_yaml(Path("/dev/zero"))
