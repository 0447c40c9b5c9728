"""The command line: arguments to a request, and the one boundary from errors to exit statuses.

requests and rich are imported by the commands that use them, so that `--help` and completion
answer at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..choices import Layout, Progress, Shell
from ..errors import Refused, UsageError, WaitTimeout
from ..text import count
from . import options as opt
from .auth import auth
from .boundary import guarded, leave, run_app
from .session import Session
from .streams import Voice

if TYPE_CHECKING:
    from ..models import Run

app = typer.Typer(
    name="sourcecraft-artifacts",
    help="List and download the CI artifacts of SourceCraft runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=opt.CONTEXT,
)
app.add_typer(auth, name="auth")


def _version(ctx: typer.Context, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from .. import __version__

        typer.echo(f"sourcecraft-artifacts {__version__}")
        raise typer.Exit


def _show_completion(ctx: typer.Context, shell: Shell | None) -> None:
    if shell and not ctx.resilient_parsing:
        from .shells import script

        typer.echo(script(shell), nl=False)
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    show_completion: Annotated[
        Shell | None,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            is_eager=True,
            metavar="|".join(Shell),
            help="Print the completion script of a shell.",
        ),
    ] = None,
) -> None:
    """List and download the CI artifacts of SourceCraft runs."""


@app.command(
    "list",
    cls=opt.Command,
    short_help="Show the artifacts under an address.",
    epilog=opt.examples(
        "list 12 ci build linux -R org/repo",
        "list latest --run-status success",
        "list 12 ci 'build-*' --json | jq .artifacts",
    ),
)
@guarded
def list_command(
    ctx: typer.Context,
    run: opt.RunArgument,
    workflow: opt.WorkflowArgument = None,
    task: opt.TaskArgument = None,
    cube: opt.CubeArgument = None,
    repo: opt.Repo = None,
    run_status: opt.RunStatus = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    json: opt.Json = False,
    with_urls: opt.WithUrls = False,
    retries: opt.Retries = 5,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Show the artifacts of a cube, or of everything under the address.

    On a terminal a table; otherwise a line each, tab-separated: workflow, task, cube, status,
    updated_at, local_path.
    """
    from ..select import Selection
    from ..service.listing import list_artifacts
    from ..show.listing import listing_json, listing_lines, listing_table

    session = Session(ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug)
    address = session.address(run, (workflow, task, cube), repo, run_status)
    session.needs("with_urls", "--json", json)
    with session.client() as client:
        listing = list_artifacts(client, session.resolved(client, address, run_status))
    if listing.remark:
        session.warn(listing.remark)
    selection = Selection(tuple(include or ()), tuple(exclude or ()))
    chosen = [a for a in listing.artifacts if selection.matches(a.local_path)]
    if json:
        session.write([listing_json(listing.repo, listing.run, chosen, with_urls)])
    elif session.shows_tables:
        listing_table(chosen, session.console())
    else:
        session.write(listing_lines(chosen))


