"""A stage's declaration, checked: each mistake is one line that names the field."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
from toy_stage import SOURCE

from sim2edge.config import StageConfig
from sim2edge.declaration import find_conflict, find_problem, notes
from sim2edge.stage import Gather, Grants, Image, Input, Shown, Source, Stage
from sim2edge.stages import installed


class HeatConfig(StageConfig):
    """A config with a default."""

    cells: int = 8


class NeedyConfig(StageConfig):
    """A config without."""

    cells: int


class RawConfig(StageConfig):
    """A config without a JSON form."""

    raw: bytes = b"\xff"


class WordConfig(StageConfig):
    """A config without a number."""

    word: str = "x"


HEAT = Stage("heat", 1, "heatmap", HeatConfig, "acme_heat:run", {"frames": Input("frames")})
ENTRY = EntryPoint("heat", "acme_heat:STAGE", "sim2edge.stages")
SOURCES = Source("a:pin", ("cells",), "a:fetch")


def test_a_declaration_with_every_field_is_valid() -> None:
    full = replace(
        HEAT,
        inputs={
            "frames": Input("frames", many=True, default="refs/frames/*"),
            "more_2": Input("frames", default="refs/*"),
        },
        deterministic=lambda config: config.cells > 1,
        tolerances={"hottest": 1},
        ref="refs/heat/{partition}-{partition}",
        resolve="acme.heat:resolve",
        gather=Gather("cells", "acme.heat:gather", ["*.csv"]),
        source=SOURCES,
        grants=Grants(write=("refs/hottest",)),
        shown=Shown({"hottest": "hottest"}, report="heat.json"),
        image=Image("vision", "run"),
    )
    assert find_problem(full, ENTRY) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "cold"}, "name: declares 'cold', but is registered as 'heat'"),
        ({"name": 5}, "name: expected str, not 5"),
        ({"version": "1"}, "version: expected int, not '1'"),
        ({"version": True}, "version: expected int, not True"),
        ({"version": -3}, "version: -3 is below 1"),
        ({"produces": None}, "produces: expected str, not None"),
        ({"produces": "Heat"}, "produces: 'Heat' is not of the form [a-z]{1,31}"),
        ({"produces": "ota"}, "produces: 'ota' is a folder of the bucket without artifacts"),
        ({"config": dict}, "config: expected a subclass of StageConfig, not <class 'dict'>"),
        ({"config": HeatConfig()}, "config: expected a subclass of StageConfig, not HeatConfig(cells=8)"),
        ({"config": NeedyConfig}, "config: NeedyConfig: every field needs a valid default: cells: Field required"),
        ({"entry": None}, "entry: expected str, not None"),
        ({"entry": "acme_heat.run"}, "entry: 'acme_heat.run' is not of the form module:function"),
        ({"inputs": ["frames"]}, "inputs: expected a dict of Input, not ['frames']"),
        ({"inputs": {"frames": "frames"}}, "inputs.frames: expected Input, not 'frames'"),
        ({"inputs": {"a b": Input("frames")}}, "inputs: role 'a b' is not of the form"),
        ({"inputs": {"a": Input("frames/..")}}, "inputs.a.kind: 'frames/..' is not of the form"),
        ({"inputs": {"a": Input("frames", files="*.csv")}}, "inputs.a.files: expected a tuple of str, not '*.csv'"),
        ({"inputs": {"a": Input("frames", default="refs/{batch}")}}, "inputs.a.default: 'refs/{batch}' is not a ref"),
        ({"deterministic": True}, "deterministic: expected a function, not True"),
        ({"tolerances": {"a": "b"}}, "tolerances.a: expected float, not 'b'"),
        ({"ref": 5}, "ref: expected str, not 5"),
        ({"ref": "refs/x/{nosuch}"}, "ref: 'refs/x/{nosuch}' is not a ref"),
        ({"ref": "frames/x"}, "ref: 'frames/x' is not a ref"),
        ({"ref": "refs/../frames"}, "ref: 'refs/../frames' is not a ref"),
        ({"ref": "refs/heat/*"}, "ref: 'refs/heat/*' is not a ref"),
        ({"choose": "nope"}, "choose: 'nope' is not of the form module:function"),
        ({"gather": Gather("rows", "a:b")}, "gather.units: HeatConfig has no field 'rows'"),
        ({"config": RawConfig}, "config: RawConfig() cannot be written as JSON: PydanticSerializationError"),
        ({"gather": Gather("word", "a:b"), "config": WordConfig}, "gather.units: expected a field with a whole number"),
        ({"gather": Gather("cells", "a")}, "gather.entry: 'a' is not of the form module:function"),
        ({"source": "x"}, "source: expected Source, not 'x'"),
        ({"source": replace(SOURCES, pins=("ready",))}, "source.pins: HeatConfig has no field 'ready'"),
        ({"source": replace(SOURCES, deliver="d")}, "source.deliver: 'd' is not of the form module:function"),
        ({"grants": ["a"]}, "grants: expected Grants, not ['a']"),
        ({"grants": Grants(read="ota/*")}, "grants.read: expected a tuple of str, not 'ota/*'"),
        ({"grants": Grants(write=("*",))}, "grants.write: a pattern begins with '*'"),
        ({"grants": Grants(delete=("*/x",))}, "grants.delete: a pattern begins with '*'"),
        ({"signs": "yes"}, "signs: expected bool, not 'yes'"),
        ({"shown": Shown({"a": 5})}, "shown.figures.a: expected str, not 5"),
        ({"image": "vision"}, "image: expected Image, not 'vision'"),
        ({"image": Image("nosuch")}, "image.parent: 'nosuch' is not one of: core, vision"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(change: dict, said: str) -> None:
    assert (find_problem(replace(HEAT, **change), ENTRY) or "").startswith(said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ls", "name: 'ls' is taken by a command, a role or an image"),
        ("my-heat", "name: 'my-heat' is not of the form [a-z][a-z0-9]{0,30}"),
        ("h" * 32, f"name: '{'h' * 32}' is not of the form [a-z][a-z0-9]{{0,30}}"),
    ],
)
def test_the_rule_that_a_name_breaks_is_told(name: str, said: str) -> None:
    entry = EntryPoint(name, "acme_heat:STAGE", "sim2edge.stages")
    assert find_problem(replace(HEAT, name=name), entry) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"produces": "frames"}, "produces: 'frames' is made by stage 'clean'"),
        ({"produces": "frames", "instead_of": "nosuch"}, "instead_of: no usable stage 'nosuch' is installed"),
        ({"produces": "frames", "instead_of": "capture"}, "instead_of: stage 'capture' makes episodes, not frames"),
        ({"produces": "episodes", "instead_of": "ingest"}, "instead_of: stage 'ingest' is itself instead of 'capture'"),
        ({"ref": "refs/frames/{partition}"}, "ref: 'refs/frames/{partition}' is that of stage 'clean'"),
    ],
)
def test_a_stage_takes_no_other_stages_kind_or_ref(change: dict, said: str) -> None:
    ours = {stage.name: stage for stage in installed()}
    assert (find_conflict(replace(HEAT, **change), ours) or "").startswith(said)


def test_a_kind_of_its_own_and_a_declared_alternative_are_accepted() -> None:
    ours = {stage.name: stage for stage in installed()}
    assert find_conflict(HEAT, ours) is None
    assert find_conflict(replace(HEAT, produces="frames", instead_of="clean"), ours) is None


def test_inputs_that_nobody_makes_and_cycles_are_noted() -> None:
    assert list(notes(installed())) == []
    assert list(notes([SOURCE, HEAT])) == ["stage 'heat' reads frames, which no installed stage makes"]
    assert list(notes([replace(HEAT, produces="frames")])) == ["frames is made, directly or indirectly, from itself"]
    ring = [replace(HEAT, name="cool", produces="frames", inputs={"a": Input("heatmap")}), HEAT]
    assert [line.split()[0] for line in notes(ring)] == ["frames", "heatmap"]
