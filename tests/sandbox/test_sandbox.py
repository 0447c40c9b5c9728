"""The sandbox responds as the service and its storage do."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import struct
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.message import Message
from threading import Barrier
from typing import Any, NamedTuple

import pytest

from sourcecraft_artifacts.models import read_run
from sourcecraft_artifacts.sandbox import Sandbox
from sourcecraft_artifacts.sandbox.content import BLOCK, Content, Generated, Inline
from sourcecraft_artifacts.sandbox.data import Artifact, Cube, Repository, Run, Task, Workflow
from sourcecraft_artifacts.sandbox.sample import sample_repository
from sourcecraft_artifacts.sandbox.storage import byte_range

TOKEN = {"Authorization": "Bearer sandbox-token"}
DIGITS = b"0123456789"
ETAG = f'"{hashlib.sha256(DIGITS).hexdigest()[:32]}"'
MODIFIED = "Sun, 01 Nov 2026 09:00:30 GMT"
SAMPLE = "c9c6de8503fe31788f9930e94c174fcd433016b8c3989bd976e4500ef4c7fdb5"
CICD = "/repos/o/r/cicd"
CUBE = f"{CICD}/artifacts/1/w/t/c"


class Clock:
    """Seconds that pass only when a test adds them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reply(NamedTuple):
    """One response, read to its end."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    sandbox: Sandbox, target: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> Reply:
    """Return the response to one request on its own connection; `target` may be a whole URL."""
    with closing(http.client.HTTPConnection(sandbox.url.removeprefix("http://"))) as connection:
        connection.request(method, target.removeprefix(sandbox.url), headers=headers or {})
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())


def listing(sandbox: Sandbox, cube: str = CUBE) -> dict[str, dict[str, Any]]:
    """Return the artifacts of a cube by local_path."""
    return {one["local_path"]: one for one in ask(sandbox, cube, TOKEN).json()["artifacts"]}


def repository(*contents: Content) -> Repository:
    """Return a repository with one run of one cube, whose artifacts are named by position."""
    artifacts = tuple(Artifact(f"dir/{at}~.bin", content) for at, content in enumerate(contents))
    workflow = Workflow("w", (Task("t", (Cube("c", artifacts),)),))
    return Repository("o/r", (Run("1", (workflow,)),))


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    """Start a sandbox with an empty, a small and a big object."""
    contents = Inline(DIGITS), Inline(), Generated("big", 8 * BLOCK)
    with Sandbox(repository(*contents), url_lifetime=60.0, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def sample(clock: Clock) -> Iterator[Sandbox]:
    """Start a sandbox with the sample repository."""
    with Sandbox(clock=clock) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic sandbox-token"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
        ({"Authorization": "bearer  sandbox-token "}, 200),
    ],
)
def test_the_api_wants_its_token(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    """Without the right bearer token the response is a 401."""
    reply = ask(sandbox, f"{CICD}/runs", headers)
    assert reply.status == status
    assert ("WWW-Authenticate" in reply.headers) == (status == 401)


@pytest.mark.parametrize(
    ("method", "target", "status", "code", "message"),
    [
        ("GET", "/", 404, "NotFound", "endpoint"),
        ("GET", "/repos/o/x/cicd/runs", 404, "NotFound", "repository o/x"),
        ("GET", "/repos/o%2Fr/cicd/runs", 404, "NotFound", "endpoint"),
        ("GET", f"{CICD}/jobs", 404, "NotFound", "endpoint"),
        ("GET", f"{CICD}/runs/9", 404, "NotFound", "run 9"),
        ("GET", f"{CICD}/runs/%FF", 404, "NotFound", "run \ufffd"),
        ("GET", f"{CICD}/runs/1/x", 404, "NotFound", "workflow x"),
        ("GET", f"{CICD}/artifacts/1/w/x/c", 404, "NotFound", "task x"),
        ("GET", f"{CICD}/artifacts/1/w/t/x", 404, "NotFound", "cube x"),
        ("GET", f"{CICD}/artifacts/1/w/t", 404, "NotFound", "endpoint"),
        ("GET", f"{CICD}/runs?page_size=-1", 400, "ValidationError", "page_size"),
        ("GET", f"{CICD}/runs?page_size={1 << 64}", 400, "ValidationError", "page_size"),
        ("GET", f"{CICD}/runs?page_token=abc", 400, "ValidationError", "page_token"),
        ("POST", f"{CICD}/runs", 405, "MethodNotAllowed", "POST"),
    ],
)
def test_errors_have_the_body_of_the_api(
    sandbox: Sandbox, method: str, target: str, status: int, code: str, message: str
) -> None:
    """Every error has the form of the service's errors."""
    reply = ask(sandbox, target, TOKEN, method)
    body = reply.json()
    assert (reply.status, body["error_code"], body["details"]) == (status, code, {})
    assert message in body["message"]
    assert body["request_id"] == reply.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("size", "pages"), [("", 2), ("7", 5), ("31", 1), (str((1 << 64) - 1), 1), ("0", 31)]
)
def test_pages_hold_every_run_once_newest_first(sample: Sandbox, size: str, pages: int) -> None:
    """Following the page tokens gives all runs, for any page size."""
    slugs, token, count = [], "", 0
    while count == 0 or token:
        target = f"/repos/sandbox/demo/cicd/runs?page_size={size}&page_token={token}"
        page = ask(sample, target, TOKEN).json()
        slugs += [run["slug"] for run in page["runs"]]
        token, count = page.get("next_page_token", ""), count + 1
    assert slugs == [str(number) for number in range(45, 14, -1)]
    assert count == pages


