"""Artifacts listed anew, for URLs that expired: one listing of a cube for all who wait for it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ArtifactsError, TransferError
from ..http.waits import Call, Outcome, Steps
from ..models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]


class _Cube:
    """The artifacts of one cube as it was listed last, by `local_path`, and the listing to come."""

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}
        self.call: Call | None = None


class Links:
    """Exchanges stale URLs, for the loop's thread alone. No URL is ever written anywhere.

    `relist` may block: another thread calls it.
    """

    def __init__(self, relist: Relist, notice: Callable[[CubeAddress], None]) -> None:
        self._relist = relist
        self._notice = notice
        self._cubes: dict[CubeAddress, _Cube] = {}

    def fresh(self, artifact: Artifact, stale: str | None) -> Steps[Artifact]:
        """Return the artifact with another URL than `stale`, listing its cube again if need be.

        Whoever waits while it is listed takes what comes of that, whatever it is. Raises
        TransferError when the artifact is gone, or when its cube cannot be listed.
        """
        cube = self._cubes.setdefault(artifact.address, _Cube())
        known = cube.artifacts.get(artifact.local_path)
        if cube.call is None and (known.download_url if known else None) in (None, stale):
            cube.call = Call(lambda: self._relist(artifact.address), "lister")
            self._notice(artifact.address)
        if cube.call is not None:
            yield from self._await(cube, cube.call)
        found = cube.artifacts.get(artifact.local_path)
        if found is None:
            raise TransferError("it is no longer among the artifacts of its cube", code="gone")
        if found.download_url is None:
            raise TransferError("the service gives no download_url for it", code="no_url")
        return found

    def _await(self, cube: _Cube, call: Call) -> Steps[None]:
        try:
            listed = yield Outcome(call)
            cube.artifacts = {found.local_path: found for found in listed}
        except ArtifactsError as error:
            cube.artifacts = {}
            raise TransferError(
                f"it needs a new download_url, and listing it again failed: {error.message}",
                code=error.code,
                hint=error.hint,
            ) from error
        finally:
            if cube.call is call:
                cube.call = None
