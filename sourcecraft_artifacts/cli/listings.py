"""The commands `list` and `runs`: their options, and what they show."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from ..show.colours import painter
from .boundary import guarded
from .help import SHOWN
from .options import (
    AllowEmpty,
    CommonOptions,
    Json,
    Options,
    RunOptions,
    WhichOptions,
    option,
    taking,
)
from .session import Session
from .values import number

if TYPE_CHECKING:
    from ..models import Artifact, Run
    from ..service.listing import Listing


class ListedOptions(Options):
    """What `list` shows."""

    allow_empty: AllowEmpty = False
    json: Json = False
    with_urls: Annotated[
        bool,
        option(
            "--with-urls",
            section=SHOWN,
            help="With --json: also show each download_url, which gives access to the file.",
        ),
    ] = False
    sizes: Annotated[
        bool,
        option(
            "--sizes", section=SHOWN, help="Ask the storage for the sizes in bytes, and show them."
        ),
    ] = False


class ListOptions(WhichOptions, ListedOptions, CommonOptions):
    """All options of `list`."""


@guarded
@taking(ListOptions)
def list_command(ctx: typer.Context, given: ListOptions) -> None:
    """Show the artifacts of a cube, or of everything under the address.

    On a terminal it prints a table; otherwise one tab-separated line for each artifact: workflow,
    task, cube, status, updated_at, local_path, and with --sizes the size in bytes.
    """
    from ..downloads.request import selected_artifacts
    from ..service.listing import list_artifacts, tell_remarks
    from ..service.runs import resolved

    session = Session.of(ctx, given)
    address = session.address(given.run, given.names, given.repo)
    runs = session.runs(given)
    selection = session.selection(given)
    session.needs("with_urls", "--json", given.json)
    with session.client() as client:
        listing = list_artifacts(client, resolved(client, address, runs))
    tell_remarks(listing)
    may_be_empty = bool(listing.failures) or not (listing.artifacts or listing.others)
    chosen = selected_artifacts(listing, selection, allow_empty=given.allow_empty or may_be_empty)
    _show_listing(session, given, listing, chosen)
    if listing.failures:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _show_listing(
    session: Session, given: ListOptions, listing: "Listing", chosen: "Sequence[Artifact]"
) -> None:
    from ..show.listing import listing_json, listing_lines, listing_table

    known = sizes_of(chosen, given.ca_bundle, given.retries) if given.sizes else None
    if given.json:
        session.write([listing_json(listing.repo, listing.run, chosen, given.with_urls, known)])
    elif session.shows_tables and not chosen:
        _tell("no artifacts")
    elif session.shows_tables:
        listing_table(chosen, session.console(), known)
    else:
        session.write(listing_lines(chosen, known, painter(sys.stdout)))


def _tell(notice: str) -> None:
    """Say on stderr why a terminal shows no table."""
    from ..logs import get_logger

    get_logger(__name__).info("%s", notice)


def sizes_of(
    artifacts: "Sequence[Artifact]", ca_bundle: str | None, retries: int
) -> list[int | None]:
    """Ask the storage for the size of each artifact in bytes; None where it is not known.

    Raises `UsageError` for a CA bundle that cannot be used.
    """
    from ..transfer.sizes import ask_sizes
    from ..trust import ca_bundle as bundle_of

    urls = [artifact.download_url if artifact.available else None for artifact in artifacts]
    return ask_sizes(urls, ca_bundle=bundle_of(ca_bundle), retries=retries)


class NewestOptions(Options):
    """What `runs` shows."""

    limit: Annotated[
        int,
        option(
            "--limit",
            "-L",
            section=SHOWN,
            parser=number("--limit", int, "a whole number of at least 1", 1),
            metavar="N",
            help="Show the newest N runs (20).",
        ),
    ] = 20
    json: Json = False


class RunsOptions(RunOptions, NewestOptions, CommonOptions):
    """All options of `runs`."""


@guarded
@taking(RunsOptions)
def runs_command(ctx: typer.Context, given: RunsOptions) -> None:
    """Show the newest runs of the repository.

    On a terminal it prints a table; otherwise one tab-separated line for each run: slug, status,
    event_type, created_at.
    """
    from ..logs import get_logger
    from ..service.runs import newest_runs
    from ..show.listing import runs_json, runs_lines, runs_table

    session = Session.of(ctx, given)
    name = session.repo(given.repo)
    chosen = session.runs(given)
    with session.client() as client:
        newest = newest_runs(client, name, chosen)
        runs: list[Run] = newest.first(given.limit)
    if newest.remark:
        get_logger(__name__).warning("%s", newest.remark)
    if given.json:
        session.write([runs_json(name, runs)])
    elif session.shows_tables and not runs:
        _tell("no runs")
    elif session.shows_tables:
        runs_table(runs, session.console())
    else:
        session.write(runs_lines(runs, painter(sys.stdout)))
