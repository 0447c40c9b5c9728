"""The result for each artifact and for the whole download. `show.report` renders them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .errors import ArtifactsError
from .models import Artifact


class Outcome(StrEnum):
    """The result for one artifact; the values are those of the JSON report."""

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
    """One artifact's end.

    `artifact`: the one. `path`: where it is, below `dir`, or None. `outcome`: what became of it.
    `size`: bytes, or None where they are unknown. `sha256`: of what was received, in hexadecimal.
    `transferred`: bytes received in this run, in so many `seconds`. `error`: why it failed, or
    None. `action`: what a plan would do. `resumed`: bytes that an earlier run had received.
    `members`: the files that it was unpacked to, or None.
    """

    artifact: Artifact
    path: str | None
    outcome: Outcome
    size: int | None = None
    sha256: str | None = None
    transferred: int = 0
    seconds: float = 0.0
    error: ArtifactsError | None = None
    action: str = ""
    """The planned action: `download`, `replace`, `await`, `keep` or `skip`."""
    resumed: int = 0
    """Bytes that an earlier run had received and this one did not fetch again."""
    members: tuple[MemberFile, ...] | None = None
    """The files that it was unpacked to (`path` is their folder); None for one file."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that a `download` did.

    `repo` and `run`: where the artifacts come from. `dir`: the output folder, None for one file.
    `files`: each artifact's end, in the order of the listing. `seconds`: the time that all took.
    `pruned`: whether what is listed no more was to be removed. `run_status` and `error_messages`:
    how a run that was followed ended, else None and empty. `timed_out`: whether `wait_timeout`
    passed first. `error`: what ended a wait early. `unlisted`: the errors of cubes that could not
    be listed.
    """

    repo: str
    run: str
    dir: str | None
    files: tuple[FileResult, ...] = field(default=())
    seconds: float = 0.0
    pruned: bool = False
    """Whether files that are no longer listed were to be removed (`--prune`)."""
    run_status: str | None = None
    """The status of a run that was followed, or whose status counts, when it was last read."""
    error_messages: tuple[str, ...] = ()
    """What the run said of its errors."""
    timed_out: bool = False
    """Whether `--wait-timeout` passed before the run had ended."""
    error: ArtifactsError | None = None
    """The error that ended a wait early; `files` has what was in place by then."""
    unlisted: tuple[ArtifactsError, ...] = ()
    """The errors of cubes that could not be listed; their artifacts are not in `files`."""

    @property
    def ok(self) -> bool:
        """Whether all that was asked for is there: nothing failed, is unavailable or unknown."""
        short = {Outcome.FAILED, Outcome.UNAVAILABLE}
        ended_early = self.error is not None or self.timed_out or bool(self.unlisted)
        lacking = any(one.error is not None or one.outcome in short for one in self.files)
        return not (ended_early or lacking)

    def count(self, outcome: Outcome) -> int:
        """Return how many artifacts ended so."""
        return sum(result.outcome is outcome for result in self.files)

    @property
    def transferred(self) -> int:
        """Bytes received from the storage in this run."""
        return sum(result.transferred for result in self.files)
