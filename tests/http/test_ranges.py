"""What a response of the storage means for the bytes that are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.http.ranges import (
    Verdict,
    Version,
    holds_all,
    judge,
    range_header,
    read_content_range,
    read_version,
)

DATE = "Sat, 01 Nov 2025 10:00:02 GMT"
OLDER = "Sat, 01 Nov 2025 10:00:01 GMT"
NOW = parsedate_to_datetime(OLDER).timestamp()
HAVE = Version('"v1"', 100)


def headers(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers as a response has them, by lower-case names."""
    return {name.lower(): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("sent", "validator"),
    [
        ({"ETag": '"v1"'}, '"v1"'),
        ({"ETag": ' "v1" '}, '"v1"'),
        ({"ETag": '""'}, '""'),
        ({"ETag": '"\xe9"'}, '"\xe9"'),
        ({"ETag": '"v1"', "Last-Modified": OLDER}, '"v1"'),
        ({"ETag": 'W/"v1"'}, None),
        ({"ETag": 'W/"v1"', "Last-Modified": OLDER}, None),
        ({"ETag": "v1"}, None),
        ({"ETag": '"v1", "v2"'}, None),
        ({"ETag": '"v 1"'}, None),
        ({"ETag": ""}, None),
        ({}, None),
        ({"Last-Modified": OLDER}, OLDER),
        ({"Last-Modified": OLDER, "Date": DATE}, OLDER),
        ({"Last-Modified": DATE, "Date": DATE}, None),
        ({"Last-Modified": DATE, "Date": OLDER}, None),
        ({"Last-Modified": OLDER, "Date": "yesterday"}, None),
        ({"Last-Modified": "yesterday"}, None),
        ({"Last-Modified": "Sat, 01 Nov 99999999999999999999 10:00:00 GMT"}, None),
        ({"Last-Modified": "Sat, 01 Nov 2025 10:00:01 -0000", "Date": DATE}, None),
        ({"Last-Modified": OLDER, "Date": "Sat, 01 Nov 99999999999999999999 10:00:00 GMT"}, None),
        ({"Last-Modified": f"{OLDER}, {OLDER}"}, None),
        ({"Last-Modified": f"{OLDER}, {OLDER}", "Date": f"{DATE}, {DATE}"}, None),
        ({"Last-Modified": "Fri, 31 Dec 9999 23:59:59 -2300"}, None),
    ],
)
def test_only_a_strong_validator_tells_a_version(
    sent: dict[str, str], validator: str | None
) -> None:
    """A weak ETag, a recent date or a malformed value is no validator."""
    assert read_version(headers(sent), 100) == Version(validator, 100)


@pytest.mark.parametrize(
    ("age", "strong"),
    [(-90_000, False), (-1, False), (0, False), (1, False), (61, False), (899, False), (900, True)],
)
def test_a_date_alone_is_a_validator_once_it_is_clearly_old(age: int, strong: bool) -> None:
    """Without a Date header our own clock decides whether Last-Modified is old enough."""
    sent = headers({"Last-Modified": OLDER})
    found = read_version(sent, 100, now=NOW + age)
    assert found == Version(OLDER if strong else None, 100)


def test_the_clock_of_this_machine_is_asked() -> None:
    """A Last-Modified of this moment is weak, one of yesterday is strong."""
    fresh, old = formatdate(usegmt=True), formatdate(NOW - 86_400, usegmt=True)
    assert read_version({"last-modified": fresh}, 9).validator is None
    assert read_version({"last-modified": old}, 9).validator == old


def test_a_date_once_strong_is_compared_as_it_is() -> None:
    """Later responses are compared with the first one's date, even if they could not prove it."""
    have = Version(formatdate(usegmt=True), 100)
    sent = {"content-range": "bytes 40-99/100", "last-modified": have.validator or ""}
    assert judge(206, sent, 40, have) is Verdict.CONTINUE
    assert judge(206, {**sent, "date": have.validator or ""}, 40, have) is Verdict.CONTINUE


@pytest.mark.parametrize(
    ("version", "resumable"),
    [
        (Version('"v1"', 100), True),
        (Version('"v1"', 0), True),
        (Version('"v1"', None), False),
        (Version(None, 100), False),
    ],
)
def test_resuming_takes_a_validator_and_a_size(version: Version, resumable: bool) -> None:
    """Without a validator or a size, two responses may be of two objects."""
    assert version.resumable is resumable


