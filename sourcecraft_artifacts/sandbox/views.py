"""Records to the JSON of the API, as they are `elapsed` seconds after a run was created."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from .data import FINAL, Artifact, Cube, Reference, Run, Task, Workflow

Json = dict[str, Any]
_WORST_FIRST = ("failed", "timeout", "canceled")


def run_view(repo: str, run: Run, elapsed: float) -> Json:
    """Return a `Run`; what is empty is left out."""
    address = (repo, run.slug)
    return _filled(
        _common(run, address, run.slug, run.cubes(), elapsed, run.status),
        workflows=[_workflow(run, address, one, elapsed) for one in run.workflows],
        event_type=run.event_type,
        error_messages=list(run.error_messages),
        pull=_reference(run.pull),
        user=_reference(run.user),
    )


def workflow_view(repo: str, run: Run, workflow: Workflow, elapsed: float) -> Json:
    """Return a `Workflow` of `run`."""
    return _workflow(run, (repo, run.slug), workflow, elapsed)


def artifact_views(
    run: Run, address: tuple[str, ...], cube: Cube, elapsed: float, url: Callable[[int, str], str]
) -> list[Json]:
    """Return the `Artifact`s of a cube; `url` makes the download_url of a position and path."""
    registered = _time(run.created_at, max(cube.appears, 0.0))
    views: list[Json] = []
    for position, artifact in enumerate(cube.artifacts):
        view = _artifact(run, address, cube, artifact, elapsed, registered)
        if view["status"] == "success":
            view["download_url"] = url(position, artifact.local_path)
        views.append(view)
    return views


def ready_at(cube: Cube, artifact: Artifact) -> float:
    """Return the second at which `artifact` reaches its final status."""
    return cube.ends if artifact.ready is None else artifact.ready


def _artifact(
    run: Run,
    address: tuple[str, ...],
    cube: Cube,
    artifact: Artifact,
    elapsed: float,
    registered: str,
) -> Json:
    ready = ready_at(cube, artifact)
    status = artifact.status if elapsed >= ready else "registered"
    dates = {"registered_at": registered, "updated_at": registered}
    if status != "registered":
        dates["updated_at"] = _time(run.created_at, ready)
    if status == "success":
        dates["obtained_at"] = dates["updated_at"]
    path = artifact.local_path
    return {"id": _id(*address, path), "local_path": path, "dates": dates, "status": status}


def _workflow(run: Run, above: tuple[str, ...], workflow: Workflow, elapsed: float) -> Json:
    address, cubes = (*above, workflow.slug), workflow.cubes()
    ended = sum(_cube_status(cube, elapsed) in FINAL for cube in cubes)
    return _filled(
        _common(run, address, workflow.slug, cubes, elapsed),
        description=workflow.description,
        tasks=[_task(run, address, task, elapsed) for task in workflow.tasks],
        progress=100 * ended // len(cubes) if cubes else 100,
    )


def _task(run: Run, above: tuple[str, ...], task: Task, elapsed: float) -> Json:
    address = (*above, task.slug)
    seen = [cube for cube in task.cubes if cube.appears <= elapsed]
    return _filled(
        _common(run, address, task.slug, task.cubes, elapsed),
        description=task.description,
        cubes=[_common(run, (*address, cube.slug), cube.slug, (cube,), elapsed) for cube in seen],
    )


def _common(
    run: Run,
    address: tuple[str, ...],
    slug: str,
    cubes: tuple[Cube, ...],
    elapsed: float,
    status: str | None = None,
) -> Json:
    status = status or _combined(_cube_status(cube, elapsed) for cube in cubes)
    dates = _dates(run.created_at, cubes, elapsed, status)
    return {"id": _id(*address), "slug": slug, "dates": dates, "status": status}


def _dates(
    created: datetime, cubes: tuple[Cube, ...], elapsed: float, status: str
) -> dict[str, str]:
    begins = min((cube.begins for cube in cubes), default=0.0)
    past = [at for cube in cubes for at in (cube.begins, cube.ends) if at <= elapsed]
    updated = _time(created, max(past, default=0.0))
    dates = {"created_at": _time(created, 0.0), "updated_at": updated}
    if begins <= elapsed and status != "created":
        dates["started_at"] = _time(created, begins)
    if status in FINAL:
        dates["finished_at"] = updated
    return dates


def _cube_status(cube: Cube, elapsed: float) -> str:
    if elapsed < cube.begins:
        return "created"
    return cube.status if elapsed >= cube.ends else "processing"


def _combined(statuses: Iterable[str]) -> str:
    seen = set(statuses)
    if seen - FINAL:
        return "created" if seen == {"created"} else "processing"
    return next((status for status in _WORST_FIRST if status in seen), "success")


def _filled(view: Json, **fields: object) -> Json:
    return view | {name: value for name, value in fields.items() if value not in ("", [], None)}


def _reference(reference: Reference | None) -> Json | None:
    return reference and {"id": reference.id, "slug": reference.slug}


def _time(created: datetime, seconds: float) -> str:
    return (created + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _id(*address: str) -> str:
    return hashlib.sha256("\0".join(address).encode("utf-8", "surrogatepass")).hexdigest()[:24]
