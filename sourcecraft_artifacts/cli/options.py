"""The arguments and options that commands share, each written once.

A command names its options as the fields of a class, with the groups that it shares with others as
bases, and is given their values as an object of that class.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from ..models import ACTIVE_STATUSES, EVENT_TYPES, FINAL_STATUSES
from .completion import (
    complete_cube,
    complete_event,
    complete_pull,
    complete_run,
    complete_run_status,
    complete_task,
    complete_user,
    complete_workflow,
)
from .help import CONNECTION, SHOWN, SUCCESS, WHICH
from .origins import PREFIX
from .values import for_typer, number, run_value


def option(
    *names: str,
    section: str,
    variables: tuple[str, ...] = (),
    parser: Callable[[str], Any] | None = None,
    **settings: Any,
) -> Any:
    """Make an option in a section of the help page, with an environment variable of its own.

    The variable is named after the option's long name; `parser` raises `UsageError`.
    """
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    variable = PREFIX + long[2:].replace("-", "_").upper()
    return typer.Option(
        *names,
        envvar=[*variables, variable],
        show_envvar=False,
        show_default=False,
        rich_help_panel=section,
        parser=for_typer(parser) if parser else None,
        **settings,
    )


class Options:
    """The values of a command's options; a subclass has a field for each.

    A help page has the options in the order of the fields, and those of bases in the bases' order.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


Given = TypeVar("Given", bound=Options)


def taking(
    options: type[Given],
) -> Callable[[Callable[[typer.Context, Given], None]], Callable[..., None]]:
    """Give a command its options as one object; typer sees a parameter for each field."""
    kinds = {"ctx": typer.Context}
    for group in options.__mro__:
        kinds |= inspect.get_annotations(group)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(options, name, inspect.Parameter.empty),
            annotation=kind,
        )
        for name, kind in kinds.items()
    ]

    def decorate(command: Callable[[typer.Context, Given], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*, ctx: typer.Context, **values: Any) -> None:
            command(ctx, options(**values))

        run.__annotations__ = kinds
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


_STATUSES = ", ".join(ACTIVE_STATUSES + FINAL_STATUSES)

Repo = Annotated[
    str | None,
    option(
        "--repo",
        "-R",
        section=WHICH,
        metavar="ORG/REPO",
        help="Repository (default: that of the checkout).",
    ),
]
AllowEmpty = Annotated[
    bool, option("--allow-empty", section=SUCCESS, help="Succeed even if nothing is selected.")
]
Json = Annotated[bool, option("--json", section=SHOWN, help="Write one JSON document to stdout.")]
ApiUrl = Annotated[
    str | None,
    option(
        "--api-url",
        section=CONNECTION,
        variables=("SOURCECRAFT_API_URL",),
        metavar="URL",
        help="Address of the API (https://api.sourcecraft.tech).",
    ),
]
CaBundle = Annotated[
    str | None,
    option("--ca-bundle", section=CONNECTION, metavar="FILE", help="Trust the CAs in this file."),
]
Quiet = Annotated[
    bool,
    option(
        "--quiet",
        "-q",
        section=SHOWN,
        help="On stderr, show only errors and what is missing.",
    ),
]


class AddressOptions(Options):
    """The run, and what below it."""

    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Number or web address of a run, or latest: the newest run that has WORKFLOW.",
            autocompletion=complete_run,
        ),
    ]
    workflow: Annotated[
        str | None,
        typer.Argument(
            metavar="WORKFLOW",
            help="Name or glob; all when omitted.",
            autocompletion=complete_workflow,
        ),
    ] = None
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="Name or glob; all when omitted.", autocompletion=complete_task
        ),
    ] = None
    cube: Annotated[
        str | None,
        typer.Argument(
            metavar="CUBE", help="Name or glob; all when omitted.", autocompletion=complete_cube
        ),
    ] = None

    @property
    def names(self) -> tuple[str | None, str | None, str | None]:
        """The workflow, the task and the cube."""
        return self.workflow, self.task, self.cube


class RunOptions(Options):
    """The repository, and the runs in it."""

    repo: Repo = None
    run_status: Annotated[
        list[str] | None,
        option(
            "--run-status",
            section=WHICH,
            parser=run_value("--run-status", "status", "success, failed or processing"),
            metavar="STATUS",
            help=f"Only runs in this status; repeatable: {_STATUSES}.",
            autocompletion=complete_run_status,
        ),
    ] = None
    event: Annotated[
        list[str] | None,
        option(
            "--event",
            section=WHICH,
            parser=run_value("--event", "event", "push, pr_update or manual"),
            metavar="EVENT",
            help=f"Only runs started by this event; repeatable: {', '.join(EVENT_TYPES)}.",
            autocompletion=complete_event,
        ),
    ] = None
    pull: Annotated[
        list[str] | None,
        option(
            "--pull",
            section=WHICH,
            parser=run_value("--pull", "pull request", "one that runs --json shows"),
            metavar="SLUG",
            help="Only runs of this pull request; repeatable.",
            autocompletion=complete_pull,
        ),
    ] = None
    user: Annotated[
        list[str] | None,
        option(
            "--user",
            section=WHICH,
            parser=run_value("--user", "user", "one that runs --json shows"),
            metavar="SLUG",
            help="Only runs started by this user; repeatable.",
            autocompletion=complete_user,
        ),
    ] = None


class SelectionOptions(Options):
    """Which of the artifacts."""

    include: Annotated[
        list[str] | None,
        option(
            "--include",
            "-i",
            section=WHICH,
            metavar="GLOB",
            help="Only artifacts whose path matches; repeatable. Without a slash GLOB is for the"
            " file name; dist/ is that folder and all in it; ** crosses slashes, * does not.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        option(
            "--exclude",
            "-x",
            section=WHICH,
            metavar="GLOB",
            help="Leave out artifacts whose path matches; repeatable.",
        ),
    ] = None


class WhichOptions(AddressOptions, RunOptions, SelectionOptions):
    """Which artifacts a command is about."""


class CommonOptions(Options):
    """The connection to the API, and how much is told."""

    retries: Annotated[
        int,
        option(
            "--retries",
            section=CONNECTION,
            parser=number("--retries", int, "a whole number of at least 0", 0),
            metavar="N",
            help="Retry a request that makes no progress up to N times (5).",
        ),
    ] = 5
    api_url: ApiUrl = None
    ca_bundle: CaBundle = None
    quiet: Quiet = False
    debug: Annotated[
        bool,
        option(
            "--debug",
            section=SHOWN,
            help="Show requests, retries and decisions on stderr, without secrets.",
        ),
    ] = False
