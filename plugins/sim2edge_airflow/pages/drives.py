"""List the drives of a batch: the MCAP log of each, to download, or to open in a viewer if the deployment has one.

A viewer in the browser (Foxglove, Lichtblick) reads a log by its address, in ranges. The address needs the reader's
login, so `[sim2edge] mcap_viewer_url` has to be served from the same origin as Airflow; any other viewer opens the
downloaded file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk.configuration import conf

from sim2edge.manifest import File, Manifest
from sim2edge_airflow.deployment_settings import read_url
from sim2edge_airflow.pages.bus_view import BusView, read_or_note

MAX_DRIVES, MAX_SHARDS = 200, 64


@dataclass(frozen=True)
class Drive:
    """The log of one drive."""

    name: str
    bytes: int
    path: str
    """Of the page that serves it, below the root of the pages."""
    viewer: str | None
    """URL that opens it in the deployment's viewer; None without one."""


def list_drives(view: BusView, episodes: Manifest, root: str, notes: list[str]) -> Sequence[Drive]:
    """Return the drives of a batch, those of its shards included."""
    shards = [read_or_note(notes, view.manifest, reference) for reference in episodes.parts[:MAX_SHARDS]]
    made = [episodes, *(each for each in shards if each)]
    logs = [(manifest, file) for manifest in made for file in manifest.files if file.path.endswith(".mcap")]
    base = read_url("mcap_viewer_url")
    return [make_drive(manifest, file, root, base) for manifest, file in logs[: MAX_DRIVES + 1]]


def make_drive(manifest: Manifest, file: File, root: str, base: str) -> Drive:
    """Return a drive; `base` is the viewer's URL, or empty."""
    path = f"/artifacts/{manifest.reference}/{quote(file.path)}"
    folder, _, name = file.path.rpartition("/")
    return Drive(folder or name, file.bytes, path, name_viewer(base, f"{root}{path}") if base else None)


def name_viewer(base: str, path: str) -> str:
    """Return the URL that opens a log in a viewer: Foxglove's and Lichtblick's parameters for a remote file."""
    origin = urlsplit(conf.get("api", "base_url", fallback=""))._replace(path="", query="", fragment="").geturl()
    return f"{base}?{urlencode({'ds': 'remote-file', 'ds.url': origin + path})}"
