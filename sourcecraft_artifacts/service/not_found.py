"""Errors for a run, workflow, task or cube that does not exist: they name the nearest ones."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ArtifactsError, NotFound
from ..models import Run
from ..text import near, nearest, some_of, visible
from .address import Address, is_glob
from .responses import MorePages
from .runs import LATEST, age, is_counter

if TYPE_CHECKING:
    from .api import Client

_RUNS_READ = 50
_ORDER = "the order is RUN [WORKFLOW [TASK [CUBE]]]"


def require(
    pattern: str | None, names: Iterable[str], kind: str, where: str, below: Iterable[str | None]
) -> None:
    """Raise NotFound for a name that nothing has.

    A glob may match nothing, unless a plain name follows among those `below` it (`'x*' build`):
    then nothing has that name either.
    """
    if pattern is None or (
        is_glob(pattern) and all(name is None or is_glob(name) for name in below)
    ):
        return
    there = nearest(pattern, names)
    hint = f"the nearest: {some_of(there)}" if there else f"there is no {kind} at all"
    which = "that matches " if is_glob(pattern) else ""
    raise NotFound(f"{visible(where)} has no {kind} {which}{visible(pattern)}", hint=hint)


class Newest(NamedTuple):
    """The runs of the service's first page, and whether there are others."""

    runs: Sequence[Run] = ()
    more: bool = False

    @property
    def are_newest(self) -> bool:
        """Whether no other page has newer runs, as far as the order of this one tells."""
        ages = [age(run) for run in self.runs]
        return not self.more or ages == sorted(ages, reverse=True)

    def find(self, slug: str) -> Run | None:
        """Return the run with a slug, or None if it is not on the page."""
        return next((run for run in self.runs if run.slug == slug), None)

    def may_lack(self, slug: str) -> bool:
        """Tell whether a run that is not on the page may be on another one, by its counter."""
        counters = [int(run.slug) for run in self.runs if is_counter(run.slug)]
        newest_first = counters == sorted(counters, reverse=True)
        is_older = is_counter(slug) and int(slug) < max(counters, default=0)
        return self.more and (is_older or not newest_first)


def newest_page(api: "Client", repo: str) -> Newest:
    """Read the first page of runs, in one request. Raises `ArtifactsError`."""
    runs: list[Run] = []
    more = False
    try:
        for run in api.runs(repo, most_pages=1):
            runs.append(run)
            if more := len(runs) == _RUNS_READ:
                break
    except MorePages:
        more = True
    return Newest([run for run in runs if run.slug], more)


def nearest_run(
    api: "Client", address: Address, error: NotFound, newest: Newest | None = None
) -> NotFound:
    """Return the error for a run that does not exist, with the nearest ones.

    That takes one request, unless the `newest` runs have been read.
    """
    try:
        newest = newest or newest_page(api, address.repo)
    except ArtifactsError:
        return error
    return NotFound(error.message, hint=_hint(address, newest) or error.hint)


def _hint(address: Address, known: Newest) -> str:
    """Guess what was meant, given the first page of runs; empty if there are none."""
    run = visible(address.run)
    if re.fullmatch(r"[^/]+/[^/]+", address.run):
        return f"{_ORDER}; to name a repository, use -R {run}"
    if not known.runs:
        return ""
    if any(one.slug == address.run for each in known.runs for one in each.workflows):
        given = (address.run, address.workflow, address.task)
        names = " ".join(visible(name) for name in given if name)
        return f"{run} is a workflow, and the run comes first, as in: latest {names}"
    newest = sorted(known.runs, key=age, reverse=True)
    which = "the newest runs" if known.are_newest else "some of the runs"
    there = f"{which}: {some_of(visible(one.slug) for one in newest)}"
    if near(address.run, [LATEST]):
        return f"did you mean {LATEST}? {there}"
    return there if address.run.isdigit() else f"{_ORDER}; {there}"
