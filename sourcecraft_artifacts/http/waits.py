"""What a generator can wait for: the protocol between `http` and the loop that runs it.

A generator yields one of these; the loop sends it the result, or throws the error into it. So an
exchange reads like sequential code, but does not block.
"""

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
    """A blocking function that another thread runs, once for all that wait for it."""

    def __init__(self, function: Callable[[], Any], kind: str = "connector") -> None:
        self.function = function
        self.kind = kind
        self.begun = False
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self.waiting: list[Callable[[], None]] = []
        self.unwanted: Callable[[], None] | None = None
        """Called if the result comes when nobody waits for it any more."""

    def outcome(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


class Outcome(NamedTuple):
    """The result of a call. Past `deadline`, `Stalled` is raised and the call continues."""

    call: Call
    deadline: float = float("inf")


class Gate:
    """A place where generators wait until somebody opens it."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()


Wait = Ready | Outcome | Gate | float
"""A number is seconds to sleep."""
Steps = Generator[Wait, Any, T]


class Stalled(Exception):
    """The wait passed its deadline."""
