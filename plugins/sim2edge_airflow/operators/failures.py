"""Map the errors of sim2edge to those by which Airflow decides about a retry."""

from collections.abc import Callable
from typing import TypeVar

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sim2edge.errors import BadInput, Unavailable

T = TypeVar("T")


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
