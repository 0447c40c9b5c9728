"""One connection to a storage that never blocks: the loop does the waiting.

`wire` parses responses, and requests are written here, because requests and urllib3's pools rewrite
a URL (`%7e`, `/../`), which makes the signature over its bytes invalid. There are no credentials
here.
"""

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
from ..network import open_socket, proxy_authorization, proxy_for
from .targets import target_secrets
from .waits import Call, Outcome, Ready, Stalled, Steps
from .wire import Ended, Head, Parser

if TYPE_CHECKING:
    from .blocks import Blocks
    from .storage import Storage

_AT_ONCE = 1 << 20
"""How many bytes one connection reads before others have their turn."""
_LEAST_ROOM = 16 * 1024
"""The size of a TLS record in bytes: a block with less room counts as full."""
_DRAIN = 8192
"""The most bytes of an unwanted body that are read so that the connection can be kept."""


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
        self.addresses: dict[tuple[str, int], tuple[socket.AddressFamily, Any]] = {}
        self.sessions: dict[str, ssl.SSLSession] = {}
        self.races: dict[tuple[str, int], Call] = {}
        """By host and port: lookups and first connection attempts in progress."""


class Response:
    """One response of the storage; `length` is its body's size in bytes, None if unknown.

    `headers` have lower-case names; repeated ones are joined by commas. Its body is read from
    its `connection`.
    """

    def __init__(self, connection: Connection, head: Head, target: str, waited: float) -> None:
        self.status = head.status
        self.length = head.length
        self.headers: Mapping[str, str] = head.headers
        self.connection = connection
        self.waited = waited
        """How many seconds it came after its request."""
        self.start = b""
        """The beginning of the body of an error."""
        self._target = target

    @property
    def secrets(self) -> list[str]:
        """The parts of the requested URL that may be secret, which no message may show."""
        return target_secrets(self._target)

    def text(self) -> str:
        """Return the beginning of an error's body, for a message."""
        return self.start.decode("utf-8", "replace")


