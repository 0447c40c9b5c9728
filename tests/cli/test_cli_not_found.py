"""Names that do not exist, and the forms of addresses."""

from __future__ import annotations

import subprocess

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService, problem, target
from servers import json_response

ORDER = "the order is RUN [WORKFLOW [TASK [CUBE]]]"


@pytest.mark.parametrize(
    ("arguments", "requests", "told"),
    [
        (["7", "ci", "build", "linus"], 2, "cube linus\n  hint: the nearest: linux"),
        (["7", "ci", "buidl", "linux"], 2, "task buidl\n  hint: the nearest: build"),
        (["7", "c", "*"], 1, "workflow c\n  hint: the nearest: ci"),
        (["7", "a/b?#%", ".", "ж"], 1, "run 7 has no workflow that matches a/b?#%\n"),
        (["7", "c*", "bu?", "linux"], 1, "has no task that matches bu?\n"),
        (["7", "x*", "*", "linux"], 1, "run 7 has no workflow that matches x*\n"),
        (["77", "ci"], 2, "hint: the newest runs: 7"),
        (["77", *CUBE], 2, "hint: the newest runs: 7"),
        (
            ["ci", "build", "linux"],
            2,
            "ci is a workflow, and the run comes first, as in: latest ci",
        ),
        (["acme/app", "12"], 2, f"{ORDER}; to name a repository, use -R acme/app"),
        (["newest"], 2, f"hint: {ORDER}; the newest runs: 7"),
    ],
)
def test_the_nearest_names_are_told(
    service: FakeService, cli: Cli, arguments: list[str], requests: int, told: str
) -> None:
    """The nearest names take one more request, whichever name of the address does not exist."""
    service.add("a.txt")
    assert told in cli("list", *arguments, code=5).err
    assert len(service.api.requests) == requests


def test_names_of_a_run_that_is_not_on_the_first_page(service: FakeService, cli: Cli) -> None:
    """An older run is read itself, so that its names are told and it is not called missing."""
    service.page = 2
    for slug in ("12", "11", "10"):
        service.add_run(slug)
    service.add("a.txt", run="7")
    assert "hint: the nearest: linux" in cli("list", "7", "ci", "build", "linus", code=5).err
    assert "hint: the newest runs: 12, 11" in cli("list", "8", *CUBE, code=5).err
    assert "hint: the newest runs: 12, 11" in cli("list", "8", code=5).err
    asked = len(service.api.requests)
    assert "hint: the newest runs: 12, 11" in cli("list", "13", *CUBE, code=5).err
    assert len(service.api.requests) == asked + 2


def test_names_of_a_run_that_is_listed_without_workflows(service: FakeService, cli: Cli) -> None:
    """If the list of runs does not have a run's names, the run is read itself."""
    service.add("a.txt")
    bare = {**service.run_record(service.runs["7"]), "workflows": None}
    service.api.on(f"/repos/{REPO}/cicd/runs", json_response({"runs": [bare]}))
    service.api.on(target("7", kind="runs"), json_response(service.run_record(service.runs["7"])))
    assert "hint: the nearest: linux" in cli("list", "7", "ci", "build", "linus", code=5).err


def test_the_newest_runs_come_first(service: FakeService, cli: Cli) -> None:
    """The error for an unknown run names the newest runs first, in any order of the list."""
    for slug, day in (("9", 3), ("11", 5), ("10", 4)):
        service.add_run(slug, created_at=f"2026-11-0{day}T09:00:00Z")
    assert "hint: the newest runs: 11, 10, 9\n" in cli("list", "77", code=5).err
    said = "hint: did you mean latest? the newest runs: 11, 10, 9\n"
    assert said in cli("list", "lates", code=5).err


def test_the_first_page_may_have_the_oldest_runs(service: FakeService, cli: Cli) -> None:
    """If the service lists the oldest runs first, its first page is not called the newest."""
    service.page = 2
    for day, slug in enumerate(("9", "10", "11"), start=1):
        service.add_run(slug, created_at=f"2026-11-0{day}T09:00:00Z")
    assert "hint: some of the runs: 10, 9\n" in cli("list", "77", code=5).err


@pytest.mark.parametrize("repo", ["../r", "o/..", "./r", "o/."])
def test_dots_are_no_repository(service: FakeService, cli: Cli, repo: str) -> None:
    """`.` and `..` are refused as names of a repository."""
    assert "the repository must be ORG/REPO" in cli("list", "7", "-R", repo, code=2).err
    assert service.api.requests == []


def test_a_cube_that_is_there_is_not_talked_away(service: FakeService, cli: Cli) -> None:
    """If all names exist, the service's own error is shown."""
    service.add("a.txt")
    service.api.on(target("7", *CUBE), problem(404, "nothing here"))
    finished = cli("list", "7", *CUBE, code=5)
    assert "nothing here" in finished.err
    assert "check the names" in finished.err


@pytest.mark.parametrize(
    "address",
    [
        ["7", "/".join(CUBE)],
        ["7", "ci/build"],
        ["7", "ci/"],
        [f"https://api.sourcecraft.tech/repos/{REPO}/cicd/runs/7"],
        [f"https://api.sourcecraft.tech/repos/{REPO}/cicd/runs/7/ci?x=y"],
        [f"https://sourcecraft.dev/{REPO}/cicd/runs/7", "ci/build/linux"],
    ],
)
def test_addresses_as_people_paste_them(service: FakeService, cli: Cli, address: list[str]) -> None:
    """Addresses as the tool prints them, and as API reports have them, are accepted."""
    service.add("a.txt")
    assert len(cli("list", *address).out.splitlines()) == 1


@pytest.mark.parametrize(
    "repo",
    [
        f"https://sourcecraft.dev/{REPO}",
        f"sourcecraft.dev/{REPO}/",
        f"https://sourcecraft.dev/{REPO}/cicd/runs/9?tab=a",
        f"https://api.sourcecraft.tech/repos/{REPO}",
        f"ssh://ssh.sourcecraft.dev/{REPO}.git",
        f"git@ssh.sourcecraft.dev:{REPO}.git",
        f"https://ann:pa55word@git.sourcecraft.dev/{REPO}.git",
    ],
)
def test_the_repository_as_people_paste_it(service: FakeService, cli: Cli, repo: str) -> None:
    """--repo accepts web addresses and git remotes; their user info is never printed."""
    service.add("a.txt")
    finished = cli("list", "7", "-R", repo, "--json", "--debug")
    assert finished.json["repo"] == REPO
    assert "pa55word" not in finished.err


def test_a_repository_in_the_place_of_the_run(cli: Cli) -> None:
    """A repository as RUN is exit 2 with a hint about -R, also if no repository is known."""
    finished = cli("list", "acme/app", "7", env={"SOURCECRAFT_ARTIFACTS_REPO": None}, code=2)
    assert "to name the repository, use -R acme/app" in finished.err


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://ann:pa55word@github.com/a/b.git", "https://github.com/a/b.git"),
        ("git@github.com:a/b.git", "github.com:a/b.git"),
        ("https://ann:pa55@word@github.com/a/b?x", "github.com"),
    ],
)
def test_a_foreign_origin_is_named(cli: Cli, remote: str, shown: str) -> None:
    """In a checkout from elsewhere the message names its host, without the password."""
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], cwd=cli.cwd, env=cli.env, check=True)
    finished = cli("list", "7", env={"SOURCECRAFT_ARTIFACTS_REPO": None}, code=2)
    assert "pa55" not in finished.err
    assert "word" not in finished.err
    assert shown in finished.err or "not a checkout from SourceCraft" in finished.err
