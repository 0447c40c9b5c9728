"""Choosing artifacts by globs, in which only `*`, `**` and `?` are special."""

import re
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"(?:^|(?<=/))\*\*/|\*\*|[*?]|[^*?]+")
_STARS = re.compile(r"\*+")


def components(local_path: str) -> tuple[str, ...]:
    """Split at slashes, without the empty and `.` components; `..` stays, to be refused."""
    return tuple([name for name in local_path.split("/") if name not in ("", ".")])


def normalised(local_path: str) -> str:
    """Give the path as globs see it: no leading, doubled or trailing `/`, no `.`; `..` stays."""
    return "/".join(components(local_path))


@lru_cache(maxsize=1024)
def name_pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob over a whole name, in which `*` and `?` also match a `/`."""
    return re.compile(_translated(_STARS.sub("*", glob), "."), re.DOTALL)


@lru_cache(maxsize=1024)
def path_pattern(glob: str) -> re.Pattern[str]:
    """Compile a glob over a whole normalised path, for use with `fullmatch`.

    `*` and `?` stay inside one component and `**` crosses them, also none: `a/**/b` matches
    `a/b`. Without a `/` the glob is for the file name; with a `/` at its end, for all below.
    """
    if "/" not in glob:
        name = _translated(_STARS.sub("*", glob), "[^/]")
        return re.compile(f"(?:.*/)?{name}", re.DOTALL)
    whole = normalised(f"{glob}**" if glob.endswith("/") else glob)
    return re.compile(_translated(whole, "[^/]"), re.DOTALL)


def _translated(glob: str, any_character: str) -> str:
    """Turn a glob into a regular expression, in which `?` is `any_character`."""
    special = {"?": any_character, "*": f"{any_character}*", "**/": "(?:.*/)?", "**": ".*"}
    return _TOKEN.sub(lambda token: special.get(token[0]) or re.escape(token[0]), glob)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which artifacts are wanted: any that match an `include`, or all; less each `exclude`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def matches(self, local_path: str) -> bool:
        """Tell whether an artifact is wanted, by its path as the service sent it."""
        path = normalised(local_path)
        if self.include and not _any_matches(self.include, path):
            return False
        return not _any_matches(self.exclude, path)


def _any_matches(globs: tuple[str, ...], path: str) -> bool:
    return any(path_pattern(glob).fullmatch(path) for glob in globs)
