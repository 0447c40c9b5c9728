"""The reporters for a download's progress on stderr: plain lines, JSON events; `bars` has bars."""

from __future__ import annotations

import sys
from typing import Any, TextIO, Unpack

from ..logs import get_logger
from ..results import FileResult, Outcome
from ..text import count, human_seconds, to_json, visible
from ..transfer.reporter import Activity, NullReporter
from .colours import is_capable_term, painter
from .report import error_fields
from .summary import LEAST_TIME, size_and_time, was_cancelled
from .tracking import (
    REFRESH_TEXT,
    Settings,
    Tracker,
    failure_text,
    shown_name,
    summary_text,
)

_log = get_logger(__name__)

SUMMARY_EVERY = 5.0
EVENTS_EVERY = 1.0
MOST_LINES = 40
"""If there are more files, plain lines count them, and only failures have their own lines."""


class Lines(Tracker):
    """Collects whole lines, and writes them at each tick."""

    def __init__(self, stream: TextIO, **settings: Unpack[Settings]) -> None:
        super().__init__(stream, **settings)
        self._lines: list[str] = []
        self._told = self.clock()

    def say(self, line: str) -> None:
        """Add a line to those that the next tick writes."""
        with self.lock:
            self._lines.append(line)

    def due(self, seconds: float) -> bool:
        """Tell whether files are active and this many seconds passed since it last said so."""
        now = self.clock()
        if not self.active or now - self._told < seconds:
            return False
        self._told = now
        return True

    def flush(self) -> None:
        """Write the collected lines at once."""
        with self.lock:
            lines, self._lines = self._lines, []
        if lines:
            self.stream.write("\n".join(lines) + "\n")


class Plain(Lines):
    """A line when a file ends or is retried, and a summary every few seconds; no cursor moves.

    With more than a few dozen files only failures have lines of their own; the summary counts the
    rest. Unavailable artifacts are named at the end, when the listing is final.
    """

    tells_failures = True

    def __init__(self, stream: TextIO, **settings: Unpack[Settings]) -> None:
        super().__init__(stream, **settings)
        self._paint = painter(stream)
        self._counts = False
        self._retries = 0
        self._retried: dict[str, tuple[int, float]] = {}
        """By file: how often it was retried, and when that was last said."""
        self._awaited = ""

    def begin(self, total: int) -> None:
        self._counts = total > MOST_LINES
        super().begin(total)

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """Say the first retry of a file at once, and later how many there were."""
        now = self.clock()
        with self.lock:
            self._retries += 1
            times, told = self._retried.get(activity.name, (0, -SUMMARY_EVERY))
            is_due = not times or now - told >= SUMMARY_EVERY
            self._retried[activity.name] = times + 1, now if is_due else told
        if is_due and not self._counts:
            when = f" in {human_seconds(delay)}" if delay >= LEAST_TIME else ""
            when += f" ({count(times + 1, 'time')} so far)" if times else ""
            self.say(f"{visible(activity.name)}: retrying{when}: {visible(reason)}")

    def refreshing(self, count: int) -> None:
        self.say(REFRESH_TEXT)

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        super().finished(activity, result)
        if result.outcome is Outcome.DOWNLOADED and not self._counts:
            name = shown_name(activity, result)
            self.say(f"{name}: {size_and_time(result.size or 0, result.seconds)}")
        elif result.outcome is Outcome.FAILED and not was_cancelled(result):
            label = self._paint(f"{result.outcome}:", "red")
            self.say(f"{label} {failure_text(activity, result)}")

    def waiting(self, what: str) -> None:
        super().waiting(what)
        if what != self._awaited:
            self._awaited = what
            if what:
                self.say(f"waiting: {visible(what)}")

    def tick(self) -> None:
        if self.due(SUMMARY_EVERY):
            with self.lock:
                activities = [fetch.activity for fetch in self.active.values()]
            for activity in activities:
                if activity.stage:
                    self.say(f"{visible(activity.name)}: {visible(activity.stage)}")
            retried = f", retried {count(self._retries, 'time')}" if self._retries else ""
            said = summary_text(self.totals(), awaits_more=bool(self._awaited))
            self.say(said + (retried if self._counts else ""))
        self.flush()