class Connection:
    """One connection to an origin (`https://host:port`), and when it counts as stalled.

    `clock` tells the loop's time. Received bytes of a body that were not taken yet are in `block`,
    up to `high`; whoever takes the block sets it to None. Raises TransferError for a proxy that
    cannot be used.
    """

    def __init__(
        self,
        origin: str,
        storage: Storage,
        peers: Peers,
        blocks: Blocks,
        clock: Callable[[], float],
    ) -> None:
        self.origin = origin
        self.sock: Any = None
        self.block: memoryview | None = None
        self.high = 0
        self.most = 1 << 30
        """The most bytes to read at once."""
        self.deadline = 0.0
        self.opening = 0.0
        """How many seconds it took to open."""
        self.reused = False
        """Whether it carried a response before."""
        self._storage, self._peers, self._blocks, self._clock = storage, peers, blocks, clock
        self._parser = Parser()
        self._moved = 0
        self._turn = 0
        self._drained = True
        self._events_wanted = EVENT_READ
        self._fault: OSError | None = None
        self._prefix = ""
        """What stands before each target: a forwarding proxy needs the whole URL."""
        self._tunnel: Mapping[str, str] | None = None
        """The headers that open a tunnel through a proxy; None without such a proxy."""
        parts, proxy = urlsplit(origin), proxy_for(origin)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        port = parts.port or (443 if self._secure else 80)
        self._authority = f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"
        self._where = _proxy_address(proxy) if proxy else (self._host, port)
        named = origin.partition("://")[2].removesuffix(":443" if self._secure else ":80")
        fixed = {"Host": named, **storage.standing}
        if proxy and self._secure:
            self._tunnel = proxy_authorization(proxy)
        elif proxy:
            self._prefix = origin
            fixed |= proxy_authorization(proxy)
        self._fixed = _header_lines(fixed)
        """The header lines of each request."""

    # Opening.

    def open(self) -> Steps[None]:
        """Open it, within the stall timeout. Raises OSError, Stalled, TunnelRefused."""
        began = self._clock()
        self.deadline = began + self._storage.stall_timeout
        self.sock = yield from self._reach()
        self.sock.setblocking(False)
        with suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tunnel is not None:
            yield from self._dig(self._tunnel)
        if self._secure:
            yield from self._shake_hands()
        self.opening = self._clock() - began

    def _reach(self) -> Steps[socket.socket]:
        """Connect to the address that answered before, or to the fastest one of the name."""
        race = self._peers.races.get(self._where)
        if race is not None:
            yield Outcome(race, self.deadline)
        known = self._peers.addresses.get(self._where)
        if known is not None:
            try:
                return (yield from self._connect(*known))
            except (OSError, Stalled) as error:
                self._peers.addresses.pop(self._where, None)
                if isinstance(error, Stalled):  # no time is left for another address
                    raise
        return (yield from self._race())

    def _connect(self, family: socket.AddressFamily, address: Any) -> Steps[socket.socket]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            while code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
                yield Ready(sock, EVENT_WRITE, self.deadline)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            self._peers.forget(sock)
            sock.close()
            raise
        return sock

    def _race(self) -> Steps[socket.socket]:
        where, timeout = self._where, self._storage.stall_timeout
        race = Call(lambda: open_socket(*where, timeout))
        self._peers.races[where] = race
        try:
            sock: socket.socket = yield Outcome(race, self.deadline)
            self._peers.addresses[where] = sock.family, sock.getpeername()
            return sock
        finally:
            if race.done:
                self._peers.races.pop(where, None)
            else:
                race.unwanted = _close_late(self._peers, where, race)

    def _dig(self, headers: Mapping[str, str]) -> Steps[None]:
        start = f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\n"
        yield from self._send(start.encode("latin-1") + _header_lines(headers) + b"\r\n")
        parser, buffer = Parser(tunnel=True), memoryview(bytearray(4096))
        while True:
            yield Ready(self.sock, EVENT_READ, self.deadline)
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
            server_hostname=self._host.rstrip("."),
            do_handshake_on_connect=False,
            # A body without a length and without a close_notify was cut (RFC 9112, 9.8).
            suppress_ragged_eofs=False,
            session=self._peers.sessions.get(self.origin),
        )
        while True:
            try:
                self.sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                yield Ready(self.sock, EVENT_READ, self.deadline)
            except ssl.SSLWantWriteError:
                yield Ready(self.sock, EVENT_WRITE, self.deadline)

    # One exchange after another.

    @property
    def silent(self) -> bool:
        """Whether it is open and has no stray bytes, which would be read as the next response."""
        if self.sock is None:
            return False
        try:
            if not (self._secure and self.sock.pending()):
                # Peek below TLS: if no bytes are there, a TLS read would cost more.
                socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
            if not self._secure:
                return False
            self.sock.recv(1)  # the bytes may be a session ticket
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def ask(self, target: str, headers: Mapping[str, str]) -> Steps[Response]:
        """Send a GET and return its response; the target is sent byte for byte.

        Raises OSError, Stalled, Ended and ProtocolError.
        """
        timeout = self._storage.stall_timeout
        self.deadline, self._moved = self._clock() + timeout, 0
        self._parser, self._drained = Parser(), True
        yield from self._send(self._request(target, headers))
        asked = self._clock()
        while not (events := self._parser.feed((yield from self._receive()))):
            pass
        head, *pieces = events
        assert isinstance(head, Head)
        self._keep(pieces, moved=True)
        if self._secure and self._parser.due:
            self._read_on()
        self._remember_session()
        now = self._clock()
        self.deadline = now + timeout  # the body has all of it
        return Response(self, head, target, now - asked)

    def more(self) -> Steps[int]:
        """Wait until more of the body is in `block`; return how many bytes, 0 when it has ended.

        While it waits, others may take the block. Raises OSError, Stalled, Ended, ProtocolError.
        """
        parser = self._parser
        while not parser.ended:
            data = yield from self._receive()
            self.moved(len(data))
            before = self.high
            if parser.due:
                parser.skip(len(data))
                self.high += len(data)
            else:
                self._keep(parser.feed(data), moved=parser.chunked)
            if self.high > before:
                return self.high - before
        return 0

    def _receive(self) -> Steps[memoryview]:
        """Read what has arrived into the rest of the block; nothing when the other end closed.

        Raises `Ended` if that cuts the response.
        """
        while True:
            if self._drained:
                self._drained, self._turn = False, 0
                yield Ready(self.sock, self._events_wanted, self.deadline)
            elif self._turn > _AT_ONCE:
                self._turn = 0
                yield 0.0  # do not wait for the socket: the rest may be in TLS's buffer
            block = self.block
            if block is None:
                block = self._blocks.spare() or (yield from self._wait_for_block())
                self.block, self.high = block, 0
            # Read no more than the body lacks: then its end is known without another read.
            room = block[self.high : self.high + min(self.most, self._parser.due or self.most)]
            count = self._read(room)
            if count is None:
                continue
            if not count:
                self._parser.close()
            return room[:count]

    @property
    def is_full(self) -> bool:
        """Whether the block has too little room for another read."""
        return self.block is not None and len(self.block) - self.high < _LEAST_ROOM

    @property
    def ended(self) -> bool:
        """Whether the whole body has arrived."""
        return self._parser.ended

    @property
    def reusable(self) -> bool:
        """Whether it can carry another request."""
        return self.sock is not None and self._parser.keeps

    def finish(self, most: int = _DRAIN) -> Steps[bytes]:
        """Read the rest of an unwanted body, if it is short; return its beginning."""
        start = bytearray()
        while True:
            if self.block is not None:
                start += self.block[: self.high]
                self.high = 0
            if len(start) >= most or not (yield from self.more()):
                return bytes(start[:most])

    def moved(self, count: int) -> None:
        """Note progress; after enough bytes (1 a second) the stall timeout begins again."""
        self._moved += count
        if self._moved >= self._storage.stall_timeout:
            self._moved = 0
            self.deadline = self._clock() + self._storage.stall_timeout

    def rested(self, seconds: float) -> None:
        """Note that nobody read from it for so many seconds, which do not count as a stall."""
        self.deadline += seconds

    def take_block(self) -> memoryview:
        """Return the block with the received bytes."""
        block, self.block, self.high = self.block, None, 0
        assert block is not None, "there are no bytes"
        return block

    def close(self) -> None:
        """Close it, and give its block back."""
        sock, self.sock = self.sock, None
        if sock is not None:
            self._peers.forget(sock)
            sock.close()
        self.free()

    def free(self) -> None:
        """Give its block back."""
        block, self.block, self.high = self.block, None, 0
        if block is not None:
            self._blocks.give(block)

    def _request(self, target: str, headers: Mapping[str, str]) -> bytes:
        line = f"GET {self._prefix}{target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        return line + self._fixed + _header_lines(headers) + b"\r\n"

    def _wait_for_block(self) -> Steps[memoryview]:
        began = self._clock()
        block = yield from self._blocks.take()
        self.rested(self._clock() - began)
        return block

    def _send(self, data: bytes) -> Steps[None]:
        while data:
            try:
                data = data[self.sock.send(data) :]
                continue
            except (BlockingIOError, ssl.SSLWantWriteError):
                events = EVENT_WRITE
            except ssl.SSLWantReadError:
                events = EVENT_READ
            yield Ready(self.sock, events, self.deadline)

    def _read(self, room: memoryview) -> int | None:
        """Read what has arrived; None if nothing has."""
        if self._fault is not None:
            raise self._fault
        self._events_wanted = EVENT_READ
        count = self._read_once(room)
        if count is None:
            return None
        if not self._secure:
            # If less came than there was room for, no more is there.
            self._drained = count < len(room)
        elif count and self._parser.started:  # the head must tell first how much will come
            count = self._read_records(room, count)
        self._turn += count
        return count

    def _read_once(self, room: memoryview) -> int | None:
        try:
            if self._secure:  # `recv_into` does the same, in twice the time
                count: int = self.sock.read(len(room), room)
            else:
                count = self.sock.recv_into(room)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._drained = True
            return None
        except ssl.SSLWantWriteError:
            self._drained, self._events_wanted = True, EVENT_WRITE
            return None
        return count

    def _read_on(self) -> None:
        """Read what has arrived of a body: a small one mostly comes with its head."""
        assert self.block is not None
        room = self.block[self.high : self.high + min(self.most, self._parser.due)]
        count = self._read_records(room, 0)
        self._parser.skip(count)
        self.high += count
        self._turn += count

    def _read_records(self, room: memoryview, count: int) -> int:
        """Read the TLS records that follow: one read returns at most one record of 16 KiB."""
        least = 1 if len(room) == self._parser.due else _LEAST_ROOM
        while len(room) - count >= least:
            try:
                more = self._read_once(room[count:])
            except OSError as error:  # raised after the bytes before it have been used
                self._fault = error
                break
            if not more:
                break
            count += more
        return count

    def _keep(self, pieces: list[Any], *, moved: bool) -> None:
        """Move the pieces of a body together in the block, without gaps."""
        for piece in pieces:
            assert self.block is not None
            end = self.high + len(piece)
            if moved:
                self.block[self.high : end] = piece
            self.high = end

    def _remember_session(self) -> None:
        if self._secure and self.origin not in self._peers.sessions:
            session = self.sock.session  # with TLS 1.3 it comes after the handshake
            if session is not None and session.has_ticket:
                self._peers.sessions[self.origin] = session


def _close_late(peers: Peers, where: tuple[str, int], race: Call) -> Callable[[], None]:
    """Return the callback for a race that ends when nobody waits for it."""

    def close() -> None:
        peers.races.pop(where, None)
        if race.error is None:
            peers.addresses[where] = race.result.family, race.result.getpeername()
            race.result.close()

    return close


def _header_lines(headers: Mapping[str, str]) -> bytes:
    # Latin-1, as responses are decoded: a validator is sent back in the same bytes.
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def _proxy_address(proxy: str) -> tuple[str, int]:
    at = urlsplit(proxy)
    if at.scheme != "http":
        raise TransferError(
            f"a proxy of the kind {at.scheme}:// is not supported for the storage",
            code="proxy",
            hint="set HTTPS_PROXY to an http:// proxy, or put the storage's host into NO_PROXY",
        )
    return at.hostname or "", at.port or 80
