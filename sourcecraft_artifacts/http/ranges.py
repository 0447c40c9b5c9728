"""What an answer to a GET, with or without a range, means for the bytes already there.

Pure decisions after RFC 9110: 8.8 (validators), 13.1.5 (If-Range), 14 (ranges), 15.3.7 (206).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto

_NUMBER = r"([0-9]{1,19})"
_CONTENT_RANGE = re.compile(rf"bytes\s+{_NUMBER}-{_NUMBER}/{_NUMBER}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object: the validator that tells it from others, and its size in bytes.

    `validator` is a strong ETag or else a Last-Modified that is strong enough, and None where
    there is neither: then two answers cannot be known to hold the same bytes.
    """

    validator: str | None
    size: int | None

    @property
    def resumable(self) -> bool:
        """Whether missing parts can be asked for later without mixing two versions."""
        return self.validator is not None and self.size is not None


def read_version(headers: Mapping[str, str], size: int | None) -> Version:
    """Read the version of an object from the headers, by lower-case names, of an answer."""
    return Version(_validator(headers), size)


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "").strip()
    if etag:
        # A weak ETag promises like meaning, not like bytes (RFC 9110, 8.8.1).
        return etag if re.fullmatch(r'"[\x21\x23-\x7e\x80-\xff]*"', etag) else None
    modified = headers.get("last-modified", "").strip()
    return modified if modified and _is_strong_date(modified, headers.get("date")) else None


def _is_strong_date(modified: str, date: str | None) -> bool:
    """Tell whether a Last-Modified lies at least a second before Date (RFC 9110, 8.8.2.2)."""
    try:
        changed = parsedate_to_datetime(modified)
        return date is None or (parsedate_to_datetime(date) - changed).total_seconds() >= 1
    except (ValueError, TypeError, OverflowError, IndexError):
        return False


class Verdict(Enum):
    """What to do with an answer."""

    CONTINUE = auto()
    """It holds the bytes that were asked for, of the version that is there."""
    RESTART = auto()
    """It holds another version, or the whole object: take it from its first byte."""
    UNUSABLE = auto()
    """It cannot be trusted to be either: ask again for the whole, without a range."""


def judge(status: int, headers: Mapping[str, str], start: int, have: Version) -> Verdict:
    """Judge a 200, 206 or 416 to a request for the bytes from `start` of the version `have`.

    | answer                                              | verdict   |
    | --------------------------------------------------- | --------- |
    | 206, same start, total and validator                | CONTINUE  |
    | 206 otherwise, and multipart/byteranges             | UNUSABLE  |
    | 206 whose Content-Length is not that of its range   | UNUSABLE  |
    | 200 without Content-Range                           | RESTART   |
    | 200 with Content-Range (neither part nor whole)     | UNUSABLE  |
    | 416 (no range is asked for beyond the known size)   | UNUSABLE  |
    """
    told = headers.get("content-range")
    if status == 200:
        return Verdict.RESTART if told is None else Verdict.UNUSABLE
    part = read_content_range(told)
    if status != 206 or part is None:
        return Verdict.UNUSABLE
    first, end, total = part
    same = first == start and Version(_validator(headers), total) == have
    return Verdict.CONTINUE if same and _is_as_long(headers, end - first) else Verdict.UNUSABLE


def _is_as_long(headers: Mapping[str, str], count: int) -> bool:
    """Tell whether a Content-Length, where there is one, is `count` bytes."""
    told = headers.get("content-length")
    return told is None or {text.strip() for text in told.split(",")} == {str(count)}


def read_content_range(text: str | None) -> tuple[int, int, int] | None:
    """Read `bytes FIRST-LAST/TOTAL` as start, end (past the last byte) and total, or None."""
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if match is None:
        return None
    first, last, total = (int(group) for group in match.groups())
    return (first, last + 1, total) if first <= last < total else None


def range_header(start: int, end: int | None) -> str:
    """Return the Range for the bytes from `start` up to, not including, `end` (None: the rest)."""
    return f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
