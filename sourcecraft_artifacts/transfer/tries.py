"""How often one artifact is tried again: after failures, and with new URLs."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ExpiredUrl, TransferError

_RENEWALS = 2
"""How many new URLs one artifact may get without progress."""


@dataclass(slots=True)
class Tries:
    """Counts failures in a row; any progress of the file resets the count.

    Requests that were active together count as one failure: each notes the `wave` in which it
    began. Bytes of a connection that later stalled are not progress.
    """

    allowed: int
    failed: int = 0
    best: int = 0
    wave: int = 0

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


@dataclass(slots=True)
class Renewals:
    """Counts new URLs in a row; any progress of the file resets the count."""

    count: int = 0
    position: int = -1

    def note(self, position: int, failure: ExpiredUrl) -> None:
        """Count a new URL that is asked for because of a failure at `position` bytes.

        Raises `TransferError` if there were too many. An object that is gone gets one.
        """
        if position > self.position:
            self.count = 0
        self.position = position
        self.count += 1
        is_gone = failure.code != "expired"
        if self.count > (1 if is_gone else _RENEWALS):
            message = f"{failure.message}, also with a new download_url"
            raise TransferError(message, code=failure.code if is_gone else "denied")
