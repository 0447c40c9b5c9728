"""Replaces expired URLs: it lists a cube again, once for all transfers that wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ArtifactsError, TransferError
from ..http.waits import Call, Outcome, Steps
from ..models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]

_AT_ONCE = 2
"""How many listings in a row may bring nothing before the next one has to wait."""
_MOST_IN_VAIN = 8
"""The same while the storage accepts other URLs: then URLs may have expired."""
_LONGEST_PAUSE = 30.0
"""The most seconds that a new listing has to wait. URLs live longer than that."""


class _Cube:
    """The artifacts of one cube as it was listed last, by `local_path`, and a pending listing."""

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}
        self.error: TransferError | None = None
        self.call: Call | None = None
        self.waited: set[str] = set()
        """The artifacts that needed the last listing."""
        self.in_vain = 0
        """How many listings in a row have brought none of these a URL that works."""
        self.accepts = False
        """Whether the storage has accepted any URL since the last listing."""
        self._again_at = 0.0

    def url(self, local_path: str) -> str | None:
        """Return the URL that was listed last, or None."""
        artifact = self.artifacts.get(local_path)
        return artifact.download_url if artifact else None

    def is_worth_listing(self, now: float) -> bool:
        """Tell whether it is not too soon to list it again."""
        return now >= self._again_at or (self.accepts and self.in_vain < _MOST_IN_VAIN)

    def take(self, listed: list[Artifact], error: TransferError | None, now: float) -> None:
        """Take a listing, or the error that came in its place."""
        self.artifacts = {found.local_path: found for found in listed}
        self.error, self.call = error, None
        self.in_vain, self.accepts = self.in_vain + 1, False
        pause = 2.0 ** (self.in_vain - _AT_ONCE) if self.in_vain >= _AT_ONCE else 0.0
        self._again_at = now + min(pause, _LONGEST_PAUSE)


class Links:
    """Replaces stale URLs, in the loop's thread only. It never stores a URL on disk.

    A storage may refuse every URL, or the API every listing. So that not each of many files makes a
    listing of its own then, listings that bring nothing are made ever more seldom, down to one in
    30 seconds. `relist` may block: another thread calls it. `clock` is in seconds.
    """

    def __init__(
        self,
        relist: Relist,
        notice: Callable[[CubeAddress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relist, self._notice, self._clock = relist, notice, clock
        self._cubes: dict[CubeAddress, _Cube] = {}

    def __bool__(self) -> bool:
        """Tell whether any cube has been listed again."""
        return bool(self._cubes)

    def fresh(
        self, artifact: Artifact, stale: str | None, *, has_begun: bool = False
    ) -> Steps[Artifact | None]:
        """Return the artifact with a URL other than `stale`, listing its cube again if necessary.

        All callers that wait for one listing get its result. None if it is too soon to list again;
        an artifact that `has_begun` is never too soon, as its URL has worked. Raises
        `TransferError` if the artifact is gone or its cube cannot be listed.
        """
        cube = self._cubes.setdefault(artifact.address, _Cube())
        name = artifact.local_path
        is_needed = cube.url(name) in (None, stale)
        if is_needed and cube.call is None:
            if has_begun or cube.is_worth_listing(self._clock()):
                cube.call = Call(lambda: self._relist(artifact.address), "lister")
                cube.waited = set()
                self._notice(artifact.address)
            elif cube.error is not None:
                raise cube.error
            elif name in cube.artifacts and stale is not None:
                return None
        if cube.call is not None:
            if is_needed:
                cube.waited.add(name)
            yield from self._await(cube, cube.call)
        found = cube.artifacts.get(name)
        if found is None:
            raise TransferError("it is no longer among the artifacts of its cube", code="gone")
        if found.download_url is None:
            raise TransferError("the service gives no download_url for it", code="no_url")
        return found

    def works(self, artifact: Artifact, *, is_new: bool) -> None:
        """Note that the storage has accepted an artifact's URL, one from a new listing or not."""
        cube = self._cubes.get(artifact.address)
        if cube is not None:
            cube.accepts = True
            if is_new and artifact.local_path in cube.waited:
                cube.in_vain = 0

    def _await(self, cube: _Cube, call: Call) -> Steps[None]:
        """Wait for a listing; the first one that gets its result takes it for all."""
        error: TransferError | None = None
        listed: list[Artifact] = []
        try:
            listed = yield Outcome(call)
        except ArtifactsError as cause:
            error = TransferError(
                f"it needs a new download_url, and listing it again failed: {cause.message}",
                code=cause.code,
                hint=cause.hint,
            )
            error.__cause__ = cause
        except Exception:
            if cube.call is call:
                cube.call = None
            raise
        if cube.call is call:
            cube.take(listed, error, self._clock())
        if error is not None:
            raise error
