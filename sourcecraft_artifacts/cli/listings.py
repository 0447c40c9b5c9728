"""The commands `list` and `runs`: their arguments, and what they show."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from ..errors import ExitCode
from ..show.colours import painter
from . import options as opt
from .boundary import guarded
from .session import Session

if TYPE_CHECKING:
    from ..models import Artifact, Run


@guarded
def list_command(
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
    allow_empty: opt.AllowEmpty = False,
    json: opt.Json = False,
    with_urls: opt.WithUrls = False,
    sizes: opt.Sizes = False,
    retries: opt.Retries = 5,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Show the artifacts of a cube, or of everything under the address.

    On a terminal it prints a table; otherwise one tab-separated line for each artifact: workflow,
    task, cube, status, updated_at, local_path, and with --sizes the size in bytes.
    """
    from ..downloads.request import selected_artifacts
    from ..service.listing import list_artifacts, tell_remarks
    from ..service.runs import resolved
    from ..show.listing import listing_json, listing_lines, listing_table

    session = Session(ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug)
    address = session.address(run, (workflow, task, cube), repo)
    runs = session.runs(run_status, event, pull, user)
    selection = session.selection(include, exclude)
    session.needs("with_urls", "--json", json)
    with session.client() as client:
        listing = list_artifacts(client, resolved(client, address, runs))
    tell_remarks(listing)
    may_be_empty = bool(listing.failures) or not (listing.artifacts or listing.others)
    chosen = selected_artifacts(listing, selection, allow_empty=allow_empty or may_be_empty)
    known = sizes_of(chosen, ca_bundle, retries) if sizes else None
    if json:
        session.write([listing_json(listing.repo, listing.run, chosen, with_urls, known)])
    elif session.shows_tables:
        listing_table(chosen, session.console(), known)
    else:
        session.write(listing_lines(chosen, known, painter(sys.stdout)))
    if listing.failures:
        raise typer.Exit(ExitCode.INCOMPLETE)


def sizes_of(
    artifacts: "Sequence[Artifact]", ca_bundle: str | None, retries: int
) -> list[int | None]:
    """Ask the storage for the size of each artifact in bytes; None where it is not known.

    Raises `UsageError` for a CA bundle that cannot be used.
    """
    from ..http.sizes import ask_sizes
    from ..network import ca_bundle as bundle_of

    urls = [artifact.download_url if artifact.available else None for artifact in artifacts]
    return ask_sizes(urls, ca_bundle=bundle_of(ca_bundle), retries=retries)


@guarded
def runs_command(
    ctx: typer.Context,
    repo: opt.Repo = None,
    run_status: opt.RunStatus = None,
    event: opt.Event = None,
    pull: opt.Pull = None,
    user: opt.User = None,
    limit: opt.Limit = 20,
    json: opt.Json = False,
    retries: opt.Retries = 5,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Show the newest runs of the repository.

    On a terminal it prints a table; otherwise one tab-separated line for each run: slug, status,
    event_type, created_at.
    """
    from ..logs import get_logger
    from ..service.runs import newest_runs
    from ..show.listing import runs_json, runs_lines, runs_table

    session = Session(ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug)
    name = session.repo(repo)
    chosen = session.runs(run_status, event, pull, user)
    with session.client() as client:
        newest = newest_runs(client, name, chosen)
        runs: list[Run] = newest.first(limit)
    if newest.remark:
        get_logger(__name__).warning("%s", newest.remark)
    if json:
        session.write([runs_json(name, runs)])
    elif session.shows_tables:
        runs_table(runs, session.console())
    else:
        session.write(runs_lines(runs, painter(sys.stdout)))
