"""Judges the contents of an archive: whether it is a folder's, and where each member may land.

Pure decisions; `tar` reads the archive, and `aside` stores the members.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple, Self

from ..select import components, path_pattern
from .paths import MAX_NAME, PLAIN_PATH, fold_key, path_flaw
from .records import Stored, above_all
from .tar import Kind, Member
from .tar_fields import UnsafeArchive

MOST_MEMBERS = 1_000_000
_ALWAYS_ALLOWED = 256 << 20
_LARGEST_RATIO = 200
_GLOB = r"[*?[]"
_ARCHIVE_NAME = r"(?i).*\.(tar(\.[a-z0-9]+)?|tgz|taz|tbz|tbz2|tz2|txz|tlz|tzst)"


def most_bytes(archive_size: int) -> int:
    """Return how many bytes an archive of that size may contain."""
    return max(_ALWAYS_ALLOWED, _LARGEST_RATIO * archive_size)


class Form(Enum):
    """What a `local_path` says about an object that is an archive."""

    FOLDER = "a folder's"
    """It may be the name of a folder: any archive is unpacked."""
    ARCHIVE = "an archive's"
    """It is the name of an archive: it is kept, unless it has one file of that very name."""
    FILE = "a file's"
    """It is kept, unless all its members are at that name or below."""


class Name(NamedTuple):
    """A `local_path` as the name of an archive's contents; `base` is where members land."""

    form: Form
    base: tuple[str, ...]
    glob: str = ""
    """The whole pattern, if it is a glob."""
    is_explicit: bool = False
    """Whether it ends with `/`, and so cannot be the name of a file."""

    @classmethod
    def of(cls, local_path: str) -> Self:
        """Parse a path as the service sent it."""
        parts = components(local_path)
        plain = tuple(_before_glob(parts))
        glob = "/".join(parts) if len(plain) < len(parts) else ""
        last, is_explicit = parts[-1] if parts else "", local_path.endswith("/")
        form = Form.FILE
        if not is_explicit and re.fullmatch(_ARCHIVE_NAME, last):
            form = Form.ARCHIVE
        elif is_explicit or glob or "." not in last:
            form = Form.FOLDER
        return cls(form, plain, glob, is_explicit or bool(glob))

    @property
    def may_be_folder(self) -> bool:
        """Whether a folder may exist there already: its files are then checked one by one."""
        return self.form is Form.FOLDER or bool(self.glob)


def _before_glob(parts: Iterable[str]) -> Iterable[str]:
    for part in parts:
        if re.search(_GLOB, part):
            return
        yield part


class Contents:
    """The contents of an archive: files and symlinks by name, and folders."""

    def __init__(self) -> None:
        self.files: dict[str, Stored] = {}
        self.folders: set[str] = set()
        self.count = 0

    def name_of(self, member: Member) -> str:
        """Return a member's name without `./` and doubled `/`, and count it.

        Raises `UnsafeArchive` for a name that is absolute, has `..`, or came before.
        """
        self.count += 1
        if self.count > MOST_MEMBERS:
            raise UnsafeArchive(f"it has more than {MOST_MEMBERS:,} members")
        name = member.name
        if not PLAIN_PATH.fullmatch(name):  # nearly all names are, and there may be a million
            name = normal_name(name)
        if member.kind is Kind.FOLDER:
            self.folders.add(name)
        elif not name:
            raise UnsafeArchive("a file in it has no name")
        elif name in self.files:
            raise UnsafeArchive(f"{name} is in it twice")
        return name

    def original(self, member: Member) -> Stored:
        """Return the member that a hard link refers to."""
        found = self.files.get(normal_name(member.target))
        if found is None:
            raise UnsafeArchive(f"{member.name} in it is a link to a file that is not before it")
        return found


def normal_name(name: str) -> str:
    """Return a name without `./` and doubled `/`. Raises `UnsafeArchive` for an unsafe one."""
    if name.startswith("/"):
        raise UnsafeArchive(f"{name} in it is an absolute path")
    parts = components(name)
    if ".." in parts:
        raise UnsafeArchive(f"{name} in it leads out of it")
    return "/".join(parts)


class Arrangement(NamedTuple):
    """Where members land, relative to the base; the empty name is the base itself."""

    files: Mapping[str, Stored]
    folders: frozenset[str]
    """The empty folders."""
    prefix: str = ""
    """What was removed from the names in the archive."""

    @property
    def is_one_file(self) -> bool:
        """Whether it is a single file in an archive."""
        return "" in self.files

    def packed_folder(self, folder: str) -> str:
        """Return the name in the archive of the folder that files of a folder come from."""
        if self.is_one_file:
            return self.prefix.rpartition("/")[0]
        return f"{self.prefix}/{folder}" if self.prefix and folder else self.prefix or folder


