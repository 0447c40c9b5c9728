"""One artifact to a stream: bytes that were sent cannot be taken back."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from servers import Received, Reply, Response, ScriptedServer, ranged

from sourcecraft_artifacts.downloads.output_stream import OutputStream
from sourcecraft_artifacts.errors import BrokenTransfer, LocalError, TransferError
from sourcecraft_artifacts.http.storage import Storage
from sourcecraft_artifacts.models import Artifact, ArtifactDates, CubeAddress
from sourcecraft_artifacts.results import FileResult
from sourcecraft_artifacts.transfer import transfer
from sourcecraft_artifacts.transfer.engine import Downloads
from sourcecraft_artifacts.transfer.jobs import Job, Tuning
from sourcecraft_artifacts.transfer.reporter import Activity, NullReporter

ADDRESS = CubeAddress("org/repo", "7", "ci", "build", "linux")
BODY = random.Random(1).randbytes(100_000)
OTHER = random.Random(2).randbytes(100_000)
LONGER = BODY + OTHER


class Sink:
    """Takes bytes; `room` is how many fit."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.room = 1 << 40

    def write(self, data: memoryview) -> None:
        """Take bytes, or raise OSError if there is no room."""
        if len(self.data) + len(data) > self.room:
            raise LocalError("full")
        self.data += data


class Sender(NullReporter):
    """A stream from a scripted storage to a sink."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.sink = Sink()
        self.delays: list[float] = []
        self.listed = 0

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """Record a back-off."""
        self.delays.append(delay)

    def _relist(self, _: CubeAddress) -> list[Artifact]:
        self.listed += 1
        return [self.artifact(f"/new{self.listed}")]

    def artifact(self, path: str | None = "/x") -> Artifact:
        """Return the artifact for a URL."""
        url = None if path is None else self.server.url + path
        return Artifact(ADDRESS, "a", "success", ArtifactDates(), download_url=url)

    def send(self, *replies: Reply, retries: int = 2, path: str | None = "/x") -> FileResult:
        """Send the storage's responses to the end. Raises the error that ended it."""
        self.server.on("/x", *(replies or (Response(404),)))
        target = OutputStream(self.sink.write)
        job, tuning = Job(self.artifact(path), "-"), Tuning(retries=retries)
        storage = Storage(stall_timeout=20)
        with Downloads(storage, target, self._relist, self, tuning) as downloads:
            downloads.submit([job])
            assert downloads.wait(20)
        if target.fault is not None:
            raise target.fault
        result = downloads.results[job]
        if result.error is not None:
            raise result.error
        return result


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    """Make a stream without a script, which does not really wait."""
    monkeypatch.setattr(transfer, "backoff", lambda tries, after=None: min(after or 0.0, 0.01))
    with ScriptedServer() as server:
        yield Sender(server)


def longer_than_told(received: Received) -> Response:
    """Send a part with more bytes than its Content-Range says."""
    good = ranged(BODY)(received)
    told = {**dict(good.pairs), "Content-Range": f"bytes 50000-50009/{len(BODY)}"}
    return replace(good, headers=told)


def too_long(received: Received) -> Response:
    """Send the rest and additional bytes, without a length."""
    good = ranged(BODY)(received)
    return replace(good, body=good.body + b"more", chunked=True)


def cut(received: Received) -> Response:
    """Send the body, and close the connection in the middle."""
    return ranged(BODY, cut_first=50_000)(received)


SENT: list[tuple[str, bytes, list[Reply]]] = [
    ("whole", BODY, [ranged(BODY)]),
    ("empty", b"", [ranged(b"")]),
    ("chunked", BODY, [Response(body=BODY, chunked=True)]),
    ("no-length", BODY, [Response(body=BODY, no_length=True)]),
    ("resumed", BODY, [cut, ranged(BODY)]),
    ("reset", BODY, [Response(200, {"ETag": '"v1"'}, BODY, reset_after=50_000), ranged(BODY)]),
    ("again", BODY, [cut, ranged(BODY, ignore_range=True)]),
    ("weak", BODY, [ranged(BODY, etag='W/"1"', cut_first=50_000), ranged(BODY, etag='W/"1"')]),
    ("200-of-a-part", BODY, [cut, ranged(BODY, status_200_with_content_range=True)]),
    ("wrong-start", BODY, [cut, ranged(BODY, wrong_start=True)]),
    ("short-range", BODY, [cut, longer_than_told, ranged(BODY)]),
    ("too-long", BODY, [cut, too_long, ranged(BODY)]),
    ("changed-behind", LONGER, [cut, ranged(LONGER, etag='"v2"')]),
    (
        "a-part-unasked",
        BODY,
        [Response(200, {"Content-Range": "bytes 5-9/10"}, b"wrong"), ranged(BODY)],
    ),
    (
        "206-unasked",
        BODY,
        [Response(206, {"Content-Range": "bytes 0-4/10"}, b"wrong"), ranged(BODY)],
    ),
    ("busy", BODY, [Response(503, {"Retry-After": "7"}), Response(429), ranged(BODY)]),
]


