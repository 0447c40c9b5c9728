"""The sdist, the wheel built from it, and the command installed in a new venv."""

from __future__ import annotations

import email
import email.message
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import pyz
import release
from packaging.requirements import Requirement

from sourcecraft_artifacts import __version__

pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")

ROOT = Path(__file__).parents[1]
STEM = f"sourcecraft_artifacts-{__version__}"
SHARE = {
    "share/bash-completion/completions/sourcecraft-artifacts": "sourcecraft-artifacts.bash",
    "share/zsh/site-functions/_sourcecraft-artifacts": "_sourcecraft-artifacts",
    "share/fish/vendor_completions.d/sourcecraft-artifacts.fish": "sourcecraft-artifacts.fish",
    "share/man/man1/sourcecraft-artifacts.1": "sourcecraft-artifacts.1",
}


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command that must succeed; return what it wrote to stdout."""
    finished = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=100
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the tree, and unpack it."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-P", "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    with tarfile.open(folder / f"{STEM}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / STEM


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=sdist)
    return folder / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a new venv; its dependencies are those of the tests."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})
    python = Path(paths["scripts"], "python")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install")
    run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=place)
    # Only now: pip must not see the package that is installed there.
    Path(paths["purelib"], "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Path(paths["scripts"])


def files(folder: Path, *patterns: str) -> set[str]:
    """Return the files of a folder by their names in the archives."""
    found = (path for pattern in patterns for path in folder.glob(pattern))
    wanted = (path for path in found if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in wanted}


def test_the_sdist_can_be_built_and_tested(sdist: Path) -> None:
    """The sdist has the package, the tests and all that they need, and nothing else."""
    top = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "pyz-requirements.txt",
        "README.ru.md",
    )
    wanted = files(
        ROOT, *top, "sourcecraft_artifacts/**/*", "tests/**/*", "completions/*", ".ci/*", "docs/*"
    )
    assert files(sdist, "**/*") - {"PKG-INFO", ".gitignore"} == wanted


def test_the_wheel_holds_what_is_used(wheel: Path) -> None:
    """The wheel has the package, the completions and the man page."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        data = {name: archive.read(f"{STEM}.data/data/{name}") for name in SHARE}
    info = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    wanted = files(ROOT, "sourcecraft_artifacts/**/*")
    wanted |= {f"{STEM}.dist-info/{name}" for name in info}
    wanted |= {f"{STEM}.data/data/{name}" for name in SHARE}
    assert names == wanted
    assert "sourcecraft_artifacts/py.typed" in names
    kept = {name: (ROOT / "completions" / file).read_bytes() for name, file in SHARE.items()}
    assert data == kept


