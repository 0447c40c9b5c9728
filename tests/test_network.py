"""Proxies, trusted CAs, deadlines and descriptions of network errors."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from servers import closed_port

from sourcecraft_artifacts import network
from sourcecraft_artifacts.errors import UsageError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget cached settings, so that no test sees another one's."""
    yield
    network._proxy.cache_clear()
    network._context.cache_clear()


@pytest.fixture
def ca(tmp_path: Path) -> str:
    """Write a file with one CA."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h/a?b", "http://p:1"),
        ({"https_proxy": "p:1"}, "HTTPS://h/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h/", None),
        ({"HTTP_PROXY": "http://u:w@127.0.0.1:1"}, "http://[::1]/", "http://u:w@127.0.0.1:1"),
        ({"HTTP_PROXY": "localhost:1"}, "http://127.0.0.1:2/", "http://localhost:1"),
        ({"HTTP_PROXY": "http://u:w@p:1"}, "http://127.0.0.1/", None),
        ({"ALL_PROXY": "10.0.0.1:1"}, "http://localhost/", None),
        ({"ALL_PROXY": "https://p"}, "https://h/", "https://p"),
        ({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://p"}, "https://h/", "http://p"),
        ({"HTTPS_PROXY": " "}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x, h"}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".example"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "h:444"}, "https://h/", "http://p"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.1.1/", None),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, "https://h/", None),
    ],
)
def test_the_environment_chooses_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], url: str, proxy: str | None
) -> None:
    """The four variables work as in curl and requests, but plain http stays on this machine."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert network.proxy_for(url) == proxy


@pytest.mark.parametrize(
    "proxy", ["http://u:s3cret@", "http://u:s3cret@p:x", "ftp://u:s3cret@p", "u:s3cret@[p"]
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_malformed_proxy_is_a_usage_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, variable: str
) -> None:
    """The message names the variable, without its value."""
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(UsageError, match=f"variable {variable}") as caught:
        network.proxy_for("https://h/")
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS4"])
def test_a_socks_proxy_without_its_package_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The message names the missing package."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://p:1080")
    monkeypatch.setattr(network, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="PySocks"):
        network.proxy_for("https://h/")


def test_a_proxy_is_shown_without_its_user_info() -> None:
    """Name and password are left out, also with an `@` in them."""
    assert network.shown_proxy("http://u:p@ss@proxy.example:3128/") == "proxy.example:3128"


