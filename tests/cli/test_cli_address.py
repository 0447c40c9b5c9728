"""Which run and cubes an address selects, and how few requests that takes."""

from __future__ import annotations

import subprocess
import threading

import pytest
from conftest import Cli
from fake_service import CUBE, REPO, FakeService, eventually, problem, target, tree
from servers import Received, Response, json_response

NAMES = ["top.txt", "a/b.txt", "a/x/y/b.txt", "./a/B.TXT", "[slug].tsx", "a/.hidden", "dist/"]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["-i", "*.txt"], {"top.txt", "a/b.txt", "a/x/y/b.txt"}),
        (["-i", "a/*.txt"], {"a/b.txt"}),
        (["-i", "a/**/b.txt"], {"a/b.txt", "a/x/y/b.txt"}),
        (["-i", "a/**"], {"a/b.txt", "a/x/y/b.txt", "./a/B.TXT", "a/.hidden"}),
        (["-i", "?.txt", "-i", "dist"], {"a/b.txt", "a/x/y/b.txt", "dist/"}),
        (["--include", "**/b.txt", "--exclude", "a/x/**"], {"a/b.txt"}),
        (["-i", "[slug].tsx"], {"[slug].tsx"}),
        (["-x", "*.txt", "-x", "**/*", "-i", "*"], set()),
    ],
)
def test_globs(service: FakeService, cli: Cli, arguments: list[str], chosen: set[str]) -> None:
    """`*` stays inside a component, `**` crosses them; a glob without `/` is for the file name."""
    for name in NAMES:
        service.add(name)
    lines = cli("list", *arguments, "7", *CUBE, "--allow-empty").out.splitlines()
    assert {line.split("\t")[5] for line in lines} == chosen


def test_a_wide_address_reads_the_run_once_and_cubes_at_once(
    service: FakeService, cli: Cli
) -> None:
    """Only the selected cubes are requested, several at a time, each name as one path segment."""
    odd = ("a/b c%2F", "?#", "ы")
    for cube in (odd, CUBE, ("ci", "test", "linux")):
        service.add("same.txt", cube=cube)
    together = threading.Barrier(3)

    def listing(received: Received) -> Response:
        try:
            together.wait(10)
        except threading.BrokenBarrierError:
            return problem(404, "the requests came one after the other")
        return json_response({"artifacts": [service.record(service.artifacts[0])]})

    service.api.on(target("7"), listing)
    lines = cli("list", "7").out.splitlines()
    assert [tuple(line.split("\t")[:3]) for line in lines] == [odd, CUBE, ("ci", "test", "linux")]
    targets = [received.target for received in service.api.requests]
    assert targets[0] == target("7", kind="runs")
    assert set(targets[1:]) == {
        target("7", *names) for names in (odd, CUBE, ("ci", "test", "linux"))
    }
    assert len(targets) == 4


@pytest.mark.parametrize(
    ("names", "code", "cubes"),
    [
        (["*", "t*", "linux"], 0, {("ci", "test", "linux")}),
        (["ci", "*", "linu?"], 0, {CUBE, ("ci", "test", "linux")}),
        (["deploy"], 0, {("deploy", "build", "linux")}),
        (["nope"], 5, set()),
        (["ci", "nope"], 5, set()),
        (["ci", "build", "nope"], 5, set()),
    ],
)
def test_names_and_globs_choose_cubes(
    service: FakeService, cli: Cli, names: list[str], code: int, cubes: set[tuple[str, ...]]
) -> None:
    """A plain name that is not in the run is exit 5; a glob may match nothing."""
    for cube in (CUBE, ("ci", "test", "linux"), ("deploy", "build", "linux")):
        service.add("same.txt", cube=cube)
    lines = cli("list", "7", *names, code=code).out.splitlines()
    assert {tuple(line.split("\t")[:3]) for line in lines} == cubes


def test_a_cube_that_the_run_lists_twice_is_asked_for_once(service: FakeService, cli: Cli) -> None:
    """A cube that the run lists twice, as after a restart, is requested once."""
    service.add("same.txt", b"1")
    run = service.run_record(service.runs["7"])
    cube = {"slug": "linux", "status": "success"}
    twice = {"slug": "ci", "tasks": [{"slug": "build", "cubes": [cube, cube]}]}
    service.api.on(target("7", kind="runs"), json_response(run | {"workflows": [twice, twice]}))
    assert len(cli("list", "7").out.splitlines()) == 1
    assert service.listings() == 1
    cli("download", "7", "-d", "out")
    assert tree(cli.out) == {"ci/build/linux/same.txt": b"1"}


