"""Carries out the plans for one output folder, while a CI run goes on and its listing grows."""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..choices import IfExists
from ..disk.entry import Entry
from ..errors import ArtifactsError, NothingMatched, local_fault
from ..models import Artifact, CubeAddress
from ..results import FileResult, Outcome
from ..service.listing import Listing
from ..text import visible
from ..transfer.engine import Downloads
from ..transfer.jobs import Job
from ..transfer.reporter import Reporter
from .decisions import Action, Step
from .known_folder import members_of
from .output_folder import OutputFolder
from .reasons import log_decisions
from .request import Request, selected
from .waiting import TimeIsUp, follow

if TYPE_CHECKING:
    from ..service.api import Client

_Key = tuple[CubeAddress, str]


def _key(artifact: Artifact) -> _Key:
    """Return the key of an artifact, which is the same for all its versions."""
    return artifact.address, artifact.local_path


class FolderRun:
    """Carries out plans for one folder while the listing grows.

    After `fetch`, `timed_out` tells whether the time ran out, `error` is what ended the wait, and
    `listing` and `steps` are the last ones.
    """

    def __init__(
        self,
        client: Client,
        request: Request,
        folder: OutputFolder,
        decide_all: Callable[..., list[Step]],
        reporter: Reporter,
        listing: Listing,
    ) -> None:
        self.listing = listing
        self.timed_out = False
        self.error: ArtifactsError | None = None
        self._client = client
        self._request = request
        self._folder = folder
        self._decide_all = decide_all
        self._reporter = reporter
        self._jobs: dict[_Key, Job] = {}
        self._done: dict[_Key, FileResult] = {}
        """The results of artifacts that did not have to be fetched."""
        self.steps: list[Step] = []
        self._results: dict[Job, FileResult] = {}
        self._spent: Counter[_Key] = Counter()
        """Bytes received for versions of an artifact that newer ones replaced during the wait."""

    def fetch(self, steps: list[Step]) -> None:
        """Carry out the steps, and with `wait` fetch what becomes ready."""
        request = self._request
        with Downloads(
            request.storage(), self._folder, self._client.artifacts, self._reporter, request.tuning
        ) as downloads:
            self._results = downloads.results
            self._submit(downloads, steps)
            if request.wait:
                self._follow(downloads)
            downloads.wait()

    def _follow(self, downloads: Downloads) -> None:
        artifacts = self.listing.artifacts
        try:
            try:
                for grown in follow(self._client, self._request, self.listing, self._reporter):
                    if self._request.fail_fast and self._has_failed():
                        return
                    self.listing = grown
                    artifacts = selected(grown, self._request).artifacts
                    self._grow(downloads, artifacts)
            except TimeIsUp:
                self.timed_out = True
            except NothingMatched:
                if not (self._jobs or self._done):
                    raise
                artifacts, self.steps = (), []  # no artifact is listed any more
            downloads.wait()
            if any(map(self._is_outdated, artifacts)):  # an older version was still being fetched
                self._grow(downloads, artifacts)
        except ArtifactsError as error:
            if not (self._jobs or self._done):
                raise
            self.error = error

    def _has_failed(self) -> bool:
        results = list(self._results.values())
        return any(result.outcome is Outcome.FAILED for result in results)

    def _grow(self, downloads: Downloads, artifacts: Sequence[Artifact]) -> None:
        steps = self._decide_all(artifacts, rule=self._rule, late=bool(self._jobs))
        self._submit(downloads, steps)

    def _rule(self, artifact: Artifact) -> IfExists | None:
        """Return the rule for an artifact that this run may have fetched before.

        A newer version replaces what this run put in place, whatever `--if-exists` says. An
        artifact that is still being fetched is decided on after it has ended.
        """
        key = _key(artifact)
        if key in self._jobs:
            return IfExists.UPDATE if self._is_outdated(artifact) else None
        done = self._done.get(key)
        is_settled = done is not None and (
            done.outcome is Outcome.SKIPPED or done.artifact.dates == artifact.dates
        )
        return None if is_settled else self._request.if_exists or IfExists.UPDATE

    def _is_outdated(self, artifact: Artifact) -> bool:
        """Tell whether this run put another version of an artifact in place."""
        job = self._jobs.get(_key(artifact))
        result = self._results.get(job) if job is not None else None
        return (
            result is not None
            and result.outcome is Outcome.DOWNLOADED
            and result.artifact.dates != artifact.dates
        )

    def _submit(self, downloads: Downloads, steps: list[Step]) -> None:
        self.steps = steps
        log_decisions(steps, self._request.if_exists or IfExists.UPDATE, self._folder.path_of)
        stuck = self._folder.tidy(steps)
        jobs = []
        for step in steps:
            key = _key(step.artifact)
            if step.fetches:
                if key in self._jobs:
                    self._spent[key] += self._results.pop(self._jobs[key]).transferred
                self._done.pop(key, None)
                self._jobs[key] = self._folder.job(step)
                jobs.append(self._jobs[key])
            elif step.action is Action.UNPACK:
                self._done[key] = self._unpack(step)
            elif step.action is not Action.NONE:
                result = settled(step, self._folder)
                if (error := stuck.get(step.artifact)) is not None:
                    result = result._replace(outcome=Outcome.FAILED, error=error)
                self._done[key] = result
                self._reporter.finished(None, result)
        downloads.submit(jobs)

    def _unpack(self, step: Step) -> FileResult:
        """Unpack an archive that is already in place."""
        started, entry = time.monotonic(), step.entry
        error: ArtifactsError | None = None
        activity = _Unpacked(visible(self._folder.path_of(step.place)))
        self._reporter.started(activity)
        try:
            entry = self._folder.unpack_here(step, activity.tell_stage)
        except OSError as fault:
            error = local_fault(fault, self._folder.path_of(step.place))
        except ArtifactsError as failure:
            error = failure
        result = FileResult(
            step.artifact,
            self._folder.path_of(step.place),
            Outcome.FAILED if error else Outcome.DOWNLOADED,
            size=entry.size if entry and not error else None,
            sha256=entry.sha256 if entry and not error else None,
            seconds=time.monotonic() - started,
            error=error,
            members=members_of(entry, self._folder.path) if not error else None,
        )
        if error is None:
            result = result._replace(path=self._folder.shown_path(str(step.place), entry))
        self._reporter.finished(activity, result)
        return result

    def results(self) -> list[FileResult]:
        """Return the result for each artifact, in the order of the last listing.

        Artifacts that it no longer has come last.
        """
        left = dict.fromkeys((*self._jobs, *self._done))
        results = []
        for step in self.steps:
            key = _key(step.artifact)
            is_known = key in self._jobs or key in self._done
            results.append(self._known(key) if is_known else self._settled(step))
            left.pop(key, None)
        return results + [self._known(key) for key in left]

    def _known(self, key: _Key) -> FileResult:
        if key not in self._jobs:
            return self._done[key]
        result = self._folder.with_members(self._results[self._jobs[key]])
        spent = self._spent.get(key)
        return result._replace(transferred=result.transferred + spent) if spent else result

    def _settled(self, step: Step) -> FileResult:
        result = settled(step, self._folder)
        self._reporter.finished(None, result)
        return result


