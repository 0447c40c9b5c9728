"""The library: what it refuses, what it accepts, and its documentation."""

from __future__ import annotations

import inspect
import pydoc
from pathlib import Path
from typing import Any

import pytest
from fake_service import CUBE, REPO, TOKEN, FakeService, tree

import sourcecraft_artifacts as library
from sourcecraft_artifacts import (
    Address,
    Artifact,
    ArtifactDates,
    ArtifactsError,
    Client,
    CubeAddress,
    FileResult,
    IfExists,
    Layout,
    LocalError,
    Outcome,
    Report,
    Request,
    RunFilter,
    Selection,
    UnlistedCube,
    UsageError,
    download,
    list_artifacts,
)

ADDRESS = Address("o/r", 43)
ODD: Any = object()
UNLISTED = UnlistedCube(CubeAddress("o/r", "7", *CUBE), LocalError("x"))


@pytest.mark.parametrize(
    "options",
    [
        {"address": "43"},
        {"address": None},
        {"directory": ""},
        {"directory": None},
        {"directory": b"out"},
        {"output": ""},
        {"output": 1},
        {"output": "-"},
        {"output": "a", "directory": "out"},
        {"output": "a", "layout": "flat"},
        {"output": "a", "prune": True},
        {"selection": "*.log"},
        {"selection": None},
        {"runs": "success"},
        {"runs": RunFilter(("success",))},
        {"layout": "tree"},
        {"layout": None},
        {"layout": 1},
        {"if_exists": "ask"},
        {"if_exists": True},
        {"jobs": 0},
        {"jobs": "2"},
        {"jobs": True},
        {"jobs": 1.5},
        {"limit_rate": 0},
        {"limit_rate": -1.0},
        {"limit_rate": "10M"},
        {"limit_rate": float("nan")},
        {"limit_rate": float("inf")},
        {"retries": -1},
        {"retries": None},
        {"stall_timeout": 0},
        {"stall_timeout": 1e7},
        {"stall_timeout": float("nan")},
        {"stall_timeout": "30"},
        {"wait_timeout": 5},
        {"wait": True, "wait_timeout": -1},
        {"wait": True, "wait_timeout": "5m"},
        {"wait": "yes"},
        {"dry_run": 1},
        {"unpack": None},
        {"ca_bundle": ""},
    ],
    ids=str,
)
def test_a_request_refuses_what_the_command_refuses(options: dict[str, Any]) -> None:
    """Wrong types and values are refused at once, with the field's name."""
    with pytest.raises(UsageError) as caught:
        Request(**{"address": ADDRESS, **options})
    assert any(name in caught.value.message for name in options)


@pytest.mark.parametrize(
    "arguments",
    [
        ("one", "43"),
        ("", "43"),
        ("o/", "43"),
        (None, "43"),
        (b"o/r", "43"),
        ("o/r", ""),
        ("o/r", None),
        ("o/r", -1),
        ("o/r", True),
        ("o/r", 4.3),
        ("o/r", "43", ""),
        ("o/r", "43", 7),
        ("o/r", "43", "ci", "build", b"linux"),
    ],
    ids=str,
)
def test_an_address_is_checked(arguments: Any) -> None:
    """An address that cannot be requested is refused when it is made."""
    with pytest.raises(UsageError):
        Address(*arguments)


def test_a_run_may_be_a_number() -> None:
    """A run may be given as a number."""
    assert Address("o/r", 43) == Address("o/r", "43")
    assert Address("o/r", 43, "ci", "build", "linux").exact
    assert Address("o/r", 43).workflow is None


def test_texts_are_accepted_as_the_command_accepts_them(tmp_path: Path) -> None:
    """Choices may be strings, a single pattern too, and a folder may be a path."""
    options: dict[str, Any] = {"layout": "flat", "if_exists": "skip", "directory": tmp_path}
    request = Request(ADDRESS, **options)
    assert (request.layout, request.if_exists) == (Layout.FLAT, IfExists.SKIP)
    assert request.directory == str(tmp_path)
    one: Any = "*.log"
    several: Any = ["a", "b"]
    assert Selection(one).include == ("*.log",)
    assert Selection(exclude=several).exclude == ("a", "b")
    assert Selection(one).matches("x/y.log")
    assert RunFilter(one).statuses == ("*.log",)


@pytest.mark.parametrize("value", [7, None, b"*", [7], [None], [b"x"]])
def test_patterns_are_texts(value: Any) -> None:
    """A pattern that is not a string is refused, not ignored."""
    for make in (Selection, RunFilter):
        with pytest.raises(UsageError):
            make(value)


