"""Find the annotation files and pictures of a folder, and name them so that every file system and S3 server agrees."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from sim2edge.errors import BadInput
from sim2edge.inbox import PICTURE_SUFFIXES
from sim2edge.lines import quote

BESIDE = ("", "images/", "data/", "JPEGImages/", "img/")
"""Folders in which tools put pictures that `file_name` names without."""
FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")


def safe_name(path: str) -> str:
    """Return a path with `_` for every character that the inbox does not take; a valid one stays as it is."""
    parts = (FORBIDDEN.sub("_", part) for part in path.split("/"))
    return "/".join(f"_{part[1:]}" if part.startswith((".", "-")) else part for part in parts)


def list_folder(folder: Path) -> dict[str, str]:
    """Return the safe name of every file below a folder to its relative path.

    Raises:
        BadInput: it is no folder, has a symbolic link, or two names become the same.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: not a folder")
    found: dict[str, str] = {}
    for path in sorted(_walk(folder)):
        other = found.setdefault(safe_name(path), path)
        if other != path:
            raise BadInput(f"{quote(path)}: has the same name as {quote(other)} in the inbox: rename one")
    return found


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in (*folders, *names):
            path = Path(parent, name)
            shown = quote(str(path.relative_to(folder)))
            if path.is_symlink():
                raise BadInput(f"{shown}: a symbolic link: put the file itself there")
            if name in names and not path.is_file():
                raise BadInput(f"{shown}: not a plain file")
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


class Pictures:
    """The pictures of a folder, looked up by the names that annotation files give them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._paths = {name: path for name, path in files.items() if name.lower().endswith(PICTURE_SUFFIXES)}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in self._paths:
            self._by_name[name.rpartition("/")[2].lower()].append(name)

    def find(self, name: str, annotations: str) -> str | None:
        """Return the path of the picture that the file `annotations` calls `name`; None: there is none.

        Beside the annotation file, in the folder, or in a usual folder of either; else the only one with this end; else
        the only one with this end in upper or lower case. A name may be encoded as in a URL (`a%20b.jpg`).

        Raises:
            BadInput: several fit.
        """
        beside = safe_name(annotations).rpartition("/")[0]
        meant = dict.fromkeys((safe_name(name), safe_name(unquote(name))))
        for wanted in meant:
            for start in (f"{beside}/" if beside else "", ""):
                for place in BESIDE:
                    if (exact := f"{start}{place}{wanted}") in self._paths:
                        return self._paths[exact]
        return next(filter(None, (self._find_by_end(wanted, name, annotations) for wanted in meant)), None)

    def _find_by_end(self, wanted: str, name: str, annotations: str) -> str | None:
        base = wanted.rpartition("/")[2]
        same = self._by_name.get(base.lower(), [])
        for candidates in ([each for each in same if each.rpartition("/")[2] == base], same):
            ends = [each for each in candidates if f"/{each}".lower().endswith(f"/{wanted}".lower())]
            if candidates:
                return self._only(ends or candidates, name, annotations)
        return None

    def _only(self, ends: Sequence[str], name: str, annotations: str) -> str:
        if len(ends) > 1:
            both = " and ".join(quote(self._paths[each]) for each in ends[:2])
            raise BadInput(f"{annotations}: file_name {quote(name)}: may be {both}: name it with its folder")
        return self._paths[ends[0]]


def choose_annotations(files: Mapping[str, str], named: Sequence[str]) -> list[str]:
    """Return the paths of the JSON files to read: the named ones, or all.

    Raises:
        BadInput: a named one does not exist, or there is none.
    """
    paths = set(files.values())
    for name in named:
        if files.get(safe_name(name)) is None:
            raise BadInput(f"annotations: {quote(name)}: the folder has no such file")
    found = [files[safe_name(name)] for name in named] or sorted(p for p in paths if p.lower().endswith(".json"))
    if not found:
        what = f"but {quote(min(paths))}" if paths else "nor any other"
        raise BadInput(f"no annotation file: the folder has no .json file, {what}: export the labels as COCO")
    return found
