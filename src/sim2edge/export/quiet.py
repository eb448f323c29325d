"""Keep the output of converters, which print from C++ as well as from Python, out of a stage's log.

with quietly(job.scratch / "convert.log"):
    convert(...)                        # if it fails, the error carries the end of the log
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

LINES_KEPT = 20


@contextmanager
def quietly(log: Path) -> Iterator[None]:
    """Redirect standard output and error to `log`; attach its last lines to an exception."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with log.open("a", buffering=1) as file, _descriptors_to(file.fileno()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stdout(file), redirect_stderr(file):
                yield
    except Exception as error:
        error.add_note("\n".join(log.read_text(errors="replace").splitlines()[-LINES_KEPT:]))
        raise
    finally:
        logging.disable(level)


@contextmanager
def _descriptors_to(target: int) -> Iterator[None]:
    """Redirect the process's standard output and error to descriptor `target`, C++ code included."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    try:
        yield
    finally:
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