class _Unpacked:
    """An archive in its place that is being unpacked (`reporter.Activity`)."""

    def __init__(self, name: str) -> None:
        self.name, self.stage = name, ""
        self.size: int | None = 0
        self.position = 0

    def tell_stage(self, stage: str) -> None:
        """Note the stage that it is in."""
        self.stage = stage


def settled(step: Step, folder: OutputFolder) -> FileResult:
    """Return the result for an artifact that is not fetched."""
    outcomes = {Action.KEEP: Outcome.UNCHANGED, Action.SKIP: Outcome.SKIPPED}
    outcome = outcomes.get(step.action, Outcome.UNAVAILABLE)
    path, entry = folder.path_of(step.place), _as_recorded(step, folder)
    if entry is not None:
        return FileResult(
            step.artifact,
            folder.shown_path(str(step.place), entry),
            outcome,
            size=entry.size,
            sha256=entry.sha256,
            members=members_of(entry, folder.path),
        )
    size = step.before.st_size if step.before is not None else None
    return FileResult(step.artifact, path, outcome, size=size, action=step.action)


def _as_recorded(step: Step, folder: OutputFolder) -> Entry | None:
    """Return the record of a file or folder that stays, if it is as it was recorded."""
    entry, found = step.entry, step.before
    if step.action is Action.KEEP or entry is None:
        return entry
    if step.action is not Action.SKIP or found is None:
        return None
    if entry.members is not None:
        is_same = folder.holds_members(step.place, entry)
    else:
        is_same = stat.S_ISREG(found.st_mode) and folder.holds(step.place, entry, found)
    return entry if is_same else None
