"""Unpacks downloaded archives into folders, completely or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from ..choices import IfExists, Layout
from ..disk.aside import SUFFIX, Aside, is_archive, is_folder, may_be_archive
from ..disk.directory import Directory
from ..disk.entry import Entry
from ..disk.inflate import CannotRead
from ..disk.manifest import Manifest
from ..disk.members import Arrangement, Form, Name, Stored, arranged, check_places
from ..disk.paths import SafePath
from ..disk.records import FOLDER, Places, Records, joined
from ..disk.tree import Tree
from ..errors import ArtifactsError, Cancelled, Refused, TransferError
from ..logs import get_logger
from ..models import Artifact
from ..text import visible
from .claims import Claims, old_places, places_of
from .unpack import (
    Landing,
    all_as_left,
    are_there,
    folded,
    grouped,
    holds_only,
    is_old,
    landing,
    move_in,
    remove_empty,
    remove_old,
    touched_folders,
)

_log = get_logger(__name__)
_AS_IT_CAME = "--no-unpack keeps the archive"


class Unpacking(NamedTuple):
    """How archives are unpacked; if `wanted` is false, they are kept."""

    wanted: bool = True
    layout: Layout = Layout.MIRROR
    if_exists: IfExists = IfExists.UPDATE
    portable: bool = False


def base_of(artifact: Artifact, layout: Layout) -> str:
    """Return where an artifact's members land below the output folder; empty for that itself."""
    base = Name.of(artifact.local_path).base
    if layout is Layout.FLAT:
        base = base[-1:] if not Name.of(artifact.local_path).glob else ()
    if layout is Layout.NESTED:
        where = artifact.address
        base = (where.workflow, where.task, where.cube, *base)
    return "/".join(base)


