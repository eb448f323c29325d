"""Map the errors of sim2edge to those by which Airflow decides about a retry; keep its line for the pages."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sim2edge.errors import BadInput, Unavailable
from sim2edge_airflow.alerts.report import one_line

T = TypeVar("T")

FAILED = "failed"
"""XCom key of the line of a try that failed; Airflow deletes it when the task is tried again."""


def plainly(work: Callable[[], T]) -> T:
    """Return the result of `work`; map BadInput to failure and Unavailable to a retry.

    Raises:
        AirflowFailException: bad input; not retried.
        AirflowException: the bus cannot be reached; retried.
    """
    try:
        return work()
    except BadInput as error:
        raise AirflowFailException(str(error)) from None
    except Unavailable as error:
        raise AirflowException(str(error)) from None


@contextlib.contextmanager
def recorded(context: Context) -> Iterator[None]:
    """Keep the line of an error in XCom `failed`, redacted and truncated as in an alert, and let the error pass."""
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as error:
        with contextlib.suppress(Exception):  # the task fails for its own reason, not for that of its record
            context["ti"].xcom_push(key=FAILED, value={"reason": one_line(error)})
        raise
