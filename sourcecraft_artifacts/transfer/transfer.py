"""One artifact on its way: from its `download_url` into partial data, by one worker or several.

A worker claims a piece, asks the storage for it, judges the answer, writes what comes, and goes
on with the next piece until there is none. What fails is tried again as long as the bytes grow.
The transfer never sees the API: a stale URL is exchanged by a function that it is given.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from ..backoff import backoff
from ..disk.partial import UNKNOWN_END, Partial, Piece, Superseded
from ..errors import BrokenTransfer, Busy, ExpiredUrl, TransferError
from ..http.checksums import expected_digests
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
from ..http.storage import Response, Storage
from ..models import Artifact

MIN_PIECE = 1 << 20
MAX_PIECE = 4 << 20
"""Bytes of the smallest and largest piece that a second connection is opened for."""
_BUFFER = 256 << 10
_REFRESHES = 2
"""New URLs that one artifact may ask for without progress."""


class _EmptyPart(BrokenTransfer):
    """The answer to a range held no byte."""


class Host(Protocol):
    """What a transfer needs of whoever runs it; each method may be called from any thread."""

    def pause(self, seconds: float) -> None:
        """Wait, or raise Cancelled."""

    def spend(self, count: int) -> None:
        """Wait as long as the rate limit asks after `count` bytes."""

    def listed_anew(self, artifact: Artifact, stale: str | None) -> Artifact:
        """Return the artifact with a URL newer than `stale`. Raises ArtifactsError."""

    def connections(self) -> int:
        """Return how many connections one file may have by now."""

    def opened(self, seconds: float) -> None:
        """Learn the time to the first byte of an answer."""

    def troubled(self) -> None:
        """Learn that the storage is busy or breaks connections."""

    def changed(self) -> None:
        """Learn that there may be pieces to claim."""

    def retrying(self, transfer: Transfer, reason: str, delay: float) -> None:
        """Learn that a request will be repeated after `delay` seconds."""


@dataclass(slots=True)
class _Tries:
    """Counts failures in a row; any progress of the file starts the count anew.

    Requests that were under way together fail as one: each notes the `wave` that it began in.
    """

    allowed: int
    failed: int = 0
    best: int = 0
    wave: int = 0

    def note(self, position: int, wave: int) -> int:
        """Count a failure at `position` bytes; return how many came without progress."""
        if position > self.best:
            self.best, self.failed = position, 0
        if wave == self.wave or not self.failed:
            self.failed += 1
            self.wave += 1
        return self.failed


class Transfer:
    """One artifact on its way; `name` is fit to be shown, `started` in monotonic seconds.

    `artifact` is as it was listed last. As an activity it tells `size` and `position` in bytes;
    `received` counts the bytes that came in this run. `failed` stops all its workers. `stage` says
    what is done with it once its bytes are here, where that takes long.
    """

    def __init__(
        self,
        host: Host,
        storage: Storage,
        artifact: Artifact,
        name: str,
        partial: Partial,
        *,
        retries: int,
        buffer_size: int = _BUFFER,
    ) -> None:
        self.artifact = artifact
        self.name = name
        self.partial = partial
        self.started = time.monotonic()
        self.received = 0
        self.failed = False
        self.stage = ""
        self._host = host
        self._storage = storage
        self._buffer_size = buffer_size
        self._tries = _Tries(retries, best=self.partial.position)
        self._refreshes = 0
        self._refreshed_at = -1
        self._shared = partial.position > 0
        """Whether several connections may fetch it: the storage serves ranges of it."""
        self._whole_only = False
        """Whether an answer to a range has shown that the storage does not serve them."""
        self._lock = threading.Lock()

    @property
    def size(self) -> int | None:
        """The artifact's size in bytes, where it is known."""
        return self.partial.size

    @property
    def position(self) -> int:
        """Bytes of it on disk."""
        return self.partial.position

    def tell_stage(self, stage: str) -> None:
        """Note what is done with it, now that its bytes are here."""
        self.stage = stage

    @property
    def wants_help(self) -> bool:
        """Whether another connection would find something to do."""
        partial = self.partial
        return self._shared and not self.failed and partial.unclaimed >= 2 * MIN_PIECE

    def work(self) -> None:
        """Fetch pieces until none is left to claim.

        Raises TransferError when the artifact cannot be had, OSError when it cannot be written,
        Cancelled when called off; other workers of the transfer may still be at it then.
        """
        while not self.failed and (piece := self._claim()) is not None:
            url, wave = self.artifact.download_url, self._tries.wave
            try:
                self._fetch(piece, url)
                continue
            except Superseded:
                continue
            except ExpiredUrl as error:
                failure: TransferError = error
            except BrokenTransfer as error:
                failure = error
            finally:
                self.partial.release(piece)
                self._host.changed()
            if isinstance(failure, ExpiredUrl):
                self._refresh(url, failure)
            elif not self._retry(failure, wave):
                return

    def _claim(self) -> Piece | None:
        with self._lock:
            if self.partial.pieces and not self._shared:
                return None
            return self.partial.claim(self._piece_size())

    def _piece_size(self) -> int:
        """Return the bytes of the next piece: guided self-scheduling (Polychronopoulos, 1987).

        Half of an equal share of what is left: large at first, small at the end, so that all
        connections end together.
        """
        if not self._shared:
            return self.partial.size or MAX_PIECE
        share = self.partial.unclaimed // (2 * max(1, self._host.connections()))
        return min(max(share, MIN_PIECE), MAX_PIECE)

    def _fetch(self, piece: Piece, url: str | None) -> None:
        if url is None:
            raise ExpiredUrl("the service gave no download_url")
        have = self.partial.version
        headers = self._range_headers(piece, have)
        asked = time.monotonic()
        with self._storage.get(url, headers) as answer:
            self._host.opened(time.monotonic() - asked)
            check_status(answer, ranged=bool(headers))
            if self._accept(piece, answer, have if headers else None):
                self._pump(piece, answer)

    def _range_headers(self, piece: Piece, have: Version | None) -> dict[str, str]:
        if have is None or not have.resumable:
            return {}
        open_ended = self.partial.reaches_end(piece)
        if piece.start == 0 and open_ended:
            return {}
        asked = range_header(piece.start, None if open_ended else piece.end)
        return {"Range": asked, "If-Range": have.validator or ""}

    def _accept(self, piece: Piece, answer: Response, have: Version | None) -> bool:
        """Tell whether the answer's body is to be read into the piece, restarted if need be."""
        found = read_version(answer.headers, answer.length)
        verdict = Verdict.RESTART
        if have is not None:
            verdict = judge(answer.status, answer.headers, piece.start, have)
        elif not holds_all(answer.status, answer.headers):
            raise BrokenTransfer("the storage sent a part of the file unasked", code="protocol")
        alone = self.partial.pieces == 1
        if verdict is Verdict.CONTINUE and have is not None:
            told = expected_digests(answer.status, answer.headers, have.size)
            self.partial.expect(have, told)
            return True
        if verdict is Verdict.UNUSABLE or (not alone and found == have):
            self._give_up_ranges(alone)
            return False
        self._restart(piece, answer, found, ranged=have is not None)
        return True

    def _give_up_ranges(self, alone: bool) -> None:
        """Ranges do not work here: the others go on, or the next request is for the whole."""
        self._shared, self._whole_only = False, True
        if alone:
            self.partial.forget()

    def _restart(self, piece: Piece, answer: Response, found: Version, *, ranged: bool) -> None:
        expected = expected_digests(answer.status, answer.headers, found.size)
        accepts = answer.headers.get("accept-ranges", "").lower() == "bytes"
        sliced = accepts and found.resumable and not ranged and not self._whole_only
        most = MAX_PIECE if sliced else found.size or 0
        self._shared = False
        self.partial.restart(piece, found, expected, most)
        self._shared = sliced
        if self._shared:
            self._host.changed()

    def _pump(self, piece: Piece, answer: Response) -> None:
        partial, buffer = self.partial, _buffer(self._buffer_size)
        told, began = read_content_range(answer.headers.get("content-range")), piece.position
        last = told[1] if told else UNKNOWN_END
        while not self.failed:
            room = min(len(buffer), min(piece.end, last) - piece.position)
            count = answer.read_into(buffer[:room])
            if not count:
                partial.end_here(piece)
                if began == piece.position < piece.end:
                    raise _EmptyPart("the storage sent no byte of what was asked for")
                if told and piece.position < min(piece.end, last):
                    raise BrokenTransfer("the storage sent less than it said", code="cut")
                return
            partial.write(piece, buffer[:count])
            with self._lock:
                self.received += count
            self._host.spend(count)
            if piece.position == piece.end and (
                answer.ended or not partial.extend(piece, self._piece_size())
            ):
                return

    def _retry(self, failure: TransferError, wave: int) -> bool:
        """Wait before another try; False when others should go on without this worker."""
        self._host.troubled()
        with self._lock:
            version = self.partial.version
            tries = self._tries.note(self.partial.position, wave)
            alone = not self.partial.pieces
            if alone and not (version and version.resumable):
                self.partial.forget()
        if tries > self._tries.allowed:
            if not alone:
                self._shared = False
                return False
            if not isinstance(failure, _EmptyPart) or self._whole_only:
                raise failure
            self._give_up_ranges(alone)  # they hold nothing, time after time
        delay = backoff(tries, failure.retry_after if isinstance(failure, Busy) else None)
        self._host.retrying(self, failure.message, delay)
        self._host.pause(delay)
        return True

    def _refresh(self, stale: str | None, failure: ExpiredUrl) -> None:
        with self._lock:
            if stale != self.artifact.download_url:
                return
            if self.partial.position > self._refreshed_at:
                self._refreshes = 0
            self._refreshed_at = self.partial.position
            self._refreshes += 1
            if self._refreshes > _REFRESHES:
                raise TransferError(
                    f"{failure.message}, also with a new download_url", code="denied"
                )
            self.artifact = self._host.listed_anew(self.artifact, stale)


_buffers = threading.local()


def _buffer(size: int) -> memoryview:
    """Return the calling thread's buffer: made once, since its memory would cost a fault a page."""
    made: memoryview | None = getattr(_buffers, "made", None)
    if made is None or len(made) < size:
        made = _buffers.made = memoryview(bytearray(size))
    return made[:size]
