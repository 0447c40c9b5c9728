"""Checks the API's address and the token for it; no message of this module holds a token."""

import re
import string

from .. import checks
from ..errors import UsageError
from ..text import visible
from ..urls import shown_url, unsafe_url_reason

DEFAULT_TIMEOUT = 30.0
"""Seconds that a connection to the API may take to open, or be silent."""
LONGEST_TOKEN = 16 << 10
"""The most characters of a token; servers refuse header fields that are far shorter."""
DEFAULT_API_URL = "https://api.sourcecraft.tech"


def check_api_url(url: str) -> str:
    """Check the address of the API and drop its trailing slashes.

    It must be https, or http on loopback, without user info, query or fragment. Raises
    `UsageError`.
    """
    if not isinstance(url, str):
        raise checks.refused("api_url", "a text", url)
    if not url:
        raise UsageError(
            "the API address is empty", hint=f"an address looks like {DEFAULT_API_URL}"
        )
    reason = unsafe_url_reason(url)
    if reason is None and re.search(r"[?#]", url):
        reason = "it holds a query or a fragment"
    if reason is None:
        return url.rstrip("/")
    raise UsageError(
        f"the API address {visible(shown_url(url))} cannot be used: {reason}",
        hint=f"an address looks like {DEFAULT_API_URL}",
    )


def api_host(api_url: str) -> str:
    """Return the host that a token is bound to, from a checked API address.

    It is in lower case, with the port unless that is the scheme's default.
    """
    from urllib.parse import urlsplit

    parts = urlsplit(api_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    default = {"https": 443, "http": 80}[parts.scheme]
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def clean_token(text: str, what: str = "the token") -> str:
    """Trim ASCII whitespace around a token, and check that it can be sent.

    Raises `UsageError`, which does not show the token, if it is empty, too long, or has control or
    non-ASCII characters, which no header value may have (RFC 9110, 5.5).
    """
    token = text.strip(string.whitespace)
    if not token:
        raise UsageError(f"{what} is empty")
    if len(token) > LONGEST_TOKEN:
        raise UsageError(
            f"{what} is longer than {LONGEST_TOKEN:,} characters", hint="copy the token again"
        )
    if not (token.isascii() and token.isprintable()):
        raise UsageError(
            f"{what} holds a control or non-ASCII character", hint="copy the token again"
        )
    return token


def masked(token: str) -> str:
    """Return a token with all but its last four characters hidden; of a short one, all."""
    return "****" + (token[-4:] if len(token) >= 16 else "")
