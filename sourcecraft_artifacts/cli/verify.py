"""The command `verify`: a download folder against its manifest."""

from typing import Annotated

import typer

from ..errors import Refused
from ..text import count
from . import options as opt
from .help import SHOWN, command
from .session import Session


@command("verify", "verify out", short_help="Check a download folder against its manifest.")
def verify_command(
    ctx: typer.Context,
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Download folder (.).", show_default=False)
    ] = ".",
    quiet: Annotated[
        bool,
        opt.option(
            "--quiet",
            "-q",
            section=SHOWN,
            help="Leave out the files that are as they were downloaded.",
        ),
    ] = False,
) -> None:
    """Check a download folder against its manifest: OK, FAILED or MISSING for each file."""
    from ..downloads.verify import repairing_download, verify
    from .streams import write_line

    Session(ctx, quiet=quiet)
    checked = wrong = 0
    for path, verdict in verify(directory):
        checked += 1
        wrong += verdict != "OK"
        if verdict != "OK" or not quiet:
            write_line(f"{path}: {verdict}")
    if wrong:
        differ = "is not as it was" if wrong == 1 else "are not as they were"
        raise Refused(
            f"{wrong:,} of {count(checked, 'file')} {differ} downloaded",
            hint=f"to repair what differs, download again: {repairing_download(directory)}",
        )