def test_a_run_is_a_tree_of_names_statuses_and_dates(sample: Sandbox) -> None:
    """The downloader's models read a run, and its parts can be requested."""
    view = ask(sample, "/repos/sandbox/demo/cicd/runs/44", TOKEN).json()
    run = read_run(view)
    assert (run.status, run.event_type, run.user, run.pull) == ("failed", "push", "boris", None)
    assert (run.created_at, run.finished_at) == ("2026-11-23T03:53:00Z", "2026-11-23T03:54:35Z")
    build, test = run.workflows[0].tasks[:2]
    assert (build.slug, build.status) == ("build", "success")
    assert [(c.slug, c.status) for c in test.cubes] == [("unit", "failed"), ("api", "success")]
    workflow = ask(sample, "/repos/sandbox/demo/cicd/runs/44/ci", TOKEN).json()
    assert workflow == view["workflows"][0]


def test_the_newest_success_is_run_43_however_long_it_is_up(sample: Sandbox, clock: Clock) -> None:
    """The newest successful run is 43 at any time."""
    clock.now += 1_000_000.0
    runs = ask(sample, "/repos/sandbox/demo/cicd/runs", TOKEN).json()["runs"]
    assert runs[0]["status"] == "failed"
    assert next(run["slug"] for run in runs if run["status"] == "success") == "43"


@pytest.mark.parametrize(
    ("elapsed", "run", "linux", "app", "api", "allure"),
    [
        (0.0, "processing", "processing", "registered", "created", "registered"),
        (2.0, "processing", "processing", "success", "created", "registered"),
        (4.0, "processing", "success", "success", "created", "registered"),
        (8.0, "processing", "success", "success", "processing", "registered"),
        (20.0, "awaiting_approval", "success", "success", "failed", "success"),
        (23.0, "processing", "success", "success", "failed", "success"),
        (25.0, "failed", "success", "success", "failed", "success"),
    ],
)
def test_the_live_run_goes_on(
    sample: Sandbox, clock: Clock, elapsed: float, run: str, linux: str, app: str, api: str,
    allure: str,
) -> None:  # fmt: skip
    """Run 45 ends in real time, artifact by artifact."""
    clock.now += elapsed
    seen = read_run(ask(sample, "/repos/sandbox/demo/cicd/runs/45", TOKEN).json())
    build, test, _ = seen.workflows[0].tasks
    assert (seen.status, build.cubes[1].status, test.cubes[1].status) == (run, linux, api)
    assert (seen.finished_at is not None) == seen.ended
    cubes = "/repos/sandbox/demo/cicd/artifacts/45/ci"
    built = listing(sample, f"{cubes}/build/linux")["./dist/app.tar"]
    report = listing(sample, f"{cubes}/test/api")["testing/api_tests/allure-report.zip"]
    assert (built["status"], report["status"]) == (app, allure)
    assert ("download_url" in built) == ("obtained_at" in built["dates"]) == (app == "success")


