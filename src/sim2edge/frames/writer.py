"""Write frames as Parquet in row groups of equal size: `frames.parquet`, and the splits of a dataset."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq


class FramesWriter:
    """Writes frames in row groups of equal size, regardless of the sizes of the given tables."""

    def __init__(self, path: Path, schema: pa.Schema, rows: int) -> None:
        self._schema = schema
        self._rows = rows
        self._pending: pa.Table = self._schema.empty_table()
        few_values = ["episode_id", "floor", "boxes.list.element.class"]
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=few_values)

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows of a table that has at least the columns of the schema."""
        self._pending = pa.concat_tables([self._pending, table.select(self._schema.names).cast(self._schema)])
        full = len(self._pending) // self._rows * self._rows
        if full:
            self._writer.write_table(self._pending.slice(0, full), row_group_size=self._rows)
            self._pending = self._pending.slice(full)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and len(self._pending):
            self._writer.write_table(self._pending, row_group_size=self._rows)
        self._writer.close()
