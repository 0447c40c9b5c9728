"""`latest` and the filters of runs, through the installed command."""

from __future__ import annotations

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService, target, tree
from servers import json_response

REVIEW = ("review", "check", "lint")


@pytest.fixture
def history(service: FakeService) -> FakeService:
    """Serve four runs of two workflows, started by two users."""
    for slug, status, event, pull, user in [
        ("9", "failed", "push", None, "ann"),
        ("8", "success", "pr_update", "17", "bob"),
        ("7", "success", "push", None, "bob"),
        ("6", "canceled", "manual", None, "ann"),
    ]:
        service.add_run(
            slug, status, f"2026-11-0{slug}T09:00:00Z", event=event, pull=pull, user=user
        )
        service.add("a.txt", slug.encode(), run=slug, cube=REVIEW if slug == "8" else CUBE)
    return service


FILTERS = [
    ([], ["9", "8", "7", "6"]),
    (["--run-status", "success", "--run-status", "failed"], ["9", "8", "7"]),
    (["--user", "bob", "--event", "push", "--event", "manual"], ["7"]),
    (["--pull", "17"], ["8"]),
    (["--user", "carl"], []),
]


@pytest.mark.parametrize(("options", "slugs"), FILTERS)
@pytest.mark.usefixtures("history")
def test_filters_hold_for_runs_and_for_latest(
    cli: Cli, options: list[str], slugs: list[str]
) -> None:
    """Filters are repeatable; `runs` shows the runs from which `latest` chooses."""
    assert [line.split("\t")[0] for line in cli("runs", *options).out.splitlines()] == slugs
    listed = cli("list", "latest", *options, "--json", code=0 if slugs else 5)
    assert not slugs or listed.json["run"] == slugs[0]
    cli("download", "latest", *options, "-d", "out", code=0 if slugs else 5)
    assert list(tree(cli.out).values()) == [slug.encode() for slug in slugs[:1]]


@pytest.mark.usefixtures("history")
def test_latest_with_a_workflow_is_the_newest_that_has_it(cli: Cli) -> None:
    """A message names the run, and counts newer runs without the workflow."""
    finished = cli("list", "latest", "review", "--json")
    assert finished.json["run"] == "8"
    assert "latest is run 8 of org/repo (success, pr_update" in finished.err
    assert "1 newer run has no workflow review" in finished.err
    assert cli("list", "latest", *REVIEW, "--json").json["run"] == "8"


@pytest.mark.usefixtures("history")
def test_what_the_chosen_run_lacks_is_not_found(cli: Cli) -> None:
    """A task that only an older run has is exit 5: that run is not used instead."""
    assert "no task site" in cli("list", "latest", "review", "site", code=5).err
    finished = cli("list", "latest", "deploy", code=5)
    assert "no workflow deploy in the 4 newest runs" in finished.err
    assert "the nearest: review, ci" in finished.err


@pytest.mark.usefixtures("history")
def test_a_value_that_nobody_knows_warns(cli: Cli) -> None:
    """An unknown value of a filter is a warning, and is still sent through."""
    finished = cli("list", "latest", "--run-status", "cancelled", code=5)
    assert "warning: cancelled is not a known status; known are canceled" in finished.err
    assert "warning" not in cli("list", "latest", "--run-status", "CANCELED").err


@pytest.mark.parametrize(
    ("command", "option"),
    [("list", "--run-status"), ("download", "--event"), ("list", "--pull"), ("download", "--user")],
)
@pytest.mark.usefixtures("history")
def test_filters_go_with_latest(cli: Cli, command: str, option: str) -> None:
    """A filter with a numbered run, or with an empty value, is exit 2."""
    assert f"{option} needs" in cli(command, "7", option, "success", code=2).err
    assert option in cli(command, "latest", option, " ", code=2).err


@pytest.mark.parametrize(("names", "code"), [((), 3), (("ci",), 5)])
def test_a_run_that_has_just_begun_may_be_waited_for(
    service: FakeService, cli: Cli, names: tuple[str, ...], code: int
) -> None:
    """Without --wait a new run has no artifacts, and the message names --wait."""
    service.add_run("10", "created")
    said = cli("download", "10", *names, "-d", "out", code=code).err
    assert "run 10 is in progress: download --wait waits for the rest" in said


@pytest.mark.parametrize("timeout", ["10s", "0.1s"])
def test_wait_asks_a_run_that_has_just_begun_again(
    history: FakeService, cli: Cli, timeout: str
) -> None:
    """--wait asks for a new run again until its workflows are known, or --wait-timeout passes."""
    begun = history.add_run("10", "created", "2026-11-10T09:00:00Z")
    untold = history.run_record(begun)
    history.add("new.txt", b"new", run="10")
    begun.status = "success"
    told = json_response(history.run_record(begun))
    known = [untold, *map(history.run_record, history.runs.values())]
    history.api.on(f"/repos/{REPO}/cicd/runs", json_response({"runs": known}))
    history.api.on(target("10", kind="runs"), *[json_response(untold)] * 5, told)
    finished = cli(
        *("download", "latest", "ci", "--wait", "--wait-timeout", timeout, "-d", "out"),
        code=0 if timeout == "10s" else 9,
    )
    if timeout == "10s":
        assert "latest is run 10" in finished.err
        assert tree(cli.out) == {"ci/build/linux/new.txt": b"new"}
    else:
        assert "the workflows of run 10 were not known in time (--wait-timeout)" in finished.err
        assert tree(cli.out) == {}


def test_latest_alone_waits_for_nothing(service: FakeService, cli: Cli) -> None:
    """Without --wait there is no event that tells of waiting."""
    service.add("a.txt", b"1", run="7")
    finished = cli("download", "latest", "-d", "out", "--progress", "json")
    assert tree(cli.out)
    assert "waiting" not in finished.err
