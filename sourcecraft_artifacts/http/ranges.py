"""What a response to a GET, with or without a range, means for the bytes already received.

Pure decisions that follow RFC 9110: 8.8 (validators), 13.1.5 (If-Range), 14 (ranges), 15.3.7 (206).
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple

_NUMBER = r"([0-9]{1,19})"
_CONTENT_RANGE = rf"(?i)bytes\s+{_NUMBER}-{_NUMBER}/{_NUMBER}"
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_CLEARLY_OLD = 15 * 60
"""How old a Last-Modified without a Date must be, in seconds: clocks may differ."""


class Version(NamedTuple):
    """One version of an object: its validator, and its size in bytes.

    `validator` is a strong ETag, else a Last-Modified that is strong enough, else None; then two
    responses may have different bytes.
    """

    validator: str | None
    size: int | None

    @property
    def resumable(self) -> bool:
        """Whether missing parts can be requested later without mixing two versions."""
        return self.validator is not None and self.size is not None


def read_version(
    headers: Mapping[str, str], size: int | None, *, now: float | None = None
) -> Version:
    """Read the version of an object from the headers of its first response.

    `size` is in bytes; `now` is when the response came, in seconds since the epoch (by default this
    moment). Later responses are compared with this version (`judge`).
    """
    if size is None and (part := read_content_range(headers.get("content-range"))):
        size = part[2]
    etag = _etag(headers)
    if etag:
        # A weak ETag promises the same meaning, not the same bytes (RFC 9110, 8.8.1).
        strong = _STRONG_ETAG.fullmatch(etag)
        return Version(etag if strong else None, size)
    modified = _modified(headers)
    known = modified and _is_strong_date(modified, headers.get("date"), now or time.time())
    return Version(modified if known else None, size)


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get("etag", "").strip()


def _modified(headers: Mapping[str, str]) -> str:
    return headers.get("last-modified", "").strip()


def _is_strong_date(modified: str, date: str | None, now: float) -> bool:
    """Tell whether the object cannot have changed again in the second of its Last-Modified.

    That must be at least a second before Date (RFC 9110, 8.8.2.2), or without one long before
    `now`.
    """
    changed, seen = _moment(modified), None if date is None else _moment(date)
    if changed is None:
        return False
    if date is None:
        return now - changed.timestamp() >= _CLEARLY_OLD
    return seen is not None and (seen - changed).total_seconds() >= 1


def _moment(text: str) -> datetime | None:
    """Parse a date with a time zone; return None if it is malformed."""
    from email.utils import parsedate_to_datetime  # `verify` needs no dates, and this loads sockets

    try:
        read = parsedate_to_datetime(text)
        return read.astimezone(UTC) if read.tzinfo is not None else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class Verdict(Enum):
    """What to do with a response."""

    CONTINUE = auto()
    """It has the requested bytes of the same version: append them."""
    RESTART = auto()
    """It has another version or the whole object: start over with its first byte."""
    UNUSABLE = auto()
    """It cannot be trusted: request the whole object again, without a range."""


def judge(status: int, headers: Mapping[str, str], start: int, have: Version) -> Verdict:
    """Decide about a 200, 206 or 416 to a request for the bytes from `start` of version `have`.

    | response                                            | verdict   |
    | --------------------------------------------------- | --------- |
    | 206, same start, total and validator                | CONTINUE  |
    | 206 otherwise, and multipart/byteranges             | UNUSABLE  |
    | 206 or 200 whose range is all of an object          | RESTART   |
    | 206 whose Content-Length is not that of its range   | UNUSABLE  |
    | 200 without Content-Range                           | RESTART   |
    | 200 with another Content-Range (no part, no whole)  | UNUSABLE  |
    | 416 (no range beyond the known size is requested)   | UNUSABLE  |
    """
    if status == 206 and _continues(headers, start, have):
        return Verdict.CONTINUE
    return Verdict.RESTART if holds_all(status, headers) else Verdict.UNUSABLE


def _continues(headers: Mapping[str, str], start: int, have: Version) -> bool:
    part = read_content_range(headers.get("content-range"))
    if part is None:
        return False
    first, end, total = part
    same = Version(_etag(headers) or _modified(headers), total) == have
    return same and first == start and _is_as_long(headers, end - first)


def _is_as_long(headers: Mapping[str, str], count: int) -> bool:
    """Tell whether the Content-Length, if there is one, is `count` bytes."""
    told = headers.get("content-length")
    return told is None or {text.strip() for text in told.split(",")} == {str(count)}


def holds_all(status: int, headers: Mapping[str, str]) -> bool:
    """Tell whether the body of a 200 or 206 is the whole object, requested or not.

    An unrequested 206 (RFC 9110, 15.3.7) and a 200 with a Content-Range are wrong, but both are
    unambiguous if the range has all bytes of the object. The 200 must have the same Content-Length.
    """
    told = headers.get("content-range")
    if status == 200 and (told is None or "content-length" not in headers):
        return told is None
    part = read_content_range(told)
    if status not in (200, 206) or part is None:
        return False
    first, end, total = part
    return first == 0 and end == total and _is_as_long(headers, total)


def read_content_range(text: str | None) -> tuple[int, int, int] | None:
    """Read `bytes FIRST-LAST/TOTAL` as start, end (past the last byte) and total, or None."""
    match = re.fullmatch(_CONTENT_RANGE, text.strip()) if text else None
    if match is None:
        return None
    first, last, total = (int(group) for group in match.groups())
    return (first, last + 1, total) if first <= last < total else None


def range_header(start: int, end: int | None) -> str:
    """Return the Range for the bytes from `start` up to, not including, `end` (None: the rest)."""
    return f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
