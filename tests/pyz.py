"""Build `sourcecraft-artifacts.pyz`: the command and its dependencies in one file.

    python tests/pyz.py                 # write dist/sourcecraft-artifacts.pyz
    python tests/pyz.py --out FILE      # write it elsewhere
    python tests/pyz.py --lock          # update pyz-requirements.txt

It needs only pip. The versions of the dependencies, and the hashes of their wheels, are those in
`pyz-requirements.txt`, and each file has the time `SOURCE_DATE_EPOCH`, so that the same commit
gives the same bytes. Only wheels in pure Python are accepted, because compiled modules cannot be
imported from a zip file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "pyz-requirements.txt"
OLDEST = "3.11"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "from sourcecraft_artifacts.__main__ import main\n\nmain()\n"
EARLIEST = 315532800
"""The first second that a zip file can name: 1980 began then."""
_PURE = ("--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none")
# Files that pip writes about an installation, and files that only installed packages need.
_LEFT_OUT = {"direct_url.json", "RECORD", "REQUESTED", "INSTALLER", "WHEEL"}
_HEADER = """\
# What goes into sourcecraft-artifacts.pyz besides the program: `make lock` writes this file.
# colorama is what the dependencies ask for on Windows only.
"""


def pip(*arguments: str | Path) -> str:
    """Run pip; return its stdout."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build(source: Path, to: Path) -> None:
    """Install the project in `source` and its locked dependencies, and write them to one file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "packages")
        into = ("install", "--no-compile", "--no-deps", "--target", target)
        pip(*into, *_PURE, "--python-version", OLDEST, "--require-hashes", "-r", LOCK)
        pip(*into, "--upgrade", source)
        for unwanted in ("bin", "share"):
            shutil.rmtree(target / unwanted, ignore_errors=True)
        write_zip(target, to, int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))


def write_zip(folder: Path, to: Path, when: int) -> None:
    """Write a folder as a zip file that Python can run; `when` is in seconds since 1970 (UTC)."""
    date = time.gmtime(max(when, EARLIEST))[:6]
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in [("__main__.py", MAIN.encode()), *_files(folder)]:
                entry = zipfile.ZipInfo(name, date)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as on Unix
                archive.writestr(entry, data)
    to.chmod(0o755)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _LEFT_OUT and path.suffix != ".pyc":
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def lock() -> str:
    """Return the requirements: the newest versions that the project's ranges allow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with tempfile.TemporaryDirectory() as folder:
        told = pip(
            *("install", "--dry-run", "--ignore-installed", "--report", "-", "--target", folder),
            *(*_PURE, "--python-version", OLDEST, *project["dependencies"], "colorama"),
        )
    lines = sorted(_requirement(package) for package in json.loads(told)["install"])
    return _HEADER + "".join(lines)


def _requirement(package: Any) -> str:
    """Return the line that accepts exactly the file that pip would install."""
    about, digest = package["metadata"], package["download_info"]["archive_info"]["hashes"]
    return f"{about['name'].lower()}=={about['version']} --hash=sha256:{digest['sha256']}\n"


def main() -> int:
    """Build the file, or write the lock file."""
    parser = argparse.ArgumentParser(description="Build the command as one file.")
    parser.add_argument("--lock", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "sourcecraft-artifacts.pyz")
    chosen = parser.parse_args()
    if chosen.lock:
        LOCK.write_text(lock(), encoding="utf-8")
    else:
        build(ROOT, chosen.out)
        print(f"{chosen.out.name}: {chosen.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
