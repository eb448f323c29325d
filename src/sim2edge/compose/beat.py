"""Check the health of a part of Airflow, for its containers.

    python -m sim2edge.compose.beat scheduler          api, scheduler, dag_processor, triggerer

The API server reports the heartbeats of all parts. Exit code 1: not healthy, with the reason on one line.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sim2edge.services.loopback import fetch_json

TIMEOUT_S = 6.0
LATEST_S = 60.0
"""Maximum age of a healthy part's last heartbeat."""


def main(argv: Sequence[str]) -> int:
    """Print the error of the part that the first argument names, if any; return the exit code."""
    (part,) = argv
    server = os.environ.get(
        "SIM2EDGE_AIRFLOW_URL", "http://airflow-api:8080" if part != "api" else "http://127.0.0.1:8080"
    )
    problem = judge(part, fetch_json(f"{server}/api/v2/monitor/health", timeout_s=TIMEOUT_S), datetime.now(UTC))
    if problem:
        print(problem)
    return 1 if problem else 0


def judge(part: str, health: Mapping[str, Any] | None, now: datetime) -> str | None:
    """Return the error of a part by the API server's health report; None when it is healthy."""
    if health is None:
        return "the API server does not answer"
    if part == "api":
        return None if health["metadatabase"]["status"] == "healthy" else "the database does not answer"
    state = health.get(part) or {}
    beat = state.get(f"latest_{part}_heartbeat")
    if state.get("status") != "healthy" or not beat:
        return f"{part}: {state.get('status') or 'never seen'}"
    age = (now - datetime.fromisoformat(beat)).total_seconds()
    return f"{part}: last heartbeat {age:.0f} s ago" if age > LATEST_S else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
