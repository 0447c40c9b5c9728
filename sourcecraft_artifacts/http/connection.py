"""One connection to a storage: urllib3 opens it, with TLS and proxies; requests go over its socket.

Requests and answers are our own (`wire`), since requests and urllib3's pools rewrite a URL (`%7e`,
`/../`), and a signature over the original bytes then fails. No credential of the API exists here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_read

from ..errors import TransferError
from ..network import proxy_authorization, proxy_for


class Connection:
    """One connection to an origin (`https://host:port`), and when it counts as stalled.

    `deadline` is in monotonic seconds, `timeout` in seconds for its opening. Raises TransferError
    for a proxy that cannot be used.
    """

    __slots__ = (
        "_connection",
        "_forwarded",
        "_host",
        "_tunnel",
        "deadline",
        "moved",
        "origin",
        "shut",
        "stalled",
    )

    def __init__(
        self, origin: str, timeout: float, tls_context: Callable[[], ssl.SSLContext]
    ) -> None:
        self.origin = origin
        self.deadline = 0.0
        self.moved = 0
        self.stalled = False
        self.shut = False
        self._forwarded: Mapping[str, str] | None = None
        """What each request to a forwarding proxy carries; None without such a proxy."""
        self._tunnel: tuple[str, int, Mapping[str, str]] | None = None
        """The host and port that a proxy is to dig a tunnel to, and what it is told for that."""
        scheme, _, authority = origin.partition("://")
        self._host = authority.removesuffix(":443" if scheme == "https" else ":80")
        parts, proxy = urlsplit(origin), proxy_for(origin)
        host, port = parts.hostname or "", parts.port or (443 if scheme == "https" else 80)
        where = _proxy_address(proxy) if proxy else (host, port)
        self._connection: Any
        if scheme == "https":
            context = tls_context()
            self._connection = HTTPSConnection(*where, timeout=timeout, ssl_context=context)
            self._tunnel = (host, port, proxy_authorization(proxy)) if proxy else None
        else:
            self._connection = HTTPConnection(*where, timeout=timeout)
            self._forwarded = proxy_authorization(proxy) if proxy else None

    @property
    def socket(self) -> Any:
        """The open socket, or None."""
        return self._connection.sock

    @property
    def silent(self) -> bool:
        """Whether it is open and nothing came since: that would be taken for the next answer."""
        sock = self.socket
        pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
        return sock is not None and not pending and not wait_for_read(sock, 0)

    def connect(self) -> None:
        """Open the connection anew. Raises OSError, and what urllib3 and http.client raise."""
        if self._tunnel is not None:  # urllib3 forgets it with each connection that it closes
            self._connection.set_tunnel(*self._tunnel)
        self._connection.connect()
        if isinstance(self.socket, ssl.SSLSocket):
            # A body without a length ends with TLS's own goodbye, or it was cut (RFC 9112, 9.8).
            setattr(self.socket, "suppress_ragged_eofs", False)  # noqa: B010 - unknown to the stubs
        self.socket.settimeout(None)  # from here on the watchdog keeps the time

    def send(self, target: str, standing: str, headers: Mapping[str, str]) -> None:
        """Send a GET's head; the target goes out byte for byte. Raises OSError.

        `standing` are the header lines of every request.
        """
        lines = [f"Host: {self._host}", standing]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._forwarded is not None:
            target = self.origin + target
            lines += [f"{name}: {value}" for name, value in self._forwarded.items()]
        request = f"GET {target} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        # Latin-1, as answers are read: a validator goes back in the bytes that it came in.
        self.socket.sendall(request + "\r\n".join([*lines, "", ""]).encode("latin-1"))

    def end(self) -> None:
        """End whatever call is blocked on the socket, from any thread."""
        self.shut = True
        sock = self.socket
        if sock is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it would pull the TLS object from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; `connect` can open it anew."""
        self._connection.close()


def _proxy_address(proxy: str) -> tuple[str, int]:
    at = urlsplit(proxy)
    if at.scheme != "http":
        raise TransferError(
            f"a proxy of the kind {at.scheme}:// is not supported for the storage",
            code="proxy",
            hint="name an http:// proxy in HTTPS_PROXY, or the storage's host in NO_PROXY",
        )
    return at.hostname or "", at.port or 80
