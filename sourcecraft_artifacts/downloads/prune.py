"""Carries out `--prune`: removes selected artifacts of earlier runs that are no longer listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from ..choices import Layout
from ..disk.entry import Entry
from ..disk.paths import UnsafePath, fold_key
from ..errors import LocalError
from ..models import Artifact
from ..results import FileResult, Outcome
from ..select import Selection
from ..service.address import Address, name_matches
from .known_folder import KnownFolder
from .plan import place_of


def outdated(
    entries: Iterable[tuple[str, Entry]],
    address: Address,
    selection: Selection,
    layout: Layout,
    kept: Set[str],
) -> Iterator[tuple[str, Entry]]:
    """Yield the entries that the selection would cover in any run and that are not in `kept`.

    An entry is covered if it is of the same repository and part of the tree, passes the globs, and
    is where this layout would put it. Names that differ only by case may be the same file; such an
    entry is kept.
    """
    folded = set(map(fold_key, kept))
    for key, entry in entries:
        where = entry.address
        names = zip(
            (address.workflow, address.task, address.cube),
            (where.workflow, where.task, where.cube),
            strict=True,
        )
        if (
            fold_key(key) not in folded
            and where.repo == address.repo
            and all(name_matches(pattern, name) for pattern, name in names)
            and selection.matches(entry.local_path)
            and lies_there(key, entry, layout)
        ):
            yield key, entry


def lies_there(key: str, entry: Entry, layout: Layout) -> bool:
    """Tell whether a layout puts an artifact at this place."""
    try:
        return str(place_of(artifact_of(entry), layout, portable=False)) == key
    except UnsafePath:
        return False


def artifact_of(entry: Entry) -> Artifact:
    """Return the artifact of an entry, as it was listed when it was downloaded."""
    return Artifact(entry.address, entry.local_path, "", entry.dates)


def prune(
    folder: KnownFolder, entries: Iterable[tuple[str, Entry]], *, dry_run: bool
) -> list[FileResult]:
    """Remove unchanged artifacts; return what was removed, or would be.

    A changed file is kept, and so is its entry. What cannot be removed has failed.
    """
    results = []
    for key, entry in entries:
        removable = folder.removable(key, entry)
        outcome, error = Outcome.PLANNED if dry_run else Outcome.DELETED, None
        try:
            if not dry_run:
                folder.remove(key, entry, removable)
        except LocalError as failure:
            outcome, error = Outcome.FAILED, failure
        if removable:
            path = folder.shown_path(key, entry)
            result = FileResult(artifact_of(entry), path, outcome, error=error, action="delete")
            results.append(result)
    return results
