"""Splits a `download_url` byte for byte, follows redirects, and keeps it out of messages."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin

from ..errors import TransferError

_PARTS = re.compile(r"([^:/?#]*)(://[^/?#]*)([^#]*)")
_SHORTEST_SECRET = 8
"""A part of a URL with at least this many characters may be a secret."""


def redirected(url: str, location: str) -> str:
    """Return where a redirect leads (RFC 9110, 10.2.2); an absolute `location` is unchanged.

    Raises `TransferError` if it leads from https to http.
    """
    location = location.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    try:
        target = location if "://" in location.split("?")[0] else urljoin(url, location)
    except ValueError:
        raise TransferError("the storage redirects to an invalid URL", code="redirect") from None
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise TransferError("the storage redirects from https to http", code="redirect")
    return target


def split_target(url: str) -> tuple[str, str]:
    """Split a URL into its origin and the request target, byte for byte, without a fragment."""
    match = _PARTS.match(url)
    assert match is not None, "it was checked before (`urls`)"
    scheme, authority, target = match.groups()
    return scheme.lower() + authority, target if target.startswith("/") else f"/{target}"


def target_secrets(target: str) -> list[str]:
    """Return the path and the query of a request target, and each long value in the query.

    Each is returned as it was sent and decoded. How a URL is signed is unknown: the path may be the
    secret.
    """
    path, _, query = target.partition("?")
    values = [path, *(pair.partition("=")[2] or pair for pair in query.split("&"))]
    found = {query, *values, *map(unquote, values)}
    # The longest first, so that redacting one leaves no remainder of another.
    return sorted((one for one in found if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
