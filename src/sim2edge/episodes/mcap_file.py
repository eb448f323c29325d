"""Write an MCAP file: the same messages produce the same bytes; a full disk is an error, not a line on stderr."""

import json
from pathlib import Path
from typing import Any

import foxglove
from foxglove.mcap import MCAPCompression, MCAPWriteOptions

# More compression threads would make the chunks depend on their timing.
OPTIONS = MCAPWriteOptions(compression=MCAPCompression.Zstd, compression_threads=0, chunk_size=1 << 20)


class McapFile:
    """An MCAP file being written; writers create channels in its `context`. Has to be closed."""

    def __init__(self, path: Path, metadata: dict[str, str], name: str = "episode") -> None:
        # Kept in an attribute, because channels close with their context.
        self.context = foxglove.Context()
        self._file = _File(path)
        self._writer = foxglove.open_mcap(self._file, context=self.context, writer_options=OPTIONS)
        self._writer.write_metadata(name, metadata)

    def check(self) -> None:
        """Check that all writes succeeded so far.

        Raises:
            OSError: a write failed, for example because the disk is full.
        """
        self._file.check()

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: not everything could be written.
        """
        try:
            self._writer.close()
        finally:
            self._file.close()


def json_channel(topic: str, schema: dict[str, Any], context: foxglove.Context) -> foxglove.Channel:
    """Return a channel of JSON messages; the schema's title is its name."""
    encoded = foxglove.Schema(name=schema["title"], encoding="jsonschema", data=json.dumps(schema).encode())
    return foxglove.Channel(topic, schema=encoded, message_encoding="json", context=context)


class _File:
    """Keeps the errors of writes for `check`, as the writer would only print them."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._failure: OSError | None = None

    def write(self, data: bytes | bytearray) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            return len(data)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._failure = error

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            self.check()
