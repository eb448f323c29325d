"""Ask Airflow whether a user may do something: the same permissions that its own API asks for.

missing(user, [start_runs("sim_capture")])      None, or why not, in one line
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, VariableDetails
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Request
from starlette.exceptions import HTTPException


@dataclass(frozen=True)
class Permission:
    """A permission of Airflow's."""

    words: str
    """What it lets somebody do."""
    method: Literal["POST", "PUT", "DELETE"]
    dag: str = ""
    """The DAG that it is on."""
    entity: DagAccessEntity | None = None
    """The part of the DAG; None: the DAG itself."""
    variable: str = ""
    """The variable that it is on, in the place of a DAG."""


def start_runs(dag_id: str) -> Permission:
    """Return the permission to start runs of a DAG."""
    return Permission(f"start runs of {dag_id}", "POST", dag_id, DagAccessEntity.RUN)


def clear_runs(dag_id: str) -> Permission:
    """Return the permission to clear runs of a DAG."""
    return Permission(f"change runs of {dag_id}", "PUT", dag_id, DagAccessEntity.RUN)


def pause(dag_id: str) -> Permission:
    """Return the permission to pause a DAG."""
    return Permission(f"pause {dag_id}", "PUT", dag_id)


def change_variable(key: str, method: Literal["POST", "PUT", "DELETE"]) -> Permission:
    """Return the permission to create, change or delete one of Airflow's variables."""
    return Permission(f"change Airflow's variable {key}", method, variable=key)


def missing(user: BaseUser, needed: Sequence[Permission]) -> str | None:
    """Return in one line which of some permissions a user lacks first; None if none."""
    lacking = next((each for each in needed if not may(user, each)), None)
    return f"You may not {lacking.words}: Airflow gives this permission to other roles" if lacking else None


def may(user: BaseUser, permission: Permission) -> bool:
    """Return whether a user has a permission."""
    if permission.variable:
        details = VariableDetails(key=permission.variable)
        return get_auth_manager().is_authorized_variable(method=permission.method, details=details, user=user)
    check = requires_access_dag(permission.method, permission.entity, param_dag_id=permission.dag)
    try:
        check(Request({"type": "http"}), user)
    except HTTPException:
        return False
    return True
