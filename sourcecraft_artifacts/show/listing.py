"""Listings of artifacts and runs, rendered: tab-separated lines, JSON, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..models import Artifact, CubeAddress, Run, moment
from ..results import UnlistedCube
from ..text import to_json, visible
from .colours import Paint, colour_of, unpainted
from .report import unlisted_fields

if TYPE_CHECKING:
    from rich.console import Console

    from .tables import Column

SCHEMA_VERSION = 1
Sizes = Sequence[int | None]
"""The size of each artifact in bytes, in their order; None where it is not known."""
_TIME_WIDTH, _PATH_WIDTH = 16, 22


def listing_lines(
    artifacts: Iterable[Artifact], sizes: Sizes | None = None, paint: Paint = unpainted
) -> Iterator[str]:
    """Yield `workflow task cube status updated_at local_path`, tab-separated, one by one.

    With `sizes` the last column is the size in bytes, empty where it is not known.
    """
    address: CubeAddress | None = None
    names = ""
    for number, artifact in enumerate(artifacts):
        if artifact.address is not address:
            address = artifact.address
            names = _tabbed(address.workflow, address.task, address.cube)
        updated = artifact.dates.updated_at or ""
        status = paint(visible(artifact.status), colour_of(artifact.status))
        line = f"{names}\t{status}\t{_tabbed(updated, artifact.local_path)}"
        yield line if sizes is None else f"{line}\t{_digits(sizes[number])}"


def runs_lines(runs: Iterable[Run], paint: Paint = unpainted) -> Iterator[str]:
    """Yield `slug status event_type created_at`, tab-separated, one by one."""
    for run in runs:
        status = paint(visible(run.status), colour_of(run.status))
        yield f"{visible(run.slug)}\t{status}\t{_tabbed(run.event_type, run.created_at or '')}"


def _tabbed(*fields: str) -> str:
    return "\t".join([visible(field) for field in fields])


def _digits(size: int | None) -> str:
    return "" if size is None else str(size)


def listing_json(
    repo: str,
    run: str,
    artifacts: Iterable[Artifact],
    with_urls: bool,
    sizes: Sizes | None = None,
    unlisted: Iterable[UnlistedCube] = (),
) -> str:
    """Return a listing as one JSON document, with the cubes that could not be listed.

    `download_url` gives access to the file, so only `with_urls` includes it. With `sizes` each
    artifact has its `size` in bytes, null where it is not known.
    """
    records = [_artifact_fields(artifact, with_urls) for artifact in artifacts]
    if sizes is not None:
        records = [{**one, "size": size} for one, size in zip(records, sizes, strict=True)]
    return to_json(
        {
            "schema_version": SCHEMA_VERSION,
            "repo": repo,
            "run": run,
            "artifacts": records,
            **unlisted_fields(unlisted),
        }
    )


def _artifact_fields(artifact: Artifact, with_urls: bool) -> dict[str, Any]:
    address, dates = artifact.address, artifact.dates
    fields: dict[str, Any] = {
        "workflow": address.workflow,
        "task": address.task,
        "cube": address.cube,
        "id": artifact.id,
        "local_path": artifact.local_path,
        "status": artifact.status,
        "dates": {
            "registered_at": dates.registered_at,
            "obtained_at": dates.obtained_at,
            "updated_at": dates.updated_at,
        },
    }
    if with_urls:
        fields["download_url"] = artifact.download_url
    return fields


def runs_json(repo: str, runs: Iterable[Run]) -> str:
    """Return runs as one JSON document."""
    return to_json(
        {"schema_version": SCHEMA_VERSION, "repo": repo, "runs": [_run_fields(run) for run in runs]}
    )


def _run_fields(run: Run) -> dict[str, Any]:
    return {
        "slug": run.slug,
        "status": run.status,
        "event_type": run.event_type,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "updated_at": run.updated_at,
        "pull": run.pull,
        "user": run.user,
    }


def local_time(stamp: str | None) -> tuple[str, str]:
    """Convert a time of the service (RFC 3339) to the local zone, to the minute.

    Returns the time and its zone, such as `UTC` or `+03:00`. A text that is not a time is returned
    unchanged, with no zone.
    """
    read = moment(stamp)
    try:
        local = read.astimezone() if read else None
    except (ValueError, OverflowError, OSError):
        local = None
    if local is None:
        return visible(stamp or ""), ""
    zone = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M}", f"{zone[:3]}:{zone[3:5]}" if local.utcoffset() else "UTC"


def _times(name: str, stamps: Iterable[str | None]) -> Column:
    """Return a column of times; if all are in one zone, its title names it, else each time does."""
    from .tables import Column

    times = [local_time(stamp) for stamp in stamps]
    zones = {zone for _, zone in times if zone}
    if len(zones) == 1:
        return Column(f"{name} ({zones.pop()})", [time for time, _ in times], _TIME_WIDTH, rank=1)
    cells = [f"{time} {zone}".rstrip() for time, zone in times]
    return Column(name, cells, _TIME_WIDTH, rank=1)


def listing_table(
    artifacts: Sequence[Artifact], console: Console, sizes: Sizes | None = None
) -> None:
    """Print artifacts as a table; names that all of them share are printed once, above it.

    With `sizes` the column before the path has each size in bytes, `?` where it is not known.
    """
    from .tables import Column, print_table  # rich costs start-up time

    columns: list[Column] = []
    shared: list[str] = []
    for name in ("workflow", "task", "cube"):
        values: list[str] = [getattr(artifact.address, name) for artifact in artifacts]
        if len(set(values)) > 1:
            columns.append(Column(name.title(), values))
        else:
            shared.extend(f"{name} {value}" for value in values[:1])
    columns.append(_times("Updated", (artifact.dates.updated_at for artifact in artifacts)))
    if sizes is not None:
        digits = [_digits(size) or "?" for size in sizes]
        width = max(map(len, ["Size", *digits]))
        columns.append(Column("Size".rjust(width), [size.rjust(width) for size in digits], width))
    paths = [artifact.local_path for artifact in artifacts]
    columns.append(Column("Path", paths, _PATH_WIDTH, alone=True))
    if artifacts:
        statuses = [artifact.status for artifact in artifacts]
        print_table(console, statuses, columns, title=", ".join(shared))


def runs_table(runs: Sequence[Run], console: Console) -> None:
    """Print runs as a table."""
    from .tables import Column, print_table

    columns = [
        Column("Run", [run.slug for run in runs]),
        Column("Event", [run.event_type for run in runs], rank=2),
        _times("Created", (run.created_at for run in runs)),
        Column("Pull", [run.pull or "" for run in runs], rank=4),
        Column("User", [run.user or "" for run in runs], rank=3),
    ]
    columns = [column for column in columns if any(column.cells)]
    if runs:
        print_table(console, [run.status for run in runs], columns)
