"""The command `download`: it makes a request of the options, and shows the report."""

from typing import TYPE_CHECKING

import typer

from ..choices import Progress
from ..errors import Interrupted, WaitTimeout
from ..show.summary import GO_ON
from .download_options import DownloadOptions
from .help import command
from .options import taking
from .session import Session

if TYPE_CHECKING:
    from ..downloads.request import Request
    from ..results import Report
    from .request import Place


@command(
    "download",
    "download 12 ci build linux -R org/repo -d out",
    "download latest --run-status success -i 'reports/**'",
    "download 12 ci build linux -i app.tar -o - | tar x",
    "download https://sourcecraft.dev/org/repo/cicd/runs/12",
    "download latest --wait --wait-timeout 30m",
    short_help="Put artifacts on disk.",
)
@taking(DownloadOptions)
def download_command(ctx: typer.Context, given: DownloadOptions) -> None:
    """Put the artifacts of a cube, or of everything under the address, on disk.

    When run again, it fetches only what is new, and resumes what was interrupted.
    """
    from ..show.checksum_file import checksums_beside
    from .request import requested

    session = Session.of(ctx, given, events=given.progress is Progress.JSON)
    request, place = requested(session, given)
    report = _run(session, request, given.progress)
    with checksums_beside(None if request.dry_run else request.checksums, report):
        _show(session, request, report, place, sizes=given.sizes)
    _end(request, report, given.wait_timeout)


def _run(session: Session, request: "Request", progress: Progress) -> "Report":
    """Download what is requested; an interruption tells how far it came."""
    from ..downloads.download import download

    reporter = session.reporter(progress, request.limit_rate)
    with session.client() as client:
        try:
            return download(client, request, reporter)
        except Interrupted as interrupted:
            if not request.dry_run and request.output != "-":
                interrupted.reached, interrupted.hint = reporter.reached(), GO_ON
            raise


def _show(
    session: Session, request: "Request", report: "Report", place: "Place", *, sizes: bool
) -> None:
    from .report import show_plan, show_report

    if request.dry_run:
        planned = _sized(report, request) if sizes else report
        show_plan(session, planned, place, sizes=sizes)
    else:
        show_report(session, request, report, place)


def _sized(report: "Report", request: "Request") -> "Report":
    """Ask the storage for the sizes of what a plan would fetch, and return the plan with them."""
    from ..show.planned import FETCHED
    from .list import sizes_of

    fetched = [result for result in report.files if result.action in FETCHED]
    artifacts = [result.artifact for result in fetched]
    sizes = sizes_of(artifacts, request.ca_bundle, request.retries, jobs=request.jobs)
    known = dict(zip(map(id, fetched), sizes, strict=True))
    files = [one._replace(size=known.get(id(one), one.size)) for one in report.files]
    return report._replace(files=tuple(files))


def _end(request: "Request", report: "Report", wait_timeout: str | None) -> None:
    """Exit with the status of the download, or raise its error."""
    from .report import exit_status, tell_end_of_run

    if request.wait or request.fail_on_run_status:
        tell_end_of_run(report)
    if report.error is not None:
        raise report.error
    if report.timed_out:
        raise WaitTimeout(
            f"run {report.run} had not ended after {wait_timeout} (--wait-timeout)",
            hint=GO_ON,
        )
    raise typer.Exit(exit_status(report, request))
