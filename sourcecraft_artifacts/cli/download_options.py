"""The options that only `download` has."""

from typing import Annotated

from ..choices import IfExists, Layout, Progress
from .help import EXISTING, HOW, PLACE, SHOWN, SUCCESS, WHICH
from .options import (
    AllowEmpty,
    CommonOptions,
    Json,
    Options,
    WhichOptions,
    option,
)
from .values import duration, number, read_rate, read_stall_timeout


class OwnOptions(Options):
    """Where artifacts go, how they get there, and what is shown of it."""

    wait: Annotated[
        bool,
        option(
            "--wait",
            section=WHICH,
            help="Follow a run in progress, and fetch each artifact as it becomes ready; with -o,"
            " the one artifact once the selected cubes have ended.",
        ),
    ] = False
    wait_timeout: Annotated[
        str | None,
        option(
            "--wait-timeout",
            section=WHICH,
            parser=duration,
            metavar="DURATION",
            help="Stop waiting after 90 (seconds), 30m or 2h.",
        ),
    ] = None
    directory: Annotated[
        str | None,
        option(
            "--dir",
            "-d",
            section=PLACE,
            metavar="DIR",
            help="Output folder, created if absent (.).",
        ),
    ] = None
    output: Annotated[
        str | None,
        option(
            "--output",
            "-o",
            section=PLACE,
            metavar="FILE",
            help="Write one artifact to this file, creating its folder, and replacing the file if"
            " it exists; - is stdout.",
        ),
    ] = None
    layout: Annotated[
        Layout | None,
        option(
            "--layout",
            section=PLACE,
            metavar="|".join(Layout),
            help="mirror: DIR/local_path; nested: DIR/workflow/task/cube/local_path;"
            " flat: names only (auto: mirror for one exactly named cube, else nested).",
        ),
    ] = None
    unpack: Annotated[
        bool,
        option(
            "--unpack/--no-unpack",
            section=PLACE,
            help="Unpack a folder that the service stores as a tar archive, or keep the archive"
            " (unpack).",
        ),
    ] = True
    portable_paths: Annotated[
        bool,
        option(
            "--portable-paths",
            section=PLACE,
            help="Refuse paths that Windows or macOS cannot hold.",
        ),
    ] = False
    checksums: Annotated[
        str | None,
        option(
            "--checksums", section=PLACE, metavar="FILE", help="Also write a file for sha256sum -c."
        ),
    ] = None
    if_exists: Annotated[
        IfExists | None,
        option(
            "--if-exists",
            section=EXISTING,
            metavar="|".join(IfExists),
            help="update: keep files that are right, replace others that this tool put there,"
            " refuse if another file is in the way; skip: keep every file; overwrite: fetch again"
            " and replace any file; error: refuse if there is any file (update).",
        ),
    ] = None
    prune: Annotated[
        bool,
        option(
            "--prune",
            section=EXISTING,
            help="After complete success, remove downloaded files that are no longer listed.",
        ),
    ] = False
    jobs: Annotated[
        int | None,
        option(
            "--jobs",
            "-j",
            section=HOW,
            parser=number("--jobs", int, "a whole number of at least 1", 1),
            metavar="N",
            help="At most this many storage connections at once (chosen by the tool).",
        ),
    ] = None
    limit_rate: Annotated[
        float | None,
        option(
            "--limit-rate",
            section=HOW,
            parser=read_rate,
            metavar="RATE",
            help="Total bytes a second, such as 500K or 10M (M: 1024 x 1024).",
        ),
    ] = None
    stall_timeout: Annotated[
        float,
        option(
            "--stall-timeout",
            section=HOW,
            parser=read_stall_timeout,
            metavar="SECONDS",
            help="Give up a connection that is slower than 1 byte a second for this long (30).",
        ),
    ] = 30.0
    allow_missing: Annotated[
        bool,
        option(
            "--allow-missing",
            section=SUCCESS,
            help="Succeed even if the service does not have some of the artifacts.",
        ),
    ] = False
    allow_empty: AllowEmpty = False
    fail_on_run_status: Annotated[
        bool,
        option(
            "--fail-on-run-status",
            section=SUCCESS,
            help="Exit with 10 if the run ended as failed, canceled or timeout.",
        ),
    ] = False
    fail_fast: Annotated[
        bool, option("--fail-fast", section=SUCCESS, help="Stop at the first artifact that fails.")
    ] = False
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "-n",
            section=SHOWN,
            help="Show the plan, one line for each artifact; download nothing, write nothing.",
        ),
    ] = False
    sizes: Annotated[
        bool,
        option(
            "--sizes", section=SHOWN, help="With -n: ask the storage for sizes, and add them up."
        ),
    ] = False
    json: Json = False
    paths: Annotated[
        bool,
        option("--paths", section=SHOWN, help="Write the path of each finished file to stdout."),
    ] = False
    progress: Annotated[
        Progress,
        option(
            "--progress",
            section=SHOWN,
            metavar="|".join(Progress),
            help="How progress is shown on stderr (auto: bar on a terminal, else plain).",
        ),
    ] = Progress.AUTO


class DownloadOptions(WhichOptions, OwnOptions, CommonOptions):
    """All options of `download`."""
