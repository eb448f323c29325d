"""What is applied to a cluster: checked against the API's schemas, and against what the pods of stages rely on.

Helm cannot run here: that the chart takes the values is not tested. `CHART` lists the values that are set, as the
chart's own `values.yaml` has them (its development tree at a default Airflow of 3.1.3).
"""

import configparser
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes.client import ApiClient

from sim2edge.secrets_file import parse_secrets
from sim2edge.stages import stage_names
from sim2edge_airflow.provider_info import OPTIONS
from sim2edge_airflow.runtimes.pod_spec import USER, build_pod
from sim2edge_airflow.runtimes.runtime import StageJob
from sim2edge_airflow.runtimes.stage_job import PLAIN_VARIABLES
from sim2edge_airflow.runtimes.stage_settings import KubernetesSettings, read_stage_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "containers" / "kubernetes"
VERSIONS = ("1.30", "1.34", "1.37")
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "airflow-values.yaml").read_text())
CHART = {
    "airflowVersion": str,
    "defaultAirflowRepository": str,
    "defaultAirflowTag": str,
    "airflowHome": str,
    "uid": int,
    "gid": int,
    "executor": str,
    "allowPodLaunching": bool,
    "workers": {"replicas": int, "persistence": {"enabled": bool}, "resources": dict},
    "data": {"metadataSecretName": str},
    "postgresql": {"enabled": bool},
    "fernetKeySecretName": str,
    "apiSecretKeySecretName": str,
    "jwtSecretName": str,
    "createUserJob": {"enabled": bool},
    "extraEnvFrom": str,
    "env": list,
    "extraConfigMaps": dict,
    "volumes": list,
    "volumeMounts": list,
    "config": dict,
    "apiServer": {
        "replicas": int, "extraInitContainers": list, "extraVolumes": list, "extraVolumeMounts": list
    },
    "securityContexts": {"pod": dict, "containers": dict},
    "dags": {"persistence": {"enabled": bool}, "gitSync": {"enabled": bool}},
    "logs": {"persistence": {"enabled": bool}},
}  # fmt: skip


def manifests() -> list[Any]:
    files = [
        path for path in sorted(FOLDER.glob("*.yaml")) if path.name not in {"kustomization.yaml", "airflow-values.yaml"}
    ]
    return [
        pytest.param(part, id=f"{path.name}:{part['kind']}/{part['metadata']['name']}")
        for path in files
        for part in yaml.safe_load_all(path.read_text())
    ]


def named(kind: str) -> dict[str, Any]:
    return {
        part.values[0]["metadata"]["name"]: part.values[0] for part in manifests() if part.values[0]["kind"] == kind
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", manifests())
def test_a_manifest_is_what_the_api_takes(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_everything_but_secrets_is_applied_at_once():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml", "airflow-values.yaml", "secrets.example.yaml"} == {
        path.name for path in FOLDER.iterdir()
    }


def test_the_names_are_those_that_pods_ask_for():
    cluster = KubernetesSettings()
    assert cluster.namespace in named("Namespace")
    account = named("ServiceAccount")[cluster.service_account]
    assert account["metadata"]["namespace"] == cluster.namespace
    assert account["automountServiceAccountToken"] is False
    secrets = named("Secret")
    assert cluster.secret.format(stage="train") in secrets
    assert cluster.keys_secret in secrets
    assert parse_secrets(secrets["sim2edge-train"]["stringData"]["secrets.env"])


def test_the_tasks_of_airflow_may_do_this_and_nothing_else():
    (role,) = named("Role").values()
    granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    pods = {("pods", verb) for verb in ("create", "get", "list", "watch", "delete")}
    assert granted == pods | {("pods/log", "get"), ("events", "list")}
    (binding,) = named("RoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert all(subject["name"].startswith("airflow-") for subject in binding["subjects"])


def test_the_charts_values_are_ones_that_it_has():
    assert not unknown(VALUES, CHART)


def unknown(values: Any, known: Any, where: str = "") -> list[str]:
    if not isinstance(known, dict):
        return [] if isinstance(values, known) else [f"{where}: {values!r} is not {known.__name__}"]
    strange = [f"{where}.{name}" for name in values if name not in known]
    return strange + [line for name in values if name in known for line in unknown(values[name], known[name], name)]


def test_airflow_knows_every_setting_of_ours():
    shipped = configparser.ConfigParser(interpolation=None)
    shipped.read(ROOT / "airflow.cfg")
    ours = VALUES["config"]["sim2edge"]
    assert set(ours) <= set(OPTIONS)
    assert ours["runtime"] == "kubernetes"
    for section in ("core", "scheduler", "api"):
        assert set(VALUES["config"][section]) <= set(shipped[section]) | {"base_url", "load_examples"}


def test_stages_are_told_where_things_are_and_no_value_is_a_secret():
    variables = {entry["name"] for entry in VALUES["env"]}
    assert variables - {"AIRFLOW_CONFIG"} <= set(PLAIN_VARIABLES)
    assert {"SIM2EDGE_BUCKET", "MLFLOW_TRACKING_URI"} <= variables
    assert not any(word in name for name in variables for word in ("SECRET", "PASSWORD", "KEY"))


@pytest.mark.parametrize("stage", stage_names())
def test_the_stages_of_the_values_make_pods(stage, tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_load(VALUES["extraConfigMaps"]["sim2edge-stages"]["data"])["stages.yaml"])
    settings = read_stage_settings(path, stage, "0.1.0")
    labels = dict.fromkeys(("deployment", "dag", "run", "task", "map_index", "try", "artifact"), "x")
    pod = ApiClient().sanitize_for_serialization(build_pod(StageJob(stage, [stage], labels, 60, settings)))
    kubernetes_validate.validate(pod, "1.34", strict=True)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert ("nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]) == (stage == "train")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_values_add_to_airflows_own_pods_is_what_the_api_takes(version):
    server = VALUES["apiServer"]
    container = {"name": "api-server", "image": "x", "env": VALUES["env"]}
    container["envFrom"] = yaml.safe_load(VALUES["extraEnvFrom"])
    container["volumeMounts"] = VALUES["volumeMounts"] + server["extraVolumeMounts"]
    container["securityContext"] = VALUES["securityContexts"]["containers"]
    spec = {"containers": [container], "initContainers": server["extraInitContainers"]}
    spec |= {
        "volumes": VALUES["volumes"] + server["extraVolumes"],
        "securityContext": VALUES["securityContexts"]["pod"],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, version, strict=True)
    assert VALUES["uid"] == VALUES["securityContexts"]["pod"]["runAsUser"] == USER
