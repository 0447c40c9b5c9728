"""What the engine works with: jobs, how to fetch them, where they go, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .models import Artifact
from .partial import Partial
from .results import FileResult
from .tracking import Activity


@dataclass(frozen=True, slots=True)
class Job:
    """One artifact to fetch; `path` is its final place as the report shows it."""

    artifact: Artifact
    path: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to fetch: `jobs` connections at most, `limit_rate` in bytes a second (None: no limit)."""

    jobs: int | None = None
    limit_rate: float | None = None
    retries: int = 5
    fail_fast: bool = False


class Target(Protocol):
    """Where finished artifacts go."""

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job. Raises OSError."""

    def commit(self, job: Job, partial: Partial, sha256: str) -> int:
        """Move complete partial data to its final name; return its size in bytes.

        The job's artifact is as it was listed last, when it was listed again meanwhile.
        Raises ArtifactsError or OSError; what stood at the final name stays then.
        """


class Reporter(Protocol):
    """Who is told how it goes; methods may be called from any thread, and must not block.

    What one raises ends the download as an error of the caller's own would.
    """

    def begin(self, total: int) -> None:
        """Learn how many files are to be fetched; called again when there are more."""

    def started(self, activity: Activity) -> None:
        """Learn that a file is being fetched: its numbers can be read at any time."""

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """Learn that a request is repeated in `delay` seconds."""

    def refreshing(self, count: int) -> None:
        """Learn that the listing of a cube is asked again, of which `count` files are under way."""

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        """Learn how an artifact ended; without an activity when it was not fetched."""

    def waiting(self, what: str) -> None:
        """Learn what a run in progress is waited for."""

    def close(self) -> None:
        """Say the last, and leave the terminal in order."""
