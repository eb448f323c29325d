"""Adding a stage, as docs/stages.md says: few files of ours, or a package of somebody else's; all else follows."""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from new_stage import FACTS, TEST, commit_frames, events, install_foreign, write_package

from sim2edge.cli import COMMANDS
from sim2edge.declaration import TAKEN

CHECKOUT = Path(__file__).parents[2]
COPIED = ("src", "plugins", "containers", "conf", "docs", "scripts", "tests/core", "tests/images", "tests/conftest.py")
FILES = ("pyproject.toml", "README.md", "requirements-stages.txt", ".dockerignore", "tests/thread_watch.py")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.jpg", "*.png")
METADATA = "from setuptools.build_meta import prepare_metadata_for_build_wheel as make; import sys; make(sys.argv[1])"
MOST_FILES = 7


def run(words, path, *, code=0, cwd=None):
    """Run Python with folders on its path; what it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    result = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


@pytest.fixture
def checkout(tmp_path):
    """A copy of what there is, without what is built."""
    copy = tmp_path / "checkout"
    for name in COPIED + FILES:
        source, target = CHECKOUT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.jpg", "*.png")
            )
        else:
            shutil.copy(source, target)
    return copy


def add_stage(copy: Path) -> list:
    """Do what docs/stages.md says; the folders to have on the path."""
    write_package(copy / "src/sim2edge/heat", "sim2edge.heat")
    project = copy / "pyproject.toml"
    text = project.read_text().replace(
        'push = "sim2edge.push:STAGE"\n', 'push = "sim2edge.push:STAGE"\nheat = "sim2edge.heat:STAGE"\n'
    )
    text = text.replace("push = [\n", 'heat = ["numpy==2.4.6"]\npush = [\n').replace(",push,edge,", ",push,heat,edge,")
    project.write_text(text)
    (copy / "tests/heat").mkdir()
    (copy / "tests/heat/test_run.py").write_text(TEST)
    meta = copy.parent / "metadata"
    meta.mkdir()
    run(["-c", METADATA, meta], [], cwd=copy)
    path = [copy / "src", meta]
    listed = run(["-m", "sim2edge", "stages", "--json"], path).stdout
    (copy / "containers/images.json").write_text(listed)
    return path


def changed_files(copy: Path) -> list[str]:
    """What is new or other than here."""
    mine = (p.relative_to(copy) for p in copy.rglob("*") if p.is_file())
    mine = [p for p in mine if "__pycache__" not in p.parts and ".egg-info" not in str(p)]
    return sorted(
        str(p) for p in mine if not (CHECKOUT / p).is_file() or not filecmp.cmp(CHECKOUT / p, copy / p, shallow=False)
    )


def check_facts(path):
    """What follows from the declaration, wherever the stage comes from."""
    facts = json.loads(run(["-c", FACTS], path).stdout)
    assert facts["order"][facts["order"].index("clean") + 1 :][:2] == ["augment", "heat"], "it reads what augment reads"
    assert facts["kinds"] == ["episodes", "frames", "dataset", "heatmap", "model", "verdict", "release", "rollout"]
    assert (facts["reads"], facts["writes"]) == (
        ["heatmap/*", "frames/*", "refs/*", "withdrawn/*", "conditions/*", "*/manifest.json"],
        ["heatmap/*/*/*/*", "refs/heatmaps/*", "refs/alternates/heatmap/*", "conditions/*"],
    )
    assert "refs/heatmaps/*" in facts["airflow"]
    assert facts["cells"] == ["hottest 2"]


def make_twice(path, partition):
    """Run the stage by its command, twice; the reference."""
    words = ["-m", "sim2edge", "heat", "--partition", partition, "cells=4"]
    made, again = (events(run(words, path).stdout)[-1] for _ in range(2))
    assert (made["cached"], again["cached"], made["reference"]) == (False, True, again["reference"])
    return made["reference"]


def test_a_stage_of_ours_takes_a_handful_of_files(checkout, s3, partition, tmp_path):
    path = add_stage(checkout)
    files = changed_files(checkout)
    document = (CHECKOUT / "docs/stages.md").read_text().partition("## Add a stage")[2].partition("\n## ")[0]
    told = re.findall(r"^\d\. `([^`]+)`", document, re.MULTILINE)
    assert files == sorted(name.replace("NAME", "heat") for name in told if name != "requirements-stages.txt")
    assert len(told) <= MOST_FILES
    commit_frames(s3, partition, tmp_path / "frames")
    reference = make_twice(path, partition)
    assert s3.read_ref(f"refs/heatmaps/{partition}").target == reference
    assert s3.open(reference).summary == {"rows": 3, "hottest": 2}
    check_facts(path)


def test_its_command_explains_itself(checkout):
    path = add_stage(checkout)
    said = run(["-m", "sim2edge", "heat", "--help"], path).stdout
    for part in (
        "Heat: counts where",
        "frames; by default refs/frames/{partition}",
        "cells=8",
        "along a side of the image",
    ):
        assert part in said
    assert "sim2edge heat --partition demo-1 cells=4" in said
    assert "The stage contract" not in said


def test_the_tests_of_images_imports_and_access_know_it(checkout):
    path = add_stage(checkout)
    tests = ["tests/images/test_dockerfile.py", "tests/core/test_imports.py", "tests/core/test_access.py", "tests/heat"]
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], path, cwd=checkout)


def test_a_stage_of_somebody_elses_package_works_the_same(s3, partition, tmp_path):
    path = [install_foreign(tmp_path)]
    commit_frames(s3, partition, tmp_path / "frames")
    reference = make_twice(path, partition)
    assert s3.open(reference).environment["packages"]["acme-heat"] == "1.0"
    check_facts(path)
    assert "heat       v1  frames -> heatmap  (acme-heat)" in run(["-m", "sim2edge", "stages"], path).stdout
    assert "heat" not in run(["-m", "sim2edge", "stages", "--json"], path).stdout, "its image is its own affair"


def test_one_that_cannot_be_imported_or_has_a_name_that_is_taken_hinders_no_other(s3, tmp_path):
    path = [
        install_foreign(tmp_path, 'broken = "acme_heat.missing:STAGE"\nclean = "acme_heat:STAGE"\nodd = "json:loads"\n')
    ]
    listed = run(["-m", "sim2edge", "ls"], path)
    assert [line.removeprefix("sim2edge: ") for line in listed.stderr.splitlines()] == [
        "stage 'clean' of distribution 'acme-heat' is left out: 'sim2edge' has one of that name",
        "stage 'broken' of distribution 'acme-heat' cannot be imported: ModuleNotFoundError: "
        "No module named 'acme_heat.missing'",
        "stage 'odd' of distribution 'acme-heat': json:loads is a function, not a sim2edge.stage.Stage",
    ]
    refused = run(["-m", "sim2edge", "broken", "--partition", "b"], path, code=2)
    assert len(refused.stderr.splitlines()) == 1
    assert "distribution 'acme-heat' cannot be imported" in refused.stderr
    assert "usage: sim2edge clean" in run(["-m", "sim2edge", "clean", "--help"], path).stdout


def lay_out_module(site, name, text):
    """Lay out a distribution of one module, which registers a stage of its name."""
    meta = site / f"acme_{name}-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / f"{name}.py").write_text(text)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(f"[sim2edge.stages]\n{name} = {name}:STAGE\n")
    return site


MODULE = '''"""Count: counts.

