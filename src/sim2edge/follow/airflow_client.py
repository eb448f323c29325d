"""Query Airflow's REST API to follow a pipeline: trigger, runs, tasks, logs, results."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from sim2edge.errors import Unavailable

TIMEOUT_S = 20.0
BUSY_TRIES, BUSY_S = 5, 2.0
"""Tries of a request that is answered with a locked database, and seconds between them."""


class Busy(Unavailable):
    """Airflow's database was locked; the request had no effect."""


class AirflowClient:
    """A client of the API server at `url` (scheme, host and port), logged in as one user, or with their `token`."""

    def __init__(self, url: str, user: str = "", password: str = "", token: str = "") -> None:
        self._url = url.rstrip("/")
        login = {"username": user, "password": password}
        self._token = token or str(self._call("POST", "/auth/token", login)["access_token"])

    def is_paused(self, dag: str) -> bool:
        """Return whether a DAG is paused."""
        return bool(self._call("GET", f"/api/v2/dags/{dag}")["is_paused"])

    def dags(self, tag: str) -> dict[str, bool]:
        """Return the DAGs with a tag, and whether each is paused."""
        found = self._call("GET", f"/api/v2/dags?limit=100&tags={_quote(tag)}")["dags"]
        return {str(dag["dag_id"]): bool(dag["is_paused"]) for dag in found}

    def pause(self, dag: str) -> None:
        """Pause a DAG."""
        self._call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": True})

    def unpause(self, dag: str) -> None:
        """Unpause a DAG."""
        self._call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def count_tasks(self, *states: str) -> int:
        """Return the number of task instances in one of these states, of all DAGs."""
        query = "&".join(f"state={state}" for state in states)
        return int(self._call("GET", f"/api/v2/dags/~/dagRuns/~/taskInstances?limit=1&{query}")["total_entries"])

    def variable(self, key: str) -> str | None:
        """Return the value of a variable; None when there is none."""
        try:
            return str(self._call("GET", f"/api/v2/variables/{_quote(key)}")["value"])
        except Unavailable as error:
            if "404" in str(error):
                return None
            raise

    def set_variable(self, key: str, value: str) -> None:
        """Create a variable, or change its value."""
        body = {"key": key, "value": value}
        if self.variable(key) is None:
            self._call("POST", "/api/v2/variables", body)
        else:
            self._call("PATCH", f"/api/v2/variables/{_quote(key)}", body)

    def delete_variable(self, key: str) -> None:
        """Delete a variable."""
        self._call("DELETE", f"/api/v2/variables/{_quote(key)}")

    def trigger(self, dag: str, partition: str | None, conf: Mapping[str, Any]) -> str:
        """Start a run of a DAG, for one partition key if it has partitions, and return its run id."""
        body = {"logical_date": None, "partition_key": partition, "conf": dict(conf)}
        return str(self._call("POST", f"/api/v2/dags/{_quote(dag)}/dagRuns", body)["dag_run_id"])

    def runs(self, dag: str, partition: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG for one partition key, newest first."""
        query = urllib.parse.urlencode({"order_by": "-run_after", "limit": 50, "partition_key_pattern": partition})
        answer = self._call("GET", f"/api/v2/dags/{dag}/dagRuns?{query}")
        return [run for run in answer["dag_runs"] if run["partition_key"] == partition]

    def latest_runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the newest run of a DAG that has started; empty when there is none."""
        query = "order_by=-run_after&limit=1&state=running&state=success&state=failed"
        runs: list[dict[str, Any]] = self._call("GET", f"/api/v2/dags/{dag}/dagRuns?{query}")["dag_runs"]
        return runs

    def events(self, dag: str, run: str | None = None) -> list[dict[str, Any]]:
        """Return the latest asset events of a DAG, or of one of its runs, newest first, with the runs they started."""
        of_run = f"&source_run_id={_quote(run)}" if run else ""
        path = f"/api/v2/assets/events?order_by=-timestamp&limit=50&source_dag_id={dag}{of_run}"
        events: list[dict[str, Any]] = self._call("GET", path)["asset_events"]
        return events

    def instances(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, all those of mapped tasks included."""
        found: list[dict[str, Any]] = []
        while True:
            query = f"limit=100&offset={len(found)}"
            answer = self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{_quote(run)}/taskInstances?{query}")
            found += answer["task_instances"]
            if not answer["task_instances"] or len(found) >= answer["total_entries"]:
                return found

    def tasks(self, dag: str, run: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run, by task id; one for a mapped task."""
        return {task["task_id"]: task for task in self.instances(dag, run)}

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[str]:
        """Return the lines of a task's log so far."""
        path = f"/api/v2/dags/{dag}/dagRuns/{_quote(run)}/taskInstances/{task}/logs/{attempt}?full_content=true"
        content = self._call("GET", path)["content"]
        return [line for entry in content for line in _lines(entry)]

    def result(self, dag: str, run: str, task: str) -> str | None:
        """Return the return value of a task; None when there is none."""
        path = f"/api/v2/dags/{dag}/dagRuns/{_quote(run)}/taskInstances/{task}/xcomEntries/return_value"
        try:
            value = self._call("GET", path)["value"]
        except Unavailable as error:
            if "404" in str(error):
                return None
            raise
        return None if value is None else str(value)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request; retry while SQLite is locked by another part of Airflow, as nothing was done then."""
        for _ in range(BUSY_TRIES - 1):
            try:
                return self._ask(method, path, body)
            except Busy:
                time.sleep(BUSY_S)
        return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if hasattr(self, "_token"):
            headers["Authorization"] = f"Bearer {self._token}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content: dict[str, Any] = json.loads(answer.read() or b"{}")
                return content
        except urllib.error.HTTPError as error:
            detail = error.read(300).decode(errors="replace")
            kind = Busy if error.code == 500 and "Database error" in detail else Unavailable
            raise kind(f"Airflow answered {error.code} to {method} {path.partition('?')[0]}: {detail}") from error
        except (OSError, ValueError) as error:
            raise Unavailable(f"Airflow at {self._url} does not answer: {error}") from error


def _lines(entry: Any) -> list[str]:
    """Return the text of one log entry: its message, then the errors behind it."""
    if not isinstance(entry, dict):
        return [str(entry)]
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
    return [str(entry["event"]), *errors]


def _quote(run: str) -> str:
    return urllib.parse.quote(run, safe="")
