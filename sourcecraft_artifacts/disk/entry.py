"""The entry of one file in the manifest and the journal, as it was put in place."""

import os
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, NamedTuple

from ..models import Artifact, ArtifactDates, CubeAddress
from . import records
from .records import Places, Records

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """One artifact as it was put in place: `size` in bytes, `mtime_ns` in nanoseconds.

    For an unpacked artifact, `members` has each file below `base`, and `skipped` those that were
    kept as they were; size and SHA-256 are the archive's. `before` has places of an older version,
    which are removed if they are unchanged. `is_judged` means that the artifact stayed one file and
    is not to be unpacked.
    """

    address: CubeAddress
    local_path: str
    dates: ArtifactDates
    size: int
    sha256: str
    mtime_ns: int
    validator: str | None = None
    members: Records | None = None
    base: str = ""
    skipped: tuple[str, ...] = ()
    before: Places = ()
    is_judged: bool = False

    def is_of(self, artifact: Artifact) -> bool:
        """Tell whether this entry is for that artifact as it is listed now."""
        return (self.address, self.local_path, self.dates) == (
            artifact.address,
            artifact.local_path,
            artifact.dates,
        )

    def looks_like(self, found: os.stat_result) -> bool:
        """Tell whether a file has the recorded size and modification time."""
        return found.st_size == self.size and found.st_mtime_ns == self.mtime_ns


def to_json(entry: Entry, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Convert an entry to JSON; `members` are its members, if they were converted before."""
    return {
        **entry.address._asdict(),
        "local_path": entry.local_path,
        "size": entry.size,
        "sha256": entry.sha256,
        "validator": entry.validator,
        "dates": entry.dates._asdict(),
        "mtime_ns": entry.mtime_ns,
        **_more_to_json(entry, members),
    }


def _more_to_json(entry: Entry, members: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields that few entries have."""
    more: dict[str, Any] = {}
    if entry.members is not None:
        if members is None:
            members = {path: records.to_json(record) for path, record in entry.members.items()}
        more |= {"base": entry.base, "members": members}
    if entry.skipped:
        more["skipped"] = list(entry.skipped)
    if entry.before:
        more["before"] = [[place, records.to_json(record)] for place, record in entry.before]
    if entry.is_judged:
        more["judged"] = True
    return more


def _with_more(entry: Entry, value: Mapping[str, Any]) -> Entry:
    """Read the fields that few entries have. Raises LookupError, TypeError or ValueError."""
    members, base = value.get("members"), value.get("base", "")
    skipped = tuple(value.get("skipped", ()))
    if not {*map(type, skipped), type(base)} <= {str}:
        raise TypeError("it holds something else than text")
    read = None
    if members is not None:
        read = {path: records.from_json(one) for path, one in members.items()}
    before = tuple((str(place), records.from_json(one)) for place, one in value.get("before", ()))
    return entry._replace(members=read, base=base, skipped=skipped, before=before)


def from_json(value: Mapping[str, Any]) -> Entry:
    """Read an entry. Raises LookupError or TypeError for anything else."""
    dates = value["dates"]
    entry = Entry(
        CubeAddress(value["repo"], value["run"], value["workflow"], value["task"], value["cube"]),
        value["local_path"],
        ArtifactDates(dates["registered_at"], dates["obtained_at"], dates["updated_at"]),
        value["size"],
        value["sha256"],
        value["mtime_ns"],
        value["validator"],
        is_judged=value.get("judged") is True,
    )
    texts = {*map(type, entry.address), type(entry.local_path), type(entry.sha256)}
    optional = {*map(type, entry.dates), type(entry.validator)}
    if texts != {str} or not optional <= {str, NoneType}:
        raise TypeError("it holds something else than text")
    if not _SHA256.fullmatch(entry.sha256):
        raise TypeError("it holds something else than a SHA-256")
    if type(entry.size) is not int or type(entry.mtime_ns) is not int:
        raise TypeError("it holds something else than a number")
    return _with_more(entry, value) if "members" in value or "before" in value else entry


def entry_of(value: Any) -> Entry | None:
    """Return a value as an entry; None if it cannot be read."""
    try:
        return None if value is None else from_json(value)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
