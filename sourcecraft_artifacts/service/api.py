"""The endpoints of the service that the tool uses, over requests.

A transport adapter sends requests that are prepared here. A session of requests would read
`.netrc`, keep cookies and follow redirects.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlencode

import requests
import urllib3
from requests.adapters import HTTPAdapter

from .. import __version__, checks, network, proxies, threads, trust
from ..backoff import backoff
from ..errors import ApiError, UsageError
from ..logs import get_logger, redaction
from ..models import Artifact, CubeAddress, Run, objects, read_run
from ..text import visible, without_secrets
from . import early
from .access import DEFAULT_API_URL, DEFAULT_TIMEOUT, api_host, check_api_url, clean_token
from .connections import POOLS
from .responses import (
    MOST_OF_AN_ERROR,
    UNREACHABLE,
    MorePages,
    Response,
    RetryableError,
    content,
    naming,
    read_artifacts,
    read_page_token,
    request_note,
)

_log = get_logger(__name__)
_SILENCE = 2.0
"""Seconds of retries after which a message tells of them."""
_MAX_BODY = 64 * 1024 * 1024
_PIECE = 64 * 1024
_CONNECTIONS = 64


class Client:
    """The service's API for one token, for use by several threads at once.

    `timeout` limits each connect and each silence, `deadline` a whole exchange, both in seconds;
    `max_body` limits a decoded body, in bytes. A request that fails with a retryable error is
    repeated up to `retries` times, with `sleep` in between. Each exchange is logged. Raises
    `UsageError` for an address that a token must not be sent to, and for a malformed token, proxy
    or CA bundle. The methods raise `ApiError`, `AuthError` and `NotFound`.
    """

    def __init__(
        self,
        api_url: str = DEFAULT_API_URL,
        token: str | None = None,
        *,
        retries: int = 5,
        timeout: float = DEFAULT_TIMEOUT,
        deadline: float = 120,
        ca_bundle: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        max_body: int = _MAX_BODY,
    ) -> None:
        api_url = check_api_url(api_url)
        if not isinstance(token, str | None):
            raise UsageError("token must be a string or None")
        checks.whole("retries", retries, 0)
        for name, seconds in {"timeout": timeout, "deadline": deadline}.items():
            checks.number(name, seconds, 0, above=True)
        self._token = clean_token(token) if token else None
        if self._token:
            redaction.hide(self._token)
        self._host = api_host(api_url)
        self._template = _prepared(api_url, self._token)
        self._base = str(self._template.url).rstrip("/")
        self._adapter = _Adapter(trust.ca_bundle(ca_bundle))
        self._retries, self._timeout, self._deadline = retries, timeout, deadline
        self._sleep = sleep
        self._max_body = max_body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        early.close()
        self._adapter.close()

    def artifacts(self, address: CubeAddress) -> list[Artifact]:
        """Return the artifacts of a cube, each with a fresh `download_url`, in one request."""
        checks.instance("address", address, CubeAddress)
        names = (address.run, address.workflow, address.task, address.cube)
        path = _path(address.repo, "artifacts", *names)
        asked = f"workflow {names[1]}, task {names[2]}, cube {names[3]}"
        asked += f" in run {address.run} of {address.repo}"
        listing = self._get(path, asked)
        with naming(asked):
            return read_artifacts(address, listing)

    def run(self, repo: str, run: str) -> Run:
        """Return a run, with its workflows, tasks and cubes."""
        answer = self._get(_path(repo, "runs", run), asked := f"run {run} of {repo}")
        with naming(asked):
            return read_run(answer)

    def runs(self, repo: str, *, page_size: int = 50, most_pages: int = 1000) -> Iterator[Run]:
        """Yield the runs of a repository in the service's order; pages are requested lazily.

        A run that comes twice is yielded once, and a page may be empty. Raises `MorePages` after
        `most_pages` if there are more.
        """
        path, asked = _path(repo, "runs"), f"the runs of {repo}"
        known: set[str] = set()
        page_token = ""
        for _ in range(most_pages):
            query = {"page_size": str(page_size)}
            query |= {"page_token": page_token} if page_token else {}
            page = self._get(path, asked, query)
            with naming(asked):
                found = [read_run(item) for item in objects(page, "runs")]
            for run in found:
                if run.slug not in known:
                    known.add(run.slug)
                    yield run
            with naming(asked):
                last, page_token = page_token, read_page_token(page)
            if not page_token or page_token == last:
                return
        unread = f"{visible(asked)}: there are more than {most_pages:,} pages of them"
        raise MorePages(unread, most_pages)

    def _get(self, path: str, asked: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Request a JSON object; messages describe it as `asked`. Raises `ApiError` and others."""
        asked = visible(asked)
        target = f"{path}?{urlencode(query, errors='surrogatepass')}" if query else path
        told = time.monotonic()
        for failures in range(1, max(self._retries, 0) + 2):
            try:
                return self._try(path, target, asked)
            except RetryableError as passing:
                fault = passing
            if failures <= self._retries:
                delay = backoff(failures, fault.retry_after)
                _log.debug("GET %s: retrying in %.1f s: %s", path, delay, fault)
                if time.monotonic() + delay - told >= _SILENCE:
                    _log.info("%s: %s; trying again in %.0f s", asked, fault, delay)
                    told = time.monotonic()
                self._sleep(delay)
        tries = f" (after {failures} tries)" if failures > 1 else ""
        raise ApiError(f"{asked}: {fault}{tries}", hint=fault.hint) from fault.__cause__

    def _try(self, path: str, target: str, asked: str) -> dict[str, Any]:
        started = time.monotonic()
        answer = self._exchange(target, asked)
        seconds = time.monotonic() - started
        note = request_note(answer, self._secrets)
        _log.debug("GET %s: %d in %.3f s%s", path, answer.status, seconds, note)
        return content(answer, asked, self._host, self._token)

    def _exchange(self, target: str, asked: str) -> Response:
        """Send one request and read the whole response. Raises `RetryableError` and `ApiError`."""
        request = self._template.copy()
        # Preparing would decode `%2E`; a URL that is set afterwards is sent byte for byte.
        request.url = self._base + target
        proxy = proxies.proxy_for(request.url)
        limit = self._max_body
        try:
            return threads.within(
                self._deadline, lambda: self._adapter.exchange(request, self._timeout, proxy, limit)
            )
        except threads.DeadlinePassed:
            late = f"{self._host} did not finish its response within {self._deadline:g} s"
            raise ApiError(f"{asked}: {late}", hint=UNREACHABLE) from None
        except _TooLong:
            raise ApiError(f"{asked}: the response is longer than {limit:,} bytes") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            via = f" through the proxy {visible(proxies.shown_proxy(proxy))}" if proxy else ""
            cause = network.root_cause(error)
            reason = f"cannot reach {self._host}{via}: {network.explain(cause, self._timeout)}"
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ApiError(f"{asked}: {reason}", hint=network.way_out(cause)) from error
            raise RetryableError(without_secrets(reason, self._secrets)) from error

    @property
    def _secrets(self) -> list[str]:
        return [self._token] if self._token else []


