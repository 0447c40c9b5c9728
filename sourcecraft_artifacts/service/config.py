"""The settings and the token: the environment, then the config file (contract section 6).

No message, `repr` or log of this module holds a token or a line of the config file.
"""

import os
import re
import string
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import LocalError, UsageError
from ..text import visible
from ..urls import shown_url, unsafe_url_reason
from .toml_edit import parse, with_token

# tomllib, tempfile and platformdirs are imported where they are used: start-up time is felt.

DEFAULT_API_URL = "https://api.sourcecraft.tech"
TOKEN_VARIABLE = "SOURCECRAFT_TOKEN"


@dataclass(frozen=True, slots=True)
class Config:
    """What the config file says. `tokens` maps an API host, in lower case, to its token."""

    path: str
    api_url: str | None = None
    repo: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and, in words, the place that it comes from."""

    value: str = field(repr=False)
    source: str


def config_path() -> str:
    """Name the config file of this user, whether or not it exists.

    The path is relative when no home folder is known: then it must not be used.
    """
    from platformdirs import user_config_dir

    return os.path.join(user_config_dir("sourcecraft-artifacts", appauthor=False), "config.toml")


def load_config(path: str | None = None) -> Config:
    """Read the config file; an absent one is empty.

    Raises `UsageError` where it is unreadable or wrong, naming the file and the line.
    """
    path = config_path() if path is None else path
    data = _parsed(_read(path), path)
    return Config(
        path=path,
        api_url=_setting(data, "api_url", path),
        repo=_setting(data, "repo", path),
        tokens={host.lower(): token for host, token in _tokens(data, path).items()},
    )


def _read(path: str) -> str:
    if not os.path.isabs(path):
        return ""
    try:
        with open(path, "rb") as file:
            return file.read().decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as exc:
        # A home that may not be entered, as under a foreign user id in a container, holds nothing.
        if isinstance(exc, PermissionError) and not os.path.lexists(path):
            return ""
        raise UsageError(f"the config file {visible(path)} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise UsageError(f"the config file {visible(path)} is not UTF-8") from None


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return parse(text)
    except (ValueError, RecursionError) as exc:
        # The parser's own words may quote the file.
        line = re.search(r"at line \d+", str(exc))
        where = line[0] if line else "at its end"
        raise UsageError(f"the config file {visible(path)} is not valid TOML {where}") from None


def _setting(data: Mapping[str, Any], key: str, path: str) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise UsageError(f"{key} in the config file {visible(path)} is not text")


def _tokens(data: Mapping[str, Any], path: str) -> dict[str, str]:
    tokens = data.get("tokens", {})
    if isinstance(tokens, dict) and all(isinstance(token, str) for token in tokens.values()):
        return tokens
    raise UsageError(
        f"[tokens] in the config file {visible(path)} is not a table of texts",
        hint='write each host in quotes: "api.sourcecraft.tech" = "..."',
    )


def find_token(environ: Mapping[str, str], config: Config, api_url: str) -> Token | None:
    """Choose the token for an API: the variable, else the one stored for exactly this host.

    An empty one counts as none. Raises `UsageError` for a malformed one.
    """
    stored = config.tokens.get(api_host(api_url), "")
    for text, source in (
        (environ.get(TOKEN_VARIABLE, ""), f"the variable {TOKEN_VARIABLE}"),
        (stored, f"the config file {visible(config.path)}"),
    ):
        if text.strip(string.whitespace):
            return Token(clean_token(text, f"the token in {source}"), source)
    return None


def clean_token(text: str, what: str = "the token") -> str:
    """Trim ASCII whitespace around a token; its form is not judged beyond that it can be sent.

    Raises `UsageError`, without the token, when nothing is left or when it holds control or
    non-ASCII characters, which no header value may hold (RFC 9110, 5.5).
    """
    token = text.strip(string.whitespace)
    if not token:
        raise UsageError(f"{what} is empty")
    if not (token.isascii() and token.isprintable()):
        raise UsageError(
            f"{what} holds a control or non-ASCII character", hint="copy the token again"
        )
    return token


def masked(token: str) -> str:
    """Show the last four characters of a token, and none at all of a short one."""
    return "****" + (token[-4:] if len(token) >= 16 else "")


def check_api_url(url: str) -> str:
    """Check the address of the API and drop its trailing slashes.

    https, or http on loopback; no user info, query or fragment. Raises `UsageError`.
    """
    reason = unsafe_url_reason(url)
    if reason is None and re.search(r"[?#]", url):
        reason = "it holds a query or a fragment"
    if reason is None:
        return url.rstrip("/")
    raise UsageError(
        f"the API address {visible(shown_url(url))} cannot be used: {reason}",
        hint=f"it looks like {DEFAULT_API_URL}; see --api-url, SOURCECRAFT_API_URL and api_url",
    )


def api_host(api_url: str) -> str:
    """Name the host that a token is bound to, of a checked API address.

    In lower case, with the port unless it is the default one of the scheme.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(api_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    default = {"https": 443, "http": 80}[parts.scheme]
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def save_token(host: str, token: str, path: str | None = None) -> None:
    """Store a token under its API host; the rest of the config file stays as it is.

    Raises `UsageError` for a bad token or a file that cannot be edited, and `LocalError` for one
    that cannot be written. The old file is left whole then.
    """
    _edit(host.lower(), clean_token(token), config_path() if path is None else path)


def remove_token(host: str, path: str | None = None) -> bool:
    """Remove the token of an API host; tell whether there was one. Errors as `save_token`."""
    path = config_path() if path is None else path
    if host.lower() not in load_config(path).tokens:
        return False
    _edit(host.lower(), None, path)
    return True


def _edit(host: str, token: str | None, path: str) -> None:
    """Change one token, unless the edited text does not read as the old one with that change."""
    old = _read(path)
    data = _parsed(old, path)
    kept = {key: value for key, value in _tokens(data, path).items() if key.lower() != host}
    wanted = {**data, "tokens": kept if token is None else {**kept, host: token}}
    new = with_token(old, host, token)
    if not _reads_as(new, wanted):
        raise UsageError(
            f"the config file {visible(path)} holds its tokens in a form that is not edited here",
            hint=f'edit it by hand: under a line [tokens], write "{visible(host)}" = "TOKEN"',
        )
    _write(path, new)


def _reads_as(text: str, data: Mapping[str, Any]) -> bool:
    try:
        return parse(text) == data
    except ValueError:
        return False


def _write(path: str, text: str) -> None:
    """Replace the config file, readable by its owner alone from the first byte on.

    Where it is a link, as managers of dotfiles make it, the file behind it is replaced. A fault
    leaves the old file as it was, and nothing beside it.
    """
    if not os.path.isabs(path):
        raise LocalError(
            "no home folder is known to keep the config file in",
            hint=f"set HOME, or give the token in {TOKEN_VARIABLE}",
        )
    target = os.path.realpath(path)
    try:
        if os.path.lexists(target) and not os.path.isfile(target):
            raise LocalError(f"the config file {visible(path)} is not a regular file")
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        _replace(target, text.encode())
    except OSError as exc:
        raise LocalError(
            f"the config file {visible(path)} cannot be written: {exc.strerror}",
            hint=f"make its folder writable, or give the token in {TOKEN_VARIABLE}",
        ) from exc


def _replace(target: str, content: bytes) -> None:
    import tempfile

    folder, name = os.path.split(target)
    # mkstemp opens with O_EXCL and mode 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    # Not every system can open a folder, and not every file system can sync one.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
