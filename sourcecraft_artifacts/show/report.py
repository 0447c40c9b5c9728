"""The report of a download as a JSON document, and a failure in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ArtifactsError
from ..results import FileResult, Outcome, Report, UnlistedCube
from ..text import to_json, visible

SCHEMA_VERSION = 1


def report_json(report: Report) -> str:
    """Return a report as one JSON document; sizes in bytes, times in seconds."""
    return to_json(
        {
            "schema_version": SCHEMA_VERSION,
            "repo": report.repo,
            "run": report.run,
            **({} if report.run_status is None else {"run_status": report.run_status}),
            "dir": report.dir,
            "files": [_file_fields(result) for result in report.files],
            **unlisted_fields(report.unlisted),
            "summary": {
                "selected": sum(result.action != "delete" for result in report.files),
                "downloaded": report.count(Outcome.DOWNLOADED),
                "unchanged": report.count(Outcome.UNCHANGED),
                "skipped": report.count(Outcome.SKIPPED),
                "unavailable": report.count(Outcome.UNAVAILABLE),
                "failed": report.count(Outcome.FAILED),
                **({"deleted": report.count(Outcome.DELETED)} if report.pruned else {}),
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
        **({"action": result.action} if result.outcome is Outcome.PLANNED else {}),
        **({} if result.members is None else {"members": len(result.members)}),
    }


def unlisted_fields(cubes: Iterable[UnlistedCube]) -> dict[str, Any]:
    """Return the field for cubes that could not be listed; no field if there are none."""
    unlisted = [
        {
            "workflow": address.workflow,
            "task": address.task,
            "cube": address.cube,
            "error": error_fields(error),
        }
        for address, error in cubes
    ]
    return {"unlisted": unlisted} if unlisted else {}


def error_fields(error: ArtifactsError | None) -> dict[str, str] | None:
    """Return the fields of an error in JSON, or None."""
    return {"code": error.code, "message": error.message} if error else None


def what_went_wrong(result: FileResult) -> str:
    """Say why a file failed, in one line that is safe to show."""
    return visible(result.error.message) if result.error else "it could not be downloaded"
