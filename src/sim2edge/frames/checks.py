"""Define the valid values of a cleaned frame, checked over whole tables with pandera.

A check's name is the reason in `quarantine.csv` for a row that fails it.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.compute

from sim2edge.frames.tables import has_scan, lidar_matrix
from sim2edge.recipes.perception import CLASSES, FLOORS

MAX_SPEED = 100.0
"""Commands above this, in m/s and rad/s, are implausible for a robot."""


TURN = 3.1417
"""Half a turn, rounded up to four decimals."""


def _frame_checks(min_contrast: float) -> pa.DataFrameSchema:
    def number(reason: str, low: float, high: float) -> pa.Column:
        return pa.Column(nullable=True, checks=pa.Check(lambda s: s.between(low, high), name=reason, ignore_na=False))

    far = 1e6
    return pa.DataFrameSchema(
        {
            "time_s": number("time_out_of_range", 0, 1e10),
            "linear_m_s": number("command_out_of_range", -MAX_SPEED, MAX_SPEED),
            "angular_rad_s": number("command_out_of_range", -MAX_SPEED, MAX_SPEED),
            "x_m": number("pose_out_of_range", -far, far),
            "y_m": number("pose_out_of_range", -far, far),
            "yaw_rad": number("pose_out_of_range", -7, 7),
            "image_contrast": number("image_blank", min_contrast, 256),
            "lidar_nan": pa.Column(checks=pa.Check(lambda s: s == 0, name="lidar_nan")),
            "lidar_negative": pa.Column(checks=pa.Check(lambda s: s == 0, name="lidar_negative")),
            "floor": pa.Column(str, pa.Check(lambda s: s.isin(FLOORS), name="unknown_floor")),
        }
    )


def _box_checks() -> pa.DataFrameSchema:
    def inside(s: pd.Series) -> pd.Series:
        return s.between(0, 1)

    corners = {
        name: pa.Column(nullable=True, checks=pa.Check(inside, name="box_outside", ignore_na=False))
        for name in ("x_min", "y_min", "x_max", "y_max")
    }
    positive = pa.Check(lambda s: s.between(0, 1e4), name="distance_out_of_range", ignore_na=False)
    turn = pa.Check(lambda s: s.between(-TURN, TURN), name="bearing_out_of_range", ignore_na=False)
    wide = pa.Check(lambda df: ~(df["x_max"] <= df["x_min"]), name="box_degenerate", ignore_na=False)
    high = pa.Check(lambda df: ~(df["y_max"] <= df["y_min"]), name="box_degenerate", ignore_na=False)
    return pa.DataFrameSchema(
        {
            "class": pa.Column(str, pa.Check(lambda s: s.isin(CLASSES), name="unknown_class")),
            **corners,
            "distance_m": pa.Column(nullable=True, checks=positive),
            "bearing_rad": pa.Column(nullable=True, checks=turn),
        },
        checks=[wide, high],
    )


def find_bad_rows(table: arrow.Table, min_contrast: float) -> Mapping[int, str]:
    """Check the values of a table with the columns of `measured_schema`.

    Returns:
        Row number of each bad row to `<reason>: <column> <value>`, the first reason found.
    """
    bad: dict[int, str] = {}
    _collect(_frame_checks(min_contrast), frame_facts(table), bad)
    boxes, rows = box_facts(table)
    if len(boxes):
        _collect(_box_checks(), boxes, bad, rows)
    return bad


def frame_facts(table: arrow.Table) -> pd.DataFrame:
    """Return the scalar columns, and the numbers of NaN and negative ranges in each scan; 0 for what is null."""
    lidar, scanned = lidar_matrix(table), has_scan(table)
    scalars = table.drop_columns(["image", "lidar", "boxes", "image_mean", "image_square"])
    facts = known(scalars).to_pandas()
    for name, wrong in (("lidar_nan", np.isnan(lidar)), ("lidar_negative", lidar < 0)):
        facts[name] = 0
        facts.loc[scanned, name] = wrong.sum(axis=1)
    return facts


def known(table: arrow.Table) -> arrow.Table:
    """Return a table with 0 for null numbers: pandas does not tell a value that is absent from NaN, which is wrong."""
    numbers = [name for name in table.column_names if arrow.types.is_floating(table[name].type)]
    filled = {name: table[name].fill_null(0) for name in numbers}
    return arrow.table({name: filled.get(name, table[name]) for name in table.column_names})


def box_facts(table: arrow.Table) -> tuple[pd.DataFrame, np.ndarray]:
    """Return all boxes, one a row, with 0 for null numbers, and the row of `table` that each box belongs to."""
    boxes = table["boxes"].combine_chunks()
    rows = arrow.compute.list_parent_indices(boxes).to_numpy()
    return known(arrow.Table.from_struct_array(boxes.flatten())).to_pandas(), rows


def _collect(
    schema: pa.DataFrameSchema, facts: pd.DataFrame, bad: dict[int, str], rows: np.ndarray | None = None
) -> None:
    try:
        schema.validate(facts, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.dropna(subset=["index"]).itertuples():
            row = int(case.index if rows is None else rows[int(case.index)])
            bad.setdefault(row, describe_failure(case.check, case.column, case.failure_case))


def describe_failure(check: str, column: str, value: object) -> str:
    """Return `<reason>: <column> <value>`, on one line."""
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{check}: {column} {shown}" if check != "box_degenerate" else "box_degenerate: no area"
