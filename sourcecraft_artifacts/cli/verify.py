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
    from ..downloads.verify import Checked, verify
    from .streams import write_line

    Session(ctx, quiet=quiet)
    checked, wrong = 0, list[Checked]()
    for one in verify(directory):
        checked += 1
        if one.state != "OK":
            wrong.append(one)
        if one.state != "OK" or not quiet:
            write_line(f"{one.path}: {one.state}")
    if wrong:
        from ..downloads.repair import repair_hint

        differ = "is not as it was" if len(wrong) == 1 else "are not as they were"
        raise Refused(
            f"{len(wrong):,} of {count(checked, 'file')} {differ} downloaded",
            hint=repair_hint(directory, wrong),
        )
