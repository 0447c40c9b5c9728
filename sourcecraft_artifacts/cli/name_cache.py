"""A cache of names for completion: one file for each question, named by the question's hash.

A file has slugs, statuses and the fields that filters use, but no token, URL or artifact.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from ..disk.files import NotPlain, read_plain, write_private
from ..errors import ApiError
from ..models import Cube, Run, Task, Workflow, objects, read_run
from ..text import to_json

SECONDS = 30
SECONDS_WHEN_FINAL = 300
_FORGOTTEN = 3600
_LARGEST = 16 << 20
_OURS = (ApiError, NotPlain)
_PREFIX = "names-"


def remembered(
    question: Sequence[str],
    ask: Callable[[], Sequence[Run]],
    final: Callable[[Sequence[Run]], bool] = lambda runs: False,
) -> Sequence[Run]:
    """Return a cached answer, or ask and cache the answer if the disk allows it.

    An answer is cached for 30 seconds, or for 5 minutes if it is `final`. Raises what `ask`
    raises.
    """
    folder = _folder()
    if folder is None:
        return ask()
    digest = sha256("\n".join(question).encode("utf-8", "surrogateescape")).hexdigest()
    path = os.path.join(folder, f"{_PREFIX}{digest[:32]}.json")
    known = _load(path)
    if known is not None:
        return known
    runs = ask()
    with suppress(OSError):
        _store(path, runs, SECONDS_WHEN_FINAL if final(runs) else SECONDS)
    return runs


def _folder() -> str | None:
    from platformdirs import user_cache_dir

    try:
        folder = user_cache_dir("sourcecraft-artifacts", appauthor=False)
    except RuntimeError:  # no home folder is known
        return None
    return folder if os.path.isabs(folder) else None


def _load(path: str) -> list[Run] | None:
    """Read a cached answer; None if there is none, or if it is too old or damaged."""
    try:
        age = time.time() - os.stat(path).st_mtime
        kept = json.loads(read_plain(path, _LARGEST))
        if 0 <= age < kept["seconds"]:
            return [read_run(run) for run in objects(kept, "runs")]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, *_OURS):
        pass
    return None


def _store(path: str, runs: Sequence[Run], seconds: int) -> None:
    """Write an answer atomically, readable by its owner only, and delete those over an hour old."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _forget_old(folder)
    text = to_json({"seconds": seconds, "runs": [_record(run) for run in runs]})
    write_private(folder, os.path.basename(path), text.encode(), sync=False)


def _record(run: Run) -> dict[str, Any]:
    """Convert a run to the service's JSON: names, statuses and the fields that filters use."""
    facts = {"event_type": run.event_type, "pull": run.pull, "user": run.user}
    return _named(run, workflows=[_workflow(workflow) for workflow in run.workflows]) | facts


def _workflow(workflow: Workflow) -> dict[str, Any]:
    tasks = [_named(task, cubes=[_named(cube) for cube in task.cubes]) for task in workflow.tasks]
    return _named(workflow, tasks=tasks)


def _named(record: Run | Workflow | Task | Cube, **below: list[dict[str, Any]]) -> dict[str, Any]:
    return {"slug": record.slug, "status": record.status, **below}


def _forget_old(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            age = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if entry.name.startswith(_PREFIX) and age > _FORGOTTEN:
                with suppress(OSError):
                    os.unlink(entry.path)
