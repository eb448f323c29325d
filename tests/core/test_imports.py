"""Who may import whom: read from the source, and measured in fresh interpreters."""

import ast
import subprocess
import sys
from collections.abc import Collection
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sim2edge
from sim2edge.inspect_bus import describe_fields
from sim2edge.stages import get_stage, stage_names

SOURCE = Path(sim2edge.__file__).parent
SHARED = {
    "agent_package",
    "bus",
    "objects",
    "compression",
    "cores",
    "episodes",
    "frames",
    "lines",
    "inbox",
    "stage",
    "config",
    "enrol",
    "errors",
    "manifest",
    "other_batches",
    "recipes",
    "registry",
    "repeats",
    "private_files",
    "progress",
    "environment",
    "withdrawal",
}
HEAVY = {"airflow", "cv2", "matplotlib", "mlflow", "mujoco", "numpy", "onnxruntime", "pandas", "torch", "tuf"}


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


def imported_parts(path: Path) -> set[str]:
    """Which parts of sim2edge a file imports, by the first name below the package."""
    return {module.split(".")[1] for module in imported_modules(path) if module.startswith("sim2edge.")}


def files(package: str) -> list[Path]:
    return sorted((SOURCE / package).rglob("*.py"))


def is_package_part(name: str) -> bool:
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()


PACKAGES = {"sim2edge": SOURCE, "sim2edge_airflow": SOURCE.parents[1] / "plugins" / "sim2edge_airflow"}


def all_modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; of the Airflow side, where it lies beside."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def for_types_alone(tree: ast.AST) -> set[ast.AST]:
    """What stands below `if TYPE_CHECKING:`."""
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    return {below for node in tests for statement in node.body for below in ast.walk(statement)}


def imports_of_ours(path: Path, modules: Collection[str]) -> set[str]:
    """Which of the modules a file imports, also in the middle of a function, but not for types alone."""
    tree, found = ast.parse(path.read_text()), set()
    left_out = for_types_alone(tree)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named & set(modules) if named <= set(modules) else {node.module} | named
    return found & set(modules)


def test_no_module_imports_itself_in_however_many_steps():
    modules = all_modules()
    graph = {name: imports_of_ours(path, modules) - {name} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # a CycleError names the way


def test_what_runs_in_production_needs_neither_the_local_stack_nor_the_demo():
    modules = all_modules()
    above = ("sim2edge.stack", "sim2edge.demo")
    for name, path in modules.items():
        if not name.startswith((*above, "sim2edge.cli", "sim2edge.__main__")):
            upwards = {each for each in imports_of_ours(path, modules) if each.startswith(above)}
            assert not upwards, name


def test_recipes_import_no_stage():
    for path in files("recipes"):
        assert imported_parts(path).isdisjoint(stage_names()), path


@pytest.mark.parametrize("stage", stage_names())
def test_stages_import_the_shared_core_and_never_one_another(stage):
    allowed = SHARED | {stage} | ({"edge"} if stage == "export" else set())
    for path in files(stage):
        assert {part for part in imported_parts(path) if is_package_part(part)} <= allowed, path


def test_the_device_imports_nothing_of_the_stages():
    for path in files("edge"):
        assert imported_parts(path).isdisjoint({*stage_names(), "runner", "stack", "registry"}), path


def test_nothing_in_the_package_imports_airflow():
    for path in files("."):
        assert not {module for module in imported_modules(path) if module.split(".")[0] == "airflow"}, path


def test_only_the_bus_talks_to_object_storage():
    names = (
        "objects.py",
        "bus.py",
        "any_names.py",
        "bucket.py",
        "bucket_check.py",
        "conditions.py",
        "s3_access.py",
        "storage_errors.py",
        "services/seaweedfs.py",
    )
    allowed = {SOURCE / name for name in names}
    for path in set(files(".")) - allowed:
        assert not {m for m in imported_modules(path) if m.split(".")[0] in ("obstore", "boto3", "s3fs")}, path


def loaded(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


def test_the_light_core_and_every_stage_declaration_load_nothing_heavy():
    declare = "; ".join(f"import sim2edge.{name}" for name in stage_names()) + "; import sim2edge.ingest"
    assert loaded(f"import sim2edge.cli, sim2edge.runner, sim2edge.inspect_bus; {declare}").isdisjoint(HEAVY)


def test_the_device_loads_neither_torch_nor_airflow():
    modules = loaded("import sim2edge.edge.device, sim2edge.edge.detector.service, sim2edge.edge.ota_updater")
    assert modules.isdisjoint({"airflow", "torch", "mujoco", "mlflow", "pandas", "pyarrow"})


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_is_declared_under_its_own_name_with_every_field_explained(name):
    stage = get_stage(name)
    assert stage.name == name
    for field, _, meaning in describe_fields(stage.config()):
        assert meaning, f"{name}.{field} is not explained"


def test_every_module_says_what_it_is_for():
    for path in files("."):
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
