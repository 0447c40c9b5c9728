"""What an exchange waits for: the words between the steps here and the loop that runs them.

A step is a generator: it yields one of these, and is sent what came of it, or the error is thrown
into it. So an exchange reads as straight code and blocks nobody.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Ready(NamedTuple):
    """A socket that can be read or written: `events` are those of `selectors`.

    Past `deadline`, in seconds of the loop's clock, `Stalled` is raised instead.
    """

    sock: socket.socket
    events: int
    deadline: float


class Call:
    """A function that blocks, run in another thread, once, for all who wait for it."""

    def __init__(self, function: Callable[[], Any], kind: str = "connector") -> None:
        self.function = function
        self.kind = kind
        self.begun = False
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self.waiting: list[Callable[[], None]] = []
        self.unwanted: Callable[[], None] | None = None
        """What is done with a result that nobody waits for any more."""

    def outcome(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


class Outcome(NamedTuple):
    """What came of a call. Past `deadline` `Stalled` is raised, and the call goes on."""

    call: Call
    deadline: float = float("inf")


class Gate:
    """A place where steps wait until somebody lets them go on."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()


Wait = Ready | Outcome | Gate | float
"""A number is seconds to sleep."""
Steps = Generator[Wait, Any, T]


class Stalled(Exception):
    """What was waited for did not come in time."""
