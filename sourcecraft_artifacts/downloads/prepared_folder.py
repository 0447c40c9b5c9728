"""The output folder around a download: prepared before the first file, finished after the last."""

from __future__ import annotations

import os
from contextlib import suppress

from ..choices import IfExists
from ..disk.directory import Directory
from ..disk.file_system import FEW, sync_file_system
from ..disk.files import write_file
from ..disk.parts import PartialStore
from ..disk.paths import STATE_FOLDER, SafePath
from ..disk.tree import Tree
from ..errors import Refused, local_fault
from .known_folder import PARTIAL, KnownFolder
from .placing import Placer
from .unpacker import Unpacking

_IGNORE = ".gitignore"
_TRIES = 5
"""How often a folder that another run removes is created again."""


class PreparedFolder(KnownFolder):
    """An output folder with the state folder that a download needs.

    Opening it creates nothing; `prepare` does. A lock on the state folder makes a second run wait;
    without locks two runs may do the same work twice, but do no harm.
    """

    def __init__(
        self, path: str, *, overwrite: bool = False, unpacking: Unpacking | None = None
    ) -> None:
        super().__init__(path, unpacking=unpacking)
        self._overwrite = overwrite
        self._parts: PartialStore | None = None
        self._placer: Placer | None = None

    def prepare(self) -> bool:
        """Create the folder and its state folder; return whether the plan must be made again."""
        looked_at = vars(self).get("manifest")
        try:
            is_new = self._enter_state()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        assert self._partial is not None, "the state folder was entered"
        self._parts = PartialStore(self._partial, run=self._run)
        with suppress(OSError):  # `open` raises it again
            self._parts.look()
        assert self._tree is not None, "its state folder was entered"
        # Made here, once, as several threads put files in place.
        self._placer = Placer(
            self._tree,
            self.manifest,
            self.unpacker.owners,
            overwrite=self._overwrite,
            skips=self._unpacking.if_exists is IfExists.SKIP,
            judged=self._unpacking.wanted,
        )
        # Without a manifest and a journal nothing is known of the folder's files.
        knew = looked_at is not None and looked_at.exists
        return is_new and (knew or self.manifest.exists)

    def _enter_state(self) -> bool:
        """Open the state folder; return whether it is another one than before.

        A run without a lock may remove the empty folder at its end; then it is created again.
        """
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)
        before, tries = self._state, 0
        while True:
            try:
                self._state = self._state or self._tree.root.child(STATE_FOLDER, create=True)
                self.lock()
                self._ignore(self._state)
                self._partial = self._state.child(PARTIAL, create=True)
                self._run.enter(self._partial)
                break
            except FileNotFoundError:
                tries += 1
                if tries == _TRIES:
                    raise
                self._state, self._locked = None, False
        # Read the manifest here, once, as the workers share it.
        is_new = self._state is not before
        if is_new:
            self._tree.root.sync()  # else a file could survive a power cut without its records
            self.read_again()
        assert self.manifest is not None
        return is_new

    def _ignore(self, state: Directory) -> None:
        """Write a `.gitignore`, so that git ignores the state folder."""
        if state.lstat(_IGNORE) is None:
            write_file(state, _IGNORE, b"*\n", sync=False)

    def create(self) -> None:
        """Create the output folder. Raises `LocalError`."""
        if self._tree is None:
            self._tree = Tree.open(self.path, create=True)

    def finish(self, *, complete: bool) -> None:
        """Sync the folders and write the manifest; after a complete run remove all other state.

        Raises `LocalError`; the journal then stays for the next run.
        """
        try:
            self._sync_touched()
            self._find_partial()
            self.manifest.save()
        except OSError as error:
            raise local_fault(error, os.path.join(self.path, STATE_FOLDER)) from error
        self._run.leave()
        if complete:
            self._clear_partial()
        with suppress(OSError, Refused):
            if self._state is not None and (self._locked or complete):
                self._state.rmdir(PARTIAL)
        with suppress(OSError, Refused):
            if self._tree is not None and self._parts is not None:
                if self._state is not None and self._state.listdir() == [_IGNORE]:
                    self._state.unlink(_IGNORE)
                self._tree.root.rmdir(STATE_FOLDER)  # only if it is empty

    def _find_partial(self) -> None:
        """Open the folder of partial data, also after a run that had nothing to fetch."""
        if self._partial is None and self._state is not None:
            with suppress(OSError, Refused):
                self._partial = self._state.child(PARTIAL, create=False)
                self._run.marks = self._partial
                self._parts = PartialStore(self._partial, run=self._run)

    def _clear_partial(self) -> None:
        """Remove partial data and marks of runs that have ended."""
        with suppress(OSError, Refused):
            if self._parts is not None:
                self._parts.clear()
                self._run.clear_marks()

    def _sync_touched(self) -> None:
        touched = set() if self._placer is None else self._placer.touched
        # The folders above too: the run may have created some of them.
        parts = {above[:depth] for above in touched for depth in range(len(above) + 1)}
        for above in sorted(parts, key=len, reverse=True):
            if self._tree is not None:
                with self._tree.parent(SafePath((*above, "any")), create=False) as parent:
                    parent.sync()
        touched.clear()
        self._sync_unpacked()

    def _sync_unpacked(self) -> None:
        touched = self.unpacker.touched if "unpacker" in vars(self) else set()
        if self._tree is None or not touched:
            return
        if len(touched) <= FEW or not sync_file_system(self._tree.root):
            for folder in touched:
                # A folder of an older version may be gone, or may be a file now.
                with (
                    suppress(FileNotFoundError, Refused),
                    self._tree.parent(SafePath((*folder, "-")), create=False) as parent,
                ):
                    parent.sync()
        touched.clear()
