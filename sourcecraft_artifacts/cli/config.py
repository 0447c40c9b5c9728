"""The settings and the token: the environment, then the config file.

No message, `repr` or log of this module holds a token or a line of the config file.
"""

import os
import re
import string
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import LocalError, UsageError
from ..service.access import api_host, clean_token
from ..text import near, visible
from .toml_edit import parse, with_token

# tomllib and platformdirs are imported where they are used: they cost start-up time.

TOKEN_VARIABLE = "SOURCECRAFT_TOKEN"
_KEYS = ("api_url", "repo", "tokens")
_MOST_SHOWN = 60
_LARGEST = 64 << 10
"""The largest config file, in bytes."""
_MOST_DOTS = 500
"""The most dots in a line: the parser's time grows with their square."""


class Config(NamedTuple):
    """The settings in the config file. `tokens` maps an API host, in lower case, to its token."""

    path: str
    api_url: str | None = None
    repo: str | None = None
    tokens: Mapping[str, str] = MappingProxyType({})
    unknown: tuple[str, ...] = ()
    """Unknown keys in the file."""

    def __repr__(self) -> str:
        return f"Config({self.path!r})"

    def warnings(self) -> Iterator[str]:
        """Say which keys are unknown, each with the known one that is most like it."""
        for key in self.unknown:
            longer = "".join(known for known in _KEYS if key.lower().startswith(known))
            likely, where = near(key, _KEYS) or longer, f"in the config file {self.path}"
            meant = f"; did you mean {likely}?" if likely else f"; known are {', '.join(_KEYS)}"
            yield f"the key {key[:_MOST_SHOWN]} {where} is unknown{meant}"


class Token(NamedTuple):
    """A token, and a phrase that says where it comes from."""

    value: str
    source: str

    @property
    def hint(self) -> str:
        """What to do if the API refuses it."""
        flaw = "may have expired, or lack permission for this repository"
        change = "log in again with `sourcecraft-artifacts auth login`"
        if self.source == f"the variable {TOKEN_VARIABLE}":
            change = f"set another one, or unset it and {change}"
        return f"the token in {self.source} {flaw}: {change}"

    def __repr__(self) -> str:
        return f"Token({self.source!r})"


def config_path() -> str:
    """Return the path of this user's config file, whether or not it exists.

    The path is relative when no home folder is known; then it must not be used.
    """
    from platformdirs import user_config_dir

    try:
        folder = user_config_dir("sourcecraft-artifacts", appauthor=False)
    except RuntimeError:  # neither HOME nor the system's user database names one
        folder = ""
    return os.path.join(folder, "config.toml")


def load_config(path: str | None = None) -> Config:
    """Read the config file; an absent one is empty.

    Raises `UsageError`, which names the file and the line, if it is unreadable or invalid.
    """
    path = config_path() if path is None else path
    data = _parsed(_read(path), path)
    return Config(
        path=path,
        api_url=_setting(data, "api_url", path),
        repo=_setting(data, "repo", path),
        tokens={host.lower(): token for host, token in _tokens(data, path).items()},
        unknown=tuple(key for key in data if key not in _KEYS),
    )


