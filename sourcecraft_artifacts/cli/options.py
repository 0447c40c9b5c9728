"""What commands share: the options, each written once, how their values are read, and help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..choices import IfExists, Layout, Progress
from ..errors import UsageError
from ..text import visible
from .completion import complete_cube, complete_run, complete_task, complete_workflow

PREFIX = "SOURCECRAFT_ARTIFACTS_"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""What typer is told of every command."""


def examples(*commands: str) -> str:
    """Return a help page's last paragraph, kept as it is (`\\b`)."""
    return "\n".join(["\b", "Examples:", *(f"  sourcecraft-artifacts {line}" for line in commands)])


def _option(*names: str, variables: tuple[str, ...] = (), **settings: Any) -> Any:
    """Make an option that also has an environment variable, named after its long name."""
    long = next(name for name in names if name.startswith("--"))
    variable = PREFIX + long[2:].replace("-", "_").upper()
    return typer.Option(
        *names, envvar=[*variables, variable], show_envvar=False, show_default=False, **settings
    )


def _number(option: str, kind: type[int] | type[float], what: str, least: int) -> Any:
    """Return what reads an option's number. It raises `UsageError`, in the option's own words."""

    def read(value: str | float) -> float:
        try:
            number = kind(value)
        except ValueError:
            number = kind(least - 1)
        if number < least:
            raise UsageError(f"{option} must be {what}, not {visible(str(value)) or 'empty'}")
        return number

    return read


def _run_status(value: str) -> str:
    if not value.strip():
        raise UsageError(
            "--run-status: an empty text is no status", hint="write success, failed or processing"
        )
    return value


class Command(TyperCommand):
    """A command whose usage says which arguments go together: `RUN [WORKFLOW [TASK [CUBE]]]`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the usage, word by word."""
        return usage_pieces(super().collect_usage_pieces(ctx))