def test_each_status_of_an_artifact_is_in_the_sample(sample: Sandbox) -> None:
    """Each unavailable status occurs once, without a download_url."""
    artifacts = listing(sample, "/repos/sandbox/demo/cicd/artifacts/44/ci/test/unit").values()
    statuses = [artifact["status"] for artifact in artifacts]
    assert statuses == ["success", "failed", "missing", "registered"]
    assert ["download_url" in artifact for artifact in artifacts] == [True, False, False, False]


def test_folders_are_archives(sample: Sandbox) -> None:
    """One archive begins with the folder's name; the other has a link and an executable instead."""
    web = listing(sample, "/repos/sandbox/demo/cicd/artifacts/43/ci/build/web")
    members = {}
    for name in ("dist/", "node_modules"):
        with tarfile.open(fileobj=io.BytesIO(ask(sample, web[name]["download_url"]).body)) as tar:
            members[name] = tar.getmembers()
    assert all(one.name.startswith("dist") for one in members["dist/"])
    assert not any("node_modules" in one.name for one in members["node_modules"])
    link = next(one for one in members["node_modules"] if one.issym())
    script = next(one for one in members["node_modules"] if one.mode == 0o755 and one.isfile())
    assert (link.linkname, script.name) == ("../is-odd/cli.js", "./is-odd/cli.js")


def test_the_api_fails_for_cubes_of_the_service_itself(sample: Sandbox) -> None:
    """A run lists internal cubes, and their artifacts endpoint returns an error."""
    run = read_run(ask(sample, "/repos/sandbox/demo/cicd/runs/43", TOKEN).json())
    assert run.workflows[0].tasks[0].cubes[0].slug == "#git-clone"
    address = "/repos/sandbox/demo/cicd/artifacts/43/ci/build/%23git-clone"
    assert ask(sample, address, TOKEN).status == 400


def test_a_skipped_cube_does_not_count(sample: Sandbox) -> None:
    """A task of skipped cubes is skipped; the run's status comes from the other cubes."""
    run = read_run(ask(sample, "/repos/sandbox/demo/cicd/runs/42", TOKEN).json())
    check, deploy = run.workflows[0].tasks
    assert (run.status, check.status, deploy.status) == ("success", "success", "skipped")


def test_the_sample_is_the_same_every_time() -> None:
    """Every path and byte of the sample is known, from 0 bytes to tens of MiB."""
    digest, sizes = hashlib.sha256(), set()
    for run in sample_repository().runs:
        for cube in run.cubes():
            for artifact in cube.artifacts:
                sizes.add(artifact.content.size)
                line = f"{run.slug} {cube.slug} {artifact.local_path} {artifact.content.etag} "
                digest.update(line.encode() + artifact.content.sha256)
    assert (min(sizes), max(sizes)) == (0, 32 << 20)
    assert digest.hexdigest() == SAMPLE


@pytest.mark.parametrize("content", [Generated("a", 3 * BLOCK + 7), Inline(bytes(range(256)) * 9)])
def test_a_slice_is_part_of_the_whole(content: Content) -> None:
    """A slice has the same bytes as the whole."""
    whole = b"".join(content.chunks(0, content.size))
    assert len(whole) == content.size
    for start, stop in [(0, 1), (content.size - 1, content.size), (5, 5), (100, content.size - 3)]:
        assert b"".join(content.chunks(start, stop)) == whole[start:stop]


def test_no_two_blocks_are_alike() -> None:
    """All blocks differ, so that a wrong slice or object is noticed."""
    blocks = {
        bytes(chunk) for seed in "ab" for chunk in Generated(seed, 4 * BLOCK).chunks(0, 4 * BLOCK)
    }
    assert len(blocks) == 8


