"""docker-compose.yaml as text: hardened, limited, on loopback, nothing secret, and only what compose v1.29 reads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
EXPECTED = {
    *("postgres", "redis", "s3", "mlflow", "engine-proxy", "ota-init", "camera"),
    *(
        "airflow-init",
        "airflow-api",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "airflow-worker",
    ),
    *("statsd", "blackbox", "prometheus", "alertmanager", "grafana", "device-1", "device-2", "device-3"),
}
# What docker-compose 1.29's schema knows of a service, as far as it is used here.
OLD_KEYS = {
    *("cap_drop", "command", "cpus", "depends_on", "entrypoint", "environment", "group_add", "healthcheck", "image"),
    *("logging", "mem_limit", "network_mode", "networks", "pids_limit", "ports", "profiles", "read_only", "restart"),
    *("secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "user", "volumes"),
}
OLD_HEALTHCHECK = {"test", "interval", "timeout", "retries", "start_period"}
ONLY_ONE_WITH = {
    "docker.sock": {"engine-proxy"},
    "ota-root-keys": {"ota-init"},
    "admin_env": {"ota-init"},
    "/credentials:/run": {"s3"},
    "/worker:/run": {"airflow-scheduler", "airflow-worker"},
    "ota-keys:": {"airflow-scheduler", "airflow-worker", "ota-init"},
    "airflow_passwords": {"airflow-api"},
}


def test_every_service_is_there():
    assert set(SERVICES) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_service_is_hardened_and_limited(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"] > 0
    assert service["pids_limit"] > 0
    assert "privileged" not in service
    assert "cap_add" not in service
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_image_is_pinned_and_can_be_exchanged(name):
    match = re.fullmatch(r"\$\{([A-Z0-9_]+_IMAGE):-(.+)\}", SERVICES[name]["image"])
    assert match, SERVICES[name]["image"]
    assert re.search(r":(v?\d+\.\d+(\.\d+)?(-\w+)?|\$\{SIM2EDGE_TAG:-\d+\.\d+\.\d+\})$", match[2]), match[2]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_port_is_published_on_loopback_alone(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{SIM2EDGE_[A-Z0-9]+_PORT:-\d+\}:\d+", port), port


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_environment_holds_nothing_secret(name):
    for variable, value in (SERVICES[name].get("environment") or {}).items():
        if re.search(r"SECRET|PASSWORD|TOKEN|KEY|SQL_ALCHEMY|BROKER|RESULT_BACKEND", variable):
            pointer = re.match(r"cat /run/secrets/|/run/|/keys$|/tmp/", str(value))
            assert pointer, f"{variable} should name a file, not hold a value"


@pytest.mark.parametrize(("what", "owners"), ONLY_ONE_WITH.items())
def test_what_is_dangerous_is_given_to_few(what, owners):
    having = {name for name, each in SERVICES.items() if what in str([each.get("volumes"), each.get("secrets")])}
    assert having == owners


def test_only_the_services_that_stages_need_are_on_their_network():
    members = {name for name, service in SERVICES.items() if "stages" in service.get("networks", [])}
    assert members == {"s3", "mlflow"}
    engine = {name for name, service in SERVICES.items() if "engine" in service.get("networks", [])}
    assert engine == {"engine-proxy", "airflow-scheduler", "airflow-worker"}
    assert SERVICES["engine-proxy"]["networks"] == ["engine"]
    assert FILE["networks"]["engine"] == {"internal": True}


def test_only_what_the_older_compose_reads_is_used():
    assert set(FILE) - {"services", "networks", "volumes", "secrets"} == {key for key in FILE if key.startswith("x-")}
    for name, service in SERVICES.items():
        assert set(service) <= OLD_KEYS, name
        assert set(service.get("healthcheck", {})) <= OLD_HEALTHCHECK, name
        for condition in (service.get("depends_on") or {}).values():
            assert set(condition) == {"condition"}, name
        assert all(isinstance(secret, str) for secret in service.get("secrets", [])), name
    assert all(set(secret) == {"file"} for secret in FILE["secrets"].values())


def test_every_secret_and_volume_is_used_and_declared():
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(FILE["secrets"])
    named = {str(volume).partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {volume for volume in named if re.fullmatch(r"[a-z0-9-]+", volume)} == set(FILE["volumes"])


def test_what_keeps_data_has_a_healthcheck_and_a_volume():
    for name in ("postgres", "redis", "s3", "mlflow"):
        assert "healthcheck" in SERVICES[name]
        assert any(f"{name}-data:" in volume for volume in SERVICES[name]["volumes"])


def test_nothing_waits_for_a_service_of_a_profile_unless_it_has_the_profile():
    for name, service in SERVICES.items():
        for other in service.get("depends_on") or {}:
            assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", [])), (name, other)
