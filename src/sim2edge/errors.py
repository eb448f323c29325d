"""Define the errors of commands, each with its exit code."""

EXIT_BAD_INPUT = 2
EXIT_RETRY = 75
"""EX_TEMPFAIL of sysexits.h; 1 is taken: a comparison found a difference."""


class BadInput(Exception):
    """Bad config or bad data, exit code 2: never retried; the message names the file, field or row in one line."""


class NotFound(BadInput):
    """The named artifact, ref, object, stage or preset does not exist."""


class Forbidden(BadInput):
    """The object store refused the credentials."""


class Misconfigured(BadInput):
    """The deployment's own settings (environment, settings files) are invalid: no request can succeed."""


class Corrupt(BadInput):
    """An object on the bus is invalid, such as bytes that do not match their manifest."""


class Missing(NotFound, Corrupt):
    """An object that should be on the bus does not exist."""


class Erased(BadInput):
    """The payload was erased on purpose, because its batch was withdrawn; the manifest is kept."""


class Terminated(SystemExit):
    """SIGTERM came: the process ends, whatever it is in the middle of."""


class Conflict(Exception):
    """A compare-and-swap lost against another writer; a retry from the new value may succeed (exit code 75)."""


class Unavailable(Exception):
    """A service, such as the object store, cannot be reached; a later retry may succeed (exit code 75)."""

    def __init__(self, line: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(line)
        self.retry_after_s = retry_after_s
        """Seconds for which the service asked not to be called again; 0: it named none."""