@pytest.mark.parametrize(
    ("text", "size", "span"),
    [
        ("", 10, None),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=0-0", 10, (0, 1)),
        ("Bytes=4-6", 10, (4, 7)),
        ("bytes=4-99", 10, (4, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=-0", 10, (10, 10)),
        ("bytes=10-", 10, (10, 10)),
        ("bytes=99-", 10, (99, 10)),
        ("bytes=0-", 0, (0, 0)),
        ("bytes=-1", 0, (0, 0)),
        ("bytes=6-4", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes= 0-1", 10, None),
        ("bytes=١-٢", 10, None),
        ("bytes=" + "9" * 5000 + "-", 10, None),
        ("lines=0-1", 10, None),
    ],
)
def test_ranges_are_read(text: str, size: int, span: tuple[int, int] | None) -> None:
    """One range is accepted, at most up to the end; anything else is the whole object."""
    assert byte_range(text, size) == span


@pytest.mark.parametrize(
    ("path", "headers", "status", "body", "content_range"),
    [
        (0, {}, 200, DIGITS, None),
        (0, {"Range": "bytes=2-4"}, 206, b"234", "bytes 2-4/10"),
        (0, {"Range": "bytes=-4"}, 206, b"6789", "bytes 6-9/10"),
        (0, {"Range": "bytes=7-99"}, 206, b"789", "bytes 7-9/10"),
        (0, {"Range": "bytes=0-1,4-5"}, 200, DIGITS, None),
        (0, {"Range": "bytes=4-2"}, 200, DIGITS, None),
        (0, {"Range": "bytes=10-"}, 416, None, "bytes */10"),
        (0, {"Range": "bytes=2-4", "If-Range": ETAG}, 206, b"234", "bytes 2-4/10"),
        (0, {"Range": "bytes=2-4", "If-Range": MODIFIED}, 206, b"234", "bytes 2-4/10"),
        (0, {"Range": "bytes=2-4", "If-Range": '"other"'}, 200, DIGITS, None),
        (0, {"Range": "bytes=2-4", "If-Range": f"W/{ETAG}"}, 200, DIGITS, None),
        (0, {"Range": "bytes=99-", "If-Range": '"other"'}, 200, DIGITS, None),
        (1, {}, 200, b"", None),
        (1, {"Range": "bytes=0-"}, 416, None, "bytes */0"),
    ],
)
def test_the_storage_serves_ranges(
    sandbox: Sandbox, path: int, headers: dict[str, str], status: int, body: bytes | None,
    content_range: str | None,
) -> None:  # fmt: skip
    """Single ranges follow RFC 9110, If-Range with a strong comparison."""
    reply = ask(sandbox, listing(sandbox)[f"dir/{path}~.bin"]["download_url"], headers)
    assert (reply.status, reply.headers["Content-Range"]) == (status, content_range)
    assert reply.headers["Content-Length"] == str(len(reply.body))
    if body is None:
        assert b"<Code>InvalidRange</Code>" in reply.body
    else:
        assert (reply.body, reply.headers["Accept-Ranges"]) == (body, "bytes")
        assert reply.headers["Last-Modified"] == MODIFIED


def test_the_whole_object_comes_with_its_checksum(sandbox: Sandbox) -> None:
    """The checksum header is for the whole object, so a range has none."""
    url = listing(sandbox)["dir/0~.bin"]["download_url"]
    whole, part = ask(sandbox, url), ask(sandbox, url, {"Range": "bytes=0-"})
    checksum = b64encode(hashlib.sha256(DIGITS).digest()).decode()
    assert whole.headers["x-amz-checksum-sha256"] == checksum
    assert part.headers["x-amz-checksum-sha256"] is None
    assert whole.headers["ETag"] == part.headers["ETag"] == ETAG


@pytest.mark.parametrize(
    ("edit", "method", "headers", "status", "message"),
    [
        (lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), "GET", {}, 403, "signature"),
        (lambda url: url.partition("?")[0], "GET", {}, 403, "signature"),
        (lambda url: url + "&more=1", "GET", {}, 403, "signature"),
        (lambda url: url.replace("Expires=", "Expires=9"), "GET", {}, 403, "signature"),
        (lambda url: url.replace("%2F", "%2f"), "GET", {}, 403, "signature"),
        (lambda url: url.replace("~", "%7E"), "GET", {}, 403, "signature"),
        (lambda url: url, "PUT", {}, 403, "signature"),
        (lambda url: url, "GET", TOKEN, 400, "Only one auth mechanism"),
        (lambda url: url, "GET", {"Authorization": ""}, 400, "Only one auth mechanism"),
    ],
)
def test_a_signed_url_is_good_as_it_is_for_get_alone(
    sandbox: Sandbox, edit: Callable[[str], str], method: str, headers: dict[str, str],
    status: int, message: str,
) -> None:  # fmt: skip
    """A changed byte, another method or a second credential is refused, as S3 does."""
    url = edit(listing(sandbox)["dir/0~.bin"]["download_url"])
    reply = ask(sandbox, url, headers, method)
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/xml")
    assert message in reply.body.decode()


def test_a_head_is_refused_without_a_body(sandbox: Sandbox) -> None:
    """A HEAD on a URL signed for GET fails."""
    reply = ask(sandbox, listing(sandbox)["dir/0~.bin"]["download_url"], method="HEAD")
    assert (reply.status, reply.body) == (403, b"")


def test_a_url_expires_and_a_new_listing_helps(sandbox: Sandbox, clock: Clock) -> None:
    """After its lifetime a URL is refused with the reason."""
    old = listing(sandbox)["dir/0~.bin"]["download_url"]
    clock.now += 59.9
    assert ask(sandbox, old).status == 200
    clock.now += 0.1
    expired = ask(sandbox, old)
    assert expired.status == 403
    assert b"<Message>Request has expired</Message>" in expired.body
    new = listing(sandbox)["dir/0~.bin"]["download_url"]
    assert ask(sandbox, new).body == DIGITS


def test_a_connection_is_kept(sandbox: Sandbox) -> None:
    """API and storage serve several requests on one connection."""
    url = listing(sandbox)["dir/2~.bin"]["download_url"]
    with closing(http.client.HTTPConnection(sandbox.url.removeprefix("http://"))) as connection:
        connection.connect()
        kept = connection.sock
        for target, headers in [(url.removeprefix(sandbox.url), {}), (CUBE, TOKEN)] * 2:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            assert len(response.read()) == int(response.headers["Content-Length"])
        assert connection.sock is kept


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", 401),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 401),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 405),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % at for at in range(101)), 400),
        (b"G" * (1 << 16), 400),
    ],
)
def test_odd_requests_end_the_connection(
    sandbox: Sandbox, request_bytes: bytes, status: int
) -> None:
    """A malformed or last request gets a response, and the connection is closed."""
    port = int(sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request_bytes)
        with connection.makefile("rb") as reader:
            answer = reader.read()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer


