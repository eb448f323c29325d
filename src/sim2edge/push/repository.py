"""Maintain the TUF repository under `ota/`: sign changes and make each visible to devices in one step.

    repository = Repository(bus, KeyFolder(keys_folder()), PushConfig())
    repository.create()                                     # once: root, empty metadata
    repository.publish("canary", BundleTarget(...))         # assigns the release to the ring

Targets: `releases/<release id>.tar.zst` (of older pushes `.tar`) and `rings/<ring>.json`. A change writes target
files, then `<n>.targets.json` and `<n>.snapshot.json` under unused numbers (If-None-Match), and last `timestamp.json`
by compare-and-swap: killed at any point, or racing another pusher, it leaves devices with the old or the new state.
Nothing is signed on top of metadata whose signatures were not verified first, starting from the root in the key
folder.
"""

import copy
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from sim2edge.agent_package import FIELD
from sim2edge.bus import Bus
from sim2edge.compression import SUFFIX
from sim2edge.enrol.assignments import FOLDER as DEVICES
from sim2edge.enrol.assignments import files
from sim2edge.errors import BadInput, Conflict
from sim2edge.private_files import write_private
from sim2edge.push.agents import FOLDER as AGENTS
from sim2edge.push.agents import AgentTarget, agent_paths
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import ROLES, ROOT_KEYS, ROOT_THRESHOLD, KeyFolder
from sim2edge.push.metadata import METADATA, SIGNED_AT, Current, S, check, find_key, verify
from sim2edge.push.renewal import check_root, due_roles

TARGETS = "ota/targets"
TRIES = 8

T = TypeVar("T")


@dataclass(frozen=True)
class BundleTarget:
    """A bundle to publish."""

    release: str
    """Release id, letters, digits, '.', '_' and '-' only."""
    file: Path
    about: str
    """`release.json`, as text: devices read its requirements before they download the bundle."""
    unpacked: int | None = None
    """Bytes it unpacks to, if it is compressed: devices check their disk before they download it."""

    @property
    def path(self) -> str:
        """Target path of the bundle."""
        return f"releases/{self.release}.tar{'' if self.unpacked is None else SUFFIX}"

    @property
    def custom(self) -> dict[str, str | int]:
        """What the signed target says about the bundle."""
        return {"release": self.about} | ({} if self.unpacked is None else {"unpacked": self.unpacked})


