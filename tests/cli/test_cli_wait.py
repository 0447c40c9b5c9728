"""--wait, verify, checksums, rates and progress through the installed command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from archives import packed
from conftest import Cli
from fake_service import CUBE, DATES, STATE, WAIT, FakeService, eventually, problem, target, tree
from servers import Received, Response, json_response, ranged

BODY = bytes(range(256)) * 1200


def test_wait_fetches_each_artifact_as_it_becomes_ready(service: FakeService, cli: Cli) -> None:
    """An artifact is fetched before the run ends: this run ends only then."""
    late = ("ci", "test", "slow")
    service.add_run("7", "created")

    def first(received: Received) -> Response:
        service.runs["7"].cubes[late] = "success"
        slow.status = "success"
        service.runs["7"].status = "success"
        return ranged(BODY)(received)

    def started(received: Received) -> Response:
        answer = json_response(service.run_record(service.runs["7"]) | {"workflows": None})
        service.runs["7"].status = "processing"
        return answer

    quick = service.add("quick", BODY, first)
    slow = service.add("slow", BODY, cube=late, status="registered")
    service.runs["7"].cubes[late] = "processing"
    service.api.on(
        target("7", kind="runs"),
        started,
        lambda _: json_response(service.run_record(service.runs["7"])),
    )
    report = cli("download", "7", "--wait", "-d", "out", "--json").json
    assert sorted(one["outcome"] for one in report["files"]) == ["downloaded", "downloaded"]
    assert tree(cli.out) == {"ci/build/linux/quick": BODY, "ci/test/slow/slow": BODY}
    assert len(quick.requests) == 1


def test_wait_has_an_end(service: FakeService, cli: Cli) -> None:
    """`--wait-timeout` is exit 9, with what was ready in place."""
    service.add_run("7", "processing").cubes[("ci", "test", "slow")] = "processing"
    service.add("quick", BODY)
    service.add("later", status="registered", cube=("ci", "test", "slow"))
    began = time.monotonic()
    cli("download", "7", "--wait", "--wait-timeout", "0.5s", "-d", "out", code=9)
    assert time.monotonic() - began >= 0.5
    assert tree(cli.out) == {"ci/build/linux/quick": BODY}


def test_wait_names_what_is_not_there_yet(service: FakeService, cli: Cli) -> None:
    """A name that the run lacks may still come; if it is misspelt, the nearest one is told."""
    run = service.add_run("7", "processing")
    run.cubes[CUBE] = "processing"
    arguments = ("--wait", "--wait-timeout", "0.5s", "-d", "out")
    told = "workflow ci of run 7 has no task bild yet; the nearest: build"
    assert (
        f"waiting: run 7 to end ({told})\n"
        in cli("download", "7", "ci", "bild", *arguments, code=9).err
    )
    service.add("quick", BODY)
    assert "yet" not in cli("download", "7", "ci", "*", *arguments, code=9).err


def test_wait_ends_with_the_selected_cubes(service: FakeService, cli: Cli) -> None:
    """--wait ends when the selected cubes have ended; what they lack then is unavailable."""
    service.add_run("7", "processing").cubes[("ci", "test", "slow")] = "processing"
    service.add("quick", BODY)
    service.add("never", status="registered")
    finished = cli("download", "7", *CUBE, "--wait", "--json", "-d", "out", code=6)
    assert finished.outcomes == {"quick": "downloaded", "never": "unavailable"}


def test_wait_ends_with_a_run_whose_status_is_not_known(service: FakeService, cli: Cli) -> None:
    """An unknown status does not keep --wait waiting if the run has an end time."""
    service.add_run("7", "archiving").cubes[("ci", "test", "never")] = "skipped"
    service.add("quick", BODY)
    cli("download", "7", "--wait", "--wait-timeout", "2s", "-d", "out")
    assert tree(cli.out) == {"ci/build/linux/quick": BODY}


SLOW = ("ci", "test", "slow")
NEWER = DATES | {"updated_at": "2026-11-02T10:02:00Z"}


def go_on_until(service: FakeService, change: Callable[[], object]) -> None:
    """Let a run go on until it is read again, then change it and end it."""
    run = service.add_run("7", "processing")
    run.cubes |= {CUBE: "success", SLOW: "processing"}

    def end(received: Received) -> Response:
        change()
        run.status = run.cubes[SLOW] = "success"
        return json_response(service.run_record(run))

    going_on = json_response(service.run_record(run))
    service.api.on(target("7", kind="runs"), going_on, end)


@pytest.mark.parametrize("if_exists", ["update", "error", "skip", "overwrite"])
def test_wait_replaces_what_changed_after_it_was_fetched(
    service: FakeService, cli: Cli, if_exists: str
) -> None:
    """An artifact with newer dates in a later listing is fetched again.

    A file that this run put in place itself is replaced.
    """
    same = service.add("same", BODY)
    quick = service.add("quick", BODY)

    def change() -> None:
        for name in ("same", "quick"):
            eventually((cli.out / f"ci/build/linux/{name}").exists, f"{name} is there")
        quick.dates, quick.replies = NEWER, [ranged(BODY[:-1])]

    go_on_until(service, change)
    shown = ("--json", "--progress", "json")
    finished = cli("download", "7", "--wait", "--if-exists", if_exists, "-d", "out", *shown)
    assert tree(cli.out) == {"ci/build/linux/same": BODY, "ci/build/linux/quick": BODY[:-1]}
    assert finished.outcomes == {"same": "downloaded", "quick": "downloaded"}
    assert finished.json["summary"]["bytes"] == 3 * len(BODY) - 1
    assert (len(same.requests), len(quick.requests)) == (1, 2)
    summary = json.loads(finished.err.splitlines()[-1])
    assert (summary["done"], summary["total"], summary["bytes"]) == (2, 2, 2 * len(BODY) - 1)
    assert cli("verify", "out").out.count("OK") == 2


@pytest.mark.parametrize("output", ["x", "-"])
def test_wait_for_one_file_takes_the_last_version(
    service: FakeService, cli: Cli, output: str
) -> None:
    """An artifact may be replaced as long as its cube goes on."""
    slow = service.add("slow", BODY, cube=SLOW)

    def change() -> None:
        slow.dates, slow.replies = NEWER, [ranged(BODY[:-1])]

    go_on_until(service, change)
    finished = cli("download", "7", *SLOW, "--wait", "-o", output)
    assert (finished.stdout if output == "-" else (cli.cwd / "x").read_bytes()) == BODY[:-1]
    assert len(slow.requests) == 1


def test_wait_for_one_file_has_an_end(service: FakeService, cli: Cli) -> None:
    """What was ready in time is fetched, with exit status 9."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("slow", BODY, cube=SLOW)
    cli("download", "7", *SLOW, "--wait", "--wait-timeout", "0.2s", "-o", "x", code=9)
    assert (cli.cwd / "x").read_bytes() == BODY


