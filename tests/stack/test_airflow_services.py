"""What a deployment wants of Airflow beside airflow.cfg: its own settings, and users with passwords that stay."""

import json
from pathlib import Path

import pytest

from sim2edge.errors import BadInput
from sim2edge.private_files import write_private
from sim2edge.services.role_files import init_roles
from sim2edge.stack.airflow_services import airflow_environment, write_passwords
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.settings import StackSettings

USERS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"


@pytest.fixture
def own(settings: StackSettings):
    """Write the deployment's own settings."""
    init_roles(settings.roles, ())

    def write(text: str) -> None:
        write_private(settings.home / "airflow-settings.env", text)

    return write


def passwords(settings: StackSettings) -> dict[str, str]:
    path: Path = settings.home / "airflow" / "passwords.json"
    assert path.stat().st_mode & 0o777 == 0o600
    content: dict[str, str] = json.loads(path.read_text())
    return content


def test_its_own_settings_reach_airflow_but_the_stacks_win(settings: StackSettings, own) -> None:
    credentials = load_credentials(settings.home)
    plain = airflow_environment(settings, credentials)
    own("# where alerts go\nAIRFLOW__SIM2EDGE__ALERT_WEBHOOK=https://example.org/x\nAIRFLOW__API__PORT=1\n")
    found = airflow_environment(settings, credentials)
    assert found == plain | {"AIRFLOW__SIM2EDGE__ALERT_WEBHOOK": "https://example.org/x"}


def test_a_wrong_line_is_named_without_its_text(settings: StackSettings, own) -> None:
    own("AIRFLOW__A__B=fine\nhunter2\n")
    with pytest.raises(BadInput, match=r"airflow-settings\.env, line 2: expected NAME=value") as caught:
        airflow_environment(settings, load_credentials(settings.home))
    assert "hunter2" not in str(caught.value)


def test_a_user_gets_a_password_once_and_the_admin_the_stacks(settings: StackSettings, own) -> None:
    credentials = load_credentials(settings.home)
    write_passwords(settings, credentials)
    assert passwords(settings) == {"admin": credentials.airflow_password}
    own(f"{USERS}=admin:admin, ann:viewer\n")
    write_passwords(settings, credentials)
    first = passwords(settings)
    assert set(first) == {"admin", "ann"}
    assert len(first["ann"]) >= 16
    write_passwords(settings, credentials)
    assert passwords(settings) == first
    own(f"{USERS}=admin:admin\n")
    write_passwords(settings, credentials)
    assert set(passwords(settings)) == {"admin"}
