"""GETs to the storage: one kept connection a thread, redirects, and bytes just as they come."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException

import urllib3.exceptions

from ..errors import BrokenTransfer, Cancelled, TransferError
from ..logs import get_logger
from ..network import explain, root_cause, ssl_context
from ..urls import unsafe_url_reason
from .connection import Connection
from .targets import redirected, split_target, target_secrets
from .watchdog import Watchdog
from .wire import Ended, ProtocolError, WireResponse

_log = get_logger(__name__)
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DRAIN = 8192
"""Bytes of an unwanted body that are read to keep its connection."""


class Response:
    """One answer of the storage; `length` is the bytes of its body, or None when not told.

    `headers` have lower-case names; repeated ones are joined by commas.
    """

    def __init__(
        self, storage: Storage, connection: Connection, wire: WireResponse, target: str
    ) -> None:
        self.status = wire.status
        self.length = wire.length
        self.headers: Mapping[str, str] = wire.headers
        self._storage = storage
        self._connection = connection
        self._wire = wire
        self._target = target

    @property
    def secrets(self) -> list[str]:
        """What the request asked for: no message may repeat it."""
        return target_secrets(self._target)

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._wire.ended

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` with what is there, and return its bytes; 0 is the end of the body.

        Raises BrokenTransfer when the connection fails or ends early, Cancelled when called off.
        """
        try:
            count = self._wire.read_into(buffer)
        except (OSError, ProtocolError, Ended) as error:
            raise self._storage.translate(self._connection, error) from error
        if count:
            self._storage.watchdog.moved(self._connection, count)
        elif not self.length:
            # An end without a length may be our own doing.
            self._storage.watchdog.check(self._connection)
        return count

    def text(self, most: int = 2048) -> str:
        """Return the start of a small body, for a message; empty when it cannot be read."""
        buffer = memoryview(bytearray(most))
        got = 0
        with suppress(TransferError):
            while got < most and (count := self.read_into(buffer[got:])):
                got += count
        return bytes(buffer[:got]).decode("utf-8", "replace")

    def close(self) -> None:
        """Give the connection back: kept when the body was read whole, closed otherwise."""
        if not self.ended and 0 < (self.length or 0) < _DRAIN:
            self.text(_DRAIN)
        self._storage.release(self._connection, keep=self._wire.reusable)

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Storage:
    """Sends GETs to `download_url`s; safe to use from many threads, each with one connection.

    `stall_timeout` is in seconds (`Watchdog`).
    """

    def __init__(
        self,
        *,
        stall_timeout: float = 30.0,
        ca_bundle: str | None = None,
        agent: str = "sourcecraft-artifacts",
    ) -> None:
        self.watchdog = Watchdog(stall_timeout)
        self._ca_bundle = ca_bundle
        self._standing = f"User-Agent: {agent}\r\nAccept: */*\r\nAccept-Encoding: identity"
        self._local = threading.local()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send one GET and return its answer, redirects followed; the caller closes it.

        Raises BrokenTransfer for what another try may cure, TransferError for what none can,
        Cancelled when the download was called off.
        """
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._exchange(url, headers)
            location = answer.headers.get("location") if answer.status in _REDIRECTS else None
            if location is None:
                return answer
            answer.close()
            url = redirected(url, location)
        raise TransferError(
            f"the storage redirects more than {MAX_REDIRECTS} times", code="redirect"
        )

    def cancel(self) -> None:
        """Call everything off: blocked reads end at once with Cancelled, in every thread."""
        self.watchdog.cancel()

    def close(self) -> None:
        """End the watch; connections close with their threads."""
        self.watchdog.close()

    def drop_connection(self) -> None:
        """Close the kept connection of the calling thread."""
        connection: Connection | None = vars(self._local).pop("connection", None)
        if connection is not None:
            connection.close()

    # The rest is for Response.

    def translate(self, connection: Connection, error: Exception) -> Exception:
        """Return what an error of the connection means to the transfer."""
        try:
            self.watchdog.check(connection)
        except (Cancelled, BrokenTransfer) as known:
            return known
        if isinstance(error, ProtocolError):
            return BrokenTransfer(f"the storage's answer is broken: {error}", code="protocol")
        if isinstance(error, Ended):
            return BrokenTransfer("the connection ended too early", code="cut")
        cause = root_cause(error)
        why = explain(cause, self.watchdog.stall_timeout)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransferError(
                f"the storage could not be reached: {why}",
                code="certificate",
                hint="trust its authority with --ca-bundle FILE",
            )
        return BrokenTransfer(f"the storage could not be reached: {why}")

    def release(self, connection: Connection, *, keep: bool) -> None:
        """Take a connection from the watch, and close it unless it is to be kept."""
        self.watchdog.release(connection)
        if not keep or connection.shut:
            connection.close()

    def _exchange(self, url: str, headers: Mapping[str, str]) -> Response:
        if reason := unsafe_url_reason(url):
            raise TransferError(f"the storage's URL is unsafe: {reason}", code="unsafe_url")
        connection, target = self._connection(url)
        reused = connection.socket is not None
        try:
            return self._send(connection, target, headers)
        except BrokenTransfer:
            if not reused or connection.stalled:
                raise
        # The storage had closed the kept connection: that says nothing of this request.
        return self._send(*self._connection(url), headers)

    def _send(self, connection: Connection, target: str, headers: Mapping[str, str]) -> Response:
        self.watchdog.watch(connection)
        try:
            if connection.socket is None:
                connection.connect()
                self.watchdog.check(connection)
            connection.send(target, self._standing, headers)
            wire = WireResponse(connection.socket)
        except (
            OSError,
            HTTPException,
            urllib3.exceptions.HTTPError,
            ProtocolError,
            Ended,
        ) as error:
            self.release(connection, keep=False)
            raise self.translate(connection, error) from error
        except BaseException:
            self.release(connection, keep=False)
            raise
        self.watchdog.moved(connection)
        # No more of the URL: how it is signed is unknown, and a path can be the key too.
        asked, where = headers.get("Range", "all"), connection.origin
        _log.debug("storage: %d for %s of a file at %s", wire.status, asked, where)
        return Response(self, connection, wire, target)

    def _connection(self, url: str) -> tuple[Connection, str]:
        """Return this thread's one connection, made for the URL's origin, and the target."""
        origin, target = split_target(url)
        kept: Connection | None = getattr(self._local, "connection", None)
        if kept is None or kept.origin != origin or not kept.silent:
            self.drop_connection()
            kept = Connection(origin, self.watchdog.stall_timeout, self._context)
            self._local.connection = kept
        return kept, target

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl_context(self._ca_bundle)
            return self._tls
