"""`auth login` and `auth logout`: a token in and out of the config file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ..errors import UsageError
from ..service.config import (
    TOKEN_VARIABLE,
    api_host,
    clean_token,
    config_path,
    remove_token,
    save_token,
)
from ..text import visible

_LONGEST = 1 << 16


def ask_token(api_url: str, *, from_stdin: bool) -> str:
    """Read a token from stdin, or from the terminal without echo. Raises `UsageError`."""
    if from_stdin:
        text = sys.stdin.buffer.read(_LONGEST).decode("utf-8", "replace") if sys.stdin else ""
        return clean_token(text)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the token",
            hint="pipe it in: sourcecraft-artifacts auth login --with-token < FILE",
        )
    from getpass import getpass

    try:
        return clean_token(getpass(f"Token for {api_host(api_url)}: ", stream=sys.stderr))
    except EOFError:
        raise UsageError("no token was given") from None


def store(api_url: str, token: str, notice: Callable[[str], None]) -> None:
    """Store a token for the API's host alone."""
    host = api_host(api_url)
    save_token(host, token)
    notice(f"stored the token for {host} in {config_path()}")
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        notice(f"note: while the variable {TOKEN_VARIABLE} is set, its token is used instead")


def remove(api_url: str, notice: Callable[[str], None]) -> None:
    """Remove the stored token of the API's host."""
    host = api_host(api_url)
    if remove_token(host):
        notice(f"removed the token for {host} from {visible(config_path())}")
    else:
        notice(f"there is no stored token for {host}")
    if os.environ.get(TOKEN_VARIABLE, "").strip():
        notice(f"note: the variable {TOKEN_VARIABLE} still holds a token")
