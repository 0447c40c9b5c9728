"""Checks a download folder against its manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..disk.paths import SafePath, UnsafePath, safe_path
from ..errors import ArtifactsError, Refused, UsageError
from ..text import visible
from .output_folder import OutputFolder


def verify(directory: str) -> Iterator[tuple[str, str]]:
    """Yield each file of the manifest, as `DIR` joined with its place, and what is found of it.

    `OK`, `FAILED` (it differs, cannot be read, or is no plain file) or `MISSING`. Raises
    `UsageError` where there is no manifest, `Refused` for one that cannot be read.
    """
    with OutputFolder(directory) as folder:
        if folder.manifest.damaged:
            raise Refused(
                f"the manifest of {visible(directory)} is damaged: nothing can be checked",
                hint="download again with --if-exists overwrite",
            )
        places = sorted(folder.manifest.places())
        if not folder.manifest.exists:
            raise UsageError(
                f"{visible(directory)} holds no manifest of a download",
                hint="give the folder that was downloaded into",
            )
        for name in places:
            yield visible(os.path.join(directory, name)), _verdict(folder, name)


def _verdict(folder: OutputFolder, name: str) -> str:
    try:
        place: SafePath = safe_path(name, portable=False)
        found, entry = folder.lstat(place), folder.entry(place)
        if found is None:
            return "MISSING"
        if entry is None or not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            return "FAILED"
        return "OK" if folder.sha256(place) == entry.sha256 else "FAILED"
    except (UnsafePath, ArtifactsError, OSError):
        return "FAILED"
