"""What can go wrong, and the exit code each mistake ends a command with."""

EXIT_BAD_INPUT = 2
EXIT_RETRY = 75
"""EX_TEMPFAIL of sysexits.h, apart from 1, by which a comparison says that something differs."""


class BadInput(Exception):
    """Bad config or bad data, exit code 2: never retried; the message names the file, field or row in one line."""


class NotFound(BadInput):
    """What was named is not there: an artifact, a ref, an object, a stage, a preset."""


class Forbidden(BadInput):
    """The object store refused the credentials."""


class Misconfigured(BadInput):
    """The deployment's own settings (environment, files of settings) are wrong: nothing that was asked for can work."""


class Corrupt(BadInput):
    """An object on the bus is not what it should be, such as bytes that do not match their manifest."""


class Missing(NotFound, Corrupt):
    """An object that should be on the bus is not."""


class Conflict(Exception):
    """A compare-and-swap lost against another writer; trying again from the new value may succeed (exit code 75)."""


class Unavailable(Exception):
    """The object store could not be reached; trying again later may succeed (exit code 75)."""
