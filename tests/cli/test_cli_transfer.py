"""The transfer through the installed command, with storages that fail, lie and change."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import sys
import time

import pytest
from conftest import Cli
from fake_service import CUBE, FakeService, tree
from servers import Received, Reply, Response, ranged

BODY = bytes(range(256)) * 400
OTHER = BODY[::-1]
CHECKED = b"123456789"


def b64(data: bytes) -> str:
    """Encode bytes as checksum headers do."""
    return base64.b64encode(data).decode()


MD5, SHA1, SHA256, SHA512 = (
    b64(hashlib.new(name, CHECKED).digest()) for name in ("md5", "sha1", "sha256", "sha512")
)
# The check values of the CRC catalogue for the text "123456789".
CRC32, CRC32C, CRC64 = (
    b64(bytes.fromhex(check)) for check in ("cbf43926", "e3069283", "ae8b14860a799888")
)
HEADERS = [
    ("Content-MD5", MD5),
    ("x-amz-checksum-crc32", CRC32),
    ("x-amz-checksum-crc32c", CRC32C),
    ("x-amz-checksum-crc64nvme", CRC64),
    ("x-amz-checksum-sha1", SHA1),
    ("x-amz-checksum-sha256", SHA256),
    ("x-goog-hash", f"md5={MD5}"),
    ("x-goog-hash", f"crc32c={CRC32C},md5={MD5}"),
    ("Digest", f"SHA-256={SHA256}"),
    ("Digest", f"unixsum=30637, sha-512={SHA512}"),
    ("Repr-Digest", f"sha-256=:{SHA256}:"),
    ("Repr-Digest", f"unknown=:AAAA:, sha-512=:{SHA512}:"),
]


def test_checksums_decide_what_gets_its_name(service: FakeService, cli: Cli) -> None:
    """Every whole-object checksum is checked; a wrong body never replaces an older file."""
    for at, (name, value) in enumerate(HEADERS):
        reply = ranged(CHECKED, headers={name: value})
        wrong = ranged(b"12345678x", headers={name: value})
        service.add(f"good-{at}", CHECKED, reply)
        service.add(f"bad-{at}", CHECKED, wrong)
    composite = {"x-amz-checksum-crc32": f"{CRC32}-2", "ETag": f'"{"0" * 32}-2"'}
    service.add("good-composite", CHECKED, ranged(b"12345678x", headers=composite))
    by_type = {"x-amz-checksum-crc32": CRC32, "x-amz-checksum-type": "COMPOSITE"}
    service.add("good-by-type", CHECKED, ranged(b"12345678x", headers=by_type))
    cli.out.mkdir()
    (cli.out / "bad-0").write_bytes(b"older")
    arguments = ("--json", "--retries", "0", "--if-exists", "overwrite")
    report = cli.download(*arguments, code=6)
    failed = {name for name, outcome in report.outcomes.items() if outcome == "failed"}
    assert failed == {f"bad-{at}" for at in range(len(HEADERS))}
    assert {name for name in tree(cli.out) if "bad" in name} == {"bad-0"}
    assert (cli.out / "bad-0").read_bytes() == b"older"


def same_etag_other_total(received: Received) -> Response:
    """Respond with a larger total for the same ETag."""
    return ranged(BODY + b"more")(received)


def whole_or_part_of_other(received: Received) -> Response:
    """Ignore If-Range, and serve the range of another object."""
    kept = [pair for pair in received.headers if pair[0].lower() != "if-range"]
    bare = Received(received.method, received.target, tuple(kept))
    return ranged(OTHER, etag='"v2"')(bare)


def parts(received: Received) -> Response:
    """Answer a range with multipart/byteranges, and other requests with the whole body."""
    if received.header("Range") in (None, "bytes=0-"):
        return ranged(BODY)(received)
    kind = {"Content-Type": "multipart/byteranges; boundary=B", "ETag": '"v1"'}
    return Response(206, kind, b"--B\r\nContent-Range: bytes 0-1/2\r\n\r\nxx\r\n--B--\r\n")


def cut(etag: str | None = '"v1"', last_modified: str | None = None) -> Reply:
    """Serve the old body, and close the connection in the middle."""
    good = ranged(BODY, etag=etag, last_modified=last_modified, cut_first=50_000)
    return lambda received: good(received)


LATER = "Sat, 01 Nov 2025 10:00:00 GMT"
BROKEN: list[tuple[str, bytes, list[Reply]]] = [
    ("resumed", BODY, [cut(), ranged(BODY)]),
    ("by-date", BODY, [cut(None, LATER), ranged(BODY, etag=None, last_modified=LATER)]),
    ("reset", BODY, [Response(200, {"ETag": '"v1"'}, BODY, reset_after=50_000), ranged(BODY)]),
    ("weak", OTHER, [cut('W/"v1"'), ranged(OTHER, etag='W/"v1"')]),
    ("no-validator", OTHER, [cut(None), ranged(OTHER, etag=None)]),
    ("whole-again", BODY, [cut(), ranged(BODY, ignore_range=True)]),
    ("200-of-a-part", BODY, [cut(), ranged(BODY, status_200_with_content_range=True)]),
    ("wrong-start", BODY, [cut(), ranged(BODY, wrong_start=True)]),
    ("changed", OTHER, [cut(), ranged(OTHER, etag='"v2"')]),
    ("changed-no-if-range", OTHER, [cut(), whole_or_part_of_other]),
    ("grown", BODY + b"more", [cut(), same_etag_other_total]),
    ("multipart", BODY, [cut(), parts]),
    ("chunked", BODY, [Response(200, (), BODY, chunked=True, cut_after=9), ranged(BODY)]),
    ("no-length", BODY, [Response(200, (), BODY, no_length=True)]),
    ("gone-416", OTHER[:9], [cut(), ranged(OTHER[:9], etag='"v1"')]),
    ("busy", BODY, [Response(503, {"Retry-After": "0"}), Response(429), ranged(BODY)]),
    ("extra", BODY, [Response(200, (), BODY, extra=b"junk")]),
    (
        "encoded",
        gzip.compress(BODY),
        [ranged(gzip.compress(BODY), headers={"Content-Encoding": "gzip"})],
    ),
]


def test_broken_transfers_end_with_the_exact_bytes(service: FakeService, cli: Cli) -> None:
    """Whatever the second response is, its bytes are never mixed with the first one's."""
    for name, body, replies in BROKEN:
        service.add(name, body, *replies)
    cli.download("-j", "8")
    got = tree(cli.out)
    assert [name for name, body, _ in BROKEN if got.get(name) != body] == []
    resumed, by_date = (one.requests[1] for one in service.artifacts[:2])
    # On a slow machine another connection may have been given the second half before.
    ranges = [one.header("Range") or "" for one in service.artifacts[0].requests]
    assert any(asked.startswith("bytes=50000-") for asked in ranges)
    assert (resumed.header("If-Range"), by_date.header("If-Range")) == ('"v1"', LATER)
    assert service.artifacts[-1].requests[0].header("Accept-Encoding") == "identity"


