"""Completes names for the Tab key: it asks the service for runs, workflows, tasks and cubes.

A person waits at the prompt, so everything ends within a second, a short-lived cache serves the
next key, and a failure shows nothing.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import typer

from ..models import ACTIVE_STATUSES, EVENT_TYPES, FINAL_STATUSES
from ..text import visible

if TYPE_CHECKING:
    from ..models import Run
    from ..service.address import Address

Names = list[tuple[str, str]]
"""Names, each with a status to show beside it."""

LIMIT = 1.0
"""The most seconds that finding the names may take."""
_MOST_RUNS = 50


def complete_run(ctx: typer.Context) -> Names:
    """Complete RUN: `latest`, which needs no request, and the newest runs."""
    return [("latest", "the newest run"), *_quietly(lambda: Service(ctx).runs())]


def complete_run_status() -> Names:
    """Complete `--run-status`."""
    return [(status, "") for status in ACTIVE_STATUSES + FINAL_STATUSES]


def complete_event() -> Names:
    """Complete `--event`."""
    return [(event, "") for event in EVENT_TYPES]


def complete_pull(ctx: typer.Context) -> Names:
    """Complete `--pull` from the newest runs."""
    return _quietly(lambda: [(run.pull or "", run.user or "") for run in Service(ctx).newest()])


def complete_user(ctx: typer.Context) -> Names:
    """Complete `--user` from the newest runs."""
    return _quietly(lambda: [(run.user or "", "") for run in Service(ctx).newest()])


def complete_workflow(ctx: typer.Context) -> Names:
    """Complete WORKFLOW."""
    return _quietly(lambda: Service(ctx).below())


def complete_task(ctx: typer.Context) -> Names:
    """Complete TASK."""
    return _quietly(lambda: Service(ctx).below("workflow"))


def complete_cube(ctx: typer.Context) -> Names:
    """Complete CUBE."""
    return _quietly(lambda: Service(ctx).below("workflow", "task"))


def _quietly(ask: Callable[[], Names]) -> Names:
    """Return the names found within the time limit, without repeats; nothing after a failure."""
    from ..threads import within

    try:
        found = within(LIMIT, ask)
    except Exception:
        return []
    return list({name: (name, visible(status)) for name, status in found if _fits(name)}.values())


def _fits(name: str) -> bool:
    """Whether a name can stand on a command line.

    It comes from outside and the shell inserts it unchecked: an escape character could control
    the terminal, and a leading `-` would make it an option.
    """
    return bool(name) and visible(name) == name and not name.startswith("-")


def _without_tasks(run: "Run") -> "Run":
    return run._replace(workflows=tuple(one._replace(tasks=()) for one in run.workflows))


class Service:
    """The names that the service has for the words typed so far. Raises any error."""

    def __init__(self, ctx: typer.Context) -> None:
        from .session import Session

        self._params = ctx.params
        api_url, ca_bundle = ctx.params.get("api_url"), ctx.params.get("ca_bundle")
        self._session = Session(ctx, api_url, ca_bundle, retries=0, quiet=True)

    def runs(self) -> Names:
        """Return the newest runs."""
        return [(run.slug, run.status) for run in self.newest()]

    def newest(self) -> Sequence["Run"]:
        """Return the newest runs of the repository."""
        return self._newest(self._session.repo(self._params.get("repo")))

    def below(self, *levels: str) -> Names:
        """Return the names one level below the typed ones, which may be part of a web address."""
        from ..service.address import name_matches

        names = [self._params[level] for level in levels]
        address = self._session.address(self._params["run"], names, self._params["repo"])
        workflows = self._run(address).workflows
        if address.workflow is None:
            return [(workflow.slug, workflow.status) for workflow in workflows]
        tasks = [t for w in workflows if name_matches(address.workflow, w.slug) for t in w.tasks]
        if address.task is None:
            return [(task.slug, task.status) for task in tasks]
        cubes = [c for task in tasks if name_matches(address.task, task.slug) for c in task.cubes]
        return [(cube.slug, cube.status) for cube in cubes] if address.cube is None else []

    def _newest(self, repo: str) -> Sequence["Run"]:
        from ..service.runs import NewestRuns
        from .name_cache import remembered

        def ask() -> list["Run"]:
            with self._session.client(timeout=LIMIT, deadline=LIMIT) as client:
                found = NewestRuns(islice(client.runs(repo), _MOST_RUNS)).first(_MOST_RUNS)
            return [_without_tasks(run) for run in found]

        return remembered((self._session.api_url, repo), ask)

    def _run(self, address: "Address") -> "Run":
        from .name_cache import remembered

        repo = address.repo
        slug = self._latest(address) if address.run == "latest" else address.run

        def ask() -> list["Run"]:
            with self._session.client(timeout=LIMIT, deadline=LIMIT) as client:
                return [client.run(repo, slug)]

        return remembered((self._session.api_url, repo, slug), ask, lambda runs: runs[0].ended)[0]

    def _latest(self, address: "Address") -> str:
        """Return the run that `latest` means, among the newest runs."""
        from ..service.address import name_matches
        from ..service.runs import RunFilter

        fields = ("run_status", "event", "pull", "user")
        chosen = RunFilter(*(tuple(self._params.get(field) or ()) for field in fields))
        passing = [run for run in self._newest(address.repo) if chosen.passes(run)]
        having = [
            run
            for run in passing
            if any(name_matches(address.workflow, one.slug) for one in run.workflows)
        ]
        return next(run.slug for run in having or passing)
