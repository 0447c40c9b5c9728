"""What the API and the storage share: the repository, the clock, the signer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .data import Cube, Repository, Run, Task, Workflow
from .signing import Signer


class MissingError(Exception):
    """Something named in a path is not there; the message says what."""


@dataclass
class State:
    """The sandbox's world at one moment; `url` is where it is served."""

    repository: Repository
    token: str
    clock: Callable[[], float]
    started: float
    signer: Signer
    url: str

    def elapsed(self, run: Run) -> float:
        """Return how many seconds of `run` have passed: all of them, unless it is live."""
        return self.clock() - self.started if run.live else math.inf

    def run(self, slug: str) -> Run:
        """Return the run `slug` or raise MissingError."""
        for run in self.repository.runs:
            if run.slug == slug:
                return run
        raise MissingError(f"run {slug!r} not found")

    def workflow(self, run: Run, slug: str) -> Workflow:
        """Return the workflow `slug` of `run` or raise MissingError."""
        for workflow in run.workflows:
            if workflow.slug == slug:
                return workflow
        raise MissingError(f"workflow {slug!r} not found in run {run.slug!r}")

    def cube(self, run: Run, workflow: str, task: str, cube: str) -> Cube:
        """Return one cube of `run` that has appeared by now, or raise MissingError."""
        for found in _task(self.workflow(run, workflow), task).cubes:
            if found.slug == cube and found.appears <= self.elapsed(run):
                return found
        raise MissingError(f"cube {cube!r} not found in task {task!r}")


def _task(workflow: Workflow, slug: str) -> Task:
    for task in workflow.tasks:
        if task.slug == slug:
            return task
    raise MissingError(f"task {slug!r} not found in workflow {workflow.slug!r}")
