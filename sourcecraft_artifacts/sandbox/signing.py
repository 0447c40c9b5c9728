"""Signed, expiring URLs of the storage."""

from __future__ import annotations

import hmac
import math
import re
import secrets
from collections.abc import Callable
from urllib.parse import quote

from .http import STORAGE

_QUERY = re.compile(r"X-Expires=(-?[0-9]{1,15})&X-Signature=([0-9a-f]{64})")


class BadSignatureError(Exception):
    """The URL is not one that was signed, to the byte."""


class ExpiredError(Exception):
    """The URL was signed, and its time is over."""


class Signer:
    """Signs paths for `lifetime` seconds of `clock` with a secret of its own."""

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def sign(self, key: str) -> str:
        """Return the path and query under which the object `key` can be had with GET."""
        path = STORAGE + quote(key, safe="/", errors="surrogatepass")
        expires = str(math.ceil(self._clock() + self._lifetime))
        return f"{path}?X-Expires={expires}&X-Signature={self._signature('GET', path, expires)}"

    def check(self, method: str, path: str, query: str) -> None:
        """Raise BadSignatureError or ExpiredError unless the raw path and query are good now."""
        found = _QUERY.fullmatch(query)
        if found is None:
            raise BadSignatureError
        expires, signature = found.groups()
        if not hmac.compare_digest(signature, self._signature(method, path, expires)):
            raise BadSignatureError
        if self._clock() >= int(expires):
            raise ExpiredError

    def _signature(self, method: str, path: str, expires: str) -> str:
        message = f"{method}\n{path}\n{expires}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, message, "sha256").hex()
