"""The program's commands and their help pages.

A command is imported when it is asked for, and requests and rich are imported by the
commands that use them, so that `--help` and completion start quickly.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..choices import Shell
from .boundary import leave, run_program
from .help import CONTEXT, PROGRAM, examples, plain_typer, write_examples
from .origins import PREFIX

_COMMANDS = ("list", "download", "runs", "verify", "sandbox", "auth")
"""The commands; each has a module of its name, with a `NAME_command`."""


class _Commands(Mapping[str, Any]):
    """The commands by name, imported when needed: typer takes 2 to 5 ms to build each."""

    def __getitem__(self, name: str) -> Any:
        if name not in _COMMANDS:
            raise KeyError(name)
        return getattr(import_module(f".{name}", __package__), f"{name}_command")

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


_VARIABLES = (
    ("SOURCECRAFT_TOKEN", "The token; it beats the one that auth login stored."),
    (f"{PREFIX}NAME", "The value of the option --name; every option has one."),
)


class _Program(TyperGroup):
    """The top-level command; `help` and `version` are other words for its options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = _Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        elif args == ["version"]:
            args = ["--version"]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the variables of all commands, and first steps."""
        with formatter.section("Environment"):
            formatter.write_dl(_VARIABLES)
        write_examples((self.epilog or "").splitlines(), formatter)


_app = plain_typer(
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