def _read(path: str) -> str:
    from ..disk.files import NotPlain, read_plain

    if not os.path.isabs(path):
        return ""
    try:
        text = read_plain(path, _LARGEST).decode()
    except NotPlain as flaw:
        if os.path.realpath(path) == os.devnull:  # which counts as an empty file
            return ""
        reason = f"it is {flaw}"
        raise UsageError(f"the config file {visible(path)} cannot be read: {reason}") from None
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as exc:
        # HOME may be a folder of another user, as in containers: then there is no config file.
        if isinstance(exc, PermissionError) and not os.path.lexists(path):
            return ""
        raise UsageError(f"the config file {visible(path)} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise UsageError(f"the config file {visible(path)} is not UTF-8") from None
    _refuse_dots(text, path)
    return text


def _refuse_dots(text: str, path: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            where = f"line {number} of the config file {visible(path)}"
            raise UsageError(f"{where} has more than {_MOST_DOTS:,} dots")


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return parse(text)
    except (ValueError, RecursionError) as exc:
        # The parser's own message may quote a token, so only the line number is taken from it.
        line = re.search(r"at line \d+", str(exc))
        where = line[0] if line else "at its end"
        raise UsageError(
            f"the config file {visible(path)} is not valid TOML {where}",
            hint='text has quotes there, as in: repo = "acme/app"',
        ) from None


def _setting(data: Mapping[str, Any], key: str, path: str) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise UsageError(f"{key} in the config file {visible(path)} is not a string")


def _tokens(data: Mapping[str, Any], path: str) -> dict[str, str]:
    tokens = data.get("tokens", {})
    if isinstance(tokens, dict) and all(isinstance(token, str) for token in tokens.values()):
        return tokens
    raise UsageError(
        f"[tokens] in the config file {visible(path)} is not a table of strings",
        hint='write each host in quotes: "api.sourcecraft.tech" = "..."',
    )


def find_token(environ: Mapping[str, str], config: Config, api_url: str) -> Token | None:
    """Return the token for an API: from the variable, else the one stored for exactly this host.

    An empty token counts as none. Raises `UsageError` for a malformed token.
    """
    stored = config.tokens.get(api_host(api_url), "")
    for text, source in (
        (environ.get(TOKEN_VARIABLE, ""), f"the variable {TOKEN_VARIABLE}"),
        (stored, f"the config file {visible(config.path)}"),
    ):
        if text.strip(string.whitespace):
            return Token(clean_token(text, f"the token in {source}"), source)
    return None


def save_token(host: str, token: str, path: str | None = None) -> None:
    """Store a token under its API host; the rest of the config file is unchanged.

    Raises `UsageError` for a bad token or a config file in a form that cannot be edited, and
    `LocalError` if it cannot be written. The old file is then unchanged.
    """
    _edit(host.lower(), clean_token(token), config_path() if path is None else path)


def remove_token(host: str, path: str | None = None) -> bool:
    """Remove an API host's token; tell whether there was one. Raises what `save_token` raises."""
    path = config_path() if path is None else path
    if host.lower() not in load_config(path).tokens:
        return False
    _edit(host.lower(), None, path)
    return True


def _edit(host: str, token: str | None, path: str) -> None:
    """Change one token, and check that the edited text parses as the old one with that change."""
    old = _read(path)
    data = _parsed(old, path)
    kept = {key: value for key, value in _tokens(data, path).items() if key.lower() != host}
    wanted = {**data, "tokens": kept if token is None else {**kept, host: token}}
    new = with_token(old, host, token)
    _refuse_dots(new, path)
    if not _reads_as(new, wanted):
        raise UsageError(
            f"the config file {visible(path)} holds its tokens in a form that cannot be edited",
            hint=f'edit it by hand: under a line [tokens], write "{visible(host)}" = "TOKEN"',
        )
    if len(new.encode()) > _LARGEST:
        raise UsageError(
            f"the config file {visible(path)} would be larger than {_LARGEST:,} bytes",
            hint="remove what is not needed from it",
        )
    _write(path, new)


def _reads_as(text: str, data: Mapping[str, Any]) -> bool:
    try:
        return parse(text) == data
    except ValueError:
        return False


def _write(path: str, text: str) -> None:
    """Replace the config file atomically; only its owner can read it, from the first byte on.

    If it is a symlink, as dotfile managers make it, its target is replaced. After an error the old
    file is unchanged and no temporary file is left.
    """
    if not os.path.isabs(path):
        raise LocalError(
            "no home folder is known for the config file",
            hint=f"set HOME, or give the token in {TOKEN_VARIABLE}",
        )
    target = os.path.realpath(path)
    try:
        if os.path.lexists(target) and not os.path.isfile(target):
            raise LocalError(f"the config file {visible(path)} is not a regular file")
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        from ..disk.files import write_private

        write_private(*os.path.split(target), text.encode(), sync=True)
    except OSError as exc:
        raise LocalError(
            f"the config file {visible(path)} cannot be written: {exc.strerror}",
            hint=f"make its folder writable, or give the token in {TOKEN_VARIABLE}",
        ) from exc
