"""What became of each artifact, and of the whole command; rendered by `report`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .errors import ArtifactsError
from .models import Artifact


class Outcome(StrEnum):
    """What became of one artifact; the values are those of the JSON report."""

    DOWNLOADED = "downloaded"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    PLANNED = "planned"
    DELETED = "deleted"


class MemberFile(NamedTuple):
    """A file of an artifact that was unpacked; the SHA-256 of a symlink is empty."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """One artifact's end: `size` and `transferred` (received in this run) are in bytes."""

    artifact: Artifact
    path: str | None
    outcome: Outcome
    size: int | None = None
    sha256: str | None = None
    transferred: int = 0
    seconds: float = 0.0
    error: ArtifactsError | None = None
    action: str = ""
    """What a plan would do: `download`, `replace`, `await`, `keep` or `skip`."""
    resumed: int = 0
    """Bytes of it that an earlier run had received, and that were not fetched again."""
    members: tuple[MemberFile, ...] | None = None
    """The files that it was unpacked to; None where it is one file. `path` is the folder then."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that a `download` did, in the order of the listing; `dir` is None with `-o`."""

    repo: str
    run: str
    dir: str | None
    files: tuple[FileResult, ...] = field(default=())
    seconds: float = 0.0
    pruned: bool = False
    """Whether what is listed no more was to be removed."""
    run_status: str | None = None
    """The status of a run that was followed, or whose status counts, when it was last read."""
    error_messages: tuple[str, ...] = ()
    """What the run said of its errors."""
    timed_out: bool = False
    """Whether `--wait-timeout` passed before the run had ended."""
    error: ArtifactsError | None = None
    """What ended the waiting for the rest; what it had put in place by then is in `files`."""
    unlisted: tuple[ArtifactsError, ...] = ()
    """Why cubes could not be listed: what they left is not in `files`."""

    def count(self, outcome: Outcome) -> int:
        """Return how many artifacts ended so."""
        return sum(result.outcome is outcome for result in self.files)

    @property
    def transferred(self) -> int:
        """Bytes received from the storage in this run."""
        return sum(result.transferred for result in self.files)
