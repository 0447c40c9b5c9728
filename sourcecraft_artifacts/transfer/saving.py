"""Writes what has come now and then, so that an interrupted download loses little."""

from __future__ import annotations

from collections.abc import Callable

from .attempt import Attempt
from .files import Files
from .loop import Loop
from .writer import Writer

_SAVE_EVERY = 0.25
_SYNC_EVERY = 5.0
"""Seconds between checkpoints, and between synced checkpoints."""


class Saver:
    """Passes received bytes and checkpoints of all begun files to the writer, by a timer.

    A checkpoint that fails does not fail its file.
    """

    def __init__(self, loop: Loop, writer: Writer, files: Files) -> None:
        self._loop, self._writer, self._files = loop, writer, files
        self._synced = loop.time()

    def begin(self) -> None:
        """Start the timer."""
        self._loop.later(_SAVE_EVERY, self._save)

    def _save(self) -> None:
        sync = self._loop.time() - self._synced >= _SYNC_EVERY
        if sync:
            self._synced = self._loop.time()
        for attempt in self._files.begun:
            if attempt.transfer is not None and not attempt.settling:
                attempt.transfer.hand_over()
                self._writer.put(_checkpoint(attempt, sync=sync))
        self.begin()


def _checkpoint(attempt: Attempt, *, sync: bool) -> Callable[[], None]:
    """Return an order that writes a checkpoint."""

    def save() -> None:
        transfer = attempt.transfer
        if transfer is not None:
            partial = transfer.partial
            partial.sync() if sync else partial.checkpoint()

    return save
