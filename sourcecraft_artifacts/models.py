"""The service's records, which are frozen, and the functions that read them from JSON.

An absent field, null and an empty value mean the same, because the service may leave out empty
fields. Unknown fields are ignored, and unknown enum values are kept as they are.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, NamedTuple

from .errors import ApiError

ACTIVE_STATUSES = ("created", "prepared", "processing", "awaiting_approval")
FINAL_STATUSES = ("success", "failed", "canceled", "timeout", "skipped", "rejected")
"""The statuses of runs, workflows, tasks and cubes; one that awaits an approval may still go on."""
FAILED_STATUSES = ("failed", "canceled", "timeout")
EVENT_TYPES = ("push", "pr_update", "manual", "restart", "schedule", "repository_event")
UNAVAILABLE_STATUSES = frozenset({"registered", "failed", "missing"})
_LEAP_SECOND = r"(:\d\d):60"


def moment(stamp: str | None) -> datetime | None:
    """Parse a time in the form of RFC 3339, to the microsecond; return None for anything else.

    A leap second counts as the second after it; a time without a zone is taken as UTC.
    """
    text, leaps = re.subn(_LEAP_SECOND, r"\1:59", (stamp or "").strip().upper())
    try:
        read = datetime.fromisoformat(text) + timedelta(seconds=bool(leaps))
    except (ValueError, OverflowError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class ArtifactDates(NamedTuple):
    """The times of an artifact (RFC 3339), as the service sent them; None if it sent none.

    `registered_at`: when the run announced it. `obtained_at`: when its bytes were stored.
    `updated_at`: when it last changed.
    """

    registered_at: str | None = None
    obtained_at: str | None = None
    updated_at: str | None = None


class CubeAddress(NamedTuple):
    """The names that address a cube in the API.

    `repo` is `org/repo`; `run`, `workflow`, `task` and `cube` are slugs.
    """

    repo: str
    run: str
    workflow: str
    task: str
    cube: str

    @property
    def path(self) -> str:
        """The cube as a person reads it: `workflow/task/cube`."""
        return f"{self.workflow}/{self.task}/{self.cube}"


class Artifact(NamedTuple):
    """One artifact of a cube.

    `address`: its cube. `local_path`: its path in the cube, as the service sent it, unchecked.
    `status`: `success`, or `registered`, `failed` or `missing`, which have no bytes. `dates`: its
    times. `id`: the service's name for it. `download_url`: a temporary URL that gives access to its
    bytes, or None; never show it.
    """

    address: CubeAddress
    local_path: str
    status: str
    dates: ArtifactDates
    id: str = ""
    download_url: str | None = None

    def __repr__(self) -> str:
        """Show everything but the URL."""
        return f"<{self.address} {self.local_path!r} {self.status}>"

    @property
    def available(self) -> bool:
        """Whether it can be downloaded; with an unknown status, whether it has a URL."""
        if self.status == "success":
            return True
        return self.download_url is not None and self.status not in UNAVAILABLE_STATUSES


class Cube(NamedTuple):
    """A cube of a task: the step of a run that produces artifacts.

    `slug` is its name, `status` a word of the service, `finished_at` its end (RFC 3339) or None.
    """

    slug: str
    status: str = ""
    finished_at: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the status is final; with an unknown status, whether there is an end time."""
        return _is_over(self.status, self.finished_at)


