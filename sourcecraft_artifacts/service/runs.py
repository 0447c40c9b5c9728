"""Finds the run that `latest` means: the newest that passes the filters and has the workflow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, Self

from .. import checks
from ..errors import NotFound
from ..logs import get_logger
from ..models import ACTIVE_STATUSES, EVENT_TYPES, FINAL_STATUSES, Run, moment
from ..text import count, nearest, one_of, some_of, visible
from .address import Address, name_matches
from .responses import MorePages

_log = get_logger(__name__)

LATEST = "latest"
"""The word for the newest run, in place of a slug."""
MOST_PAGES = 100
"""The most pages of runs that are read to find the newest."""
_SAMPLE = 20
"""How many runs must be in order before the service's order is trusted."""
_MOST_CANDIDATES = 100
"""The most runs that are searched for a workflow."""


class Api(Protocol):
    """The part of the API that is used here."""

    def run(self, repo: str, run: str) -> Run: ...
    def runs(self, repo: str, *, most_pages: int) -> Iterator[Run]: ...


class _Values(NamedTuple):
    statuses: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    pulls: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


class RunFilter(_Values):
    """Passes runs that match any value of each field; an empty field matches all runs.

    `statuses` and `events` are compared without regard to case; `pulls` and `users` are slugs. A
    single value may be given as a string. Raises `UsageError`.
    """

    __slots__ = ()

    def __new__(
        cls,
        statuses: Iterable[str] = (),
        events: Iterable[str] = (),
        pulls: Iterable[str] = (),
        users: Iterable[str] = (),
    ) -> Self:
        given = {"statuses": statuses, "events": events, "pulls": pulls, "users": users}
        return super().__new__(cls, *(checks.texts(name, given[name]) for name in given))

    def passes(self, run: Run) -> bool:
        """Tell whether a run passes."""
        return (
            _is_among(run.status.lower(), [value.lower() for value in self.statuses])
            and _is_among(run.event_type.lower(), [value.lower() for value in self.events])
            and _is_among(run.pull, self.pulls)
            and _is_among(run.user, self.users)
        )

    def __str__(self) -> str:
        """Describe the filter, safe to show: `status success or failed, event push`."""
        fields = {"status": self.statuses, "event": self.events}
        fields |= {"pull request": self.pulls, "user": self.users}
        return ", ".join(f"{name} {one_of(values)}" for name, values in fields.items() if values)

    def warnings(self) -> Iterator[str]:
        """Return a warning for each value that the service is not known to have."""
        known = {"status": ACTIVE_STATUSES + FINAL_STATUSES, "event": EVENT_TYPES}
        for name, values in {"status": self.statuses, "event": self.events}.items():
            for value in values:
                if value.lower() not in known[name]:
                    there = some_of(nearest(value, known[name]))
                    yield f"{visible(value)} is not a known {name}; known are {there}"


def _is_among(value: str | None, wanted: Sequence[str]) -> bool:
    return not wanted or value in wanted


class NewestRuns:
    """The newest of the wanted runs; no more pages are read than necessary.

    The service's order is not documented. As long as runs come newest first, the rest is taken to
    be older; otherwise all pages are read, up to the limit.
    """

    def __init__(self, runs: Iterable[Run], wanted: Callable[[Run], bool] = lambda run: True):
        self._runs = iter(runs)
        self._wanted = wanted
        self._kept: list[Run] = []
        self._seen = 0
        self._last: tuple[datetime, int] | None = None
        self._ordered = True
        self.remark = ""
        """A remark on runs that were not read; empty if all were."""

    def first(self, limit: int) -> list[Run]:
        """Return the newest `limit` runs, newest first; may be called again with a higher limit."""
        while not (self._ordered and len(self._kept) >= limit and self._seen >= _SAMPLE):
            if not self._read_one():
                break
        if not self._ordered:
            self._kept.sort(key=age, reverse=True)
        return self._kept[:limit]

    def _read_one(self) -> bool:
        try:
            run = next(self._runs, None)
        except MorePages as more:
            disorder = "" if self._ordered else "the service does not give runs newest first, and "
            self.remark = f"{disorder}pages after the first {more.pages:,} were not read"
            return False
        if run is None:
            return False
        when = age(run)
        self._ordered = self._ordered and (self._last is None or when <= self._last)
        self._seen, self._last = self._seen + 1, when
        if self._wanted(run):
            self._kept.append(run)
        return True


def newest_runs(api: Api, repo: str, chosen: RunFilter | None = None) -> NewestRuns:
    """Return the newest runs of a repository that pass; they are read on demand."""
    wanted = (chosen or RunFilter()).passes
    return NewestRuns(
        api.runs(repo, most_pages=MOST_PAGES), lambda run: bool(run.slug) and wanted(run)
    )


