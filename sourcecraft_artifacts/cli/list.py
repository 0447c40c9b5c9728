"""The command `list`: its options, and what it shows."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from ..show.colours import painter
from .help import SHOWN, command
from .options import (
    AllowEmpty,
    CommonOptions,
    Json,
    Options,
    WhichOptions,
    option,
    taking,
)
from .session import Session
from .streams import write_lines

if TYPE_CHECKING:
    from ..models import Artifact
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


@command(
    "list",
    "list 12 ci build linux -R org/repo",
    "list latest ci --run-status success",
    "list 12 ci 'build-*' --json | jq .artifacts",
    short_help="Show the artifacts under an address.",
)
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
        asked = (listing.repo, listing.run, chosen, given.with_urls, known)
        write_lines([listing_json(*asked, listing.failures)])
    elif session.shows_tables and not chosen:
        session.tell("no artifacts" + " in the other cubes" * bool(listing.failures))
    elif session.shows_tables:
        listing_table(chosen, session.console(), known)
    else:
        write_lines(listing_lines(chosen, known, painter(sys.stdout)))


def sizes_of(
    artifacts: "Sequence[Artifact]",
    ca_bundle: str | None,
    retries: int,
    *,
    jobs: int | None = None,
) -> list[int | None]:
    """Ask the storage for the size of each artifact in bytes; None where it is not known.

    `jobs` limits the number of connections. Raises `UsageError` for a CA bundle that cannot be
    used.
    """
    from ..transfer.sizes import ask_sizes
    from ..trust import ca_bundle as bundle_of

    urls = [artifact.download_url if artifact.available else None for artifact in artifacts]
    return ask_sizes(urls, ca_bundle=bundle_of(ca_bundle), retries=retries, jobs=jobs)
