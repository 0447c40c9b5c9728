"""The service's published description: the stand-ins follow it, and the client reads all of it.

`tests/data/sourcecraft-ci.openapi.json` is the part of the description that is about CI.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_service import CUBE, REPO, FakeService, target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import (  # type: ignore[import-untyped]
    Draft202012Validator,
    FormatChecker,
)

from sourcecraft_artifacts.models import CubeAddress, moment, objects, read_run
from sourcecraft_artifacts.sandbox import Sandbox
from sourcecraft_artifacts.service.responses import (
    Response,
    describe,
    read_artifacts,
    read_page_token,
)
from sourcecraft_artifacts.service.runs import NewestRuns, RunFilter
from sourcecraft_artifacts.show.listing import listing_json, runs_json, runs_lines
from sourcecraft_artifacts.text import visible

DESCRIPTION = Path(__file__).parents[1] / "data" / "sourcecraft-ci.openapi.json"
SCHEMAS: dict[str, Any] = json.loads(DESCRIPTION.read_text())["components"]["schemas"]
FORMATS = FormatChecker()
FORMATS.checks("date-time")(lambda text: not isinstance(text, str) or moment(text) is not None)
ADDRESS = CubeAddress("o/r", "1", "w", "t", "c")


def validator(name: str) -> Draft202012Validator:
    """Return the validator for one of the description's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return Draft202012Validator(schema, format_checker=FORMATS)


def answered(url: str, token: str) -> Any:
    """Return the JSON of a response, whatever its status."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def answers(base: str, token: str, run: str) -> Iterator[tuple[str, Any]]:
    """Yield each response of an API about a run, with its schema's name."""
    yield "ListRunsResponse", answered(f"{base}/runs?page_size=5", token)
    found = answered(f"{base}/runs/{run}", token)
    yield "Run", found
    yield "ApiErrorResponse", answered(f"{base}/runs/nope", token)
    for workflow in found["workflows"]:
        for task in workflow["tasks"]:
            for cube in task["cubes"]:
                names = "/".join(quote(one["slug"], safe="") for one in (workflow, task, cube))
                artifacts = answered(f"{base}/artifacts/{run}/{names}", token)
                internal = cube["slug"].startswith("#")
                yield ("ApiErrorResponse" if internal else "GetCubeArtifactsResponse"), artifacts


@pytest.mark.parametrize("run", ["45", "44", "43", "42", "41"])
@pytest.mark.parametrize("elapsed", [0.0, 9.0, 21.0, 99.0])
def test_the_sandbox_answers_as_described(run: str, elapsed: float) -> None:
    """Responses of the sandbox at any time match the schemas, with no unknown field."""
    if run != "45" and elapsed:
        return  # a run that has ended does not change
    now = [1000.0]
    with Sandbox(clock=lambda: now[0]) as sandbox:
        now[0] += elapsed
        for name, answer in answers(f"{sandbox.url}/repos/sandbox/demo/cicd", sandbox.token, run):
            validator(name).validate(answer)
            assert set(answer) <= set(SCHEMAS[name]["properties"])


def test_the_fake_answers_as_described(service: FakeService) -> None:
    """Responses of the tests' fake service match the schemas."""
    service.add_run("8", "processing", pull="3", errors=("x",))
    service.add("a.txt", b"1")
    service.add("b.txt", status="missing", run="8", cube=("ci", "test", "#clone"))
    service.add("c.txt", status="failed", run="8")
    for run in ("7", "8"):
        base = f"{service.api.url}/repos/{REPO}/cicd"
        found = answered(f"{base}/runs/{run}", "t")
        validator("Run").validate(found)
    listing = answered(service.api.url + target("8", *CUBE), "t")
    validator("GetCubeArtifactsResponse").validate(listing)
    validator("ListRunsResponse").validate(answered(f"{base}/runs", "t"))
    validator("ApiErrorResponse").validate(answered(f"{base}/runs/nope", "t"))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def allowed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values that a schema allows, and for those that are tolerated.

    Any field may be absent or null, any value of an enum new, and there may be unknown fields.
    """
    if "$ref" in schema:
        return allowed(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    match schema["type"]:
        case "string":
            return st.sampled_from(schema.get("enum", [""])) | st.text()
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False) | st.integers()
        case "array":
            return st.lists(allowed(schema["items"]), max_size=3)
    fields = {name: st.none() | allowed(one) for name, one in schema.get("properties", {}).items()}
    known = st.fixed_dictionaries({}, optional=fields)
    unknown = st.dictionaries(
        st.text().filter(lambda name: name not in fields), ANY_JSON, max_size=2
    )
    return st.builds(lambda first, second: {**second, **first}, known, unknown)


QUICK = settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))


@QUICK
@given(allowed(SCHEMAS["GetCubeArtifactsResponse"]))
def test_every_listing_is_read(answer: dict[str, Any]) -> None:
    """Listings with absent, null, new or unknown fields and values are read."""
    artifacts = read_artifacts(ADDRESS, answer)
    assert len(artifacts) <= len(answer.get("artifacts") or [])
    json.loads(listing_json("o/r", "1", artifacts, with_urls=True))


@QUICK
@given(allowed(SCHEMAS["ListRunsResponse"]))
def test_every_page_of_runs_is_read(answer: dict[str, Any]) -> None:
    """Runs with missing fields can still be told apart, ordered and shown."""
    runs = [read_run(item) for item in objects(answer, "runs")]
    assert read_page_token(answer) == (answer.get("next_page_token") or "")
    newest = NewestRuns(runs, RunFilter(events=("push",)).passes).first(3)
    assert all(run.ended in (True, False) for run in newest)
    assert len(list(runs_lines(runs))) == len(json.loads(runs_json("o/r", runs))["runs"])


@QUICK
@given(allowed(SCHEMAS["ApiErrorResponse"]), st.integers(400, 599))
def test_every_error_is_told(answer: dict[str, Any], status: int) -> None:
    """An error with any fields is described in one line."""
    said = describe(Response(status, "", {}, json.dumps(answer).encode()))
    assert said.startswith(str(status))
    assert said == visible(said)


@pytest.mark.parametrize(
    ("stamp", "read"),
    [
        ("2026-11-01T10:00:00Z", "2026-11-01 10:00:00+00:00"),
        ("2026-11-01t10:00:00z", "2026-11-01 10:00:00+00:00"),
        ("2026-11-01T10:00:00.5Z", "2026-11-01 10:00:00.500000+00:00"),
        ("2026-11-01T10:00:00.123456789012Z", "2026-11-01 10:00:00.123456+00:00"),
        ("2026-11-01T10:00:00.1-00:00", "2026-11-01 10:00:00.100000+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00+00:00"),
        ("2016-12-31T23:59:60.7+03:00", "2017-01-01 00:00:00.700000+03:00"),
        ("9999-12-31T23:59:60Z", "None"),
        ("yesterday", "None"),
        ("", "None"),
    ],
)
def test_times_in_all_their_forms(stamp: str, read: str) -> None:
    """All forms of RFC 3339 are read: small letters, any number of digits, leap seconds."""
    assert str(moment(stamp)) == read
