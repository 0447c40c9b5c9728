"""What became of a download, rendered: the JSON report and the summary for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .errors import ArtifactsError
from .models import Artifact
from .results import FileResult, Outcome, Report
from .text import count, human_seconds, human_size, to_json, visible

SCHEMA_VERSION = 1
MOST_NAMED = 10


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
