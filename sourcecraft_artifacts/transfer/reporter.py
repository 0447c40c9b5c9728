"""The protocol for the progress of a download, and a reporter that shows nothing."""

from __future__ import annotations

from typing import Protocol

from ..results import FileResult


class Activity(Protocol):
    """One file being fetched; sizes and positions are in bytes, and read from any thread.

    `stage` is empty while bytes arrive; then it says what is being done, such as "unpacking".
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
    """Shows the progress; methods may be called from any thread, and must not block.

    An exception that a method raises ends the download, like an exception of the caller.
    """

    def begin(self, total: int) -> None:
        """The number of files to fetch, each counted once; called again for more."""

    def started(self, activity: Activity) -> None:
        """A file is being fetched; the activity can be read at any time."""

    def retrying(self, activity: Activity, reason: str, delay: float) -> None:
        """A request failed and is retried in `delay` seconds."""

    def refreshing(self, count: int) -> None:
        """A cube is listed again for new URLs; `count` of its files are active."""

    def finished(self, activity: Activity | None, result: FileResult) -> None:
        """An artifact has ended; `activity` is None if nothing had to be fetched."""

    def waiting(self, what: str) -> None:
        """The download waits for `what`; empty when the wait has ended."""

    def close(self) -> None:
        """Flush the output and restore the terminal; called at every end, perhaps twice."""


class NullReporter:
    """Shows nothing; the base of the reporters that show something."""

    def tell(self, text: str) -> bool:
        """Show a message above the progress display; return whether it was shown."""
        return False

    def reached(self) -> str:
        """Say how far the download has come; empty if that is not known."""
        return ""

    tells_failures = False
    """Whether each failure is shown when it happens."""

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
