"""Waits for a run that goes on (`--wait`): for its workflows, and for newer listings."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import WaitTimeout
from ..models import Artifact, Run
from ..service.listing import Listing, list_artifacts, tell_remarks
from ..service.runs import LATEST, RunFilter, resolved
from ..text import some_of, visible
from ..transfer.reporter import Reporter
from .request import Request

if TYPE_CHECKING:
    from ..service.api import Client

_FIRST_POLL = 1.5
"""Seconds until the first poll, and until the next one after a change."""
_LONGEST_POLL = 15.0
"""The most seconds between two polls."""


class TimeIsUp(Exception):
    """`--wait-timeout` passed before the run had ended."""


class Pauses:
    """The pauses between two polls, which become longer while nothing changes.

    Together they take at most `limit` seconds; None is no limit.
    """

    def __init__(self, limit: float | None) -> None:
        self._deadline = None if limit is None else time.monotonic() + limit
        self._next = _FIRST_POLL

    @property
    def left(self) -> float | None:
        """The seconds that are left."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def pause(self, *, changed: bool = False) -> None:
        """Wait; `changed` tells whether anything changed since the last poll.

        Raises `TimeIsUp` once no time is left.
        """
        self._next = _FIRST_POLL if changed else self._next
        seconds, left = self._next * random.uniform(0.8, 1.2), self.left
        if left == 0:
            raise TimeIsUp
        time.sleep(seconds if left is None else min(seconds, left))
        self._next = min(self._next * 1.3, _LONGEST_POLL)


def with_run(client: Client, request: Request, reporter: Reporter) -> Request:
    """Resolve `latest`, and subtract the time that this took from the time to wait.

    Raises `NotFound`, and `WaitTimeout` if the workflows of a new run are not known in time.
    """
    if request.address.run != LATEST:
        return request
    pauses = Pauses(request.wait_timeout)
    waits = request.wait and not request.dry_run

    def ask_again(run: Run) -> bool:
        if waits:
            reporter.waiting(f"the workflows of run {visible(run.slug)}")
            try:
                pauses.pause()
            except TimeIsUp:
                told = f"the workflows of run {run.slug} were not known in time (--wait-timeout)"
                raise WaitTimeout(told, hint="run the same command again") from None
        return waits

    address = resolved(client, request.address, request.runs, ask_again=ask_again)
    if waits:
        reporter.waiting("")
    return request._replace(address=address, runs=RunFilter(), wait_timeout=pauses.left)


def follow(
    client: Client, request: Request, listing: Listing, reporter: Reporter
) -> Iterator[Listing]:
    """Yield newer listings until the run has ended. Raises `TimeIsUp`."""
    pauses, before = Pauses(request.wait_timeout), listing.awaited
    while not listing.ended:
        reporter.waiting(awaited_text(listing))
        try:
            pauses.pause(changed=listing.awaited != before)
        except TimeIsUp:
            tell_remarks(listing)
            raise
        before = listing.awaited
        listing = list_artifacts(client, request.address, watch=True)
        if listing.ended:  # until then missing cubes may still be listed
            tell_remarks(listing)
        yield listing
    reporter.waiting("")


def may_come(request: Request, listing: Listing, artifact: Artifact) -> bool:
    """Tell whether an unavailable artifact may still become available."""
    given_up = artifact.status in {"failed", "missing"}
    return request.wait and artifact.address.path in listing.awaited and not given_up


def awaited_text(listing: Listing) -> str:
    """Name the cubes of a run in progress that have not ended, or that it lacks; safe to show."""
    if not listing.awaited:
        absent = f" ({listing.absent})" if listing.absent else ""
        return f"run {visible(listing.run)} to end{absent}"
    names = [name + " (awaits approval)" * (name in listing.held) for name in listing.awaited]
    return some_of(map(visible, names), most=3)
