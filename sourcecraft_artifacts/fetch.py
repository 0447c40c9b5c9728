"""The story of a download: listing, plan, run, report; for the command line and as a library."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from .address import Address
from .choices import IfExists, Layout
from .engine import Downloads, Job, Reporter, Tuning
from .errors import ArtifactsError, LocalError, NothingMatched, UsageError
from .links import Links
from .listing import Listing, list_artifacts
from .models import Artifact
from .output import OutputFolder
from .pacing import RateLimit
from .plan import Action, Step, decide, plan, refuse_unsafe_urls
from .results import FileResult, Outcome, Report
from .select import Selection
from .single import OutputFile, Stream, streamed
from .storage import Storage
from .text import count, visible
from .tracking import Silent

if TYPE_CHECKING:
    from .api import Client

_MOST_NAMED = 10
_FIRST_POLL, _LONGEST_POLL = 1.5, 15.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to download, where to, and how; the command's options as one value.

    `directory` is the output folder, unless `output` names one file (`-`: the stream `write`).
    `stall_timeout` and `wait_timeout` (None: no end) are in seconds, `limit_rate` in bytes a
    second; `jobs` None leaves the number of connections to the tool.
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
        from .network import ca_bundle

        bundle = ca_bundle(self.ca_bundle)
        return Storage(stall_timeout=self.stall_timeout, ca_bundle=bundle, log=self.log)


def download(client: Client, request: Request, reporter: Reporter | None = None) -> Report:
    """Put the selected artifacts on disk, and tell what became of each.

    Raises `NothingMatched`, `Refused` (the plan is unsafe; nothing was written), `LocalError`,
    and what the API's client raises. Artifacts that cannot be had are in the report instead.
    Whatever ends it, partial data is kept, and the same call goes on where it stopped.
    """
    started = time.monotonic()
    reporter = reporter or Silent()
    listed = list_artifacts(client, request.address, watch=request.wait)
    if listed.remark:
        request.notice(listed.remark)
    listing = selected(listed, request)
    try:
        if request.output is None:
            report = _to_folder(client, request, listing, reporter)
        else:
            report = _to_one(client, request, listing, reporter)
    finally:
        reporter.close()
    return replace(report, seconds=time.monotonic() - started)


def selected(listing: Listing, request: Request) -> Listing:
    """Return a listing with the selected artifacts only.

    Raises `NothingMatched`, naming what there is, unless that is allowed or more may come.
    """
    chosen = tuple(a for a in listing.artifacts if request.selection.matches(a.local_path))
    if not chosen and not request.allow_empty and (listing.ended or not request.wait):
        raise NothingMatched("no artifact is selected", hint=_what_there_is(listing))
    return replace(listing, artifacts=chosen)


def _what_there_is(listing: Listing) -> str:
    found = [artifact.local_path for artifact in listing.artifacts] or listing.others
    if not found:
        return "there are no artifacts at that address; --allow-empty makes this a success"
    names = [visible(name) for name in dict.fromkeys(found)]
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return f"there is {', '.join(names[:_MOST_NAMED])}{more}"


class _TimeIsUp(Exception):
    """`--wait-timeout` passed before the run had ended."""


def follow(
    client: Client, request: Request, listing: Listing, reporter: Reporter
) -> Iterator[Listing]:
    """Yield newer listings until the run has ended. Raises `_TimeIsUp`."""
    pause, limit = _FIRST_POLL, request.wait_timeout
    deadline = None if limit is None else time.monotonic() + limit
    while not listing.ended:
        reporter.waiting(_awaited(listing))
        seconds = pause * random.uniform(0.8, 1.2)
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise _TimeIsUp
        time.sleep(seconds)
        before = listing.awaited
        listing = selected(list_artifacts(client, request.address, watch=True), request)
        pause = _FIRST_POLL if listing.awaited != before else min(pause * 1.3, _LONGEST_POLL)
        yield listing
    reporter.waiting("")


# Into a folder.


def _to_folder(client: Client, request: Request, listing: Listing, reporter: Reporter) -> Report:
    if_exists = request.if_exists or IfExists.UPDATE
    layout = _layout(request)
    with OutputFolder(request.directory, overwrite=if_exists is IfExists.OVERWRITE) as folder:
        decide_all = partial(
            plan,
            disk=folder,
            layout=layout,
            portable=request.portable_paths,
            if_exists=if_exists,
        )
        if request.dry_run:
            steps = decide_all(listing.artifacts)
            return _report(request, listing, [_planned(step, folder) for step in steps])
        folder.lock(request.notice)
        steps = decide_all(listing.artifacts)
        folder.create()
        fetches = request.wait or any(step.fetches for step in steps)
        if fetches and folder.prepare(request.notice):
            steps = decide_all(listing.artifacts)
        run = _FolderRun(client, request, folder, decide_all, reporter)
        try:
            timed_out = run.fetch(listing, steps)
        except BaseException:
            folder.finish(complete=False)
            raise
        results = run.results()
        complete = all(result.error is None for result in results)
        with suppress(*([] if complete else [LocalError])):  # one local fault is told already
            folder.finish(complete=complete)
        return replace(_report(request, listing, results), timed_out=timed_out)


def _layout(request: Request) -> Layout:
    if request.layout is not Layout.AUTO:
        return request.layout
    return Layout.MIRROR if request.address.exact else Layout.NESTED


class _FolderRun:
    """Carries out plans for one folder, as the listing grows."""

    def __init__(
        self,
        client: Client,
        request: Request,
        folder: OutputFolder,
        decide_all: Callable[[Sequence[Artifact]], list[Step]],
        reporter: Reporter,
    ) -> None:
        self._client = client
        self._request = request
        self._folder = folder
        self._decide_all = decide_all
        self._reporter = reporter
        self._jobs: dict[tuple[object, str], Job] = {}
        self._done: dict[tuple[object, str], FileResult] = {}
        self._steps: list[Step] = []
        self._results: dict[Job, FileResult] = {}

    def fetch(self, listing: Listing, steps: list[Step]) -> bool:
        """Fetch what the steps say, and with `wait` what becomes ready; True when time ran out."""
        request = self._request
        timed_out = False
        with Downloads(
            request.storage(), self._folder, self._client.artifacts, self._reporter, request.tuning
        ) as downloads:
            self._results = downloads.results
            self._submit(downloads, steps)
            try:
                if request.wait:
                    for grown in follow(self._client, request, listing, self._reporter):
                        self._submit(downloads, self._decide_all(grown.artifacts))
            except _TimeIsUp:
                timed_out = True
            downloads.wait()
        return timed_out

    def _submit(self, downloads: Downloads, steps: list[Step]) -> None:
        self._steps = steps
        jobs = []
        for step in steps:
            key = (step.artifact.address, step.artifact.local_path)
            if key in self._jobs or key in self._done:
                continue
            if step.fetches:
                self._jobs[key] = self._folder.job(step)
                jobs.append(self._jobs[key])
            elif step.action is not Action.NONE:
                self._done[key] = result = _settled(step, self._folder)
                self._reporter.finished(None, result)
        downloads.submit(jobs)

    def results(self) -> list[FileResult]:
        """Return what became of each artifact, in the order of the last listing."""
        return [self._result(step) for step in self._steps]

    def _result(self, step: Step) -> FileResult:
        key = (step.artifact.address, step.artifact.local_path)
        job = self._jobs.get(key)
        if job is not None:
            return self._results[job]
        if key in self._done:
            return self._done[key]
        result = _settled(step, self._folder)
        self._reporter.finished(None, result)
        return result


def _awaited(listing: Listing) -> str:
    if not listing.awaited:
        return f"run {visible(listing.run)} to end"
    shown = ", ".join(visible(name) for name in listing.awaited[:3])
    more = f" and {len(listing.awaited) - 3} more" if len(listing.awaited) > 3 else ""
    return f"{shown}{more}"


def _settled(step: Step, folder: OutputFolder) -> FileResult:
    outcomes = {Action.KEEP: Outcome.UNCHANGED, Action.SKIP: Outcome.SKIPPED}
    outcome = outcomes.get(step.action, Outcome.UNAVAILABLE)
    path = folder.path_of(step.place)
    if step.action is Action.KEEP and step.entry is not None:
        return FileResult(
            step.artifact, path, outcome, size=step.entry.size, sha256=step.entry.sha256
        )
    size = step.before.st_size if step.before is not None else None
    return FileResult(step.artifact, path, outcome, size=size, action=step.action)


def _planned(step: Step, folder: OutputFolder) -> FileResult:
    if not step.fetches:
        return _settled(step, folder)
    path = folder.path_of(step.place)
    return FileResult(step.artifact, path, Outcome.PLANNED, action=step.action)


def _report(request: Request, listing: Listing, results: Sequence[FileResult]) -> Report:
    directory = request.directory if request.output is None else None
    return Report(listing.repo, listing.run, directory, tuple(results))


# To one file or a stream.


def _to_one(client: Client, request: Request, listing: Listing, reporter: Reporter) -> Report:
    """Send the one selected artifact to a file or a stream; refusals come before any waiting."""
    with ExitStack() as stack:
        target: OutputFile | None = None
        stays = False
        if request.output != "-":
            target = stack.enter_context(OutputFile(request.output or ""))
            stays = _stays(target, request)
        listing, timed_out = _await_one(client, request, listing, reporter, wait=not stays)
        report = _report(request, listing, [])
        if not listing.artifacts:
            return replace(report, timed_out=timed_out)
        artifact = listing.artifacts[0]
        refuse_unsafe_urls(listing.artifacts)
        if stays:
            result = FileResult(artifact, request.output, Outcome.SKIPPED)
        elif not artifact.available:
            result = FileResult(artifact, request.output, Outcome.UNAVAILABLE)
        elif request.dry_run:
            result = FileResult(artifact, request.output, Outcome.PLANNED, action=Action.DOWNLOAD)
        elif target is None:
            result = _to_stream(client, request, artifact, reporter)
        else:
            result = _to_file(client, request, target, artifact, reporter)
        return replace(report, files=(result,), timed_out=timed_out and not artifact.available)


def _stays(target: OutputFile, request: Request) -> bool:
    """Tell whether `--if-exists skip` leaves the file as it is. Raises `Refused` for `error`."""
    if not target.exists or request.if_exists in (None, IfExists.UPDATE):
        return False
    action = decide(request.if_exists or IfExists.UPDATE, 0, ours=False, right=False)
    return action is Action.SKIP


def _await_one(
    client: Client, request: Request, listing: Listing, reporter: Reporter, *, wait: bool
) -> tuple[Listing, bool]:
    """Return the listing with the artifact to send, and whether time ran out before it was there.

    Below a wide address it is awaited that the run ends: another cube may still leave a second.
    """
    _check_one(listing)
    if not (request.wait and wait) or request.dry_run or _is_ready(request, listing):
        return listing, False
    try:
        for newer in follow(client, request, listing, reporter):
            listing = newer
            _check_one(listing)
            if _is_ready(request, listing):
                break
    except _TimeIsUp:
        return listing, True
    return listing, False


def _is_ready(request: Request, listing: Listing) -> bool:
    return request.address.exact and any(a.available for a in listing.artifacts)


def _check_one(listing: Listing) -> None:
    if len(listing.artifacts) > 1:
        raise UsageError(
            f"--output takes one artifact, and {count(len(listing.artifacts), 'artifact')}"
            " are selected",
            hint=f"name its cube, or choose one with --include: {_what_there_is(listing)}",
        )


def _to_file(
    client: Client, request: Request, target: OutputFile, artifact: Artifact, reporter: Reporter
) -> FileResult:
    job = Job(artifact, request.output or "")
    with Downloads(
        request.storage(), target, client.artifacts, reporter, request.tuning
    ) as downloads:
        downloads.submit([job])
        downloads.wait()
    return downloads.results[job]


def _to_stream(
    client: Client, request: Request, artifact: Artifact, reporter: Reporter
) -> FileResult:
    if request.write is None:
        raise UsageError("there is no stream to write to")
    links = Links(client.artifacts, lambda address: reporter.refreshing(1))
    stream = Stream(
        request.storage(),
        links,
        request.write,
        retries=request.retries,
        limit=RateLimit(request.limit_rate),
        pause=time.sleep,
        retrying=lambda reason, delay: reporter.retrying(stream, reason, delay),
    )
    stream.name = visible(artifact.local_path)
    started = time.monotonic()
    reporter.begin(1)
    reporter.started(stream)
    digest, error = None, None
    try:
        digest = stream.send(artifact)
    except ArtifactsError as failure:
        error = failure
    seconds = time.monotonic() - started
    result = streamed(artifact, stream, digest, seconds)
    if error is not None:
        result = replace(result, outcome=Outcome.FAILED, error=error)
    reporter.finished(stream, result)
    return result


def exit_status(report: Report, *, allow_missing: bool) -> int:
    """Return the exit status that a report deserves (contract section 5)."""
    errors = [result.error for result in report.files if result.error is not None]
    if report.timed_out:
        return 9
    if any(isinstance(error, LocalError) for error in errors):
        return 1
    if errors:
        return max(int(error.exit_code) for error in errors)
    if report.count(Outcome.UNAVAILABLE) and not allow_missing:
        return 6
    return 0
