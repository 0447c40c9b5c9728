"""What this tool put into an output folder, and why it is trusted.

`manifest.json` is written whole at the end of a run. Until then the journal beside it gains a
line before each file is moved to its final name, so that a file which a killed run had just put
in place is known to be ours. A line is one file's entry; the last one for a path counts.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

from ..errors import Refused
from ..models import Artifact, ArtifactDates, CubeAddress
from .directory import Directory
from .files import read_file, write_file

SCHEMA = 1
MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
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


def _to_json(entry: Entry) -> dict[str, Any]:
    return {
        **entry.address._asdict(),
        "local_path": entry.local_path,
        "size": entry.size,
        "sha256": entry.sha256,
        "validator": entry.validator,
        "dates": entry.dates._asdict(),
        "mtime_ns": entry.mtime_ns,
    }


def _from_json(value: Mapping[str, Any]) -> Entry:
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


class Manifest:
    """The entries of one output folder, by place (`a/b.txt`); safe to use from many threads.

    `damaged` tells that what was there could not be read: every file is a stranger's then. An
    entry with the mark `intended` is of a place where a killed run may not have put its file.
    """

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._files: dict[str, Any] = {}
        self._journal = -1
        self._written = 0
        self._synced = 0
        self._changed = False
        self.damaged = False
        self.exists = False
        """Whether there is a manifest or a journal, readable or not."""
        if directory is not None:
            self._load(directory)

    def get(self, place: str) -> Entry | None:
        """Return the entry for a place, or None where there is none that can be read."""
        try:
            value = self._files.get(place)
            return None if value is None else _from_json(value)
        except (KeyError, TypeError):
            return None

    def was_only_intended(self, place: str) -> bool:
        """Tell whether a killed run meant to put a first file here, and may not have done so."""
        value = self._files.get(place)
        return isinstance(value, dict) and value.get("intended") is True

    def places(self) -> Iterator[str]:
        """Iterate over the places, in no order."""
        return iter(list(self._files))

    def intend(self, entries: Mapping[str, Entry]) -> None:
        """Note durably, by their places, that files are about to be put there. Raises OSError.

        All of them cost one fsync, which threads that come together share.
        """
        if not entries:
            return
        values = {place: _to_json(entry) for place, entry in entries.items()}
        with self._lock:
            for place, value in values.items():
                if place not in self._files or self.was_only_intended(place):
                    value["intended"] = True
            lines = [json.dumps({"place": place, **value}) for place, value in values.items()]
            # The line break before them keeps the torn line of a killed run or a full disk apart.
            text = memoryview("\n".join(["", *lines, ""]).encode())
            descriptor = self._open_journal()
            while text:
                text = text[os.write(descriptor, text) :]
            self._written += 1
            mine = self._written
            self._files |= values
            self._changed = True
        self._sync(descriptor, mine)

    def placed(self, place: str) -> None:
        """Note that what was intended is in place, done by this run or found of a killed one."""
        with self._lock:
            if self._files[place].pop("intended", None) is not None:
                self._changed = True

    def renewed(self, place: str, entry: Entry, mtime_ns: int) -> None:
        """Note the new time of a file whose bytes were found unchanged, to be saved later."""
        with self._lock:
            self._files[place] = _to_json(replace(entry, mtime_ns=mtime_ns))
            self._changed = True

    def save(self) -> None:
        """Write the manifest, where anything changed, and end the journal. Raises OSError."""
        with self._lock:
            if self._directory is None or not self._changed:
                return
            value = {"schema_version": SCHEMA, "files": dict(sorted(self._files.items()))}
            write_file(self._directory, MANIFEST, json.dumps(value).encode() + b"\n", sync=True)
            self._directory.sync()
            self._close_journal()
            self._directory.unlink(JOURNAL)
            self._changed = False

    def close(self) -> None:
        """Close the journal, which stays for the next run unless it was saved."""
        with self._lock:
            self._close_journal()

    def _open_journal(self) -> int:
        assert self._directory is not None, "there is no state folder to write to"
        if self._journal < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._journal = self._directory.open(JOURNAL, flags)
            if os.fstat(self._journal).st_nlink != 1:
                # Its other name may be outside of the folder: go on in a copy.
                self._close_journal()
                write_file(self._directory, JOURNAL, read_file(self._directory, JOURNAL), sync=True)
                self._journal = self._directory.open(JOURNAL, flags)
            self._directory.sync()
        return self._journal

    def _close_journal(self) -> None:
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1

    def _sync(self, descriptor: int, mine: int) -> None:
        with self._syncing:
            if self._synced < mine:
                covered = self._written
                os.fsync(descriptor)
                self._synced = covered

    def _load(self, directory: Directory) -> None:
        text, journal = _read(directory, MANIFEST), _read(directory, JOURNAL)
        self.exists = text is not None or journal is not None
        try:
            self._files = {} if text is None else _read_files(text, directory.path)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.damaged = True
        self._load_journal(journal or b"")

    def _load_journal(self, text: bytes) -> None:
        for line in text.splitlines():
            try:
                value = json.loads(line)
                place = value.pop("place")
                _from_json(value)
                if type(place) is not str:
                    continue
                # Whether it was the first file at its place, the line says itself: a later run
                # may have found that one, and have been killed before it replaced it.
                self._files[place] = value
                self._changed = True
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue


def _read_files(text: bytes, where: str) -> dict[str, Any]:
    """Return the entries of a manifest in the folder `where`.

    Raises ValueError, KeyError or TypeError for a damaged one, `Refused` for a newer one.
    """
    value: Any = json.loads(text)
    version = value["schema_version"]
    if type(version) is int and version > SCHEMA:
        raise Refused(
            f"{where}/{MANIFEST} was written by a newer version of this tool",
            hint="update sourcecraft-artifacts, or choose another output folder",
        )
    files = value["files"]
    if version != SCHEMA or not isinstance(files, dict):
        raise ValueError("it is of no known version")
    return files


def _read(directory: Directory, name: str) -> bytes | None:
    try:
        return read_file(directory, name)
    except FileNotFoundError:
        return None
