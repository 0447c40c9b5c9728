"""The command `sandbox`: a stand-in for the service."""

from typing import Annotated

import typer

from .help import command


@command(
    "sandbox",
    "sandbox -- sourcecraft-artifacts download latest",
    "sandbox -- sh my-script.sh",
    short_help="Try the tool against a local stand-in.",
    context_settings={"allow_interspersed_args": False},
)
def sandbox_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND …]", help="Run this with the sandbox's settings."),
    ] = None,
) -> None:
    """Serve a local stand-in for the service, on loopback, to try the tool with no account.

    Without a command, print its settings as export lines and serve until Ctrl-C.
    """
    from ..sandbox import run_sandbox

    raise typer.Exit(run_sandbox(words or []))
