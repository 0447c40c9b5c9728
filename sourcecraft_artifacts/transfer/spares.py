"""Spare connections: opened while the first response of a single file is still under way."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..http.storage import Connections
from ..urls import is_loopback
from .files import Files
from .loop import Loop, Task
from .pacing import Pace

_MOST = 8
"""How many connections are opened for one file at once."""
_LONG = 0.008
"""The least seconds that opening the first one takes if others are worth it."""


class Spares:
    """Opens connections for the slices of a single file, before it is known to be large.

    A connection over a long way takes several round trips to open. If the file is small, the spare
    ones are closed unused.
    """

    def __init__(self, loop: Loop, net: Connections, files: Files, pace: Pace) -> None:
        self._loop, self._net, self._files, self._pace = loop, net, files, pace
        self._tasks: list[Task] = []
        net.on_open = self._opened

    def close(self) -> None:
        """Give up those that are still being opened."""
        for task in self._tasks:
            task.close()
        self._tasks.clear()

    def _opened(self, seconds: float) -> None:
        """Open the others, if the first connection took long to open, in `seconds`."""
        self._net.on_open = lambda seconds: None
        transfers = [one.transfer for one in self._files.begun if one.transfer is not None]
        is_single = len(self._files.begun) + len(self._files.waiting) == 1
        if seconds < _LONG or not is_single or not transfers:
            return
        url = transfers[0].artifact.download_url
        if url is None or is_loopback(urlsplit(url).hostname or ""):
            return
        if transfers[0].partial.keeps:
            for _ in range(min(_MOST, self._pace.width) - 1):
                self._tasks.append(self._loop.begin(self._net.prepare(url), lambda error: None))
                self._tasks[-1].resume()
