"""Errors for a run, workflow, task or cube that does not exist: they name the nearest ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from ..errors import ArtifactsError, NotFound
from ..models import Run
from ..text import some_of, visible
from .address import Address
from .names import nearest
from .runs import age

_RUNS_READ = 50
_ORDER = "the order is RUN [WORKFLOW [TASK [CUBE]]]"


class Api(Protocol):
    """The part of the API that is used here."""

    def runs(self, repo: str, *, most_pages: int) -> Iterator[Run]: ...


def require(pattern: str | None, names: Iterable[str], kind: str, where: str) -> None:
    """Raise NotFound if `pattern` is a plain name; a glob may match nothing."""
    if pattern is None or "*" in pattern or "?" in pattern:
        return
    there = nearest(pattern, names)
    hint = f"the nearest: {some_of(there)}" if there else f"there is no {kind} at all"
    raise NotFound(f"{visible(where)} has no {kind} {visible(pattern)}", hint=hint)


def nearest_run(api: Api, address: Address, error: NotFound) -> NotFound:
    """Return the error for a run that does not exist, with the nearest ones; one more request."""
    try:
        runs = [run for run in islice(api.runs(address.repo, most_pages=1), _RUNS_READ) if run.slug]
    except ArtifactsError:
        runs = []
    return NotFound(error.message, hint=_hint(address, runs) or error.hint)


def _hint(address: Address, runs: Sequence[Run]) -> str:
    """Guess what was meant, given the newest runs; empty if there are none."""
    run = visible(address.run)
    if re.fullmatch(r"[^/]+/[^/]+", address.run):
        return f"{_ORDER}; to name a repository, use -R {run}"
    if not runs:
        return ""
    if any(one.slug == address.run for known in runs for one in known.workflows):
        given = (address.run, address.workflow, address.task)
        names = " ".join(visible(name) for name in given if name)
        return f"{run} is a workflow, and the run comes first, as in: latest {names}"
    newest = sorted(runs, key=age, reverse=True)
    there = f"the newest runs: {some_of(visible(one.slug) for one in newest)}"
    return there if address.run.isdigit() else f"{_ORDER}; {there}"
