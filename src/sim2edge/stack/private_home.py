"""Close the folder of the stack to other users of the machine: a deployment of an earlier version left parts open."""

from pathlib import Path

from sim2edge.private_files import make_private_folder, restrict

OURS = (
    "airflow",
    "airflow-settings.env",
    "credentials.json",
    "demo.json",
    "devices",
    "keys",
    "logs",
    "mlflow",
    "s3",
    "stack.lock",
    "state.json",
)
"""What the stack, the demonstration and `sim2edge ota init` write into the folder; other content is left alone."""


def restrict_home(home: Path) -> list[str]:
    """Create the folder, or take the access of others away: to itself, and to all that the stack keeps in it.

    The files of roles keep their modes: one may be wider on purpose, for a container's user. Their folder is closed.

    Returns:
        a warning for what stays open, because it belongs to another user.
    """
    make_private_folder(home)
    for folder in (home, home / "credentials"):
        if folder.is_dir():
            folder.chmod(0o700)
    left = [path for name in OURS for path in restrict(home / name)]
    return [f"{path}: belongs to another user, and others may access it" for path in left]
