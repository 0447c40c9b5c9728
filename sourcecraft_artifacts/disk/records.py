"""The manifest's records of an unpacked artifact's members, and whether they still match."""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from ..errors import Refused
from .directory import Directory


class Stored(NamedTuple):
    """A member that was unpacked: the facts of a file, or the target of a symlink."""

    size: int = 0
    sha256: str = ""
    mode: int = 0
    mtime_ns: int = 0
    target: str | None = None


Records = Mapping[str, Stored]
"""Members by their paths below the artifact's base; an empty folder's path ends with `/`."""
Places = tuple[tuple[str, Stored], ...]
"""Members with their places in the output folder; two places may be the same file."""
FOLDER = Stored()
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 256 << 10


def to_json(record: Stored) -> dict[str, Any]:
    """Convert a member to JSON: sizes in bytes, times in nanoseconds."""
    if record.target is not None:
        return {"link": record.target}
    if not record.sha256:
        return {}
    size, sha256, mode, mtime_ns, _ = record
    return {"size": size, "sha256": sha256, "mode": mode, "mtime_ns": mtime_ns}


def from_json(value: Any) -> Stored:
    """Read a member. Raises LookupError or TypeError for anything else."""
    if not isinstance(value, dict):
        raise TypeError("it is not a member")
    if not value:
        return FOLDER
    if "link" in value:
        if type(value["link"]) is not str:
            raise TypeError("it holds something else than text")
        return Stored(target=value["link"])
    found = Stored(value["size"], value["sha256"], value["mode"], value["mtime_ns"])
    if {type(found.size), type(found.mode), type(found.mtime_ns)} != {int}:
        raise TypeError("it holds something else than a number")
    if type(found.sha256) is not str or not _SHA256.fullmatch(found.sha256):
        raise TypeError("it holds something else than a SHA-256")
    return found


def joined(base: str, path: str) -> str:
    """Return the place of a member below its base; the base itself is the empty path's."""
    return f"{base}/{path}" if base and path else base or path


def all_joined(base: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield the places of members below their base."""
    above = f"{base}/" if base else ""
    return (above + path if path else base for path in paths)


def below(base: str, place: str) -> str:
    """Return a place's path below the base, of which `joined` makes the place again."""
    return place[len(base) :].lstrip("/")


def files_of(records: Records) -> Iterator[tuple[str, Stored]]:
    """Yield files and symlinks, without empty folders."""
    return ((path, record) for path, record in records.items() if not path.endswith("/"))


def above_all(paths: Iterable[str]) -> set[str]:
    """Return all folders above the paths, without the base."""
    found: set[str] = set()
    for folder in {path.rpartition("/")[0] for path in paths}:
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


class State(Enum):
    """What became of a file since it was recorded."""

    SAME = "same"
    OTHER_MODE = "other mode"
    """Only its permissions differ."""
    CHANGED = "changed"


def state_of(record: Stored, parent: Directory, name: str) -> State:
    """Compare a file with its record: by its modification time, or else by its bytes.

    Raises OSError.
    """
    found = parent.lstat(name)
    if found is None:
        return State.CHANGED
    if record.target is not None:
        same = stat.S_ISLNK(found.st_mode) and parent.readlink(name) == record.target
    elif not record.sha256:
        same = stat.S_ISDIR(found.st_mode)
    else:
        same = stat.S_ISREG(found.st_mode) and found.st_size == record.size
        same = same and (
            found.st_mtime_ns == record.mtime_ns or _sha256(parent, name) == record.sha256
        )
        if same and stat.S_IMODE(found.st_mode) != record.mode:
            return State.OTHER_MODE
    return State.SAME if same else State.CHANGED


def is_as_left(record: Stored, parent: Directory, name: str, *, exactly: bool = True) -> bool:
    """Tell whether a file is as recorded; with `exactly`, its permissions too. Raises OSError."""
    state = state_of(record, parent, name)
    return state is State.SAME or (state is State.OTHER_MODE and not exactly)


def _sha256(parent: Directory, name: str) -> str | None:
    try:
        descriptor = parent.open(name, os.O_RDONLY)
    except (PermissionError, Refused):
        return None
    try:
        digest = hashlib.sha256()  # `file_digest` would take a large new buffer for each small file
        while block := os.read(descriptor, _BLOCK):
            digest.update(block)
        return digest.hexdigest()
    finally:
        os.close(descriptor)
