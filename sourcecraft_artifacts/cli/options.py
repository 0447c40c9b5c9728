"""The arguments and options that commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..choices import IfExists, Layout, Progress
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
from .help import CONNECTION, EXISTING, FETCH, HOW, OTHER, PLACE, SHOWN, SUCCESS
from .origins import PREFIX
from .values import duration, for_typer, number, read_rate, read_stall_timeout, run_value


def _option(
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


_STATUSES = ", ".join(ACTIVE_STATUSES + FINAL_STATUSES)

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Slug or web address of a run, or latest: the newest run that has WORKFLOW.",
        autocompletion=complete_run,
    ),
]
WorkflowArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="WORKFLOW",
        help="Name or glob; all when omitted.",
        autocompletion=complete_workflow,
    ),
]
TaskArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TASK", help="Name or glob; all when omitted.", autocompletion=complete_task
    ),
]
CubeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CUBE", help="Name or glob; all when omitted.", autocompletion=complete_cube
    ),
]
Repo = Annotated[
    str | None,
    _option(
        "--repo",
        "-R",
        section=FETCH,
        metavar="ORG/REPO",
        help="Repository (default: that of the checkout).",
    ),
]
RunStatus = Annotated[
    list[str] | None,
    _option(
        "--run-status",
        section=FETCH,
        parser=run_value("--run-status", "status", "success, failed or processing"),
        metavar="STATUS",
        help=f"Only runs in this status; repeatable: {_STATUSES}.",
        autocompletion=complete_run_status,
    ),
]
Event = Annotated[
    list[str] | None,
    _option(
        "--event",
        section=FETCH,
        parser=run_value("--event", "event", "push, pr_update or manual"),
        metavar="EVENT",
        help=f"Only runs started by this event; repeatable: {', '.join(EVENT_TYPES)}.",
        autocompletion=complete_event,
    ),
]
Pull = Annotated[
    list[str] | None,
    _option(
        "--pull",
        section=FETCH,
        parser=run_value("--pull", "pull request", "one that runs --json shows"),
        metavar="SLUG",
        help="Only runs of this pull request; repeatable.",
        autocompletion=complete_pull,
    ),
]
User = Annotated[
    list[str] | None,
    _option(
        "--user",
        section=FETCH,
        parser=run_value("--user", "user", "one that runs --json shows"),
        metavar="SLUG",
        help="Only runs started by this user; repeatable.",
        autocompletion=complete_user,
    ),
]
Include = Annotated[
    list[str] | None,
    _option(
        "--include",
        "-i",
        section=FETCH,
        metavar="GLOB",
        help="Only artifacts that match; repeatable.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    _option(
        "--exclude",
        "-x",
        section=FETCH,
        metavar="GLOB",
        help="Leave out artifacts that match; repeatable.",
    ),
]
Json = Annotated[bool, _option("--json", section=SHOWN, help="Write one JSON document to stdout.")]
Quiet = Annotated[
    bool,
    _option("--quiet", "-q", section=SHOWN, help="Show only errors and what is missing."),
]
Debug = Annotated[
    bool,
    _option(
        "--debug",
        section=SHOWN,
        help="Show requests, retries and decisions on stderr, without secrets.",
    ),
]
Retries = Annotated[
    int,
    _option(
        "--retries",
        section=CONNECTION,
        parser=number("--retries", int, "a whole number of at least 0", 0),
        metavar="N",
        help="Retries of each request that makes no progress (5).",
    ),
]
ApiUrl = Annotated[
    str | None,
    _option(
        "--api-url",
        section=CONNECTION,
        variables=("SOURCECRAFT_API_URL",),
        metavar="URL",
        help="Address of the API (https://api.sourcecraft.tech).",
    ),
]
CaBundle = Annotated[
    str | None,
    _option("--ca-bundle", section=CONNECTION, metavar="FILE", help="Trust the CAs in this file."),
]
WithUrls = Annotated[
    bool,
    _option(
        "--with-urls",
        section=SHOWN,
        help="With --json: also show each download_url, which gives access to the file.",
    ),
]
Sizes = Annotated[
    bool, _option("--sizes", section=SHOWN, help="Ask the storage for the sizes, and show them.")
]
PlanSizes = Annotated[
    bool,
    _option("--sizes", section=SHOWN, help="With -n: ask the storage for sizes, and add them up."),
]
Limit = Annotated[
    int,
    _option(
        "--limit",
        "-L",
        section=SHOWN,
        parser=number("--limit", int, "a whole number of at least 1", 1),
        metavar="N",
        help="Show the newest N runs (20).",
    ),
]
Dir = Annotated[
    str | None,
    _option(
        "--dir", "-d", section=PLACE, metavar="DIR", help="Output folder, created if absent (.)."
    ),
]
Output = Annotated[
    str | None,
    _option(
        "--output",
        "-o",
        section=PLACE,
        metavar="FILE",
        help="Write one artifact to this file, creating its folder; - is stdout.",
    ),
]
LayoutOption = Annotated[
    Layout | None,
    _option(
        "--layout",
        section=PLACE,
        metavar="|".join(Layout),
        help="mirror: DIR/local_path; nested: DIR/workflow/task/cube/local_path; flat: names only"
        " (auto: mirror for one exactly named cube, else nested).",
    ),
]
IfExistsOption = Annotated[
    IfExists | None,
    _option(
        "--if-exists",
        section=EXISTING,
        metavar="|".join(IfExists),
        help="What to do with files that exist already (update).",
    ),
]
Unpack = Annotated[
    bool,
    _option(
        "--unpack/--no-unpack",
        section=PLACE,
        help="Unpack a folder that the service stores as a tar archive (--unpack).",
    ),
]
Prune = Annotated[
    bool,
    _option(
        "--prune",
        section=EXISTING,
        help="After complete success, remove downloaded files that are no longer listed.",
    ),
]
PortablePaths = Annotated[
    bool,
    _option(
        "--portable-paths", section=PLACE, help="Refuse paths that Windows or macOS cannot hold."
    ),
]
Jobs = Annotated[
    int | None,
    _option(
        "--jobs",
        "-j",
        section=HOW,
        parser=number("--jobs", int, "a whole number of at least 1", 1),
        metavar="N",
        help="At most this many storage connections at once (chosen by the tool).",
    ),
]
LimitRate = Annotated[
    float | None,
    _option(
        "--limit-rate",
        section=HOW,
        parser=read_rate,
        metavar="RATE",
        help="Total bytes a second, such as 500K or 10M (M: 1024 x 1024).",
    ),
]
StallTimeout = Annotated[
    float,
    _option(
        "--stall-timeout",
        section=HOW,
        parser=read_stall_timeout,
        metavar="SECONDS",
        help="Give up a connection that is slower than 1 byte a second for this long (30).",
    ),
]
Wait = Annotated[
    bool,
    _option(
        "--wait",
        section=FETCH,
        help="Follow a run in progress, and fetch each artifact as it becomes ready.",
    ),
]
WaitTimeout = Annotated[
    str | None,
    _option(
        "--wait-timeout",
        section=FETCH,
        parser=duration,
        metavar="DURATION",
        help="Stop waiting after 90s, 30m or 2h.",
    ),
]
AllowMissing = Annotated[
    bool,
    _option(
        "--allow-missing",
        section=SUCCESS,
        help="Succeed even if the service does not have some of the artifacts.",
    ),
]
AllowEmpty = Annotated[
    bool, _option("--allow-empty", section=SUCCESS, help="Succeed even if nothing is selected.")
]
FailOnRunStatus = Annotated[
    bool,
    _option(
        "--fail-on-run-status",
        section=SUCCESS,
        help="Exit with 10 if the run ended in failed, canceled or timeout.",
    ),
]
FailFast = Annotated[
    bool, _option("--fail-fast", section=SUCCESS, help="Stop at the first artifact that fails.")
]
DryRun = Annotated[
    bool,
    _option(
        "--dry-run",
        "-n",
        section=SHOWN,
        help="Show the plan, one line for each artifact; download nothing, write nothing.",
    ),
]
Paths = Annotated[
    bool,
    _option("--paths", section=SHOWN, help="Write the path of each finished file to stdout."),
]
Checksums = Annotated[
    str | None,
    _option(
        "--checksums", section=PLACE, metavar="FILE", help="Also write a file for sha256sum -c."
    ),
]
ProgressOption = Annotated[
    Progress,
    _option(
        "--progress",
        section=SHOWN,
        metavar="|".join(Progress),
        help="How progress is shown on stderr (auto: bar on a terminal, else plain).",
    ),
]
Check = Annotated[
    bool,
    _option("--check", section=OTHER, help="Also ask the API for a page of runs with the token."),
]
NoCheck = Annotated[
    bool, _option("--no-check", section=OTHER, help="Store the token without asking the API first.")
]
WithToken = Annotated[
    bool, _option("--with-token", section=OTHER, help="Read the token from stdin.")
]
