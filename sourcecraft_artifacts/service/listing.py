"""From an address to the artifacts below it: which run, which cubes, what each of them left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..errors import NotFound
from ..logs import get_logger
from ..models import Artifact, CubeAddress, Run, Task, Workflow
from ..text import some_of, visible
from .address import Address, name_matches
from .names import nearest

AT_ONCE = 16
"""Cubes that are asked for at the same time."""

_log = get_logger(__name__)

Named = TypeVar("Named", Workflow, Task)


class Api(Protocol):
    """What is needed of the API."""

    def artifacts(self, address: CubeAddress) -> list[Artifact]: ...
    def run(self, repo: str, run: str) -> Run: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """The artifacts below an address; `run` is a slug, and `ended` tells that no more can come."""

    repo: str
    run: str
    artifacts: tuple[Artifact, ...]
    ended: bool = True
    awaited: tuple[str, ...] = ()
    """The selected cubes that have not ended, as `workflow/task/cube`."""
    others: tuple[str, ...] = ()
    """Where no cube is selected: those that the run has."""
    nameless: str = ""
    """What is said of cubes that have no name, and cannot be asked for."""
    unlisted: tuple[str, ...] = ()
    """Ended cubes of the run for which the service has no listing (404)."""

    @property
    def remark(self) -> str:
        """What a person should know of the listing, fit to be shown; empty when it is whole."""
        remarks = [self.nameless] if self.nameless else []
        if self.unlisted:
            names = some_of(map(visible, self.unlisted))
            remarks.append(f"the service lists no artifacts (404) for {names}")
        return "; ".join(remarks)


def tell_remark(listing: Listing) -> None:
    """Tell what of the things asked for the service does not even list."""
    if listing.remark:
        _log.warning("%s", listing.remark)


def list_artifacts(api: Api, address: Address, *, watch: bool = False) -> Listing:
    """List what is below an address whose run is a slug.

    Three plain names make one request; anything wider, and `watch`, which asks also how far the
    cubes are, reads the run and then asks for each selected cube. Raises `ArtifactsError`.
    """
    if address.exact and not watch:
        cube = CubeAddress(
            address.repo,
            address.run,
            address.workflow or "",
            address.task or "",
            address.cube or "",
        )
        return Listing(address.repo, address.run, tuple(api.artifacts(cube)))
    run = api.run(address.repo, address.run)
    cubes = select_cubes(run, address, partial=watch and not run.ended)
    # Asked after the run: what ended by then has its artifacts in these listings.
    listed = _in_parallel(lambda cube: _artifacts(api, cube), [cube for cube, _ in cubes])
    awaited = tuple(cube.path for cube, ended in cubes if not ended)
    return Listing(
        address.repo,
        address.run,
        artifacts=tuple(artifact for artifacts in listed for artifact in artifacts or ()),
        ended=run.ended or (bool(cubes) and address.exact and not awaited),
        awaited=awaited,
        others=() if cubes else tuple(_cube_names(run)),
        nameless=_nameless(run),
        unlisted=tuple(
            cube.path
            for (cube, ended), artifacts in zip(cubes, listed, strict=True)
            if artifacts is None and ended
        ),
    )


def _nameless(run: Run) -> str:
    lacking = any(
        not (workflow.slug and task.slug and cube.slug)
        for workflow in run.workflows
        for task in workflow.tasks
        for cube in task.cubes
    )
    return "the run has a cube without a full name: it cannot be asked for" if lacking else ""


def _cube_names(run: Run) -> Iterator[str]:
    for workflow in run.workflows:
        for task in workflow.tasks:
            for cube in task.cubes:
                yield f"{workflow.slug}/{task.slug}/{cube.slug}"


def _artifacts(api: Api, cube: CubeAddress) -> list[Artifact] | None:
    try:
        return api.artifacts(cube)
    except NotFound:
        return None  # the run has this cube: it may just have left nothing yet


def _in_parallel(
    ask: Callable[[CubeAddress], list[Artifact] | None], cubes: Sequence[CubeAddress]
) -> list[list[Artifact] | None]:
    if len(cubes) <= 1:
        return [ask(cube) for cube in cubes]
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(AT_ONCE, len(cubes)))
    try:
        return list(pool.map(ask, cubes))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def select_cubes(
    run: Run, address: Address, *, partial: bool = False
) -> list[tuple[CubeAddress, bool]]:
    """Return the cubes of a run that an address selects, each once, with whether it has ended.

    In a run that has ended all have. Raises `NotFound`, with the nearest names, for a plain name
    that is not there; not with `partial`, when the run may still get it.
    """
    workflows = _chosen(run.workflows, address.workflow, "workflow", f"run {run.slug}", partial)
    where = f"workflow {address.workflow or '*'} of run {run.slug}"
    tasks = [(w, t) for w in workflows for t in w.tasks]
    picked = set(map(id, _chosen([t for _, t in tasks], address.task, "task", where, partial)))
    where = f"task {address.task or '*'} of run {run.slug}"
    # What has no name cannot be asked for.
    found = [(w, t, c) for w, t in tasks if id(t) in picked for c in t.cubes]
    found = [(w, t, c) for w, t, c in found if w.slug and t.slug and c.slug]
    cubes = [(w, t, c) for w, t, c in found if name_matches(address.cube, c.slug)]
    if not cubes and not partial:
        _require(address.cube, [c.slug for _, _, c in found], "cube", where)
    ended: dict[CubeAddress, bool] = {}
    for w, t, c in cubes:
        one = CubeAddress(address.repo, run.slug or address.run, w.slug, t.slug, c.slug)
        ended[one] = ended.get(one, True) and (run.ended or c.ended)
    return list(ended.items())


def _chosen(
    items: Sequence[Named], pattern: str | None, kind: str, where: str, partial: bool
) -> list[Named]:
    chosen = [item for item in items if name_matches(pattern, item.slug)]
    if not chosen and not partial:
        _require(pattern, [item.slug for item in items], kind, where)
    return chosen


def _require(pattern: str | None, names: Iterable[str], kind: str, where: str) -> None:
    """Raise NotFound for a plain name; a glob may well match nothing."""
    if pattern is None or "*" in pattern or "?" in pattern:
        return
    there = nearest(pattern, names)
    hint = f"there is {some_of(there)}" if there else f"there is no {kind} at all"
    raise NotFound(f"{visible(where)} has no {kind} {visible(pattern)}", hint=hint)
