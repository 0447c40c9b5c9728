"""The command `runs`: its options, and what it shows."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..show.colours import painter
from .help import SHOWN, command
from .options import CommonOptions, Json, Options, RunOptions, option, taking
from .session import Session
from .streams import write_lines
from .values import number

if TYPE_CHECKING:
    from ..models import Run


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


@command(
    "runs",
    "runs -R org/repo",
    "runs --event push -L 1 | cut -f 2",
    short_help="Show the newest runs.",
)
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
        write_lines([runs_json(name, runs)])
    elif session.shows_tables and not runs:
        session.tell("no runs")
    elif session.shows_tables:
        runs_table(runs, session.console())
    else:
        write_lines(runs_lines(runs, painter(sys.stdout)))