class Unpacker:
    """Unpacks archives for one output folder, which is open and locked."""

    def __init__(
        self, tree: Tree, manifest: Manifest, unpacking: Unpacking, *, folds: bool
    ) -> None:
        self.current: set[str] = set()
        """The places of all artifacts that are selected."""
        self.touched: set[tuple[str, ...]] = set()
        self._tree = tree
        self.manifest = manifest
        self._how = unpacking
        self._folds = folds
        self._fold = folds or unpacking.portable
        self._claims: Claims | None = None
        self._lock = threading.RLock()
        self._has_members = manifest.has_members
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop unpacking within a second."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the download was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled

    @property
    def claims(self) -> Claims:
        """Which artifact owns which place."""
        if self._claims is None:
            self._claims = Claims(self.manifest, fold=self._fold)
        return self._claims

    def is_packed(self, artifact: Artifact, descriptor: int, size: int) -> bool:
        """Tell from the first bytes whether a file is an archive that may be a folder."""
        if not self._how.wanted or not may_be_archive(descriptor):
            return False
        try:
            return is_archive(descriptor, size, Name.of(artifact.local_path))
        except CannotRead as lack:
            name = visible(artifact.local_path)
            _log.warning(
                "%s is compressed with %s and was not unpacked: %s", name, lack.name, lack.remedy
            )
            return False

    def is_folder(self, artifact: Artifact, descriptor: int, key: str) -> bool:
        """Tell whether a file at its place is an archive to be unpacked. Raises OSError."""
        size, name = os.fstat(descriptor).st_size, Name.of(artifact.local_path)
        try:
            is_one = is_archive(descriptor, size, name)
        except CannotRead:
            return False
        if is_one and is_folder(descriptor, size, name, self.check):
            return True
        entry = self.manifest.get(key)
        if entry is not None:
            self.manifest.settled(key, entry._replace(is_judged=True))
        return False

    def unpack(
        self,
        entry: Entry,
        artifact: Artifact,
        key: str,
        descriptor: int,
        above: Directory,
        stem: str,
        tell: Callable[[str], None],
    ) -> Entry | None:
        """Put an archive's members in place; return `entry` with these members.

        Returns None if it stays an archive. Raises `TransferError` for an unsafe archive, `Refused`
        for a file in the way, `Cancelled` and OSError. Until the intention is in the journal no
        file is in place; after that, the same call completes an unfinished one.
        """
        name = Name.of(artifact.local_path)
        tell("unpacking")
        try:
            if not is_folder(descriptor, entry.size, name, self.check):
                if name.form is Form.FILE:
                    _log.warning("%s is a tar archive; it is kept", visible(artifact.local_path))
                return None
            aside = Aside(above, f"{stem}.{SUFFIX}")
            try:
                made = self._unpack(entry, artifact, key, descriptor, aside, tell)
            except Cancelled:
                raise  # removing thousands of files takes time: the next run does it
            except Exception:
                aside.remove()
                raise
            aside.remove()
            return made
        except ValueError as unsafe:  # UnsafeArchive
            reason = f"its archive is not unpacked: {unsafe}"
            raise TransferError(reason, code="unsafe_archive", hint=_AS_IT_CAME) from unsafe

    def _unpack(
        self,
        entry: Entry,
        artifact: Artifact,
        key: str,
        descriptor: int,
        aside: Aside,
        tell: Callable[[str], None],
    ) -> Entry | None:
        contents = aside.fill(descriptor, entry.size, self.check, tell)
        found = arranged(contents, Name.of(artifact.local_path))
        if found is None:
            return None
        base = base_of(artifact, self._how.layout)
        parts = tuple(base.split("/")) if base else ()
        check_places(found, parts, portable=self._how.portable, fold=self._fold)
        return self._put_in_place(entry, key, found, base, aside, tell)

    def _put_in_place(
        self,
        entry: Entry,
        key: str,
        found: Arrangement,
        base: str,
        aside: Aside,
        tell: Callable[[str], None],
    ) -> Entry:
        known = self.manifest.get(key)
        before = old_places(key, known)
        skip = self._how.if_exists is IfExists.SKIP
        old = {} if skip else grouped(before)
        with self._lock:
            self._refuse_shared(key, found, base)
        plan = landing(
            self._tree,
            found,
            base,
            if_exists=self._how.if_exists,
            old=old,
            is_ours=lambda place, new: self._is_ours(place, [*old.get(place, []), new]),
            folds=self._folds,
        )
        tell(f"putting {len(plan.files):,} in place")
        aside.sync()
        members = self._records(found, base, plan, known if skip else None)
        kept = {joined(base, path.rstrip("/")) for path in members}
        made = entry._replace(
            members=members,
            base=base,
            skipped=tuple(sorted(one[len(base) :].lstrip("/") for one in plan.skipped - kept)),
            before=() if skip else before,
        )
        self.manifest.intend({key: made})
        if plan.emptied:
            gone = tuple(pair for pair in before if pair[0] in plan.emptied)
            gone += tuple((place, FOLDER) for place in plan.emptied if place.endswith("/"))
            remove_old(self._tree, gone, lambda place: False)
            for place in plan.emptied:
                if place.endswith("/"):
                    remove_empty(self._tree, place.rstrip("/"))
        move_in(self._tree, plan, aside, self.check, tell)
        self.touched.update(touched_folders(plan))
        return self.settle(key, made)

    def _records(
        self, found: Arrangement, base: str, plan: Landing, known: Entry | None
    ) -> Records:
        records = {
            path: Stored(0, *stored[1:])
            for path, stored in found.files.items()
            if joined(base, path) not in plan.skipped
        }
        records |= {f"{folder}/": FOLDER for folder in sorted(found.folders)}
        if known is not None and known.members is not None and known.base == base:
            # With `skip` an older version's files stay, but not its folders that are files now.
            gone = tuple(place for place in plan.emptied if place.endswith("/"))
            old = known.members.items()
            stay = {path: one for path, one in old if not joined(base, path).startswith(gone)}
            records = {**stay, **records}
        return records

    def settle(self, key: str, entry: Entry) -> Entry:
        """Remove the files of an older version, and record that the new one is in place."""
        present = set(places_of(key, entry))
        if entry.before:
            keep = present | {entry.base}
            remove_old(self._tree, entry.before, lambda place: place.rstrip("/") in keep)
        made = entry._replace(before=())
        self.manifest.settled(key, made)
        self._has_members = self._has_members or made.members is not None
        with self._lock:
            self._take_over(key, present)
            self.claims.note(key, made)
        return made

    def settle_file(self, key: str) -> None:
        """Do the same for an artifact that is a file."""
        entry = self.manifest.get(key) if self._has_members else None
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
        entry = self.manifest.get(owner[0]) if owner is not None else None
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

    def _take_over(self, key: str, places: set[str]) -> None:
        """Remove this artifact's files from all other entries."""
        losses: dict[str, set[str]] = {}
        for place in places:
            owner = self.claims.of(place)
            if owner is not None and owner[0] != key:
                losses.setdefault(owner[0], set()).add(place)
        for other, lost in losses.items():
            self.lose(other, lost)

    def lose(self, key: str, lost: set[str]) -> None:
        """Remove files from an entry that no longer has them."""
        entry = self.manifest.get(key)
        if entry is None:
            return
        if entry.members is None:
            if not self._is_there(key):
                self.manifest.dropped(key)
            return
        left = {
            path: record
            for path, record in entry.members.items()
            if joined(entry.base, path.rstrip("/")) not in lost
        }
        # Its dates are removed too, since it is no longer complete.
        self.manifest.settled(key, entry._replace(members=left, dates=type(entry.dates)()))

    def _refuse_shared(self, key: str, found: Arrangement, base: str) -> None:
        """Raise `Refused` if another artifact of this run has a file of the same name."""
        claims, current = self.claims, self.current - {key}
        if not current:
            return
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

    def _is_ours(self, place: str, records: list[Stored]) -> bool:
        with self._lock:
            owner = self.claims.of(place)
        if owner is None:
            return False
        return owner[1] or is_old(self._tree, place, records)

    def removable(self, key: str, entry: Entry) -> Places:
        """Return an artifact's unchanged files, to be removed with their folders."""
        entries = [(one, self.manifest.get(one)) for one in self.current]
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
        """Remove files of an artifact and empty folders; what remains stays recorded."""
        emptied = (*places, (f"{entry.base}/", FOLDER)) if entry.members is not None else places
        remove_old(self._tree, emptied, lambda _: False)
        if entry.members is None:
            if not self._is_there(key):
                self.manifest.dropped(key)
            return
        left = {
            path: record
            for path, record in entry.members.items()
            if self._is_there(joined(entry.base, path.rstrip("/")))
        }
        if left:
            self.manifest.settled(key, entry._replace(members=left, before=()))
        else:
            self.manifest.dropped(key)

    def _is_there(self, place: str) -> bool:
        try:
            return self._tree.lstat(SafePath(tuple(place.split("/")))) is not None
        except (OSError, ArtifactsError):
            return True

    # Facts for the plan.

    def is_whole(self, key: str, entry: Entry) -> bool:
        """Tell whether all members are as recorded."""
        assert entry.members is not None
        whole = all_as_left(self._tree, entry.members, entry.base, entry.skipped)
        if whole:
            self.manifest.placed(key)
        return whole

    def are_there(self, entry: Entry) -> bool:
        """Tell whether each member exists."""
        assert entry.members is not None
        return are_there(self._tree, entry.members, entry.base, entry.skipped)

    def holds_only(self, place: SafePath, key: str, entry: Entry) -> bool:
        """Tell whether a folder has only an artifact's unchanged members."""
        return holds_only(self._tree, str(place), old_places(key, entry))
