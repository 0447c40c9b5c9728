"""Decides where artifacts may land: paths from outside are checked by component.

No path is repaired: one that is not plainly below the output folder is refused.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from ..errors import UsageError
from ..models import CubeAddress
from ..select import components
from ..text import visible

STATE_FOLDER = ".sourcecraft-artifacts"

MAX_NAME = 255  # bytes: NAME_MAX of the usual file systems
_CONTROL = r"[\x00-\x1f\x7f-\x9f]"  # all of Unicode's category Cc
PLAIN_PATH = re.compile(r"[\w@+-][\w.@+-]*(?:/[\w@+-][\w.@+-]*)*", re.ASCII)
"""Nearly all paths match this; then only their length can be wrong."""
_UNPORTABLE = r'[<>:"|?*\\]'
_DEVICE = r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³]) *(\.|\Z)"
_SHORT_STATE_NAME = r"(?i)source~[0-9]+"


def refuse_state_folder(what: str, path: str) -> None:
    """Raise `UsageError` if a path that the user gave as `what` is in a state folder, or is one."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):  # then it cannot be opened either, which is told later
        return
    if STATE_FOLDER in real.split(os.sep):
        raise UsageError(f"{what}: {visible(path)} is inside {STATE_FOLDER}")


class UnsafePath(ValueError):
    """Why a path from outside is refused, as in "it has a '..' component"."""


class _Place(NamedTuple):
    parts: tuple[str, ...]
    text: str


class SafePath(_Place):
    """A place strictly below the output folder; only this type is ever joined to that.

    Its `text` has the parts, with a `/` between them. Raises `UnsafePath` for components that break
    a rule for all systems.
    """

    __slots__ = ()

    def __new__(cls, parts: tuple[str, ...]) -> Self:
        text = "/".join(parts)
        if flaw := _flaw(parts, text):
            raise UnsafePath(flaw)
        return super().__new__(cls, parts, text)

    @property
    def name(self) -> str:
        """The file's own name, the last component."""
        return self.parts[-1]

    def __str__(self) -> str:
        return self.text


def safe_path(local_path: str, *, portable: bool) -> SafePath:
    """Check a path from outside; with `portable`, and on Windows, by the Windows rules too.

    Raises `UnsafePath`.
    """
    return _place(components(local_path), portable)


def nested_path(address: CubeAddress, local_path: str, *, portable: bool) -> SafePath:
    """Return `workflow/task/cube/local_path`. Raises `UnsafePath`, also for the cube's names."""
    below = safe_path(local_path, portable=portable).parts
    return _place((address.workflow, address.task, address.cube, *below), portable)


def flat_path(local_path: str, *, portable: bool) -> SafePath:
    """Return the file's name alone. Raises `UnsafePath`, also for the folders that it loses."""
    return _place((safe_path(local_path, portable=portable).name,), portable)


def _place(parts: tuple[str, ...], portable: bool) -> SafePath:
    place = SafePath(parts)
    if (portable or os.name == "nt") and (flaw := _portable_flaw(parts)):
        raise UnsafePath(flaw)
    return place


def path_flaw(parts: tuple[str, ...], *, portable: bool) -> str | None:
    """Return why these components may not be used; None if they may.

    With `portable`, and on Windows, the Windows rules apply too.
    """
    flaw = _flaw(parts, "/".join(parts))
    if flaw is None and (portable or os.name == "nt"):
        flaw = _portable_flaw(parts)
    return flaw


def _flaw(parts: tuple[str, ...], text: str) -> str | None:
    """Return why these components are refused on every system; None if they are not."""
    if not parts:
        return "it is empty"
    if len(text) <= MAX_NAME and PLAIN_PATH.fullmatch(text) and text.count("/") == len(parts) - 1:
        return None
    if ".." in parts:
        return "it has a '..' component"
    if components(text) != parts:
        return "a name in it is not one path component"
    if re.search(_CONTROL, text):
        return "it has a control character"
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate"
    if max(map(len, encoded.split(b"/"))) > MAX_NAME:
        return f"it has a component of more than {MAX_NAME} bytes"
    plain = text.isascii() and STATE_FOLDER not in text.lower()
    if not plain and any(map(_names_state_folder, parts)):
        return f"it is inside {STATE_FOLDER}"
    return None


