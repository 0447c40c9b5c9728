"""What `download` shows of its report, and its exit status."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..downloads.request import end_of_run
from ..errors import ExitCode, LocalError
from ..logs import get_logger
from ..models import FAILED_STATUSES
from ..results import Outcome, Report
from ..show.colours import painter
from ..show.wrapping import terminal_width
from ..text import visible
from .streams import say, to_stdout, write_lines

if TYPE_CHECKING:
    from ..downloads.request import Request
    from .request import Place
    from .session import Session

_log = get_logger(__name__)


def show_report(session: Session, request: Request, report: Report, place: Place) -> None:
    """Show the result of a download: on stdout for programs, on stderr for people."""
    from ..show.summary import summary_lines

    if not session.events:
        lines = summary_lines(
            report,
            quiet=session.quiet,
            failures_told=session.failures_told,
            may_wait=not (request.wait or request.allow_missing),
            may_allow=_allowing_helps(report, request),
            paint=painter(sys.stderr),
            width=terminal_width(sys.stderr),
        )
        say("\n".join(lines))
    _write_report(report, place)


def show_plan(session: Session, report: Report, place: Place, *, sizes: bool) -> None:
    """Show what a download would do: a plan or document on stdout, a summary on stderr."""
    from ..show.planned import plan_lines, plan_sentence
    from ..show.summary import hint_lines, missing_lines

    if not (place.json or place.paths):
        write_lines(plan_lines(report, sizes=sizes, table=session.shows_tables))
        sys.stdout.flush()
    if not session.events:
        width = terminal_width(sys.stderr)
        sentence = [] if session.quiet else [plan_sentence(report, sizes=sizes, width=width)]
        missing = missing_lines(report, paint=painter(sys.stderr))
        say("\n".join([*missing, *sentence, *hint_lines(report)]))
    _write_report(report, place)


def _write_report(report: Report, place: Place) -> None:
    if place.json:
        from ..show.report import report_json

        write_lines([report_json(report)])
    if place.paths:
        _write_paths(report)


def _write_paths(report: Report) -> None:
    """Write the path of each file that is in place, in the bytes that the file system uses."""
    there = (Outcome.DOWNLOADED, Outcome.UNCHANGED)
    results = (result for result in report.files if result.outcome in there)
    paths = [file.path for result in results for file in result.files]
    if sys.stdout.isatty():
        write_lines(visible(path) for path in paths)
        return
    with to_stdout():
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\n" for path in paths))


def tell_end_of_run(report: Report) -> None:
    """Log how the run ended, unless successfully."""
    if text := end_of_run(report):
        _log.warning("%s", text)


def exit_status(report: Report, request: Request) -> ExitCode:
    """Return the exit status for a report without an error of its own.

    The status of a failed run comes first, since it explains missing artifacts.
    """
    errors = [result.error for result in report.files if result.error is not None]
    if any(isinstance(error, LocalError) for error in errors):
        return ExitCode.LOCAL
    if errors:
        return max(error.exit_code for error in errors)
    if report.unlisted:
        return ExitCode.INCOMPLETE
    if request.fail_on_run_status and report.run_status in FAILED_STATUSES:
        return ExitCode.RUN_FAILED
    if report.count(Outcome.UNAVAILABLE) and not request.allow_missing:
        return ExitCode.INCOMPLETE
    return ExitCode.OK


def _allowing_helps(report: Report, request: Request) -> bool:
    """Tell whether `--allow-missing` would make a success of a download that is none."""
    if report.error is not None or report.timed_out or request.allow_missing:
        return False
    allowing = request._replace(allow_missing=True)
    return bool(exit_status(report, request)) and not exit_status(report, allowing)