def test_no_option_makes_a_success_of_a_wait_that_has_timed_out(
    service: FakeService, cli: Cli
) -> None:
    """Nothing is said of --allow-missing: the exit status would be 9 with it too."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("late", status="registered", cube=SLOW)
    command = ("download", "7", *SLOW, "--wait", "--wait-timeout", "0.2s", "-d", "out")
    assert "--allow-missing" not in cli(*command, code=9).err


def test_wait_for_one_file_refuses_a_second_one(service: FakeService, cli: Cli) -> None:
    """If another artifact is added meanwhile, none of them is chosen."""
    service.add("one", BODY, cube=SLOW)
    go_on_until(service, lambda: service.add("two", BODY, cube=SLOW))
    err = cli("download", "7", *SLOW, "--wait", "-o", "x", code=2).err
    assert "--output takes one artifact, and 2 artifacts are selected" in err
    assert list(cli.cwd.iterdir()) == []


def test_wait_replaces_what_changed_while_it_was_fetched(service: FakeService, cli: Cli) -> None:
    """Bytes fetched by an older listing are not recorded as those of the last one."""
    seen = threading.Event()

    def first(received: Received) -> Response:
        seen.wait(WAIT)
        return ranged(BODY)(received)

    quick = service.add("quick", BODY, first, ranged(BODY[:-1]))
    service.add("slow", BODY, cube=SLOW)

    def change() -> None:
        quick.dates = NEWER

    def last(received: Received) -> Response:
        seen.set()
        return json_response({"artifacts": []})

    go_on_until(service, change)
    service.api.on(target("7", *SLOW), json_response({"artifacts": []}), last)
    cli("download", "7", "--wait", "-d", "out")
    assert tree(cli.out) == {"ci/build/linux/quick": BODY[:-1]}


def test_wait_replaces_what_was_right_when_it_began(service: FakeService, cli: Cli) -> None:
    """A file of an earlier run is replaced when a later listing has another version."""
    quick = service.add("quick", BODY)
    cli("download", "7", "-d", "out")

    def change() -> None:
        quick.dates, quick.replies = NEWER, [ranged(BODY[:-1])]

    go_on_until(service, change)
    finished = cli("download", "7", "--wait", "-d", "out", "--json")
    assert finished.outcomes == {"quick": "downloaded"}
    assert tree(cli.out) == {"ci/build/linux/quick": BODY[:-1]}


@pytest.mark.parametrize(
    ("late", "arguments", "named"),
    [
        (
            "quick",
            ["--layout", "mirror"],
            "ci/test/slow: quick: another artifact has the same path (out/quick)",
        ),
        ("../quick", [], "ci/test/slow: ../quick: it has a '..' component"),
    ],
)
def test_what_is_refused_late_leaves_what_was_fetched(
    service: FakeService, cli: Cli, late: str, arguments: list[str], named: str
) -> None:
    """After a late refusal the report and the checksums have the files that are in place."""
    service.add("quick", BODY)

    def change() -> None:
        service.add(late, BODY, cube=SLOW)

    go_on_until(service, change)
    options = [*arguments, "--json", "--checksums", "SUMS", "-d", "out"]
    finished = cli("download", "7", "--wait", *options, code=8)
    assert finished.outcomes == {"quick": "downloaded"}
    assert list(tree(cli.out).values()) == [BODY]
    assert len((cli.cwd / "SUMS").read_text().splitlines()) == 1
    assert "refused; what was fetched before stays" in finished.err
    assert f"  {named}" in finished.err.splitlines()
    assert "nothing was downloaded" not in finished.err


def test_an_api_that_is_lost_late_leaves_what_was_fetched(service: FakeService, cli: Cli) -> None:
    """After an API error the report has the files that are in place."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("quick", BODY)
    going_on = json_response(service.run_record(service.runs["7"]))
    service.api.on(target("7", kind="runs"), going_on, problem(403, "no more"))
    finished = cli("download", "7", "--wait", "--json", "-d", "out", code=4)
    assert finished.outcomes == {"quick": "downloaded"}
    assert "no more" in finished.err