def test_the_option_beats_the_environment(monkeypatch: pytest.MonkeyPatch, ca: str) -> None:
    """`--ca-bundle`, then REQUESTS_CA_BUNDLE, then SSL_CERT_FILE; empty is unset."""
    assert network.ca_bundle(None) is None
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    assert network.ca_bundle(None) == ca
    folder = os.path.dirname(ca)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", folder)
    assert network.ca_bundle("") == folder
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert network.ca_bundle(ca) == ca
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    assert network.ca_bundle(None) == ca


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_missing_ca_bundle_names_its_setting(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The message names the option or variable."""
    option = "/no\x1bwhere" if setting == "--ca-bundle" else None
    if not option:
        monkeypatch.setenv(setting, "/no\x1bwhere")
    with pytest.raises(UsageError, match=rf"{setting} names '/no\\x1bwhere'"):
        network.ca_bundle(option)


def test_ssl_cert_file_is_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SSL_CERT_FILE must be a file."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path))
    with pytest.raises(UsageError, match="SSL_CERT_FILE"):
        network.ca_bundle(None)


def test_every_context_checks_certificate_and_host(ca: str) -> None:
    """Each context verifies certificate and host, and is built once."""
    for bundle in (None, ca):
        context = network.ssl_context(bundle)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert network.ssl_context(bundle) is context
    assert network.ssl_context(ca).cert_store_stats()["x509_ca"] == 1
    assert network.ssl_context(None).cert_store_stats()["x509_ca"] > 50


@pytest.mark.parametrize("setting", ["--ca-bundle", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_without_cas_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """The message names the file, and the option or variable."""
    path = tmp_path / "ca.pem"
    path.write_text("no CA")
    if not setting.startswith("--"):
        monkeypatch.setenv(setting, str(path))
    with pytest.raises(UsageError, match=r"ca\.pem', which cannot be used: it holds no") as caught:
        network.ssl_context(str(path))
    assert caught.value.message.startswith(f"{setting} names")


def test_a_folder_of_cas_has_hashed_names(tmp_path: Path, ca: str) -> None:
    """OpenSSL looks for no other names in it, so a folder without any is a usage error."""
    folder = os.path.dirname(ca)
    with pytest.raises(UsageError, match=r"--ca-bundle names .* `openssl rehash`"):
        network.ssl_context(folder)
    os.rename(ca, os.path.join(folder, "9d66eef0.0"))
    assert network.ssl_context(folder).verify_mode == ssl.CERT_REQUIRED


def test_within_returns_and_raises_what_the_call_does() -> None:
    """The result or error of the call is that of `within`."""
    assert network.within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        network.within(60, lambda: 1 // 0)


def test_within_does_not_wait_longer() -> None:
    """A call that hangs is left in its thread, which holds up nothing."""
    hang = threading.Event()
    try:
        with pytest.raises(network.DeadlinePassed):
            network.within(0.01, hang.wait)
        left = [thread for thread in threading.enumerate() if thread.name == "exchange"]
        assert all(thread.daemon for thread in left)
    finally:
        hang.set()


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_a_signal_ends_the_wait() -> None:
    """An exception of a signal handler ends the wait."""
    hang = threading.Event()

    def interrupt() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return hang.wait()

    # SIGINT is ignored if the tests run as a background job of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            network.within(60, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
        hang.set()


def test_root_cause_stops_where_the_chain_is_cut() -> None:
    """The search for the root cause stops at `from None`."""
    cut = ValueError("cut")
    cut.__context__, cut.__suppress_context__ = OSError("hidden"), True
    outer = RuntimeError("outer")
    outer.__context__ = cut
    assert network.root_cause(outer) is cut


def test_an_unknown_fault_is_named_without_its_text() -> None:
    """The text of a library's exception is not shown."""
    shown = network.explain(ValueError("http://u:s3cret@p"), 30)
    assert shown == "the response is malformed"


# Racing addresses.


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def dead(family: int = socket.AF_INET) -> tuple[int, int, int, str, tuple[str, int]]:
    """Return an address that never answers (RFC 5737)."""
    return family, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 9)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make connections to the dead address wait, without sending a packet."""
    real = network._start

    def start(family: int, address: Any) -> socket.socket:
        if address[0] != "192.0.2.1":
            return real(family, address)
        # A socket that is not writable, like one that is connecting.
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while ours.send(bytes(1 << 16)):
                pass
        others.append(theirs)
        return ours

    others: list[socket.socket] = []
    monkeypatch.setattr(network, "_start", start)
    yield
    for other in others:
        other.close()


@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize("before", [0, 1, 2])
def test_the_first_address_that_answers_is_used(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, before: int
) -> None:
    """Each dead address before it takes a quarter of a second (RFC 8305)."""
    alive = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())
    found = [dead()] * before + [alive]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    began = time.monotonic()
    with network.open_socket("host.example", 443, 10) as sock:
        assert sock.getpeername() == listener.getsockname()
    assert 0.25 * before <= time.monotonic() - began < 0.25 * before + 2


def test_an_address_that_refuses_gives_way_at_once(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    """After a refusal the next address is tried at once."""
    monkeypatch.setattr(network, "_HEAD_START", 60)
    with closed_port() as port:
        addresses = ("127.0.0.1", port), listener.getsockname()
        found = [(socket.AF_INET, 1, 6, "", at) for at in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with network.open_socket("host.example", 443, 10) as sock:
            assert sock.getpeername() == listener.getsockname()
        found.pop()
        with pytest.raises(ConnectionRefusedError):
            network.open_socket("host.example", 443, 10)


@pytest.mark.usefixtures("lost")
def test_all_addresses_have_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout is for all addresses together."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead()] * 20)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        network.open_socket("host.example", 443, 0.4)
    assert time.monotonic() - began < 2


def test_families_take_turns() -> None:
    """The system's first choice comes first, then the families alternate."""
    six, four = socket.AF_INET6, socket.AF_INET
    found: list[tuple[int, Any]] = [(six, 1), (six, 2), (six, 3), (four, 4), (four, 5)]
    assert network._in_turn(found) == [(six, 1), (four, 4), (six, 2), (four, 5), (six, 3)]
    assert network._in_turn([]) == []


# Without threads.


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_in_as_many_threads_as_there_are(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Each thing has its result, in order, with any number of threads."""
    start, left = threading.Thread.start, [allowed]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert list(network.in_threads(str, range(20), 4)) == [str(at) for at in range(20)]


def test_a_call_without_a_thread_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread the call is made here."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert network.within(0.1, lambda: 7) == 7


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", (socket.AF_INET, ("127.0.0.1", 80))),
        ("::1", (socket.AF_INET6, ("::1", 80, 0, 0))),
        ("localhost", None),
        ("127.1", None),
        ("1.2.3.4.example", None),
        ("fe80::1%eth0", None),
        ("a\0b", None),
        ("ж", None),
        ("", None),
    ],
)
def test_a_host_that_is_a_number(host: str, found: object) -> None:
    """Only the usual forms count; whatever else a system may take for a number is looked up."""
    assert network.numeric_address(host, 80) == found
