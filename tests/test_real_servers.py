"""Downloads from real servers: their signatures, ranges, limits and TLS."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import (
    CUBE,
    STATE,
    TOKEN,
    FakeService,
    Stored,
    eventually,
    partial_bytes,
    target,
    tree,
)
from realservers import Nginx, ObjectStore, nginx, object_store
from servers import json_response

BODY = bytes(range(251)) * (6 << 20 >> 8)
OTHER = BODY[::-1]
LARGE = bytes(range(251)) * (24 << 20 >> 8)
SMALL = b"small"
NETRC = "default login ann password netrc-pa55\n"
KEYS = (
    "plain",
    "a space",
    "100%",
    "%41%2e%2E%2f",
    "~tilde",
    "имя/файл.bin",
    "..a/b../...",
    "a+b&c=d?e#f",
    "-._!$'()*,;:@[]",
    "q\"'<>\\",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Start an object store that checks signatures."""
    with object_store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Start nginx with several servers, and the bodies of these tests as files."""
    with nginx(tmp_path_factory.mktemp("nginx")) as web:
        yield web


def interrupted(cli: Cli, stored: Stored, *arguments: str) -> int:
    """Kill a download halfway; return the number of its bytes on disk."""
    process = cli.start("download", "7", *CUBE, "-d", "out", *arguments)
    eventually(lambda: partial_bytes(cli.out) >= 2 << 20, "a part of it is on disk")
    process.kill()
    assert cli.finish(process).code == -9
    assert tree(cli.out) == {}
    return partial_bytes(cli.out)


def test_the_store_is_strict(store: ObjectStore) -> None:
    """The store serves an object only for its signature."""
    store.put("strict", SMALL)
    path = store.url("strict").removeprefix(f"http://{store.host}")
    assert store.ask("GET", path) == (200, SMALL)
    assert store.ask("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})[0] == 400
    assert store.ask("GET", path.replace("strict", "strick"))[0] == 403
    assert store.ask("GET", path.partition("?")[0])[0] == 400


def test_signed_urls(service: FakeService, cli: Cli, store: ObjectStore, tmp_path: Path) -> None:
    """Each object comes by its signed URL without credentials, whatever its key."""
    (tmp_path / ".netrc").write_text(NETRC)
    (tmp_path / ".netrc").chmod(0o600)
    for at, key in enumerate(KEYS):
        store.put(key, key.encode())
        service.add(f"file-{at}", url=store.url(key))
    signatures = [one.url.rpartition("=")[2] for one in service.artifacts if one.url]
    finished = cli.download("--debug", "--json", env={"NETRC": str(tmp_path / ".netrc")})
    assert tree(cli.out) == {f"file-{at}": key.encode() for at, key in enumerate(KEYS)}
    manifest = (cli.out / STATE / "manifest.json").read_text()
    shown = finished.err + finished.out + manifest
    assert [one for one in signatures if one in shown] == []


@pytest.mark.parametrize("change", [("plain", "plaim"), ("=900", "=901"), ("host&", "hosT&")])
def test_a_changed_byte(
    service: FakeService, cli: Cli, store: ObjectStore, change: tuple[str, str]
) -> None:
    """A bad signature is refused by the store, shown with its reason, and not retried."""
    store.put("plain", SMALL)
    url = store.url("plain")
    service.add("file", url=url.replace(*change))
    assert "403" in cli.download("--debug", code=6).err
    assert tree(cli.out) == {}
    assert service.listings() <= 4


def test_an_expired_signature(service: FakeService, cli: Cli, store: ObjectStore) -> None:
    """The store's refusal of an expired URL leads to a new listing and the file."""
    store.put("plain", SMALL)
    stored = service.add("file", url=store.url("plain", age=3600, expires=60))
    old = json_response({"artifacts": [service.record(stored)]})
    stored.url = store.url("plain")
    new = json_response({"artifacts": [service.record(stored)]})
    service.api.on(target("7", *CUBE), old, new)
    cli.download()
    assert tree(cli.out) == {"file": SMALL}
    assert service.listings() == 2


def test_resuming_from_the_store(service: FakeService, cli: Cli, store: ObjectStore) -> None:
    """A 200 with a Content-Range is not taken for the whole object, and not mixed in."""
    store.put("body", BODY)
    stored = service.add("file", url=store.url("body"))
    assert interrupted(cli, stored, "--limit-rate", "8M")
    cli.download()
    assert tree(cli.out) == {"file": BODY}


def test_a_large_object_of_the_store(service: FakeService, cli: Cli, store: ObjectStore) -> None:
    """Slices that come as such a 200 end in one connection and the exact bytes."""
    store.put("large", LARGE)
    service.add("file", url=store.url("large"))
    cli.download("--limit-rate", "48M")
    assert tree(cli.out) == {"file": LARGE}
    assert cli("download", "7", *CUBE, "-o", "-").stdout == LARGE


def test_targets_are_sent_as_they_are(service: FakeService, cli: Cli, web: Nginx) -> None:
    """nginx logs the exact bytes of the URL."""
    (web.site / "small").write_bytes(SMALL)
    odd = "/a/../b//./../%73mall?x=%7e&sig=a%2Fb+/../~'(*)"
    service.add("file", url=web.url("plain", odd))
    cli.download()
    assert tree(cli.out) == {"file": SMALL}
    eventually(lambda: web.requests("plain"), "it is logged")
    assert [one.target for one in web.requests("plain")] == [odd]


