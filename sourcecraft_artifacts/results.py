"""The result for each artifact and for the whole download.

`show.summary` says them for people, and `show.report` writes them as JSON.
"""

from enum import StrEnum
from typing import NamedTuple

from .errors import ArtifactsError
from .models import Artifact, CubeAddress


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


class FileResult(NamedTuple):
    """The result for one artifact.

    - `artifact`: the artifact, as it was listed.
    - `path`: its file or folder, `dir` included; None if it has none.
    - `outcome`: what became of it.
    - `size`: bytes, or None if unknown.
    - `sha256`: of the received bytes, in hexadecimal, or None.
    - `transferred`: bytes received in this run.
    - `seconds`: how long that took.
    - `error`: why it failed, or None.
    - `action`: the planned action: `download`, `replace`, `unpack`, `await`, `keep`, `skip`,
      `delete` or `unavailable`.
    - `resumed`: bytes that an earlier run had received and this one did not fetch again.
    - `members`: the files that it was unpacked to (`path` is their folder); None for one file.
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
    resumed: int = 0
    members: tuple[MemberFile, ...] | None = None

    @property
    def files(self) -> tuple[MemberFile, ...]:
        """Its files: the members, or else the one at `path` (whose SHA-256 may be empty)."""
        if self.members is not None:
            return self.members
        return (MemberFile(self.path, self.sha256 or ""),) if self.path else ()


class UnlistedCube(NamedTuple):
    """A cube that could not be listed, and the `error`; `address` is the cube's."""

    address: CubeAddress
    error: ArtifactsError


class Report(NamedTuple):
    """The result of a download.

    - `repo` and `run`: where the artifacts come from.
    - `dir`: the output folder; None for one file.
    - `files`: the results, in the order of the listing.
    - `seconds`: the time that everything took.
    - `pruned`: whether files that are no longer listed were to be removed.
    - `run_status`: the run's status when it was last read, with `wait` or `fail_on_run_status`;
      else None.
    - `run_ended`: whether the run had ended by then.
    - `error_messages`: the run's own error messages, if `run_status` is there.
    - `timed_out`: whether `wait_timeout` passed before the run had ended.
    - `error`: the error that ended a wait early; `files` has what was in place by then.
    - `unlisted`: the cubes that could not be listed; `files` lacks their artifacts.
    - `may_come`: whether artifacts that are still registered may become available; None if that is
      not known, because the run was not read.
    """

    repo: str
    run: str
    dir: str | None
    files: tuple[FileResult, ...] = ()
    seconds: float = 0.0
    pruned: bool = False
    run_status: str | None = None
    run_ended: bool = False
    error_messages: tuple[str, ...] = ()
    timed_out: bool = False
    error: ArtifactsError | None = None
    unlisted: tuple[UnlistedCube, ...] = ()
    may_come: bool | None = None

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is there: nothing failed or is unavailable."""
        short = {Outcome.FAILED, Outcome.UNAVAILABLE}
        ended_early = self.error is not None or self.timed_out or bool(self.unlisted)
        lacking = any(one.error is not None or one.outcome in short for one in self.files)
        return not (ended_early or lacking)

    def count(self, outcome: Outcome) -> int:
        """Return how many artifacts have this outcome."""
        return sum(result.outcome is outcome for result in self.files)

    @property
    def transferred(self) -> int:
        """Bytes received from the storage in this run."""
        return sum(result.transferred for result in self.files)
