"""The connection to the API that is opened while the program is still loading."""

from __future__ import annotations

import gc
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_service import CUBE, REPO, eventually, target
from servers import ScriptedServer, closed_port, json_response

from sourcecraft_artifacts import network
from sourcecraft_artifacts.errors import ApiError
from sourcecraft_artifacts.models import CubeAddress
from sourcecraft_artifacts.service import early
from sourcecraft_artifacts.service.api import Client

ADDRESS = CubeAddress(REPO, "1", *CUBE)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Close what a test has begun, and check that nobody else has left anything."""
    assert not early._begun
    yield
    early.close()


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptedServer]:
    """Serve an empty listing, with and without TLS; `ca` is then a file of its CA."""
    tls, ca = None, trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(tls)
    with ScriptedServer(tls=tls, host="localhost") as made:
        made.on(target("1", *CUBE), json_response({"artifacts": []}))
        yield made


def test_the_first_request_uses_it(server: ScriptedServer, tmp_path: Path) -> None:
    """One connection is opened, and the next requests use it too."""
    early.begin(server.url, str(tmp_path / "ca.pem"), 5.0)
    with Client(server.url, ca_bundle=str(tmp_path / "ca.pem"), retries=0) as client:
        for _ in range(3):
            assert client.artifacts(ADDRESS) == []
    assert server.opened == 1


def test_it_is_closed_if_nobody_uses_it(server: ScriptedServer, tmp_path: Path) -> None:
    """Closing the client closes it, also if it is not open by then."""
    for _ in range(3):
        with Client(server.url, ca_bundle=str(tmp_path / "ca.pem")):
            early.begin(server.url, str(tmp_path / "ca.pem"), 5.0)
    opening = [thread for thread in threading.enumerate() if thread.name == "early"]
    for thread in opening:
        thread.join()
    gc.collect()  # a socket that was left open is a warning, which is an error here
    assert not early._begun
    assert early.take("localhost", server.port, secure=server.url.startswith("https")) is None


@pytest.mark.parametrize("server", ["https"], indirect=True)
def test_its_certificate_is_checked(tmp_path: Path, server: ScriptedServer) -> None:
    """A certificate of another CA is refused as on any other connection."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    early.begin(server.url, str(tmp_path / "other.pem"), 5.0)
    with (
        Client(server.url, ca_bundle=str(tmp_path / "other.pem"), retries=0) as client,
        pytest.raises(ApiError, match="its certificate is not trusted: its CA is not known"),
    ):
        client.artifacts(ADDRESS)
    assert server.opened == 1


def test_its_failure_is_that_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses is not asked twice; the next try connects anew."""
    tried: list[int] = []
    connect = network.open_socket

    def counted(host: str, port: int, timeout: float) -> Any:
        tried.append(port)
        return connect(host, port, timeout)

    monkeypatch.setattr(network, "open_socket", counted)
    with closed_port() as port:
        url = f"http://localhost:{port}"
        early.begin(url, None, 5.0)
        with (
            Client(url, retries=1, sleep=lambda seconds: None) as client,
            pytest.raises(ApiError, match="Connection refused"),
        ):
            client.artifacts(ADDRESS)
    assert tried == [port, port]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_nothing_is_opened_beside_a_proxy(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Where a proxy is set, the host itself may be out of reach, and must not be connected to."""
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    early.begin(server.url, None, 5.0)
    assert early.take("localhost", server.port, secure=server.url.startswith("https")) is None
    assert server.opened == 0


def test_another_host_does_not_get_it(server: ScriptedServer, tmp_path: Path) -> None:
    """Host, port and scheme must be those that it was opened for."""
    early.begin(server.url, str(tmp_path / "ca.pem"), 5.0)
    secure = server.url.startswith("https")
    assert early.take("example.org", server.port, secure=secure) is None
    assert early.take("localhost", server.port + 1, secure=secure) is None
    assert early.take("localhost", server.port, secure=not secure) is None
    found = early.take("LOCALHOST.", server.port, secure=secure)
    assert found is not None
    found.close()
    eventually(lambda: server.opened == 1, "one connection is opened")


def test_without_a_thread_it_is_opened_later(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the system allows no thread, the request connects by itself."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        early.begin(server.url, None, 5.0)
    with Client(server.url, ca_bundle=str(tmp_path / "ca.pem"), retries=0) as client:
        assert client.artifacts(ADDRESS) == []
    assert server.opened == 1
