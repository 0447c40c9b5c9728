"""Records what this tool put into an output folder.

`manifest.json` is written as a whole at the end of a run. Until then a line is added to the journal
beside it before each file is moved to its final name, so that a file which a killed run had just
put in place is known to be ours. A line is one file's entry; the last one for a path counts.

Without a lock each run has its own journal, so that no run loses the work of another: a run reads
the journals, then the manifest, adds its own entries, writes the manifest, and only then removes
its journal. A run that no longer finds that journal finds its lines in the manifest.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ..errors import Refused
from .directory import Directory
from .entry import Entry, entry_of, to_json
from .files import read_file, write_file
from .journal import Journal, Journals
from .runs import Run

SCHEMA = 1
MANIFEST = "manifest.json"
_TEMPORARY = re.compile(r"manifest-(?P<token>[0-9a-f_]+)\.json\.new")

Look = Callable[[str], os.stat_result | None]
"""Returns the `lstat` of a place; None if nothing is there."""


class Manifest:
    """The entries of one output folder, by place (`a/b.txt`); safe to use from many threads.

    `damaged` means that the manifest could not be read: then no file counts as ours. An entry with
    the mark `intended` is for a place where a killed run may not have put its file: a file there
    may be somebody else's. For an artifact that was unpacked before, the mark lists only the places
    of members at which no earlier version had a file. If two runs have different entries for a
    place, the file that `look` finds there decides.
    """

    def __init__(
        self, directory: Directory | None, run: Run | None = None, look: Look | None = None
    ) -> None:
        self._directory = directory
        self._run = run or Run()
        self._look = look
        self._lock = threading.Lock()
        self._files: dict[str, Any] = {}
        self._mine: dict[str, Any] = {}
        """Entries of this run, which are newer than those on disk."""
        self._unpacked: dict[str, tuple[Any, Entry]] = {}
        """The values and entries of artifacts with members, kept because they convert slowly."""
        self._dropped: set[str] = set()
        self._base: dict[str, Any] = {}
        """The entries of the manifest when it was read."""
        self._seen: tuple[int, ...] | None = None
        """Inode, time and size of that manifest, by which a newer one is noticed."""
        self._changed = False
        self.damaged = False
        self.exists = False
        """Whether there is a manifest or a journal, readable or not."""
        if directory is not None:
            self._journal = Journal(directory, self._run)
            self._journals = Journals(directory, self._journal, self._run)
            self._changed = bool(self._load(directory))

    def get(self, place: str) -> Entry | None:
        """Return the entry for a place; None if there is no readable one."""
        value = self._files.get(place)
        return None if value is None else self._entry_of(place, value)

    def _entry_of(self, place: str, value: Any) -> Entry | None:
        known = self._unpacked.get(place)
        return known[1] if known is not None and known[0] is value else entry_of(value)

    def was_only_intended(self, place: str) -> bool:
        """Tell whether a killed run may not have put its first file here, as intended."""
        return _mark(self._files.get(place)) is True

    def is_unfinished(self, place: str) -> bool:
        """Tell whether a killed run may not have put all files of an artifact in place."""
        return _mark(self._files.get(place)) is not None

    def unsure(self, place: str) -> frozenset[str] | None:
        """Return the places where a file may be somebody else's, as intended; None for all."""
        mark = _mark(self._files.get(place))
        return None if mark is True else frozenset(mark or ())

    def knows(self, place: str, found: os.stat_result) -> bool:
        """Tell whether a run, perhaps one still running, has put a file there."""
        with self._lock:
            if self._directory is not None and not self._has(place, found):
                self._load(self._directory)
            return self._has(place, found)

    def _has(self, place: str, found: os.stat_result) -> bool:
        entry = self.get(place)
        return entry is not None and entry.looks_like(found)

    @property
    def has_members(self) -> bool:
        """Whether any artifact was unpacked."""
        return any(map(_has_members, self._files.values()))

    def is_folder(self, place: str) -> bool:
        """Tell whether the artifact of a place was unpacked, without reading its entry."""
        return _has_members(self._files.get(place))

    def places(self) -> Iterator[str]:
        """Iterate over the places, in no order."""
        return iter(list(self._files))

    def intend(self, entries: Mapping[str, Entry], *, first: Iterable[str] | None = None) -> None:
        """Record durably that files are about to be put in their places. Raises OSError.

        All of them take one fsync, which threads that come at the same time share. `first` are the
        places of an artifact's members at which no earlier version is known to have a file.
        """
        if not entries:
            return
        with self._lock:
            values = {place: self._to_json(place, entry) for place, entry in entries.items()}
            for place, value in values.items():
                known = self._files.get(place)
                is_new = known is None or _mark(known) is True
                if is_new or (_has_members(known) and entries[place].members is None):
                    value["intended"] = True
                elif first is not None:
                    value["intended"] = sorted(first)
            descriptor, number = self._journal.append(values, self._mine)
            self._files |= values
            self._mine |= values
            self._changed = True
        self._journal.sync(descriptor, number)

    def placed(self, *places: str) -> None:
        """Note that intended files are in place, put there by this run or by a killed one."""
        with self._lock:
            for place in places:
                value: Any = self._files.get(place)
                if _mark(value) is not None:
                    sure = dict(value)
                    del sure["intended"]
                    self._mine[place] = self._files[place] = sure
                    self._changed = True

    def settled(self, place: str, entry: Entry) -> None:
        """Note the final entry of an intended file, to be saved later."""
        with self._lock:
            self._mine[place] = self._files[place] = self._to_json(place, entry)
            self._changed = True

    def _to_json(self, place: str, entry: Entry) -> dict[str, Any]:
        if entry.members is None:
            self._unpacked.pop(place, None)
            return to_json(entry)
        known = self._unpacked.get(place)
        same = known[0]["members"] if known and known[1].members is entry.members else None
        value = to_json(entry, same)
        self._unpacked[place] = value, entry
        return value

    def dropped(self, place: str) -> None:
        """Forget an entry whose file is gone, or belongs to another artifact now."""
        with self._lock:
            self._dropped.add(place)
            self._mine.pop(place, None)
            self._changed = self._files.pop(place, None) is not None or self._changed

    def renewed(self, place: str, entry: Entry, mtime_ns: int) -> None:
        """Note the new time of a file whose bytes were found unchanged, to be saved later."""
        with self._lock:
            self._mine[place] = self._files[place] = to_json(entry._replace(mtime_ns=mtime_ns))
            self._changed = True

    def save(self) -> None:
        """Write the manifest if anything changed, and remove the journal. Raises OSError."""
        with self._lock:
            directory = self._directory
            if directory is None or not self._changed:
                return
            left = self._load(directory)
            value = {"schema_version": SCHEMA, "files": dict(sorted(self._files.items()))}
            text = json.dumps(value, check_circular=False).encode() + b"\n"
            # Under the same name, two runs would damage each other's file.
            temporary = None if self._run.alone else f"manifest-{self._run.token}.json.new"
            write_file(directory, MANIFEST, text, sync=True, temporary=temporary)
            directory.sync()
            self._journal.close()
            for name in (*left, *self._torn(directory)):
                directory.unlink(name)
            self._changed = False

    def close(self) -> None:
        """Close the journal, which stays for the next run unless it was saved."""
        with self._lock:
            if self._directory is not None:
                self._journal.close()

    def _torn(self, directory: Directory) -> Iterator[str]:
        """Yield files left by runs without a lock that were killed while writing the manifest."""
        for name in directory.listdir():
            match = _TEMPORARY.fullmatch(name)
            if match and self._run.has_died(match["token"], directory, name):
                yield name

    # What is on disk, together with what this run has done.

    def _load(self, directory: Directory) -> list[str]:
        """Read everything; return the names of the journals that no run adds to any more.

        The journals are read first: one that is gone by then is in the manifest.
        """
        journals = self._journals.read()
        self._read_base(directory)
        self.exists = self.exists or bool(journals)
        files, rivals = dict(self._base), dict[str, list[Any]]()
        for place, value in [*chain(*journals.values()), *self._mine.items()]:
            if place in files and self._differ(place, files[place], value):
                rivals.setdefault(place, []).append(files[place])
            elif place in files and _mark(files[place]) is None:
                continue
            # `intended` is taken from the line itself: a later run may have found that file in
            # place, and have been killed before it replaced it.
            files[place] = value
        for place, values in rivals.items():
            files[place] = self._standing(place, [files[place], *reversed(values)])
        for place in self._dropped - self._mine.keys():
            files.pop(place, None)
        self._files = files
        return [name for name in journals if self._journals.is_left(name)]

    def _read_base(self, directory: Directory) -> None:
        found = directory.lstat(MANIFEST)
        seen = None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen is not None and seen == self._seen:
            return
        text = _read(directory, MANIFEST)
        self.exists = self.exists or text is not None
        self._seen, self._base, self.damaged = seen, {}, False
        try:
            self._base = {} if text is None else _read_files(text, directory.path)
        except (ValueError, KeyError, TypeError, RecursionError):
            self.damaged = True

    def _differ(self, place: str, one: Any, other: Any) -> bool:
        """Tell whether two values are entries of different files."""
        return one != other and self._entry_of(place, one) != self._entry_of(place, other)

    def _standing(self, place: str, values: list[Any]) -> Any:
        """Choose the entry that matches the file at a place, else the first one."""
        found = self._look(place) if self._look is not None else None
        for value in values if found is not None else ():
            entry = self._entry_of(place, value)
            if entry is not None and found is not None and entry.looks_like(found):
                return value
        return values[0]


def _has_members(value: Any) -> bool:
    return isinstance(value, dict) and "members" in value


def _mark(value: Any) -> Any:
    """Return the mark of a value; None if it has none, or none that is valid."""
    mark = value.get("intended") if isinstance(value, dict) else None
    is_list = isinstance(mark, list) and all(isinstance(place, str) for place in mark)
    return mark if mark is True or is_list else None


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
        raise ValueError("its version is unknown")
    return files


def _read(directory: Directory, name: str) -> bytes | None:
    try:
        return read_file(directory, name)
    except FileNotFoundError:
        return None
