"""Connections to the first address that answers, and descriptions of failures."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from servers import closed_port

from sourcecraft_artifacts import network


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


@pytest.mark.parametrize(
    ("code", "hint"),
    [(9, "clock"), (10, "clock"), (18, "--ca-bundle"), (20, "--ca-bundle"), (62, "address")],
)
def test_the_way_out_fits_the_certificate(code: int, hint: str) -> None:
    """Another CA helps only if the CA is what is missing."""
    fault = ssl.SSLCertVerificationError()
    fault.verify_code = code
    assert hint in network.way_out(fault)


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