_NEVER = datetime.min.replace(tzinfo=UTC)


def age(run: Run) -> tuple[datetime, int]:
    """Return the sort key of a run: its creation time, or its counter if there is none."""
    return moment(run.created_at) or _NEVER, int(run.slug) if is_counter(run.slug) else 0


def is_counter(slug: str) -> bool:
    """Tell whether a run's slug is a number, as those of the service are."""
    return slug.isascii() and slug.isdigit() and len(slug) < 19


class Latest(NamedTuple):
    """The run that `latest` means, and how many newer runs lack the wanted workflow.

    Of those, `untold` have no workflows yet.
    """

    run: Run
    workflow: str | None = None
    passed_over: int = 0
    untold: int = 0

    def told(self, repo: str) -> str:
        """Describe the run for a person."""
        run = self.run
        facts = ", ".join(fact for fact in (run.status, run.event_type, run.created_at) if fact)
        text = f"latest is run {run.slug} of {repo} ({facts})"
        if self.passed_over:
            have = "has" if self.passed_over == 1 else "have"
            text += f"; {count(self.passed_over, 'newer run')} {have} no workflow {self.workflow}"
        if self.untold:
            text += f", {self.untold:,} of them not yet: --wait waits for it"
        return text


def find_latest(
    api: Api,
    repo: str,
    chosen: RunFilter | None = None,
    workflow: str | None = None,
    *,
    ask_again: Callable[[Run], bool] = lambda run: False,
) -> Latest:
    """Return the newest run that passes and has a workflow that the name or glob matches.

    A run that is listed without workflows is requested by itself. A run in progress that has none
    yet is requested again as long as `ask_again` (which may wait) returns true. Raises `NotFound`.
    """
    chosen = chosen or RunFilter()
    newest = newest_runs(api, repo, chosen)
    passed: dict[str, Run] = {}
    while len(passed) < _MOST_CANDIDATES:
        fresh = [run for run in newest.first(len(passed) + 1) if run.slug not in passed]
        if not fresh:
            break
        run = fresh[0]
        if workflow is None:
            return Latest(run)
        run = _with_workflows(api, repo, run, ask_again)
        if any(name_matches(workflow, one.slug) for one in run.workflows):
            untold = sum(map(_is_untold, passed.values()))
            return Latest(run, workflow, len(passed), untold)
        passed[run.slug or fresh[0].slug] = run
    raise _no_such_run(repo, chosen, workflow, list(passed.values()), newest.remark)


def resolved(
    api: Api,
    address: Address,
    chosen: RunFilter,
    *,
    ask_again: Callable[[Run], bool] = lambda run: False,
) -> Address:
    """Replace `latest` by the slug of the run, and log which it is. Raises as `find_latest`."""
    if address.run != LATEST:
        return address
    latest = find_latest(api, address.repo, chosen, address.workflow, ask_again=ask_again)
    _log.info("%s", latest.told(address.repo))
    return address._replace(run=latest.run.slug)


def latest_run(
    api: Api, repo: str, chosen: RunFilter | None = None, workflow: str | None = None
) -> Run:
    """Return the run of `find_latest`. Raises `NotFound`."""
    return find_latest(api, repo, chosen, workflow).run


def _with_workflows(api: Api, repo: str, run: Run, ask_again: Callable[[Run], bool]) -> Run:
    if run.workflows:
        return run
    run = api.run(repo, run.slug)
    while _is_untold(run) and ask_again(run):
        run = api.run(repo, run.slug)
    return run


def _is_untold(run: Run) -> bool:
    return not (run.workflows or run.ended)


def _no_such_run(
    repo: str, chosen: RunFilter, workflow: str | None, passed: list[Run], remark: str
) -> NotFound:
    that = f" ({chosen})" if str(chosen) else ""
    unread = f"; {remark}" if remark else ""
    if not passed:
        return NotFound(
            f"the repository {visible(repo)} has no run{that or ' at all'}{unread}",
            hint="sourcecraft-artifacts runs shows what there is",
        )
    there = nearest(workflow or "", (one.slug for run in passed for one in run.workflows))
    newest = "newest run" if len(passed) == 1 else f"{len(passed):,} newest runs"
    of = f"{visible(repo)}{that}"
    return NotFound(
        f"no workflow {visible(workflow or '')} in the {newest} of {of}{unread}",
        hint=f"the nearest: {some_of(there)}" if there else "they have no workflows at all",
    )
