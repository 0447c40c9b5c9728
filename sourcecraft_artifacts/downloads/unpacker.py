"""Unpacks downloaded archives into folders, completely or not at all.

What reads archives is imported when there is one: most runs unpack nothing.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..choices import IfExists, Layout
from ..disk.directory import Directory
from ..disk.entry import Entry
from ..disk.inflate import CannotRead, may_be_archive
from ..disk.leftovers import SUFFIX
from ..disk.manifest import Manifest
from ..disk.partial import Partial
from ..disk.places import grouped
from ..disk.records import FOLDER, Records, Stored, all_joined, below, joined
from ..disk.tree import Tree
from ..errors import Cancelled, TransferError
from ..logs import get_logger
from ..models import Artifact
from ..text import visible
from .claims import old_places
from .moving import move_in, remove_empty, remove_old, touched_folders
from .owners import Owners

if TYPE_CHECKING:
    from ..disk.aside import Aside
    from ..disk.members import Arrangement, Name
    from .landing import Landing

_log = get_logger(__name__)
_AS_IT_CAME = "--no-unpack keeps the archive"


class Unpacking(NamedTuple):
    """How archives are unpacked; if `wanted` is false, they are kept."""

    wanted: bool = True
    layout: Layout = Layout.MIRROR
    if_exists: IfExists = IfExists.UPDATE
    portable: bool = False


def base_of(artifact: Artifact, name: "Name", layout: Layout) -> str:
    """Return where an artifact's members land below the output folder; empty for that itself."""
    base = name.base
    if layout is Layout.FLAT:
        base = base[-1:] if not name.glob else ()
    if layout is Layout.NESTED:
        where = artifact.address
        base = (where.workflow, where.task, where.cube, *base)
    return "/".join(base)


class Unpacker:
    """Unpacks archives for one output folder, which is open and locked."""

    def __init__(
        self, tree: Tree, manifest: Manifest, unpacking: Unpacking, *, folds: bool
    ) -> None:
        self.touched: set[tuple[str, ...]] = set()
        self._tree = tree
        self.manifest = manifest
        self._how = unpacking
        self._folds = folds
        self._fold = folds or unpacking.portable
        self.owners = Owners(tree, manifest, fold=self._fold)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop unpacking within a second."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the download was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled

    def is_packed(self, artifact: Artifact, partial: Partial) -> bool:
        """Tell from the first bytes whether an object is an archive that may be a folder.

        Raises OSError.
        """
        if not self._how.wanted or not may_be_archive(partial.start):
            return False
        from ..disk.archives import is_archive
        from ..disk.members import Name

        try:
            wanted = Name.of(artifact.local_path)
            return is_archive(partial.descriptor, partial.size or 0, wanted)
        except CannotRead as lack:
            name = visible(artifact.local_path)
            _log.warning(
                "%s is compressed with %s and was not unpacked: %s", name, lack.name, lack.remedy
            )
            return False

    def is_folder(self, artifact: Artifact, descriptor: int, key: str) -> bool:
        """Tell whether a file at its place is an archive to be unpacked. Raises OSError."""
        from ..disk.archives import is_archive, is_folder
        from ..disk.members import Name

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
        """Put the members of the archive `descriptor` in place; return `entry` with these members.

        They are first written to a new folder in `above`, whose name begins with `stem`; `tell` is
        called with what is being done. Returns None if it stays an archive. Raises `TransferError`
        for an unsafe archive, `Refused` for a file in the way, `Cancelled` and OSError. Until all
        members are in the journal no file is in place; if a run is killed after that, the next call
        completes what it began.
        """
        from ..disk.archives import is_folder
        from ..disk.aside import Aside
        from ..disk.members import Form, Name

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
        aside: "Aside",
        tell: Callable[[str], None],
    ) -> Entry | None:
        from ..disk.members import Name, arranged, check_places

        name = Name.of(artifact.local_path)
        found = arranged(aside.fill(descriptor, entry.size, self.check, tell), name)
        if found is None:
            return None
        base = base_of(artifact, name, self._how.layout)
        parts = tuple(base.split("/")) if base else ()
        check_places(found, parts, portable=self._how.portable, fold=self._fold)
        return self._put_in_place(entry, key, found, base, aside, tell)

    def _put_in_place(
        self,
        entry: Entry,
        key: str,
        found: "Arrangement",
        base: str,
        aside: "Aside",
        tell: Callable[[str], None],
    ) -> Entry:
        from .landing import landing

        known = self.manifest.get(key)
        before = old_places(key, known)
        skip = self._how.if_exists is IfExists.SKIP
        old = {} if skip else grouped(before)
        self.owners.refuse_shared(key, found, base)
        if_exists = self._how.if_exists
        if if_exists is IfExists.ERROR and self.manifest.was_only_intended(key):
            if_exists = IfExists.UPDATE  # a killed run may have put some of them in place
        plan = landing(
            self._tree,
            found,
            base,
            if_exists=if_exists,
            old=old,
            is_ours=lambda place, new: self.owners.is_ours(place, [*old.get(place, []), new]),
            is_as_left=self.owners.is_as_left,
            folds=self._folds,
        )
        tell(f"putting {len(plan.files):,} in place")
        aside.sync()
        members = self._records(key, found, base, plan, known if skip else None)
        places = dict(zip(all_joined(base, members), members.values(), strict=True))
        made = entry._replace(
            members=members,
            base=base,
            skipped=_not_right(found, members, base, plan.skipped),
            before=() if skip else tuple(p for p in before if places.get(p[0]) != p[1]),
        )
        self.manifest.intend({key: made}, first=self._new_places(key, known, places))
        if plan.emptied:
            gone = tuple(pair for pair in before if pair[0] in plan.emptied)
            gone += tuple((place, FOLDER) for place in plan.emptied if place.endswith("/"))
            remove_old(self._tree, gone, lambda place: False)
            for place in plan.emptied:
                if place.endswith("/"):
                    remove_empty(self._tree, place.rstrip("/"))
        move_in(self._tree, plan, aside, self.check, tell)
        self.touched.update(touched_folders(plan))
        return self.owners.settle(key, made)

    def _new_places(self, key: str, known: Entry | None, places: Iterable[str]) -> set[str]:
        """Return the members' places at which no earlier version is known to have a file."""
        unsure = self.manifest.unsure(key)
        there = {place.rstrip("/") for place, _ in old_places(key, known)} - (unsure or set())
        new = {place.rstrip("/") for place in places} - there
        return new | (unsure or set())

    def _records(
        self, key: str, found: "Arrangement", base: str, plan: "Landing", known: Entry | None
    ) -> Records:
        records = dict(found.files)
        for place in plan.skipped:
            del records[below(base, place)]
        records |= {f"{folder}/": FOLDER for folder in sorted(found.folders)}
        if known is not None and known.members is not None and known.base == base:
            # With `skip` an older version's files stay, but not its folders that are files now.
            gone = tuple(place for place in plan.emptied if place.endswith("/"))
            old = self.owners.there(key, known).items()
            stay = {path: one for path, one in old if not joined(base, path).startswith(gone)}
            records = {**stay, **records}
        return records


def _not_right(
    found: "Arrangement", members: Records, base: str, skipped: set[str]
) -> tuple[str, ...]:
    """Return the members that were kept, less those that are recorded with the same content."""

    def is_right(path: str, new: Stored) -> bool:
        was = members.get(path)
        return was is not None and (was.sha256, was.target) == (new.sha256, new.target)

    kept = (below(base, place) for place in skipped)
    return tuple(sorted(path for path in kept if not is_right(path, found.files[path])))