@pytest.mark.parametrize("command", [["list"], ["download", "-d", "out"]])
@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_a_cube_without_a_listing_is_told(
    service: FakeService, cli: Cli, command: list[str], quiet: list[str]
) -> None:
    """A 404 for a cube that the run names is not a failure, but a warning names the cube."""
    service.add("a.txt", b"1")
    run = service.run_record(service.runs["7"])
    cubes = [{"slug": slug, "status": "success"} for slug in ("linux", "mac", "")]
    workflow = {"slug": "ci", "tasks": [{"slug": "build", "cubes": cubes}]}
    service.api.on(target("7", kind="runs"), json_response(run | {"workflows": [workflow]}))
    told = cli(*command, "7", *quiet).err.splitlines()
    assert "the run has a cube without a full name: it cannot be asked for" in told
    assert "the service lists no artifacts (404) for ci/build/mac" in told


MAC, CLONE = ("ci", "build", "mac"), ("ci", "build", "#git-clone")


@pytest.mark.parametrize("command", [["list"], ["download", "-q", "-d", "out"]])
@pytest.mark.parametrize("status", [400, 403, 409, 500])
def test_a_listing_that_fails_leaves_the_others(
    service: FakeService, cli: Cli, command: list[str], status: int
) -> None:
    """A cube that cannot be listed is named with the reason, the others are shown: exit 6."""
    for cube in (CUBE, MAC):
        service.add("a.txt", b"1", cube=cube)
    service.api.on(target("7", *MAC), problem(status, "out of order"))
    finished = cli(*command, "7", "--retries", "0", code=6)
    (line,) = [line for line in finished.err.splitlines() if "failed" in line]
    assert line.startswith("failed: workflow ci, task build, cube mac in run 7 of org/repo: ")
    assert "out of order" in line
    if command[0] == "list":
        assert finished.out.startswith("ci\tbuild\tlinux\tsuccess")
    else:
        assert tree(cli.out) == {"ci/build/linux/a.txt": b"1"}


@pytest.mark.parametrize(
    "command", [["list", "7"], ["download", "7", "-d", "out"], ["download", "7", "-n"]]
)
def test_documents_name_the_cubes_that_could_not_be_listed(
    service: FakeService, cli: Cli, command: list[str]
) -> None:
    """The JSON has `unlisted` exactly if there are such cubes; those without a listing are none."""
    for cube in (CUBE, MAC):
        service.add("a.txt", b"1", cube=cube)
    assert "unlisted" not in cli(*command, "--json").json
    service.api.on(target("7", *MAC), problem(404, "no listing"))
    assert "unlisted" not in cli(*command, "--json").json
    service.api.on(target("7", *MAC), problem(409, "out of order"))
    (unlisted,) = cli(*command, "--json", code=6).json["unlisted"]
    error = unlisted.pop("error")
    assert unlisted == {"workflow": "ci", "task": "build", "cube": "mac"}
    assert error["code"] == "api"
    assert "out of order" in error["message"]


@pytest.mark.parametrize(("status", "code"), [(403, 4), (500, 7)])
def test_nothing_but_failures_are_one(
    service: FakeService, cli: Cli, status: int, code: int
) -> None:
    """If no cube can be listed, the first error is shown, and not every cube is tried."""
    for number in range(300):
        service.add("a.txt", cube=("ci", "build", f"c{number}"))

    def refuse(_: Received) -> Response:
        eventually(lambda: service.listings() >= 16, "the first ones have been asked for")
        return problem(status, "no")

    service.api.on(f"/repos/{REPO}/cicd/artifacts/", refuse)
    cli("list", "7", "--retries", "0", code=code)
    assert 16 <= service.listings() < 200


@pytest.mark.parametrize("status", [400, 404, 500])
def test_cubes_of_the_service_itself_are_silence(
    service: FakeService, cli: Cli, status: int
) -> None:
    """Internal cubes are requested only by name; a failure to list them is not reported."""
    service.add("a.txt", b"1")
    service.runs["7"].cubes[CLONE] = "success"
    service.api.on(target("7", *CLONE), problem(status, "no"))
    for names in ([], ["*", "*", "*"], ["ci", "build"]):
        finished = cli("list", "7", *names)
        assert (len(finished.out.splitlines()), finished.err) == (1, "")
    assert not any("git-clone" in received.target for received in service.api.requests)
    cli("list", "7", "*", "*", "#*", "--retries", "0")
    assert "the nearest: linux" in cli("list", "7", "ci", "*", "git-clone", code=5).err


def test_a_download_that_waits_tells_at_the_end_what_could_not_be_listed(
    service: FakeService, cli: Cli
) -> None:
    """With --wait, a listing that fails is reported only if it still fails at the end."""
    for cube in (CUBE, MAC):
        service.add("a.txt", b"1", cube=cube)
    run = service.runs["7"]
    run.status = run.cubes[MAC] = "processing"
    going_on = json_response(service.run_record(run))
    run.status = run.cubes[MAC] = "success"
    over = json_response(service.run_record(run))
    whole = json_response({"artifacts": [service.record(service.artifacts[1])]})
    service.api.on(target("7", kind="runs"), going_on, over)
    service.api.on(target("7", *MAC), problem(400, "not yet"), whole)
    assert "failed" not in cli("download", "7", "--wait", "-d", "out").err
    assert len(tree(cli.out)) == 2
    service.api.on(target("7", kind="runs"), going_on, over)
    service.api.on(target("7", *MAC), problem(400, "not yet"), problem(400, "never"))
    finished = cli("download", "7", "--wait", "-d", "out", code=6)
    assert ("not yet" in finished.err, "never" in finished.err) == (False, True)


