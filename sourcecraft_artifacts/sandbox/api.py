"""The API endpoints: a request in, a JSON response out."""

from __future__ import annotations

import hmac
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import TypeVar
from urllib.parse import parse_qs, unquote

from .data import Cube, Repository, Run, Task, Workflow
from .http import Headers, Reply, Request, text_reply
from .views import Json, RunView, Sign

DEFAULT_PAGE = 20
LARGEST_PAGE = 100

_Named = TypeVar("_Named", Run, Workflow, Task, Cube)


class Problem(Exception):
    """An error response: its status, error code and additional headers."""

    def __init__(self, status: int, code: str, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class Api:
    """Answers the endpoints that the downloader uses.

    `elapsed` returns how many seconds ago a live run was created.
    """

    def __init__(
        self, repository: Repository, token: str, elapsed: Callable[[], float], sign: Sign
    ) -> None:
        self._repository = repository
        self._token = token
        self._elapsed = elapsed
        self._sign = sign
        self._count = itertools.count(1)

    def answer(self, request: Request) -> Reply:
        """Return the response to a request, which may be an error."""
        request_id = f"sandbox-{next(self._count):06}"
        status = 200
        headers: Headers = (("X-Request-Id", request_id),)
        try:
            self._authorize(request)
            body = self._found(request)
        except Problem as problem:
            status, headers = problem.status, (*headers, *problem.headers)
            body = {"error_code": problem.code, "message": str(problem)}
            body |= {"request_id": request_id, "details": {}}
        return text_reply(status, "application/json", json.dumps(body), headers)

    def _authorize(self, request: Request) -> None:
        if request.method != "GET":
            message = f"{request.method} is not allowed here"
            raise Problem(405, "MethodNotAllowed", message, (("Allow", "GET"),))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given, wanted = token.strip().encode(), self._token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
            challenge = (("WWW-Authenticate", 'Bearer realm="sandbox"'),)
            raise Problem(401, "Unauthenticated", "a valid token is required", challenge)

    def _found(self, request: Request) -> Json:
        match [unquote(segment) for segment in request.path.split("/")]:
            case ["", "repos", org, repo, "cicd", *rest]:
                if f"{org}/{repo}" != self._repository.org_repo:
                    raise _missing(f"repository {org}/{repo} not found")
                return self._endpoint(rest, request.query)
        raise _missing("there is no such endpoint")

    def _endpoint(self, segments: list[str], query: str) -> Json:
        match segments:
            case ["runs"]:
                return self._page(query)
            case ["runs", run]:
                return self._view(self._run(run)).run()
            case ["runs", run, workflow]:
                found = self._run(run)
                return self._view(found).workflow(_named(found.workflows, workflow, "workflow"))
            case ["artifacts", run, workflow, task, cube]:
                return {"artifacts": self._artifacts(self._run(run), workflow, task, cube)}
        raise _missing("there is no such endpoint")

    def _page(self, query: str) -> Json:
        fields = parse_qs(query)
        size = max(1, min(_number(fields, "page_size", DEFAULT_PAGE), LARGEST_PAGE))
        start = _number(fields, "page_token", 0)
        runs = self._repository.runs
        page: Json = {"runs": [self._view(run).run() for run in runs[start : start + size]]}
        if start + size < len(runs):
            page["next_page_token"] = str(start + size)
        return page

    def _artifacts(self, run: Run, workflow: str, task: str, cube: str) -> list[Json]:
        tasks = _named(run.workflows, workflow, "workflow").tasks
        found = _named(_named(tasks, task, "task").cubes, cube, "cube")
        if cube.startswith("#"):  # an internal cube, for which the service may return an error
            raise Problem(400, "ValidationError", f"cube_slug is not valid: {cube}")
        return self._view(run).artifacts(workflow, task, found, self._sign)

    def _run(self, slug: str) -> Run:
        return _named(self._repository.runs, slug, "run")

    def _view(self, run: Run) -> RunView:
        elapsed = self._elapsed() if run.live else math.inf
        return RunView(self._repository.org_repo, run, elapsed)


def _named(records: Iterable[_Named], slug: str, what: str) -> _Named:
    for record in records:
        if record.slug == slug:
            return record
    raise _missing(f"{what} {slug} not found")


def _missing(message: str) -> Problem:
    return Problem(404, "NotFound", message)


def _number(fields: dict[str, list[str]], name: str, default: int) -> int:
    text = fields.get(name, [str(default)])[0]
    if not re.fullmatch("0|[1-9][0-9]{0,19}", text) or int(text) >= 1 << 64:
        raise Problem(400, "ValidationError", f"{name} is not a valid number: {text}")
    return int(text)
