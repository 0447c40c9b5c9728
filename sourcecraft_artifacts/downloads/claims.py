"""An index for `owners`: which artifact of the manifest has a file at a place."""

from __future__ import annotations

from collections.abc import Iterator

from ..disk.entry import Entry
from ..disk.manifest import Manifest
from ..disk.paths import fold_key
from ..disk.records import Places, Stored, joined


class Claims:
    """Finds the artifact of the manifest with a file at a place; the caller does the locking."""

    def __init__(self, manifest: Manifest, *, fold: bool) -> None:
        self._fold = fold
        self._owners: dict[str, tuple[str, bool]] = {}
        self._not_noted: list[tuple[str, Entry]] = []
        for key in manifest.places():
            entry = manifest.get(key)
            if entry is not None:
                self._note(key, entry, manifest.unsure(key))

    def note(self, key: str, entry: Entry) -> None:
        """Add the places of an artifact whose files are all in place."""
        self._not_noted.append((key, entry))  # `of` adds them when it is called

    def _note(self, key: str, entry: Entry, unsure: frozenset[str] | None) -> None:
        for place in places_of(key, entry):
            sure = unsure is not None and place not in unsure
            self._owners[folded(place, fold=self._fold)] = (key, sure)
        for place, _ in entry.before:
            sure = unsure is None or place not in unsure
            self._owners.setdefault(folded(place, fold=self._fold), (key, sure))

    def of(self, place: str) -> tuple[str, bool] | None:
        """Return the key of a place's artifact, and whether its file is known to be in place."""
        while self._not_noted:
            self._note(*self._not_noted.pop(0), frozenset())
        return self._owners.get(folded(place, fold=self._fold))


def places_of(key: str, entry: Entry) -> Iterator[str]:
    """Yield the places of an entry's files."""
    if entry.members is None:
        yield key
        return
    for path in entry.members:
        yield joined(entry.base, path.rstrip("/"))


def old_places(key: str, entry: Entry | None) -> Places:
    """Return all places of an entry, to be removed if its next version lacks them."""
    if entry is None:
        return ()
    if entry.members is None:
        return ((key, Stored(entry.size, entry.sha256, 0, entry.mtime_ns)), *entry.before)
    members = entry.members.items()
    return (*((joined(entry.base, path), record) for path, record in members), *entry.before)


def folded(place: str, *, fold: bool) -> str:
    """Return a key that is equal for places that are the same file."""
    return fold_key(place) if fold else place
