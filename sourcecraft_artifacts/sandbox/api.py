"""The API endpoints: a request in, a JSON answer out."""

from __future__ import annotations

import binascii
import hmac
import itertools
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs, unquote

from .http import Reply, Request, whole
from .state import MissingError, State
from .views import artifact_views, run_view, workflow_view

DEFAULT_PAGE = 20
LARGEST_PAGE = 100


class ApiError(Exception):
    """An answer other than 200; `headers` go with it."""

    def __init__(self, status: int, code: str, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class Api:
    """Answers the endpoints that the downloader uses."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._count = itertools.count(1)

    def answer(self, request: Request) -> Reply:
        """Return the answer to `request`, errors included."""
        request_id = f"sandbox-{next(self._count):06}"
        try:
            status, body, headers = 200, self._found(request), ()
        except ApiError as error:
            status, headers = error.status, error.headers
            body = _error_body(error.code, str(error), request_id)
        except MissingError as error:
            status, headers = 404, ()
            body = _error_body("NotFound", str(error), request_id)
        encoded = json.dumps(body, separators=(",", ":")).encode()
        return whole(status, "application/json", encoded, ("X-Request-Id", request_id), *headers)

    def _found(self, request: Request) -> dict[str, Any]:
        if request.method != "GET":
            message = f"{request.method} is not allowed here"
            raise ApiError(405, "MethodNotAllowed", message, ("Allow", "GET"))
        self._authenticate(request.header("Authorization"))
        segments = [unquote(part, errors="surrogatepass") for part in request.path.split("/")]
        match segments:
            case ["", "repos", org, repo, "cicd", "artifacts", *address] if len(address) == 4:
                self._check_repository(org, repo)
                return self._artifacts(*address)
            case ["", "repos", org, repo, "cicd", "runs", *address] if len(address) <= 2:
                self._check_repository(org, repo)
                return self._runs(request.query, address)
        raise MissingError("there is no such endpoint")

    def _authenticate(self, header: str | None) -> None:
        scheme, _, token = (header or "").partition(" ")
        given, wanted = token.strip().encode("utf-8", "replace"), self._state.token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
            challenge = ("WWW-Authenticate", 'Bearer realm="sandbox"')
            raise ApiError(401, "Unauthenticated", "a valid token is required", challenge)

    def _check_repository(self, org: str, repo: str) -> None:
        if self._state.repository.org_repo.split("/", 1) != [org, repo]:
            raise MissingError(f"repository '{org}/{repo}' not found")

    def _runs(self, query: str, address: list[str]) -> dict[str, Any]:
        if not address:
            return self._page(query)
        repo, run = self._state.repository.org_repo, self._state.run(address[0])
        elapsed = self._state.elapsed(run)
        if len(address) == 1:
            return run_view(repo, run, elapsed)
        return workflow_view(repo, run, self._state.workflow(run, address[1]), elapsed)

    def _page(self, query: str) -> dict[str, Any]:
        fields = parse_qs(query, keep_blank_values=True)
        size = _page_size(fields.get("page_size", [""])[-1])
        repository = self._state.repository
        slugs = [run.slug for run in repository.runs]
        start = _position(fields.get("page_token", [""])[-1], slugs)
        chosen = repository.runs[start : start + size]
        views = [run_view(repository.org_repo, run, self._state.elapsed(run)) for run in chosen]
        page: dict[str, Any] = {"runs": views}
        if start + size < len(slugs):
            page["next_page_token"] = _page_token(slugs[start + size - 1])
        return page

    def _artifacts(self, run_slug: str, workflow: str, task: str, cube_slug: str) -> dict[str, Any]:
        state = self._state
        run = state.run(run_slug)
        cube = state.cube(run, workflow, task, cube_slug)
        address = (state.repository.org_repo, run_slug, workflow, task, cube_slug)
        key = state.key(address)
        views = artifact_views(
            run,
            address,
            cube,
            state.elapsed(run),
            lambda position, path: state.url + state.signer.sign(f"{key}/{position}-{path}"),
        )
        return {"artifacts": views}


def _page_size(text: str) -> int:
    if not text:
        return DEFAULT_PAGE
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text, re.ASCII):
        raise ApiError(400, "ValidationError", "page_size must be a positive number")
    return min(int(text), LARGEST_PAGE)


def _page_token(last_slug: str) -> str:
    return urlsafe_b64encode(f"after:{last_slug}".encode()).decode()


def _position(token: str, slugs: list[str]) -> int:
    if not token:
        return 0
    try:
        kind, _, slug = urlsafe_b64decode(token).decode().partition(":")
        if kind == "after":
            return slugs.index(slug) + 1
    except (ValueError, binascii.Error):
        pass
    raise ApiError(400, "ValidationError", "page_token is not one that this service gave out")


def _error_body(code: str, message: str, request_id: str) -> dict[str, Any]:
    return {"error_code": code, "message": message, "request_id": request_id, "details": {}}
