"""Artifacts, results and reports for tests of the output."""

from __future__ import annotations

from sourcecraft_artifacts.errors import ArtifactsError
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.results import FileResult, Outcome, Report

HOSTILE = "a\x1b[31m\x9b2J\u202e[/nope] [red]:bomb:\n\tb"
HARMLESS = r"a\x1b[31m\x9b2J\u202e[/nope] [red]:bomb:\n\tb"
STAMP = "2025-11-24T10:22:33.123456789Z"


def artifact(path: str = "plan.json", status: str = "success", cube: str = "linux") -> Artifact:
    return Artifact(
        CubeAddress("o/r", "12", "build", "compile", cube),
        path,
        status,
        ArtifactDates(registered_at=STAMP, updated_at=STAMP),
        "id-1",
        "https://storage/x?signature=secret",
    )


def result(
    path: str,
    outcome: Outcome,
    error: ArtifactsError | None = None,
    action: str = "",
    cube: str = "linux",
) -> FileResult:
    status = "missing" if outcome is Outcome.UNAVAILABLE else "success"
    return FileResult(
        artifact(path, status, cube),
        None if outcome is Outcome.UNAVAILABLE else f"out/{path}",
        outcome,
        size=1024,
        sha256="ab" * 32,
        transferred=1024 if outcome is Outcome.DOWNLOADED else 0,
        seconds=0.12345,
        error=error,
        action=action,
    )


def report(*files: FileResult, seconds: float = 2.0) -> Report:
    return Report("o/r", "12", "out", files, seconds)
