"""What docker-py keeps to itself and is used none the less: this says in words what a new version of it breaks."""

import inspect
import re
from pathlib import Path

import docker
import pytest

import sim2edge_airflow

PLUGINS = Path(sim2edge_airflow.__file__).parent
ALLOWED = "runtimes/docker_engine.py"
USED = {
    "_get": (["self", "args", "kwargs"], "sends a request; open_log asks for a container's log with it"),
    "_url": (["self", "pathfmt", "args", "kwargs"], "makes the address of a request; open_log fills in the container"),
    "_raise_for_status": (["self", "response"], "makes an APIError of an answer; open_log has it raise for a bad log"),
    "_get_raw_response_socket": (["self", "response"], "finds the socket of an answer; open_log lifts its time limit"),
    "_disable_socket_timeout": (
        ["self", "socket"],
        "lifts that limit; without it the log of a silent stage breaks",
    ),
}
PRIVATE = re.compile(r"\b(?:api|_engine|engine|client|response)\.(_[a-z]\w+)")


@pytest.mark.parametrize("name", USED)
def test_docker_py_still_has_what_the_log_of_a_container_is_read_with(name):
    parameters, purpose = USED[name]
    found = getattr(docker.APIClient, name, None)
    said = f"docker-py {docker.__version__}: APIClient.{name}, which {purpose}, "
    assert found is not None, f"{said}is gone: rewrite open_log in {ALLOWED}"
    assert list(inspect.signature(found).parameters) == parameters, f"{said}takes other arguments: see {ALLOWED}"


def test_no_other_module_uses_what_docker_py_keeps_to_itself():
    found = {
        (path.relative_to(PLUGINS).as_posix(), name)
        for path in PLUGINS.rglob("*.py")
        for name in PRIVATE.findall(path.read_text())
    }
    assert {name for path, name in found if path == ALLOWED} == set(USED), "this file knows all that is used"
    assert not [each for each in found if each[0] != ALLOWED]
