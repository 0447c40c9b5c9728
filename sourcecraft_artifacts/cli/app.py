"""The program's commands and their help pages.

A command is loaded and built when it is asked for, and requests and rich are imported by the
commands that use them, so that `--help` and completion start quickly.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..choices import Shell
from .boundary import leave, run_program
from .help import CONTEXT, PROGRAM, built, examples, write_examples
from .origins import PREFIX


def _list() -> Any:
    from .listings import list_command

    return built(
        "list",
        list_command,
        "list 12 ci build linux -R org/repo",
        "list latest ci --run-status success",
        "list 12 ci 'build-*' --json | jq .artifacts",
        short_help="Show the artifacts under an address.",
    )


def _download() -> Any:
    from .download import download_command

    return built(
        "download",
        download_command,
        "download 12 ci build linux -R org/repo -d out",
        "download latest --run-status success -i 'reports/**'",
        "download 12 ci build linux -i app.tar -o - | tar x",
        "download https://sourcecraft.dev/org/repo/cicd/runs/12",
        "download latest --wait --wait-timeout 30m",
        short_help="Put artifacts on disk.",
    )


def _runs() -> Any:
    from .listings import runs_command

    return built(
        "runs",
        runs_command,
        "runs -R org/repo",
        "runs --event push -L 1 | cut -f 2",
        short_help="Show the newest runs.",
    )


def _verify() -> Any:
    from .verify import verify_command

    return built(
        "verify",
        verify_command,
        "verify out",
        short_help="Check a download folder against its manifest.",
    )


def _sandbox() -> Any:
    from .sandbox import sandbox_command

    return built(
        "sandbox",
        sandbox_command,
        "sandbox -- sourcecraft-artifacts download latest",
        "sandbox -- sh my-script.sh",
        short_help="Try the tool against a local stand-in.",
        context_settings={"allow_interspersed_args": False},
    )


def _auth() -> Any:
    from .auth import auth

    return typer.main.get_command(auth)


def _help() -> Any:
    def help_command(
        words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND…]")] = None,
    ) -> None:
        """Show the help page of the program or of a command, as `--help` does."""
        program()([*(words or []), "--help"], prog_name=PROGRAM, standalone_mode=False)

    return built("help", help_command, hidden=True, add_help_option=False)


def _version() -> Any:
    def version_command() -> None:
        """Show the version, as `--version` does."""
        program()(["--version"], prog_name=PROGRAM, standalone_mode=False)

    return built("version", version_command, hidden=True)


_BUILDERS: Mapping[str, Callable[[], Any]] = {
    "list": cache(_list),
    "download": cache(_download),
    "runs": cache(_runs),
    "verify": cache(_verify),
    "sandbox": cache(_sandbox),
    "help": cache(_help),
    "version": cache(_version),
    "auth": cache(_auth),
}


class _Commands(Mapping[str, Any]):
    """The commands by name, built when needed: typer takes 2 to 5 ms for each."""

    def __getitem__(self, name: str) -> Any:
        return _BUILDERS[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(_BUILDERS)

    def __len__(self) -> int:
        return len(_BUILDERS)


_VARIABLES = (
    ("SOURCECRAFT_TOKEN", "The token; it beats the one that auth login stored."),
    (f"{PREFIX}NAME", "The value of the option --name; every option has one."),
)


class _Program(TyperGroup):
    """The top-level command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Commands()

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the variables of all commands, and first steps."""
        with formatter.section("Environment"):
            formatter.write_dl(_VARIABLES)
        write_examples((self.epilog or "").splitlines(), formatter)


_app = typer.Typer(
    name=PROGRAM,
    cls=_Program,
    help="List and download the CI artifacts of SourceCraft runs.",
    epilog=examples(
        "sandbox -- bash",
        "auth login",
        "runs -R org/repo",
        "download latest --run-status success -d out",
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _show_version(ctx: typer.Context, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from .. import __version__

        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _show_completion(ctx: typer.Context, shell: Shell | None) -> None:
    if shell and not ctx.resilient_parsing:
        from .shells import script

        typer.echo(script(shell), nl=False)
        raise typer.Exit


@_app.callback()
def main_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
        ),
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


@cache
def program() -> Any:
    """Return the top-level command."""
    return typer.main.get_command(_app)


def main() -> NoReturn:
    """Run the program, or answer a shell's completion script, and exit."""
    instruction = os.environ.pop("_SOURCECRAFT_ARTIFACTS_COMPLETE", "")
    if instruction:
        from .shells import answer

        leave(answer(program(), instruction))
    leave(run_program(program()))
