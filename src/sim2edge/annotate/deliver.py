"""Deliver a folder of annotated pictures into the inbox, after making its frames as the stage will.

Only the annotation files and the pictures they name are uploaded; names that the inbox does not take get `_` for the
characters in the way.
"""

import tempfile
from pathlib import Path

from sim2edge.annotate.config import AnnotateConfig
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import MAX_FILES, check_path, check_size, deliver, describe
from sim2edge.manifest import check_partition
from sim2edge.stage import Job, Progress


def deliver_folder(bus: Bus, batch: str, folder: Path, config: AnnotateConfig, progress: Progress) -> None:
    """Check a folder and upload it into the inbox as a batch.

    Raises:
        BadInput: an annotation file is wrong, too much is bad, pictures are in another batch, or a name or a size is
            not allowed.
    """
    from sim2edge.annotate.find_files import safe_name
    from sim2edge.annotate.others import REFS
    from sim2edge.annotate.run import make
    from sim2edge.annotate.twins import fingerprints_of, refuse_known
    from sim2edge.annotate.understand import understand
    from sim2edge.other_batches import read_others

    check_partition(batch)
    found = understand(folder, config, progress)
    refuse_known(fingerprints_of(found, folder), read_others(bus, batch, REFS))
    names = {safe_name(path): path for path in found.files}
    if len(names) > MAX_FILES:
        raise BadInput(f"{folder}: {len(names)} files, a batch has at most {MAX_FILES}: deliver it in parts")
    for name, path in names.items():
        check_size(check_path(name), (folder / path).stat().st_size, config)
    with tempfile.TemporaryDirectory() as scratch:
        output, links = Path(scratch, "output"), Path(scratch, "links")
        output.mkdir()
        make(_dry_job(batch, config, output, progress), folder, found)
        for name, path in names.items():
            (links / name).parent.mkdir(parents=True, exist_ok=True)
            (links / name).symlink_to((folder / path).resolve())
        ready = deliver(bus, batch, links, [describe(links, name) for name in sorted(names)], "annotate")
    progress.log(f"delivered to inbox/{batch}", files=len(names), ready=ready[:12])


def _dry_job(batch: str, config: AnnotateConfig, output: Path, progress: Progress) -> Job[AnnotateConfig]:
    """Return a run of the stage whose result is thrown away."""
    return Job(
        config=config,
        partition=batch,
        reference="",
        inputs={},
        output=output,
        scratch=output,
        measurements=output,
        progress=progress,
        checkpoints=NoCheckpoints(),
        dry_run=True,
    )


class NoCheckpoints:
    """Keeps nothing."""

    def save(self, path: Path) -> None:
        """See `stage.Checkpoints`."""

    def restore(self, name: str, into: Path) -> Path | None:  # noqa: ARG002
        """See `stage.Checkpoints`."""
        return None
