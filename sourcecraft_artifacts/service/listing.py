"""Lists the artifacts below an address: finds the run and the cubes, and asks for each cube."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple, Protocol, TypeGuard, TypeVar

from .. import checks
from ..errors import ArtifactsError, NotFound, UsageError
from ..logs import get_logger
from ..models import Artifact, CubeAddress, Run, Task, Workflow
from ..network import in_threads
from ..text import count, some_of, visible
from .address import Address, name_matches
from .not_found import nearest_run, newest_page, require
from .runs import LATEST, RunFilter, resolved

AT_ONCE = 16
"""How many cubes are asked for at the same time."""
_MOST_TOLD = 10

_log = get_logger(__name__)

Named = TypeVar("Named", Workflow, Task)


class Api(Protocol):
    """The part of the API that is used here."""

    def artifacts(self, address: CubeAddress) -> list[Artifact]: ...
    def run(self, repo: str, run: str) -> Run: ...
    def runs(self, repo: str, *, most_pages: int) -> Iterator[Run]: ...


class Listing(NamedTuple):
    """The artifacts below an address.

    - `repo` and `run` (a slug): where they are.
    - `artifacts`: in the order of the service.
    - `ended`: whether no more artifacts can come.
    - `run_ended`: whether the whole run has ended, if it was read.
    - `awaited`: the selected cubes that have not ended, as `workflow/task/cube`.
    - `others`: the cubes of the run, if none is selected.
    - `nameless`: a remark if the run has cubes without a name, which cannot be asked for.
    - `unlisted`: cubes that have ended and for which the service has no listing (404).
    - `held`: the cubes of the run that await an approval.
    - `run_status`: the status of the run, if it was read.
    - `error_messages`: the run's own error messages.
    - `failures`: why cubes could not be listed; `artifacts` lacks theirs.
    """

    repo: str
    run: str
    artifacts: tuple[Artifact, ...]
    ended: bool = True
    run_ended: bool = True
    awaited: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    nameless: str = ""
    unlisted: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    run_status: str | None = None
    error_messages: tuple[str, ...] = ()
    failures: tuple[ArtifactsError, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What is missing from the listing, in lines that are safe to show."""
        remarks = [f"failed: {error.message}" for error in self.failures[:_MOST_TOLD]]
        left = len(self.failures) - _MOST_TOLD
        if left > 0:
            remarks.append(f"failed: the listings of {count(left, 'more cube')}")
        if self.nameless:
            remarks.append(self.nameless)
        if self.unlisted:
            names = some_of(map(visible, self.unlisted))
            remarks.append(f"the service lists no artifacts (404) for {names}")
        return remarks


def tell_remarks(listing: Listing) -> None:
    """Warn of what is missing from a listing."""
    for remark in listing.remarks:
        _log.warning("%s", remark)


def list_artifacts(
    api: Api, address: Address, *, runs: RunFilter | None = None, watch: bool = False
) -> Listing:
    """List the artifacts below an address; `runs` filters the runs if its run is `latest`.

    An address with three plain names takes one request. A wider one, or `watch`, which also wants
    the statuses of the cubes, takes one request for the run and one for each selected cube. If some
    cubes cannot be listed, the listing names them. Raises `ArtifactsError`, also if no cube can be
    listed.
    """
    checks.instance("address", address, Address)
    if runs not in (None, RunFilter()) and address.run != LATEST:
        raise UsageError("runs needs the run `latest`")
    address = resolved(api, address, runs or RunFilter())
    if address.exact and not watch:
        cube = CubeAddress(
            address.repo,
            address.run,
            address.workflow or "",
            address.task or "",
            address.cube or "",
        )
        try:
            return Listing(address.repo, address.run, tuple(api.artifacts(cube)))
        except NotFound as error:
            raise nearest_below(api, address, error) from error
    try:
        run = api.run(address.repo, address.run)
    except NotFound as error:
        raise nearest_run(api, address, error) from error
    cubes = _selected_cubes(run, address, partial=watch and not run.ended)
    # Requested after the run, so that the listings of cubes that have ended are final.
    listed = _in_parallel(lambda cube: _artifacts(api, cube), [cube for cube, _ in cubes])
    awaited = tuple(cube.path for cube, ended in cubes if not ended)
    return Listing(
        address.repo,
        address.run,
        artifacts=tuple(one for found in listed if isinstance(found, list) for one in found),
        ended=run.ended or (bool(cubes) and address.exact and not awaited),
        run_ended=run.ended,
        awaited=awaited,
        others=() if cubes else tuple(_cube_names(run)),
        nameless=_nameless(run),
        unlisted=tuple(
            cube.path
            for (cube, ended), found in zip(cubes, listed, strict=True)
            if isinstance(found, NotFound) and ended
        ),
        held=_held(run),
        run_status=run.status or None,
        error_messages=run.error_messages,
        failures=tuple(filter(_is_failure, listed)),
    )


