"""How often one artifact is tried again: after failures, and with new URLs."""

from __future__ import annotations

from ..errors import ExpiredUrl, TransferError

_RENEWALS = 2
"""How many new URLs one artifact may get before one of them works."""
_SETTLED = 5.0
"""Seconds after which a URL that is refused may have expired, though it has just worked."""


class Tries:
    """Counts failures in a row; any progress of the file resets the count.

    Requests that were active together count as one failure: each notes the `wave` in which it
    began. Bytes of a connection that later stalled are not progress.
    """

    def __init__(self, allowed: int, best: int = 0) -> None:
        self.allowed, self.best = allowed, best
        self.failed = self.wave = 0

    def note(self, position: int, wave: int, idle: int = 0) -> int:
        """Count a failure at `position` bytes, `idle` of which are no progress.

        Returns how many failures came without progress.
        """
        if position - idle > self.best:
            self.failed = 0
        self.best = max(self.best, position)
        if wave == self.wave or not self.failed:
            self.failed += 1
            self.wave += 1
        return self.failed


class Renewals:
    """Counts new URLs in a row, until one works.

    If other connections of the file receive, their URL may work while further requests are refused:
    then one that works counts only after some seconds. `unproven` tells that the newest URL has not
    worked yet.
    """

    def __init__(self) -> None:
        self.count, self.unproven, self.since = 0, False, 0.0

    def note(self, failure: ExpiredUrl, now: float, *, others_receive: bool) -> None:
        """Count a new URL that is asked for because of a failure, at `now` in seconds.

        Raises `TransferError` if there were too many. An object that is gone gets one.
        """
        if not self.unproven and (not others_receive or now - self.since >= _SETTLED):
            self.count = 0
        self.count, self.unproven, self.since = self.count + 1, True, now
        if self.count > (_RENEWALS if failure.code == "expired" else 1):
            raise refused_again(failure)


def refused_again(failure: ExpiredUrl) -> TransferError:
    """Return the error for an object whose new URL was refused as well."""
    message = f"{failure.message}, also with a new download_url"
    return TransferError(message, code="denied" if failure.code == "expired" else failure.code)
