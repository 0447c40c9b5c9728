"""How long to wait before a retry: exponential back-off with full jitter."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable

_BASE = 0.5
_LONGEST_BACKOFF = 30.0
_LONGEST_RETRY_AFTER = 60.0


def backoff(
    attempt: int,
    retry_after: float | None = None,
    random: Callable[[], float] = _random.random,
) -> float:
    """Return the seconds to wait after `attempt` failures in a row (1 for the first).

    The delay is random, below a ceiling that doubles from 0.5 s to 30 s. It is at least
    `retry_after`, but not longer than 60 s for that.
    """
    ceiling = min(_LONGEST_BACKOFF, _BASE * 2.0 ** min(max(attempt - 1, 0), 16))
    return max(random() * ceiling, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


def retry_after_seconds(value: str | None, now: float | None = None) -> float | None:
    """Read a `Retry-After` header (RFC 9110, 10.2.3) as seconds from `now`, a POSIX time.

    Returns None when it is absent or unreadable, and 0 for a date in the past.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    date = _http_date(text)
    return None if date is None else max(0.0, date - (time.time() if now is None else now))


def _http_date(text: str) -> float | None:
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        # The asctime form has no time zone; RFC 9110, 5.6.7 defines it as UTC.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
