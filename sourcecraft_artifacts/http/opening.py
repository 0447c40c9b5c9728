"""Opens connections: by a known address or a race of addresses, through a proxy, with TLS."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import TransferError
from ..network import encoded, numeric_address, open_socket, open_through_socks
from ..proxies import proxy_authorization, proxy_for
from .waits import Call, Outcome, Ready, Stalled, Steps
from .wire import Ended, Head, Parser

if TYPE_CHECKING:
    from .storage import Storage


class TunnelRefused(Exception):
    """A proxy answered CONNECT with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Peers:
    """What connections share: working addresses, and TLS sessions."""

    def __init__(self, forget: Callable[[socket.socket], None]) -> None:
        self.forget = forget
        """Called before a socket is closed."""
        self.addresses: dict[tuple[str, int], tuple[int, Any]] = {}
        self.sessions: dict[str, ssl.SSLSession] = {}
        self.races: dict[tuple[str, int], Call] = {}
        """By host and port: lookups and first connection attempts in progress."""

    def remember(self, origin: str, sock: ssl.SSLSocket) -> None:
        """Keep a TLS session for further connections, which then need less time and CPU."""
        if origin not in self.sessions:
            session = sock.session
            if session is not None and session.has_ticket:
                self.sessions[origin] = session


class Route:
    """How an origin (`https://host:port`) is reached, and what each request to it has.

    `standing` are headers that every request has; `where` is the host and port to connect to.
    Raises TransferError for a proxy that cannot be used.
    """

    def __init__(self, origin: str, standing: Mapping[str, str]) -> None:
        parts, proxy = urlsplit(origin), proxy_for(origin)
        self.origin = origin
        self.secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        port = parts.port or (443 if self.secure else 80)
        self.authority = f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
        self.socks = proxy if proxy and proxy.lower().startswith("socks") else None
        """The address of a SOCKS proxy, which passes on bytes without reading them."""
        if self.socks:
            proxy = None
        self.where = _proxy_address(proxy) if proxy else (self.host, port)
        self.prefix = ""
        """What stands before each target: a forwarding proxy needs the whole URL."""
        self.tunnel: Mapping[str, str] | None = None
        """The headers that open a tunnel through a proxy; None without such a proxy."""
        named = origin.partition("://")[2].removesuffix(":443" if self.secure else ":80")
        fixed = {"Host": named, **standing}
        if proxy and self.secure:
            self.tunnel = proxy_authorization(proxy)
        elif proxy:
            self.prefix = origin
            fixed |= proxy_authorization(proxy)
        self.fixed = header_lines(fixed)
        """The header lines of each request."""


