"""What the engine works with: jobs, settings, and the protocol of their targets."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ..disk.partial import Partial
from ..disk.records import Records
from ..models import Artifact


class Job(NamedTuple):
    """One artifact to fetch; `path` is its final place as the report shows it.

    `name` is shown to people instead of the path, if it differs.
    """

    artifact: Artifact
    path: str
    name: str = ""


class Tuning(NamedTuple):
    """How to fetch: `jobs` connections at most, `limit_rate` in bytes a second (None: no limit)."""

    jobs: int | None = None
    limit_rate: float | None = None
    retries: int = 5
    fail_fast: bool = False


class Whole:
    """A job whose bytes have all arrived and that is ready to be committed.

    The job's artifact is as it was listed last. The commit sets its `size` in bytes, or the `error`
    that prevented it; then the older file is kept, and with `Cancelled` the partial data too. A
    commit that takes long reports its stage with `tell_stage`.
    """

    def __init__(
        self,
        job: Job,
        partial: Partial,
        sha256: str,
        tell_stage: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.job, self.partial, self.sha256, self.tell_stage = job, partial, sha256, tell_stage
        self.size: int | None = None
        self.error: Exception | None = None
        self.members: Records | None = None
        """The files that it was unpacked to, if it was."""


def each(batch: Iterable[Whole], step: Callable[[Whole], None]) -> None:
    """Do a step of the commit for each file; an error concerns that file alone."""
    for whole in batch:
        try:
            step(whole)
        except Exception as error:
            whole.error = error


class Target(Protocol):
    """Where finished artifacts go."""

    def fresh(self, job: Job) -> Partial | None:
        """Return partial data for a job without touching the disk; None if that needs `open`."""

    def open(self, job: Job) -> Partial:
        """Return the partial data for a job. Raises OSError."""

    def takes_long(self, whole: Whole) -> bool:
        """Tell quickly whether its commit takes so long that others should go first."""

    def commit(self, batch: Sequence[Whole]) -> None:
        """Move complete partial data to its final names, each with a result of its own."""

    def cancel(self) -> None:
        """End a long commit within a second, with `Cancelled` as its error."""
