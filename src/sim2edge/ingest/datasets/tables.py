"""Read the JSON and Parquet files of a dataset, and name the file in every error."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sim2edge.ingest.git_lfs import check_fetched
from sim2edge.ingest.mcap_reader import BadLog, words_of


def read_json(root: Path, path: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        BadLog: it is missing, or not an object.
    """
    try:
        found = json.loads((root / path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadLog(f"{path}: missing") from error
    except ValueError as error:
        raise BadLog(f"{path}: not JSON: {words_of(error)}") from error
    if not isinstance(found, dict):
        raise BadLog(f"{path}: not a JSON object")
    return found


def read_table(root: Path, path: str, columns: Sequence[str]) -> pa.Table:
    """Return columns of a Parquet file.

    Raises:
        BadLog: it is missing or damaged, or lacks a column.
    """
    check_fetched(root / path, path)
    try:
        with pq.ParquetFile(root / path) as file:
            names = file.schema_arrow.names
            missing = next((name for name in columns if name not in names), None)
            if missing is not None:
                raise BadLog(f"{path}: has no column '{missing}'")
            return file.read(list(columns))
    except FileNotFoundError as error:
        raise BadLog(f"{path}: missing") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadLog(f"{path}: not Parquet, damaged or truncated: {words_of(error)}") from error


def sha256_of(root: Path, path: str) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Raises:
        BadLog: it is missing.
    """
    try:
        with (root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise BadLog(f"{path}: missing") from error
