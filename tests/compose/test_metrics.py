"""What Airflow really sends becomes metrics with labels, and every rule and panel asks for a metric that exists.

`airflow_metrics.txt` was recorded from a running Airflow 3.3.2; `tests/dags/test_operating.py` compares a running one.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SENT = [
    line.partition("|")[::2]
    for line in Path(__file__).with_name("airflow_metrics.txt").read_text().splitlines()
    if not line.startswith("#")
]
DAGS = [path.stem.removesuffix("_dag") for path in (ROOT / "dags").glob("*.py")]


@pytest.fixture(scope="module")
def exporter():
    """The stand-in for the StatsD exporter, with the mapping of compose: translates a name."""
    spec = importlib.util.spec_from_file_location("exporter", ROOT / "ci" / "services" / "statsd_exporter.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    mappings = module.read_mappings(ROOT / "containers" / "statsd" / "mapping.yml")
    return lambda name: module.translate(name, mappings)


def in_prometheus(exporter):
    """The names of the metrics that come of what Airflow sends."""
    names = set()
    for sent, kind in SENT:
        metric, _ = exporter(sent)
        names |= {f"{metric}_sum", f"{metric}_count"} if kind == "ms" else {metric}
    return names


def asked_for():
    """Every metric of Airflow that a rule or a panel names."""
    rules = (ROOT / "containers/prometheus/rules.yml").read_text()
    panels = "".join(path.read_text() for path in (ROOT / "containers/grafana/dashboards").glob("*.json"))
    return sorted(set(re.findall(r"\bairflow_[a-z_]+", rules + panels)))


@pytest.mark.parametrize("metric", asked_for())
def test_what_a_rule_or_panel_asks_for_is_sent(exporter, metric):
    assert metric in in_prometheus(exporter)


def test_no_name_of_a_dag_or_pool_is_part_of_a_metrics_name(exporter):
    for sent, _ in SENT:
        metric, _ = exporter(sent)
        assert not [name for name in (*DAGS, "default_pool", "LocalExecutor") if name in (metric or "")], sent


@pytest.mark.parametrize(
    ("sent", "metric", "labels"),
    [
        (
            "airflow.ti.finish.sim_capture.capture.failed",
            "airflow_ti_finish_total",
            {"dag_id": "sim_capture", "state": "failed"},
        ),
        (
            "airflow.dag.train_model.train.duration",
            "airflow_task_seconds",
            {"dag_id": "train_model", "task_id": "train"},
        ),
        (
            "airflow.dagrun.duration.failed.sim_capture",
            "airflow_run_seconds",
            {"dag_id": "sim_capture", "state": "failed"},
        ),
        ("airflow.pool.scheduled_slots.default_pool", "airflow_slots_scheduled", {"pool": "default_pool"}),
        ("airflow.pool.open_slots", None, {}),
    ],
)
def test_names_become_labels(exporter, sent, metric, labels):
    found, words = exporter(sent)
    assert found == metric
    assert labels.items() <= dict(re.findall(r"(\w+)=\"([^\"]*)\"", words)).items()


def test_every_mapping_has_a_name_and_every_alert_an_action_and_a_test():
    mappings = yaml.safe_load((ROOT / "containers/statsd/mapping.yml").read_text())["mappings"]
    assert all(set(each) <= {"match", "name", "labels", "action"} and each["name"] for each in mappings)
    tested = (ROOT / "containers/prometheus/rules_test.yml").read_text()
    for group in yaml.safe_load((ROOT / "containers/prometheus/rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "action"}
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert f"alertname: {rule['alert']}" in tested


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed; in compose it is: test_system.py")
def test_the_rules_do_what_their_tests_say():
    folder = ROOT / "containers" / "prometheus"
    subprocess.run(["promtool", "test", "rules", "rules_test.yml"], cwd=folder, check=True, capture_output=True)
