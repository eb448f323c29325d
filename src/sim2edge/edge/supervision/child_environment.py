"""Give the agent's child processes its environment without credentials: detectors need none.

subprocess.Popen(command, env=child_environment())
"""

import os

WITHHELD = ("AWS_", "SIM2EDGE_KEYS", "SIM2EDGE_BUCKET", "SIM2EDGE_SECRETS_FILE", "CREDENTIALS_DIRECTORY")
"""Beginnings of names. A child of the same user could still read the files that they name: a release is signed code."""


def child_environment() -> dict[str, str]:
    """Return the environment variables of this process, but for those that are withheld."""
    return {name: text for name, text in os.environ.items() if not name.startswith(WITHHELD)}