def test_a_checksum_seen_before_a_cut_still_counts(service: FakeService, cli: Cli) -> None:
    """A storage that sends another object's rest under the old ETag is noticed."""
    promise = {"Content-MD5": b64(hashlib.md5(BODY).digest())}
    service.add("a", BODY, ranged(BODY, headers=promise, cut_first=50_000), ranged(OTHER))
    cli.download(code=(0, 6))
    assert tree(cli.out) in ({}, {"a": OTHER})


@pytest.mark.parametrize("arguments", [("--retries", "1"), ("--retries", "1", "-o", "older")])
def test_a_storage_that_never_delivers(
    service: FakeService, cli: Cli, arguments: tuple[str, ...]
) -> None:
    """A storage that always cuts is exit 6, and the older file stays."""
    service.add("older", BODY, Response(200, (), BODY, cut_after=500))
    (cli.cwd / "older").write_bytes(b"older")
    cli("download", "7", *CUBE, "--if-exists", "overwrite", *arguments, code=6)
    assert (cli.cwd / "older").read_bytes() == b"older"
    assert 2 <= len(service.storage.requests) <= 6


def test_retries_are_counted_and_waits_are_obeyed(service: FakeService, cli: Cli) -> None:
    """`--retries 1` means two requests; Retry-After is waited for; a lost file is listed once."""
    arrivals: list[float] = []

    def busy(_: Received) -> Response:
        arrivals.append(time.monotonic())
        return Response(503, {"Retry-After": "1"}, b"<html>busy</html>")

    service.add("busy", BODY, busy)
    service.add("lost", BODY, Response(404))
    report = cli.download("--retries", "1", "--json", code=6)
    assert [len(one.requests) for one in service.artifacts] == [2, 2]
    assert arrivals[1] - arrivals[0] > 0.95
    assert all(one["error"]["message"] for one in report.json["files"])


