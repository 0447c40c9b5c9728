"""One file as it was put in place: what the manifest and the journal say of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from ..models import Artifact, ArtifactDates, CubeAddress

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as it was put in place: `size` in bytes, `mtime_ns` in nanoseconds."""

    address: CubeAddress
    local_path: str
    dates: ArtifactDates
    size: int
    sha256: str
    mtime_ns: int
    validator: str | None = None

    def is_of(self, artifact: Artifact) -> bool:
        """Tell whether this is that artifact as it is listed now."""
        return (self.address, self.local_path, self.dates) == (
            artifact.address,
            artifact.local_path,
            artifact.dates,
        )

    def looks_like(self, found: os.stat_result) -> bool:
        """Tell whether a file has the recorded size and modification time."""
        return found.st_size == self.size and found.st_mtime_ns == self.mtime_ns


def to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as it is written."""
    return {
        **entry.address._asdict(),
        "local_path": entry.local_path,
        "size": entry.size,
        "sha256": entry.sha256,
        "validator": entry.validator,
        "dates": entry.dates._asdict(),
        "mtime_ns": entry.mtime_ns,
    }


def from_json(value: Mapping[str, Any]) -> Entry:
    """Read an entry. Raises LookupError or TypeError for what is none of ours."""
    dates = value["dates"]
    entry = Entry(
        CubeAddress(value["repo"], value["run"], value["workflow"], value["task"], value["cube"]),
        value["local_path"],
        ArtifactDates(dates["registered_at"], dates["obtained_at"], dates["updated_at"]),
        value["size"],
        value["sha256"],
        value["mtime_ns"],
        value["validator"],
    )
    texts = {*map(type, entry.address), type(entry.local_path), type(entry.sha256)}
    optional = {*map(type, entry.dates), type(entry.validator)}
    if texts != {str} or not optional <= {str, NoneType}:
        raise TypeError("it holds something else than text")
    if not _SHA256.fullmatch(entry.sha256):
        raise TypeError("it holds something else than a SHA-256")
    if type(entry.size) is not int or type(entry.mtime_ns) is not int:
        raise TypeError("it holds something else than a number")
    return entry


def entry_of(value: Any) -> Entry | None:
    """Return the entry that a value is; None where it cannot be read."""
    try:
        return None if value is None else from_json(value)
    except (KeyError, TypeError):
        return None