def _names_state_folder(name: str) -> bool:
    """Tell whether some file system would find the state folder under this name."""
    if name.isascii():
        return name.lower() == STATE_FOLDER
    # HFS+ ignores format characters in names (CVE-2014-9390 of git).
    seen = "".join(c for c in name if unicodedata.category(c) != "Cf")
    return fold_key(seen) == STATE_FOLDER


def _portable_flaw(parts: tuple[str, ...]) -> str | None:
    """Return why Windows would refuse or misread these components; None if it would not."""
    for name in parts:
        if found := re.search(_UNPORTABLE, name):
            return f"it has the character {found[0]}, which Windows refuses or misreads"
        if name[-1] in ". ":
            return "it has a component with a trailing dot or space, which Windows drops"
        if re.match(_DEVICE, name):
            return "it has a component that is a device on Windows"
    if re.fullmatch(_SHORT_STATE_NAME, parts[0]):
        return f"on Windows it may be inside {STATE_FOLDER}, by its short name"
    return None


def fold_key(text: str) -> str:
    """Make texts equal that are a canonical caseless match (Unicode 3.13, D145)."""
    if text.isascii():
        return text.lower()
    # Decomposed text stays decomposed when folded: D145's second normalisation changes nothing.
    return unicodedata.normalize("NFD", text).casefold()


class Collision(NamedTuple):
    """Paths that cannot be in one folder together, by their indexes in the plan, and why."""

    indexes: tuple[int, ...]
    reason: str


def collisions(paths: Sequence[SafePath], *, fold: bool) -> list[Collision]:
    """Find paths that collide; with `fold`, also those that differ by case or normalisation.

    Time and memory are linear in the paths' length, except for one sort.
    """
    groups: dict[str, list[int]] = {}
    for index, place in enumerate(paths):
        # Names have no NUL, so that a folder's contents sort right after the folder's own name.
        key = "\0".join(place.parts)
        groups.setdefault(fold_key(key) if fold else key, []).append(index)
    found = [_same_place(paths, group) for group in groups.values() if len(group) > 1]
    found += _folders_of_others(groups)
    return sorted(found, key=lambda collision: collision.indexes)


def _same_place(paths: Sequence[SafePath], group: list[int]) -> Collision:
    if len({paths[index] for index in group}) == 1:
        return Collision(tuple(group), "another artifact has the same path")
    return Collision(
        tuple(group), "it differs from another path only by case or Unicode normalisation"
    )


def _folders_of_others(groups: dict[str, list[int]]) -> Iterator[Collision]:
    """Yield each path that is a folder of others, with the paths whose nearest folder it is."""
    below: dict[str, list[int]] = {}
    above: list[str] = []
    for key in sorted(groups):
        while above and not key.startswith(above[-1] + "\0"):
            above.pop()
        if above:
            below.setdefault(above[-1], []).extend(groups[key])
        above.append(key)
    for key, indexes in below.items():
        yield Collision((*groups[key], *indexes), "one of these paths is a folder of the others")


def folds_names(directory: str) -> bool:
    """Tell whether names that differ by case or normalisation are the same file in a folder.

    Nothing is written: it looks for an existing name with its case swapped, in the folder itself
    or in the nearest one above it on the same file system. Without such a name it returns False.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    folder = os.path.realpath(directory)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        while (name := _name_with_case(folder)) is None:
            above = os.path.dirname(folder)
            if above == folder or os.stat(above).st_dev != os.stat(folder).st_dev:
                return False
            folder = above
        swapped = name.swapcase()
        found = os.lstat(os.path.join(folder, swapped))
        same = os.path.samestat(os.lstat(os.path.join(folder, name)), found)
        # On some file systems inode numbers change; there, the listing has only one of the names.
        return same or swapped not in os.listdir(folder)
    except OSError:
        return False


def _name_with_case(folder: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries)
            return next((n for n in names if n.isascii() and n != n.swapcase()), None)
    except OSError:
        return None
