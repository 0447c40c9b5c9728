"""The storage: objects behind signed, expiring URLs, with single ranges (RFC 9110, 14)."""

from __future__ import annotations

import hmac
import os
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote

from .content import Content
from .http import Headers, Reply, Request, text_reply

PREFIX = "/storage/"
"""The paths of the storage begin with this."""

LARGEST_CHECKED = 64 << 20
"""The largest object, in bytes, that has a checksum; S3 has none for big objects either."""

_QUERY = re.compile(r"X-Expires=([0-9]{1,20})&X-Signature=([0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(?:([0-9]{1,99})-([0-9]{0,99})|-([0-9]{1,99}))", re.IGNORECASE)


class Denied(Exception):
    """The request is refused with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.reply = _error(status, code, message)


class Storage:
    """Makes URLs that are valid for `lifetime` seconds of `clock`, and serves their objects."""

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._secret = os.urandom(32)
        self._objects: dict[str, tuple[Content, str]] = {}

    def sign(self, key: str, content: Content, modified: datetime) -> str:
        """Return a path and query that serve `content` to a GET from now on."""
        path = PREFIX + quote(key, safe="", errors="surrogatepass")
        self._objects[path] = (content, format_datetime(modified, usegmt=True))
        expires = str(int((self._clock() + self._lifetime) * 1000))
        return f"{path}?X-Expires={expires}&X-Signature={self._signature('GET', path, expires)}"

    def answer(self, request: Request) -> Reply:
        """Return the object, a range of it, or a refusal."""
        try:
            self._check(request)
        except Denied as denied:
            return denied.reply
        content, modified = self._objects[request.path]
        validators = (("ETag", content.etag), ("Last-Modified", modified))
        asked = request.headers.get("range", "")
        if request.headers.get("if-range", modified) not in (content.etag, modified):
            asked = ""
        return _serve(content, byte_range(asked, content.size), validators)

    def _check(self, request: Request) -> None:
        if "authorization" in request.headers:
            raise Denied(400, "InvalidArgument", "Only one auth mechanism allowed")
        found = _QUERY.fullmatch(request.query)
        expires, signature = found.groups() if found else ("", "")
        wanted = self._signature(request.method, request.path, expires)
        if not hmac.compare_digest(signature, wanted):
            raise Denied(403, "SignatureDoesNotMatch", "The signature does not match the request")
        if self._clock() * 1000 >= int(expires):
            raise Denied(403, "AccessDenied", "Request has expired")

    def _signature(self, method: str, path: str, expires: str) -> str:
        message = f"{method}\n{path}\n{expires}".encode()
        return hmac.digest(self._secret, message, "sha256").hex()


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Read a Range header for an object of `size` bytes; return the range's start and stop.

    Returns None for the whole object, also for several ranges or an unreadable one. If the start is
    not before the stop, the range cannot be satisfied.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix:
        return max(size - int(suffix), 0), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _serve(content: Content, asked: tuple[int, int] | None, validators: Headers) -> Reply:
    size = content.size
    headers = (
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes"),
        *validators,
    )
    if asked is None:
        if size <= LARGEST_CHECKED:
            checksum = b64encode(content.sha256).decode()
            headers = (*headers, ("x-amz-checksum-sha256", checksum))
        return Reply(200, headers, content.chunks(0, size), size)
    start, stop = asked
    if start >= stop:
        allowed = (("Content-Range", f"bytes */{size}"),)
        return _error(416, "InvalidRange", "The requested range is not satisfiable", allowed)
    headers = (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Reply(206, headers, content.chunks(start, stop), stop - start)


def _error(status: int, code: str, message: str, headers: Headers = ()) -> Reply:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    body = f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>\n"
    return text_reply(status, "application/xml", body, headers)
