"""Reading responses without a server; `test_api` has those of a server."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.errors import ApiError, ArtifactsError
from sourcecraft_artifacts.models import CubeAddress
from sourcecraft_artifacts.service.responses import (
    Response,
    describe,
    read_artifacts,
    read_object,
    read_page_token,
)
from sourcecraft_artifacts.text import visible

TOKEN = "tok-7f3c9a1d"
CUBE = CubeAddress("o/r", "12", "ci", "build", "linux")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
NAMES = st.sampled_from(
    ["artifacts", "dates", "local_path", "status", "download_url", "message", "request_id", "id"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner),
    max_leaves=20,
)


def test_a_token_of_another_type_is_an_api_error() -> None:
    """The message names the field that is wrong."""
    with pytest.raises(ApiError, match="next_page_token"):
        read_page_token({"next_page_token": {"a": 1}})


@given(VALUES)
def test_any_json_is_a_listing_or_an_error(value: object) -> None:
    """Any JSON is a listing or an `ApiError`."""
    answer = Response(200, "OK", {}, json.dumps(value).encode())
    with suppress(ArtifactsError):
        read_artifacts(CUBE, read_object(answer))


@given(st.integers(100, 599), st.text(), st.binary() | VALUES.map(lambda v: json.dumps(v).encode()))
def test_any_answer_can_be_described(status: int, reason: str, body: bytes) -> None:
    """Any response is described in one line without control characters."""
    answer = Response(status, reason, {"Location": reason, "Content-Type": reason}, body)
    assert describe(answer) == visible(describe(answer))
    assert TOKEN not in describe(answer._replace(body=body + TOKEN.encode()), [TOKEN])
