"""A download from listing to report, for the command line and as a library."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import checks
from ..logs import get_logger
from ..results import Report
from ..service.listing import list_artifacts, tell_remarks
from ..transfer.reporter import NullReporter, Reporter
from .request import Request, selected
from .waiting import awaited_text, with_run

if TYPE_CHECKING:
    from ..service.api import Client

_log = get_logger(__name__)


def download(client: Client, request: Request, reporter: Reporter | None = None) -> Report:
    """Put the selected artifacts on disk, and return the result for each.

    Raises `NothingMatched`, `Refused` (the plan is unsafe; nothing was written), `LocalError`,
    and what the API's client raises. An artifact that cannot be downloaded raises nothing: the
    report has its error, and also an error that ends a wait after files were fetched. Whatever ends
    the download, partial data are kept, and the same call continues where it stopped.
    """
    checks.instance("request", request, Request)
    started = time.monotonic()
    _load_meanwhile(request)
    reporter = reporter or NullReporter()
    request = with_run(client, request, reporter)
    watch = request.wait or request.prune or request.fail_on_run_status
    listed = list_artifacts(client, request.address, watch=watch)
    if listed.ended or request.dry_run or not request.wait:
        tell_remarks(listed)
    listing = selected(listed, request)
    if request.dry_run and request.wait and not listing.ended:
        _log.info("would wait for %s", awaited_text(listing))
    try:
        if request.output is None:
            from .to_folder import to_folder

            report = to_folder(client, request, listing, reporter)
        else:
            from .to_file import to_file

            report = to_file(client, request, listing, reporter)
    finally:
        reporter.close()
    return report._replace(seconds=time.monotonic() - started)


def _load_meanwhile(request: Request) -> None:
    """Import what a download needs in a thread, while the API is asked for the listing."""
    thread = threading.Thread(target=_load, args=[request], daemon=True, name="loader")
    with suppress(RuntimeError, MemoryError):  # the system allows no more of them
        thread.start()


def _load(request: Request) -> None:
    with suppress(Exception):  # the import where it is needed raises the error again
        if request.output is None:
            from . import to_folder  # noqa: F401
        else:
            from . import to_file  # noqa: F401
