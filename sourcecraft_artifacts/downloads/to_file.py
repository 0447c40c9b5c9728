"""The download of one artifact to one file (`-o FILE`) or to a stream (`-o -`)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..choices import IfExists
from ..errors import Refused, UsageError
from ..models import Artifact
from ..results import FileResult, Outcome, Report
from ..service.listing import Listing
from ..text import count, some_of, visible
from ..transfer.engine import Downloads
from ..transfer.jobs import Job, Target
from ..transfer.reporter import Reporter
from .decisions import Action
from .named_folder import folder_of, is_missing
from .output_file import OutputFile
from .output_stream import OutputStream
from .plan import refuse_unsafe_urls
from .request import Request, report_of, selected
from .waiting import TimeIsUp, follow, may_come

if TYPE_CHECKING:
    from ..service.api import Client


def to_file(client: Client, request: Request, listing: Listing, reporter: Reporter) -> Report:
    """Fetch the one selected artifact to a file or a stream; refusals come before any wait."""
    with ExitStack() as stack:
        target: OutputFile | None = None
        stays = False
        output = request.output or ""
        if output != "-" and not (request.dry_run and is_missing(output)):
            stack.enter_context(folder_of(output))
            target = stack.enter_context(OutputFile(output))
            stays = _stays(target, request)
        listing, timed_out = _await_one(client, request, listing, reporter, wait=not stays)
        report = report_of(request, listing, [])
        if not listing.artifacts:
            return report._replace(timed_out=timed_out)
        artifact = listing.artifacts[0]
        refuse_unsafe_urls(listing.artifacts)
        exists = target is not None and target.exists
        result = _settled(request, listing, artifact, stays=stays, exists=exists)
        if result is not None:
            if not request.dry_run:
                reporter.finished(None, result)
        elif target is None:
            result = _to_stream(client, request, artifact, reporter)
        else:
            result = _to_file(client, request, target, artifact, reporter)
        return report._replace(files=(result,), timed_out=timed_out)


def _settled(
    request: Request, listing: Listing, artifact: Artifact, *, stays: bool, exists: bool
) -> FileResult | None:
    """Return the result for an artifact that is not fetched; None if it is to be fetched."""
    result = FileResult(artifact, request.output, Outcome.UNAVAILABLE)
    if stays:
        return result._replace(outcome=Outcome.SKIPPED, size=_size(request.output or ""))
    if request.dry_run and (artifact.available or may_come(request, listing, artifact)):
        fetches = Action.REPLACE if exists else Action.DOWNLOAD
        action = fetches if artifact.available else "await"
        return result._replace(outcome=Outcome.PLANNED, action=action)
    return None if artifact.available else result


def _stays(target: OutputFile, request: Request) -> bool:
    """Tell whether `--if-exists skip` keeps the existing file. Raises `Refused` for `error`."""
    if target.exists and request.if_exists is IfExists.ERROR:
        reason = f"{visible(target.path)} is there already, and --if-exists is error"
        raise Refused(reason, hint="move it away, or choose another name")
    return target.exists and request.if_exists is IfExists.SKIP


def _size(path: str) -> int | None:
    """Return the size of the existing file in bytes; None if it is gone."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


def _await_one(
    client: Client, request: Request, listing: Listing, reporter: Reporter, *, wait: bool
) -> tuple[Listing, bool]:
    """Wait until the selected cubes have ended; return the listing and whether the time ran out.

    Until then the artifact may be replaced by a newer version, or a second one may be added.
    """
    _check_one(listing)
    if not (request.wait and wait) or request.dry_run:
        return listing, False
    try:
        for newer in follow(client, request, listing, reporter):
            listing = selected(newer, request)
            _check_one(listing)
    except TimeIsUp:
        return listing, True
    return listing, False


def _check_one(listing: Listing) -> None:
    if len(listing.artifacts) > 1:
        raise UsageError(
            f"--output takes one artifact, and {count(len(listing.artifacts), 'artifact')}"
            " are selected",
            hint=_choosing_one(listing),
        )


def _choosing_one(listing: Listing) -> str:
    """Say how to choose one of several artifacts."""
    several = len({artifact.address for artifact in listing.artifacts}) > 1
    names = (
        visible((f"{one.address.path}: " if several else "") + one.local_path)
        for one in listing.artifacts
    )
    how = "name its cube, or choose one with --include" if several else "choose one with --include"
    return f"{how}: {some_of(names)}"


def _to_file(
    client: Client, request: Request, target: OutputFile, artifact: Artifact, reporter: Reporter
) -> FileResult:
    with target.locked():
        return _fetched(client, request, target, Job(artifact, request.output or ""), reporter)


def _to_stream(
    client: Client, request: Request, artifact: Artifact, reporter: Reporter
) -> FileResult:
    if request.write is None:
        raise UsageError("there is no stream to write to")
    target = OutputStream(request.write)
    job = Job(artifact, "-", name=artifact.local_path)
    result = _fetched(client, request, target, job, reporter)
    if target.fault is not None:
        raise target.fault
    return result


def _fetched(
    client: Client, request: Request, target: Target, job: Job, reporter: Reporter
) -> FileResult:
    with Downloads(
        request.storage(), target, client.artifacts, reporter, request.tuning
    ) as downloads:
        downloads.submit([job])
        downloads.wait()
    return downloads.results[job]
