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
    from .streams import write_lines

    Session(ctx, quiet=quiet)
    found = list(verify(directory))
    wrong = [f"{path}: {verdict}" for path, verdict in found if verdict != "OK"]
    write_lines(wrong if quiet else [f"{path}: {verdict}" for path, verdict in found])
    if wrong:
        differ = "is not as it was" if len(wrong) == 1 else "are not as they were"
        raise Refused(
            f"{len(wrong):,} of {count(len(found), 'file')} {differ} downloaded",
            hint=f"to repair what differs, download again: {repairing_download(directory)}",
        )