class JsonEvents(Lines):
    """One JSON object a line; sizes in bytes, times in seconds, speed in bytes a second.

    - started: name, size (or null), position (bytes on disk already)
    - progress: name, size, position, stage (empty while bytes arrive, else what is being done);
      at most once a second for each active file
    - retrying: name, reason, delay
    - refreshing: count (active files of the cube whose artifacts are listed again for new URLs)
    - finished: name, path, status (of the service), outcome, size, transferred, seconds,
      error (null, or code and message)
    - waiting: what
    - summary: done, total (files), bytes (on disk), size (of all files, as far as known), sized
      (whether all sizes are known), transferred, speed; when the total changes, each second, and
      at the end
    """

    def _event(self, event: str, **fields: Any) -> None:
        self.say(to_json({"event": event, **fields}))

    def begin(self, total: int) -> None:
        super().begin(total)
        self._summary()

    def started(self, activity: Activity) -> None:
        super().started(activity)
        self._event("started", **_place(activity))

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        self._event("retrying", name=activity.name, reason=reason, delay=round(delay, 3))

    def refreshing(self, count: int) -> None:
        self._event("refreshing", count=count)

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        super().finished(activity, result)
        self._event(
            "finished",
            name=shown_name(activity, result),
            path=result.path,
            status=result.artifact.status,
            outcome=result.outcome,
            size=result.size,
            transferred=result.transferred,
            seconds=round(result.seconds, 3),
            error=error_fields(result.error),
        )

    def waiting(self, what: str) -> None:
        super().waiting(what)
        self._event("waiting", what=what)

    def tick(self) -> None:
        if self.due(EVENTS_EVERY):
            with self.lock:
                fetches = list(self.active.values())
            for fetch in fetches:
                place, stage = _place(fetch.activity), fetch.activity.stage
                if (place["position"], stage) != (fetch.told, fetch.stage):
                    fetch.told, fetch.stage = place["position"], stage
                    self._event("progress", **place, stage=stage)
            self._summary()
        self.flush()

    def write_rest(self) -> None:
        self._summary()
        self.flush()

    def _summary(self) -> None:
        totals = self.totals()
        self._event(
            "summary",
            done=totals.done,
            total=totals.total,
            bytes=totals.bytes,
            size=totals.size,
            sized=totals.sized,
            transferred=totals.transferred,
            speed=round(totals.speed),
        )


class FailureEvents(JsonEvents):
    """The events of files that are missing or failed, and no others."""

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        if result.outcome in (Outcome.UNAVAILABLE, Outcome.FAILED):
            super().finished(activity, result)

    def _event(self, event: str, **fields: Any) -> None:
        if event == "finished":
            super()._event(event, **fields)


def _place(activity: Activity) -> dict[str, Any]:
    return {"name": activity.name, "size": activity.size, "position": activity.position}


class RetriesLogged(NullReporter):
    """Logs retries and new listings for `--debug` where no progress is shown."""

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        _log.debug("%s: retrying in %.1f s: %s", activity.name, delay, reason)

    def refreshing(self, count: int) -> None:
        _log.debug("%s", REFRESH_TEXT)


def make_reporter(
    kind: str, *, stream: TextIO | None = None, limit: float | None = None, quiet: bool = False
) -> NullReporter:
    """Make the reporter for `--progress`: auto, bar, plain or json.

    `stream` is stderr by default; if that is closed, nothing is written. Bars need a terminal that
    can move its cursor; elsewhere lines are written. `limit` is `--limit-rate`, in bytes a second.
    With `quiet`, the only events are of files that are missing or failed.
    """
    stream = stream or sys.stderr
    if stream is None:
        return NullReporter()
    if kind == "json":
        return (FailureEvents if quiet else JsonEvents)(stream, limit=limit)
    if kind == "plain" or not (stream.isatty() and is_capable_term()):
        return Plain(stream, limit=limit)
    from .bars import Bars  # rich costs start-up time

    return Bars(stream, limit=limit)
