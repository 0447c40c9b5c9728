"""What all progress displays share: the active files, the totals, and the timer that writes.

Workers only note what happened, under a short lock. A timer thread does the writing, so that
neither a slow terminal nor a closed one can hold up a transfer.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TextIO, TypedDict, Unpack

from ..results import FileResult, Outcome
from ..select import normalised
from ..text import count, human_seconds, human_size, visible
from ..transfer.reporter import Activity, NullReporter
from .report import what_went_wrong
from .summary import was_cancelled

TICK = 0.1
SPEED_WINDOW = 5.0
REST_WITHIN = 1.0

Clock = Callable[[], float]


class Guarded(io.TextIOBase):
    """A text stream whose errors do not end the download: what cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if not self._lost:
            try:
                self._stream.write(text)
                self._stream.flush()
            except BlockingIOError:
                pass
            except (OSError, ValueError):
                self._lost = True
        return len(text)


@dataclass(slots=True)
class Fetch:
    """An active file: when it began (seconds), at which byte, and its latest retry."""

    activity: Activity
    began: float
    first: int
    note: str = ""
    until: float = 0.0
    told: int = -1
    stage: str = ""


class Totals(NamedTuple):
    """How far the download is: in files, bytes on disk, bytes in all, and bytes received."""

    done: int
    total: int
    bytes: int
    size: int
    sized: bool
    """Whether `size` counts every file; sizes become known file by file."""
    transferred: int
    speed: float
    """Bytes a second, over the last seconds."""


class Speed:
    """Measures bytes a second over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, now: float, transferred: int) -> float:
        """Add what was received until now, and return the speed."""
        samples = self._samples
        samples.append((now, transferred))
        while len(samples) > 2 and samples[1][0] <= now - SPEED_WINDOW:
            samples.popleft()
        seconds = now - samples[0][0]
        return max(0.0, (transferred - samples[0][1]) / seconds) if seconds > 0 else 0.0


class Settings(TypedDict, total=False):
    """The settings of all trackers."""

    clock: Clock
    ticks: float | None
    """Seconds between two calls of `tick`; with None the caller calls it."""
    limit: float | None
    """The rate limit in bytes a second.

    What comes faster for a moment had waited in a buffer, and is not shown as speed.
    """


class Tracker(NullReporter):
    """The base of the reporters that write: the facts, and the timer thread."""

    def __init__(self, stream: TextIO, **settings: Unpack[Settings]) -> None:
        self.stream = Guarded(stream)
        self.clock = settings.get("clock", time.monotonic)
        self.active: dict[int, Fetch] = {}
        self._left: list[Fetch] = []
        """Cancelled files: their bytes are kept, but they do not count as done."""
        self.lock = threading.Lock()
        self._speed = Speed()
        self._limit = settings.get("limit") or float("inf")
        self._ticks = settings.get("ticks", TICK)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._total = self._bytes = self._transferred = 0
        self._ended: dict[str, int] = {}
        """The bytes of each file that has ended; with `--wait` a newer version may follow."""

    def begin(self, total: int) -> None:
        self._total = total
        self.totals()  # the speed is measured from here on
        self._wake()

    def waiting(self, what: str) -> None:
        self._wake()

    def _wake(self) -> None:
        with self.lock:
            if self._ticks is not None and self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
                try:
                    self._thread.start()
                except (RuntimeError, MemoryError):  # without a thread less progress is shown
                    self._thread, self._ticks = None, None

    def _run(self) -> None:
        while not self._stop.wait(self._ticks):
            self.tick()

    def tick(self) -> None:
        """Write what is due."""

    def started(self, activity: Activity) -> None:
        fetch = Fetch(activity, self.clock(), activity.position)
        with self.lock:
            self._bytes -= self._ended.pop(activity.name, 0)
            self.active.setdefault(id(activity), fetch)
        self._wake()

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        with self.lock:
            fetch = self.active.pop(id(activity), None)
            if was_cancelled(result):
                self._left += [fetch] if fetch else []
                return
            if activity is None and result.outcome not in {Outcome.DOWNLOADED, Outcome.FAILED}:
                return
            size = (result.size or 0) if result.outcome is Outcome.DOWNLOADED else 0
            name = shown_name(activity, result)
            self._bytes += size - self._ended.get(name, 0)
            self._ended[name] = size
            self._transferred += result.transferred

    def totals(self) -> Totals:
        """Add up the files that have ended and the active ones."""
        with self.lock:
            fetches = [*self.active.values(), *self._left]
            done = len(self._ended)
            total = max(self._total, done + len(fetches))
            size, transferred = self._bytes, self._transferred
            on_disk = self._bytes
        for fetch in fetches:
            position = fetch.activity.position
            on_disk += position
            size += max(fetch.activity.size or 0, position)
            transferred += max(0, position - fetch.first)
        sized = total == done + len(fetches) and all(f.activity.size is not None for f in fetches)
        with self.lock:
            speed = min(self._limit, self._speed.update(self.clock(), transferred))
        return Totals(done, total, on_disk, size, sized, transferred, speed)

    def reached(self) -> str:
        totals = self.totals()
        said = summary_parts(totals._replace(speed=0.0))
        are = "is" if totals.total == len(said) == 1 else "are"
        return f"{', '.join(said)} {are} on disk" if totals.total else ""

    def close(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(REST_WITHIN)
            if self._thread.is_alive():
                return  # stderr is blocked, and the program must still end
        self.write_rest()

    def write_rest(self) -> None:
        """Write what is left at the end."""
        self.tick()


def shown_name(activity: Activity | None, result: FileResult) -> str:
    """Return the name of a file that has ended, safe to show, the same as while it was fetched."""
    path = result.path if result.path and result.path != "-" else result.artifact.local_path
    return visible(activity.name if activity else path)


def failure_text(activity: Activity | None, result: FileResult) -> str:
    """Say which file failed and why, with the artifact's path if the name lacks it."""
    name, path = shown_name(activity, result), visible(normalised(result.artifact.local_path))
    which = name if name.endswith(path) else f"{name} ({path})"
    reason = what_went_wrong(result).replace(f"cannot write {name}: ", "cannot write: ", 1)
    return f"{which}: {reason}"


def summary_text(totals: Totals, *, awaits_more: bool = False) -> str:
    """Say in one line how far the download is."""
    return ", ".join(summary_parts(totals, awaits_more=awaits_more))


def summary_parts(totals: Totals, *, awaits_more: bool = False) -> list[str]:
    """Say how far the download is: files, and if known bytes, speed and the time left.

    With `--wait` all files so far may have ended, and then no speed is shown; `awaits_more` says
    that more will come. The time left is shown only if all sizes are known.
    """
    so_far = " so far" if awaits_more else ""
    parts = [f"{totals.done:,} of {count(totals.total, 'file')}{so_far}"]
    if totals.size:
        least = "" if totals.sized else "at least "
        parts.append(f"{human_size(totals.bytes)} of {least}{human_size(totals.size)}")
    is_all_there = totals.sized and totals.bytes == totals.size  # and may still be unpacked
    if totals.speed and totals.done < totals.total and not is_all_there:
        parts.append(f"{human_size(totals.speed)}/s")
        if totals.sized:
            left = (totals.size - totals.bytes) / totals.speed
            parts.append((f"{left:.0f} s" if left < 60 else human_seconds(left)) + " left")
    return parts


REFRESH_TEXT = "listing the artifacts again, for new URLs"
"""The message when URLs have expired or were missing."""
