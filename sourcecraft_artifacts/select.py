"""Selecting artifacts by globs, in which only `*`, `**` and `?` are special."""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, Self

from .checks import globs

_WIDE = r"((?:^|(?<=/))\*\*/|\*{2,})"
_MOST_COMPARED = 2000
_MOST_ALIKE = 10
_STARS = r"\*+"


def components(local_path: str) -> tuple[str, ...]:
    """Split at slashes, without empty and `.` components; `..` is kept, to be refused."""
    names = local_path.split("/")
    if "" in names or "." in names:
        names = [name for name in names if name and name != "."]
    return tuple(names)


def normalised(local_path: str) -> str:
    """Return the path that globs match: no leading, doubled or trailing `/`, and no `.`."""
    return "/".join(components(local_path))


@lru_cache(maxsize=1024)
def name_pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob for a whole name, in which `*` and `?` also match a `/`."""
    return re.compile(_translated(re.sub(_STARS, "*", glob), "."), re.DOTALL)


@lru_cache(maxsize=1024)
def path_pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob for a whole normalised path, for use with `fullmatch`.

    `*` and `?` stay inside one component; `**` matches any number of components, also none:
    `a/**/b` matches `a/b`. Without a `/` the glob is for the file name. With a `/` at its end it
    matches that path and all below it: an artifact may be a folder, whose normalised path has lost
    its `/`. `.` and `./` match the empty path.
    """
    if glob in (".", "./"):
        return re.compile("")
    if "/" not in glob:
        name = _translated(re.sub(_STARS, "*", glob), "[^/]")
        return re.compile(f"(?>(?:.*/)?){name}", re.DOTALL)
    below = glob.endswith("/")
    whole = normalised(glob) or ("**" if below else "")
    return re.compile(_translated(whole, "[^/]") + ("(?:/.*)?" if below else ""), re.DOTALL)


def _translated(glob: str, any_character: str) -> str:
    """Translate a glob into a regular expression; `*` and `?` match `any_character`.

    Paths come from outside, and a crafted one could make a regular expression backtrack very long.
    Therefore each star but the last stops at the first place where the text after it matches, for
    good; the next star covers the rest. Matching then takes about linear time in the path's length.
    """
    first, *rest = re.split(_WIDE, glob)
    pattern = _narrow(first, any_character, last=not rest)
    for at in range(0, len(rest), 2):
        last = at == len(rest) - 2
        behind = _narrow(rest[at + 1], any_character, last=last)
        if last:
            pattern += ("(?:.*/)?" if rest[at] == "**/" else ".*") + behind
        else:
            pattern += "(?>" + ("(?:.*?/)??" if rest[at] == "**/" else ".*?") + behind + ")"
    return pattern


def _narrow(glob: str, any_character: str, *, last: bool) -> str:
    """Translate the part between two `**`; the part after the `last` one reaches to the end."""
    first, *pieces = (_fixed(piece, any_character) for piece in glob.split("*"))
    for at, piece in enumerate(pieces, start=1):
        to_the_end = last and at == len(pieces)
        first += f"{any_character}*{piece}" if to_the_end else f"(?>{any_character}*?{piece})"
    return first


def _fixed(glob: str, any_character: str) -> str:
    return "".join(any_character if one == "?" else re.escape(one) for one in glob)


class _Patterns(NamedTuple):
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Selection(_Patterns):
    """Selects artifacts that match an `include` (or all, if there is none) and no `exclude`.

    A single pattern may be given as a string. Raises `UsageError`.
    """

    __slots__ = ()

    def __new__(cls, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Self:
        return super().__new__(cls, globs("include", include), globs("exclude", exclude))

    def matches(self, local_path: str) -> bool:
        """Tell whether an artifact is selected, given its path as the service sent it."""
        if not (self.include or self.exclude):
            return True
        path = normalised(local_path)
        if self.include and not _any_matches(self.include, path):
            return False
        return not _any_matches(self.exclude, path)


def most_like(patterns: Iterable[str], local_paths: Iterable[str]) -> list[str]:
    """Return the paths that a misspelt pattern may mean, as the service sent them, best first.

    A pattern without a `/` is compared with file names; at most a few thousand are compared.
    """
    from difflib import get_close_matches

    paths, found = list(islice(local_paths, _MOST_COMPARED)), list[str]()
    for pattern in patterns:
        plain = re.sub("[*?]", "", pattern).lower()
        by_name: dict[str, list[str]] = {}
        for path in paths:
            whole = normalised(path).lower()
            name = whole if "/" in pattern else whole.rpartition("/")[2]
            by_name.setdefault(name, []).append(path)
        for name in get_close_matches(plain, by_name, n=_MOST_ALIKE) if plain else ():
            found += by_name[name]
    return list(dict.fromkeys(found))


def _any_matches(globs: tuple[str, ...], path: str) -> bool:
    return any(path_pattern(glob).fullmatch(path) for glob in globs)