def test_silence_is_given_up(service: FakeService, cli: Cli) -> None:
    """Slow or missing headers, and a body slower than a byte a second, are given up."""
    service.add("hang", BODY, Response(hang=True))
    service.add("head", BODY, Response(200, (), BODY, drip_headers=1.1))
    service.add("body", BODY, Response(200, (), BODY, drip=1.1))
    outcomes = cli.download("--stall-timeout", "1.2", "--retries", "0", "--json", code=6).outcomes
    assert outcomes == dict.fromkeys(("hang", "head", "body"), "failed")


def test_expired_urls_are_refreshed_once_for_all(service: FakeService, cli: Cli) -> None:
    """All files share one new listing, and each transfer resumes at the same byte."""
    for at, status in enumerate((403, 401, 400, 410) * 3):
        service.add(f"file-{at}", BODY).expired = status
    service.stale_listings = 1
    cli.download("-j", "12", "--retries", "0")
    assert service.listings() == 2
    assert set(tree(cli.out).values()) == {BODY}

    def cut_and_expire(received: Received) -> Response:
        service.expire()
        return ranged(BODY, cut_first=50_000)(received)

    late = service.add("late", BODY, cut_and_expire, ranged(BODY))
    cli.download("-i", "late")
    assert (cli.out / "late").read_bytes() == BODY
    assert (late.requests[-1].header("Range") or "").startswith("bytes=50000-")


def test_what_is_recorded_is_what_was_listed_last(service: FakeService, cli: Cli) -> None:
    """A file fetched with a newer listing's URL has that listing's dates: it is unchanged next."""

    def replace_and_refuse(_: Received) -> Response:
        stored.dates["updated_at"] = "2026-11-02T00:00:00Z"
        return Response(403)

    stored = service.add("file", BODY, replace_and_refuse, ranged(BODY))
    cli.download()
    asked = len(service.storage.requests)
    assert cli.download("--json").outcomes == {"file": "unchanged"}
    assert len(service.storage.requests) == asked


@pytest.mark.parametrize("still_listed", [True, False])
def test_a_url_that_no_listing_revives(service: FakeService, cli: Cli, still_listed: bool) -> None:
    """A storage that refuses every URL of an artifact fails it soon, and the others succeed."""

    def refuse(_: Received) -> Response:
        lost.run = "7" if still_listed else "gone"
        return Response(403, body=b"<Error>AccessDenied</Error>")

    lost = service.add("lost", BODY, refuse)
    service.add("there", BODY)
    assert cli.download("--json", code=6).outcomes == {"lost": "failed", "there": "downloaded"}
    assert 2 <= service.listings() <= 4


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("jobs", ["1", "16"])
def test_a_storage_that_refuses_all_is_not_asked_on_and_on(
    service: FakeService, cli: Cli, status: int, jobs: str
) -> None:
    """If every URL is refused, a few listings serve all files, however many there are."""
    for number in range(60):
        service.add(f"file-{number}", BODY, Response(status))
    finished = cli.download("-j", jobs, code=6)
    assert service.listings() <= 5
    assert len(service.storage.requests) <= 60 + 3 * 16
    assert finished.err.count(f"the storage answered {status}") == 60


