"""The transfer of one artifact from its `download_url` into partial data, by one or more workers.

A worker claims a piece, requests it from the storage, checks the response, passes the received
bytes to the writer, and continues with the next piece until there is none. Failed requests are
retried as long as there is progress. The transfer does not use the API: the scheduler, which it
knows as its `Host`, replaces an expired URL.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..backoff import backoff
from ..disk.partial import Partial
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
from ..http.response import Response
from ..http.status import check_status
from ..http.waits import Steps
from ..text import visible
from . import slices
from .host import Host
from .incoming import EmptyPart, Incoming
from .pieces import UNKNOWN_END, Piece, Pieces
from .slices import Slices
from .tries import Renewals, Tries, refused_again

if TYPE_CHECKING:
    from .attempt import Attempt


class Transfer:
    """The transfer of one artifact; `started` is in monotonic seconds.

    `artifact` is as it was listed last. As an activity it tells `size` and `position` in bytes;
    `received` counts the bytes that came in this run. `failed` stops all its workers, `resting`
    counts the pauses before another try. `stage` says what a long commit is doing.
    """

    def __init__(self, host: Host, attempt: Attempt, partial: Partial, *, retries: int) -> None:
        self.attempt = attempt
        self.artifact = attempt.job.artifact
        self.partial = partial
        self.pieces = Pieces(partial.version, partial.lacks if partial.version else ())
        self.started = time.monotonic()
        self.failed = False
        self.resting = 0
        self.stage = ""
        self._host = host
        self._incoming = Incoming(host, attempt, self.pieces, partial)
        self._slices = Slices(self.pieces, self._incoming.coming, host.meter)
        self._tries = Tries(retries, best=partial.position)
        self._renewals = Renewals()
        self._refreshing = 0
        """How many workers wait for a new URL."""
        self._asked_again = 0
        self._shared = partial.position > 0 and partial.keeps
        """Whether several connections may fetch it, because the storage serves ranges."""
        self._whole_only = False
        """Whether a response to a range has shown that the storage does not serve ranges."""
        if self._shared:
            host.shares(self)

    @property
    def name(self) -> str:
        """How it is shown."""
        return visible(self.attempt.job.name or self.attempt.job.path)

    @property
    def size(self) -> int | None:
        """The artifact's size in bytes, or None if it is not known."""
        return self.pieces.size

    @property
    def received(self) -> int:
        """How many bytes came in this run."""
        return self._incoming.received

    @property
    def position(self) -> int:
        """How many of its bytes are on disk."""
        return self.partial.position

    def tell_stage(self, stage: str) -> None:
        """Note the stage of its commit."""
        self.stage = stage

    @property
    def wants_help(self) -> bool:
        """Whether another connection would have something to do once it has a response."""
        return self._is_open and self._slices.want_another

    @property
    def _is_open(self) -> bool:
        """Whether further connections may fetch it now."""
        return self._shared and not (self.failed or self.resting)

    def slowest(self, seen: float) -> tuple[float, Piece | None]:
        """Return the piece that would arrive last at its present speed, and in how many seconds.

        None if no piece is worth a second connection. A connection must have received for `seen`
        seconds to be judged.
        """
        return self._slices.slowest(seen) if self._is_open else (0.0, None)

    def ask_again(self, patience: float) -> bool:
        """Free a piece that was requested `patience` seconds ago and has no response; tell if so.

        Should the response come later, it is not read. So each time the patience is doubled: the
        storage may have become slow.
        """
        patience *= 2**self._asked_again
        piece = self._incoming.silent(patience) if self._is_open else None
        if piece is not None:
            self._asked_again += 1
            self.pieces.release(piece)
            piece.dead = True
        return piece is not None

    def share(self, piece: Piece, kept: float) -> None:
        """Free a piece's missing bytes but this part of them, for another connection."""
        self._slices.share(piece, kept)

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
                if not self.pieces.under_way:
                    raise
                # The storage refuses more connections; the ones that it has taken fetch the rest.
                self._shared = False
            return

    def hand_over(self) -> None:
        """Pass all received bytes to the writer."""
        self._incoming.hand_over()

    def _claim(self) -> Piece | None:
        if self.pieces.under_way:
            if not self._shared or self._host.meter.has_too_many:
                return None
            self._slices.reserve()
        return self.pieces.claim(self._piece_size())

    def _piece_size(self) -> int:
        """Return the bytes of the next piece."""
        return self._slices.next_size() if self._shared else self.size or slices.MAX_PIECE

    def _fetch(self, piece: Piece, url: str | None) -> Steps[None]:
        if url is None:
            raise ExpiredUrl("the service gave no download_url")
        have = self.pieces.version
        headers = self._range_headers(piece, have) if have is not None else {}
        answer = yield from self._host.net.get(url, headers)
        self._host.meter.answered(answer.waited)
        if answer.status not in (200, 206):
            yield from self._host.net.finish(answer)
            check_status(answer, ranged=bool(headers))
        elif self._host.links:
            is_new = self._renewals.unproven and url == self.artifact.download_url
            self._renewals.unproven = self._renewals.unproven and not is_new
            self._host.links.works(self.artifact, is_new=is_new)
        try:
            if not piece.dead and self._accept(piece, answer, have if headers else None):
                yield from self._incoming.receive(piece, answer, self._piece_size)
                if self._shared:
                    self._slices.received(piece)
        finally:
            if answer.status in (200, 206):
                self._host.net.release(answer)

    def _range_headers(self, piece: Piece, have: Version) -> dict[str, str]:
        if not have.resumable:
            return {}
        # Other workers may claim the bytes after it: then the response must end before them.
        alone = not self._shared or self._host.meter.slices == 1
        open_ended = piece.end == have.size or (alone and self.pieces.reaches_end(piece))
        if piece.start == 0 and open_ended:
            return {}
        piece.last = UNKNOWN_END if open_ended else piece.end
        asked = range_header(piece.start, None if open_ended else piece.end)
        return {"Range": asked, "If-Range": have.validator or ""}

    def _accept(self, piece: Piece, answer: Response, have: Version | None) -> bool:
        """Tell whether the response's body is to be read into the piece, restarted if necessary."""
        found = read_version(answer.headers, answer.length)
        if have is None:
            if not holds_all(answer.status, answer.headers):
                raise BrokenTransfer("the storage sent an unrequested range", code="protocol")
            self._restart(piece, answer, found, ranged=False)
            return True
        verdict = judge(answer.status, answer.headers, piece.start, have)
        if verdict is Verdict.CONTINUE:
            told = expected_digests(answer.status, answer.headers)
            if told:
                self._host.writer.put(lambda: self.partial.expect(have, told), self.attempt)
            part = read_content_range(answer.headers.get("content-range"))
            piece.last = min(piece.last, part[1]) if part else piece.last
            return True
        alone = len(self.pieces.under_way) == 1
        if verdict is Verdict.UNUSABLE or (not alone and found == have):
            self._give_up_ranges(alone)
            return False
        self._restart(piece, answer, found, ranged=True)
        return True

    def _give_up_ranges(self, alone: bool) -> None:
        """Stop using ranges: others continue, or the next request is for the whole object."""
        self._shared, self._whole_only = False, True
        if alone:
            self.forget()

    def forget(self) -> None:
        """Drop all bytes, to fetch them again."""
        self.pieces.forget()
        self._incoming.position = 0
        self._host.writer.put(self.partial.forget, self.attempt)

    def _restart(self, piece: Piece, answer: Response, found: Version, *, ranged: bool) -> None:
        expected = expected_digests(answer.status, answer.headers)
        # Nobody can help with a small object, of which all bytes have come with the head.
        is_one = answer.connection.ended or ranged or self._whole_only or not self.partial.keeps
        accepts = answer.headers.get("accept-ranges", "").lower()
        self._shared = not is_one and found.resumable and accepts == "bytes"
        # Not a longer first piece: no byte after it could be hashed before it is complete.
        self.pieces.restart(piece, found, slices.MAX_PIECE if self._shared else found.size or 0)
        self._incoming.position = 0
        self._host.writer.put(lambda: self.partial.restart(found, expected), self.attempt)
        if self._shared:
            self._host.shares(self)

    def _retry(self, failure: TransferError, wave: int, moved: int) -> None:
        """Schedule a retry after a back-off. Raises the failure after the last try."""
        version, alone = self.pieces.version, not self.pieces.under_way
        idle = moved if failure.code == "stalled" else 0
        tries = self._tries.note(self._incoming.position, wave, idle)
        if alone and not (version and version.resumable):
            self.forget()
        if tries > self._tries.allowed:
            if not alone:
                self._shared = False
                return
            if not isinstance(failure, EmptyPart) or self._whole_only:
                raise failure
            self._give_up_ranges(alone)  # responses to ranges are empty again and again
        delay = backoff(tries, failure.retry_after if isinstance(failure, Busy) else None)
        self._host.retrying(self, failure.message, delay)

    def _refresh(self, stale: str | None, failure: ExpiredUrl) -> Steps[None]:
        if stale != self.artifact.download_url:
            return
        if not self._refreshing:
            receives = bool(self._incoming)
            self._renewals.note(failure, time.monotonic(), others_receive=receives)
        self._refreshing += 1
        try:
            has_begun = self._incoming.received > 0
            found = yield from self._host.links.fresh(self.artifact, stale, has_begun=has_begun)
        finally:
            self._refreshing -= 1
        if found is None:
            raise refused_again(failure)
        self.artifact = found
