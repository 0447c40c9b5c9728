"""Says how to repair what `verify` found: the command that downloads it again."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Mapping
from itertools import takewhile

from ..choices import Layout
from ..disk.entry import Entry
from ..disk.paths import UnsafePath, safe_path
from ..disk.records import Stored, below
from ..errors import ArtifactsError
from ..models import CubeAddress
from ..select import normalised
from ..service.address import Address, is_glob
from ..text import some_of, visible
from .known_folder import KnownFolder
from .prune import lies_there
from .verify import Checked

MOST_PATTERNS = 5
"""The most artifacts that a command names one by one."""
_AGAIN = "to repair what differs,"


def repair_hint(directory: str, wrong: Iterable[Checked]) -> str:
    """Return the command that downloads files again which are not as they were.

    If no one command can, it says which downloads have to be run again.
    """
    with KnownFolder(directory) as folder:
        files = [(one, folder.manifest.get(one.key)) for one in wrong]
        entries = {one.key: entry for one, entry in files if entry is not None}
        overwrite = any(entry and _looks_right(folder, one, entry) for one, entry in files)
    words = repairing_words(directory, entries, overwrite=overwrite)
    if words is None:
        return _which_downloads(directory, entries, overwrite=overwrite)
    command = shlex.join(map(visible, ("sourcecraft-artifacts", "download", *words)))
    as_before = "" if "-i" in words else ", with the -i and -x of before if there were any"
    return f"{_AGAIN} download again{as_before}: {command}"


def _looks_right(folder: KnownFolder, wrong: Checked, entry: Entry) -> bool:
    """Tell whether a download would take a file for the right one, or for somebody else's.

    It does not read a file of the recorded size and time, and replaces nothing but plain files.
    """
    try:
        found = folder.lstat(safe_path(wrong.place, portable=False))
    except (UnsafePath, ArtifactsError):
        return False
    if found is None:
        return False
    if entry.members is None:
        return not stat.S_ISREG(found.st_mode) or entry.looks_like(found)
    member = entry.members.get(below(entry.base, wrong.place), Stored())
    return (found.st_size, found.st_mtime_ns) == (member.size, member.mtime_ns)


def repairing_words(
    directory: str, entries: Mapping[str, Entry], *, overwrite: bool
) -> list[str] | None:
    """Return the arguments of the download of just these artifacts, given by their places.

    A few are named with `-i`; more are not, and then the command may cover others too. None if no
    one command puts them all where they were.
    """
    cubes = {entry.address for entry in entries.values()}
    packed = {_was_kept_packed(entry) for entry in entries.values()} - {None}
    if len({(cube.repo, cube.run) for cube in cubes}) != 1 or len(packed) > 1:
        return None
    repo, *names = _common(cubes)
    usual = Layout.MIRROR if Address(repo, *names).exact else Layout.NESTED
    layouts = sorted((Layout.MIRROR, Layout.NESTED, Layout.FLAT), key=usual.__ne__)
    fits = (one for one in layouts if all(lies_there(*item, one) for item in entries.items()))
    layout = next(fits, None)
    patterns = sorted({_pattern(entry.local_path) for entry in entries.values()})
    # A pattern may match in other cubes too, where it must neither collide nor replace anything.
    if layout is None or (len(cubes) > 1 and (layout is not Layout.NESTED or overwrite)):
        return None
    names_each = len(patterns) <= MOST_PATTERNS
    # Any other artifact may have the file name of one of these.
    if layout is Layout.FLAT and (not names_each or any(map(is_glob, patterns))):
        return None
    words = [*names, "--repo", repo, "--dir", directory]
    words += [] if layout is usual else ["--layout", str(layout)]
    words += ["--no-unpack"] if packed == {True} else []
    if names_each:
        words += [word for pattern in patterns for word in ("-i", pattern)]
    return [*words, *(["--if-exists", "overwrite"] if overwrite else [])]


def _common(cubes: Iterable[CubeAddress]) -> list[str]:
    """Return the first names of addresses, as far as they are the same."""
    same = takewhile(lambda names: len({*names}) == 1, zip(*cubes, strict=True))
    return [names[0] for names in same]


def _was_kept_packed(entry: Entry) -> bool | None:
    """Tell whether `--no-unpack` was given; None if unpacking would make no difference."""
    if entry.members is not None:
        return False
    return None if entry.is_judged else True


def _pattern(local_path: str) -> str:
    """Return a pattern for `-i` that matches this path, and no other by its file name alone."""
    path = normalised(local_path)
    shown = "".join(one if visible(one) == one else "?" for one in path)
    return shown if "/" in shown else f"./{shown}"


def _which_downloads(directory: str, entries: Mapping[str, Entry], *, overwrite: bool) -> str:
    """Say which downloads would repair the folder, one after the other."""
    cubes = sorted({entry.address for entry in entries.values()})
    runs = dict.fromkeys(f"run {visible(one.run)} of {visible(one.repo)}" for one in cubes)
    which = f" {some_of(runs) if len(runs) > MOST_PATTERNS else ' and '.join(runs)}"
    replacing = " and --if-exists overwrite" if overwrite else ""
    return (
        f"{_AGAIN} download{which} into {visible(directory)} again,"
        f" with the options of before{replacing}"
    )
