"""One connection to a storage that never blocks: the loop does the waiting.

`wire` parses responses, and requests are written here, because requests and urllib3's pools rewrite
a URL (`%7e`, `/../`), which makes the signature over its bytes invalid. There are no credentials
here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any

from .opening import Opening, Peers, Route, header_lines, send
from .response import Response
from .waits import Ready, Steps
from .wire import Head, Parser

if TYPE_CHECKING:
    from .blocks import Blocks
    from .storage import Storage

_AT_ONCE = 1 << 20
"""How many bytes one connection reads before others have their turn."""
_LEAST_ROOM = 16 * 1024
"""The size of a TLS record in bytes: a block with less room counts as full."""
_DRAIN = 8192
"""The most bytes of an unwanted body that are read so that the connection can be kept."""


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
        self._route = Route(origin, storage.standing)
        self._secure = self._route.secure
        self._storage, self._peers, self._blocks, self._clock = storage, peers, blocks, clock
        self._parser = Parser()
        self._moved = 0
        self._turn = 0
        self._drained = True
        self._events_wanted = EVENT_READ
        self._fault: OSError | None = None

    def open(self) -> Steps[None]:
        """Open it, within the stall timeout. Raises what `Opening.run` raises."""
        began = self._clock()
        self.deadline = began + self._storage.stall_timeout
        opening = Opening(self._route, self._storage, self._peers, self.deadline)
        try:
            yield from opening.run()
        finally:
            self.sock = opening.sock
        self.opening = self._clock() - began

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
        self.deadline, self._moved = self._clock() + self._storage.stall_timeout, 0
        self._parser, self._drained = Parser(), True
        yield from send(self.sock, self._request(target, headers), self.deadline)
        asked = self._clock()
        while not (events := self._parser.feed((yield from self._receive()))):
            pass
        head, *pieces = events
        assert isinstance(head, Head)
        self._keep(pieces, moved=True)
        if self._secure:
            self._read_on(self._parser)
            self._peers.remember(self.origin, self.sock)
        now = self._clock()
        self.deadline = now + self._storage.stall_timeout  # the body has all of it
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
        """Note that nobody read from it for these seconds, which do not count as a stall."""
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
        line = f"GET {self._route.prefix}{target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        return line + self._route.fixed + (header_lines(headers) if headers else b"") + b"\r\n"

    def _wait_for_block(self) -> Steps[memoryview]:
        began = self._clock()
        block = yield from self._blocks.take()
        self.rested(self._clock() - began)
        return block

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

    def _read_on(self, parser: Parser) -> None:
        """Read what has arrived of a body: a small one mostly comes with its head."""
        if parser.due and self.block is not None:
            room = self.block[self.high : self.high + min(self.most, parser.due)]
            count = self._read_records(room, 0)
            parser.skip(count)
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
