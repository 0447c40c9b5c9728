"""Decides whether a file belongs to an artifact, and what becomes of files that one loses."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

from ..disk.entry import Entry
from ..disk.manifest import Manifest
from ..disk.paths import SafePath, UnsafePath
from ..disk.places import are_there, grouped, holds_only, is_old, other_modes, set_mode
from ..disk.records import FOLDER, Places, Records, Stored, joined
from ..disk.tree import Tree
from ..errors import ArtifactsError, Refused
from ..logs import get_logger
from ..text import count, visible
from .claims import Claims, folded, old_places, places_of
from .moving import raise_first, remove_old

if TYPE_CHECKING:
    from ..disk.members import Arrangement

_log = get_logger(__name__)


class Owners:
    """The artifacts of the manifest with their files, for one output folder that is open.

    It may be used from many threads.
    """

    def __init__(self, tree: Tree, manifest: Manifest, *, fold: bool) -> None:
        self.current: set[str] = set()
        """The places of all artifacts that are selected."""
        self._tree = tree
        self._manifest = manifest
        self._fold = fold
        self._claims: Claims | None = None
        self._lock = threading.RLock()
        self._has_members = manifest.has_members
        self._modes: dict[str, dict[str, int]] = {}
        """Members whose permissions alone differ, by their artifacts, with the recorded modes."""

    @property
    def claims(self) -> Claims:
        """Which artifact owns which place."""
        if self._claims is None:
            self._claims = Claims(self._manifest, fold=self._fold)
        return self._claims

    def settle(self, key: str, entry: Entry) -> Entry:
        """Remove the files of an older version, and record that the new one is in place.

        Raises `LocalError` if a file cannot be removed; it stays recorded, for the next run.
        """
        stuck: dict[str, OSError] = {}
        if entry.before:
            keep = {*places_of(key, entry), entry.base}
            stuck = remove_old(self._tree, entry.before, lambda place: place.rstrip("/") in keep)
        made = entry._replace(before=tuple(pair for pair in entry.before if pair[0] in stuck))
        self._manifest.settled(key, made)
        self._has_members = self._has_members or made.members is not None
        with self._lock:
            self._take_over(key, places_of(key, made))
            if self._claims is not None:
                self._claims.note(key, made)
        raise_first(stuck)
        return made

    def settle_file(self, key: str) -> None:
        """Do the same for an artifact that is a file. Raises the same."""
        entry = self._manifest.get(key) if self._has_members else None
        if entry is None:
            return
        if entry.before:
            self.settle(key, entry)
        elif self._claims is not None:
            with self._lock:
                self._take_over(key, {key})
                self.claims.note(key, entry)

    def member_at(self, place: str) -> Entry | None:
        """Return an artifact's member as if it were an artifact of its own."""
        if not self._has_members:
            return None
        with self._lock:
            owner = self.claims.of(place)
        entry = self._manifest.get(owner[0]) if owner is not None else None
        if entry is None or entry.members is None:
            return None
        record = entry.members.get(place[len(entry.base) :].lstrip("/"))
        if record is None:
            return None
        return entry._replace(
            size=record.size,
            sha256=record.sha256 or entry.sha256,
            mtime_ns=record.mtime_ns,
            members=None,
            before=(),
            dates=type(entry.dates)(),
        )

    def _take_over(self, key: str, places: Iterable[str]) -> None:
        """Remove this artifact's files from all other entries."""
        losses: dict[str, set[str]] = {}
        is_alone = all(other == key for other in self._manifest.places())
        for place in () if is_alone else places:
            owner = self.claims.of(place)
            if owner is not None and owner[0] != key:
                losses.setdefault(owner[0], set()).add(place)
        for other, lost in losses.items():
            self._lose(other, lost)

    def _lose(self, key: str, lost: set[str]) -> None:
        """Remove files from an entry that no longer has them."""
        entry = self._manifest.get(key)
        if entry is None:
            return
        if entry.members is None:
            is_lost = folded(key, fold=self._fold) in {folded(one, fold=self._fold) for one in lost}
            if is_lost or not self._is_there(key):
                self._manifest.dropped(key)
            return
        left = {
            path: record
            for path, record in entry.members.items()
            if joined(entry.base, path.rstrip("/")) not in lost
        }
        # Its dates are removed too, since it is no longer complete.
        self._manifest.settled(key, entry._replace(members=left, dates=type(entry.dates)()))

    def refuse_shared(self, key: str, found: Arrangement, base: str) -> None:
        """Raise `Refused` if another artifact of this run has a file of the same name."""
        with self._lock:
            current = self.current - {key}
            if not current:
                return
            claims = self.claims
            others = {folded(place, fold=self._fold): place for place in current}
            for path in found.files:
                place = joined(base, path)
                owner = claims.of(place)
                other = others.get(folded(place, fold=self._fold))
                if owner is not None and owner[0] in current:
                    other = owner[0]
                if other is not None:
                    raise Refused(
                        f"{place} in it is also a file of another artifact, {other}",
                        hint="--exclude leaves out what is not needed",
                    )

    def is_ours(self, place: str, records: list[Stored]) -> bool:
        """Tell whether this tool put the file there that a place has now."""
        with self._lock:
            owner = self.claims.of(place)
        if owner is None:
            return False
        return owner[1] or is_old(self._tree, place, records)

    def is_as_left(self, place: str) -> bool:
        """Tell whether this tool put the file there that a place has, and nobody changed it."""
        with self._lock:
            owner = self.claims.of(place)
        entry = self._manifest.get(owner[0]) if owner is not None else None
        if owner is None or entry is None:
            return False
        records = [record for one, record in old_places(owner[0], entry) if one == place]
        return is_old(self._tree, place, records)

    def removable(self, key: str, entry: Entry) -> Places:
        """Return an artifact's unchanged files, to be removed with their folders."""
        entries = [(one, self._manifest.get(one)) for one in self.current]
        current = {
            folded(place, fold=True)
            for one, known in entries
            if known is not None
            for place in places_of(one, known)
        }
        return tuple(
            (place, record)
            for place, record in old_places(key, entry)
            if folded(place.rstrip("/"), fold=True) not in current
            and is_old(self._tree, place.rstrip("/"), [record])
        )

    def remove(self, key: str, entry: Entry, places: Places) -> None:
        """Remove files of an artifact and empty folders; what remains stays recorded.

        Raises `LocalError` if a file cannot be removed.
        """
        emptied = (*places, (f"{entry.base}/", FOLDER)) if entry.members is not None else places
        stuck = remove_old(self._tree, emptied, lambda _: False)
        self._record_what_is_left(key, entry)
        raise_first(stuck)

    def _record_what_is_left(self, key: str, entry: Entry) -> None:
        if entry.members is None:
            if not self._is_there(key):
                self._manifest.dropped(key)
            return
        left = {
            path: record
            for path, record in entry.members.items()
            if self._is_there(joined(entry.base, path.rstrip("/")))
        }
        if left:
            self._manifest.settled(key, entry._replace(members=left, before=()))
        else:
            self._manifest.dropped(key)

    def _is_there(self, place: str) -> bool:
        try:
            return self._tree.lstat(SafePath(tuple(place.split("/")))) is not None
        except (OSError, ArtifactsError):
            return True

    def is_whole(self, key: str, entry: Entry) -> bool:
        """Tell whether all members are as recorded, apart from their permissions.

        After a kill while they were put in place, some may be of an older version, which often have
        the same sizes and times: archives are made with fixed times.
        """
        assert entry.members is not None
        unsure = bool(entry.before) or self._manifest.is_unfinished(key)
        modes = other_modes(self._tree, entry.members, entry.base, entry.skipped, by_bytes=unsure)
        if modes is None:
            return False
        self._manifest.placed(key)
        if modes:
            self._modes[key] = modes
        return True

    def there(self, key: str, entry: Entry) -> Records:
        """Return what is there of an artifact's members: after a kill it may be an older version.

        Members that were changed since are left out then.
        """
        assert entry.members is not None
        if not (entry.before or self._manifest.is_unfinished(key)):
            return entry.members
        found: dict[str, Stored] = {}
        above = f"{entry.base}/" if entry.base else ""
        for place, record in old_places(key, entry):
            path = place.removeprefix(above)
            if not place.startswith(above) or path in found:
                continue
            if is_old(self._tree, place.rstrip("/"), [record._replace(mtime_ns=-1)]):
                found[path] = record
        return found

    def restore_modes(self, key: str) -> None:
        """Put permissions right that were all that `is_whole` found to differ, where possible."""
        number = 0
        for place, mode in self._modes.pop(key, {}).items():
            with suppress(OSError, ArtifactsError, UnsafePath):
                set_mode(self._tree, place, mode)
                number += 1
        if number:
            _log.info("put the permissions of %s of %s right", count(number, "file"), visible(key))

    def own_file_above(self, place: SafePath) -> SafePath | None:
        """Return the place of an artifact's unchanged file that stands where a folder is needed."""
        for above, entry in self._files_above(place):
            record = Stored(entry.size, entry.sha256, 0, entry.mtime_ns)
            if is_old(self._tree, above, [record]):
                return SafePath(tuple(above.split("/")))
        return None

    def forget_above(self, place: SafePath) -> None:
        """Forget files that were recorded where a place has its folders now."""
        for above, _ in self._files_above(place):
            self._manifest.dropped(above)

    def _files_above(self, place: SafePath) -> Iterator[tuple[str, Entry]]:
        """Yield what the manifest has of files where a place needs folders."""
        if not self._manifest.exists:
            return
        for above in accumulate(place.parts[:-1], "{}/{}".format):
            entry = self._manifest.get(above)
            if entry is not None and entry.members is None:
                yield above, entry

    def are_there(self, entry: Entry) -> bool:
        """Tell whether each member exists."""
        assert entry.members is not None
        return are_there(self._tree, entry.members, entry.base, entry.skipped)

    def is_any_there(self, entry: Entry) -> bool:
        """Tell whether at least one member exists, or something in its place."""
        places = (joined(entry.base, path.rstrip("/")) for path in entry.members or ())
        return any(map(self._is_there, places))

    def holds_only(self, place: SafePath, key: str, entry: Entry) -> bool:
        """Tell whether a folder has only an artifact's unchanged members."""
        return holds_only(self._tree, str(place), grouped(old_places(key, entry)))