class Repository:
    """Reads, changes and signs the repository."""

    def __init__(
        self, bus: Bus, keys: KeyFolder, config: PushConfig, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._bus = bus
        self._keys = keys
        self.lifetimes = {role: timedelta(days=getattr(config, f"{role}_days")) for role in ROLES}
        self._root_margin = timedelta(days=config.root_margin_days)
        self.now = now

    @property
    def bus(self) -> Bus:
        """The bucket that it lies in."""
        return self._bus

    # Reading

    def current(self) -> Current:
        """Return the state that devices see, every signature verified.

        Raises:
            BadInput: the repository is missing, damaged or signed with other keys.
        """
        root = self.trusted_root()
        found = self._bus.get_tagged(f"{METADATA}/timestamp.json")
        if found is None:
            raise BadInput("ota/: there is no update repository on the bus: run `sim2edge ota init`")
        timestamp = check(Timestamp, found[0], root.signed)
        snapshot = self._follow(Snapshot, timestamp.signed.snapshot_meta, root.signed)
        targets = self._follow(Targets, snapshot.signed.meta["targets.json"], root.signed)
        return Current(root, timestamp, snapshot, targets, found[1])

    def due(self, current: Current) -> tuple[str, ...]:
        """Return the roles that are past half of their lifetime."""
        return due_roles(current.expiries, self.lifetimes, self.now())

    def trusted_root(self) -> Metadata[Root]:
        """Return the newest root, reached from the one in the key folder, each version signed by the one before.

        Raises:
            BadInput: the key folder holds no root, or a root on the bus lacks valid signatures.
        """
        root = check(Root, self._keys.read_root())
        while (data := self._bus.get_tagged(f"{METADATA}/{root.signed.version + 1}.root.json")) is not None:
            newer = check(Root, data[0])
            for signed_by in (root.signed, newer.signed):
                verify(newer, signed_by)
            root = newer
        return root

    def _follow(self, kind: type[S], meta: MetaFile, root: Root) -> Metadata[S]:
        name = f"{meta.version}.{kind.type}.json"
        data = self._bus.get(f"{METADATA}/{name}")
        try:
            meta.verify_length_and_hashes(data)
        except RepositoryError as error:
            raise BadInput(f"{METADATA}/{name}: {error}") from error
        return check(kind, data, root)

    def rings(self, targets: Targets) -> dict[str, dict[str, Any]]:
        """Return the content of `rings/<ring>.json` by ring."""
        found = {}
        for path, target in targets.targets.items():
            if path.startswith("rings/"):
                data = self._bus.get(f"{TARGETS}/{target.get_prefixed_paths()[0]}")
                try:
                    target.verify_length_and_hashes(data)
                except RepositoryError as error:
                    raise BadInput(f"{TARGETS}/{path}: {error}") from error
                found[path.removeprefix("rings/").removesuffix(".json")] = json.loads(data)
        return found

    # Changing

    def create(self) -> bool:
        """Create the keys, the root and empty metadata; existing parts stay.

        Returns:
            Whether metadata had to be created.

        Raises:
            BadInput: the bus holds a repository signed with other keys, or one whose root is missing here.
        """
        if not self._keys.root_file.is_file():
            if self._bus.size(f"{METADATA}/1.root.json") is not None:  # new keys would not be those that devices trust
                self._keys.read_root()
            write_private(self._keys.root_file, self._new_root(), durable=True)
        first = self._keys.root_file.read_bytes()
        if check(Root, first).signed.version == 1:
            self._put_first_root(first)
        if self._bus.size(f"{METADATA}/timestamp.json") is not None:
            self.current()
            return False
        empty = Current(
            self.trusted_root(),
            Metadata(Timestamp()),
            Metadata(Snapshot()),
            Metadata(Targets()),
            tag=None,
        )
        self._commit(empty, targets=empty.targets.signed)
        return True

    def _new_root(self) -> bytes:
        root = Root(version=1, expires=self._expiry("root"), consistent_snapshot=True)
        for role in ROLES:
            for signer in self._keys.complete(role, ROOT_KEYS if role == "root" else 1):
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = ROOT_THRESHOLD
        return self._sign(root, root)

    def _put_first_root(self, data: bytes) -> None:
        try:
            self._bus.put(f"{METADATA}/1.root.json", data, only_new=True)
        except Conflict as error:
            if self._bus.get(f"{METADATA}/1.root.json") != data:
                raise BadInput(
                    f"ota/: the bus already holds a repository with other keys than those in {self._keys.folder}"
                ) from error

    def check_root(self) -> str | None:
        """Return a warning if the root expires soon.

        Raises:
            BadInput: it has expired, or is about to: nothing is to be pushed under it.
        """
        return check_root(self.trusted_root().signed.expires, self.now(), self._root_margin)

    def publish(self, ring: str, bundle: BundleTarget, window_s: int = 0) -> bool:
        """Point a ring at a release, newer or older than its current one.

        Args:
            ring: the ring.
            bundle: the release.
            window_s: seconds over which the ring's devices take it.

        Returns:
            False if the ring already has it and no metadata is due for signing: nothing was written.

        Raises:
            BadInput: the repository or a key is missing, or the root expires soon.
            Conflict: other pushers won every race.
        """
        return _try_again(lambda: self._publish(ring, bundle, window_s))

    def _publish(self, ring: str, bundle: BundleTarget, window_s: int) -> bool:
        current = self.current()
        check_root(current.root.signed.expires, self.now(), self._root_margin)
        before = current.targets.signed
        targets = copy.deepcopy(before)
        rings = self.rings(before)
        rings[ring] = point(rings.get(ring, {}), bundle, window_s, self.now())
        content = json.dumps(rings[ring], sort_keys=True).encode()
        archive = TargetFile.from_file(bundle.path, str(bundle.file), ["sha256"])
        archive.unrecognized_fields["custom"] = bundle.custom
        taken = [name for name, each in rings.items() if name != ring and each["bundle"] == archive.path]
        if taken and before.targets[archive.path] != archive:
            raise BadInput(f"release {bundle.release}: ring {taken[0]} has other bytes under this id")
        pointer = TargetFile.from_data(f"rings/{ring}.json", content, ["sha256"])
        targets.targets |= {archive.path: archive, pointer.path: pointer}
        wanted = {f"rings/{name}.json" for name in rings} | {each["bundle"] for each in rings.values()}
        wanted |= {path for path in targets.targets if path.startswith(DEVICES)} | agent_paths(rings)
        targets.targets = {path: target for path, target in targets.targets.items() if path in wanted}
        if targets.targets == before.targets:
            return bool(self._renew_what_is_due(current))
        for target, data in ((archive, bundle.file), (pointer, content)):
            self._bus.put(f"{TARGETS}/{target.get_prefixed_paths()[0]}", data)
        self._commit(current, targets)
        return True

    def unban(self, ring: str) -> str:
        """Have devices of a ring that banned its release try it again; return its id.

        Raises:
            BadInput: the ring has no release, or the repository or a key is missing.
            Conflict: other pushers won every race.
        """
        return _try_again(lambda: self._unban(ring))

    def _unban(self, ring: str) -> str:
        current = self.current()
        targets = copy.deepcopy(current.targets.signed)
        pointed = self.rings(targets).get(ring)
        if pointed is None:
            raise BadInput(f"ring '{ring}' has no release")
        pointed["attempt"] = max(int(self.now().timestamp()), int(pointed.get("attempt", 0)) + 1)
        content = json.dumps(pointed, sort_keys=True).encode()
        pointer = TargetFile.from_data(f"rings/{ring}.json", content, ["sha256"])
        self._bus.put(f"{TARGETS}/{pointer.get_prefixed_paths()[0]}", content)
        targets.targets[pointer.path] = pointer
        self._commit(current, targets)
        return str(pointed["release"])

    def publish_agent(self, ring: str, agent: AgentTarget) -> bool:
        """Point a ring at an agent for the devices of its architecture, newer or older than its current one.

        Returns:
            False if the ring already has it: nothing was written.

        Raises:
            BadInput: the ring has no release, the version is taken, a key is missing, or the root expires soon.
            Conflict: other pushers won every race.
        """
        return _try_again(lambda: self._publish_agent(ring, agent))

    def _publish_agent(self, ring: str, agent: AgentTarget) -> bool:
        current = self.current()
        check_root(current.root.signed.expires, self.now(), self._root_margin)
        targets = copy.deepcopy(current.targets.signed)
        rings = self.rings(targets)
        if ring not in rings:
            raise BadInput(f"ring '{ring}' has no release: push one first, then the agent")
        package = TargetFile.from_file(agent.path, str(agent.file), ["sha256"])
        package.unrecognized_fields["custom"] = agent.custom
        if targets.targets.get(agent.path, package) != package:
            raise BadInput(f"agent {agent.version}: another one has this version: pack it under a new --version")
        rings[ring][f"{FIELD}{agent.arch}"] = agent.path
        content = json.dumps(rings[ring], sort_keys=True).encode()
        pointer = TargetFile.from_data(f"rings/{ring}.json", content, ["sha256"])
        targets.targets |= {package.path: package, pointer.path: pointer}
        named = agent_paths(rings)
        kept = {path: each for path, each in targets.targets.items() if path in named or not path.startswith(AGENTS)}
        if kept == current.targets.signed.targets:
            return False
        targets.targets = kept
        for target, data in ((package, agent.file), (pointer, content)):
            self._bus.put(f"{TARGETS}/{target.get_prefixed_paths()[0]}", data)
        self._commit(current, targets)
        return True

    def _renew_what_is_due(self, current: Current) -> tuple[str, ...]:
        due = tuple(role for role in self.due(current) if role != "root")
        if due:
            targets = copy.deepcopy(current.targets.signed) if "targets" in due else None
            self._commit(current, targets, snapshot="snapshot" in due)
        return due

    def refresh(self) -> tuple[str, ...]:
        """Renew every role but the root that is past half of its lifetime, and return which.

        Raises:
            BadInput: the repository or a key is missing, or the root has expired; all that could be renewed is.
            Conflict: other pushers won every race.
        """
        return _try_again(self._refresh)

    def _refresh(self) -> tuple[str, ...]:
        current = self.current()
        if "targets" in self.due(current) and not self._keys.has("targets", current.root.signed):
            self._commit(current, None, snapshot=True)  # devices go on until the targets expire
            self._keys.signers("targets", current.root.signed)
        renewed = self._renew_what_is_due(current)
        check_root(current.root.signed.expires, self.now(), timedelta())
        return renewed

    def renew_root(self) -> int | None:
        """Sign the root again if it is due and its keys are here, and return its version; None: it is not.

        Raises:
            Conflict: another rotation ran meanwhile.
        """
        current = self.current()
        if "root" not in self.due(current) or not self._keys.has("root", current.root.signed):
            return None
        return self.rotate_root()

    def assign(self, assignments: Mapping[str, str]) -> bool:
        """Sign which ring each device belongs to, in place of what was signed before.

        Args:
            assignments: device to ring.

        Returns:
            False if that is signed already: nothing was written.

        Raises:
            BadInput: the repository or a key is missing.
            Conflict: other pushers won every race.
        """
        return _try_again(lambda: self._assign(files(assignments)))

    def _assign(self, contents: Mapping[str, bytes]) -> bool:
        current = self.current()
        before = current.targets.signed.targets
        new = {path: TargetFile.from_data(path, data, ["sha256"]) for path, data in contents.items()}
        after = {path: target for path, target in before.items() if not path.startswith(DEVICES)} | new
        if after == before:
            return False
        for path, data in contents.items():
            self._bus.put(f"{TARGETS}/{new[path].get_prefixed_paths()[0]}", data)
        targets = copy.deepcopy(current.targets.signed)
        targets.targets = after
        self._commit(current, targets)
        return True

    def rotate_root(self, replace: Sequence[str] = ()) -> int:
        """Sign a new root, with each key named in `replace` (`<role>-<8 digits of its id>`) replaced by a new one.

        Metadata of online roles is first signed with the old and the new key, so that devices accept it throughout.

        Returns:
            The version of the new root.

        Raises:
            BadInput: a named key is not in the root, or fewer root keys are present than must sign.
            Conflict: another rotation ran meanwhile.
        """
        current = self.current()
        old = current.root.signed
        self._keys.signers("root", old)
        replaced = [find_key(old, name) for name in replace]
        root = copy.deepcopy(old)
        root.version += 1
        root.expires = self._expiry("root")
        for role, key_id in replaced:
            root.add_key(self._keys.create(role).public_key, role)
            root.revoke_key(key_id, role)
        if any(role != "root" for role, _ in replaced):
            targets = copy.deepcopy(current.targets.signed) if any(role == "targets" for role, _ in replaced) else None
            self._commit(current, targets, snapshot=True, also=root)
        data = self._sign(root, old, root)
        self._bus.put(f"{METADATA}/{root.version}.root.json", data, only_new=True)
        write_private(self._keys.root_file, data, durable=True)
        for role, key_id in replaced:
            self._keys.discard(role, key_id)
        return root.version

    def _commit(
        self, current: Current, targets: Targets | None, snapshot: bool = False, also: Root | None = None
    ) -> None:
        """Sign and write new metadata, the timestamp last.

        Args:
            current: the state this change starts from.
            targets: the new targets; None to leave them unchanged.
            snapshot: sign a new snapshot even if the targets are unchanged.
            also: a root yet to be published, whose keys sign as well.
        """
        roots = [current.root.signed, *([also] if also else [])]
        new_snapshot = copy.deepcopy(current.snapshot.signed)
        new_timestamp = copy.deepcopy(current.timestamp.signed)
        if targets is not None:
            new_snapshot.meta["targets.json"] = self._write(targets, roots)
        if targets is not None or snapshot:
            new_timestamp.snapshot_meta = self._write(new_snapshot, roots)
        new_timestamp.version += current.tag is not None
        new_timestamp.expires = self._expiry("timestamp")
        data = self._sign(new_timestamp, *roots)
        self._bus.put(f"{METADATA}/timestamp.json", data, only_new=current.tag is None, if_tag=current.tag)

    def _write(self, signed: S, roots: Sequence[Root]) -> MetaFile:
        """Write versioned metadata under the next unused number, counting files left by a killed pusher."""
        pattern = re.compile(rf"(\d+)\.{signed.type}\.json")
        names = (key.rpartition("/")[2] for key in self._bus.list(METADATA))
        used = [int(match[1]) for match in map(pattern.fullmatch, names) if match]
        signed.version = max(used, default=0) + 1
        signed.expires = self._expiry(signed.type)
        data = self._sign(signed, *roots)
        self._bus.put(f"{METADATA}/{signed.version}.{signed.type}.json", data, only_new=True)
        return MetaFile.from_data(signed.version, data, ["sha256"])

    def _sign(self, signed: S, *roots: Root) -> bytes:
        signed.unrecognized_fields[SIGNED_AT] = self.now().replace(microsecond=0).isoformat()
        metadata = Metadata(signed)
        signers = [signer for root in roots for signer in self._keys.signers(signed.type, root)]
        for signer in {signer.public_key.keyid: signer for signer in signers}.values():
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def _expiry(self, role: str) -> datetime:
        return (self.now() + self.lifetimes[role]).replace(microsecond=0)


def point(before: Mapping[str, Any], bundle: BundleTarget, window_s: int, now: datetime) -> dict[str, Any]:
    """Return the content of a ring's file that names a release; what it says already stays, the start included.

    Args:
        before: the content now; empty for a new ring.
        bundle: the release.
        window_s: seconds over which the devices take it; 0: at once.
        now: when the rollout starts, if it is a new one.
    """
    wanted = {"release": bundle.release, "bundle": bundle.path} | ({"window_s": window_s} if window_s else {})
    about_rollout = ("release", "bundle", "window_s")
    if all(before.get(name) == wanted.get(name) for name in about_rollout):
        return dict(before)
    dropped = {*about_rollout, "start"}
    if before.get("bundle") != bundle.path:
        dropped.add("attempt")  # another attempt was asked for at the release before
    others = {name: value for name, value in before.items() if name not in dropped}
    return others | wanted | ({"start": int(now.timestamp())} if window_s else {})


def _try_again(action: Callable[[], T]) -> T:
    """Retry an action that lost a race, from the state the winner left."""
    for _ in range(TRIES - 1):
        try:
            return action()
        except Conflict:
            time.sleep(random.uniform(0.05, 0.3))
    return action()
