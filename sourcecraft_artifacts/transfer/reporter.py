"""Who is told how a download goes: the protocol, and a reporter that says nothing."""

from __future__ import annotations

from typing import Protocol

from ..results import FileResult


class Activity(Protocol):
    """One file being fetched; sizes and positions are in bytes, and read from any thread.

    `stage` is empty while bytes come; then it says what takes long, as in "unpacking 120 files".
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def position(self) -> int: ...
    @property
    def stage(self) -> str: ...


class Reporter(Protocol):
    """Who is told how it goes; methods may be called from any thread, and must not block.

    An exception that a method raises ends the download, as an error of the caller's own would.
    """

    def begin(self, total: int) -> None:
        """Learn how many files are to be fetched; called again when there are more."""

    def started(self, activity: Activity) -> None:
        """Learn that a file is being fetched: its numbers can be read at any time."""

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """Learn that a request failed and is made again in `delay` seconds."""

    def refreshing(self, count: int) -> None:
        """Learn that the listing of a cube is asked again, of which `count` files are under way."""

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        """Learn how an artifact ended; `activity` is None where nothing had to be fetched."""

    def waiting(self, what: str) -> None:
        """Learn what a run in progress is waited for; an empty text is nothing."""

    def close(self) -> None:
        """Write what is left and restore the terminal; called at every end, and harmless twice."""


class NullReporter:
    """Says nothing; the base of the reporters that show something."""

    def tell(self, text: str) -> bool:
        """Show a message where the display has a place for it; tell whether that is so."""
        return False

    def reached(self) -> str:
        """Say how far the whole has come, where that is known."""
        return ""

    tells_failures = False
    """Whether each failure is told to a person when it happens."""

    def begin(self, total: int) -> None:
        pass

    def started(self, activity: Activity) -> None:
        pass

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        pass

    def refreshing(self, count: int) -> None:
        pass

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        pass

    def waiting(self, what: str) -> None:
        pass

    def close(self) -> None:
        pass
