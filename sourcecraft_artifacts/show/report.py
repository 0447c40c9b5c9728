"""What became of a download, rendered: the JSON report and the summary for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ArtifactsError
from ..models import Artifact
from ..results import FileResult, Outcome, Report
from ..text import count, human_seconds, human_size, to_json, visible

SCHEMA_VERSION = 1
LEAST_TIME = 0.05
"""Seconds that are shown; less would be 0.0 s."""


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
    """Say why a file failed, in one line that is safe to show."""
    return visible(result.error.message) if result.error else "it could not be had"


def size_and_time(size: int, seconds: float) -> str:
    """Say how much came in what time; a time too short to be shown says nothing."""
    time = f" in {human_seconds(seconds)}" if seconds >= LEAST_TIME else ""
    return human_size(size) + time


def was_called_off(result: FileResult) -> bool:
    """Tell whether a file is not there because another failed first, or a signal came."""
    return result.error is not None and result.error.code == "cancelled"


def summary_lines(
    report: Report,
    *,
    dry_run: bool = False,
    quiet: bool = False,
    failures_told: bool = False,
    may_wait: bool = False,
) -> list[str]:
    """Say for a person what was done: what is missing, one sentence for all, and a way out.

    The sentence comes behind the names, however many they are. `quiet` leaves what is missing and
    the way out. `failures_told` leaves out the failures, which who showed the progress has named.
    `may_wait` tells that waiting is a way out.
    """
    lines = []
    if dry_run and not quiet:
        planned = [result for result in report.files if result.outcome is Outcome.PLANNED]
        lines += [_plan_line(result) for result in planned]
    lines += _missing(report, failures_told)
    if not quiet:
        lines.append(_plan_sentence(report) if dry_run else _sentence(report))
    hints = dict.fromkeys(result.error.hint for result in report.files if result.error)
    if may_wait and not quiet and any(map(_is_awaited, report.files)):
        hints["--wait fetches what is still registered, as soon as it is there"] = None
    return lines + [f"  hint: {visible(hint)}" for hint in hints if hint]


def _is_awaited(result: FileResult) -> bool:
    return result.outcome is Outcome.UNAVAILABLE and result.artifact.status == "registered"


def _missing(report: Report, failures_told: bool) -> Iterator[str]:
    several = len({result.artifact.address for result in report.files}) > 1
    for result in report.files:
        if result.outcome is Outcome.UNAVAILABLE:
            status = visible(result.artifact.status) or "without a status"
            still = "still " if _is_awaited(result) else ""
            yield f"unavailable: {_full_name(result.artifact, several)} ({still}{status})"
    for result in report.files:
        if result.outcome is Outcome.FAILED and not (failures_told or was_called_off(result)):
            yield f"failed: {_full_name(result.artifact, several)}: {what_went_wrong(result)}"
    called_off = sum(map(was_called_off, report.files))
    if called_off:
        yield f"called off: {count(called_off, 'file')}"


def _plan_line(result: FileResult) -> str:
    return f"{result.action:<8}  {visible(result.path or result.artifact.local_path)}"


def _plan_sentence(report: Report) -> str:
    actions = [result.action for result in report.files if result.outcome is Outcome.PLANNED]
    rest = {what: actions.count(what) for what in ("await", "keep", "skip")}
    fetches = len(actions) - sum(rest.values())
    would = f"Would fetch {count(fetches, 'file')}" if fetches else "Would fetch nothing"
    numbers = _others(report, awaited=rest["await"], unchanged=rest["keep"], skipped=rest["skip"])
    return f"{would}; {numbers}." if numbers else f"{would}."


def _sentence(report: Report) -> str:
    downloaded = report.count(Outcome.DOWNLOADED)
    did = f"Downloaded {count(downloaded, 'file')}" if downloaded else "Downloaded nothing"
    if report.transferred:
        did += f", {size_and_time(report.transferred, report.seconds)}"
        if report.seconds >= LEAST_TIME:
            did += f" ({human_size(report.transferred / report.seconds)}/s)"
    rest = _others(report)
    return f"{did}; {rest}." if rest else f"{did}."


def _others(report: Report, *, awaited: int = 0, unchanged: int = 0, skipped: int = 0) -> str:
    numbers = {
        "awaited": awaited,
        "unchanged": unchanged + report.count(Outcome.UNCHANGED),
        "skipped": skipped + report.count(Outcome.SKIPPED),
        "unavailable": report.count(Outcome.UNAVAILABLE),
        "failed": report.count(Outcome.FAILED),
    }
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number)


def _full_name(artifact: Artifact, several: bool) -> str:
    address = artifact.address
    where = f"{address.path}: " if several else ""
    return visible(where + artifact.local_path)