@pytest.mark.parametrize("others", [[], ["other"]])
def test_what_is_listed_no_more_stays_in_the_report(
    service: FakeService, cli: Cli, others: list[str]
) -> None:
    """The report keeps files that this run put in place, even if they are no longer listed."""
    quick = service.add("quick", BODY)

    def change() -> None:
        eventually((cli.out / "ci/build/linux/quick").exists, "it is there")
        quick.run = "gone"
        for name in others:
            service.add(name, BODY, cube=SLOW)

    go_on_until(service, change)
    finished = cli("download", "7", "--wait", "--json", "--checksums", "SUMS", "-d", "out")
    assert finished.outcomes == dict.fromkeys([*others, "quick"], "downloaded")
    assert finished.json["summary"]["downloaded"] == 1 + len(others)
    assert len((cli.cwd / "SUMS").read_text().splitlines()) == 1 + len(others)


def test_fail_fast_ends_the_waiting_too(service: FakeService, cli: Cli) -> None:
    """--fail-fast also ends the wait, and what becomes ready later is not fetched."""
    lost = service.add("lost", BODY, Response(404))

    def change() -> None:
        lost.asked.wait(WAIT)
        service.add("late", BODY, cube=SLOW)

    go_on_until(service, change)
    cli("download", "7", "--wait", "--fail-fast", "-d", "out", code=6)


@pytest.mark.parametrize(("later", "told"), [(True, 0), (False, 1)])
def test_wait_tells_of_a_cube_without_a_listing_at_the_end(
    service: FakeService, cli: Cli, later: bool, told: int
) -> None:
    """A listing that appears after its cube has ended is not reported as missing."""
    mac, slow = ("ci", "build", "mac"), ("ci", "test", "slow")
    service.add("quick", BODY)
    service.add("late", BODY, cube=mac)
    service.add("slow", BODY, cube=slow)
    run = service.runs["7"]
    run.status = run.cubes[slow] = "processing"

    def end(received: Received) -> Response:
        run.status = run.cubes[slow] = "success"
        if later:
            service.api.on(target("7", *mac), json_response({"artifacts": []}))
        return json_response({"artifacts": []})

    service.api.on(target("7", *mac), problem(404, "no listing"))
    service.api.on(target("7", *slow), end)
    finished = cli("download", "7", "--wait", "-q", "-d", "out")
    assert finished.err.count("the service lists no artifacts (404) for ci/build/mac\n") == told