def test_refused_objects_do_not_doom_the_others(service: FakeService, cli: Cli) -> None:
    """Files whose URLs truly expire are fetched, whatever is refused before, between and after."""
    files = {}
    for number in range(40):
        denied = number % 3 == 0
        files[f"file-{number:02}"] = denied
        service.add(f"file-{number:02}", BODY, Response(403) if denied else ranged(BODY))

    def expire(received: Received) -> Response:
        service.expire()
        return ranged(BODY)(received)

    for number in (10, 20, 31):
        service.artifacts[number].replies = [expire, ranged(BODY)]
    outcomes = cli.download("-j", "1", "--json", code=6).outcomes
    assert outcomes == {name: "failed" if files[name] else "downloaded" for name in files}


@pytest.mark.parametrize("options", [(), ("-q",), ("--progress", "none"), ("--progress", "json")])
def test_debug_shows_decisions_and_retries(
    service: FakeService, cli: Cli, options: tuple[str, ...]
) -> None:
    """Each decision is shown with its reason, and each retry, however quiet the progress is."""
    kept, changed, newer = (service.add(name, BODY) for name in ("kept", "changed", "newer"))
    cli.download()
    (cli.out / "changed").write_bytes(b"x")
    newer.dates["updated_at"] = "2026-11-03T10:00:00Z"
    service.add("fresh", BODY, Response(503), ranged(BODY))
    shown = cli.download("--debug", *options).err
    for decision in (
        "keep out/kept: it is there as recorded",
        "replace out/changed: what is there is not as recorded",
        "replace out/newer: the service lists another version than the recorded one",
        "download out/fresh: it is not there",
    ):
        assert shown.count(f"plan: {decision}") == 1
    assert len(re.findall("retrying.*503", shown)) == 1
    assert kept.requests[1:] == []
    assert len(changed.requests) == 2


ODD_URL = "/x/%7Ea/../b//./%2f%2F+%20;p?sig=a%2Fb/../~&&x=%7e;?=&q='(*)"


def test_urls_are_sent_byte_for_byte(service: FakeService, cli: Cli) -> None:
    """URLs, also of redirects, are sent byte for byte, so that signatures stay valid."""
    service.add("a", url=service.storage.url + ODD_URL)
    moved = {"Location": service.storage.url + "/moved" + ODD_URL}
    service.storage.on("/x/", Response(302, moved))
    service.storage.on("/moved", Response(200, (), BODY))
    cli.download()
    assert [one.target for one in service.storage.requests] == [ODD_URL, "/moved" + ODD_URL]
    assert tree(cli.out) == {"a": BODY}


@pytest.mark.parametrize(
    "location",
    ["http://192.0.2.1/x", "file:///etc/passwd", "http://u:pa55@localhost/x", "/loop", "", "//"],
)
def test_redirects_are_bounded_and_under_the_rule(
    service: FakeService, cli: Cli, location: str
) -> None:
    """Redirects must be to safe URLs, and are limited in number."""
    service.add("a", BODY, Response(302, {"Location": location}))
    service.storage.on("/loop", Response(307, {"Location": "/loop"}))
    code = {"/loop": 6, "": (6, 8), "//": (6, 8)}.get(location, 8)
    finished = cli.download("--retries", "0", code=code)
    assert tree(cli.out) == {}
    assert "pa55" not in finished.err
    assert len(service.storage.requests) < 50


def test_slices_of_a_changing_object_are_not_mixed(service: FakeService, cli: Cli) -> None:
    """A large object that changes between its slices ends whole, old or new."""
    old, new = bytes(24 << 20), b"\1" * (24 << 20)
    service.add("large", old, ranged(old), ranged(new, etag='"v2"'))
    service.add("steady", new, ranged(new))
    cli.download()
    got = tree(cli.out)
    assert got["large"] in (old, new)
    assert got["steady"] == new


@pytest.mark.skipif(sys.platform != "linux", reason="maxrss is in KiB on Linux alone")
def test_memory_does_not_grow_with_the_size(service: FakeService, cli: Cli) -> None:
    """Memory for 160 MiB stays well below that."""
    peaks = []
    for size in (1 << 20, 160 << 20):
        service.add(f"file-{size}", bytes(size))
        command = ["download", "7", *CUBE, "-q", "-d", f"out-{size}", "-i", f"*-{size}"]
        process = cli.start(*command, anew=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert cli.finish(process).code == 0
        peaks.append(usage.ru_maxrss)
    assert (peaks[1] - peaks[0]) / 1024 < 64