def test_ranges_and_if_range(service: FakeService, cli: Cli, web: Nginx) -> None:
    """A killed download resumes with ranges of the same version, and requests only the rest."""
    (web.site / "same").write_bytes(BODY)
    stored = service.add("file", url=web.url("slow", "/same"))
    interrupted(cli, stored)
    stored.url = web.url("plain", "/same")
    report = cli.download("--json")
    assert tree(cli.out) == {"file": BODY}
    # The first checkpoint is of a mebibyte; what came after the last one depends on the machine.
    assert report.json["summary"]["bytes"] <= len(BODY) - (1 << 20)
    asked = [one for one in web.requests("plain") if one.target == "/same"]
    assert {one.status for one in asked} == {"206"}
    assert all(one.range.startswith("bytes=") and one.if_range[0] == '"' for one in asked)
    assert {one.authorization for one in asked} == {""}


def test_if_range_of_another_version(service: FakeService, cli: Cli, web: Nginx) -> None:
    """A file that was changed meanwhile is fetched anew."""
    (web.site / "changed").write_bytes(BODY)
    stored = service.add("file", url=web.url("slow", "/changed"))
    interrupted(cli, stored)
    (web.site / "changed").write_bytes(OTHER)
    os.utime(web.site / "changed", (1, 1))
    stored.url = web.url("plain", "/changed")
    cli.download()
    assert tree(cli.out) == {"file": OTHER}
    first = next(one for one in web.requests("plain") if one.target == "/changed")
    assert (first.status, first.range[:6]) == ("200", "bytes=")


def test_a_range_beyond_the_end(service: FakeService, cli: Cli, web: Nginx) -> None:
    """A 416 for a file that got shorter under the same date drops the old bytes."""
    (web.site / "shorter").write_bytes(BODY)
    os.utime(web.site / "shorter", (10**9, 10**9))
    stored = service.add("file", url=web.url("dated", "/shorter"))
    interrupted(cli, stored)
    (web.site / "shorter").write_bytes(OTHER[: 1 << 20])
    os.utime(web.site / "shorter", (10**9, 10**9))
    cli.download()
    assert tree(cli.out) == {"file": OTHER[: 1 << 20]}
    statuses = [one.status for one in web.requests("dated")]
    assert "416" in statuses
    assert statuses[-1] == "200"


def test_a_capped_connection_gets_company(service: FakeService, cli: Cli, web: Nginx) -> None:
    """If each connection is slow, several fetch slices, with the exact bytes."""
    (web.site / "large").write_bytes(LARGE)
    service.add("file", url=web.url("capped", "/large"))
    cli.download()
    assert tree(cli.out) == {"file": LARGE}
    ranges = {one.connection for one in web.requests("capped") if one.status == "206"}
    assert len(ranges) > 1


def test_kept_connections_that_end(service: FakeService, cli: Cli, web: Nginx) -> None:
    """A server that closes each connection after three requests causes no retry."""
    for at in range(40):
        (web.site / f"many-{at}").write_bytes(b"%d" % at)
        service.add(f"file-{at}", url=web.url("brief", f"/many-{at}"))
    finished = cli.download("-j", "2", "--debug")
    assert "retrying" not in finished.err
    assert tree(cli.out) == {f"file-{at}": b"%d" % at for at in range(40)}
    eventually(lambda: len(web.requests("brief")) == 40, "all are logged")
    each = Counter(one.connection for one in web.requests("brief"))
    assert max(each.values()) == 3
    assert len(each) <= 16


def listed(web: Nginx, server: str) -> list[str]:
    """Let a TLS server be API and storage; return the arguments for it."""
    place = web.site / target("7", *CUBE).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    url = web.url(server, "/small")
    record = {"local_path": "file", "status": "success", "download_url": url}
    place.write_text(json.dumps({"artifacts": [record]}))
    (web.site / "small").write_bytes(SMALL)
    return ["--api-url", web.url(server)]


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_trusted_certificate(cli: Cli, web: Nginx, setting: str) -> None:
    """Each of the three settings makes API and storage trusted; the storage gets no token."""
    before = len(web.requests("trusted"))
    option = [setting, web.authority] if setting.startswith("--") else []
    cli.download(*listed(web, "trusted"), *option, env={} if option else {setting: web.authority})
    assert tree(cli.out) == {"file": SMALL}
    eventually(lambda: len(web.requests("trusted")) == before + 2, "both are logged")
    sent = [one.authorization for one in web.requests("trusted")[before:]]
    assert sent == [f"Bearer {TOKEN}", ""]


CERTIFICATES = [
    ("trusted", [], "certificate", "use --ca-bundle FILE"),
    ("stranger", ["--ca-bundle"], "certificate", "use --ca-bundle FILE"),
    ("elsewhere", ["--ca-bundle"], "localhost", "another host may have answered"),
    ("expired", ["--ca-bundle"], "expired", "check the clock"),
]


@pytest.mark.parametrize("part", ["api", "storage"])
@pytest.mark.parametrize(("server", "option", "reason", "hint"), CERTIFICATES)
def test_a_certificate_that_is_not_trusted(
    service: FakeService,
    cli: Cli,
    web: Nginx,
    part: str,
    server: str,
    option: list[str],
    reason: str,
    hint: str,
) -> None:
    """It is explained, not retried, and no request is sent."""
    before = len(web.requests(server))
    bundle = list(itertools.chain(*((name, web.authority) for name in option)))
    api = listed(web, server) if part == "api" else []
    service.add("file", url=web.url(server, "/small"))
    finished = cli.download("--debug", *bundle, *api, code=7 if part == "api" else 6)
    assert "not trusted" in finished.err
    assert reason in finished.err
    assert hint in finished.err
    assert "retrying" not in finished.err
    assert tree(cli.out) == {}
    assert len(web.requests(server)) == before