def test_verify_tells_each_file_and_asks_nobody(service: FakeService, cli: Cli) -> None:
    """verify prints a line for each file, finds damage that keeps size and time, and is offline."""
    for name in ("good", "sly", "cut", "lost", "linked"):
        service.add(f"dir/{name}", BODY)
    cli.download()
    service.api.requests.clear()
    offline = {"SOURCECRAFT_TOKEN": None, "SOURCECRAFT_ARTIFACTS_REPO": None}
    lines = cli("verify", "out", env=offline).out.splitlines()
    assert len(lines) == 5
    assert all("OK" in line for line in lines)
    sly = cli.out / "dir/sly"
    times = sly.stat()
    sly.write_bytes(BODY[::-1])
    os.utime(sly, ns=(times.st_atime_ns, times.st_mtime_ns))
    (cli.out / "dir/cut").write_bytes(BODY[:-1])
    (cli.out / "dir/lost").unlink()
    (cli.out / "dir/linked").rename(cli.cwd / "real")
    (cli.out / "dir/linked").symlink_to(cli.cwd / "real")
    finished = cli("verify", cwd=cli.out, code=8)
    assert finished.err.splitlines() == [
        "error: 4 of 5 files are not as they were downloaded",
        "  hint: to repair what differs, download again: sourcecraft-artifacts download 7 ci build"
        " linux --repo org/repo --dir . -i dir/cut -i dir/linked -i dir/lost -i dir/sly"
        " --if-exists overwrite",
    ]
    lines = finished.out.splitlines()
    found = {
        name: line for line in lines for name in ("good", "sly", "cut", "lost") if name in line
    }
    for name, word in [("good", "OK"), ("sly", "FAILED"), ("cut", "FAILED"), ("lost", "MISSING")]:
        assert word in found[name]
    assert not any("linked" in line and "OK" in line for line in lines)
    assert service.api.requests == []


def test_verify_counts_one_file_as_one(service: FakeService, cli: Cli) -> None:
    """One changed file is told in the singular."""
    service.add("good", BODY)
    service.add("cut", BODY)
    cli.download()
    (cli.out / "cut").write_bytes(b"")
    shown = cli("verify", "out", code=8).err
    assert shown.startswith("error: 1 of 2 files is not as it was downloaded\n")


@pytest.mark.parametrize("manifest", [None, b"", b"{}", b"[]", b'{"files": [1]}', b"\xff"])
def test_verify_without_a_sane_manifest(cli: Cli, manifest: bytes | None) -> None:
    """A folder without a readable manifest never passes verify."""
    (cli.out / STATE).mkdir(parents=True)
    if manifest is not None:
        (cli.out / STATE / "manifest.json").write_bytes(manifest)
    assert cli("verify", "out", code=(1, 2, 3, 5, 8)).err


def test_a_hostile_manifest_leads_nowhere(service: FakeService, cli: Cli) -> None:
    """Paths in a manifest are checked as strictly as those of the service."""
    service.add("inside-file", BODY)
    cli.download()
    (cli.cwd / "victim").write_bytes(BODY)
    manifest = cli.out / STATE / "manifest.json"
    manifest.write_text(manifest.read_text().replace("inside-file", "../victim"))
    finished = cli("verify", "out", code=(1, 2, 8))
    assert not any("victim" in line and "OK" in line for line in finished.out.splitlines())
    cli.download("--if-exists", "overwrite", code=(0, 1, 8))
    assert (cli.cwd / "victim").read_bytes() == BODY


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_checksums_are_what_sha256sum_accepts(service: FakeService, cli: Cli) -> None:
    """sha256sum accepts the file, odd names included, after a first and a second run."""
    for name in ("plain", "dir/two words", "back\\slash", "*star", "отчёт"):
        service.add(name, name.encode())
    for _ in range(2):
        cli.download("--checksums", "SUMS")
        assert len((cli.cwd / "SUMS").read_text().splitlines()) == 5
        command = ["sha256sum", "--strict", "-c", str(cli.cwd / "SUMS")]
        checks = [
            subprocess.run(command, cwd=folder, check=False, capture_output=True)
            for folder in (cli.cwd, cli.out)
        ]
        assert 0 in [check.returncode for check in checks], checks
        (cli.cwd / "SUMS").unlink()


