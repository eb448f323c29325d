"""Airflow knows the provider and every setting of it, with its default, without a line of configuration."""

import ast
import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import sim2edge_airflow
from sim2edge_airflow.provider_info import OPTIONS, SECTION, get_provider_info
from sim2edge_airflow.scheduling.pools import POOLS

ROOT = Path(__file__).parents[2]
PACKAGE = Path(sim2edge_airflow.__file__).parent
READERS = {"get", "getboolean", "getint", "getfloat"}
ASK = """
import json
from airflow.configuration import conf as core
from airflow.sdk.configuration import conf as sdk
from sim2edge_airflow.provider_info import OPTIONS
print(json.dumps([{name: conf.get("sim2edge", name) for name in OPTIONS} for conf in (core, sdk)]))
"""
LIGHT = """
import json, sys
import sim2edge_airflow.provider_info
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def constants(path):
    """By name, the text that the module calls so; of tuples, their parts."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            names, values = node.targets[0], node.value
            pairs = zip(names.elts, values.elts, strict=True) if isinstance(names, ast.Tuple) else [(names, values)]
            found |= {ast.unparse(name): value for name, value in pairs}
    return found


def options_read(path):
    """The options of our section that a file reads, by `conf.get*`, `read_number`, or `setting=` of shards."""
    named = constants(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        arguments = [ast.literal_eval(a) if isinstance(a, ast.Constant) else ast.unparse(a) for a in node.args]
        if called in {"read_number", "read_url", "read_cron"} or (
            called == "_read" and isinstance(node.args[0], ast.Constant)
        ):
            yield arguments[0]
        elif called in {f"conf.{reader}" for reader in READERS} and arguments[0] == SECTION:
            yield arguments[1]
        elif called.endswith("stage_in_shards"):
            yield from (ast.literal_eval(word.value) for word in node.keywords if word.arg == "setting")
        elif called == "_read":  # of a pair of section and name, see alerts/channels.py
            yield ast.literal_eval(named[arguments[0].removeprefix("*")])[1]


def test_every_option_that_is_read_is_described_and_no_other_is():
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "dags").glob("*.py")]
    read = {option for path in files for option in options_read(path)}
    computed = {"name", "setting", "f'pool_{name}'"}
    """In `read_number` and `stage_in_shards`, whose callers are looked at; and in `make_pool`."""
    assert computed < read
    assert read - computed | {f"pool_{name}" for name in POOLS} == set(OPTIONS)


def test_airflow_cfg_sets_only_what_is_known_and_differs():
    shipped = configparser.ConfigParser(interpolation=None)
    shipped.read(ROOT / "airflow.cfg")
    assert set(shipped[SECTION]) <= set(OPTIONS)
    assert not [name for name, value in shipped[SECTION].items() if value == OPTIONS[name][1]], "these are defaults"


def test_what_is_said_of_the_provider_is_what_airflow_takes(airflow_database):
    import airflow
    from airflow.providers_manager import ProvidersManager

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    manager = ProvidersManager()
    assert manager.providers["sim2edge"].data.items() >= get_provider_info().items()
    assert set(get_provider_info()["extra-links"]) <= set(manager.extra_links_class_names)


def test_the_modules_and_links_that_it_names_are_there():
    import importlib

    from sim2edge_airflow.operators.links import LINKS

    for group in get_provider_info()["operators"]:
        for module in group["python-modules"]:
            importlib.import_module(module)
    named = set(get_provider_info()["extra-links"])
    assert named == {f"{type(link).__module__}.{type(link).__name__}" for link in LINKS}


def test_without_a_section_every_option_has_its_default_at_parse_time_and_in_a_task(tmp_path):
    told = json.loads(run(ASK, tmp_path).splitlines()[-1])
    assert told == [{name: default for name, (_, default, _) in OPTIONS.items()}] * 2


def test_it_is_light_to_import(tmp_path):
    loaded = json.loads(run(LIGHT, tmp_path))
    assert not {"airflow", "pydantic", "yaml", "obstore", "sim2edge"} & set(loaded)


def run(code, home):
    """What Python prints, in an environment that says nothing of Airflow but where its home is."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SIM2EDGE"))}
    environment = {**plain, "AIRFLOW_HOME": str(home), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sim2edge_airflow.__all__)
def test_a_stable_name_is_there(name):
    assert getattr(sim2edge_airflow, name) is not None


def test_a_name_that_is_not_stable_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'Secret'"):
        sim2edge_airflow.Secret  # noqa: B018
