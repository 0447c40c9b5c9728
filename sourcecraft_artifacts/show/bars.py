"""Progress bars on a terminal, redrawn in place by the reporters' timer thread."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TextIO, Unpack, cast

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..results import FileResult, Outcome
from ..text import human_size, visible
from ..transfer.reporter import Activity
from .summary import was_cancelled
from .tables import encodes, make_console
from .tracking import (
    REFRESH_TEXT,
    Fetch,
    Settings,
    Totals,
    Tracker,
    failure_text,
    summary_parts,
)

MOST_BARS = 10
ROWS_KEPT_FREE = 4
SHOWN_AFTER = 0.3
REFRESH_SHOWN = 3.0
FACTS_WIDTH = 19
BARS_FROM = 60


class Signs(NamedTuple):
    """The characters of the display: for what is done, what is left, and text cut off."""

    done: str
    left: str
    cut: str


FINE, PLAIN = Signs("━", "─", "…"), Signs("#", "-", "...")


class Bars(Tracker):
    """A bar for each file that takes a while, the longest running first, and the total.

    Failures are printed above and stay; at the end the bars are gone.
    """

    tells_failures = True

    def __init__(self, stream: TextIO, **settings: Unpack[Settings]) -> None:
        super().__init__(stream, **settings)
        self.console = make_console(cast(TextIO, self.stream), force_terminal=True)
        self.signs = FINE if encodes("".join(FINE), self.stream.encoding) else PLAIN
        self._live: Live | None = None
        self._failures: list[Text] = []
        self._names_width = 0
        self._awaited = ""
        self._refresh = ""
        self._refresh_until = 0.0

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        position, until = activity.position, self.clock() + delay
        with self.lock:
            if fetch := self.active.get(id(activity)):
                fetch.note, fetch.until, fetch.told = reason, until, position

    def refreshing(self, count: int) -> None:
        self._refresh = REFRESH_TEXT
        self._refresh_until = self.clock() + REFRESH_SHOWN

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        super().finished(activity, result)
        if result.outcome is Outcome.FAILED and not was_cancelled(result):
            line = Text(failure_text(activity, result))
            with self.lock:
                self._failures.append(Text(f"{result.outcome}: ", style="red") + line)

    def tell(self, text: str) -> bool:
        if self._live is None or self._stop.is_set():
            return False
        with self.lock:
            self._failures.append(Text.from_ansi(text))
        return True

    def waiting(self, what: str) -> None:
        super().waiting(what)
        self._awaited = what

    def tick(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self.console,
                get_renderable=self._frame,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
            # A kill, or a second Ctrl-C, must not leave a terminal without its cursor.
            self.console.show_cursor(True)
        self._print_failures()
        self._live.refresh()

    def write_rest(self) -> None:
        self._print_failures()
        if self._live is not None:
            self._live.stop()

    def _print_failures(self) -> None:
        with self.lock:
            failures, self._failures = self._failures, []
        if failures:
            self.console.print(*failures, sep="\n", soft_wrap=True)

    def _frame(self) -> Group:
        return Group(*self.lines(self.console.width, self.console.height))

    def lines(self, width: int, height: int) -> list[Text]:
        """Draw the display: files, status, total, none wider than `width` cells."""
        now = self.clock()
        with self.lock:
            fetches = [f for f in self.active.values() if f.note or now - f.began >= SHOWN_AFTER]
        most = max(1, min(MOST_BARS, height - ROWS_KEPT_FREE))
        shown = fetches[:most]
        self._align([visible(fetch.activity.name) for fetch in shown], width)
        lines = [self._line(fetch, now, width) for fetch in shown]
        if len(fetches) > most:
            lines.append(Text(f"and {len(fetches) - most:,} more"))
        for status in self._statuses(now):
            lines.append(Text(clipped(visible(status), width, self.signs.cut), style="magenta"))
        totals = self.totals()
        if totals.total:
            lines.append(self._total_line(totals, width))
        return lines

    def _statuses(self, now: float) -> list[str]:
        refresh = self._refresh if now < self._refresh_until else ""
        waiting = f"waiting: {self._awaited}" if self._awaited else ""
        return [status for status in (waiting, refresh) if status]

    def _align(self, names: list[str], width: int) -> None:
        """Widen the column of names if there is room; it never shrinks, so that bars stay put."""
        bar_width = _bar_width(width)
        room = max(8, width - FACTS_WIDTH - 2 - (bar_width + 2 if bar_width else 0))
        widest = max(map(cell_len, names), default=0)
        self._names_width = min(room, max(self._names_width, widest))

    def _line(self, fetch: Fetch, now: float, width: int) -> Text:
        activity, cut = fetch.activity, self.signs.cut
        position, size = activity.position, activity.size
        if fetch.note and position != fetch.told:
            fetch.note = ""
        bar_width = _bar_width(width)
        name = visible(activity.name)
        line = Text(fitted(name, self._names_width, cut) + "  ")
        if fetch.note:
            rest = max(0, width - line.cell_len)
            return line.append(clipped(_retry_text(fetch, now), rest, cut), style="magenta")
        if bar_width:
            self._draw_bar(line, position / size if size else 0.0, bar_width)
            line.append("  ")
        facts = visible(activity.stage) or _facts(position, size)
        return line.append(clipped(facts, width - line.cell_len, cut))

    def _total_line(self, totals: Totals, width: int) -> Text:
        parts = summary_parts(totals, awaits_more=bool(self._awaited))
        # A full bar would look like the end while more files are awaited.
        bar_width = 0 if self._awaited else _bar_width(width)
        line = Text()
        while len(parts) > 1 and cell_len(", ".join(parts)) > width:
            del parts[2 if len(parts) > 2 else 1]  # drop the speed first, and never the files
        text = ", ".join(parts)
        if bar_width and cell_len(text) + bar_width + 2 <= width:
            by_bytes = totals.sized and totals.size
            done = totals.bytes / totals.size if by_bytes else totals.done / totals.total
            self._draw_bar(line, done, bar_width)
            line.append("  ")
        return line.append(clipped(text, width - line.cell_len, self.signs.cut), style="bold")

    def _draw_bar(self, line: Text, fraction: float, width: int) -> None:
        done = max(0, min(width, int(fraction * width)))
        line.append(self.signs.done * done, style="green")
        line.append(self.signs.left * (width - done), style="bright_black")


def _bar_width(width: int) -> int:
    return min(30, width // 5) if width >= BARS_FROM else 0


def _facts(position: int, size: int | None) -> str:
    if not size:
        return human_size(position)
    return f"{min(1.0, position / size):4.0%} of {human_size(size)}"


def _retry_text(fetch: Fetch, now: float) -> str:
    left = fetch.until - now
    when = f"retrying in {left:.0f} s" if left >= 0.5 else "retrying"
    return f"{when}: {visible(fetch.note)}"


@lru_cache(maxsize=256)
def fitted(text: str, width: int, cut: str) -> str:
    """Pad a text to exactly `width` cells, or cut out its middle: names differ at the end."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    room = max(0, width - cell_len(cut))
    tail = text[max(0, len(text) - (room - room // 3)) :]
    while cell_len(tail) > room - room // 3:
        tail = tail[1:]
    return set_cell_size(set_cell_size(text, room // 3) + cut + tail, width)


def clipped(text: str, width: int, cut: str) -> str:
    """Cut the end off a text that is wider than `width` cells."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(set_cell_size(text, max(0, width - cell_len(cut))) + cut, width)
