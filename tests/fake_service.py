"""A fake of the whole service, and what tests ask of the disk.

The API stands at 127.0.0.1 and the storage at localhost, so that they are two origins.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote

from servers import Received, Reply, Response, ScriptedServer, json_response, ranged

TOKEN = "tok-9f8e7d6c5b4a"
SIGNATURE = "s3cr3t-5ign4ture"
REPO = "org/repo"
CUBE = ("ci", "build", "linux")
DATES = {
    "registered_at": "2026-11-01T10:00:00Z",
    "obtained_at": "2026-11-01T10:01:00Z",
    "updated_at": "2026-11-01T10:02:00Z",
}
STATE = ".sourcecraft-artifacts"
STAYS = ("manifest.json", ".gitignore")
WAIT = 30.0


@dataclass
class Stored:
    """One declared artifact; `requests` has the requests for its storage object."""

    number: int
    local_path: str
    body: bytes
    replies: list[Reply]
    run: str = "7"
    cube: tuple[str, str, str] = CUBE
    status: str = "success"
    url: str | None = None
    dates: dict[str, str] = field(default_factory=DATES.copy)
    expired: int = 403
    requests: list[Received] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)


@dataclass
class DeclaredRun:
    """One run; its workflows are derived from the cubes."""

    slug: str
    status: str = "success"
    created_at: str = "2026-11-01T09:00:00Z"
    event: str = "push"
    pull: str | None = None
    user: str = "ann"
    errors: tuple[str, ...] = ()
    cubes: dict[tuple[str, str, str], str] = field(default_factory=dict)


class Servers:
    """An API and a storage, which run until the context ends."""

    api: ScriptedServer
    storage: ScriptedServer

    def __enter__(self) -> Self:
        self.api.__enter__()
        self.storage.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self.storage.close()


class FakeService(Servers):
    """Serve what a test declares; `api` and `storage` can also be scripted.

    `expire` makes every URL handed out so far invalid; `stale_listings` is how many more listings
    have URLs that are expired already; `page` is how many runs a page has.
    """

    def __init__(self) -> None:
        self.api = ScriptedServer()
        self.storage = ScriptedServer(host="localhost")
        self.artifacts: list[Stored] = []
        self.runs: dict[str, DeclaredRun] = {}
        self.page = 50
        self.generation = 1
        self.stale_listings = 0
        self._lock = threading.Lock()
        self.api.on(f"/repos/{REPO}/cicd/", self._answer)
        self.storage.on("/", self._store)

    def add_run(
        self, slug: str, status: str = "success", created_at: str = "", **more: Any
    ) -> DeclaredRun:
        """Declare a run; without a date it is as old as the others."""
        more |= {"created_at": created_at} if created_at else {}
        self.runs[slug] = run = DeclaredRun(slug, status, **more)
        return run

    def add(self, local_path: str, body: bytes = b"", *replies: Reply, **more: Any) -> Stored:
        """Declare an artifact, with the storage's responses, or a good server of `body`."""
        script = list(replies) or [ranged(body)]
        stored = Stored(len(self.artifacts), local_path, body, script, **more)
        run = self.runs.get(stored.run) or self.add_run(stored.run)
        run.cubes.setdefault(stored.cube, "success")
        self.artifacts.append(stored)
        return stored

    def expire(self) -> None:
        """Make the storage refuse all URLs handed out so far."""
        self.generation += 1

    def listings(self) -> int:
        """Return the number of requests to the artifacts endpoint."""
        return sum("/cicd/artifacts/" in received.target for received in self.api.requests)

    def url(self, stored: Stored) -> str:
        """Return the signed URL of an artifact at this moment."""
        path = f"/{stored.number}/{self.generation}"
        return stored.url or f"{self.storage.url}{path}?X-Signature={SIGNATURE}"

    def record(self, stored: Stored) -> dict[str, Any]:
        """Return an artifact as the API shows it."""
        ready = stored.status == "success"
        return {
            "id": f"id-{stored.number}",
            "local_path": stored.local_path,
            "dates": stored.dates,
            "status": stored.status,
            "download_url": self.url(stored) if ready else "",
        }

    def _answer(self, received: Received) -> Response:
        path, _, query = received.target.removeprefix(f"/repos/{REPO}/cicd/").partition("?")
        parts = [unquote(part) for part in path.split("/")]
        match parts:
            case ["artifacts", run, workflow, task, cube]:
                return self._listing(run, (workflow, task, cube))
            case ["runs"]:
                return self._runs(parse_qs(query))
            case ["runs", slug] if slug in self.runs:
                return json_response(self.run_record(self.runs[slug]))
        return problem(404, f"no {path}")

    def _listing(self, run: str, cube: tuple[str, str, str]) -> Response:
        if run not in self.runs or cube not in self.runs[run].cubes:
            return problem(404, f"no cube {'/'.join(cube)} in run {run}")
        chosen = [one for one in self.artifacts if (one.run, one.cube) == (run, cube)]
        answer = json_response({"artifacts": [self.record(one) for one in chosen]})
        with self._lock:
            if self.stale_listings:
                self.stale_listings -= 1
                self.expire()
        return answer

    def _runs(self, query: Mapping[str, list[str]]) -> Response:
        first = int(query.get("page_token", ["at/+ 0"])[0].removeprefix("at/+ "))
        last = first + min(self.page, int(query.get("page_size", ["50"])[0]))
        runs = [self.run_record(run) for run in [*self.runs.values()][first:last]]
        more = {"next_page_token": f"at/+ {last}"} if last < len(self.runs) else {}
        return json_response({"runs": runs, **more})

    def run_record(self, run: DeclaredRun) -> dict[str, Any]:
        """Return a run as the API shows it."""
        workflows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for (workflow, task, cube), status in run.cubes.items():
            cubes = workflows.setdefault(workflow, {}).setdefault(task, [])
            cubes.append({"slug": cube, "status": status})
        return {
            "slug": run.slug,
            "status": run.status,
            "event_type": run.event,
            "error_messages": list(run.errors),
            "dates": {"created_at": run.created_at},
            **({"pull": {"id": "2", "slug": run.pull}} if run.pull else {}),
            "user": {"id": "1", "slug": run.user},
            "workflows": [
                {"slug": name, "tasks": [{"slug": t, "cubes": c} for t, c in tasks.items()]}
                for name, tasks in workflows.items()
            ],
        }

    def _store(self, received: Received) -> Response:
        match = re.match(r"/(\d+)/(\d+)\?", received.target)
        if not match:
            return Response(404)
        stored = self.artifacts[int(match[1])]
        with self._lock:
            stored.requests.append(received)
            expired = int(match[2]) != self.generation
            if not expired:
                reply = stored.replies.pop(0) if len(stored.replies) > 1 else stored.replies[0]
        stored.asked.set()
        if expired:
            return Response(
                stored.expired, body=f"<Error>Expired {received.target}</Error>".encode()
            )
        return reply if isinstance(reply, Response) else reply(received)


def problem(status: int, message: str) -> Response:
    """Return an error as the API sends it."""
    return json_response({"error_code": "Odd", "message": message, "request_id": "req-17"}, status)


def target(run: str, *names: str, kind: str = "artifacts") -> str:
    """Return the path of an API endpoint for these slugs."""
    return "/".join([f"/repos/{REPO}/cicd/{kind}", *(quote(n, safe="") for n in (run, *names))])


def held(
    body: bytes, gate: threading.Event, etag: str | None = '"v1"'
) -> Callable[[Received], Response]:
    """A storage that holds back the second half of each response until the gate opens."""
    good = ranged(body, etag=etag)
    return lambda received: replace(good(received), gate=gate)


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition becomes true."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, without the state folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    mine = {place: path for place, path in paths.items() if place.split("/")[0] != STATE}
    return {place: path.read_bytes() for place, path in mine.items() if path.is_file()}


def partial_bytes(folder: Path) -> int:
    """Return the number of bytes of partial data in the state folder, without holes."""
    size = 0
    for path in (folder / STATE).rglob("*"):
        with suppress(FileNotFoundError):
            found = path.stat()
            if path.is_file() and path.name not in STAYS:
                size += min(found.st_size, 512 * found.st_blocks)
    return size