class Task(NamedTuple):
    """A task of a workflow: its name (`slug`), its `status`, and its `cubes`."""

    slug: str
    status: str = ""
    cubes: tuple[Cube, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether its status is final, such as `skipped`; then its cubes have ended too."""
        return self.status in FINAL_STATUSES


class Workflow(NamedTuple):
    """A workflow of a run: its name (`slug`), its `status`, and its `tasks`."""

    slug: str
    status: str = ""
    tasks: tuple[Task, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether its status is final, such as `skipped`; then its tasks have ended too."""
        return self.status in FINAL_STATUSES


class Run(NamedTuple):
    """A CI run.

    `slug`: its number within the repository. `status` and `event_type` (what started it): words of
    the service. `created_at`, `started_at`, `finished_at`, `updated_at`: times (RFC 3339), or None.
    `pull`: the slug of its pull request, or None. `user`: who started it, or None. `workflows`: may
    be empty in a list of runs. `error_messages`: the run's own error messages.
    """

    slug: str
    status: str = ""
    event_type: str = ""
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str | None = None
    pull: str | None = None
    user: str | None = None
    workflows: tuple[Workflow, ...] = ()
    error_messages: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the run's status is final.

        With an unknown status it has ended when it has an end time, or when each of its cubes has
        ended. A cube in an unknown status may be waiting, as one that awaits approval once was.
        """
        if self.status in ACTIVE_STATUSES:
            return False
        if _is_over(self.status, self.finished_at):
            return True
        ended = [
            workflow.ended or task.ended or cube.ended
            for workflow in self.workflows
            for task in workflow.tasks
            for cube in task.cubes
        ]
        return bool(ended) and all(ended)


def _is_over(status: str, finished_at: str | None) -> bool:
    if status in FINAL_STATUSES:
        return True
    return status not in ACTIVE_STATUSES and finished_at is not None


def _texts_at(data: Mapping[str, Any], *keys: str) -> Sequence[str | None]:
    """Read several strings, of which some may be absent."""
    values: list[Any] = [*map(data.get, keys)]
    if {*map(type, values)} <= {str, NoneType}:  # as nearly always
        return values
    return [_text(data, key) for key in keys]


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    raise ApiError(f"the API's response is malformed: {key} is not a string")


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise ApiError(f"the API's response is malformed: {key} is not an object")


def _slug_of(reference: Any) -> str | None:
    """Return the slug of a user or a pull request in any form, since it is only shown."""
    slug = reference.get("slug") if isinstance(reference, dict) else reference
    return str(slug) if isinstance(slug, str | int) and slug != "" else None


def _texts(value: Any) -> tuple[str, ...]:
    """Read strings that are only shown; other values are ignored."""
    texts = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def objects(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Read a list of objects; absent and null are empty. Raises `ApiError` for anything else."""
    value = data.get(key)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    raise ApiError(f"the API's response is malformed: {key} is not a list of objects")


def read_artifact(address: CubeAddress, data: Mapping[str, Any]) -> Artifact:
    """Read one artifact of a listing. Raises `ApiError` if it is malformed."""
    path, status, name, url = _texts_at(data, "local_path", "status", "id", "download_url")
    dates = _texts_at(_object(data, "dates"), *ArtifactDates._fields)
    times = ArtifactDates(*[text or None for text in dates])
    return Artifact(address, path or "", status or "", times, name or "", url or None)


def read_run(data: Mapping[str, Any]) -> Run:
    """Read one run. Raises `ApiError` if it is malformed."""
    dates = _object(data, "dates")
    return Run(
        slug=_text(data, "slug"),
        status=_text(data, "status"),
        event_type=_text(data, "event_type"),
        created_at=_text(dates, "created_at") or None,
        started_at=_text(dates, "started_at") or None,
        finished_at=_text(dates, "finished_at") or None,
        updated_at=_text(dates, "updated_at") or None,
        pull=_slug_of(data.get("pull")),
        user=_slug_of(data.get("user")),
        workflows=tuple(_read_workflow(item) for item in objects(data, "workflows")),
        error_messages=_texts(data.get("error_messages")),
    )


def _read_workflow(data: Mapping[str, Any]) -> Workflow:
    tasks = tuple(_read_task(item) for item in objects(data, "tasks"))
    return Workflow(_text(data, "slug"), _text(data, "status"), tasks)


def _read_task(data: Mapping[str, Any]) -> Task:
    cubes = tuple(_read_cube(item) for item in objects(data, "cubes"))
    return Task(_text(data, "slug"), _text(data, "status"), cubes)


def _read_cube(data: Mapping[str, Any]) -> Cube:
    finished_at = _text(_object(data, "dates"), "finished_at") or None
    return Cube(_text(data, "slug"), _text(data, "status"), finished_at)
