"""Moves the members of an archive to their places, and removes files of an older version."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from ..disk.paths import UnsafePath
from ..disk.places import by_folder, grouped, place_in, split
from ..disk.records import FOLDER, Places, above_all, is_as_left, joined
from ..disk.tree import Tree
from ..errors import ArtifactsError, LocalError
from ..text import count, visible

if TYPE_CHECKING:
    from ..disk.archives import Check
    from ..disk.aside import Aside
    from .landing import Landing

_TELL_EVERY = 2000


def move_in(
    tree: Tree, landing: Landing, aside: Aside, check: Check, tell: Callable[[str], None]
) -> None:
    """Move the files to their places, folder by folder. Raises OSError, `Refused`, `Cancelled`."""
    for place in landing.in_the_way:
        folder, name = split(place)
        with tree.parent(place_in(folder, "-"), create=False) as parent:
            parent.unlink(name)
    aside.close_folders()
    left = dict(by_folder(landing.files))
    done, total = 0, len(landing.files)
    new = _move_new_folders(tree, landing, left, aside)
    for moved in chain(new, _move_files(tree, landing, left, aside)):
        check()
        done += moved
        if done // _TELL_EVERY != (done - moved) // _TELL_EVERY:
            tell(f"putting {done:,} of {total:,} in place")
    for place in landing.folders:
        with tree.parent(place_in(place, "-"), create=True):
            pass


def _move_new_folders(
    tree: Tree, landing: Landing, left: dict[str, list[str]], aside: Aside
) -> Iterator[int]:
    """Move folders that do not exist yet, with all that is in them; yield the numbers of files.

    Those that came into being meanwhile are left, so that their files are moved one by one.
    """
    for new, folders in landing.new_folders.items():
        above, name = split(new)
        with tree.parent(place_in(above, "-"), create=True) as parent:
            if aside.move_folder(landing.packed_folder(new), parent, name):
                yield sum(len(left.pop(folder)) for folder in folders)


def _move_files(
    tree: Tree, landing: Landing, left: Mapping[str, list[str]], aside: Aside
) -> Iterator[int]:
    """Move the files of the folders that are left; yield their numbers."""
    for folder, names in left.items():
        source = aside.folder(landing.packed_folder(folder))
        with tree.parent(place_in(folder, "-"), create=True) as parent:
            for name in names:
                aside.move_file(source, name, parent)
        yield len(names)


def touched_folders(landing: Landing) -> Iterator[tuple[str, ...]]:
    """Yield the folders that have to be synced."""
    yield ()
    for folder in above_all([*landing.files, *landing.folders]):
        yield tuple(folder.split("/"))


def remove_old(tree: Tree, places: Places, keep: Callable[[str], bool]) -> dict[str, OSError]:
    """Remove unchanged files of an older version, and folders that become empty.

    What was changed is kept. Returns the places of files that could not be examined or removed,
    each with the error.
    """
    emptied: set[str] = set()
    stuck: dict[str, OSError] = {}
    for place, records in grouped(places).items():
        if keep(place):
            continue
        folder, name = split(place.rstrip("/"))
        if any(record == FOLDER for record in records):
            emptied.add(place.rstrip("/"))
            continue
        try:
            with tree.parent(place_in(folder, "-"), create=False) as parent:
                if any(is_as_left(record, parent, name, exactly=False) for record in records):
                    parent.unlink(name)
                    emptied.add(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            stuck[place] = error
        except (ArtifactsError, UnsafePath):  # a folder above it is no folder any more
            continue
    for folder in _with_those_above(emptied):
        if not keep(f"{folder}/"):
            _remove_if_empty(tree, folder)
    return stuck


def raise_first(stuck: Mapping[str, OSError]) -> None:
    """Raise `LocalError` for the first file of an older version that could not be removed."""
    for place, error in stuck.items():
        more = f", nor {count(len(stuck) - 1, 'other')}" if len(stuck) > 1 else ""
        raise LocalError(
            f"its old file {visible(place)} cannot be removed{more}: {error.strerror}",
            hint="check the permissions of the folder, and run the same command again",
        ) from error


def remove_empty(tree: Tree, folder: str) -> None:
    """Remove a folder and those below it if they are empty, as a killed run may leave them."""
    with (
        suppress(OSError, ArtifactsError, UnsafePath),
        tree.parent(place_in(folder, "-"), create=False) as parent,
    ):
        for name in parent.listdir():
            found = parent.lstat(name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                remove_empty(tree, joined(folder, name))
    _remove_if_empty(tree, folder)


def _with_those_above(folders: set[str]) -> list[str]:
    """Return folders and all their parents, the deepest first."""
    found = {*folders} | above_all(folders)
    return sorted(found - {""}, key=lambda folder: -folder.count("/"))


def _remove_if_empty(tree: Tree, folder: str) -> None:
    above, name = split(folder)
    with (
        suppress(OSError, ArtifactsError, UnsafePath),
        tree.parent(place_in(above, "-"), create=False) as parent,
    ):
        parent.rmdir(name)
        tree.forget(tuple(folder.split("/")))