def nearest_below(api: Api, address: Address, error: NotFound) -> NotFound:
    """Return the error that says which name of an exact address does not exist, if one does not.

    That takes one request, for the newest runs, and a second one only if they do not have the run's
    names.
    """
    try:
        newest = newest_page(api, address.repo)
    except ArtifactsError:
        return error
    run = newest.find(address.run)
    if run is None and not newest.may_lack(address.run):
        return nearest_run(api, address, error, newest)
    try:
        if run is None or not run.workflows:
            run = api.run(address.repo, address.run)
    except NotFound:
        return nearest_run(api, address, error, newest)
    except ArtifactsError:
        return error
    try:
        _selected_cubes(run, address)
    except NotFound as nearer:
        return nearer
    return error


def in_progress(run: str) -> str:
    """Return the hint for a run that has not ended."""
    return f"run {visible(run)} is in progress: download --wait waits for the rest"


def _selected_cubes(
    run: Run, address: Address, *, partial: bool = False
) -> list[tuple[CubeAddress, bool]]:
    """Select cubes; if the run is in progress, the error says that a name may still come."""
    try:
        return select_cubes(run, address, partial=partial)
    except NotFound as error:
        if run.ended:
            raise
        raise NotFound(error.message, hint=f"{error.hint}; {in_progress(run.slug)}") from None


def _nameless(run: Run) -> str:
    lacking = any(
        not (workflow.slug and task.slug and cube.slug)
        for workflow in run.workflows
        for task in workflow.tasks
        for cube in task.cubes
    )
    return "the run has a cube without a full name: it cannot be asked for" if lacking else ""


def _held(run: Run) -> frozenset[str]:
    return frozenset(
        f"{workflow.slug}/{task.slug}/{cube.slug}"
        for workflow in run.workflows
        for task in workflow.tasks
        for cube in task.cubes
        if cube.status == "awaiting_approval"
    )


def _cube_names(run: Run) -> Iterator[str]:
    for workflow in run.workflows:
        for task in workflow.tasks:
            for cube in task.cubes:
                if not is_internal(cube.slug):
                    yield f"{workflow.slug}/{task.slug}/{cube.slug}"


def is_internal(cube: str) -> bool:
    """Tell whether a cube is one of the service's own, such as `#git-clone`, by its name.

    They have no artifacts, and the API may answer with an error for them.
    """
    return cube.startswith("#")


_Answer = list[Artifact] | ArtifactsError
"""A cube's artifacts, or the error; a 404 may mean that it has none yet."""


def _artifacts(api: Api, cube: CubeAddress) -> _Answer:
    try:
        return api.artifacts(cube)
    except ArtifactsError as error:
        return [] if is_internal(cube.cube) else error


def _is_failure(answer: _Answer) -> TypeGuard[ArtifactsError]:
    return isinstance(answer, ArtifactsError) and not isinstance(answer, NotFound)


def _in_parallel(
    ask: Callable[[CubeAddress], _Answer], cubes: Sequence[CubeAddress]
) -> list[_Answer]:
    """Ask for all cubes. Raises the first failure if the first ones all fail."""
    if len(cubes) <= 1:
        return _not_all_failures([ask(cube) for cube in cubes])
    with closing(in_threads(ask, cubes, min(AT_ONCE, len(cubes)))) as coming:
        first = _not_all_failures(list(islice(coming, AT_ONCE)))
        return [*first, *coming]


def _not_all_failures(answers: list[_Answer]) -> list[_Answer]:
    if answers and all(map(_is_failure, answers)):
        raise next(filter(_is_failure, answers))
    return answers


def select_cubes(
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
