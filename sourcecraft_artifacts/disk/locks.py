"""Locks that keep two runs apart, and the wait for a lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ..logs import get_logger

T = TypeVar("T")
_log = get_logger(__name__)
_POLL = 0.1  # seconds between two looks at a lock that another run has


class Lock(Enum):
    """The result of asking for a lock: it is ours, another run has it, or there are no locks."""

    HAD = "had"
    TAKEN = "taken"
    NONE = "none"


def try_lock(descriptor: int) -> Lock:
    """Try to take an exclusive lock on an open file or folder, until it is closed."""
    return Lock.NONE if fcntl is None else _flocked(descriptor)


def _flocked(descriptor: int) -> Lock:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.TAKEN
    except OSError:
        # There are no such locks here, or a sandbox forbids them.
        return Lock.NONE
    return Lock.HAD


def wait_for_lock(take: Callable[[], T | None], wait: Callable[[], str]) -> T:
    """Try to take a lock until it is free; `wait` is called once before the wait begins."""
    waited = False
    while (taken := take()) is None:
        if not waited:
            _log.info("%s", wait())
        waited = True
        time.sleep(_POLL)
    return taken
