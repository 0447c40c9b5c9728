"""The story of a download: listing, plan, run, report; for the command line and as a library."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .choices import IfExists, Layout
from .engine import Downloads
from .errors import ExitCode, LocalError
from .fetch_one import to_one
from .jobs import Job, Reporter
from .listing import Listing, list_artifacts
from .models import Artifact
from .output import OutputFolder
from .plan import Action, Step, plan
from .request import (
    Request,
    TimeIsUp,
    awaited_text,
    follow,
    may_come,
    report_of,
    selected,
    tell_remark,
)
from .results import FileResult, Outcome, Report
from .tracking import Silent

if TYPE_CHECKING:
    from .api import Client


def download(client: Client, request: Request, reporter: Reporter | None = None) -> Report:
    """Put the selected artifacts on disk, and tell what became of each.

    Raises `NothingMatched`, `Refused` (the plan is unsafe; nothing was written), `LocalError`,
    and what the API's client raises. Artifacts that cannot be had are in the report instead.
    Whatever ends it, partial data is kept, and the same call goes on where it stopped.
    """
    started = time.monotonic()
    reporter = reporter or Silent()
    listed = list_artifacts(client, request.address, watch=request.wait)
    if listed.ended or request.dry_run or not request.wait:
        tell_remark(request, listed)
    listing = selected(listed, request)
    if request.dry_run and request.wait and not listing.ended:
        request.notice(f"would wait for {awaited_text(listing)}")
    try:
        if request.output is None:
            report = _to_folder(client, request, listing, reporter)
        else:
            report = to_one(client, request, listing, reporter)
    finally:
        reporter.close()
    return replace(report, seconds=time.monotonic() - started)


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
            results = [_planned(step, folder, request, listing) for step in steps]
            return report_of(request, listing, results)
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
        return replace(report_of(request, listing, results), timed_out=timed_out)


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
            except TimeIsUp:
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


def _planned(step: Step, folder: OutputFolder, request: Request, listing: Listing) -> FileResult:
    action = str(step.action)
    if not step.fetches:
        if step.action is not Action.NONE or not may_come(request, listing, step.artifact):
            return _settled(step, folder)
        action = "await"
    return FileResult(step.artifact, folder.path_of(step.place), Outcome.PLANNED, action=action)


def exit_status(report: Report, *, allow_missing: bool) -> ExitCode:
    """Return the exit status that a report deserves (contract section 5)."""
    if report.timed_out:
        return ExitCode.WAIT_TIMEOUT
    errors = [result.error for result in report.files if result.error is not None]
    if any(isinstance(error, LocalError) for error in errors):
        return ExitCode.LOCAL
    if errors:
        return max(error.exit_code for error in errors)
    if report.count(Outcome.UNAVAILABLE) and not allow_missing:
        return ExitCode.INCOMPLETE
    return ExitCode.OK
