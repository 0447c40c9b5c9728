"""Connections to the API that race a host's addresses, like those to the storage."""

from __future__ import annotations

import socket
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from .. import network
from . import early

_LONGEST = 60.0
"""Seconds to connect if a connection has no timeout of its own."""


def _connected(connection: Any) -> socket.socket:
    """Connect to the host or proxy of a connection; one timeout covers all its addresses.

    Raises urllib3's errors.
    """
    timeout = connection.timeout if isinstance(connection.timeout, int | float) else _LONGEST
    host = connection._dns_host.strip("[]")
    try:
        found = _early(connection, secure=False) or network.open_socket(
            host, connection.port, timeout
        )
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "no address answered") from error
    except OSError as error:
        raise NewConnectionError(connection, "no connection") from error
    found.settimeout(timeout)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def _early(connection: Any, *, secure: bool) -> socket.socket | None:
    """Return the connection that was opened while the program was loaded, unless there is a proxy.

    Raises OSError.
    """
    if connection.proxy is not None or connection._tunnel_host is not None:
        return None
    return early.take(connection._dns_host, connection.port, secure=secure)


class _FinalResponse(HTTPResponse):
    """The response after all informational ones (RFC 9110, 15.2); http.client skips only 100."""

    def begin(self) -> None:
        super().begin()
        while self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _Http(HTTPConnection):
    response_class = _FinalResponse

    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Https(HTTPSConnection):
    response_class = _FinalResponse

    def connect(self) -> None:
        opened = _early(self, secure=True)
        if opened is None:
            super().connect()
        else:
            self.sock, self.is_verified = opened, True

    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


POOLS = {"http": _HttpPool, "https": _HttpsPool}