@pytest.fixture
def metadata(wheel: Path) -> email.message.Message:
    """Return the metadata of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"{STEM}.dist-info/METADATA"))


def test_the_metadata_is_whole(metadata: email.message.Message) -> None:
    """The metadata has all fields, as in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["Name"] == "sourcecraft-artifacts"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Summary"] == project["description"]
    assert metadata["Keywords"].split(",") == sorted(project["keywords"])
    assert metadata.get_all("Classifier") == project["classifiers"]
    assert "Typing :: Typed" in project["classifiers"]
    required = {re.split("[<>]", one)[0] for one in metadata.get_all("Requires-Dist") or []}
    assert required == {"platformdirs", "requests", "rich", "typer", "urllib3"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    described = metadata.get_payload(decode=True)
    assert isinstance(described, bytes)
    assert described.decode().strip() == readme.strip()


def test_the_installed_command_works(installed: Path, tmp_path: Path) -> None:
    """The command lists and downloads in a venv without this tree."""
    env = {"PATH": f"{installed}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    where = "import sourcecraft_artifacts; print(sourcecraft_artifacts.__file__)"
    found = Path(run(installed / "python", "-P", "-c", where, cwd=tmp_path).strip())
    assert found.is_relative_to(installed.parent)
    command = installed / "sourcecraft-artifacts"
    version = run(command, "--version", cwd=tmp_path, **env)
    assert version == f"sourcecraft-artifacts {__version__}\n"
    inner = ("sandbox", "--", "sourcecraft-artifacts")
    listing = run(command, *inner, "list", "43", cwd=tmp_path, **env)
    assert "\trelease notes.txt\n" in listing
    run(command, *inner, "download", "43", "ci", "test", "api", "-d", "out", cwd=tmp_path, **env)
    assert (tmp_path / "out" / "release notes.txt").read_text().startswith("1.4.0")


def test_the_installed_files_are_where_shells_look(installed: Path) -> None:
    """The scripts and the man page are below the prefix."""
    for name in SHARE:
        assert (installed.parent / name).is_file()


# The one file, and the release.


def test_the_one_file_is_the_same_from_the_same_files(tmp_path: Path) -> None:
    """Times, permissions and pip's notes about an installation do not change it."""
    for name, mode in (("a", 0o600), ("b", 0o755)):
        package = tmp_path / name / "package"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("x = 1\n")
        (package / "__init__.py").chmod(mode)
        (package / "RECORD").write_text(name)
        os.utime(package / "__init__.py", (mode, mode))
        pyz.write_zip(tmp_path / name, tmp_path / f"{name}.pyz", when=10**9)
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "b.pyz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pyz") as archive:
        entries = {entry.filename: entry.date_time for entry in archive.infolist()}
    assert entries == dict.fromkeys(["__main__.py", "package/__init__.py"], (2001, 9, 9, 1, 46, 40))


def test_the_one_file_runs(tmp_path: Path) -> None:
    """It runs as a program, with the modules inside it."""
    package = tmp_path / "files" / "sourcecraft_artifacts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("def main():\n    print('from the file')\n")
    file = tmp_path / "new folder" / "one.pyz"
    pyz.write_zip(tmp_path / "files", file, when=0)
    assert file.read_bytes().startswith(pyz.SHEBANG)
    assert os.access(file, os.X_OK)
    assert run(sys.executable, file, cwd=tmp_path) == "from the file\n"


def test_the_locked_versions_are_allowed() -> None:
    """Each dependency is locked with its hash, to a version in its range."""
    lines = [line for line in pyz.LOCK.read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", one) for one in lines]
    locked = {one[1]: one[2] for one in found if one is not None}
    assert len(locked) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for wanted in map(Requirement, project["dependencies"]):
        assert wanted.specifier.contains(locked[wanted.name]), wanted


@pytest.mark.parametrize(
    ("unreleased", "heading", "complaint"),
    [
        ("\n", "## [1.2.3] - 2026-01-31", None),
        ("\n", "## [1.2.3]", "no heading"),
        ("\n", "## [1.2.30] - 2026-01-31", "no heading"),
        ("\n### Added\n\n- A thing.\n\n", "## [1.2.3] - 2026-01-31", "Unreleased belongs under"),
    ],
)
def test_a_release_is_in_the_changelog(
    unreleased: str, heading: str, complaint: str | None
) -> None:
    """A version has a date in the changelog, and Unreleased is empty."""
    changelog = f"# Changelog\n\n## [Unreleased]\n{unreleased}{heading}\n\n### Added\n"
    if complaint is None:
        assert release.dated(changelog, "1.2.3") == "2026-01-31"
        return
    with pytest.raises(release.Unfit, match=complaint):
        release.dated(changelog, "1.2.3")


def test_the_sums_are_for_sha256sum(tmp_path: Path) -> None:
    """The file has a line for each file, as `sha256sum -c` reads them."""
    (tmp_path / "a").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert release.sums([tmp_path / "a"]) == f"{empty}  a\n"


def test_no_rule_is_both_selected_and_ignored() -> None:
    """ruff's settings do not contradict each other."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert not set(told["lint"]["select"]) & set(told["lint"].get("ignore", []))


def test_the_classifiers_are_what_is_tested() -> None:
    """Each Python version in the classifiers is one that `.ci/run` tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))
    tested = re.search(r"python3\.\{(\d+)\.\.(\d+)\}", (ROOT / ".ci/run").read_text())
    assert tested is not None
    assert named
    assert all(int(tested[1]) <= int(minor) <= int(tested[2]) for minor in named)
