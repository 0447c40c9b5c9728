"""The program's commands and their help pages.

requests and rich are imported by the commands that use them, so that `--help` and completion
start quickly.
"""

from __future__ import annotations

import os
from typing import Annotated, NoReturn

import typer

from ..choices import Shell
from ..errors import Refused
from ..text import count
from . import options as opt
from .auth import auth
from .boundary import guarded, leave, run_app
from .download import download_command
from .help import PROGRAM, Command, examples
from .listings import list_command, runs_command
from .session import Session

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
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
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


app.command(
    "list",
    cls=Command,
    short_help="Show the artifacts under an address.",
    epilog=examples(
        "list 12 ci build linux -R org/repo",
        "list latest ci --run-status success",
        "list 12 ci 'build-*' --json | jq .artifacts",
    ),
)(list_command)
app.command(
    "download",
    cls=Command,
    short_help="Put artifacts on disk.",
    epilog=examples(
        "download 12 ci build linux -R org/repo -d out",
        "download latest --run-status success -i 'reports/**'",
        "download 12 ci build linux -i app.tar -o - | tar x",
        "download https://sourcecraft.dev/org/repo/cicd/runs/12",
        "download latest --wait --wait-timeout 30m",
    ),
)(download_command)
app.command(
    "runs",
    cls=Command,
    short_help="Show the newest runs.",
    epilog=examples("runs -R org/repo", "runs --event push -L 1 | cut -f 2"),
)(runs_command)


@app.command(
    "verify",
    cls=Command,
    short_help="Check a download folder against its manifest.",
    epilog=examples("verify out"),
)
@guarded
def verify_command(
    ctx: typer.Context,
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Download folder (.).", show_default=False)
    ] = ".",
    quiet: opt.Quiet = False,
) -> None:
    """Check a download folder against its manifest: OK, FAILED or MISSING for each file."""
    from ..downloads.verify import repairing_download, verify
    from .streams import write_lines

    Session(ctx, quiet=quiet)
    found = list(verify(directory))
    wrong = [f"{path}: {verdict}" for path, verdict in found if verdict != "OK"]
    write_lines(wrong if quiet else [f"{path}: {verdict}" for path, verdict in found])
    if wrong:
        raise Refused(
            f"{len(wrong):,} of {count(len(found), 'file')} are not as they were downloaded",
            hint=f"to repair what differs, download again: {repairing_download(directory)}",
        )


@app.command(
    "sandbox",
    cls=Command,
    short_help="Try the tool against a local stand-in.",
    epilog=examples(
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


@app.command("help", hidden=True, add_help_option=False)
def help_command(
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND…]")] = None,
) -> None:
    """Show the help page of the program or of a command, as `--help` does."""
    app([*(words or []), "--help"], prog_name=PROGRAM, standalone_mode=False)


@app.command("version", hidden=True)
def version_command() -> None:
    """Show the version, as `--version` does."""
    app(["--version"], prog_name=PROGRAM, standalone_mode=False)


def main() -> NoReturn:
    """Run the program, or answer a shell's completion script, and exit."""
    instruction = os.environ.pop("_SOURCECRAFT_ARTIFACTS_COMPLETE", "")
    if instruction:
        from .shells import answer

        leave(answer(typer.main.get_command(app), instruction))
    leave(run_app(app))
