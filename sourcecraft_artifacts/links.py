"""Fresh `download_url`s for those that expired: one listing of a cube for all who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .errors import ArtifactsError, TransferError
from .models import Artifact, CubeAddress

Relist = Callable[[CubeAddress], list[Artifact]]


class _Cube:
    """The newest known URLs of one cube, by `local_path`; None until listed again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.urls: dict[str, str | None] | None = None


class Links:
    """Exchanges stale URLs; safe to use from many threads. No URL is ever written anywhere."""

    def __init__(self, relist: Relist, notice: Callable[[CubeAddress], None]) -> None:
        self._relist = relist
        self._notice = notice
        self._lock = threading.Lock()
        self._cubes: dict[CubeAddress, _Cube] = {}

    def fresh(self, artifact: Artifact, stale: str | None) -> str:
        """Return a URL for the artifact that is not `stale`, listing its cube again if need be.

        Raises TransferError when the artifact is gone, or when it cannot be listed.
        """
        with self._lock:
            cube = self._cubes.setdefault(artifact.address, _Cube())
        with cube.lock:
            known = cube.urls.get(artifact.local_path) if cube.urls is not None else None
            urls = cube.urls
            if urls is None or known is None or known == stale:
                self._notice(artifact.address)
                urls = cube.urls = self._list(artifact.address)
            if artifact.local_path not in urls:
                raise TransferError("it is no longer among the artifacts of its cube", code="gone")
            url = urls[artifact.local_path]
        if url is None:
            raise TransferError("the service gives no download_url for it", code="no_url")
        return url

    def _list(self, address: CubeAddress) -> dict[str, str | None]:
        try:
            found = self._relist(address)
        except ArtifactsError as error:
            raise TransferError(
                f"its download_url expired, and listing it again failed: {error.message}",
                code=error.code,
                hint=error.hint,
            ) from error
        return {artifact.local_path: artifact.download_url for artifact in found}