@app.command(
    "download",
    cls=opt.Command,
    short_help="Put artifacts on disk.",
    epilog=opt.examples(
        "download 12 ci build linux -R org/repo -d out",
        "download latest --run-status success -i 'reports/**'",
        "download 12 ci build linux -i app.tar -o - | tar x",
        "download https://sourcecraft.dev/org/repo/cicd/runs/12",
        "download latest --wait --wait-timeout 30m",
    ),
)
@guarded
def download_command(
    ctx: typer.Context,
    run: opt.RunArgument,
    workflow: opt.WorkflowArgument = None,
    task: opt.TaskArgument = None,
    cube: opt.CubeArgument = None,
    repo: opt.Repo = None,
    run_status: opt.RunStatus = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    directory: opt.Dir = None,
    output: opt.Output = None,
    layout: opt.LayoutOption = None,
    if_exists: opt.IfExistsOption = None,
    portable_paths: opt.PortablePaths = False,
    jobs: opt.Jobs = None,
    limit_rate: opt.LimitRate = None,
    retries: opt.Retries = 5,
    stall_timeout: opt.StallTimeout = 30.0,
    wait: opt.Wait = False,
    wait_timeout: opt.WaitTimeout = None,
    allow_missing: opt.AllowMissing = False,
    allow_empty: opt.AllowEmpty = False,
    fail_fast: opt.FailFast = False,
    dry_run: opt.DryRun = False,
    json: opt.Json = False,
    paths: opt.Paths = False,
    checksums: opt.Checksums = None,
    progress: opt.ProgressOption = Progress.AUTO,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Put the artifacts of a cube, or of everything under the address, on disk.

    Run again, it fetches only what is new, and goes on where it was interrupted.
    """
    from ..downloads.request import Request
    from ..downloads.story import download, exit_status
    from ..select import Selection
    from ..show.checksum_file import check_checksums_path, checksums_beside

    Voice.as_events = progress is Progress.JSON
    session = Session(ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug)
    output, directory, layout = session.one_target(output, directory, layout)
    output, json, paths = session.one_use_of_stdout(output, json=json, paths=paths)
    if directory == "":
        raise UsageError("--dir: an empty name is no folder")
    if output == "":
        raise UsageError("--output: an empty name is no file")
    if checksums is not None:
        check_checksums_path(checksums, directory=directory or ".", output=output)
    session.needs("wait_timeout", "--wait", wait)
    address = session.address(run, (workflow, task, cube), repo, run_status)
    request = Request(
        address=address,
        directory=directory or ".",
        output=output,
        selection=Selection(tuple(include or ()), tuple(exclude or ())),
        layout=layout or Layout.AUTO,
        if_exists=if_exists,
        portable_paths=portable_paths,
        jobs=jobs,
        limit_rate=opt.read_rate(limit_rate),
        retries=retries,
        stall_timeout=opt.read_stall_timeout(stall_timeout),
        fail_fast=fail_fast,
        wait=wait,
        wait_timeout=opt.read_duration(wait_timeout),
        allow_empty=allow_empty,
        dry_run=dry_run,
        ca_bundle=ca_bundle,
        log=session.log,
        notice=session.notice,
        warn=session.warn,
        write=session.write_bytes if output == "-" else None,
    )
    with session.client() as client:
        request = request.at(session.resolved(client, address, run_status))
        report = download(client, request, session.reporter(progress))
    may_wait = not (wait or allow_missing)
    with checksums_beside(None if dry_run else checksums, report):
        session.show(report, json=json, paths=paths, dry_run=dry_run, may_wait=may_wait)
    if report.error is not None:
        raise report.error
    if report.timed_out:
        raise WaitTimeout(
            f"run {report.run} had not ended after {wait_timeout} (--wait-timeout)",
            hint="run the same command again: it goes on where it stopped",
        )
    raise typer.Exit(exit_status(report, allow_missing=allow_missing))


@app.command(
    "runs",
    cls=opt.Command,
    short_help="Show the newest runs.",
    epilog=opt.examples("runs -R org/repo", "runs -L 1 | cut -f 2"),
)
@guarded
def runs_command(
    ctx: typer.Context,
    repo: opt.Repo = None,
    limit: opt.Limit = 20,
    json: opt.Json = False,
    retries: opt.Retries = 5,
    api_url: opt.ApiUrl = None,
    ca_bundle: opt.CaBundle = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Show the newest runs of the repository.

    On a terminal a table; otherwise a line each, tab-separated: slug, status, event_type,
    created_at.
    """
    from ..service.listing import newest_runs
    from ..show.listing import runs_json, runs_lines, runs_table

    session = Session(ctx, api_url, ca_bundle, retries=retries, quiet=quiet, debug=debug)
    name = session.repo(repo)
    with session.client() as client:
        runs: list[Run] = newest_runs(client.runs(name), limit)
    if json:
        session.write([runs_json(name, runs)])
    elif session.shows_tables:
        runs_table(runs, session.console())
    else:
        session.write(runs_lines(runs))


@app.command(
    "verify",
    cls=opt.Command,
    short_help="Check a download folder against its manifest.",
    epilog=opt.examples("verify out"),
)
@guarded
def verify_command(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Download folder (.).", show_default=False)
    ] = ".",
    quiet: opt.Quiet = False,
) -> None:
    """Check a download folder against its manifest: OK, FAILED or MISSING for each file."""
    from ..downloads.verify import verify
    from .streams import write_lines

    found = list(verify(directory))
    wrong = [f"{path}: {verdict}" for path, verdict in found if verdict != "OK"]
    write_lines(wrong if quiet else [f"{path}: {verdict}" for path, verdict in found])
    if wrong:
        raise Refused(
            f"{len(wrong):,} of {count(len(found), 'file')} are not as they were downloaded",
            hint="download with --if-exists overwrite fetches anew; --include names some alone",
        )


@app.command(
    "sandbox",
    cls=opt.Command,
    short_help="Try the tool against a local stand-in.",
    epilog=opt.examples(
        "sandbox -- sourcecraft-artifacts download latest",
        "sandbox -- sh my-script.sh",
    ),
    context_settings={"allow_interspersed_args": False},
)
@guarded
def sandbox_command(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND …]", help="Run this with the sandbox's settings."),
    ] = None,
) -> None:
    """Serve a local stand-in for the service, on loopback, to try the tool with no account.

    Without a command, print its settings as export lines and serve until Ctrl-C.
    """
    from ..sandbox import run_sandbox

    raise typer.Exit(run_sandbox(command or []))


def main() -> NoReturn:
    """Run the program, or answer a shell's completion script, and exit."""
    instruction = os.environ.pop("_SOURCECRAFT_ARTIFACTS_COMPLETE", "")
    if instruction:
        from .shells import answer

        leave(answer(typer.main.get_command(app), instruction))
    leave(run_app(app))
