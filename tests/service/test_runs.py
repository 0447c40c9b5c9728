"""The newest runs, the filters, and the run that `latest` means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts import NotFound
from sourcecraft_artifacts.models import Run, Workflow
from sourcecraft_artifacts.service.responses import MorePages
from sourcecraft_artifacts.service.runs import (
    NewestRuns,
    RunFilter,
    find_latest,
    latest_run,
    newest_runs,
)

REPO = "o/r"


def a_run(number: int, *workflows: str, hour: int | None = None, **more: str) -> Run:
    """Return a run whose time follows its number, or that was created at another hour."""
    created = f"2026-11-{1 + number // 24:02}T{number % 24 if hour is None else hour:02}:00:00Z"
    told = tuple(Workflow(name) for name in workflows)
    known: dict[str, Any] = {
        "status": "success",
        "event_type": "push",
        "created_at": created,
        **more,
    }
    return Run(str(number), workflows=told, **known)


class Runs:
    """An API that lists these runs in this order; `asked` has the requests for single runs."""

    def __init__(self, *listed: Run, single: dict[str, Sequence[Run]] | None = None) -> None:
        self.listed = listed
        self.single = {slug: list(answers) for slug, answers in (single or {}).items()}
        self.asked: list[str] = []
        self.read = 0

    def runs(self, repo: str, *, most_pages: int) -> Iterator[Run]:
        """Yield the runs, as the client does."""
        for at, run in enumerate(self.listed):
            if at == most_pages:
                raise MorePages("more", most_pages)
            self.read += 1
            yield run

    def run(self, repo: str, run: str) -> Run:
        """Return the next response for a run; the last one repeats."""
        self.asked.append(run)
        answers = self.single.get(run) or [one for one in self.listed if one.slug == run]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def slugs(runs: Sequence[Run]) -> list[str]:
    """Return the slugs of runs."""
    return [run.slug for run in runs]


def test_no_more_is_read_than_must_be() -> None:
    """If a sample of runs is newest first, the rest is not read."""
    api = Runs(*(a_run(number) for number in range(90, 0, -1)))
    newest = newest_runs(api, REPO)
    assert slugs(newest.first(3)) == ["90", "89", "88"]
    assert api.read == 20
    assert len(newest.first(30)) == api.read == 30
    assert newest.remark == ""


@given(st.lists(st.integers(1, 99), unique=True), st.integers(1, 30))
def test_any_order_gives_the_newest_that_were_read(numbers: list[int], limit: int) -> None:
    """If a sample is out of order, all runs are read, and the newest are returned."""
    found = slugs(NewestRuns(map(a_run, numbers)).first(limit))
    in_order = [str(number) for number in sorted(numbers, reverse=True)]
    ordered = numbers == sorted(numbers, reverse=True)
    if ordered or len(numbers) <= max(20, limit) or numbers[:20] != sorted(numbers[:20])[::-1]:
        assert found == in_order[:limit]


@pytest.mark.parametrize("backwards", [False, True])
def test_pages_are_bounded_and_that_is_told(backwards: bool) -> None:
    """Pages beyond the limit are not read, and a remark says so."""
    numbers = range(1, 150) if backwards else range(150, 1, -1)
    api = Runs(*(a_run(number) for number in numbers))
    newest = newest_runs(api, REPO)
    assert len(newest.first(120)) == api.read == 100
    assert "pages after the first 100 were not read" in newest.remark
    assert ("does not give runs newest first" in newest.remark) == backwards


@pytest.mark.parametrize(
    ("chosen", "passes"),
    [
        (RunFilter(), True),
        (RunFilter(("failed", "SUCCESS")), True),
        (RunFilter(("failed",)), False),
        (RunFilter(events=("Push",)), True),
        (RunFilter(("success",), ("manual",)), False),
        (RunFilter(pulls=("17",)), True),
        (RunFilter(pulls=("1",)), False),
        (RunFilter(users=("ann", "bob")), True),
        (RunFilter(("success",), ("push",), ("17",), ("Ann",)), False),
    ],
)
def test_any_value_of_a_filter_and_all_filters(chosen: RunFilter, passes: bool) -> None:
    """A run must match any value of each field."""
    assert chosen.passes(a_run(1, pull="17", user="ann")) is passes
    assert not RunFilter(pulls=("17",)).passes(a_run(1))


def test_values_that_no_run_has_are_doubted() -> None:
    """A warning names the known values, the nearest first; pulls and users are not checked."""
    (warning,) = RunFilter(("cancelled", "success"), ("push",), ("x",), ("y",)).warnings()
    assert warning.startswith("cancelled is not a known status; known are canceled, ")
    (warning,) = RunFilter(events=("pull\x1b",)).warnings()
    assert warning.startswith("pull\\x1b is not a known event; known are push, ")


def test_latest_has_the_workflow() -> None:
    """Newer runs without the workflow are counted; a run listed without workflows is requested."""
    listed = [a_run(9, "docs"), a_run(8), a_run(7, "docs", "ci"), a_run(6, "ci")]
    api = Runs(*listed, single={"8": [a_run(8, "nightly")]})
    latest = find_latest(api, REPO, workflow="c?")
    assert (latest.run.slug, latest.passed_over, api.asked) == ("7", 2, ["8"])
    assert latest.told(REPO).endswith("; 2 newer runs have no workflow c?")
    assert latest_run(api, REPO).slug == "9"
    assert latest_run(api, REPO, RunFilter(("success",)), "nightly").slug == "8"


@pytest.mark.parametrize("waits", [False, True])
def test_a_run_that_has_just_begun(waits: bool) -> None:
    """The workflows of a new run are waited for if asked to; else a remark counts it."""
    begun, told = a_run(9, status="created"), a_run(9, "ci", status="processing")
    api = Runs(begun, a_run(8, "ci"), single={"9": [begun, begun, told]})
    seen: list[str] = []

    def ask_again(run: Run) -> bool:
        seen.append(run.slug)
        return waits

    latest = find_latest(api, REPO, workflow="ci", ask_again=ask_again)
    assert latest.run.slug == ("9" if waits else "8")
    assert len(seen) == (2 if waits else 1)
    assert ("--wait waits for it" in latest.told(REPO)) != waits


def test_a_workflow_is_looked_for_among_the_newest_hundred() -> None:
    """After a hundred runs the error says how many were searched, and what there is."""
    api = Runs(*(a_run(number, "cd") for number in range(150, 10, -1)), a_run(1, "ci"))
    with pytest.raises(NotFound) as caught:
        latest_run(api, REPO, RunFilter(events=("push",)), "ci")
    assert caught.value.message == "no workflow ci in the 100 newest runs of o/r (event push)"
    assert (caught.value.hint, api.read) == ("the nearest: cd", 100)


def test_no_run_at_all() -> None:
    """The error has the filter, and the hint says where to look."""
    with pytest.raises(NotFound, match="the repository o/r has no run at all"):
        latest_run(Runs(), REPO)
    with pytest.raises(NotFound) as caught:
        latest_run(Runs(a_run(1)), REPO, RunFilter(("failed", "timeout"), users=("ann\x1b",)))
    assert "no run (status failed or timeout, user ann\\x1b)" in caught.value.message


def test_latest_in_any_order() -> None:
    """A run that was passed over is not used if older pages have newer runs."""
    numbers = [*range(60, 30, -1), *range(61, 90)]
    api = Runs(*(a_run(number, "ci" if number in (62, 70) else "cd") for number in numbers))
    assert latest_run(api, REPO, workflow="ci").slug == "70"