class _TooLong(Exception):
    """The body is longer than the limit."""


class _Adapter(HTTPAdapter):
    """Sends prepared requests, with one TLS context for all connections.

    requests would read the CAs again for each connection, which takes 10 ms of CPU time.
    """

    def __init__(self, ca_bundle: str | None) -> None:
        super().__init__(pool_maxsize=_CONNECTIONS)
        self._ca_bundle = ca_bundle
        self.poolmanager.pool_classes_by_scheme = POOLS

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True)
        if host["scheme"] != "https":
            return host, {}
        context = trust.ssl_context(self._ca_bundle)
        return host, {"cert_reqs": "CERT_REQUIRED", "ssl_context": context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context verifies the certificate."""

    def proxy_headers(self, proxy: Any) -> dict[str, str]:
        """Send the proxy's password as UTF-8, where requests would use Latin-1."""
        return proxies.proxy_authorization(proxy)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        if proxy.lower().startswith("https:"):
            context = trust.ssl_context(self._ca_bundle)
            options |= {"ssl_context": context, "proxy_ssl_context": context}
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def exchange(
        self, request: requests.PreparedRequest, timeout: float, proxy: str | None, limit: int
    ) -> Response:
        """Send a request and read the response, of at most `limit` bytes. Raises `_TooLong`."""
        proxies = {"http": proxy, "https": proxy} if proxy else None
        response = self.send(request, stream=True, timeout=timeout, proxies=proxies)
        try:
            status, raw = response.status_code, response.raw
            whole = raw.chunked or raw.length_remaining is not None
            body = _error_body(raw) if status >= 300 else _body(raw, limit)
            return Response(status, raw.reason or "", response.headers, body, whole)
        finally:
            response.raw.close()


def _body(raw: Any, limit: int) -> bytes:
    body = bytearray()
    for piece in raw.stream(_PIECE, decode_content=True):
        body += piece
        if len(body) > limit:
            raise _TooLong
    return bytes(body)


def _error_body(raw: Any) -> bytes:
    """Read the beginning of an error's body; if that fails, the status is enough."""
    try:
        return bytes(raw.read(MOST_OF_AN_ERROR, decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError):
        return b""


def _prepared(api_url: str, token: str | None) -> requests.PreparedRequest:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": f"sourcecraft-artifacts/{__version__}",
    }
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return requests.Request("GET", api_url, headers=headers).prepare()


def _path(repo: str, kind: str, *names: str) -> str:
    org, _, name = checks.text("repo", repo).partition("/")
    return "/".join(["/repos", segment(org), segment(name), "cicd", kind, *map(segment, names)])


def segment(name: str) -> str:
    """Percent-encode a name as one segment of a path (RFC 3986, 3.3).

    The dots of `.` and `..` are encoded too, or the path would lead elsewhere. Raises `UsageError`
    if the name is empty.
    """
    if not isinstance(name, str):
        raise UsageError("a name in the address must be a string")
    if not name:
        raise UsageError("a name in the address is empty: ORG/REPO, RUN, WORKFLOW, TASK or CUBE")
    if name in (".", ".."):
        return name.replace(".", "%2E")
    return quote(name, safe="", errors="surrogatepass")