@pytest.mark.parametrize(
    "options",
    [
        {"api_url": None},
        {"api_url": 7},
        {"api_url": "ftp://h"},
        {"token": b"t"},
        {"token": "a\nb"},
        {"retries": -1},
        {"retries": "5"},
        {"timeout": 0},
        {"deadline": None},
        {"ca_bundle": "/no/such/ca"},
    ],
    ids=str,
)
def test_a_client_is_checked(options: Any) -> None:
    """Wrong arguments of a client are refused, without the token in the message."""
    with pytest.raises(UsageError) as caught:
        Client(**options)
    assert "a\nb" not in caught.value.message


def test_calls_with_wrong_types_are_usage_errors(service: FakeService) -> None:
    """A wrong type is a `UsageError`, before any request."""
    with Client(service.api.url, TOKEN) as client:
        odd: list[Any] = [
            lambda: client.run(ODD, "7"),
            lambda: client.run(REPO, ODD),
            lambda: client.run("one", "7"),
            lambda: client.artifacts(ODD),
            lambda: next(client.runs(ODD)),
            lambda: list_artifacts(client, ODD),
            lambda: list_artifacts(client, ADDRESS, runs=RunFilter(("success",))),
            lambda: download(client, ODD),
        ]
        for call in odd:
            with pytest.raises(UsageError):
                call()
    assert service.api.requests == []


def test_latest_is_understood(service: FakeService, tmp_path: Path) -> None:
    """The library lists and downloads `latest` as the command does, with filters."""
    service.add("a", b"old", run="7")
    service.add("a", b"new", run="8")
    service.runs["8"].status = "failed"
    success = RunFilter(("success",))
    with Client(service.api.url, TOKEN) as client:
        assert list_artifacts(client, Address(REPO, "latest")).run == "8"
        assert list_artifacts(client, Address(REPO, "latest", *CUBE), runs=success).run == "7"
        request = Request(Address(REPO, "latest", *CUBE), str(tmp_path / "out"), runs=success)
        report = download(client, request)
    assert (report.run, report.ok) == ("7", True)
    assert tree(tmp_path / "out") == {"a": b"old"}


def result(outcome: Outcome, error: ArtifactsError | None = None) -> FileResult:
    """Return the result for one artifact."""
    address = CubeAddress("o/r", "7", *CUBE)
    return FileResult(Artifact(address, "a", "", ArtifactDates()), "a", outcome, error=error)


@pytest.mark.parametrize(
    ("report", "ok"),
    [
        (Report("o/r", "7", "out"), True),
        (Report("o/r", "7", "out", (result(Outcome.DOWNLOADED),)), True),
        (Report("o/r", "7", "out", (result(Outcome.UNCHANGED), result(Outcome.SKIPPED))), True),
        (Report("o/r", "7", "out", (result(Outcome.PLANNED),)), True),
        (Report("o/r", "7", "out", (result(Outcome.UNAVAILABLE),)), False),
        (Report("o/r", "7", "out", (result(Outcome.FAILED, LocalError("x")),)), False),
        (Report("o/r", "7", "out", timed_out=True), False),
        (Report("o/r", "7", "out", error=LocalError("x")), False),
        (Report("o/r", "7", "out", unlisted=(UNLISTED,)), False),
    ],
)
def test_a_report_tells_whether_all_is_there(report: Report, ok: bool) -> None:
    """`ok` is true exactly if the command would end with 0."""
    assert report.ok is ok


def test_help_shows_what_is_public() -> None:
    """`help(sourcecraft_artifacts)` shows each public name before it is imported."""
    assert set(library.__all__) <= set(dir(library))
    text = pydoc.plain(pydoc.render_doc(library))
    for name in library.__all__:
        assert name in text, name


def _records() -> list[Any]:
    public = [getattr(library, name) for name in library.__all__]
    return [one for one in public if inspect.isclass(one) and _fields(one)]


def _fields(record: Any) -> tuple[str, ...]:
    known: Any = getattr(record, "_fields", None) or getattr(record, "__dataclass_fields__", ())
    return tuple(known)


@pytest.mark.parametrize("record", _records())
def test_each_field_is_explained(record: Any) -> None:
    """The docstring of each public record explains each field."""
    doc = inspect.getdoc(record) or ""
    assert not [name for name in _fields(record) if f"`{name}`" not in doc]