def test_a_client_that_leaves_early_does_no_harm(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that resets the connection causes no message."""
    url = listing(sandbox)["dir/2~.bin"]["download_url"].removeprefix(sandbox.url)
    port = int(sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(sandbox, url).status == 200
    assert capfd.readouterr() == ("", "")


def test_a_hundred_connections_at_once(sandbox: Sandbox) -> None:
    """A hundred clients at the same time all get the right bytes."""
    url = listing(sandbox)["dir/2~.bin"]["download_url"]
    wanted = b"".join(Generated("big", 8 * BLOCK).chunks(0, 8 * BLOCK))
    together = Barrier(100)

    def fetch(at: int) -> bool:
        together.wait(30)
        start = at * 70_000
        reply = ask(sandbox, url, {"Range": f"bytes={start}-{start + 69_999}"})
        return reply.body == wanted[start : start + 70_000]

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(fetch, range(100)))


def test_the_environment_points_at_the_sandbox(sandbox: Sandbox) -> None:
    """Three variables lead the downloader to the sandbox."""
    assert sandbox.environment() == {
        "SOURCECRAFT_API_URL": sandbox.url,
        "SOURCECRAFT_TOKEN": "sandbox-token",
        "SOURCECRAFT_ARTIFACTS_REPO": "o/r",
    }


def test_it_imports_nothing_heavy() -> None:
    """The sandbox uses only the standard library."""
    code = "import sys, sourcecraft_artifacts.sandbox as _; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"rich", "typer", "requests", "urllib3"} & set(result.stdout.split())
    assert "sourcecraft_artifacts.sandbox" in result.stdout
