"""Listings and results, rendered once: tab-separated lines, JSON, tables and the summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .errors import ArtifactsError
from .models import Artifact, CubeAddress, Run
from .results import FileResult, Outcome, Report
from .text import count, human_seconds, human_size, to_json, visible

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
MOST_NAMED = 10


def listing_lines(artifacts: Iterable[Artifact]) -> Iterator[str]:
    """Yield `workflow task cube status updated_at local_path`, tab-separated, one by one."""
    address: CubeAddress | None = None
    names = ""
    for artifact in artifacts:
        if artifact.address is not address:
            address = artifact.address
            names = _tabbed(address.workflow, address.task, address.cube)
        updated = artifact.dates.updated_at or ""
        yield names + "\t" + _tabbed(artifact.status, updated, artifact.local_path)


def runs_lines(runs: Iterable[Run]) -> Iterator[str]:
    """Yield `slug status event_type created_at`, tab-separated, one by one."""
    for run in runs:
        yield _tabbed(run.slug, run.status, run.event_type, run.created_at or "")


def _tabbed(*fields: str) -> str:
    return "\t".join([visible(field) for field in fields])


def listing_json(repo: str, run: str, artifacts: Iterable[Artifact], with_urls: bool) -> str:
    """Write a listing as one document; `download_url` is a key to the file, so only if asked."""
    return to_json(
        {
            "schema_version": SCHEMA_VERSION,
            "repo": repo,
            "run": run,
            "artifacts": [_artifact_fields(artifact, with_urls) for artifact in artifacts],
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
    """Write runs as one document."""
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


def report_json(report: Report) -> str:
    """Write what a download did as one document; sizes in bytes, times in seconds."""
    return to_json(
        {
            "schema_version": SCHEMA_VERSION,
            "repo": report.repo,
            "run": report.run,
            "dir": report.dir,
            "files": [_file_fields(result) for result in report.files],
            "summary": {
                "selected": len(report.files),
                "downloaded": report.count(Outcome.DOWNLOADED),
                "unchanged": report.count(Outcome.UNCHANGED),
                "skipped": report.count(Outcome.SKIPPED),
                "unavailable": report.count(Outcome.UNAVAILABLE),
                "failed": report.count(Outcome.FAILED),
                "bytes": report.transferred,
                "seconds": round(report.seconds, 3),
            },
        }
    )


def _file_fields(result: FileResult) -> dict[str, Any]:
    artifact = result.artifact
    return {
        "workflow": artifact.address.workflow,
        "task": artifact.address.task,
        "cube": artifact.address.cube,
        "local_path": artifact.local_path,
        "path": result.path,
        "status": artifact.status,
        "outcome": result.outcome,
        "size": result.size,
        "sha256": result.sha256,
        "transferred": result.transferred,
        "seconds": round(result.seconds, 3),
        "error": error_fields(result.error),
    }


def error_fields(error: ArtifactsError | None) -> dict[str, str] | None:
    """Give an error as the JSON outputs have it."""
    return {"code": error.code, "message": error.message} if error else None


def what_went_wrong(result: FileResult) -> str:
    """Say why a file is not there, in one line that is safe to show."""
    if result.error:
        return visible(result.error.message)
    if result.outcome is Outcome.UNAVAILABLE:
        return visible(f"the service reports it as {result.artifact.status}")
    return "it could not be had"


def summary_lines(report: Report) -> list[str]:
    """Say for a person what was done, and name what is missing, with the reason and a way out."""
    planned = report.count(Outcome.PLANNED)
    lines = [_plan_line(result) for result in report.files if result.outcome is Outcome.PLANNED]
    lines.append(_plan_sentence(report) if planned else _sentence(report))
    several = len({result.artifact.address for result in report.files}) > 1
    for outcome in (Outcome.UNAVAILABLE, Outcome.FAILED):
        lines.extend(_named(report, outcome, several))
    return lines


def _plan_line(result: FileResult) -> str:
    return f"{result.action:<8}  {visible(result.path or result.artifact.local_path)}"


def _plan_sentence(report: Report) -> str:
    actions = [result.action for result in report.files if result.outcome is Outcome.PLANNED]
    fetches = sum(action not in {"keep", "skip"} for action in actions)
    would = f"Would fetch {count(fetches, 'file')}"
    rest = _others(report, unchanged=actions.count("keep"), skipped=actions.count("skip"))
    return f"{would}; {rest}." if rest else f"{would}."


def _sentence(report: Report) -> str:
    downloaded = report.count(Outcome.DOWNLOADED)
    did = f"Downloaded {count(downloaded, 'file')}" if downloaded else "Downloaded nothing"
    if report.transferred:
        did += f", {human_size(report.transferred)} in {human_seconds(report.seconds)}"
        if report.seconds > 0:
            did += f" ({human_size(report.transferred / report.seconds)}/s)"
    rest = _others(report)
    return f"{did}; {rest}." if rest else f"{did}."


def _others(report: Report, unchanged: int = 0, skipped: int = 0) -> str:
    numbers = {
        "unchanged": unchanged + report.count(Outcome.UNCHANGED),
        "skipped": skipped + report.count(Outcome.SKIPPED),
        "unavailable": report.count(Outcome.UNAVAILABLE),
        "failed": report.count(Outcome.FAILED),
    }
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)


def _named(report: Report, outcome: Outcome, several: bool) -> Iterator[str]:
    results = [result for result in report.files if result.outcome is outcome]
    for result in results[:MOST_NAMED]:
        yield f"  {outcome}: {_full_name(result.artifact, several)}: {what_went_wrong(result)}"
    if len(results) > MOST_NAMED:
        yield f"  and {len(results) - MOST_NAMED:,} more {outcome}"
    hints = dict.fromkeys(result.error.hint for result in results if result.error)
    for hint in hints:
        if hint:
            yield f"  {visible(hint)}"


def _full_name(artifact: Artifact, several: bool) -> str:
    address = artifact.address
    where = f"{address.workflow}/{address.task}/{address.cube}: " if several else ""
    return visible(where + artifact.local_path)


def person_time(stamp: str | None) -> str:
    """Write a time of the service (RFC 3339) in the local zone, to the minute."""
    try:
        return f"{datetime.fromisoformat(stamp or '').astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return visible(stamp or "")


def listing_table(artifacts: Sequence[Artifact], console: Console) -> None:
    """Print artifacts for a person; names that all share stand once, above the table."""
    from .tables import print_table  # rich costs start-up time

    columns: dict[str, list[str]] = {}
    shared: list[str] = []
    for name in ("workflow", "task", "cube"):
        values: list[str] = [getattr(artifact.address, name) for artifact in artifacts]
        if len(set(values)) > 1:
            columns[name.title()] = values
        else:
            shared.extend(f"{name} {value}" for value in values[:1])
    columns["Updated"] = [person_time(artifact.dates.updated_at) for artifact in artifacts]
    columns["Path"] = [artifact.local_path for artifact in artifacts]
    if artifacts:
        statuses = [artifact.status for artifact in artifacts]
        print_table(console, statuses, columns, title=", ".join(shared))


def runs_table(runs: Sequence[Run], console: Console) -> None:
    """Print runs for a person."""
    from .tables import print_table

    columns = {
        "Run": [run.slug for run in runs],
        "Event": [run.event_type for run in runs],
        "Created": [person_time(run.created_at) for run in runs],
        "Pull": [run.pull or "" for run in runs],
        "User": [run.user or "" for run in runs],
    }
    columns = {name: values for name, values in columns.items() if any(values)}
    if runs:
        print_table(console, [run.status for run in runs], columns)
