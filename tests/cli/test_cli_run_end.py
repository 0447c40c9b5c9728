"""How a run ended: in a message, in the report, and as an exit status if asked for."""

from __future__ import annotations

import pytest
from conftest import Cli
from fake_service import CUBE, FakeService, target, tree
from servers import json_response

FAIL = "--fail-on-run-status"
SLOW = ("ci", "test", "slow")


def ended(service: FakeService, status: str, artifact: str = "success") -> None:
    """Serve a run that ended with this status, with one artifact."""
    service.add_run("7", status, errors=("Cube linux ended\x1b with 1", " "))
    service.add("a.txt", b"1", status=artifact)


@pytest.mark.parametrize(
    ("status", "artifact", "options", "code"),
    [
        ("failed", "success", [], 0),
        ("failed", "success", [FAIL], 10),
        ("timeout", "missing", [FAIL], 10),
        ("canceled", "missing", [], 6),
        ("success", "missing", [FAIL], 6),
        ("skipped", "success", [FAIL], 0),
        ("failed", "success", [FAIL, "-i", "other"], 10),
        ("failed", "success", ["-i", "other"], 3),
    ],
)
def test_the_end_of_a_run(
    service: FakeService, cli: Cli, status: str, artifact: str, options: list[str], code: int
) -> None:
    """An end other than success is shown and reported; --fail-on-run-status makes it exit 10."""
    ended(service, status, artifact)
    finished = cli("download", "7", "--wait", "-d", "out", "--json", *options, code=code)
    told = f"run 7 ended as {status}: Cube linux ended\\x1b with 1" in finished.err
    assert told == (status != "success")
    if code != 3:
        assert finished.json["run_status"] == status


@pytest.mark.parametrize(("options", "status"), [([FAIL], "failed"), ([], None)])
def test_an_exact_address_reads_the_run_where_its_status_counts(
    service: FakeService, cli: Cli, options: list[str], status: str | None
) -> None:
    """Only --fail-on-run-status reads the run of an exact address; its status is else unknown."""
    ended(service, "failed")
    finished = cli.download("--json", *options, code=10 if options else 0)
    assert finished.json.get("run_status") == status
    assert ("ended as failed" in finished.err) == bool(options)


def test_an_approval_is_waited_for(service: FakeService, cli: Cli) -> None:
    """--wait waits for a run that awaits an approval, and says so."""
    run = service.add_run("7", "awaiting_approval")
    service.add("a.txt", b"1", cube=SLOW)
    service.add("b.txt", b"2", cube=CUBE)
    run.cubes[SLOW] = "awaiting_approval"
    waits = json_response(service.run_record(run))
    run.status = run.cubes[SLOW] = "success"
    service.api.on(target("7", kind="runs"), waits, json_response(service.run_record(run)))
    finished = cli("download", "7", "--wait", "-d", "out")
    assert "waiting: ci/test/slow (awaits approval)" in finished.err
    assert len(tree(cli.out)) == 2


@pytest.mark.parametrize("has_ended", [False, True])
def test_an_unknown_end_is_told_as_it_is(service: FakeService, cli: Cli, has_ended: bool) -> None:
    """A status that is not known is an end if the run has an end time."""
    run = service.add_run("7", "expired\x1b")
    service.add("a.txt", b"1")
    run.cubes[CUBE] = "processing"
    record = service.run_record(run)
    if has_ended:
        record["dates"]["finished_at"] = "2026-11-26T10:00:00Z"
    service.api.on(target("7", kind="runs"), json_response(record))
    options = ("--wait", "--wait-timeout", "1s", "-d", "out")
    finished = cli("download", "7", *options, code=0 if has_ended else 9)
    assert ("run 7 ended as expired\\x1b" in finished.err) == has_ended
    assert tree(cli.out) == {"ci/build/linux/a.txt": b"1"}


@pytest.mark.parametrize("status", ["skipped", "rejected"])
def test_what_was_skipped_or_rejected_is_not_waited_for(
    service: FakeService, cli: Cli, status: str
) -> None:
    """--wait does not wait for skipped or rejected runs and cubes."""
    run = service.add_run("7", status)
    service.add("a.txt", b"1")
    run.cubes[SLOW] = "created"
    finished = cli("download", "7", "--wait", "--wait-timeout", "5s", "-d", "out")
    assert f"run 7 ended as {status}" in finished.err
    run.status, run.cubes[SLOW] = "processing", status
    service.add("b.txt", b"2", cube=SLOW)
    cli("download", "7", *SLOW, "--wait", "--wait-timeout", "5s", "-d", "out")
