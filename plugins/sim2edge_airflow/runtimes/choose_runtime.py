"""Choose where a stage runs, by name: `process`, `docker` or `kubernetes`.

Each runtime is imported when it is chosen, so that the libraries of the others need not be installed.
"""

from collections.abc import Callable

from sim2edge.errors import BadInput
from sim2edge_airflow.runtimes.runtime import Runtime


def make_runtime(name: str) -> Runtime:
    """Return the runtime called `name`.

    Raises:
        BadInput: the name is unknown.
    """
    runtimes: dict[str, Callable[[], Runtime]] = {"process": _process, "docker": _docker, "kubernetes": _kubernetes}
    if name not in runtimes:
        raise BadInput(f"[sim2edge] runtime '{name}' is not one of: {', '.join(runtimes)}")
    return runtimes[name]()


def _process() -> Runtime:
    from sim2edge_airflow.runtimes.process_runtime import ProcessRuntime

    return ProcessRuntime()


def _docker() -> Runtime:
    from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime

    return DockerRuntime()


def _kubernetes() -> Runtime:
    from sim2edge_airflow.runtimes.kubernetes_runtime import KubernetesRuntime

    return KubernetesRuntime()
