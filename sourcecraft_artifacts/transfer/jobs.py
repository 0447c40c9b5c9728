"""What the engine works with: jobs, how to fetch them, where they go, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..disk.partial import Partial
from ..models import Artifact
from ..results import FileResult
from ..show.tracking import Activity


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


@dataclass(slots=True, eq=False)
class Whole:
    """A job all of whose bytes are here, ready for its place.

    The job's artifact is as it was listed last. To commit it sets its `size` in bytes, or the
    `error` that kept it from its place; what stood there stays then.
    """

    job: Job
    partial: Partial
    sha256: str
    size: int | None = None
    error: Exception | None = None


def each(batch: Iterable[Whole], step: Callable[[Whole], None]) -> None:
    """Take a step of the commit with each; an error is that of one file alone."""
    for whole in batch:
        try:
            step(whole)
        except Exception as error:
            whole.error = error


class Target(Protocol):
    """Where finished artifacts go."""

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job. Raises OSError."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Move complete partial data to its final names, each with an outcome of its own."""


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
