"""The folder of role files: made once, kept, completed, rotated; and the commands that do it."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sim2edge import cli
from sim2edge.access import Keys, fixed_roles, policy
from sim2edge.errors import BadInput
from sim2edge.secrets_file import read_role
from sim2edge.services.role_files import (
    ACCESS_KEY,
    SECRET_KEY,
    TRACKING_PASSWORD,
    MlflowSecrets,
    add_role,
    init_roles,
    read_keys,
    read_valid_keys,
    read_variables,
    rotate_role,
    unknown_roles,
)
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.definitions import define_services
from sim2edge.stack.settings import StackSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_every_role_gets_a_file_that_only_its_owner_reads(folder: Path) -> None:
    made = init_roles(folder, ["pi-7"])
    assert made == [*fixed_roles(), "device-pi-7"]
    assert sorted(contents(folder)) == sorted(f"{role}.env" for role in made)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    pairs = read_keys(folder)
    assert len({pair.access for pair in pairs.values()} | {pair.secret for pair in pairs.values()}) == 2 * len(made)


def test_a_second_time_nothing_changes(folder: Path) -> None:
    init_roles(folder, ["pi-7"])
    before = contents(folder)
    assert init_roles(folder, ["pi-7"]) == []
    assert init_roles(folder, ["pi-8"]) == ["device-pi-8"]
    assert {name: text for name, text in contents(folder).items() if name != "device-pi-8.env"} == before


def test_many_at_once_agree_on_the_keys(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [role for roles in pool.map(lambda _: init_roles(folder), range(8)) for role in roles]
    assert sorted(made) == sorted(fixed_roles())


def test_stages_that_track_get_the_login_of_the_server(folder: Path) -> None:
    init_roles(folder)
    password = read_role(folder, "mlflow")["MLFLOW_AUTH_ADMIN_PASSWORD"]
    for role in fixed_roles():
        found = read_role(folder, role).get("MLFLOW_TRACKING_PASSWORD")
        assert found == (password if role in ("train", "validate") else None)
    init_roles(folder, mlflow=MlflowSecrets("another-password", "another-key"))
    assert read_role(folder, "train")["MLFLOW_TRACKING_PASSWORD"] == "another-password"
    assert read_role(folder, "mlflow")["MLFLOW_FLASK_SERVER_SECRET_KEY"] == "another-key"


def test_the_admins_keys_may_be_decided_elsewhere(folder: Path) -> None:
    init_roles(folder)
    assert init_roles(folder, admin=Keys("given-access", "given-secret-0000")) == ["admin"]
    assert read_keys(folder)["admin"] == Keys("given-access", "given-secret-0000")


def test_what_a_file_holds_besides_and_its_mode_stay(folder: Path) -> None:
    init_roles(folder)
    path = folder / "train.env"
    path.write_text("# ours\nHF_TOKEN=abc\n")
    path.chmod(0o444)
    assert init_roles(folder) == ["train"]
    assert read_role(folder, "train")["HF_TOKEN"] == "abc"
    assert path.stat().st_mode & 0o777 == 0o444


def test_rotating_changes_the_keys_of_one_role(folder: Path) -> None:
    init_roles(folder)
    before = {role: read_variables(folder, role) for role in fixed_roles()}
    rotate_role(folder, "train")
    after = {role: read_variables(folder, role) for role in fixed_roles()}
    assert [role for role in fixed_roles() if after[role] != before[role]] == ["train"]
    changed = {name for name, value in after["train"].items() if value != before["train"][name]}
    assert changed == {ACCESS_KEY, SECRET_KEY}
    with pytest.raises(BadInput, match="no such role to rotate"):
        rotate_role(folder, "device-pi-7")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("train", "AWS_ACCESS_KEY_ID=abc\n", "train.env: AWS_SECRET_ACCESS_KEY is missing"),
        ("train", "AWS_ACCESS_KEY_ID=abc\nAWS_SECRET_ACCESS_KEY=short\n", "shorter than 16"),
        ("train", "hunter2\n", "train.env, line 1: expected NAME=value"),
    ],
)
def test_a_file_that_is_wrong_is_named(folder: Path, name: str, text: str, complaint: str) -> None:
    init_roles(folder)
    (folder / f"{name}.env").write_text(text)
    with pytest.raises(BadInput, match=complaint):
        read_keys(folder)


@pytest.mark.parametrize(
    ("role", "command"), [("train", "sim2edge access init"), ("device-pi-7", "sim2edge access add device-pi-7")]
)
@pytest.mark.parametrize("text", ["AWS_ACCESS_KEY_ID=abc\nAWS_SEC", "", "AWS_ACCESS_KEY_ID=abc\n"])
def test_a_half_written_file_is_left_out_and_the_line_tells_how_to_replace_it(
    folder: Path, role: str, command: str, text: str
) -> None:
    init_roles(folder, ["pi-7"])
    before = read_keys(folder)
    (folder / f"{role}.env").write_text(text)
    found, (problem,) = read_valid_keys(folder)
    assert found == {name: keys for name, keys in before.items() if name != role}
    assert problem.startswith(f"{folder}/{role}.env")
    assert problem.endswith(f"; delete the file, and create it again with `{command}`")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    init_roles(folder)
    (folder / "train.env").unlink()
    os.mkfifo(folder / "train.env")
    _, (problem,) = read_valid_keys(folder)
    assert problem.startswith(f"{folder}/train.env: not a file; ")


@pytest.mark.parametrize("text", ["", "HF_TOKEN=a\nAWS_ACCESS_KEY_ID=abc\nAWS_SECRET_ACCESS_KEY=abc\n"])
def test_half_a_pair_of_keys_is_replaced(folder: Path, text: str) -> None:
    init_roles(folder)
    (folder / "train.env").write_text(text)
    assert init_roles(folder) == ["train"]
    variables = read_variables(folder, "train")
    assert variables[ACCESS_KEY] != "abc"
    assert variables.get("HF_TOKEN") == ("a" if text else None)
    assert TRACKING_PASSWORD in variables


def test_the_file_of_a_stage_that_is_not_installed_is_left_out_and_named(folder: Path) -> None:
    init_roles(folder)
    before = read_keys(folder)
    assert unknown_roles(folder) == []
    (folder / "stats.env").write_text(f"{ACCESS_KEY}=abcdef\n{SECRET_KEY}=0123456789abcdef\n")
    assert read_keys(folder) == before
    (warning,) = unknown_roles(folder)
    assert warning.startswith(f"{folder}/stats.env: left out: ")


def test_without_an_admin_there_is_no_folder_of_roles(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no admin\.env: create the role files with `sim2edge access init`"):
        read_keys(tmp_path)
    with pytest.raises(BadInput, match=r"no device-pi-7\.env: create it with `sim2edge access add device-pi-7`"):
        read_variables(tmp_path, "device-pi-7")


def test_only_a_role_is_added(folder: Path) -> None:
    assert add_role(folder, "device-pi-7")
    assert not add_role(folder, "device-pi-7")
    for wrong in ("device-", "root", "../train"):
        with pytest.raises(BadInput):
            add_role(folder, wrong)
    assert [path.name for path in folder.iterdir()] == ["device-pi-7.env"]


def test_each_service_of_the_stack_gets_the_keys_of_its_own_role(tmp_path: Path) -> None:
    credentials = load_credentials(tmp_path)
    services = define_services(StackSettings(home=tmp_path), credentials)
    assert {service.name.partition("-")[0] for service in services} == {"s3", "mlflow", "airflow"}
    for service in services:
        role = service.name.partition("-")[0]
        own = None if role == "s3" else read_keys(tmp_path / "credentials")[role].secret
        assert service.environment.get(SECRET_KEY) == own
        assert credentials.s3_secret_key not in service.environment.values()
        assert role == "mlflow" or credentials.mlflow_password not in service.environment.values()
        folder = str(tmp_path / "credentials") if role == "airflow" else None
        assert service.environment.get("SIM2EDGE_CREDENTIALS") == folder


def run(*words: str) -> int:
    return cli.main(["access", *words])


def test_the_commands_say_what_they_did_and_no_secret(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret_file = tmp_path / "mlflow.env"
    secret_file.write_text("MLFLOW_AUTH_ADMIN_PASSWORD=a-given-password\nMLFLOW_FLASK_SERVER_SECRET_KEY=signing\n")
    where = ("--credentials", str(folder), "--home", str(tmp_path / "no-stack"))
    assert run("init", "--devices", "a, b,", "--mlflow-env", str(secret_file), *where) == 0
    assert run("init", "--devices", "a,b", *where) == 0
    assert run("add", "device-c", *where) == 0
    assert run("rotate", "device-c", *where) == 0
    said = capsys.readouterr()
    assert "device-a, device-b" in said.out
    assert "nothing was missing" in said.out
    assert f"created: {folder}/device-c.env" in said.out
    assert read_role(folder, "validate")["MLFLOW_TRACKING_PASSWORD"] == "a-given-password"
    for path in folder.iterdir():
        for value in read_role(folder, path.stem).values():
            assert value == "admin" or value not in said.out + said.err


def test_init_names_the_file_of_a_stage_that_was_removed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--credentials", str(folder), "--home", str(tmp_path / "no-stack"))
    assert run("init", *where) == 0
    assert capsys.readouterr().err == ""
    (folder / "stats.env").touch()
    assert run("init", *where) == 0
    assert capsys.readouterr().err.startswith(f"sim2edge: {folder}/stats.env: left out: no stage")


def test_the_commands_refuse_in_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.env").write_text("")
    where = ("--credentials", str(folder))
    for words, complaint in (
        (("init", "--devices", "UPPER", *where), "role 'device-UPPER' is not one of"),
        (("init", "--mlflow-env", str(tmp_path / "empty.env"), *where), "MLFLOW_AUTH_ADMIN_PASSWORD (12 characters"),
        (("policy", "root", "--bucket", "b-1"), "role 'root' is not one of"),
        (("policy", "train", "--bucket", "B"), "bucket 'B'"),
    ):
        assert run(*words) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1


def test_a_policy_is_printed_as_iam_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "device-pi-7", "--bucket", "robots") == 0
    assert json.loads(capsys.readouterr().out) == policy("device-pi-7", "robots")
    assert run("roles") == 0
    assert "fleet/ID/*" in capsys.readouterr().out
