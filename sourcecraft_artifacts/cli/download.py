"""The command `download`: it makes a request of the arguments, and shows the report."""

from typing import TYPE_CHECKING

import typer

from ..choices import Layout, Progress
from ..errors import Interrupted, UsageError, WaitTimeout
from ..show.summary import GO_ON
from . import options as opt
from .boundary import guarded
from .listings import sizes_of
from .session import Session
from .streams import check_output, write_bytes
from .values import read_duration

if TYPE_CHECKING:
    from ..results import Report


@guarded
def download_command(
    ctx: typer.Context,
    run: opt.RunArgument,
    workflow: opt.WorkflowArgument = None,
    task: opt.TaskArgument = None,
    cube: opt.CubeArgument = None,
    repo: opt.Repo = None,
    run_status: opt.RunStatus = None,
    event: opt.Event = None,
    pull: opt.Pull = None,
    user: opt.User = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    directory: opt.Dir = None,
    output: opt.Output = None,
    layout: opt.LayoutOption = None,
    if_exists: opt.IfExistsOption = None,
    unpack: opt.Unpack = True,
    prune: opt.Prune = False,
    portable_paths: opt.PortablePaths = False,
    jobs: opt.Jobs = None,
    limit_rate: opt.LimitRate = None,
    retries: opt.Retries = 5,
    stall_timeout: opt.StallTimeout = 30.0,
    wait: opt.Wait = False,
    wait_timeout: opt.WaitTimeout = None,
    allow_missing: opt.AllowMissing = False,
    allow_empty: opt.AllowEmpty = False,
    fail_on_run_status: opt.FailOnRunStatus = False,
    fail_fast: opt.FailFast = False,
    dry_run: opt.DryRun = False,
    sizes: opt.PlanSizes = False,
    json: opt.Json = False,
    paths: opt.Paths = False,
    checksums: opt.Checksums = None,
    progress: opt.ProgressOption = Progress.AUTO,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Put the artifacts of a cube, or of everything under the address, on disk.

    When run again, it fetches only what is new, and resumes what was interrupted.
    """
    from ..downloads.request import Request
    from ..downloads.story import download, exit_status, tell_end_of_run
    from ..service.runs import LATEST, RunFilter
    from ..show.checksum_file import check_checksums_path, checksums_beside

    events = progress is Progress.JSON
    session = Session(
        ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug, events=events
    )
    output, directory, layout = session.one_target(output, directory, layout)
    output, json, paths = session.one_use_of_stdout(output, json=json, paths=paths)
    if directory == "":
        raise UsageError("--dir: the name of the folder is empty")
    check_output(output, dry_run=dry_run)
    if checksums is not None:
        check_checksums_path(checksums, directory=directory or ".", output=output)
    if prune and output is not None:
        raise UsageError("--prune works on a folder, and --output names one file")
    session.needs("wait_timeout", "--wait", wait)
    session.needs("sizes", "--dry-run", dry_run)
    address = session.address(run, (workflow, task, cube), repo)
    runs = session.runs(run_status, event, pull, user)
    request = Request(
        address=address,
        runs=runs if address.run == LATEST else RunFilter(),
        directory=directory or ".",
        output=output,
        selection=session.selection(include, exclude),
        layout=layout or Layout.AUTO,
        if_exists=if_exists,
        portable_paths=portable_paths,
        unpack=unpack,
        prune=prune,
        allow_missing=allow_missing,
        jobs=jobs,
        limit_rate=limit_rate,
        retries=retries,
        stall_timeout=stall_timeout,
        fail_fast=fail_fast,
        wait=wait,
        wait_timeout=read_duration(wait_timeout) if wait_timeout and wait else None,
        allow_empty=allow_empty,
        fail_on_run_status=fail_on_run_status,
        dry_run=dry_run,
        ca_bundle=ca_bundle,
        checksums=checksums,
        write=write_bytes if output == "-" else None,
    )
    reporter = session.reporter(progress, request.limit_rate)
    with session.client() as client:
        try:
            report = download(client, request, reporter)
        except Interrupted as interrupted:
            if not dry_run and output != "-":
                interrupted.reached, interrupted.hint = reporter.reached(), GO_ON
            raise
    may_wait = not (wait or allow_missing)
    with checksums_beside(None if dry_run else checksums, report):
        if dry_run:
            planned = _sized(report, ca_bundle, retries) if sizes else report
            session.show_plan(planned, json=json, paths=paths, sizes=sizes)
        else:
            session.show(report, json=json, paths=paths, may_wait=may_wait)
    if wait or fail_on_run_status:
        tell_end_of_run(report)
    if report.error is not None:
        raise report.error
    if report.timed_out:
        raise WaitTimeout(
            f"run {report.run} had not ended after {wait_timeout} (--wait-timeout)",
            hint=GO_ON,
        )
    status = exit_status(report, allow_missing=allow_missing, fail_on_run_status=fail_on_run_status)
    raise typer.Exit(status)


def _sized(report: "Report", ca_bundle: str | None, retries: int) -> "Report":
    """Ask the storage for the sizes of what a plan would fetch, and return the plan with them."""
    from ..show.planned import FETCHED

    fetched = [result for result in report.files if result.action in FETCHED]
    sizes = sizes_of([result.artifact for result in fetched], ca_bundle, retries)
    known = dict(zip(map(id, fetched), sizes, strict=True))
    files = [one._replace(size=known.get(id(one), one.size)) for one in report.files]
    return report._replace(files=tuple(files))
