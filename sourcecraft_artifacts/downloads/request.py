"""What to download, as one value, and what it selects from a listing."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .. import checks
from ..choices import IfExists, Layout
from ..disk.paths import refuse_state_folder
from ..errors import NothingMatched, UsageError
from ..http.storage import Storage
from ..models import FAILED_STATUSES, Artifact
from ..results import FileResult, Report
from ..select import Selection, most_like, normalised
from ..service.address import Address
from ..service.cubes import in_progress
from ..service.listing import Listing
from ..service.runs import LATEST, RunFilter
from ..text import some_of, visible
from ..transfer.jobs import Tuning

_MOST_MESSAGES = 5
_LONGEST_STALL = 1_000_000


class _Fields(NamedTuple):
    address: Address
    directory: str = "."
    output: str | None = None
    selection: Selection = Selection()
    runs: RunFilter = RunFilter()
    layout: Layout = Layout.AUTO
    if_exists: IfExists | None = None
    portable_paths: bool = False
    unpack: bool = True
    prune: bool = False
    allow_missing: bool = False
    jobs: int | None = None
    limit_rate: float | None = None
    retries: int = 5
    stall_timeout: float = 30.0
    fail_fast: bool = False
    wait: bool = False
    wait_timeout: float | None = None
    allow_empty: bool = False
    fail_on_run_status: bool = False
    dry_run: bool = False
    ca_bundle: str | None = None
    checksums: str | None = None
    write: Callable[[memoryview], None] | None = None


class Request(_Fields):
    """What to download, where to, and how: the options of the command as one value.

    Raises `UsageError` for what the command refuses. The fields, with their defaults:

    - `address`: the artifacts that are asked for.
    - `directory`: the output folder (the current one), or
    - `output`: one file instead; `-` is the function `write`, which is called with each piece.
    - `selection`: the patterns that select artifacts (all).
    - `runs`: the filter for `latest` (none).
    - `layout` (`auto`) and `if_exists` (`update`), which may be given as strings.
    - `portable_paths`: refuse paths that Windows or macOS cannot hold.
    - `unpack`: unpack folders that the service stores as tar archives (True).
    - `prune`: remove files that are no longer listed.
    - `allow_missing`: prune even if some artifacts are unavailable.
    - `jobs`: the most storage connections (the tool's choice).
    - `limit_rate`: bytes a second (no limit).
    - `retries`: how often a request that makes no progress is repeated (5).
    - `stall_timeout`: seconds that a connection may be slower than 1 byte a second (30).
    - `fail_fast`: stop at the first artifact that fails.
    - `wait`: follow a run in progress, for at most `wait_timeout` seconds (no limit).
    - `allow_empty`: an empty selection is no error.
    - `fail_on_run_status`: read how the run ended, for the report's `run_status`.
    - `dry_run`: only plan: no storage request, nothing written.
    - `ca_bundle`: a file of trusted CAs.
    - `checksums`: a file that the caller writes afterwards; no artifact may have this path.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers see the fields as parameters

        def __new__(cls, *values: Any, **named: Any) -> Self:
            request = super().__new__(cls, *values, **named)._typed()
            request._check()
            return request

    def _typed(self) -> Self:
        """Return the request with choices and paths that were given in another form."""
        checks.instance("address", self.address, Address)
        checks.instance("selection", self.selection, Selection)
        checks.instance("runs", self.runs, RunFilter)
        typed: dict[str, Any] = {
            "directory": checks.path("directory", self.directory),
            "layout": checks.choice("layout", self.layout, Layout),
        }
        for name in ("output", "ca_bundle", "checksums"):
            if getattr(self, name) is not None:
                typed[name] = checks.path(name, getattr(self, name))
        if self.if_exists is not None:
            typed["if_exists"] = checks.choice("if_exists", self.if_exists, IfExists)
        return self._replace(**typed)

    def _check(self) -> None:
        self._check_values()
        if self.output is not None and (self.directory != "." or self.layout is not Layout.AUTO):
            raise UsageError("output cannot be combined with directory or layout")
        for name in ("directory", "output"):
            refuse_state_folder(name, getattr(self, name) or ".")
        if self.output is not None and self.prune:
            raise UsageError("prune works on a folder, and output names one file")
        if self.output == "-" and self.write is None:
            raise UsageError("output '-' needs write, which takes the bytes")
        if self.wait_timeout is not None and not self.wait:
            raise UsageError("wait_timeout needs wait")
        if self.runs != RunFilter() and self.address.run != LATEST:
            raise UsageError("runs needs the run `latest`")

    def _check_values(self) -> None:
        for name, kind in _Fields.__annotations__.items():
            if kind is bool:
                checks.flag(name, getattr(self, name))
        if self.jobs is not None:
            checks.whole("jobs", self.jobs, 1)
        checks.whole("retries", self.retries, 0)
        if self.limit_rate is not None:
            checks.number("limit_rate", self.limit_rate, 1)
        checks.number("stall_timeout", self.stall_timeout, 0, above=True)
        if self.stall_timeout > _LONGEST_STALL:
            raise UsageError(f"stall_timeout must be at most {_LONGEST_STALL:,} seconds")
        if self.wait_timeout is not None:
            checks.number("wait_timeout", self.wait_timeout, 0)

    @property
    def tuning(self) -> Tuning:
        """The settings of the transfer, for `download`."""
        return Tuning(self.jobs, self.limit_rate, self.retries, self.fail_fast)

    def storage(self) -> Storage:
        """Return the storage with these settings, for `download`. Raises `UsageError`."""
        from ..trust import ca_bundle

        bundle = ca_bundle(self.ca_bundle)
        return Storage(stall_timeout=self.stall_timeout, ca_bundle=bundle)


def selected(listing: Listing, request: Request) -> Listing:
    """Return a listing with only the selected artifacts.

    Raises `NothingMatched`, which names what is available, if nothing is selected; not if that is
    allowed, if more may come, if cubes could not be listed, or if the run's failure is reported.
    """
    failed = request.fail_on_run_status and listing.run_status in FAILED_STATUSES
    excused = request.allow_empty or bool(listing.failures) or failed
    may_be_empty = excused or (request.wait and not listing.ended)
    try:
        chosen = selected_artifacts(listing, request.selection, allow_empty=may_be_empty)
    except NothingMatched as nothing:
        if request.wait or listing.run_ended:
            raise
        hint = f"{nothing.hint}; {in_progress(listing.run)}"
        raise NothingMatched(nothing.message, hint=hint) from None
    return listing._replace(artifacts=chosen)


def selected_artifacts(
    listing: Listing, selection: Selection, *, allow_empty: bool
) -> tuple[Artifact, ...]:
    """Return the selected artifacts.

    Raises `NothingMatched`, which names what is available, unless an empty selection is allowed.
    """
    chosen = listing.artifacts
    if selection != Selection():
        chosen = tuple(a for a in chosen if selection.matches(a.local_path))
    if not chosen and not allow_empty:
        ended = end_of_run(listing)
        message = f"no artifact is selected; {ended}" if ended else "no artifact is selected"
        raise NothingMatched(message, hint=_what_there_is(listing, selection))
    return chosen


def end_of_run(run: Listing | Report) -> str:
    """Describe how a run ended and its error messages, safe to show.

    Empty if it was successful, or if it still runs.
    """
    if run.run_status in (None, "success") or not run.run_ended:
        return ""
    messages = "".join(f": {visible(text)}" for text in run.error_messages[:_MOST_MESSAGES])
    return f"run {visible(run.run)} ended as {visible(run.run_status)}{messages}"


def _what_there_is(listing: Listing, selection: Selection) -> str:
    """Name what is available; first what is most like the patterns, which may be misspelt."""
    paths = [artifact.local_path for artifact in listing.artifacts]
    if not (paths or listing.others):
        return "there are no artifacts at that address; --allow-empty makes this a success"
    alike = most_like(selection.include, paths)
    names = dict.fromkeys([*alike, *(paths or listing.others)])
    shown = some_of(visible(name) or "(an empty path)" for name in names)
    whole = _below_one(selection.include, paths)
    return f"{whole}{'the nearest' if alike else 'available'}: {shown}"


def _below_one(patterns: Sequence[str], paths: Sequence[str]) -> str:
    """Say that a pattern is for files in a folder that is one artifact; empty if none is."""
    for path in filter(normalised, paths):
        folder = f"{normalised(path)}/"
        if any(normalised(pattern).startswith(folder) for pattern in patterns):
            return f"{visible(path)} is one artifact, which -i {visible(folder)} selects; "
    return ""


def report_of(request: Request, listing: Listing, results: Sequence[FileResult]) -> Report:
    directory = request.directory if request.output is None else None
    followed = request.wait or request.fail_on_run_status
    return Report(
        listing.repo,
        listing.run,
        directory,
        tuple(results),
        run_status=listing.run_status if followed else None,
        run_ended=listing.run_ended,
        error_messages=listing.error_messages if followed else (),
        unlisted=listing.failures,
        may_come=_may_come(listing),
    )


def _may_come(listing: Listing) -> bool | None:
    if listing.run_status is None:
        return None
    going_on = set(listing.awaited)
    return any(a.status == "registered" and a.address.path in going_on for a in listing.artifacts)
