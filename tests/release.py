"""Make a release of the commit that is checked out, and check it.

    python tests/release.py

`dist/` then has the wheel, the sdist, the one-file command and `SHA256SUMS`. They are built twice
from what git has, and must be identical. twine checks the metadata; the wheel and the sdist are
each installed in a fresh environment, and the one file is run with each CPython from 3.11 up on
this machine: each of them downloads from the sandbox, and verifies the files. Nothing is uploaded
and no tag is set: the last lines say what to do with the files.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PROGRAM = "sourcecraft-artifacts"
_VERSION = re.compile(r'^__version__ = "(.*)"$', re.M)
_OF_A_PYTHON = (
    "import sys; assert sys.version_info >= (3, 11) and sys.implementation.name == 'cpython';"
    "print('%d.%d' % sys.version_info[:2])"
)


class Unfit(Exception):
    """The commit, or a file built from it, is not fit for a release."""


def git(*arguments: str) -> bytes:
    """Run git in the project; return its output."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """Run a command that must succeed; return what it wrote to stdout."""
    finished = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, text=True, capture_output=True
    )
    if finished.returncode:
        raise Unfit(f"{' '.join(map(str, command))}:\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def dated(changelog: str, version: str) -> str:
    """Return the date of a version in the changelog. Raises `Unfit` if it has none."""
    found = re.search(rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)$", changelog, re.M)
    if found is None:
        raise Unfit(f"CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD`")
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## )", changelog, re.M | re.S)
    if unreleased is None or unreleased[1].strip():
        raise Unfit(f"CHANGELOG.md: what is under Unreleased belongs under {version}")
    return found[1]


def fit_version() -> str:
    """Return the version of this commit. Raises `Unfit` if it is not ready."""
    if git("status", "--porcelain"):
        raise Unfit("there are changes that are not committed")
    text = (ROOT / "sourcecraft_artifacts" / "__init__.py").read_text(encoding="utf-8")
    found = _VERSION.search(text)
    assert found is not None
    dated((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), found[1])
    return found[1]


def build(to: Path) -> list[Path]:
    """Build all three from a clean copy of the commit into an empty folder; return their paths."""
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
            archive.extractall(folder, filter="data")
        epoch = git("log", "-1", "--format=%ct").decode().strip()
        tree, env = Path(folder), {"SOURCE_DATE_EPOCH": epoch, "PYTHONDONTWRITEBYTECODE": "1"}
        run(python, "-m", "build", "--no-isolation", "--outdir", to, cwd=tree, **env)
        run(python, "tests/pyz.py", "--out", to / f"{PROGRAM}.pyz", cwd=tree, **env)
    return sorted(path for path in to.iterdir() if path.name != ".gitignore")


def sums(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of each file, as `sha256sum -c` reads them."""
    digests = [(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in paths]
    return "".join(f"{digest}  {name}\n" for digest, name in digests)


def build_twice() -> list[Path]:
    """Build into `dist/`, and once more to compare. Raises `Unfit` if they differ."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    built = build(DIST)
    with tempfile.TemporaryDirectory() as other:
        first, second = sums(built), sums(build(Path(other)))
    if first != second:
        raise Unfit(f"a second build differs:\n{first}{second}")
    (DIST / "SHA256SUMS").write_text(first, encoding="utf-8")
    return built


def pythons() -> Iterator[tuple[str, Path]]:
    """Yield one CPython of each version from 3.11 up, as `.ci/run` finds them."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    names = ["python3", *(f"python3.{minor}" for minor in range(11, 16))]
    found = [sys.executable, *filter(None, map(shutil.which, names))]
    seen = set()
    for path in [*map(Path, found), *sorted(root.glob("versions/*/bin/python"))]:
        told = subprocess.run([path, "-c", _OF_A_PYTHON], capture_output=True, text=True)
        version = told.stdout.strip()
        if told.returncode == 0 and version not in seen:
            seen.add(version)
            yield version, path


def installed(package: Path, folder: Path) -> Path:
    """Install a package in a fresh environment; return its command."""
    venv.create(folder, with_pip=True)
    bin_ = folder / ("Scripts" if os.name == "nt" else "bin")
    run(bin_ / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", package)
    return bin_ / PROGRAM


def try_out(version: str, *command: str | Path) -> None:
    """Check a command's version, and a download from the sandbox that verifies."""
    with tempfile.TemporaryDirectory() as folder:
        told = run(*command, "--version", cwd=Path(folder))
        if told != f"{PROGRAM} {version}\n":
            raise Unfit(f"--version says {told!r}")
        sandbox = (*command, "sandbox", "--", *command)
        run(*sandbox, "download", "43", "ci", "build", "linux", "-d", "out", cwd=Path(folder))
        run(*command, "verify", "out", cwd=Path(folder))


def check(version: str, built: Sequence[Path]) -> None:
    """Check the metadata, and try each file as it is installed. Raises `Unfit`."""
    packages = [path for path in built if path.suffix != ".pyz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    print("twine check passed")
    with tempfile.TemporaryDirectory() as folder:
        for number, package in enumerate(packages):
            try_out(version, installed(package, Path(folder, str(number))))
            print(f"{package.name} works in a fresh environment")
    (pyz,) = set(built) - set(packages)
    for name, python in pythons():
        try_out(version, python, pyz)
        print(f"{pyz.name} works with CPython {name}")


def main() -> int:
    """Build and check, and say what to do next."""
    try:
        version = fit_version()
        built = build_twice()
        print("built twice, with identical bytes")
        check(version, built)
    except Unfit as unfit:
        print(f"no release: {unfit}", file=sys.stderr)
        return 1
    print(f"\ndist/ has {version}:\n\n{(DIST / 'SHA256SUMS').read_text(encoding='utf-8')}")
    print(
        f"What to do with them:\n"
        f"  git tag -a v{version} -m 'Version {version}' && git push origin v{version}\n"
        f"  {os.path.relpath(sys.executable)} -m twine upload dist/*.whl dist/*.tar.gz\n"
        f"  attach all four files to the release of the tag v{version}\n"
        f"Whoever builds the tag with the same Python gets the same bytes."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
