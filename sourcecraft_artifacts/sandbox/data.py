"""The records a repository is made of.

Every run is a timeline: `begins`, `ends` and `ready` are seconds after the run was created. A
finished run is seen from its far end; a live one from the seconds that have passed since the
sandbox started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .content import Content, Inline

FINAL = frozenset({"success", "failed", "canceled", "timeout", "skipped", "rejected"})
"""The statuses that a run, workflow, task or cube does not leave."""

EPOCH = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
"""The creation time of runs that have none of their own."""


@dataclass(frozen=True)
class Artifact:
    """One artifact; `status` holds from `ready` on, in seconds (None: when its cube ends)."""

    local_path: str
    content: Content = field(default_factory=Inline)
    status: str = "success"
    ready: float | None = None


@dataclass(frozen=True)
class Cube:
    """One cube with its final status; from `begins` until it is `approved` it awaits that."""

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

    `error_messages` are told once it has ended.
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
    """What the sandbox serves: `org_repo` is `ORG/REPO`, `runs` stand newest first."""

    org_repo: str
    runs: tuple[Run, ...] = ()
