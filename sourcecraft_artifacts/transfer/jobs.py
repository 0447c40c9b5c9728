"""What the engine works with: jobs, how to fetch them, and where they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..disk.partial import Partial
from ..disk.records import Records
from ..models import Artifact


@dataclass(frozen=True, slots=True)
class Job:
    """One artifact to fetch; `path` is its final place as the report shows it.

    `name` is what people are told of, where it is not the path.
    """

    artifact: Artifact
    path: str
    name: str = ""


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
    `error` that kept it from its place; what stood there stays then, and with `Cancelled` so do
    the bytes. A commit that takes long says with `tell_stage` what it is at.
    """

    job: Job
    partial: Partial
    sha256: str
    tell_stage: Callable[[str], None] = field(default=lambda stage: None)
    size: int | None = None
    error: Exception | None = None
    members: Records | None = None
    """What it was unpacked to, where it was."""


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

    def takes_long(self, whole: Whole) -> bool:
        """Tell by a quick look whether its commit takes so long that others had better go first."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Move complete partial data to its final names, each with an outcome of its own."""

    def cancel(self) -> None:
        """Have a commit that takes long end within a second, with `Cancelled` as its error."""
