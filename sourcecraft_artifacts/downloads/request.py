"""What to download, as one value, and the listing that it selects, now and while a run goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..choices import IfExists, Layout
from ..errors import NothingMatched
from ..http.storage import Storage
from ..models import Artifact
from ..results import FileResult, Report
from ..select import Selection
from ..service.address import Address
from ..service.listing import Listing, list_artifacts
from ..text import visible
from ..transfer.jobs import Tuning
from ..transfer.reporter import Reporter

if TYPE_CHECKING:
    from ..service.api import Client

_MOST_NAMED = 10
_FIRST_POLL, _LONGEST_POLL = 1.5, 15.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to download, where to, and how; the command's options as one value.

    `directory` is the output folder, unless `output` names one file (`-`: the stream `write`).
    `stall_timeout` and `wait_timeout` (None: no end) are in seconds, `limit_rate` in bytes a
    second; `jobs` None leaves the number of connections to the tool. `notice` is told what a person
    may like to know, and `warn` (None: `notice`) what of the things asked for is not there.
    """

    address: Address
    directory: str = "."
    output: str | None = None
    selection: Selection = field(default_factory=Selection)
    layout: Layout = Layout.AUTO
    if_exists: IfExists | None = None
    portable_paths: bool = False
    jobs: int | None = None
    limit_rate: float | None = None
    retries: int = 5
    stall_timeout: float = 30.0
    fail_fast: bool = False
    wait: bool = False
    wait_timeout: float | None = None
    allow_empty: bool = False
    dry_run: bool = False
    ca_bundle: str | None = None
    log: Callable[[str], None] | None = None
    notice: Callable[[str], None] = field(default=lambda text: None)
    warn: Callable[[str], None] | None = None
    write: Callable[[memoryview], None] | None = None

    def at(self, address: Address) -> Request:
        """Return the same request for another address."""
        return replace(self, address=address)

    @property
    def tuning(self) -> Tuning:
        """How the engine is to fetch."""
        return Tuning(self.jobs, self.limit_rate, self.retries, self.fail_fast)

    def storage(self) -> Storage:
        """Return connections to the storage of this request's kind. Raises `UsageError`."""
        from ..network import ca_bundle

        bundle = ca_bundle(self.ca_bundle)
        return Storage(stall_timeout=self.stall_timeout, ca_bundle=bundle, log=self.log)


def selected(listing: Listing, request: Request) -> Listing:
    """Return a listing with the selected artifacts only.

    Raises `NothingMatched`, naming what there is, unless that is allowed or more may come.
    """
    chosen = tuple(a for a in listing.artifacts if request.selection.matches(a.local_path))
    if not chosen and not request.allow_empty and (listing.ended or not request.wait):
        raise NothingMatched("no artifact is selected", hint=what_there_is(listing))
    return replace(listing, artifacts=chosen)


def what_there_is(listing: Listing) -> str:
    found = [artifact.local_path for artifact in listing.artifacts] or listing.others
    if not found:
        return "there are no artifacts at that address; --allow-empty makes this a success"
    names = [visible(name) or "(an empty path)" for name in dict.fromkeys(found)]
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return f"there is {', '.join(names[:_MOST_NAMED])}{more}"


def tell_remark(request: Request, listing: Listing) -> None:
    """Tell what of the things asked for the service does not even list."""
    if listing.remark:
        (request.warn or request.notice)(listing.remark)


class TimeIsUp(Exception):
    """`--wait-timeout` passed before the run had ended."""


def follow(
    client: Client, request: Request, listing: Listing, reporter: Reporter
) -> Iterator[Listing]:
    """Yield newer listings until the run has ended. Raises `TimeIsUp`."""
    pause, limit = _FIRST_POLL, request.wait_timeout
    deadline = None if limit is None else time.monotonic() + limit
    while not listing.ended:
        reporter.waiting(awaited_text(listing))
        seconds = pause * random.uniform(0.8, 1.2)
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                tell_remark(request, listing)
                raise TimeIsUp
        time.sleep(seconds)
        before = listing.awaited
        listed = list_artifacts(client, request.address, watch=True)
        if listed.ended:  # until then it may still come
            tell_remark(request, listed)
        listing = selected(listed, request)
        pause = _FIRST_POLL if listing.awaited != before else min(pause * 1.3, _LONGEST_POLL)
        yield listing
    reporter.waiting("")


def may_come(request: Request, listing: Listing, artifact: Artifact) -> bool:
    """Tell whether an artifact that is not available would be waited for."""
    address = artifact.address
    cube = f"{address.workflow}/{address.task}/{address.cube}"
    given_up = artifact.status in {"failed", "missing"}
    return request.wait and cube in listing.awaited and not given_up


def awaited_text(listing: Listing) -> str:
    """Name what a run in progress still owes, fit to be shown."""
    if not listing.awaited:
        return f"run {visible(listing.run)} to end"
    shown = ", ".join(visible(name) for name in listing.awaited[:3])
    more = f" and {len(listing.awaited) - 3} more" if len(listing.awaited) > 3 else ""
    return f"{shown}{more}"


def report_of(request: Request, listing: Listing, results: Sequence[FileResult]) -> Report:
    directory = request.directory if request.output is None else None
    return Report(listing.repo, listing.run, directory, tuple(results))
