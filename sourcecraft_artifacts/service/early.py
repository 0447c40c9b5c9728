"""The first connection to the API, opened while the program still loads what will use it.

To load requests takes as long as a few round trips to the service, which pass meanwhile.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from .. import network
from ..trust import ca_bundle, ssl_context

_SYSTEM: str = sys.platform


class Early:
    """A connection to the API's host that another thread opens, for https with TLS.

    Once it is `done` there is `sock`, or the `error` that prevented it, or neither: what is not an
    error of the network is met again by whoever connects next.
    """

    def __init__(self, api_url: str, ca_bundle: str | None, timeout: float) -> None:
        parts = urlsplit(api_url)
        self._secure = parts.scheme == "https"
        self._host = (parts.hostname or "").rstrip(".")
        self._port = parts.port or (443 if self._secure else 80)
        self._ca_bundle, self._timeout = ca_bundle, timeout
        self.where = (self._host, self._port, self._secure)
        self.sock: socket.socket | None = None
        self.error: OSError | None = None
        self.done = threading.Event()
        self._unwanted = False

    def open(self) -> None:
        """Open it, unless a proxy may have to be used."""
        try:
            if not _may_need_proxy():
                self._connect()
        except OSError as error:
            self._drop()
            self.error = error
        except Exception:
            self._drop()
        self.done.set()
        if self._unwanted:
            self._drop()

    def _connect(self) -> None:
        self.sock = sock = network.open_socket(self._host, self._port, self._timeout)
        sock.settimeout(self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._secure:
            context = ssl_context(ca_bundle(self._ca_bundle))
            self.sock = context.wrap_socket(sock, server_hostname=network.encoded(self._host))

    def close(self) -> None:
        """Close it, at once or when it is open."""
        self._unwanted = True
        if self.done.is_set():
            self._drop()

    def _drop(self) -> None:
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()


_begun: list[Early] = []
"""The connection that nobody has taken yet, if there is one."""


def begin(api_url: str, ca_bundle: str | None, timeout: float) -> None:
    """Begin to open a connection to the API; `timeout` limits each step, in seconds."""
    early = Early(api_url, ca_bundle, timeout)
    with suppress(RuntimeError, MemoryError):  # without a thread it is opened later
        threading.Thread(target=early.open, daemon=True, name="early").start()
        _begun.append(early)


def take(host: str, port: int, *, secure: bool) -> socket.socket | None:
    """Wait for the connection to a host and return it, once; None if there is none.

    Raises the OSError that prevented it.
    """
    where = (host.strip("[]").rstrip(".").lower(), port, secure)
    try:
        early = _begun.pop()
    except IndexError:
        return None
    if early.where != where:
        _begun.append(early)
        return None
    early.done.wait()
    if early.error is not None:
        raise early.error
    return early.sock


def close() -> None:
    """Close the connection if nobody has taken it."""
    while _begun:
        _begun.pop().close()


def _may_need_proxy() -> bool:
    if any(name.lower().endswith("_proxy") for name in os.environ):
        return True
    if _SYSTEM == "linux":
        return False
    from urllib.request import getproxies  # other systems have settings of their own

    return bool(getproxies())
