"""What the reporters know: the files under way, how far the whole is, and when to write.

Workers only note what happened, under a short lock. A timer thread does the writing, so that
neither a slow terminal nor one that has gone away can hold up a transfer.
"""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from ..results import FileResult, Outcome
from ..select import normalised
from ..text import count, human_seconds, human_size, visible
from ..transfer.reporter import Activity, NullReporter
from .report import what_went_wrong
from .summary import was_called_off

TICK = 0.1
SPEED_WINDOW = 5.0
LAST_WORDS = 1.0

Clock = Callable[[], float]


class Guarded(io.TextIOBase):
    """A text stream whose loss is not the download's: what it does not take is dropped."""

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
    """A file under way: since when (seconds), from which byte, and its latest retry."""

    activity: Activity
    began: float
    first: int
    note: str = ""
    until: float = 0.0
    told: int = -1
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """How far the whole is: files, and bytes on disk, known to be wanted, received."""

    done: int
    total: int
    bytes: int
    size: int
    sized: bool
    """Whether `size` is all of it: it becomes known file by file."""
    transferred: int
    speed: float
    """Bytes received a second, lately."""


class Speed:
    """Bytes a second over the last seconds."""

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


class Tracker(NullReporter):
    """What the reporters that do speak have in common: the facts, and the timer thread.

    `ticks` is the time between two calls of `tick` in seconds; with None it is the caller's.
    `limit` is the most bytes a second that are asked for: what comes faster for a moment had
    waited in a buffer, and is not told as speed.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Clock = time.monotonic,
        ticks: float | None = TICK,
        limit: float | None = None,
    ) -> None:
        self.stream = Guarded(stream)
        self.clock = clock
        self.active: dict[int, Fetch] = {}
        self._left: list[Fetch] = []
        """What was called off: its bytes are kept, and it is not done."""
        self.lock = threading.Lock()
        self._speed = Speed()
        self._limit = limit or float("inf")
        self._ticks = ticks
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._total = self._done = self._bytes = self._transferred = 0

    def begin(self, total: int) -> None:
        self._total = total
        self.totals()  # from here on the speed is measured
        self._wake()

    def waiting(self, what: str) -> None:
        self._wake()

    def _wake(self) -> None:
        with self.lock:
            if self._ticks is not None and self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
                try:
                    self._thread.start()
                except (RuntimeError, MemoryError):  # no thread to be had: it tells less
                    self._thread, self._ticks = None, None

    def _run(self) -> None:
        while not self._stop.wait(self._ticks):
            self.tick()

    def tick(self) -> None:
        """Write what is due."""

    def started(self, activity: Activity) -> None:
        fetch = Fetch(activity, self.clock(), activity.position)
        with self.lock:
            self.active.setdefault(id(activity), fetch)
        self._wake()

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        with self.lock:
            fetch = self.active.pop(id(activity), None)
            if was_called_off(result):
                self._left += [fetch] if fetch else []
                return
            if activity is None and result.outcome not in {Outcome.DOWNLOADED, Outcome.FAILED}:
                return
            self._done += 1
            self._transferred += result.transferred
            if result.outcome is Outcome.DOWNLOADED:
                self._bytes += result.size or 0

    def totals(self) -> Totals:
        """Add up the files that have ended and those under way."""
        with self.lock:
            fetches = [*self.active.values(), *self._left]
            done, total = self._done, max(self._total, self._done + len(fetches))
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
        said = summary_parts(replace(totals, speed=0.0))
        return f"{', '.join(said)} are here" if totals.total else ""

    def close(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS)
            if self._thread.is_alive():
                return  # stderr takes nothing now; the program must end all the same
        self.last_words()

    def last_words(self) -> None:
        """Write what is left, at the end."""
        self.tick()


def shown_name(activity: Activity | None, result: FileResult) -> str:
    """Return how a file that has ended is named, safe to show."""
    return visible(activity.name if activity else result.path or result.artifact.local_path)


def failure_text(activity: Activity | None, result: FileResult) -> str:
    """Say which file failed, and why; the artifact's path is said where the name lacks it."""
    name, path = shown_name(activity, result), visible(normalised(result.artifact.local_path))
    which = name if name.endswith(path) else f"{name} ({path})"
    return f"{which}: {what_went_wrong(result)}"


def summary_text(totals: Totals) -> str:
    """Write how far the whole is, in one line."""
    return ", ".join(summary_parts(totals))


def summary_parts(totals: Totals) -> list[str]:
    """Say how far the whole is: files, and where it is known bytes, speed and the time left.

    With `--wait` all files may have ended, and more may come: then there is no speed to tell. The
    time left is told only where all sizes are known.
    """
    parts = [f"{totals.done:,} of {count(totals.total, 'file')}"]
    if totals.size:
        least = "" if totals.sized else "at least "
        parts.append(f"{human_size(totals.bytes)} of {least}{human_size(totals.size)}")
    if totals.speed and totals.done < totals.total:
        parts.append(f"{human_size(totals.speed)}/s")
        if totals.sized:
            left = (totals.size - totals.bytes) / totals.speed
            parts.append((f"{left:.0f} s" if left < 60 else human_seconds(left)) + " left")
    return parts


REFRESH_TEXT = "asking the listing again, for new URLs"
"""What a person is told: URLs have expired, or never were there."""
