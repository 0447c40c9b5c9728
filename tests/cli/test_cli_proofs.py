"""Validators, checksums and partial data through the installed command."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, tree
from servers import Reply, Response, ranged

BODY = bytes(range(256)) * 400
OTHER = BODY[::-1]


def b64(data: bytes) -> str:
    """Encode bytes as checksum headers do."""
    return base64.b64encode(data).decode()


def md5(body: bytes) -> str:
    """Return the MD5 of a body as headers have it."""
    return b64(hashlib.md5(body, usedforsecurity=False).digest())


def sha256(body: bytes) -> str:
    """Return the SHA-256 of a body as headers have it."""
    return b64(hashlib.sha256(body).digest())


def dated(body: bytes, age: int, cut: int | None = None) -> Reply:
    """Serve a body with a Last-Modified header and without a Date header."""
    at = formatdate(time.time() - age, usegmt=True)
    return ranged(body, etag=None, last_modified=at, cut_first=cut)


def test_a_young_date_without_a_date_is_no_validator(service: FakeService, cli: Cli) -> None:
    """An object that was rewritten in the second of its Last-Modified is not mixed."""
    ages = (-90_000, -2, 0, 30)
    for age in ages:
        service.add(f"a{age}", OTHER, dated(BODY, age, 50_000), dated(OTHER, age))
    cli.download()
    assert tree(cli.out) == {f"a{age}": OTHER for age in ages}


def test_a_young_date_is_no_validator_for_a_stream(service: FakeService, cli: Cli) -> None:
    """To stdout, where bytes cannot be dropped, the changed object is an error."""
    service.add("a", OTHER, dated(BODY, 0, 50_000), dated(OTHER, 0))
    finished = cli("download", "7", *CUBE, "-o", "-", code=6)
    assert finished.stdout == BODY[:50_000]


def test_an_old_date_without_a_date_is_one(service: FakeService, cli: Cli) -> None:
    """An object last changed an hour ago is resumed at its byte."""
    service.add("a", BODY, dated(BODY, 3600, 50_000))
    cli.download()
    assert tree(cli.out) == {"a": BODY}
    assert service.storage.requests[1].header("Range") == "bytes=50000-"


RIGHT, WRONG = md5(BODY), md5(OTHER)
TWICE = [
    ([("Content-MD5", RIGHT), ("Content-MD5", RIGHT)], True),
    ([("Content-MD5", RIGHT), ("Content-MD5", WRONG)], False),
    ([("Content-MD5", WRONG), ("Content-MD5", RIGHT)], False),
    ([("Content-MD5", WRONG), ("content-md5", WRONG)], False),
    ([("x-amz-checksum-sha256", sha256(BODY))] * 2, True),
    ([("x-amz-checksum-sha256", sha256(BODY)), ("x-amz-checksum-sha256", sha256(OTHER))], False),
    ([("x-amz-checksum-sha256", sha256(OTHER))] * 2, False),
    ([("x-goog-hash", f"md5={RIGHT}"), ("x-goog-hash", f"md5={WRONG}")], False),
    ([("Digest", f"md5={RIGHT}"), ("Digest", f"sha-256={sha256(OTHER)}")], False),
    ([("Repr-Digest", f"sha-256=:{sha256(BODY)}:"), ("Content-MD5", WRONG)], False),
]


def test_each_of_several_checksums_is_checked(service: FakeService, cli: Cli) -> None:
    """If a checksum header comes twice, each of its values is checked."""
    for at, (pairs, _) in enumerate(TWICE):
        service.add(f"file-{at}", BODY, Response(200, [("ETag", '"v1"'), *pairs], BODY))
    report = cli.download("--json", "--retries", "0", code=6)
    good = {f"file-{at}" for at, (_, right) in enumerate(TWICE) if right}
    assert {name for name, what in report.outcomes.items() if what == "downloaded"} == good
    assert tree(cli.out) == dict.fromkeys(good, BODY)


WHOLE = [
    ("x-goog-hash", f"md5={RIGHT}", f"md5={WRONG}"),
    ("Digest", f"sha-256={sha256(BODY)}", f"sha-256={sha256(OTHER)}"),
    ("Repr-Digest", f"md5=:{RIGHT}:", f"md5=:{WRONG}:"),
]


@pytest.mark.parametrize("again", [False, True])
def test_a_checksum_that_comes_with_the_rest_alone(
    service: FakeService, cli: Cli, again: bool
) -> None:
    """A checksum in a 206 is checked for the whole object, in this run and the next."""
    for at, (name, *values) in enumerate(WHOLE):
        for what, value in zip(("good", "bad"), values, strict=True):
            whole = ranged(BODY, headers={name: value})
            service.add(f"{what}{at}", BODY, ranged(BODY, cut_first=50_000), whole)
    if again:
        cli.download("--retries", "0", code=6)
    report = cli.download("--json", "--retries", "0" if again else "1", code=6)
    assert {(name[:-1], what) for name, what in report.outcomes.items()} == {
        ("good", "downloaded"),
        ("bad", "failed"),
    }
    assert tree(cli.out) == {f"good{at}": BODY for at in range(len(WHOLE))}
    assert all(one.requests[1].header("Range") for one in service.artifacts)


def test_a_hash_of_the_stored_form_is_no_hash_of_this_one(service: FakeService, cli: Cli) -> None:
    """The hash of a compressed stored form is not compared with the decompressed bytes."""
    packed = gzip.compress(BODY)
    hashes = {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5(packed)}"}
    stored = {**hashes, "x-goog-stored-content-encoding": "gzip"}
    service.add("unpacked", BODY, ranged(BODY, headers=stored))
    kept = {"x-goog-hash": f"md5={md5(packed)}", "x-goog-stored-content-encoding": "gzip"}
    kept["Content-Encoding"] = "gzip"
    service.add("kept", packed, ranged(packed, headers=kept))
    service.add("broken", packed, ranged(packed[::-1], headers=kept))
    cli.download("--retries", "0", code=6)
    assert tree(cli.out) == {"unpacked": BODY, "kept": packed}


ALL = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v1"'}
UNASKED = {
    "206": (Response(206, ALL, BODY), 0),
    "206 in chunks": (Response(206, ALL, BODY, chunked=True), 0),
    "200": (Response(200, ALL, BODY), 0),
    "206 of one byte less": (
        Response(206, {**ALL, "Content-Range": f"bytes 0-{len(BODY) - 2}/{len(BODY)}"}, BODY[:-1]),
        6,
    ),
    "206 of unknown size": (
        Response(206, {**ALL, "Content-Range": f"bytes 0-{len(BODY) - 1}/*"}, BODY),
        6,
    ),
    "206 without a range": (Response(206, {"ETag": '"v1"'}, BODY), 6),
    "206 that is cut": (Response(206, ALL, BODY, chunked=True, cut_after=500), 6),
    "206 that ends early": (Response(206, ALL, BODY[:-1], chunked=True), 6),
}


def test_a_part_that_is_the_whole(service: FakeService, cli: Cli) -> None:
    """An unrequested 206 is accepted if it has all bytes of the object."""
    for what, (reply, _) in UNASKED.items():
        service.add(what, BODY, reply)
    report = cli.download("--json", "--retries", "0", code=6)
    wanted = {what: "failed" if code else "downloaded" for what, (_, code) in UNASKED.items()}
    assert report.outcomes == wanted
    assert tree(cli.out) == {what: BODY for what, (_, code) in UNASKED.items() if not code}


@pytest.mark.parametrize("what", ["206", "206 in chunks", "206 that ends early"])
def test_a_part_that_is_the_whole_to_a_stream(service: FakeService, cli: Cli, what: str) -> None:
    """`-o -` accepts such a 206 too, and notices missing bytes."""
    reply, code = UNASKED[what]
    service.add("a", BODY, reply)
    finished = cli("download", "7", *CUBE, "-o", "-", "--retries", "0", code=code)
    assert finished.stdout == (BODY if not code else BODY[:-1])


def parts(folder: Path) -> list[Path]:
    """Return the files of partial data."""
    return sorted(path for path in folder.rglob("*.part") if STATE in str(path))


DAMAGE = ["flip first", "flip last", "flip middle", "hole", "cut", "zeros", "other", "checkpoint"]


def damage(path: Path, how: str) -> None:
    """Damage partial data as a disk, a crash or a person could."""
    body = bytearray(path.read_bytes())
    if how.startswith("flip"):
        body[{"first": 0, "last": -1, "middle": len(body) // 2}[how[5:]]] ^= 4
    elif how == "hole":
        body[4096:8192] = bytes(4096)
    elif how == "cut":
        del body[len(body) // 2 :]
    elif how == "zeros":
        body[:] = bytes(len(body))
    elif how == "other":
        body[:] = OTHER[: len(body)]
    else:
        path = path.with_suffix(".json")
        body = bytearray(path.read_bytes())
        body[len(body) // 2] ^= 1
    path.write_bytes(body)


def test_partial_data_that_was_damaged_meanwhile(service: FakeService, cli: Cli) -> None:
    """A bit that flips between two runs is noticed, also without the storage's checksum."""
    for how in DAMAGE:
        service.add(how, BODY, ranged(BODY, cut_first=50_000), ranged(BODY))
    cli.download("--retries", "0", code=6)
    found = parts(cli.out)
    assert len(found) == len(DAMAGE)
    for path, how in zip(found, DAMAGE, strict=True):
        damage(path, how)
    cli.download()
    assert tree(cli.out) == dict.fromkeys(DAMAGE, BODY)


@pytest.mark.parametrize("how", ["flip middle", "hole"])
def test_partial_data_of_one_file_that_was_damaged(
    service: FakeService, cli: Cli, how: str
) -> None:
    """A bit that flips in the part beside the FILE of `-o` is noticed too."""
    service.add("a", BODY, ranged(BODY, cut_first=50_000), ranged(BODY))
    command = ("download", "7", *CUBE, "-o", "file", "--retries", "0")
    cli(*command, code=6)
    (path,) = parts(cli.cwd)
    damage(path, how)
    cli(*command)
    assert tree(cli.cwd) == {"file": BODY}