def usage_pieces(pieces: Sequence[str]) -> list[str]:
    """Write braces around no argument, and each optional one inside the one before it."""
    options, *arguments = pieces
    needed = [word.strip("{}") for word in arguments if not word.startswith("[")]
    optional = [word for word in arguments if word.startswith("[")]
    nested = " ".join(word[:-1] for word in optional) + "]" * len(optional)
    return [options, *needed, *([nested] if nested else [])]


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Slug of a run, its web address, or latest.",
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
    _option("--repo", "-R", metavar="ORG/REPO", help="Repository (default: that of the checkout)."),
]
RunStatus = Annotated[
    str | None,
    _option(
        "--run-status",
        parser=_run_status,
        metavar="STATUS",
        help="With latest: only runs in this status.",
    ),
]
Include = Annotated[
    list[str] | None,
    _option("--include", "-i", metavar="GLOB", help="Only artifacts that match; repeatable."),
]
Exclude = Annotated[
    list[str] | None,
    _option("--exclude", "-x", metavar="GLOB", help="No artifacts that match; repeatable."),
]
Json = Annotated[bool, _option("--json", help="Write one JSON document to stdout.")]
Quiet = Annotated[
    bool, _option("--quiet", "-q", help="Say nothing but errors and what is missing.")
]
Debug = Annotated[
    bool, _option("--debug", help="Show requests, retries and decisions on stderr, no secrets.")
]
Retries = Annotated[
    int,
    _option(
        "--retries",
        parser=_number("--retries", int, "a whole number of at least 0", 0),
        metavar="N",
        help="Tries after the first of each request (5).",
    ),
]
ApiUrl = Annotated[
    str | None,
    _option(
        "--api-url",
        variables=("SOURCECRAFT_API_URL",),
        metavar="URL",
        help="Address of the API (https://api.sourcecraft.tech).",
    ),
]
CaBundle = Annotated[
    str | None, _option("--ca-bundle", metavar="FILE", help="Trust the CAs in this file.")
]
WithUrls = Annotated[
    bool,
    _option("--with-urls", help="With --json: also each download_url, a key to the file."),
]
Limit = Annotated[
    int,
    _option(
        "--limit",
        "-L",
        parser=_number("--limit", int, "a whole number of at least 1", 1),
        metavar="N",
        help="Show the newest N runs (20).",
    ),
]
Dir = Annotated[
    str | None, _option("--dir", "-d", metavar="DIR", help="Output folder, made when absent (.).")
]
Output = Annotated[
    str | None,
    _option("--output", "-o", metavar="FILE", help="One artifact to this file; - is stdout."),
]
LayoutOption = Annotated[
    Layout | None,
    _option(
        "--layout",
        metavar="|".join(Layout),
        help="mirror: DIR/local_path; nested: DIR/workflow/task/cube/local_path; flat: names only"
        " (auto: mirror for one exactly named cube, else nested).",
    ),
]
IfExistsOption = Annotated[
    IfExists | None,
    _option(
        "--if-exists",
        metavar="|".join(IfExists),
        help="What to do with a file that is there already (update).",
    ),
]
PortablePaths = Annotated[
    bool, _option("--portable-paths", help="Refuse paths that Windows or macOS cannot hold.")
]
Jobs = Annotated[
    int | None,
    _option(
        "--jobs",
        "-j",
        parser=_number("--jobs", int, "a whole number of at least 1", 1),
        metavar="N",
        help="Most storage connections at once (the tool's choice).",
    ),
]
LimitRate = Annotated[
    str | None, _option("--limit-rate", metavar="RATE", help="Bytes a second, as in 500K or 10M.")
]
StallTimeout = Annotated[
    float,
    _option(
        "--stall-timeout",
        parser=_number("--stall-timeout", float, "a number of seconds, more than 0", 0),
        metavar="SECONDS",
        help="Give up a connection that moves less than 1 byte a second this long (30).",
    ),
]
Wait = Annotated[
    bool, _option("--wait", help="Follow a run in progress and fetch what becomes ready.")
]
WaitTimeout = Annotated[
    str | None,
    _option("--wait-timeout", metavar="DURATION", help="Stop waiting after 90s, 30m or 2h."),
]
AllowMissing = Annotated[
    bool,
    _option("--allow-missing", help="Artifacts the service does not have do not fail the command."),
]
AllowEmpty = Annotated[bool, _option("--allow-empty", help="Selecting nothing is success.")]
FailFast = Annotated[bool, _option("--fail-fast", help="Stop at the first artifact that fails.")]
DryRun = Annotated[
    bool, _option("--dry-run", "-n", help="Show the plan; ask no storage, write nothing.")
]
Paths = Annotated[bool, _option("--paths", help="Write each finished path to stdout, a line each.")]
Checksums = Annotated[
    str | None,
    _option("--checksums", metavar="FILE", help="Also write a file for sha256sum -c."),
]
ProgressOption = Annotated[
    Progress,
    _option(
        "--progress",
        metavar="|".join(Progress),
        help="How progress is shown on stderr (auto: bar on a terminal, else plain).",
    ),
]
WithToken = Annotated[bool, _option("--with-token", help="Read the token from stdin.")]

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?(?:/s)?", re.IGNORECASE)
_DURATION = re.compile(
    r"(?:([0-9]+(?:\.[0-9]+)?)h)?(?:([0-9]+(?:\.[0-9]+)?)m)?(?:([0-9]+(?:\.[0-9]+)?)s?)?",
    re.IGNORECASE,
)


def read_stall_timeout(seconds: float) -> float:
    """Return seconds that a connection may stall. Raises `UsageError` where that is no time."""
    if not 0 < seconds <= 1e6:
        raise UsageError("--stall-timeout must be more than 0 seconds, and a million at most")
    return seconds


def read_rate(text: str | None) -> float | None:
    """Read a rate such as `500K` or `10M`, in powers of 1024 as curl does, as bytes a second.

    Raises `UsageError`.
    """
    if text is None:
        return None
    match = _RATE.fullmatch(text.strip())
    rate = float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ") if match else 0.0
    if rate < 1:
        raise UsageError(
            f"--limit-rate: {visible(text)} is no rate", hint="write 500K or 10M, bytes a second"
        )
    return rate


def read_duration(text: str | None) -> float | None:
    """Read a duration such as `90s`, `30m`, `2h` or `1h30m` as seconds. Raises `UsageError`."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise UsageError(
            f"--wait-timeout: {visible(text)} is no duration", hint="write 90s, 30m or 2h"
        )
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