@pytest.mark.parametrize(("name", "body", "replies"), SENT)
def test_the_exact_bytes_are_sent(
    sender: Sender, name: str, body: bytes, replies: list[Reply]
) -> None:
    """Each byte is sent once and in order, whatever fails on the way."""
    result = sender.send(*replies)
    assert bytes(sender.sink.data) == body
    assert (result.sha256, result.size) == (hashlib.sha256(body).hexdigest(), len(body))


def test_the_rest_alone_is_asked_for(sender: Sender) -> None:
    """With a validator a broken transfer resumes at its byte."""
    result = sender.send(ranged(BODY, cut_first=50_000), ranged(BODY))
    first, second = sender.server.requests
    assert (first.header("Range"), first.header("If-Range")) == (None, None)
    assert (second.header("Range"), second.header("If-Range")) == ("bytes=50000-", '"v1"')
    assert result.transferred == len(BODY)


@pytest.mark.parametrize("etag", ['"v2"', 'W/"v2"', None])
def test_another_object_is_not_mixed_in(sender: Sender, etag: str | None) -> None:
    """An object that changed ends the stream, and none of its bytes are sent."""
    with pytest.raises(TransferError, match="changed while") as caught:
        sender.send(ranged(BODY, cut_first=50_000), ranged(OTHER, etag=etag))
    assert caught.value.code == "changed"
    assert bytes(sender.sink.data) == BODY[:50_000]


def test_a_shorter_object_is_another_one(sender: Sender) -> None:
    """An object with fewer bytes than were sent is an error, even if it begins alike."""
    with pytest.raises(TransferError, match="changed while"):
        sender.send(ranged(BODY, cut_first=50_000), ranged(BODY[:40_000], etag='"v2"'))


def md5(body: bytes) -> dict[str, str]:
    """Return a checksum header."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"Content-MD5": base64.b64encode(digest).decode()}


def test_a_wrong_checksum_is_told(sender: Sender) -> None:
    """With a wrong checksum the stream fails at its end."""
    with pytest.raises(TransferError, match="md5"):
        sender.send(ranged(BODY, headers=md5(OTHER)))


def test_the_checksum_of_what_was_sent_counts(sender: Sender) -> None:
    """If another version begins with the sent bytes, its checksum is the one that counts."""
    first = ranged(BODY, headers=md5(BODY), cut_first=50_000)
    sender.send(first, ranged(LONGER, etag='"v2"', headers=md5(LONGER)))
    assert bytes(sender.sink.data) == LONGER
    sender.sink.data.clear()
    first = ranged(BODY, headers=md5(BODY), cut_first=50_000)
    with pytest.raises(TransferError, match="md5"):
        sender.send(first, ranged(LONGER, etag='"v2"', headers=md5(BODY)))


def test_tries_are_counted_while_nothing_comes(sender: Sender) -> None:
    """Progress resets the count of tries; without it there are as many as requested."""
    replies: list[Reply] = [
        ranged(BODY, cut_first=50_000),
        Response(503),
        lambda received: replace(ranged(BODY)(received), cut_after=10_000),
        Response(503),
        Response(503),
    ]
    with pytest.raises(BrokenTransfer, match="503"):
        sender.send(*replies, retries=2)
    assert len(sender.server.requests) == 5
    assert bytes(sender.sink.data) == BODY[:60_000]


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_a_stale_url_is_exchanged(sender: Sender, status: int) -> None:
    """The stream resumes at the same byte with a new URL."""
    sender.server.on("/new", ranged(BODY))
    sender.send(ranged(BODY, cut_first=50_000), Response(status))
    assert bytes(sender.sink.data) == BODY
    assert [one.target for one in sender.server.requests] == ["/x", "/x", "/new1"]
    assert sender.server.requests[2].header("Range") == "bytes=50000-"


def test_no_url_at_all(sender: Sender) -> None:
    """Without a URL the artifact is listed again."""
    sender.server.on("/new", ranged(BODY))
    sender.send(path=None)
    assert bytes(sender.sink.data) == BODY


def test_urls_that_stay_stale_end_it(sender: Sender) -> None:
    """After two new URLs that have expired too, it fails."""
    sender.server.on("/new", Response(403))
    with pytest.raises(TransferError, match="also with a new download_url"):
        sender.send(Response(403))
    assert sender.listed == 2


@pytest.mark.parametrize("status", [405, 302, 204, 418])
def test_final_answers_are_not_tried_again(sender: Sender, status: int) -> None:
    """A response that is not retryable ends it."""
    with pytest.raises(TransferError, match=str(status)):
        sender.send(Response(status))
    assert len(sender.server.requests) == 1


def test_a_full_sink_ends_it(sender: Sender) -> None:
    """An error of the sink is raised."""
    sender.sink.room = 10
    with pytest.raises(LocalError, match="full"):
        sender.send(ranged(BODY))
