"""Read the cleaned frames of several batches as one table; set aside batches that do not fit the others."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from sim2edge.errors import BadInput
from sim2edge.frames.columns import LIDAR, ORIGIN, frames_schema
from sim2edge.frames.episode import Scan
from sim2edge.frames.file_metadata import describe
from sim2edge.lines import join_lines
from sim2edge.stage import Artifact

MAX_ERROR = 200
"""Longest error of the Parquet library that is reported, characters."""

SHAPE = ("height", "width", "lidar")
"""Fields of `stats.json` that must be the same in all batches of a dataset."""

Triple = tuple[float, float, float]


class Lidar(BaseModel):
    """The fields read from `lidar` in `stats.json`: beam i points at `start_rad + i * step_rad`."""

    beams: int = Field(ge=1)
    start_rad: float
    step_rad: float


class Stats(BaseModel):
    """The fields read from `stats.json`."""

    frames: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    image_mean: Triple
    image_std: Triple
    lidar: Lidar | None
    """Null: no frame has a scan."""


@dataclass(frozen=True)
class Frames:
    """The frames of one batch."""

    reference: str
    stats: Stats
    file: pq.ParquetFile

    def fits(self, usual: "Frames") -> bool:
        """Return whether image size and LiDAR are those of another batch; frames without scans fit any LiDAR."""
        return not misfits(self, usual)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the row groups, one at a time.

        Raises:
            BadInput: the file is damaged, or a scan holds NaN.
        """
        first = 0
        for group in range(self.file.num_row_groups):
            try:
                table = self.file.read_row_group(group, self._present(columns))
            except (pa.ArrowException, OSError) as error:
                raise BadInput(
                    f"{self.reference}/frames.parquet: row group {group}: {join_lines(error, MAX_ERROR)}"
                ) from error
            for name in ORIGIN:
                if name not in table.column_names and (columns is None or name in columns):
                    table = table.append_column(name, pa.nulls(len(table), ORIGIN[name]))
            if "lidar" in table.column_names:
                self._check_scans(table.column("lidar").combine_chunks(), first)
                at = table.column_names.index("lidar")
                table = table.set_column(at, pa.field("lidar", LIDAR), table.column("lidar").cast(LIDAR))
            yield table
            first += table.num_rows

    def _present(self, columns: Sequence[str] | None) -> Sequence[str] | None:
        """Return the columns without those that files of earlier versions lack."""
        names = set(self.file.schema_arrow.names)
        return columns and [name for name in columns if name not in ORIGIN or name in names]

    def _check_scans(self, scans: pa.Array, first: int) -> None:
        beams = self.stats.lidar.beams if self.stats.lidar else 0
        odd = pc.index(pc.not_equal(pc.list_value_length(scans), beams), True).as_py()
        if odd >= 0:
            found = len(scans[odd].values)
            raise BadInput(
                f"{self.reference}/frames.parquet: row {first + odd}: lidar: {found} beams, stats.json has {beams}"
            )
        bad = pc.index(pc.is_nan(pc.list_flatten(scans)), True).as_py()
        if bad >= 0:
            row = first + pc.list_parent_indices(scans)[bad].as_py()
            raise BadInput(f"{self.reference}/frames.parquet: row {row}: lidar: beam {bad % beams} is NaN")


def dataset_schema() -> pa.Schema:
    """Return the schema of the dataset's files."""
    return frames_schema().append(pa.field("augmentation", pa.string()))


def describe_dataset(stats: Stats, lidar: Lidar | None) -> pa.Schema:
    """Return the columns of the dataset's files, with the description that the files carry."""
    scan = Scan(lidar.beams, lidar.start_rad, lidar.step_rad) if lidar else None
    return describe(dataset_schema(), stats.height, stats.width, scan)


def open_frames(artifacts: Sequence[Artifact]) -> tuple[Sequence[Frames], Sequence[str]]:
    """Open every batch, in the order given; set aside those that do not fit most frames in image size or LiDAR.

    A single batch of another preset must not stop every training from then on.

    Returns:
        the batches that fit together, and a line for each of the others.

    Raises:
        BadInput: a file is damaged, or has a wrong column.
    """
    opened = [_open(artifact) for artifact in artifacts]
    usual = choose_shape(opened)
    kept = [batch for batch in opened if batch.fits(usual)]
    return kept, [describe_misfit(batch, usual) for batch in opened if not batch.fits(usual)]


def choose_shape(batches: Sequence[Frames]) -> Frames:
    """Return the batch whose shape most frames fit; of equally frequent ones, one with a LiDAR, the last by name."""

    def rank(batch: Frames) -> tuple[int, bool, str]:
        frames = sum(other.stats.frames for other in batches if other.fits(batch))
        return frames, batch.stats.lidar is not None, batch.reference

    return max(batches, key=rank)


def misfits(batch: Frames, usual: Frames) -> list[str]:
    """Return what differs from the batch `usual`, a phrase for each field of `SHAPE`."""
    pairs = {name: (getattr(batch.stats, name), getattr(usual.stats, name)) for name in SHAPE}
    return [
        f"{name} is {_show(found)}, not {_show(expected)}"
        for name, (found, expected) in pairs.items()
        if found is not None and found != expected
    ]


def describe_misfit(batch: Frames, usual: Frames) -> str:
    """Return in one line why a batch does not fit."""
    return f"{batch.reference}: {'; '.join(misfits(batch, usual))}: clean it with the settings of {usual.reference}"


def _open(artifact: Artifact) -> Frames:
    reference = artifact.manifest.reference
    stats = _read_stats(artifact)
    try:
        file = pq.ParquetFile(artifact.path("frames.parquet"))
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{reference}/frames.parquet: not Parquet: {join_lines(error, MAX_ERROR)}") from error
    found = file.schema_arrow
    for field in frames_schema():
        if field.name not in found.names and field.name in ORIGIN:
            continue
        if field.name not in found.names:
            raise BadInput(f"{reference}/frames.parquet: has no column '{field.name}'")
        if not _is_of(found.field(field.name).type, field.type):
            raise BadInput(
                f"{reference}/frames.parquet: column '{field.name}' is {found.field(field.name).type}, "
                f"expected {field.type}"
            )
    return Frames(reference, stats, file)


def _is_of(found: pa.DataType, expected: pa.DataType) -> bool:
    """Return whether a column's type is the expected one; clean wrote scans as lists of a fixed size once."""
    older = pa.types.is_fixed_size_list(found) and found.value_type == LIDAR.value_type
    return bool(found == expected or (expected == LIDAR and older))


def _read_stats(artifact: Artifact) -> Stats:
    try:
        return Stats.model_validate_json(artifact.path("stats.json").read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise BadInput(f"{artifact.manifest.reference}/stats.json: {where}: {first['msg']}") from error


def pool_moments(all_stats: Sequence[Stats]) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation (RGB, 0..1) over the images of all batches."""
    total = sum(stats.frames for stats in all_stats)
    mean = [sum(s.frames * s.image_mean[c] for s in all_stats) / total for c in range(3)]
    square = [sum(s.frames * (s.image_std[c] ** 2 + s.image_mean[c] ** 2) for s in all_stats) / total for c in range(3)]
    std = [max(0.0, square[c] - mean[c] ** 2) ** 0.5 for c in range(3)]
    return [round(v, 8) for v in mean], [round(v, 8) for v in std]


def _show(value: Any) -> str:
    return json.dumps(value.model_dump()) if isinstance(value, BaseModel) else str(value)
