"""Settings, ports and credentials: what is taken from where, and what a mistake is told as."""

import json
import os
import socket
from pathlib import Path

import pytest

from sim2edge.errors import BadInput
from sim2edge.stack.credentials import credentials_path, load_credentials
from sim2edge.stack.definitions import define_services
from sim2edge.stack.services import plain_environment
from sim2edge.stack.settings import StackSettings, check_interpreters, check_ports, load_settings
from sim2edge.stack.state import ProcessId


def test_an_argument_wins_over_a_variable_and_that_over_the_default() -> None:
    variables = {"SIM2EDGE_S3_PORT": "9000", "SIM2EDGE_MLFLOW_PORT": "9100", "SIM2EDGE_HOME": "somewhere"}
    settings = load_settings({"s3_port": 9050, "mlflow_port": None}, variables)
    assert (settings.s3_port, settings.mlflow_port, settings.airflow_port) == (9050, 9100, 8080)
    assert settings.home == Path.cwd() / "somewhere"
    assert list(settings.s3_ports.values()) == list(range(9050, 9060))


@pytest.mark.parametrize(
    ("variables", "arguments", "named"),
    [
        ({"SIM2EDGE_S3_PORT": "many"}, {}, "s3_port.*'many'"),
        ({}, {"airflow_port": 70000}, "airflow_port.*70000"),
        ({}, {"bucket": "No Bucket"}, "bucket.*'No Bucket'"),
        ({}, {"only": ("mlflow",)}, "must contain s3"),
        ({}, {"only": ("s3", "postgres")}, "only.*'postgres'"),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], arguments: dict[str, object], named: str) -> None:
    with pytest.raises(BadInput, match=named) as caught:
        load_settings(arguments, variables)
    assert "\n" not in str(caught.value)


def test_a_taken_port_is_told_with_its_holder_and_the_way_out(settings: StackSettings) -> None:
    with socket.create_server(("127.0.0.1", settings.s3_port + 4)), pytest.raises(BadInput) as caught:
        check_ports(settings)
    message = str(caught.value)
    assert message.startswith(f"port {settings.s3_port + 4} (S3 server, volume.port) is taken by ")
    assert f"(pid {os.getpid()})" in message
    assert "--s3-port or SIM2EDGE_S3_PORT (the nine ports after it" in message


def test_two_services_cannot_want_one_port(settings: StackSettings) -> None:
    both = settings.model_copy(update={"only": ("s3", "mlflow"), "mlflow_port": settings.s3_port + 1})
    with pytest.raises(BadInput, match=r"used for both S3 server, s3\.port\.grpc and MLflow: .* --mlflow-port"):
        check_ports(both)


def test_a_missing_environment_is_told(settings: StackSettings, tmp_path: Path) -> None:
    missing = settings.model_copy(update={"only": ("s3", "airflow"), "airflow_python": tmp_path / "python"})
    with pytest.raises(BadInput, match=r"airflow: no interpreter at .*make install"):
        check_interpreters(missing)


def test_credentials_are_made_once_and_are_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = load_credentials(home)
    assert load_credentials(home) == first
    assert load_credentials(tmp_path / "other").s3_secret_key != first.s3_secret_key
    assert credentials_path(home).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert first.mlflow_password not in repr(first)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"s3_secret_key": "short"}', '{"unknown": 1}', "\x00"])
def test_damaged_credentials_are_named_and_kept(tmp_path: Path, damage: str) -> None:
    load_credentials(tmp_path)
    credentials_path(tmp_path).write_text(damage)
    with pytest.raises(BadInput, match=r"credentials\.json: damaged"):
        load_credentials(tmp_path)
    assert credentials_path(tmp_path).read_text() == damage


def test_the_services_need_each_other_in_order(tmp_path: Path) -> None:
    services = define_services(StackSettings(home=tmp_path), load_credentials(tmp_path))
    names = [service.name for service in services]
    assert names[:3] == ["s3", "mlflow", "airflow-db"]
    for number, service in enumerate(services):
        assert set(service.after) <= set(names[:number]), service.name


def test_no_secret_is_on_a_command_line_or_in_a_repr(tmp_path: Path) -> None:
    credentials = load_credentials(tmp_path)
    for service in define_services(StackSettings(home=tmp_path), credentials):
        for name, secret in json.loads(credentials.model_dump_json()).items():
            assert secret not in " ".join(service.command), (service.name, name)
            assert secret not in repr(service), (service.name, name)


def test_foreign_accounts_stay_out_and_loopback_avoids_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theirs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://theirs")
    monkeypatch.setenv("NO_PROXY", "example.org")
    environment = plain_environment()
    assert "AWS_SESSION_TOKEN" not in environment
    assert "MLFLOW_TRACKING_URI" not in environment
    assert environment["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_a_process_id_used_again_is_not_taken_for_the_old_process() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.find() is not None
    assert ProcessId(pid=me.pid, created=me.created - 100).find() is None
