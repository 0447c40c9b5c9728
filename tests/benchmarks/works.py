"""The files of a benchmark: generated, listed as the API lists artifacts, and checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .measure import Broken
from .nginx import Server

MIB = 1024 * 1024
SIZES: Mapping[str, tuple[int, ...]] = {
    "few": (20_000,) * 10,
    "tiny": (100,) * 10_000,
    "small": (20_000,) * 1_000,
    "medium": (1_000_000,) * 200,
    "large": (256 * MIB,),
    "mixed": (256 * MIB,) + (1_000_000,) * 40 + (20_000,) * 300,
    "huge": (1024 * MIB,),
    # For expensive connections: over TLS, on a wire.
    "hundred": (1_000_000,) * 100,
    "slab": (128 * MIB,),
    "blend": (64 * MIB,) + (1_000_000,) * 20 + (20_000,) * 200,
    "three": (300_000,) * 3,
    # Five times the work of those that end as soon as a program has started.
    "small-x5": (20_000,) * 5_000,
    "hundred-x5": (1_000_000,) * 500,
    "few-x5": (20_000,) * 50,
}
_DATES = dict.fromkeys(("registered_at", "obtained_at", "updated_at"), "2025-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class File:
    """One file, by its path below the work's folder and any output folder."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Work:
    """The files of one benchmark, and the folder of their sources."""

    name: str
    folder: Path
    files: tuple[File, ...]

    def pairs(self, base: str) -> Iterator[tuple[str, str]]:
        """Each file's URL and its path below the output folder."""
        return ((f"{base}/{self.name}/{file.path}", file.path) for file in self.files)

    def check(self, output: Path) -> None:
        """Raise `Broken` unless the output folder has every file with its size and SHA-256."""
        for file in self.files:
            path = output / file.path
            if not path.is_file() or path.stat().st_size != file.size:
                raise Broken(f"{file.path} is absent or has the wrong size")
            if _sha256(path) != file.sha256:
                raise Broken(f"{file.path} has the wrong bytes")


def generate(server: Server, name: str) -> Work:
    """Fill the files of a work with random bytes, below the server's site."""
    folder = server.site / name
    (folder / "dist").mkdir(parents=True)
    files = (
        _fill(folder, f"dist/part-{index:05}.bin", size) for index, size in enumerate(SIZES[name])
    )
    return Work(name, folder, tuple(files))


def publish(server: Server, work: Work, kind: str) -> str:
    """Let the API list the files with URLs of a kind of storage; return the cube's name."""
    cube = f"{work.name}-{kind}"
    artifacts = [
        {"id": cube, "local_path": path, "dates": _DATES, "status": "success", "download_url": url}
        for url, path in work.pairs(server.url(kind))
    ]
    listing = server.api / listing_path(cube)
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(json.dumps({"artifacts": artifacts}))
    return cube


def listing_path(cube: str) -> str:
    """Return the path at which the API lists a cube's artifacts."""
    return f"repos/o/r/cicd/artifacts/1/w/t/{cube}"


def _fill(folder: Path, path: str, size: int) -> File:
    digest = hashlib.sha256()
    with (folder / path).open("wb") as file:
        for start in range(0, size, MIB):
            block = os.urandom(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return File(path, size, digest.hexdigest())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
