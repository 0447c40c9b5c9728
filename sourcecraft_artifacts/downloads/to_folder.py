"""The download to a folder: plan, carry the plan out, and plan again while a run continues."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..choices import IfExists, Layout
from ..disk.paths import fold_key
from ..errors import LocalError, Refused
from ..logs import get_logger
from ..results import FileResult, Outcome, Report
from ..service.listing import Listing
from ..text import visible
from ..transfer.reporter import Reporter
from .decisions import Action, Step
from .folder_run import FolderRun, settled
from .output_folder import OutputFolder
from .plan import plan
from .prune import outdated, prune
from .reasons import log_decisions
from .request import Request, report_of
from .unpacker import Unpacking
from .waiting import may_come

_log = get_logger(__name__)

if TYPE_CHECKING:
    from ..service.api import Client


def to_folder(client: Client, request: Request, listing: Listing, reporter: Reporter) -> Report:
    """Fetch the selected artifacts into the output folder. Raises what `download` raises."""
    if_exists = request.if_exists or IfExists.UPDATE
    layout = _layout(request)
    overwrite = if_exists is IfExists.OVERWRITE
    unpacking = Unpacking(request.unpack, layout, if_exists, request.portable_paths)
    with OutputFolder(request.directory, overwrite=overwrite, unpacking=unpacking) as folder:
        decide_all = partial(
            plan,
            disk=folder,
            layout=layout,
            portable=request.portable_paths,
            if_exists=if_exists,
            unpack=request.unpack,
        )
        if not request.dry_run:
            folder.lock()
        _warn_of_damage(folder)
        steps = decide_all(listing.artifacts)
        _refuse_checksums(request, folder, steps)
        if request.dry_run:
            log_decisions(steps, if_exists, folder.path_of)
            return _plan_alone(request, folder, listing, steps)
        folder.create()
        fetches = request.wait or any(step.changes for step in steps)
        if fetches and folder.prepare():
            steps = decide_all(listing.artifacts)
        run = FolderRun(client, request, folder, decide_all, reporter, listing)
        try:
            run.fetch(steps)
        except BaseException:
            folder.finish(complete=False)
            raise
        return _finished(request, folder, run, reporter)


def _warn_of_damage(folder: OutputFolder) -> None:
    """Say why files that this tool put there look like somebody else's."""
    if folder.manifest.damaged:
        _log.warning(
            "warning: the manifest of %s is damaged, so that this tool does not know"
            " which files there are its own",
            visible(folder.path),
        )


def _plan_alone(
    request: Request, folder: OutputFolder, listing: Listing, steps: Sequence[Step]
) -> Report:
    """Return the report of a plan that is not carried out."""
    results = [_planned(step, folder, request, listing) for step in steps]
    folder.tidy(steps, look_only=True)
    results += _pruned(request, folder, listing, steps, results)
    return report_of(request, listing, results)._replace(pruned=request.prune)


def _finished(request: Request, folder: OutputFolder, run: FolderRun, reporter: Reporter) -> Report:
    """Prune and finish the folder after everything was fetched, and return the report."""
    results = run.results()
    complete = run.error is None and all(result.error is None for result in results)
    if complete and not run.timed_out:
        pruned = _pruned(request, folder, run.listing, run.steps, results)
        for result in pruned:
            if result.error is not None:
                reporter.finished(None, result)
        results += pruned
    with suppress(*([] if complete else [LocalError])):  # a local error was reported already
        folder.finish(complete=complete)
    report = report_of(request, run.listing, results)
    return report._replace(timed_out=run.timed_out, error=run.error, pruned=request.prune)


def _refuse_checksums(request: Request, folder: OutputFolder, steps: Sequence[Step]) -> None:
    """Raise `Refused` if the checksum file would replace an artifact.

    Members of archives are not known yet; they are checked when the file is written.
    """
    if request.checksums is None:
        return
    fold = fold_key if folder.folds_names else str
    file = fold(os.path.realpath(request.checksums))
    above = os.path.join(fold(os.path.realpath(folder.path)), "")
    place = file.removeprefix(above).replace(os.sep, "/")
    taken = (step for step in steps if step.action is not Action.NONE)
    if file.startswith(above) and any(fold(str(step.place)) == place for step in taken):
        what = f"--checksums: {visible(request.checksums)} is one of the artifacts"
        raise Refused(what, hint="choose another name")


def _pruned(
    request: Request,
    folder: OutputFolder,
    listing: Listing,
    steps: Sequence[Step],
    results: Sequence[FileResult],
) -> list[FileResult]:
    """Remove artifacts that are no longer listed, if asked to and if nothing is missing."""
    if not request.prune:
        return []
    lacking = any(result.outcome is Outcome.UNAVAILABLE for result in results)
    reason = ""
    if not steps:
        reason = "nothing is selected"
    elif not listing.run_ended:
        reason = "the run has not ended"
    elif listing.failures or listing.unlisted or (lacking and not request.allow_missing):
        reason = "some artifacts are missing"
    if reason:
        _log.info("--prune removes nothing: %s", reason)
        return []
    kept = {str(step.place) for step in steps}
    entries = outdated(folder.entries(), request.address, request.selection, _layout(request), kept)
    return prune(folder, list(entries), dry_run=request.dry_run)


def _layout(request: Request) -> Layout:
    if request.layout is not Layout.AUTO:
        return request.layout
    return Layout.MIRROR if request.address.exact else Layout.NESTED


def _planned(step: Step, folder: OutputFolder, request: Request, listing: Listing) -> FileResult:
    action = str(step.action)
    if not step.changes:
        if step.action is not Action.NONE or not may_come(request, listing, step.artifact):
            return settled(step, folder)
        action = "await"
    return FileResult(step.artifact, folder.path_of(step.place), Outcome.PLANNED, action=action)