class Opening:
    """The opening of one connection by a deadline; `sock` is what is open so far."""

    def __init__(self, route: Route, storage: Storage, peers: Peers, deadline: float) -> None:
        self.sock: Any = None
        self._route, self._storage, self._peers = route, storage, peers
        self._deadline = deadline

    def run(self) -> Steps[None]:
        """Open it by the deadline. Raises OSError, Stalled, Ended, ProtocolError, TunnelRefused."""
        self.sock = yield from self._reach()
        self.sock.setblocking(False)
        with suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._route.tunnel is not None:
            yield from self._dig(self._route.tunnel)
        if self._route.secure:
            yield from self._shake_hands()

    def _reach(self) -> Steps[socket.socket]:
        """Connect to the address that answered before, or to the fastest one of the name."""
        if self._route.socks is not None:
            return (yield from self._through(self._route.socks))
        race = self._peers.races.get(self._route.where)
        if race is not None:
            yield Outcome(race, self._deadline)
        # With one address there is nothing to race, and nothing to wait for.
        known = self._peers.addresses.get(self._route.where) or numeric_address(*self._route.where)
        if known is not None:
            try:
                return (yield from self._connect(*known))
            except (OSError, Stalled) as error:
                self._peers.addresses.pop(self._route.where, None)
                if isinstance(error, Stalled):  # no time is left for another address
                    raise
        return (yield from self._race())

    def _connect(self, family: int, address: Any) -> Steps[socket.socket]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            while code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
                yield Ready(sock, EVENT_WRITE, self._deadline)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            self._peers.forget(sock)
            sock.close()
            raise
        return sock

    def _race(self) -> Steps[socket.socket]:
        where, timeout = self._route.where, self._storage.stall_timeout
        race = Call(lambda: open_socket(*where, timeout))
        self._peers.races[where] = race
        try:
            sock: socket.socket = yield Outcome(race, self._deadline)
            self._peers.addresses[where] = sock.family, sock.getpeername()
            return sock
        finally:
            if race.done:
                self._peers.races.pop(where, None)
            else:
                race.unwanted = _close_late(self._peers, where, race)

    def _through(self, socks: str) -> Steps[socket.socket]:
        where, timeout = self._route.where, self._storage.stall_timeout
        call = Call(lambda: open_through_socks(socks, *where, timeout))
        try:
            sock: socket.socket = yield Outcome(call, self._deadline)
            return sock
        finally:
            if not call.done:
                call.unwanted = lambda: call.result and call.result.close()

    def _dig(self, headers: Mapping[str, str]) -> Steps[None]:
        """Ask the proxy for a tunnel to the host."""
        start = f"CONNECT {self._route.authority} HTTP/1.1\r\nHost: {self._route.authority}\r\n"
        data = start.encode("latin-1") + header_lines(headers) + b"\r\n"
        yield from send(self.sock, data, self._deadline)
        parser, buffer = Parser(tunnel=True), memoryview(bytearray(4096))
        while True:
            yield Ready(self.sock, EVENT_READ, self._deadline)
            try:
                count = self.sock.recv_into(buffer)
            except BlockingIOError:
                continue
            if not count:
                raise Ended(started=True)
            for event in parser.feed(buffer[:count]):
                if not isinstance(event, Head) or event.status // 100 != 2:
                    raise TunnelRefused(event.status if isinstance(event, Head) else 0)
                return

    def _shake_hands(self) -> Steps[None]:
        self.sock = self._storage.tls_context().wrap_socket(
            self.sock,
            server_hostname=encoded(self._route.host.rstrip(".")),
            do_handshake_on_connect=False,
            # A body without a length and without a close_notify was cut (RFC 9112, 9.8).
            suppress_ragged_eofs=False,
            session=self._peers.sessions.get(self._route.origin),
        )
        while True:
            try:
                self.sock.do_handshake()
                # With TLS 1.3 a session only comes with the first response.
                self._peers.remember(self._route.origin, self.sock)
                return
            except ssl.SSLWantReadError:
                yield Ready(self.sock, EVENT_READ, self._deadline)
            except ssl.SSLWantWriteError:
                yield Ready(self.sock, EVENT_WRITE, self._deadline)


def send(sock: Any, data: bytes, deadline: float) -> Steps[None]:
    """Send all bytes by a deadline. Raises OSError, Stalled."""
    while data:
        try:
            data = data[sock.send(data) :]
            continue
        except (BlockingIOError, ssl.SSLWantWriteError):
            events = EVENT_WRITE
        except ssl.SSLWantReadError:
            events = EVENT_READ
        yield Ready(sock, events, deadline)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Return headers as the lines of a request."""
    # Latin-1, as responses are decoded: a validator is sent back in the same bytes.
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _close_late(peers: Peers, where: tuple[str, int], race: Call) -> Callable[[], None]:
    """Return the callback for a race that ends when nobody waits for it."""

    def close() -> None:
        peers.races.pop(where, None)
        if race.error is None:
            peers.addresses[where] = race.result.family, race.result.getpeername()
            race.result.close()

    return close


def _proxy_address(proxy: str) -> tuple[str, int]:
    at = urlsplit(proxy)
    if at.scheme != "http":
        raise TransferError(
            f"a proxy of the kind {at.scheme}:// is not supported for the storage",
            code="proxy",
            hint="set HTTPS_PROXY to an http:// proxy, or put the storage's host into NO_PROXY",
        )
    return at.hostname or "", at.port or 80
