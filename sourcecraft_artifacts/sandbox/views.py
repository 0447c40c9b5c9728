"""Converts records to the JSON of the API. Empty fields are left out, as the service may do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from .content import Content
from .data import FINAL, Artifact, Cube, Run, Task, Workflow

Json = dict[str, Any]
Sign = Callable[[str, Content, datetime], str]
"""Makes the download_url of an object from its key, its content and its modification time."""

_WORST_FIRST = ("failed", "timeout", "rejected", "canceled", "success", "skipped")


class RunView:
    """A run of `repo` as it is `elapsed` seconds after it was created."""

    def __init__(self, repo: str, run: Run, elapsed: float) -> None:
        self._address = (repo, run.slug)
        self._run = run
        self._elapsed = elapsed

    def run(self) -> Json:
        """Return the `Run`."""
        run = self._run
        over = all(self._status(cube) in FINAL for cube in run.cubes())
        return self._node(
            self._address,
            run.cubes(),
            workflows=[self.workflow(workflow) for workflow in run.workflows],
            event_type=run.event_type,
            error_messages=list(run.error_messages) if over else [],
            pull=run.pull and {"id": f"pull-{run.pull}", "slug": run.pull},
            user={"id": f"user-{run.user}", "slug": run.user},
        )

    def workflow(self, workflow: Workflow) -> Json:
        """Return one `Workflow` of the run."""
        address, cubes = (*self._address, workflow.slug), workflow.cubes()
        return self._node(
            address,
            cubes,
            description=workflow.description,
            tasks=[self._task(address, task) for task in workflow.tasks],
            progress=self._progress(address, workflow),
        )

    def _progress(self, above: tuple[str, ...], workflow: Workflow) -> Json:
        """Return the percentage that has ended, and the first cube that is running."""
        statuses = [self._status(cube) for cube in workflow.cubes()]
        ended = sum(status in FINAL for status in statuses)
        progress: Json = {"percent": 100.0 * ended / max(len(statuses), 1)}
        going_on = (
            self._node((*above, task.slug, cube.slug), [cube])
            for task in workflow.tasks
            for cube in task.cubes
            if self._status(cube) not in FINAL | {"created"}
        )
        current = next(going_on, None)
        return progress | ({"current_cube": current} if current else {})

    def artifacts(self, workflow: str, task: str, cube: Cube, sign: Sign) -> list[Json]:
        """Return the `Artifact`s of a cube; those that are ready have a download_url."""
        address = (*self._address, workflow, task, cube.slug)
        return [self._artifact(address, cube, artifact, sign) for artifact in cube.artifacts]

    def _artifact(self, above: tuple[str, ...], cube: Cube, artifact: Artifact, sign: Sign) -> Json:
        ready = cube.ends if artifact.ready is None else artifact.ready
        status = artifact.status if self._elapsed >= ready else "registered"
        registered, changed = self._time(0.0), self._time(ready)
        dates = {"registered_at": registered, "updated_at": registered}
        identity, path = _id(*above, artifact.local_path), artifact.local_path
        view: Json = {"id": identity, "local_path": path, "dates": dates, "status": status}
        if status != "registered":
            dates["updated_at"] = changed
        if status == "success":
            dates["obtained_at"] = changed
            modified = self._run.created_at + timedelta(seconds=ready)
            view["download_url"] = sign(f"{identity}/{path}", artifact.content, modified)
        return view

    def _task(self, above: tuple[str, ...], task: Task) -> Json:
        address = (*above, task.slug)
        cubes = [self._node((*address, cube.slug), [cube]) for cube in task.cubes]
        return self._node(address, task.cubes, cubes=cubes)

    def _node(self, address: tuple[str, ...], below: Sequence[Cube], **more: object) -> Json:
        status = _combined(self._status(cube) for cube in below)
        dates = self._dates(below, status in FINAL)
        view = {"id": _id(*address), "slug": address[-1], "dates": dates, "status": status}
        return view | {name: value for name, value in more.items() if value}

    def _dates(self, cubes: Sequence[Cube], ended: bool) -> dict[str, str]:
        moments = (at for cube in cubes for at in (cube.begins, cube.ends))
        past = sorted(at for at in moments if at <= self._elapsed)
        dates = {"created_at": self._time(0.0), "updated_at": self._time(past[-1] if past else 0.0)}
        if past:
            dates["started_at"] = self._time(past[0])
        if ended:
            dates["finished_at"] = dates["updated_at"]
        return dates

    def _status(self, cube: Cube) -> str:
        if self._elapsed < cube.begins:
            return "created"
        if self._elapsed < cube.approved:
            return "awaiting_approval"
        return cube.status if self._elapsed >= cube.ends else "processing"

    def _time(self, seconds: float) -> str:
        moment = self._run.created_at + timedelta(seconds=seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _combined(statuses: Iterable[str]) -> str:
    seen = set(statuses)
    if seen == {"created"}:
        return "created"
    if not seen <= FINAL:
        waits = "awaiting_approval" in seen and "processing" not in seen
        return "awaiting_approval" if waits else "processing"
    return next((status for status in _WORST_FIRST if status in seen), "success")


def _id(*address: str) -> str:
    return hashlib.sha256("\0".join(address).encode("utf-8", "surrogatepass")).hexdigest()[:24]
