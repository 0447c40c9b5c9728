"""GET requests to the storage: persistent connections, redirects, undecoded bytes."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ..errors import BrokenTransfer, TransferError, UnsafeUrl
from ..logs import get_logger
from ..network import explain, root_cause, way_out
from ..text import visible
from ..trust import ssl_context
from ..urls import unsafe_url_reason
from .blocks import Blocks
from .connection import Connection
from .opening import Peers, TunnelRefused
from .response import Response
from .targets import redirected, split_target
from .waits import Gate, Stalled, Steps
from .wire import Ended, ProtocolError

_log = get_logger(__name__)
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BROKEN = (OSError, ProtocolError, Ended, Stalled, TunnelRefused)


class Storage:
    """The settings of the connections to the storage.

    `stall_timeout` is in seconds: a connection that is slower than 1 byte a second for so long is
    given up, and so is one that is not open or has not sent all headers by then.
    """

    def __init__(
        self,
        *,
        stall_timeout: float = 30.0,
        ca_bundle: str | None = None,
        agent: str = "sourcecraft-artifacts",
    ) -> None:
        self.stall_timeout = stall_timeout
        self.standing = {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        """The headers of every request."""
        self._ca_bundle = ca_bundle

    def tls_context(self) -> ssl.SSLContext:
        """Return the context of every connection, built once. Raises `UsageError`."""
        return ssl_context(self._ca_bundle)

    def translate(self, error: Exception, origin: str) -> TransferError:
        """Translate an error of a connection to an origin into one of the transfer."""
        if isinstance(error, Stalled):
            return BrokenTransfer(
                f"the connection stalled for {self.stall_timeout:g} s", code="stalled"
            )
        if isinstance(error, ProtocolError):
            return BrokenTransfer(f"the storage's response is malformed: {error}", code="protocol")
        if isinstance(error, Ended):
            return BrokenTransfer("the connection ended early", code="cut")
        cause = root_cause(error)
        if isinstance(cause, TunnelRefused):
            why = f"the proxy refused the connection with {cause.status}"
        else:
            why = explain(cause, self.stall_timeout)
        if isinstance(cause, ssl.SSLCertVerificationError):
            host = visible(urlsplit(origin).netloc)
            return TransferError(
                f"the storage {host} could not be reached: {why}",
                code="certificate",
                hint=way_out(cause),
            )
        return BrokenTransfer(f"the storage could not be reached: {why}")


class Connections:
    """The connections to storages, for the loop's thread alone.

    At most `most` are open, idle ones included. `clock` tells the loop's time; `forget` is called
    before a socket is closed.
    """

    def __init__(
        self,
        storage: Storage,
        blocks: Blocks,
        clock: Callable[[], float],
        forget: Callable[[socket.socket], None],
        most: int,
    ) -> None:
        self.storage = storage
        self.most = most
        self.read_at_once = 1 << 30
        self.on_open: Callable[[float], None] = lambda seconds: None
        """Called after a connection was opened, with the seconds that it took."""
        self._blocks, self._clock = blocks, clock
        self._peers = Peers(forget)
        self._idle: list[Connection] = []
        self._coming: list[str] = []
        """The origins of connections that `prepare` opens."""
        self._spare = Gate()
        """Where requests wait for one of these."""
        self.busy = 0
        """How many are in use."""
        self.asking = 0
        """How many of them wait for a response."""

    @property
    def idle(self) -> int:
        """How many are open and idle."""
        return len(self._idle)

    def get(
        self, url: str, headers: Mapping[str, str], *, redirects: int = MAX_REDIRECTS
    ) -> Steps[Response]:
        """Send a GET, follow redirects and return the response; the caller must `release` it.

        Raises `BrokenTransfer` if it is retryable, else `TransferError`.
        """
        if reason := unsafe_url_reason(url):
            raise UnsafeUrl(reason)
        origin, target = split_target(url)
        while (connection := self._kept(origin)) is None:
            if self._coming.count(origin) <= len(self._spare.waiting):
                break
            yield self._spare  # one is being opened anyway
        while True:
            is_old = connection is not None and connection.reused
            try:
                if connection is None:
                    connection = yield from self._opened(origin)
                answer = yield from self._ask(connection, target, headers)
                break
            except _BROKEN as error:
                if not is_old or isinstance(error, Stalled):
                    raise self.storage.translate(error, origin) from error
            connection = None  # a storage may close a kept one at any time: that is no failure
        if answer.status not in _REDIRECTS or "location" not in answer.headers:
            return answer
        yield from self.finish(answer)
        if not redirects:
            message = f"the storage redirects more than {MAX_REDIRECTS} times"
            raise TransferError(message, code="redirect")
        url = redirected(url, answer.headers["location"])
        return (yield from self.get(url, headers, redirects=redirects - 1))

    def finish(self, answer: Response) -> Steps[None]:
        """Read the beginning of an unwanted body, and release its connection."""
        try:
            answer.start = yield from answer.connection.finish()
        except _BROKEN:
            pass  # the text of the body remains unknown
        finally:
            self.release(answer)

    def more(self, answer: Response) -> Steps[int]:
        """Wait until more of the body is in its connection's block; 0 bytes when it has ended.

        Raises `BrokenTransfer`.
        """
        try:
            return (yield from answer.connection.more())
        except _BROKEN as error:
            raise self.storage.translate(error, answer.connection.origin) from error

    def release(self, answer: Response) -> None:
        """Take a connection back; keep it if its response was read completely, else close it."""
        connection = answer.connection
        self.busy -= 1
        if connection.reusable:
            connection.free()
            connection.reused = True
            self._idle.append(connection)
            self._trim()
        else:
            connection.close()

    def prepare(self, url: str) -> Steps[None]:
        """Open a connection for later requests; failures are ignored here."""
        origin = split_target(url)[0]
        self._coming.append(origin)
        try:
            connection = yield from self._opened(origin)
        except (TransferError, *_BROKEN):
            return
        else:
            self.busy -= 1
            self._idle.append(connection)
            self._trim()
        finally:
            self._coming.remove(origin)
            waiting, self._spare.waiting = self._spare.waiting, deque()
            for look in waiting:
                look()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _ask(
        self, connection: Connection, target: str, headers: Mapping[str, str]
    ) -> Steps[Response]:
        self.asking += 1
        try:
            answer = yield from connection.ask(target, headers)
        except BaseException:
            self.busy -= 1
            connection.close()
            raise
        finally:
            self.asking -= 1
        # Only the origin is logged: how a URL is signed is unknown, and its path may be the secret.
        asked, where = headers.get("Range", "all"), connection.origin
        _log.debug("storage: %d for %s of a file at %s", answer.status, asked, where)
        return answer

    def _kept(self, origin: str) -> Connection | None:
        for connection in reversed(self._idle):
            if connection.origin == origin:
                self._idle.remove(connection)
                if connection.silent:
                    self.busy += 1
                    return connection
                connection.close()
        return None

    def _opened(self, origin: str) -> Steps[Connection]:
        connection = Connection(origin, self.storage, self._peers, self._blocks, self._clock)
        connection.most = self.read_at_once
        self.busy += 1
        self._trim()
        try:
            yield from connection.open()
        except BaseException:
            self.busy -= 1
            connection.close()
            raise
        self.on_open(connection.opening)
        return connection

    def _trim(self) -> None:
        """Close the oldest idle connections if there are too many."""
        while self._idle and len(self._idle) + self.busy > self.most:
            self._idle.pop(0).close()
