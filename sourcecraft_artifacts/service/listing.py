"""Lists the artifacts below an address: finds the run and the cubes, and asks for each cube."""

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from .. import checks
from ..errors import ArtifactsError, NotFound, UsageError
from ..logs import get_logger
from ..models import Artifact, CubeAddress
from ..results import UnlistedCube
from ..text import count, some_of, visible
from ..threads import in_threads
from .address import Address
from .cubes import absent_yet, cube_names, held, is_internal, nameless, selected_cubes
from .not_found import nearest_run, newest_page
from .runs import LATEST, RunFilter, resolved

if TYPE_CHECKING:
    from .api import Client

AT_ONCE = 16
"""How many cubes are asked for at the same time."""
_MOST_TOLD = 10

_log = get_logger(__name__)

_Answer = list[Artifact] | ArtifactsError
"""A cube's artifacts, or the error; a 404 may mean that it has none yet."""


class Listing(NamedTuple):
    """The artifacts below an address.

    - `repo` and `run` (a slug): where they are.
    - `artifacts`: in the order of the service.
    - `ended`: whether no more artifacts can come.
    - `run_ended`: whether the whole run has ended, if it was read.
    - `awaited`: the selected cubes that have not ended, as `workflow/task/cube`.
    - `others`: the cubes of the run, if none is selected.
    - `absent`: what the address names and a run in progress does not have yet, safe to show.
    - `nameless`: a remark if the run has cubes without a name, which cannot be asked for.
    - `unlisted`: cubes that have ended and for which the service has no listing (404).
    - `held`: the cubes of the run that await an approval.
    - `run_status`: the status of the run, if it was read.
    - `error_messages`: the run's own error messages.
    - `failures`: the cubes that could not be listed; `artifacts` lacks theirs.
    """

    repo: str
    run: str
    artifacts: tuple[Artifact, ...]
    ended: bool = True
    run_ended: bool = True
    awaited: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    absent: str = ""
    nameless: str = ""
    unlisted: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    run_status: str | None = None
    error_messages: tuple[str, ...] = ()
    failures: tuple[UnlistedCube, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What is missing from the listing, in lines that are safe to show."""
        remarks = [f"failed: {one.error.message}" for one in self.failures[:_MOST_TOLD]]
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
    api: "Client", address: Address, *, runs: RunFilter | None = None, watch: bool = False
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
        return _of_one_cube(api, address)
    return _of_run(api, address, watch=watch)


def _of_one_cube(api: "Client", address: Address) -> Listing:
    """List the cube that an exact address names, in one request."""
    repo, run, *names = address
    cube = CubeAddress(repo, run, *(name or "" for name in names))
    try:
        return Listing(repo, run, tuple(api.artifacts(cube)))
    except NotFound as error:
        raise nearest_below(api, address, error) from error


def _of_run(api: "Client", address: Address, *, watch: bool) -> Listing:
    """Read the run, and list each of its cubes that the address selects."""
    try:
        run = api.run(address.repo, address.run)
    except NotFound as error:
        raise nearest_run(api, address, error) from error
    cubes = selected_cubes(run, address, partial=watch and not run.ended)
    # Requested after the run, so that the listings of cubes that have ended are final.
    answers = _in_parallel(lambda cube: _artifacts(api, cube), [cube for cube, _ in cubes])
    awaited = tuple(cube.path for cube, ended in cubes if not ended)
    return Listing(
        address.repo,
        address.run,
        artifacts=tuple(one for found in answers if isinstance(found, list) for one in found),
        ended=run.ended or (bool(cubes) and address.exact and not awaited),
        run_ended=run.ended,
        awaited=awaited,
        others=() if cubes else tuple(cube_names(run)),
        absent="" if cubes or not watch else absent_yet(run, address),
        nameless=nameless(run),
        unlisted=_unlisted(cubes, answers),
        held=held(run),
        run_status=run.status or None,
        error_messages=run.error_messages,
        failures=_failures(cubes, answers),
    )


def _unlisted(
    cubes: Sequence[tuple[CubeAddress, bool]], answers: Sequence[_Answer]
) -> tuple[str, ...]:
    """Return the cubes that have ended and for which the service has no listing."""
    return tuple(
        cube.path
        for (cube, ended), answer in zip(cubes, answers, strict=True)
        if isinstance(answer, NotFound) and ended
    )


def _failures(
    cubes: Sequence[tuple[CubeAddress, bool]], answers: Sequence[_Answer]
) -> tuple[UnlistedCube, ...]:
    return tuple(
        UnlistedCube(cube, answer)
        for (cube, _), answer in zip(cubes, answers, strict=True)
        if _is_failure(answer)
    )


def nearest_below(api: "Client", address: Address, error: NotFound) -> NotFound:
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
        selected_cubes(run, address)
    except NotFound as nearer:
        return nearer
    return error


def _artifacts(api: "Client", cube: CubeAddress) -> _Answer:
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
