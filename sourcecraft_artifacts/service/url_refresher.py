"""Artifacts listed anew, for URLs that expired: one listing of a cube for all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import ArtifactsError, TransferError
from ..models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]


class _Cube:
    """The artifacts of one cube as it was listed last, by `local_path`, and how often it was.

    `error` is that of the last listing, when it failed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.artifacts: dict[str, Artifact] = {}
        self.error: ArtifactsError | None = None
        self.listings = 0


class UrlRefresher:
    """Exchanges stale URLs; safe to use from many threads. No URL is ever written anywhere."""

    def __init__(self, relist: Relist, notice: Callable[[CubeAddress], None]) -> None:
        self._relist = relist
        self._notice = notice
        self._lock = threading.Lock()
        self._cubes: dict[CubeAddress, _Cube] = {}

    def fresh(self, artifact: Artifact, stale: str | None) -> Artifact:
        """Return the artifact with another URL than `stale`, listing its cube again if need be.

        Whoever waits while it is listed takes what comes of that, whatever it is. Raises
        TransferError when the artifact is gone, or when its cube cannot be listed.
        """
        with self._lock:
            cube = self._cubes.setdefault(artifact.address, _Cube())
        seen = cube.listings
        with cube.lock:
            known = cube.artifacts.get(artifact.local_path)
            url = known.download_url if known else None
            if cube.listings == seen and url in (None, stale):
                self._list(artifact.address, cube)
            artifacts, error = cube.artifacts, cube.error
        if error is not None:
            raise TransferError(
                f"it needs a new download_url, and listing it again failed: {error.message}",
                code=error.code,
                hint=error.hint,
            ) from error
        found = artifacts.get(artifact.local_path)
        if found is None:
            raise TransferError("it is no longer among the artifacts of its cube", code="gone")
        if found.download_url is None:
            raise TransferError("the service gives no download_url for it", code="no_url")
        return found

    def _list(self, address: CubeAddress, cube: _Cube) -> None:
        self._notice(address)
        cube.artifacts, cube.error = {}, None
        try:
            cube.artifacts = {found.local_path: found for found in self._relist(address)}
        except ArtifactsError as error:
            cube.error = error
        cube.listings += 1
