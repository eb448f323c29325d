"""Reads the numbers of `[sim2edge]` in airflow.cfg: a wrong one is an import error of the DAG, in one line."""

from airflow.sdk.configuration import conf

from sim2edge.errors import BadInput


def read_number(name: str, least: float, most: float, *, or_zero: bool = False) -> float:
    """Return the number that a setting says.

    Args:
        name: of the setting.
        least: it may be.
        most: it may be.
        or_zero: whether 0, below `least`, is allowed too: it mostly switches something off.

    Raises:
        BadInput: it is no such number; names the setting, and what it may be.
    """
    said = conf.get("sim2edge", name)
    try:
        number = float(said)
    except ValueError:
        number = float("nan")
    if least <= number <= most or (or_zero and number == 0):
        return number
    raise BadInput(
        f"[sim2edge] {name}: '{said}': expected a number from {least} to {most}{', or 0' if or_zero else ''}"
    )