def arranged(contents: Contents, name: Name) -> Arrangement | None:
    """Remove the prefix that repeats the name; return None if the archive is to be kept.

    The prefix is the whole name, or else its last component. Folders above it are ignored: they are
    there if the folder was packed from further up.
    """
    candidates = dict.fromkeys(["/".join(name.base), "/".join(name.base[-1:])])
    prefix = next((one for one in candidates if one and _all_lie_at(contents, one, name)), None)
    if name.form is Form.FILE and prefix is None:
        return None
    if name.form is Form.ARCHIVE and not _is_of_archive_name(contents, name, prefix):
        return None
    cut = 0 if prefix is None else len(prefix) + 1
    files = {path[cut:]: stored for path, stored in contents.files.items()}
    folders = {path[cut:] for path in contents.folders if not cut or len(path) >= cut - 1}
    empty = folders - above_all([*files, *folders]) - {""} if folders else folders
    return Arrangement(files, frozenset(empty), prefix or "")


def _all_lie_at(contents: Contents, prefix: str, name: Name) -> bool:
    below = f"{prefix}/"
    at = "" if name.is_explicit else prefix
    if not all(path == at or path.startswith(below) for path in contents.files):
        return False
    above = {"", *("/".join(prefix.split("/")[:n]) for n in range(1, prefix.count("/") + 1))}
    seen = [path for path in contents.folders if path not in above]
    lie = all(path == prefix or path.startswith(below) for path in seen)
    return lie and bool(contents.files or seen)


def _is_of_archive_name(contents: Contents, name: Name, prefix: str | None) -> bool:
    """Tell whether an archive with an archive's name only has a file of that very name."""
    if name.glob:
        base = "/".join((*name.base, ""))
        full = path_pattern(name.glob)
        return bool(contents.files) and all(
            full.fullmatch(path) or full.fullmatch(base + path) for path in contents.files
        )
    return prefix is not None and list(contents.files) == [prefix]


def check_places(
    arrangement: Arrangement, base: tuple[str, ...], *, portable: bool, fold: bool
) -> None:
    """Check the places of all members below a base, as if each were an artifact.

    With `fold`, names that differ by case or normalisation are the same. Raises `UnsafeArchive` for
    the first unsafe member: a bad name, two members at one place, a file that is another's folder,
    or a symlink that leads out.
    """
    folders = above_all([*arrangement.files, *arrangement.folders]) | arrangement.folders
    for folder in folders:
        _check_path((*base, *folder.split("/")), portable=portable)
    for path, stored in arrangement.files.items():
        check_name(base, path, portable=portable)
        if stored.target is not None and (
            flaw := link_flaw(path, stored.target, folders, portable=portable)
        ):
            raise UnsafeArchive(f"the link {path} in it {flaw}")
    _check_apart(arrangement, folders, fold=fold)


def check_name(base: tuple[str, ...], path: str, *, portable: bool) -> None:
    """Check a file's own name, but not its folder. Raises `UnsafeArchive`."""
    if portable or len(path) > MAX_NAME or not PLAIN_PATH.fullmatch(path):
        _check_path((*base, *components(path)), portable=portable)


def _check_path(parts: tuple[str, ...], *, portable: bool) -> None:
    if flaw := path_flaw(parts, portable=portable):
        raise UnsafeArchive(f"{'/'.join(parts)} in it cannot be used: {flaw}")


def _check_apart(arrangement: Arrangement, folders: set[str], *, fold: bool) -> None:
    if not fold and "" not in arrangement.files and folders.isdisjoint(arrangement.files):
        return
    keys = fold_key if fold else str
    folded = set(map(keys, folders))
    seen: set[str] = set()
    for path in arrangement.files:
        key = keys(path)
        if key in folded or (not path and len(arrangement.files) > 1):
            raise UnsafeArchive(f"{path or 'its one name'} in it is a file and a folder")
        if key in seen:
            raise UnsafeArchive(f"{path} in it differs from another only by case or normalisation")
        seen.add(key)


def link_flaw(path: str, target: str, folders: set[str], *, portable: bool) -> str | None:
    """Return why a symlink must not be made; None if it is relative and stays inside.

    A `..` behind a name would lead elsewhere if that name were a link, so the name must be one of
    the archive's own folders.
    """
    if not path:
        return "has no name of its own"
    if not target or target.startswith("/"):
        return "leads to an absolute path" if target else "leads nowhere"
    here, is_named = path.split("/")[:-1], False
    for part in components(target):
        if part != "..":
            here.append(part)
            is_named = True
        elif not here or (is_named and "/".join(here) not in folders):
            return "leads out of it"
        else:
            here.pop()
    names = tuple(part for part in components(target) if part != "..")
    flaw = path_flaw(names, portable=portable) if names else None
    return f"leads to a path that cannot be used: {flaw}" if flaw else None