sim2edge count --partition demo-1
"""
from sim2edge.config import StageConfig
from sim2edge.stage import Outcome, Stage

print("imported")
STAGE = Stage("count", 1, "counts", StageConfig, "count:run")


def run(job):
    return Outcome({})
'''


def test_a_stage_in_one_module_explains_itself_and_what_it_prints_does_not_mix_with_output(s3, tmp_path):
    path = [lay_out_module(tmp_path, "count", MODULE)]
    assert "Count: counts." in run(["-m", "sim2edge", "count", "--help"], path).stdout
    listed = run(["-m", "sim2edge", "stages", "--json"], path)
    assert json.loads(listed.stdout)
    assert listed.stderr == "imported\n"


def test_a_module_that_exits_or_declares_wrongly_hinders_no_other(s3, tmp_path):
    lay_out_module(tmp_path, "leaves", 'raise SystemExit("bye")\n')
    lay_out_module(tmp_path, "typed", MODULE.replace('"count", 1', '"typed", "1"'))
    path = [lay_out_module(tmp_path, "count", MODULE)]
    listed = run(["-m", "sim2edge", "stages"], path, code=2)
    assert "count      v1  nothing -> counts  (acme-count)" in listed.stdout
    assert [line for line in listed.stderr.splitlines() if line != "imported"] == [
        "sim2edge: stage 'leaves' of distribution 'acme-leaves' cannot be imported: SystemExit: bye",
        "sim2edge: stage 'typed' of distribution 'acme-typed': version: expected int, not '1'",
    ]
    for words in (["ls"], ["config", "count"], ["access", "roles"]):
        assert "Traceback" not in run(["-m", "sim2edge", *words], path).stderr


PANIC = """class PanicException(BaseException):  # as of a package written in Rust
    pass