def part(told: str, etag: str | None = '"v1"', **more: str) -> dict[str, str]:
    """Return the headers of a partial response."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {"Content-Range": told, **({"ETag": etag} if etag else {}), **named}


@pytest.mark.parametrize(
    ("status", "sent", "verdict"),
    [
        (206, part("bytes 40-99/100"), Verdict.CONTINUE),
        (206, part("BYTES  40-99/100"), Verdict.CONTINUE),
        (206, part("bytes 40-59/100"), Verdict.CONTINUE),
        (206, part("bytes 40-59/100", Content_Length="20"), Verdict.CONTINUE),
        (206, part("bytes 40-59/100", Content_Length="60"), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", Content_Length="20"), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", Content_Length="0"), Verdict.UNUSABLE),
        (206, part("bytes 39-99/100"), Verdict.UNUSABLE),
        (206, part("bytes 41-99/100"), Verdict.UNUSABLE),
        (206, part("bytes 40-99/101"), Verdict.UNUSABLE),
        (206, part("bytes 40-99/*"), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", '"v2"'), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", 'W/"v1"'), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", None), Verdict.UNUSABLE),
        (206, part("bytes 40-99/100", None, Last_Modified=OLDER), Verdict.UNUSABLE),
        (206, part(f"bytes 40-99/{'9' * 5000}"), Verdict.UNUSABLE),
        (206, {"ETag": '"v1"', "Content-Type": "multipart/byteranges"}, Verdict.UNUSABLE),
        (206, {"ETag": '"v1"'}, Verdict.UNUSABLE),
        (200, {"ETag": '"v1"'}, Verdict.RESTART),
        (200, {"ETag": '"v2"'}, Verdict.RESTART),
        (200, {}, Verdict.RESTART),
        (200, part("bytes 40-99/100"), Verdict.UNUSABLE),
        (200, part("nonsense"), Verdict.UNUSABLE),
        (200, part("bytes 0-99/100", Content_Length="100"), Verdict.RESTART),
        (200, part("bytes 0-9/10", '"v2"', Content_Length="10"), Verdict.RESTART),
        (200, part("bytes 0-99/100"), Verdict.UNUSABLE),
        (200, part("bytes 0-99/100", Content_Length="60"), Verdict.UNUSABLE),
        (206, part("bytes 0-99/100"), Verdict.RESTART),
        (206, part("bytes 0-9/10", '"v2"', Content_Length="10"), Verdict.RESTART),
        (206, part("bytes 0-98/100"), Verdict.UNUSABLE),
        (206, part("bytes 1-99/100"), Verdict.UNUSABLE),
        (206, part("bytes 0-99/*"), Verdict.UNUSABLE),
        (416, part("bytes */100"), Verdict.UNUSABLE),
        (416, {}, Verdict.UNUSABLE),
    ],
)
def test_the_truth_table(status: int, sent: dict[str, str], verdict: Verdict) -> None:
    """Only exactly the requested bytes are accepted, and only a whole object starts anew."""
    assert judge(status, headers(sent), 40, HAVE) is verdict


@pytest.mark.parametrize(
    ("status", "sent", "whole"),
    [
        (200, {}, True),
        (200, part("bytes 0-9/10"), False),
        (200, part("bytes 0-9/10", Content_Length="10"), True),
        (200, part("bytes 0-8/10"), False),
        (206, part("bytes 0-9/10"), True),
        (206, part("bytes 0-9/10", Content_Length="10"), True),
        (206, part("bytes 0-9/10", Content_Length="9"), False),
        (206, part("bytes 0-9/11"), False),
        (206, part("bytes 0-9/*"), False),
        (206, {}, False),
        (203, {}, False),
        (416, part("bytes 0-9/10"), False),
    ],
)
def test_a_part_can_be_the_whole(status: int, sent: dict[str, str], whole: bool) -> None:
    """A range from the first to the last byte is the whole object, requested or not."""
    assert holds_all(status, headers(sent)) is whole


def test_a_range_tells_the_size_that_nothing_else_tells() -> None:
    """The Content-Range of a chunked response gives the size."""
    sent = headers(part("bytes 0-9/10"))
    assert read_version(sent, None) == Version('"v1"', 10)


def test_a_date_is_a_validator_too() -> None:
    """A partial response without ETag is compared by its Last-Modified."""
    have = Version(OLDER, 100)
    sent = {"Content-Range": "bytes 40-99/100", "Last-Modified": OLDER, "Date": DATE}
    assert judge(206, headers(sent), 40, have) is Verdict.CONTINUE
    assert judge(206, headers({**sent, "Last-Modified": DATE}), 40, have) is Verdict.UNUSABLE


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("bytes 0-0/1", (0, 1, 1)),
        (" bytes 5-9/10 ", (5, 10, 10)),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes 0-0/0", None),
        ("bytes */10", None),
        ("bytes 5-9/*", None),
        ("bytes -5-9/10", None),
        ("bytes +5-9/10", None),
        ("bytes ٥-9/10", None),
        ("bytes 5-9/10, bytes 0-1/10", None),
        ("items 5-9/10", None),
        ("5-9/10", None),
        (f"bytes 0-1/{'9' * 5000}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_content_range_is_read_strictly(
    text: str | None, read: tuple[int, int, int] | None
) -> None:
    """Only a valid range within a known size is accepted (RFC 9110, 14.4)."""
    assert read_content_range(text) == read


@given(st.integers(0, 1 << 62), st.integers(1, 1 << 40))
def test_what_is_asked_is_what_is_read(start: int, count: int) -> None:
    """The response of a good server to our Range has the requested span."""
    asked = range_header(start, start + count).removeprefix("bytes=")
    assert read_content_range(f"bytes {asked}/{start + count}") == (
        start,
        start + count,
        start + count,
    )
    assert range_header(start, None) == f"bytes={start}-"
