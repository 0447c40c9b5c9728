"""What `download` is asked for: its options, checked together, as one request."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..choices import Layout
from ..disk.paths import refuse_state_folder
from ..downloads.request import Request
from ..errors import UsageError
from ..service.runs import LATEST, RunFilter
from ..show.checksum_file import check_checksums_path
from ..text import visible
from .streams import write_bytes
from .values import read_duration

if TYPE_CHECKING:
    from .download_options import DownloadOptions
    from .session import Session


class Place(NamedTuple):
    """Where artifacts go, and what else goes to stdout."""

    directory: str
    output: str | None
    layout: Layout
    prune: bool
    json: bool
    paths: bool


def requested(session: Session, given: DownloadOptions) -> tuple[Request, Place]:
    """Return the request, and what is shown of its report.

    Raises `UsageError` for options that cannot be combined and for a bad `--output`, and what
    `check_checksums_path` raises.
    """
    place = _place(session, given)
    _check(session, given, place)
    address = session.address(given.run, given.names, given.repo)
    runs = session.runs(given)
    request = Request(
        address=address,
        runs=runs if address.run == LATEST else RunFilter(),
        directory=place.directory,
        output=place.output,
        selection=session.selection(given),
        layout=place.layout,
        if_exists=given.if_exists,
        portable_paths=given.portable_paths,
        unpack=given.unpack,
        prune=place.prune,
        allow_missing=given.allow_missing,
        jobs=given.jobs,
        limit_rate=given.limit_rate,
        retries=given.retries,
        stall_timeout=given.stall_timeout,
        fail_fast=given.fail_fast,
        wait=given.wait,
        wait_timeout=_seconds(given),
        allow_empty=given.allow_empty,
        fail_on_run_status=given.fail_on_run_status,
        dry_run=given.dry_run,
        ca_bundle=given.ca_bundle,
        checksums=given.checksums,
        write=write_bytes if place.output == "-" else None,
    )
    return request, place


def _seconds(given: DownloadOptions) -> float | None:
    return read_duration(given.wait_timeout) if given.wait and given.wait_timeout else None


def _check(session: Session, given: DownloadOptions, place: Place) -> None:
    """Refuse what cannot be combined, and files that cannot be written."""
    _check_output(place.output, dry_run=given.dry_run)
    refuse_state_folder("--dir", place.directory)
    if given.checksums is not None:
        check_checksums_path(given.checksums, directory=place.directory, output=place.output)
    session.needs("wait_timeout", "--wait", given.wait)
    session.needs("sizes", "--dry-run", given.dry_run)


def _check_output(output: str | None, *, dry_run: bool) -> None:
    """Raise `UsageError` if `--output` is an empty name, a folder, or stdout on a terminal."""
    if output == "":
        raise UsageError("--output: the name of the file is empty")
    if output == "-" and not dry_run and sys.stdout.isatty():
        raise UsageError(
            "--output -: stdout is a terminal, and an artifact may be binary",
            hint="redirect it with > FILE or | COMMAND, or name a file: --output FILE",
        )
    if output:
        refuse_state_folder("--output", output)
    if output and (os.path.isdir(output) or not os.path.basename(output)):
        folder = visible(output)
        raise UsageError(
            f"--output: {folder} is a folder",
            hint=f"--dir {folder} downloads into it; --output"
            f" {visible(os.path.join(output, 'NAME'))} writes one artifact to a file in it",
        )


def _place(session: Session, given: DownloadOptions) -> Place:
    is_file = _is_file_asked_for(session, given)
    if given.directory == "" and not is_file:
        raise UsageError("--dir: the name of the folder is empty")
    output, json, paths = _one_use_of_stdout(session, given, given.output if is_file else None)
    if is_file:
        return Place(".", output, Layout.AUTO, False, json, paths)
    layout = given.layout or Layout.AUTO
    return Place(given.directory or ".", None, layout, given.prune, json, paths)


def _is_file_asked_for(session: Session, given: DownloadOptions) -> bool:
    """Tell whether `--output` holds, and not the options for a folder.

    The command line beats the environment. Raises `UsageError` if one of these has both.
    """
    if given.output is None:
        return False
    of_folder = {"directory": "--dir", "layout": "--layout", "prune": "--prune"}
    is_given = session.was_given("output")
    if not is_given and any(map(session.was_given, of_folder)):
        return False
    for name, option in of_folder.items():
        is_set = getattr(given, name) not in (None, False)
        if is_set and session.was_given(name) == is_given:
            raise UsageError(f"--output cannot be combined with {option}")
    return True


def _one_use_of_stdout(
    session: Session, given: DownloadOptions, output: str | None
) -> tuple[str | None, bool, bool]:
    """Return what is written to stdout; the command line beats the environment.

    Raises `UsageError` if two options would write to it.
    """
    used = {"output": output == "-", "json": given.json, "paths": given.paths}
    names = [name for name in used if used[name]]
    if len(names) > 1:
        names = [name for name in names if session.was_given(name)] or names
    if len(names) > 1:
        shown = {"output": "--output -", "json": "--json", "paths": "--paths"}
        raise UsageError(f"{' and '.join(shown[name] for name in names)} both write to stdout")
    if output == "-" and "output" not in names:
        output = None
    return output, "json" in names, "paths" in names
