"""The transfer of one artifact from its `download_url` into partial data, by one or more workers.

A worker claims a piece, requests it from the storage, checks the response, passes the received
bytes to the writer, and continues with the next piece until there is none. Failed requests are
retried as long as there is progress. The transfer does not use the API: its host replaces an
expired URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from ..backoff import backoff
from ..disk.partial import Partial
from ..errors import BrokenTransfer, Busy, ExpiredUrl, TransferError
from ..http.checksums import expected_digests
from ..http.connection import Connection, Response
from ..http.ranges import (
    Verdict,
    Version,
    holds_all,
    judge,
    range_header,
    read_content_range,
    read_version,
)
from ..http.status import check_status
from ..http.storage import Connections
from ..http.waits import Steps
from ..models import Artifact
from ..text import visible
from .pieces import UNKNOWN_END, Piece, Pieces

if TYPE_CHECKING:
    from .attempt import Attempt

MIN_PIECE = 1 << 20
MAX_PIECE = 4 << 20
"""The smallest and the largest piece, in bytes, for which a second connection is opened."""
LEAST_PIECE = 16 << 10
"""The least bytes that are worth a request of an otherwise idle connection at the end."""
_ARRIVED = 16 << 10
_OBSERVED = 0.1
"""After so many bytes and seconds the speed of a connection is known."""
_REFRESHES = 2
"""How many new URLs one artifact may get without progress."""


class _EmptyPart(BrokenTransfer):
    """The response to a range was empty."""


class Host(Protocol):
    """What a transfer needs from its host, in the loop's thread."""

    net: Connections

    def write(
        self, transfer: Transfer, do: Callable[[], object], block: memoryview | None = None
    ) -> None:
        """Pass an order to the writer; an error makes the transfer fail."""

    def spend(self, count: int) -> float:
        """Note received bytes; return the seconds that the rate limit asks to wait."""

    def listed_anew(self, artifact: Artifact, stale: str | None) -> Steps[Artifact]:
        """Return the artifact with a URL newer than `stale`. Raises ArtifactsError."""

    def slices(self) -> int:
        """Return how many connections one file may have by now."""

    def answered(self, seconds: float) -> None:
        """Note the time from a request to its response on an open connection."""

    def receiving(self, change: int) -> None:
        """Note that so many more connections, or fewer, receive a body."""

    def shares(self, transfer: Transfer) -> None:
        """Note that several connections may fetch it."""

    def changed(self) -> None:
        """Note that there may be pieces to claim."""

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Note that a request will be repeated after `delay` seconds."""


@dataclass(slots=True)
class _Tries:
    """Counts failures in a row; any progress of the file resets the count.

    Requests that were active together count as one failure: each notes the `wave` in which it
    began. Bytes of a connection that later stalled are not progress.
    """

    allowed: int
    failed: int = 0
    best: int = 0
    wave: int = 0

    def note(self, position: int, wave: int, idle: int = 0) -> int:
        """Count a failure at `position` bytes, `idle` of which are no progress.

        Returns how many failures came without progress.
        """
        if position - idle > self.best:
            self.failed = 0
        self.best = max(self.best, position)
        if wave == self.wave or not self.failed:
            self.failed += 1
            self.wave += 1
        return self.failed


class Transfer:
    """The transfer of one artifact; `name` is safe to show, `started` is in monotonic seconds.

    `artifact` is as it was listed last. As an activity it tells `size` and `position` in bytes;
    `received` counts the bytes that came in this run. `failed` stops all its workers, `resting`
    counts the pauses before another try. `stage` says what a long commit is doing.
    """

    def __init__(self, host: Host, attempt: Attempt, partial: Partial, *, retries: int) -> None:
        self.attempt = attempt
        self.artifact = attempt.job.artifact
        self.name = visible(attempt.job.name or attempt.job.path)
        self.partial = partial
        self.pieces = Pieces(partial.version, partial.lacks)
        self.started = time.monotonic()
        self.received = 0
        self.failed = False
        self.resting = 0
        self.stage = ""
        self._host = host
        self._position = partial.position
        """Bytes that have arrived, written or not."""
        self._tries = _Tries(retries, best=self._position)
        self._refreshes = 0
        self._refreshed_at = -1
        self._refreshing = 0
        """How many workers wait for a new URL."""
        self._shared = self._position > 0 and partial.keeps
        """Whether several connections may fetch it, because the storage serves ranges."""
        self._whole_only = False
        """Whether a response to a range has shown that the storage does not serve ranges."""
        self._coming: dict[Piece, Connection] = {}
        if self._shared:
            host.shares(self)

    @property
    def size(self) -> int | None:
        """The artifact's size in bytes, or None if it is not known."""
        return self.pieces.size

    @property
    def position(self) -> int:
        """How many of its bytes are on disk."""
        return self.partial.position

    def tell_stage(self, stage: str) -> None:
        """Note the stage of its commit."""
        self.stage = stage

    @property
    def wants_help(self) -> bool:
        """Whether another connection would have something to do."""
        is_open = self._shared and not (self.failed or self.resting)
        return is_open and self.pieces.unclaimed >= 2 * MIN_PIECE

    def slowest(self, seen: float) -> tuple[float, Piece | None]:
        """Return the piece that would arrive last at its present speed, and in how many seconds.

        None if no piece is worth a second connection. A connection must have received for `seen`
        seconds to be judged.
        """
        found: tuple[float, Piece | None] = 0.0, None
        if not self._shared or self.failed or self.resting:
            return found
        now = time.monotonic()
        for piece, connection in self._coming.items():
            there = piece.position + connection.high
            came, left, passed = there - piece.start, piece.end - there, now - piece.began
            if left >= 2 * LEAST_PIECE and came >= _ARRIVED and passed >= max(_OBSERVED, seen):
                seconds = left * passed / came
                found = max(found, (seconds, piece), key=itemgetter(0))
        return found

    def share(self, piece: Piece) -> None:
        """Free half of a piece's missing bytes for another connection."""
        there = piece.position + self._coming[piece].high
        self.pieces.cut(piece, there + (piece.end - there) // 2)

    def work(self) -> Steps[None]:
        """Fetch pieces until none is left to claim or a back-off is due.

        Raises `TransferError` if the artifact cannot be downloaded; other workers may still be
        fetching it then.
        """
        while not self.failed and (piece := self._claim()) is not None:
            url, wave = self.artifact.download_url, self._tries.wave
            failure: TransferError
            try:
                yield from self._fetch(piece, url)
                continue
            except TransferError as error:
                failure = error
            finally:
                self.pieces.release(piece)
                self._host.changed()
            if piece.dead:
                continue
            try:
                if isinstance(failure, ExpiredUrl):
                    yield from self._refresh(url, failure)
                    continue
                if not isinstance(failure, BrokenTransfer):
                    raise failure
                self._retry(failure, wave, piece.position - piece.start)
            except TransferError:
                if not self._coming:
                    raise
                # The storage refuses more connections; the ones that receive fetch the rest.
                self._shared = False
            return

    def hand_over(self) -> None:
        """Pass all received bytes to the writer."""
        for piece, connection in self._coming.items():
            self._take(piece, connection)

    def _claim(self) -> Piece | None:
        if self.pieces.under_way and not self._shared:
            return None
        return self.pieces.claim(self._piece_size() if self.pieces.version else UNKNOWN_END)

    def _piece_size(self) -> int:
        """Return the bytes of the next piece: guided self-scheduling (Polychronopoulos, 1987).

        Half of an equal share of what is left: large at first, small at the end, so that all
        connections end together.
        """
        if not self._shared:
            return self.size or MAX_PIECE
        share = self.pieces.unclaimed // (2 * max(1, self._host.slices()))
        return min(max(share, MIN_PIECE), MAX_PIECE)

    def _fetch(self, piece: Piece, url: str | None) -> Steps[None]:
        if url is None:
            raise ExpiredUrl("the service gave no download_url")
        have = self.pieces.version
        headers = self._range_headers(piece, have)
        answer = yield from self._host.net.get(url, headers)
        self._host.answered(answer.waited)
        if answer.status not in (200, 206):
            yield from self._host.net.finish(answer)
            check_status(answer, ranged=bool(headers))
        try:
            if not piece.dead and self._accept(piece, answer, have if headers else None):
                yield from self._pump(piece, answer)
        finally:
            if answer.status in (200, 206):
                self._host.net.release(answer)

    def _range_headers(self, piece: Piece, have: Version | None) -> dict[str, str]:
        if have is None or not have.resumable:
            return {}
        # Other workers may claim the bytes after it: then the response must end before them.
        alone = not self._shared or self._host.slices() == 1
        open_ended = piece.end == have.size or (alone and self.pieces.reaches_end(piece))
        if piece.start == 0 and open_ended:
            return {}
        piece.last = UNKNOWN_END if open_ended else piece.end
        asked = range_header(piece.start, None if open_ended else piece.end)
        return {"Range": asked, "If-Range": have.validator or ""}

    def _accept(self, piece: Piece, answer: Response, have: Version | None) -> bool:
        """Tell whether the response's body is to be read into the piece, restarted if necessary."""
        found = read_version(answer.headers, answer.length)
        verdict = Verdict.RESTART
        if have is not None:
            verdict = judge(answer.status, answer.headers, piece.start, have)
        elif not holds_all(answer.status, answer.headers):
            raise BrokenTransfer("the storage sent an unrequested range", code="protocol")
        alone = len(self.pieces.under_way) == 1
        if verdict is Verdict.CONTINUE and have is not None:
            told = expected_digests(answer.status, answer.headers, have.size)
            if told:
                self._host.write(self, lambda: self.partial.expect(have, told))
            piece.last = min(piece.last, _last(answer))
            return True
        if verdict is Verdict.UNUSABLE or (not alone and found == have):
            self._give_up_ranges(alone)
            return False
        self._restart(piece, answer, found, ranged=have is not None)
        piece.last = _last(answer)
        return True

    def _give_up_ranges(self, alone: bool) -> None:
        """Stop using ranges: others continue, or the next request is for the whole object."""
        self._shared, self._whole_only = False, True
        if alone:
            self.forget()

    def forget(self) -> None:
        """Drop all bytes, to fetch them again."""
        self.pieces.forget()
        self._position = 0
        self._host.write(self, self.partial.forget)

    def _restart(self, piece: Piece, answer: Response, found: Version, *, ranged: bool) -> None:
        expected = expected_digests(answer.status, answer.headers, found.size)
        accepts = answer.headers.get("accept-ranges", "").lower() == "bytes"
        sliced = accepts and found.resumable and not ranged and not self._whole_only
        self._shared = sliced and self.partial.keeps
        share = (found.size or 0) // max(1, self._host.slices())
        self.pieces.restart(
            piece, found, max(MAX_PIECE, share) if self._shared else found.size or 0
        )
        self._position = 0
        self._host.write(self, lambda: self.partial.restart(found, expected))
        if self._shared:
            self._host.shares(self)

    def _pump(self, piece: Piece, answer: Response) -> Steps[None]:
        net, connection, began = self._host.net, answer.connection, piece.position
        connection.most = net.read_at_once
        self._coming[piece] = connection
        count, piece.began = connection.high, time.monotonic()
        self._host.receiving(1)
        try:
            while not self.failed and not piece.dead:
                filled = self._is_filled(piece, connection)
                if filled or connection.is_full:
                    self._take(piece, connection)
                self.received += count
                if (owed := self._host.spend(count)) > 0:
                    yield owed
                    connection.rested(owed)
                if filled:
                    return
                count = yield from net.more(answer)
                if not count:
                    self._end(piece, connection, began)
                    return
        finally:
            self._take(piece, connection)
            del self._coming[piece]
            self._host.receiving(-1)

    def _is_filled(self, piece: Piece, connection: Connection) -> bool:
        """Tell whether a piece is complete; extend it into bytes that nobody has claimed."""
        there = piece.position + connection.high
        while there >= min(piece.end, piece.last):
            if piece.end >= piece.last or (connection.ended and there == piece.end):
                return True
            if not self.pieces.extend(piece, self._piece_size()):
                return True
        return False

    def _end(self, piece: Piece, connection: Connection, began: int) -> None:
        """Handle the end of a body, which determines a size that was unknown."""
        self._take(piece, connection)
        if self.pieces.version is not None and self.pieces.size is None and not piece.dead:
            size = piece.position
            self.pieces.end_here(piece)
            self._host.write(self, lambda: self.partial.end_at(size))
        if began == piece.position < piece.end:
            raise _EmptyPart("the storage sent none of the requested bytes")
        if piece.last != UNKNOWN_END and piece.position < min(piece.end, piece.last):
            raise BrokenTransfer("the storage sent fewer bytes than announced", code="cut")

    def _take(self, piece: Piece, connection: Connection) -> None:
        """Pass the received bytes of a piece to the writer, up to its end."""
        count = min(connection.high, min(piece.end, piece.last) - piece.position)
        if piece.dead or count <= 0:
            connection.free()
            return
        block, at = connection.take_block(), piece.position
        data = block[:count]
        self._host.write(self, lambda: self.partial.write(data, at), block)
        piece.position += count
        self._position += count

    def _retry(self, failure: TransferError, wave: int, moved: int) -> None:
        """Schedule a retry after a back-off. Raises the failure after the last try."""
        version, alone = self.pieces.version, not self.pieces.under_way
        idle = moved if failure.code == "stalled" else 0
        tries = self._tries.note(self._position, wave, idle)
        if alone and not (version and version.resumable):
            self.forget()
        if tries > self._tries.allowed:
            if not alone:
                self._shared = False
                return
            if not isinstance(failure, _EmptyPart) or self._whole_only:
                raise failure
            self._give_up_ranges(alone)  # responses to ranges are empty again and again
        delay = backoff(tries, failure.retry_after if isinstance(failure, Busy) else None)
        self._host.retrying(self, failure.message, delay)

    def _refresh(self, stale: str | None, failure: ExpiredUrl) -> Steps[None]:
        if stale != self.artifact.download_url:
            return
        if not self._refreshing:
            self._count_refresh(failure)
        self._refreshing += 1
        try:
            self.artifact = yield from self._host.listed_anew(self.artifact, stale)
        finally:
            self._refreshing -= 1

    def _count_refresh(self, failure: ExpiredUrl) -> None:
        if self._position > self._refreshed_at:
            self._refreshes = 0
        self._refreshed_at = self._position
        self._refreshes += 1
        is_gone = failure.code != "expired"
        if self._refreshes > (1 if is_gone else _REFRESHES):
            message = f"{failure.message}, also with a new download_url"
            raise TransferError(message, code=failure.code if is_gone else "denied")


def _last(answer: Response) -> int:
    """Return the end of the range that a response has, if it says so."""
    part = read_content_range(answer.headers.get("content-range"))
    return part[1] if part else UNKNOWN_END
