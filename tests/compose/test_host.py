"""What is said about a machine that cannot run the system: one line, with what to do."""

import socket
import subprocess
from pathlib import Path

import pytest

from sim2edge.compose import host
from sim2edge.errors import BadInput, Unavailable


def docker(**answers: tuple[int, str, str]):
    """A `docker` that gives these answers: first word of the command to exit code, output and complaint."""

    def run(arguments):
        code, out, err = answers.get(arguments[0], (0, "", ""))
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


def test_settings_come_from_the_environment_before_the_file(tmp_path: Path):
    (tmp_path / ".env").write_text("# mine\nA=1\nexport B = '2'\nSIM2EDGE_S3_PORT=9000 # free here\nnonsense\n")
    found = host.read_settings(tmp_path, {"A": "3"})
    assert (found["A"], found["B"]) == ("3", "2")
    assert host.url_of("s3", found) == "http://127.0.0.1:9000"


def test_the_file_of_settings_keeps_what_people_wrote(tmp_path: Path):
    path = tmp_path / ".env"
    path.write_text("# mine\nSIM2EDGE_DOCKER_GID=7")
    assert host.complete_env_file(path, {"SIM2EDGE_DOCKER_GID": "1", "COMPOSE_PROFILES": "s3"}) == ["COMPOSE_PROFILES"]
    assert path.read_text() == "# mine\nSIM2EDGE_DOCKER_GID=7\nCOMPOSE_PROFILES=s3\n"


def test_what_is_published_follows_the_profiles():
    assert host.published({"COMPOSE_PROFILES": "s3"}) == ["airflow", "mlflow", "s3", "prometheus", "alertmanager"]
    assert "s3" not in host.published({})
    assert "grafana" in host.published({"COMPOSE_PROFILES": "s3,dashboards"})


@pytest.mark.parametrize("text", ["x", "0", "70000", "-1"])
def test_a_port_that_is_none_is_named(text):
    with pytest.raises(BadInput, match=f"SIM2EDGE_S3_PORT '{text}': not a port"):
        host.port_of("s3", {"SIM2EDGE_S3_PORT": text})


def test_a_port_that_is_taken_is_named_with_its_holder():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        free = {f"SIM2EDGE_{service.upper()}_PORT": str(50000 + n) for n, service in enumerate(host.PORTS)}
        with pytest.raises(BadInput, match=rf"port {port} \(mlflow\) is taken by .*SIM2EDGE_MLFLOW_PORT in .env"):
            host.check_ports({**free, "SIM2EDGE_MLFLOW_PORT": str(port)})


@pytest.mark.parametrize(
    ("answers", "error", "complaint"),
    [
        ({"compose": (1, "", "unknown command")}, BadInput, "'docker compose' is not installed"),
        ({"info": (0, "", "ERROR: permission denied while trying")}, BadInput, "no permission on the engine's socket"),
        ({"info": (1, "", "Cannot connect to the Docker daemon")}, Unavailable, "does not answer: Cannot connect"),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_line(answers, error, complaint):
    with pytest.raises(error, match=complaint):
        host.check_engine(docker(**answers))


def test_a_missing_program_is_one_line(monkeypatch):
    monkeypatch.setenv("DOCKER", "no-such-docker")
    with pytest.raises(BadInput, match="'no-such-docker' is not installed"):
        host.check_engine()


def test_missing_images_are_named_with_the_command_that_builds_them():
    run = docker(compose=(0, "sim2edge/train:1\nsim2edge/s3:1\npostgres:17\n", ""), image=(0, "sim2edge/s3:1\n", ""))
    with pytest.raises(BadInput, match="images are missing: sim2edge/train:1: `make images`"):
        host.check_images(run)


def test_a_socket_that_is_not_there_is_one_line():
    with pytest.raises(BadInput, match="/nowhere: No such file or directory: install and start a Docker engine"):
        host.socket_group({"SIM2EDGE_DOCKER_SOCKET": "/nowhere"})


def test_new_secrets_are_not_made_over_data_of_older_ones():
    host.check_no_data("sim2edge", docker(volume=(0, "", "")))
    with pytest.raises(BadInput, match="volume sim2edge_postgres-data and 1 others hold data"):
        host.check_no_data("sim2edge", docker(volume=(0, "sim2edge_postgres-data\nsim2edge_s3-data\n", "")))