def test_checksums_of_skipped_files_are_known(service: FakeService, cli: Cli) -> None:
    """What --if-exists skip leaves and is as it was recorded is named, and nothing else."""
    service.add("good", b"good")
    service.add("edited", b"edited")
    service.add("dist", packed({"a": b"a", "b/c": b"c"}))
    cli.download()
    (cli.out / "edited").write_bytes(b"mine")
    (cli.out / "theirs").write_bytes(b"theirs")
    service.add("theirs", b"theirs")
    report = cli.download("--if-exists", "skip", "--checksums", "SUMS", "--json").json
    assert {one["outcome"] for one in report["files"]} == {"skipped"}
    sums = (cli.cwd / "SUMS").read_text().splitlines()
    assert [line.split()[1] for line in sums] == ["out/good", "out/dist/a", "out/dist/b/c"]
    command = ["sha256sum", "--strict", "-c", "SUMS"]
    subprocess.run(command, cwd=cli.cwd, check=True, capture_output=True)


def test_a_rate_holds_for_all_together(service: FakeService, cli: Cli) -> None:
    """600 kB at 1200K a second take about half a second, on any number of connections."""
    service.add("one", BODY)
    service.add("two", BODY)
    began = time.monotonic()
    cli.download("--limit-rate", "1200K")
    assert time.monotonic() - began > 0.35


def test_progress_as_events(service: FakeService, cli: Cli) -> None:
    """With `json` every line on stderr is an event."""
    service.add("good", BODY)
    service.add("lost", BODY, Response(404))
    service.add("odd\u202e", BODY, Response(503, {"Retry-After": "0"}), ranged(BODY))
    finished = cli.download("--progress", "json", code=6)
    events = [json.loads(line) for line in finished.err.splitlines()]
    assert all(isinstance(event, dict) for event in events)
    assert "good" in finished.err
    assert finished.stdout == b""


def test_quiet_events_name_what_is_missing(service: FakeService, cli: Cli) -> None:
    """With `-q` a program still learns why the command failed."""
    service.add("good", BODY)
    service.add("lost", BODY, Response(404))
    service.add("missing", status="missing")
    finished = cli.download("-q", "--progress", "json", code=6)
    events = [json.loads(line) for line in finished.err.splitlines()]
    assert {event["event"] for event in events} == {"finished"}
    outcomes = {event["name"]: event["outcome"] for event in events}
    assert outcomes == {"out/lost": "failed", "out/missing": "unavailable"}


@pytest.mark.parametrize("output", ["out", "-"])
def test_events_name_the_one_file_that_is_missing(
    service: FakeService, cli: Cli, output: str
) -> None:
    """With `-o` too a program learns why the command failed."""
    service.add("a/missing", status="missing")
    finished = cli("download", "7", *CUBE, "-o", output, "-q", "--progress", "json", code=6)
    event = json.loads(finished.err)
    name = "a/missing" if output == "-" else "out"
    assert (event["event"], event["name"], event["outcome"]) == ("finished", name, "unavailable")


@pytest.mark.parametrize(("arguments", "shown"), [([], True), (["--progress", "none"], False)])
def test_progress_as_lines(
    service: FakeService, cli: Cli, arguments: list[str], shown: bool
) -> None:
    """Without a terminal each file that ends is a plain line without escapes."""
    for name in ("alpha", "omega"):
        service.add(name, BODY)
    finished = cli.download(*arguments, env={"CLICOLOR_FORCE": None, "TERM": "xterm-256color"})
    assert finished.stdout == b""
    assert "\x1b" not in finished.err
    assert "\r" not in finished.err
    assert all((name in finished.err) == shown for name in ("alpha", "omega"))


def test_quiet_is_silent_but_for_errors(service: FakeService, cli: Cli) -> None:
    """With `-q` only errors are shown."""
    service.add("good", BODY)
    assert cli.download("-q").err == ""
    service.add("lost", BODY, Response(404))
    assert "lost" in cli.download("--quiet", code=6).err
