"""The command `sandbox`: a stand-in for the service."""

from typing import Annotated

import typer

from .boundary import guarded


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
