"""The records that make up a repository.

Every run is a timeline: `begins`, `ends` and `ready` are seconds after the run was created. A
finished run is shown as it is after its end, a live run as it is after as many seconds as have
passed since the sandbox started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .content import Content, Inline

FINAL = frozenset({"success", "failed", "canceled", "timeout", "skipped", "rejected"})
"""The statuses of a run, workflow, task or cube that has ended."""

EPOCH = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
"""The default creation time of a run."""


@dataclass(frozen=True)
class Artifact:
    """One artifact; it has its `status` from second `ready` on (None: when its cube ends)."""

    local_path: str
    content: Content = field(default_factory=Inline)
    status: str = "success"
    ready: float | None = None


@dataclass(frozen=True)
class Cube:
    """One cube with its final status; from `begins` to `approved` it awaits an approval."""

    slug: str
    artifacts: tuple[Artifact, ...] = ()
    status: str = "success"
    begins: float = 1.0
    ends: float = 30.0
    approved: float = 0.0


@dataclass(frozen=True)
class Task:
    """One task; its status follows from its cubes."""

    slug: str
    cubes: tuple[Cube, ...] = ()


@dataclass(frozen=True)
class Workflow:
    """One workflow; its status follows from its cubes."""

    slug: str
    tasks: tuple[Task, ...] = ()
    description: str = ""

    def cubes(self) -> tuple[Cube, ...]:
        """Return the cubes of all tasks, in order."""
        return tuple(cube for task in self.tasks for cube in task.cubes)


@dataclass(frozen=True)
class Run:
    """One run; its status follows from its cubes. `pull` is the slug of a pull request.

    `error_messages` are shown once it has ended.
    """

    slug: str
    workflows: tuple[Workflow, ...] = ()
    live: bool = False
    event_type: str = "push"
    created_at: datetime = EPOCH
    user: str = "anna"
    pull: str | None = None
    error_messages: tuple[str, ...] = ()

    def cubes(self) -> tuple[Cube, ...]:
        """Return the cubes of all workflows, in order."""
        return tuple(cube for workflow in self.workflows for cube in workflow.cubes())


@dataclass(frozen=True)
class Repository:
    """What the sandbox serves: `org_repo` is `ORG/REPO`, `runs` are newest first."""

    org_repo: str
    runs: tuple[Run, ...] = ()
