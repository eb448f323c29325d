"""What Airflow makes of the DAG files in deployments with other settings; Airflow is loaded once for all of them.

    reader.ask("print(json.dumps(sorted(DagBag(DAGS).dags)))", AIRFLOW__SIM2EDGE__RUNTIME="docker")

Each question is answered by a fork of the one process that has Airflow loaded, and neither plugins nor DAG files.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVER = f"""
import json, os, sys, traceback
sys.path.append({str(ROOT / "plugins")!r})
from airflow.dag_processing.dagbag import DagBag
DAGS = {str(ROOT / "dags")!r}
for question in sys.stdin:
    settings, code = json.loads(question)
    child = os.fork()
    if not child:
        try:
            os.environ.update(settings)
            exec(code)
        except BaseException:
            print(json.dumps(dict(error=traceback.format_exc())))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print("answered", flush=True)
"""


class DagReader:
    """Answers questions about the DAG files, each in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, code: str, **settings: str) -> Any:
        """What `code` prints as its last line, as JSON; `settings` are added to the environment before."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([settings, code]) + "\n")
        self._process.stdin.flush()
        answer = ""
        while (line := self._process.stdout.readline()) != "answered\n":
            assert line, "the process that reads DAG files has ended"
            answer = line
        found = json.loads(answer)
        assert not (isinstance(found, dict) and "error" in found), found["error"]
        return found

    def close(self) -> None:
        """End without what Airflow does when it ends."""
        self._process.kill()
        self._process.communicate()
