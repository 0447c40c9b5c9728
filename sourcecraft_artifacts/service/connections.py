"""Connections to the API that race a host's addresses, like those to the storage."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any
from urllib.parse import unquote, urlsplit

from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from .. import network, proxies, trust
from . import early

_LONGEST = 60.0
"""Seconds to connect if a connection has no timeout of its own."""
_MOST = 64
"""The most idle connections that are kept."""


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


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class Pool:
    """The connections to the API, through a proxy if there is one, with one TLS context for all.

    Raises `UsageError` for a CA bundle that cannot be read.
    """

    def __init__(self, api_url: str, proxy: str | None, ca_bundle: str | None) -> None:
        parts, settings = urlsplit(api_url), dict[str, Any]()
        through = urlsplit(proxy or "").scheme.lower()
        if "https" in (parts.scheme, through):
            context = trust.ssl_context(ca_bundle)
            settings = {"cert_reqs": "CERT_REQUIRED", "ssl_context": context}
        manager = _manager(proxy, {"maxsize": _MOST, **settings})
        self._pool = manager.connection_from_host(parts.hostname, parts.port, parts.scheme)
        is_forwarded = parts.scheme == "http" and through in ("http", "https")
        self._base = api_url if is_forwarded else parts.path

    def get(self, target: str, headers: Mapping[str, str], timeout: float) -> Any:
        """Send a GET for a target below the API's address, and return urllib3's response.

        `timeout` is in seconds. Raises urllib3's errors and OSError.
        """
        return self._pool.urlopen(
            "GET",
            self._base + target,
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            assert_same_host=False,  # a forwarding proxy is another host
            preload_content=False,
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


def _manager(proxy: str | None, settings: Mapping[str, Any]) -> PoolManager:
    if proxy is not None and proxy.lower().startswith("socks"):
        return _socks_manager(proxy, settings)
    manager = PoolManager(**settings)
    if proxy is not None:
        told, context = proxies.proxy_authorization(proxy), settings.get("ssl_context")
        manager = ProxyManager(proxy, proxy_headers=told, proxy_ssl_context=context, **settings)
    manager.pool_classes_by_scheme = _POOLS
    return manager


def _socks_manager(proxy: str, settings: Mapping[str, Any]) -> PoolManager:
    from urllib3.contrib.socks import SOCKSProxyManager

    parts = urlsplit(proxy)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return SOCKSProxyManager(proxy, user, password, **settings)