raise PanicException("no such codec")
"""
MUTE = """class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


raise Mute
"""
ODD = 'from sim2edge.stage import *\nclass Odd:\n    __repr__ = None\nSTAGE = Stage("odd", Odd(), "odds", 5, "x")\n'


def test_whatever_foreign_code_raises_leaves_out_its_own_stage_alone(s3, tmp_path):
    lay_out_module(tmp_path, "panic", PANIC)
    lay_out_module(tmp_path, "mute", MUTE)
    lay_out_module(tmp_path, "colours", "raise ValueError('a\\n\\x1b[31mred')\n")
    lay_out_module(tmp_path, "odd", ODD)
    site = lay_out_module(tmp_path, "unnamed", "")
    (site / "acme_unnamed-1.0.dist-info/entry_points.txt").write_text("[sim2edge.stages]\nunnamed = a b!:STAGE\n")
    path = [lay_out_module(tmp_path, "count", MODULE)]
    listed = run(["-m", "sim2edge", "stages"], path, code=2)
    assert "count      v1  nothing -> counts  (acme-count)" in listed.stdout
    assert [line for line in listed.stderr.splitlines() if line != "imported"] == [
        "sim2edge: stage 'colours' of distribution 'acme-colours' cannot be imported: ValueError: a \\x1b[31mred",
        "sim2edge: stage 'mute' of distribution 'acme-mute' cannot be imported: Mute",
        "sim2edge: stage 'odd' of distribution 'acme-odd' cannot be imported: TypeError: "
        "'NoneType' object is not callable",
        "sim2edge: stage 'panic' of distribution 'acme-panic' cannot be imported: PanicException: no such codec",
        "sim2edge: stage 'unnamed' of distribution 'acme-unnamed': its entry point 'a b!:STAGE' is not of the form "
        "module:name",
    ]
    asked = run(["-m", "sim2edge", "config", "mute"], path, code=2)
    assert asked.stderr.splitlines()[1:] == [
        "sim2edge: stage 'mute' of distribution 'acme-mute' cannot be imported: Mute"
    ]
    assert "'nosuch' is not one of: " in run(["-m", "sim2edge", "config", "nosuch"], path, code=2).stderr


def test_a_command_that_is_ended_while_it_imports_a_stage_ends(tmp_path):
    ends = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"
    run(["-m", "sim2edge", "stages"], [lay_out_module(tmp_path, "ends", ends)], code=143)


def test_no_stage_can_have_the_name_of_a_command():
    assert set(COMMANDS) - {"engine-proxy"} <= TAKEN  # a stage's name has no sign
