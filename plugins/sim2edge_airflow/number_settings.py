"""Read the numbers of `[sim2edge]` in airflow.cfg: an invalid one is an import error of the DAG, in one line."""

from airflow.sdk.configuration import conf

from sim2edge.errors import BadInput


def read_number(name: str, least: float, most: float, *, or_zero: bool = False) -> float:
    """Return a setting as a number.

    Args:
        name: name of the setting.
        least: its minimum.
        most: its maximum.
        or_zero: whether 0, below `least`, is allowed too; it usually switches a feature off.

    Raises:
        BadInput: it is not a number in that range; names the setting and the range.
    """
    text = conf.get("sim2edge", name)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if least <= number <= most or (or_zero and number == 0):
        return number
    raise BadInput(
        f"[sim2edge] {name}: '{text}': expected a number from {least} to {most}{', or 0' if or_zero else ''}"
    )
