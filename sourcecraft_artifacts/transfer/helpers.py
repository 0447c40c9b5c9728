"""Threads for calls that would block the loop."""

from __future__ import annotations

from collections.abc import Sequence

from ..http.waits import Call
from .crew import Crew
from .loop import Loop
from .writer import Writer

_CONNECTORS = 8
"""How many threads look up names and try new addresses."""


class Helpers:
    """Makes each call in the thread of its kind: a connector's, the lister's or the writer's."""

    def __init__(self, loop: Loop, writer: Writer | None = None) -> None:
        self._loop, self._writer = loop, writer
        self._crews = {
            "connector": Crew("connector", _CONNECTORS, self._make, loop.fail),
            "lister": Crew("lister", 1, self._make, loop.fail),
        }
        self._closing = False

    def put(self, call: Call) -> None:
        """Pass a call to its thread; the loop gets its result."""
        if call.kind == "writer" and self._writer is not None:
            self._writer.put(lambda: self._make([call]))
        else:
            self._crews[call.kind].put([call])

    def leave(self) -> None:
        """Wait for no call any more; what they open is closed by their threads from now on."""
        self._closing = True

    def close(self) -> None:
        """End the threads without waiting for them."""
        for crew in self._crews.values():
            crew.close(0.0)

    def _make(self, calls: Sequence[Call]) -> None:
        for call in calls:
            try:
                call.result = call.function()
            except Exception as error:
                call.error = error
            self._loop.post(lambda call=call: self._loop.finish(call))  # type: ignore[misc]
            if self._closing and call.unwanted is not None:
                call.unwanted()  # the loop, which would do it, has ended
