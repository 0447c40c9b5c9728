"""Replaces expired URLs: it lists a cube again, once for all transfers that wait."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ArtifactsError, TransferError
from ..http.waits import Call, Outcome, Steps
from ..models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]


class _Cube:
    """The artifacts of one cube as it was listed last, by `local_path`, and a pending listing."""

    def __init__(self) -> None:
        self.artifacts: dict[str, Artifact] = {}
        self.call: Call | None = None


class Links:
    """Replaces stale URLs, in the loop's thread only. It never stores a URL on disk.

    `relist` may block: another thread calls it.
    """

    def __init__(self, relist: Relist, notice: Callable[[CubeAddress], None]) -> None:
        self._relist = relist
        self._notice = notice
        self._cubes: dict[CubeAddress, _Cube] = {}

    def fresh(self, artifact: Artifact, stale: str | None) -> Steps[Artifact]:
        """Return the artifact with a URL other than `stale`, listing its cube again if necessary.

        All callers that wait for one listing get its result. Raises `TransferError` if the artifact
        is gone or its cube cannot be listed.
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
