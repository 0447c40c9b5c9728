"""Selects the cubes of a run, by names or globs, and names those that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ..errors import NotFound
from ..models import Cube, CubeAddress, Run, Task, Workflow
from ..text import visible
from .address import Address, name_matches
from .not_found import require

Named = TypeVar("Named", Workflow, Task)


def selected_cubes(
    run: Run, address: Address, *, partial: bool = False
) -> list[tuple[CubeAddress, bool]]:
    """Select cubes; if the run is in progress, the error says that a name may still come."""
    try:
        return _select_cubes(run, address, partial=partial)
    except NotFound as error:
        if run.ended:
            raise
        raise NotFound(error.message, hint=f"{error.hint}; {in_progress(run.slug)}") from None


def absent_yet(run: Run, address: Address) -> str:
    """Name what an address selects and a run in progress does not have yet, safe to show."""
    try:
        _select_cubes(run, address)
    except NotFound as error:
        return f"{error.message} yet; {error.hint}"
    return ""


def _select_cubes(
    run: Run, address: Address, *, partial: bool = False
) -> list[tuple[CubeAddress, bool]]:
    """Return the cubes of a run that an address selects, each with whether it has ended.

    All cubes of a run, workflow or task that has ended count as ended. Internal cubes are selected
    only if the address names them with their `#`. Raises `NotFound`, with the nearest names, for a
    plain name that does not exist; not with `partial`, as the run may still get it.
    """
    _, _, workflow, task, cube = address
    run_name = f"run {run.slug}"
    workflows = _chosen(run.workflows, workflow, "workflow", run_name, (task, cube), partial)
    where = f"workflow {workflow or '*'} of {run_name}"
    tasks = [(w, t) for w in workflows for t in w.tasks]
    picked = set(map(id, _chosen([t for _, t in tasks], task, "task", where, (cube,), partial)))
    where = f"task {task or '*'} of {run_name}"
    # A cube without a full name cannot be asked for.
    found = [(w, t, c) for w, t in tasks if id(t) in picked for c in t.cubes]
    found = [(w, t, c) for w, t, c in found if w.slug and t.slug and c.slug]
    if not is_internal(cube or ""):
        found = [(w, t, c) for w, t, c in found if not is_internal(c.slug)]
    cubes = [(w, t, c) for w, t, c in found if name_matches(cube, c.slug)]
    if not cubes and not partial:
        require(cube, [c.slug for _, _, c in found], "cube", where, ())
    ended: dict[CubeAddress, bool] = {}
    for w, t, c in cubes:
        one = CubeAddress(address.repo, run.slug or address.run, w.slug, t.slug, c.slug)
        over = run.ended or w.ended or t.ended or c.ended
        ended[one] = ended.get(one, True) and over
    return list(ended.items())


def _chosen(
    items: Sequence[Named],
    pattern: str | None,
    kind: str,
    where: str,
    below: Sequence[str | None],
    partial: bool,
) -> list[Named]:
    chosen = [item for item in items if name_matches(pattern, item.slug)]
    if not chosen and not partial:
        require(pattern, [item.slug for item in items], kind, where, below)
    return chosen


def is_internal(cube: str) -> bool:
    """Tell whether a cube is one of the service's own, such as `#git-clone`, by its name.

    They have no artifacts, and the API may answer with an error for them.
    """
    return cube.startswith("#")


def _all_cubes(run: Run) -> Iterator[tuple[Workflow, Task, Cube]]:
    for workflow in run.workflows:
        for task in workflow.tasks:
            for cube in task.cubes:
                yield workflow, task, cube


def cube_names(run: Run) -> list[str]:
    """Return the names of a run's cubes, without the service's own."""
    return [f"{w.slug}/{t.slug}/{c.slug}" for w, t, c in _all_cubes(run) if not is_internal(c.slug)]


def nameless(run: Run) -> str:
    """Return a remark if the run has cubes without a full name, which cannot be asked for."""
    lacking = any(not (w.slug and t.slug and c.slug) for w, t, c in _all_cubes(run))
    return "the run has a cube without a full name: it cannot be asked for" if lacking else ""


def held(run: Run) -> frozenset[str]:
    """Return the cubes of a run that await an approval, as `workflow/task/cube`."""
    return frozenset(
        f"{w.slug}/{t.slug}/{c.slug}"
        for w, t, c in _all_cubes(run)
        if c.status == "awaiting_approval"
    )


def in_progress(run: str) -> str:
    """Return the hint for a run that has not ended."""
    return f"run {visible(run)} is in progress: download --wait waits for the rest"
