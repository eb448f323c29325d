"""The push stage: describe the rollout of a release to a ring; once committed, publish it.

    sim2edge push --input release=release/demo-1/3f2a9c0d11e4b7a6 ring=canary

The artifact is `rollout.json`. `publish` is its post-commit hook, which runs again at every cache hit: to roll a ring
back, push an older release again.
"""

import hashlib
import json
import re
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from sim2edge.bus import Bus
from sim2edge.compression import SUFFIX, compress
from sim2edge.config import build
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder, keys_folder
from sim2edge.push.repository import BundleTarget, Repository
from sim2edge.registry import crown
from sim2edge.stage import Job, Outcome, Progress
from sim2edge.withdrawal import Withdrawn

BUNDLE = "bundle.tar"
RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_RELEASE_JSON = 64 * 1024


def run(job: Job[PushConfig]) -> Outcome:
    """Write `rollout.json`, after checking that it could be published.

    Raises:
        BadInput: the bundle is invalid, or there are no keys to publish with.
    """
    if not job.dry_run:
        KeyFolder(keys_folder()).read_root()
    bundle = pack(job.input("release").path(BUNDLE), job.scratch)
    rollout = {
        "ring": job.config.ring,
        "release": bundle.release,
        "bundle": {
            "path": bundle.path,
            "bytes": bundle.file.stat().st_size,
            "sha256": hashlib.sha256(bundle.file.read_bytes()).hexdigest(),
        },
    }
    (job.output / "rollout.json").write_text(json.dumps(rollout, indent=1) + "\n", encoding="utf-8")
    job.progress.update(1, 1)
    return Outcome(rollout)


def publish(bus: Bus, manifest: Manifest, progress: Progress) -> None:
    """Publish the rollout, and move the ring's ref and the champion's, unless all are done already.

    Raises:
        BadInput: the repository or a key is missing, the root expires soon, or a batch that the release derives from
            was withdrawn.
    """
    config = build(PushConfig, manifest.config, "push")
    (reference,) = manifest.inputs["release"]
    repository = Repository(bus, KeyFolder(keys_folder()), config)
    if warning := repository.check_root():
        progress.log(warning)
    with tempfile.TemporaryDirectory(prefix="push-") as folder:
        release = bus.open(reference)
        fetched = bus.fetch(release, Path(folder), (BUNDLE,))
        bundle = pack(fetched.path(BUNDLE), Path(folder))
        Withdrawn(bus).check_artifact(reference)
        published = repository.publish(config.ring, bundle, config.window_s)
    bus.move_ref(f"refs/rings/{config.ring}", manifest.reference)
    Withdrawn(bus).check_artifact(reference)  # withdrawn meanwhile: published, but the run fails and says so
    crown(bus, release, progress)
    progress.log("published" if published else "already published", ring=config.ring, release=bundle.release)


def pack(file: Path, folder: Path) -> BundleTarget:
    """Compress a bundle into a folder, for publishing; the same bundle always gives the same bytes.

    Raises:
        BadInput: see `read_bundle`.
    """
    bundle = read_bundle(file)
    packed = folder / (BUNDLE + SUFFIX)
    compress(file, packed)
    return replace(bundle, file=packed, unpacked=file.stat().st_size)


def read_bundle(file: Path) -> BundleTarget:
    """Extract the TUF target metadata (`release.json`) from a bundle.

    Raises:
        BadInput: the file is not a tar, or its `release.json` is missing or names no release.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            member = tar.extractfile("release.json")
            about = member.read(MAX_RELEASE_JSON + 1).decode() if member else ""
        content: Any = json.loads(about)
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise BadInput(f"{BUNDLE}: no readable release.json in it: {error}") from error
    release = content.get("release") if isinstance(content, dict) else None
    if not isinstance(release, str) or not RELEASE_ID.fullmatch(release) or len(about) > MAX_RELEASE_JSON:
        raise BadInput(f"{BUNDLE}: release.json: 'release' is not a plain id, or the file is too large")
    return BundleTarget(release, file, about)
