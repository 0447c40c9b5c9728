"""Fresh `download_url`s for those that expired: one listing of a cube for all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .errors import ArtifactsError, TransferError
from .models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]


class _Cube:
    """The newest known URLs of one cube, by `local_path`, and how often it was listed.

    `error` is that of the last listing, when it failed.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.urls: dict[str, str | None] = {}
        self.error: ArtifactsError | None = None
        self.listings = 0


class Links:
    """Exchanges stale URLs; safe to use from many threads. No URL is ever written anywhere."""

    def __init__(self, relist: Relist, notice: Callable[[CubeAddress], None]) -> None:
        self._relist = relist
        self._notice = notice
        self._lock = threading.Lock()
        self._cubes: dict[CubeAddress, _Cube] = {}

    def fresh(self, artifact: Artifact, stale: str | None) -> str:
        """Return a URL to use instead of `stale`, listing the artifact's cube again if need be.

        Whoever waits while it is listed takes what comes of that, whatever it is. Raises
        TransferError when the artifact is gone, or when its cube cannot be listed.
        """
        with self._lock:
            cube = self._cubes.setdefault(artifact.address, _Cube())
        seen = cube.listings
        with cube.lock:
            if cube.listings == seen and cube.urls.get(artifact.local_path) in (None, stale):
                self._list(artifact.address, cube)
            urls, error = cube.urls, cube.error
        if error is not None:
            raise TransferError(
                f"it needs a new download_url, and listing it again failed: {error.message}",
                code=error.code,
                hint=error.hint,
            ) from error
        if artifact.local_path not in urls:
            raise TransferError("it is no longer among the artifacts of its cube", code="gone")
        url = urls[artifact.local_path]
        if url is None:
            raise TransferError("the service gives no download_url for it", code="no_url")
        return url

    def _list(self, address: CubeAddress, cube: _Cube) -> None:
        self._notice(address)
        cube.urls, cube.error = {}, None
        try:
            cube.urls = {found.local_path: found.download_url for found in self._relist(address)}
        except ArtifactsError as error:
            cube.error = error
        cube.listings += 1
