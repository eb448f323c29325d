"""The secrets of the system in containers: made once, readable where they are mounted and nowhere else."""

import crypt  # as Prometheus checks the password
import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sim2edge.access import OF_DAGS
from sim2edge.compose.secrets import DEVICES, PASSWORDS, load_passwords, logins, make_secrets
from sim2edge.errors import BadInput
from sim2edge.stages import stage_names

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state" / "compose"
    assert make_secrets(made)
    return made


def test_every_file_that_compose_mounts_is_made(folder: Path):
    text = (ROOT / "docker-compose.yaml").read_text()
    mounted = re.findall(r"\$\{SIM2EDGE_SECRETS:-\./\.sim2edge/compose\}/([\w./-]+)", text)
    assert len(mounted) > 20
    for name in mounted:
        assert (folder / name).exists(), name


def test_others_are_kept_out_by_the_folder_and_services_let_in_by_the_files(folder: Path):
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)} == {0o700}
    assert stat.S_IMODE((folder / PASSWORDS).stat().st_mode) == 0o600
    for path in folder.rglob("*"):
        if path.name != PASSWORDS:
            assert path.stat().st_mode & stat.S_IROTH, f"{path}: a service of another user cannot read it"
            assert not path.stat().st_mode & stat.S_IWOTH


def test_a_second_time_changes_nothing(folder: Path):
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}
    assert not make_secrets(folder)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == {path: content for path, (content, _) in before.items()}
    mounted = [path for path in before if path.name != PASSWORDS]
    assert [path.stat().st_ino for path in mounted] == [before[path][1] for path in mounted], "a mount would lose it"


def test_a_folder_with_the_token_of_the_former_webhook_is_read_and_keeps_the_rest(folder: Path):
    passwords = json.loads((folder / PASSWORDS).read_text())
    (folder / PASSWORDS).write_text(json.dumps(passwords | {"inbox_token": "a-token-of-long-ago"}))
    assert load_passwords(folder).model_dump() == passwords
    assert not make_secrets(folder)
    assert json.loads((folder / PASSWORDS).read_text()) == passwords


def test_two_deployments_share_nothing(folder: Path, tmp_path: Path):
    make_secrets(tmp_path / "other")
    one, other = load_passwords(folder).model_dump(), load_passwords(tmp_path / "other").model_dump()
    assert {name for name in one if one[name] == other[name]} == {"alert_webhook"}


def test_the_login_of_prometheus_is_the_password_hashed(folder: Path):
    users = yaml.safe_load((folder / "monitoring_web").read_text())["basic_auth_users"]
    password = (folder / "monitoring_password").read_text()
    assert crypt.crypt(password, users["admin"]) == users["admin"]
    assert crypt.crypt(password + "x", users["admin"]) != users["admin"]


def test_airflow_hands_on_the_files_of_stages_alone(folder: Path):
    assert {path.stem for path in (folder / "worker").iterdir()} == {*stage_names(), *OF_DAGS}
    for path in (folder / "worker").iterdir():
        assert path.read_bytes() == (folder / "credentials" / path.name).read_bytes()


def test_devices_have_roles_of_their_own(folder: Path):
    keys = {(folder / f"credentials/device-{device}.env").read_text() for device in DEVICES}
    assert len(keys) == len(DEVICES)


def test_alerts_go_where_they_are_told_to(folder: Path):
    quiet = yaml.safe_load((folder / "alertmanager_config").read_text())
    assert quiet["receivers"] == [{"name": "operators"}]
    make_secrets(folder, "https://example.org/hook?key=1")
    told = yaml.safe_load((folder / "alertmanager_config").read_text())
    assert told["receivers"][0]["webhook_configs"][0]["url"] == "https://example.org/hook?key=1"
    assert (folder / "airflow_alert_webhook").read_text() == "https://example.org/hook?key=1", "failed tasks do, too"
    make_secrets(folder)
    assert yaml.safe_load((folder / "alertmanager_config").read_text()) == told, "a later start forgets it"
    make_secrets(folder, "")
    assert yaml.safe_load((folder / "alertmanager_config").read_text()) == quiet
    assert (folder / "airflow_alert_webhook").read_text() == ""


def test_the_database_is_named_with_a_driver_that_is_installed(folder: Path):
    for name in ("database_url", "result_backend"):
        assert "postgresql+psycopg2://airflow:" in (folder / name).read_text()


def test_logins_name_every_service_of_people(folder: Path):
    assert set(logins(folder)) == {"airflow", "mlflow", "s3", "prometheus", "alertmanager", "grafana"}
    assert json.loads((folder / "airflow_passwords").read_text()) == {"admin": logins(folder)["airflow"][1]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "missing: `make secrets`"),
        ("{", "not JSON"),
        ("[]", "is invalid: restore the file"),
        ('{"grafana_password": "x"}', "field 'grafana_password' is invalid"),
        ('{"unknown": "x"}', "field 'unknown' is invalid"),
    ],
)
def test_a_damaged_file_is_named_and_never_mended(folder: Path, content: str | None, complaint: str):
    path = folder / PASSWORDS
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=re.escape(complaint)) as caught:
        load_passwords(folder)
    assert str(path) in str(caught.value)
    if content is not None:
        with pytest.raises(BadInput):
            make_secrets(folder)
        assert path.read_text() == content


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write the secrets there"):
        make_secrets(tmp_path / "file" / "compose")


def test_the_command_shows_no_secret(tmp_path: Path):
    environment = {"PATH": "/usr/bin:/bin", "SIM2EDGE_SECRETS": str(tmp_path / "s"), "SIM2EDGE_DOCKER_GID": "1"}
    code = (
        "from pathlib import Path; from sim2edge.compose import host; from sim2edge.cli import main\n"
        f"host.ROOT = Path({str(tmp_path)!r})\n"
        "raise SystemExit(main(['compose', 'init', '--alert-webhook', 'https://example.org/secret']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    passwords = load_passwords(tmp_path / "s").model_dump().values()
    assert not [value for value in passwords if value in ended.stdout + ended.stderr]
    lines = ["COMPOSE_PROJECT_NAME=sim2edge", "COMPOSE_PROFILES=s3,dashboards", "SIM2EDGE_DOCKER_GID=1"]
    assert (tmp_path / ".env").read_text().splitlines() == [*lines, "SIM2EDGE_PRESET=demo"]
    (tmp_path / ".env").write_text("\n".join(lines))
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert "SIM2EDGE_PRESET" not in (tmp_path / ".env").read_text(), "the gate of a system that exists is not changed"