def test_dots_as_names_do_not_climb(service: FakeService, cli: Cli) -> None:
    """A name stays one path segment, whatever it contains."""
    cli("list", "..", "..", ".", "..", code=(2, 5))
    assert not any("/.." in received.target for received in service.api.requests)


@pytest.mark.parametrize(
    ("page", "arguments", "run"),
    [(50, [], "9"), (2, [], "9"), (1, ["--run-status", "success"], "8")],
)
def test_latest_is_the_newest_run_in_any_order(
    service: FakeService, cli: Cli, page: int, arguments: list[str], run: str
) -> None:
    """The run that was created last wins, in any order of the list, and is named on stderr."""
    service.page = page
    for slug, status, hour in [("3", "success", 3), ("10", "success", 1), ("8", "success", 8)]:
        service.add_run(slug, status, f"2026-11-01T0{hour}:00:00Z")
    service.add_run("9", "failed", "2026-11-01T09:00:00Z")
    service.add("a.txt", run=run)
    finished = cli("list", "latest", *CUBE, *arguments, "--json")
    assert (finished.json["run"], len(finished.json["artifacts"])) == (run, 1)
    assert run in finished.err


def test_runs_pages_as_far_as_it_must(service: FakeService, cli: Cli) -> None:
    """Columns, JSON, limit and page tokens are as documented; hostile text is made visible."""
    service.page = 2
    for slug in range(9, 1, -1):
        service.add_run(str(slug), created_at=f"2026-11-0{slug}T00:00:00Z")
    service.runs["9"].status = "odd\x1b[0m"
    finished = cli("runs", "-L", "3")
    assert finished.out.splitlines() == [
        "9\todd\\x1b[0m\tpush\t2026-11-09T00:00:00Z",
        "8\tsuccess\tpush\t2026-11-08T00:00:00Z",
        "7\tsuccess\tpush\t2026-11-07T00:00:00Z",
    ]
    document = cli("runs", "--json").json
    first = document["runs"][0]
    keys = {"slug", "status", "event_type", "created_at", "started_at", "finished_at"}
    assert set(first) == keys | {"updated_at", "pull", "user"}
    assert document | {"runs": 0} == {"schema_version": 1, "repo": REPO, "runs": 0}
    assert [run["slug"] for run in document["runs"]] == list("98765432")
    service.runs.clear()
    assert cli("runs").stdout == b""


WEB = f"https://sourcecraft.dev/{REPO}/cicd/runs/7"


@pytest.mark.parametrize("address", [[WEB], [f"{WEB}/ci"], [f"{WEB}/ci/build/linux"], [f"{WEB}/"]])
def test_a_web_address_names_the_repository_too(
    service: FakeService, cli: Cli, address: list[str]
) -> None:
    """A web address is a valid RUN, and its repository beats the variable's."""
    service.add("a.txt")
    env = {"SOURCECRAFT_ARTIFACTS_REPO": "not/this"}
    assert cli("list", *address, "--json", env=env).json["repo"] == REPO


@pytest.mark.parametrize(
    "remote",
    [
        f"ssh://ssh.sourcecraft.dev/{REPO}.git",
        f"git@ssh.sourcecraft.dev:{REPO}.git",
        f"https://ann:pa55word@git.sourcecraft.dev/{REPO}.git",
    ],
)
def test_the_git_remote_is_the_last_resort(service: FakeService, cli: Cli, remote: str) -> None:
    """In a checkout the repository may be omitted; the remote's user info is never printed."""
    service.add("a.txt")
    for command in (["init", "-q"], ["remote", "add", "origin", remote]):
        subprocess.run(["git", *command], cwd=cli.cwd, env=cli.env, check=True)
    unset = {"SOURCECRAFT_ARTIFACTS_REPO": None}
    finished = cli("list", "7", "--json", "--debug", env=unset)
    assert finished.json["repo"] == REPO
    assert "pa55word" not in finished.err


def test_the_command_line_beats_the_environment(service: FakeService, cli: Cli) -> None:
    """An option beats its variable; without any repository it is exit 2."""
    service.add("a.txt")
    service.add("b.txt")
    env = {
        "SOURCECRAFT_ARTIFACTS_REPO": "not/this",
        "SOURCECRAFT_ARTIFACTS_JSON": "1",
        "SOURCECRAFT_ARTIFACTS_INCLUDE": "b.txt",
    }
    document = cli("list", "-R", REPO, "7", env=env).json
    assert [one["local_path"] for one in document["artifacts"]] == ["b.txt"]
    cli("list", "7", env={"SOURCECRAFT_ARTIFACTS_REPO": None}, code=2)
