"""Which modules import what, and what is imported only when needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import Cli
from fake_service import CUBE, FakeService

import sourcecraft_artifacts

PACKAGE = Path(sourcecraft_artifacts.__file__).parent
PACKAGES = ["cli", "downloads", "show", "transfer", "disk", "http", "service"]
"""From the top down; what is in none of them is a base module."""
# The packages that only some modules import; imports for type checkers do not count.
KNOWN_BY = {
    "typer": {
        "cli/app",
        "cli/auth",
        "cli/boundary",
        "cli/completion",
        "cli/download",
        "cli/help",
        "cli/list",
        "cli/options",
        "cli/runs",
        "cli/sandbox",
        "cli/session",
        "cli/values",
        "cli/verify",
    },
    "rich": {"show/bars", "show/tables"},
    "requests": {"service/api", "proxies"},
    "urllib3": {"service/connections", "service/api"},
    "platformdirs": {"cli/config", "cli/name_cache"},
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield all imports of a module; those of its own package begin with a dot."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots, module = "." * node.level, node.module
            yield from [dots + module] if module else (dots + alias.name for alias in node.names)
        yield from imports(node)


@cache
def imports_of(module: Path) -> frozenset[str]:
    """Return all imports of a module by their whole names."""
    return frozenset(imports(ast.parse(module.read_text(encoding="utf-8"))))


def imported(module: Path) -> set[str]:
    """Return what a module imports: packages by their first name, our modules with their dots."""
    return {name if name.startswith(".") else name.split(".")[0] for name in imports_of(module)}


@pytest.mark.parametrize("package", KNOWN_BY)
def test_a_package_is_known_by_few(package: str) -> None:
    """Each package is imported by the modules that are listed for it, and by all of them."""
    paths = [path for path in PACKAGE.rglob("*.py") if package in imported(path)]
    knowing = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in paths}
    assert knowing == KNOWN_BY[package]


def test_nothing_private_of_a_package_is_imported() -> None:
    """Only public names of libraries are imported."""
    names = {
        name
        for module in PACKAGE.rglob("*.py")
        for name in imports_of(module)
        if not name.startswith((".", "__future__"))
    }
    assert not {name for name in names if "._" in name}


def package_of(name: str) -> str:
    """Return the package of a module or an import; empty for a base module."""
    first = name.split("/")[0]
    return first if (PACKAGE / first).is_dir() else ""


def packages_imported(module: Path) -> set[str]:
    """Return the packages that a module imports from, without its own."""
    home = module.relative_to(PACKAGE).parent.parts
    packages = set()
    for name in imported(module):
        if name.startswith("."):
            path = name.lstrip(".").replace(".", "/")
            above = home[: len(home) - (len(name) - len(name.lstrip(".")) - 1)]
            packages.add(package_of("/".join([*above, path])))
    return packages - {"", *home[:1]}


@pytest.mark.parametrize("package", [*PACKAGES, "sandbox"])
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    """Each package imports only those below it; the sandbox imports only base modules."""
    below = PACKAGES[PACKAGES.index(package) + 1 :] if package in PACKAGES else []
    allowed = {*below, *(["sandbox"] if package == "cli" else [])}
    modules = sorted((PACKAGE / package).glob("*.py"))
    rising = {module.name: packages_imported(module) - allowed for module in modules}
    assert not {name: packages for name, packages in rising.items() if packages}


def test_no_package_hides_a_public_name() -> None:
    """A package named like a public function would replace it once it is imported."""
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert not modules & set(sourcecraft_artifacts.__all__)


def test_every_folder_is_a_package() -> None:
    """The order of the packages names each of them, and base modules import none."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {*PACKAGES, "sandbox"}
    base = [path for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]
    assert not {path.name for path in base if packages_imported(path)}


def loaded_by(code: str, *arguments: str, **env: str) -> set[str]:
    """Run code in a fresh interpreter; return the modules that are then loaded."""
    report = "import atexit, sys\natexit.register(lambda: print('\\n' + ' '.join(sys.modules)))\n"
    command = [sys.executable, "-P", "-c", report + code, *arguments]
    finished = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return set(finished.stdout.splitlines()[-1].split(" "))


def test_the_package_costs_nothing() -> None:
    """Importing the library loads no command line and no network modules."""
    loaded = loaded_by("import sourcecraft_artifacts")
    assert not loaded & {"typer", "rich", "requests", "urllib3", "platformdirs", "ssl"}


@pytest.mark.parametrize("module", ["sourcecraft_artifacts", "sourcecraft_artifacts.__main__"])
def test_nothing_is_imported_before_ctrl_c_is_in_hand(module: str) -> None:
    """Nothing is imported before the signal is set: else Ctrl-C shows a traceback."""
    ours = {"sourcecraft_artifacts", module}
    assert loaded_by(f"import {module}") - loaded_by("pass") == ours


RUN = "from sourcecraft_artifacts.cli.app import main; main()"
TAB = {"_SOURCECRAFT_ARTIFACTS_COMPLETE": "complete_zsh"}


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--version"], {}),
        (["--help"], {}),
        (["download", "--help"], {}),
        (["--show-completion", "bash"], {}),
        ([], {**TAB, "_TYPER_COMPLETE_ARGS": "sourcecraft-artifacts download --la"}),
    ],
    ids=["version", "help", "help of a command", "script", "completion of an option"],
)
def test_what_is_wanted_at_once_waits_for_nothing(
    arguments: list[str], env: dict[str, str]
) -> None:
    """Help, version and completion of options load neither the network nor rich.

    A newer typer loads pydantic, which takes longer than everything else: if this test fails
    because of it, the range of typer in pyproject.toml is too wide, as CONTRIBUTING.md explains.
    """
    loaded = loaded_by(RUN, *arguments, **env)
    assert "sourcecraft_artifacts.cli.app" in loaded
    costly = {"requests", "urllib3", "rich", "platformdirs", "ssl", "asyncio", "pydantic"}
    assert not loaded & costly


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (["--version"], set()),
        (["download", "--help"], {"download"}),
        (["help", "verify"], {"verify"}),
        (["--help"], {"auth", "download", "list", "runs", "sandbox", "verify"}),
    ],
    ids=["version", "download", "verify", "help"],
)
def test_a_command_is_loaded_when_it_is_asked_for(arguments: list[str], commands: set[str]) -> None:
    """A run of one command does not wait for the others, and the help page has all of them."""
    loaded = loaded_by(RUN, *arguments)
    modules = {"auth", "download", "list", "runs", "sandbox", "verify"}
    assert {name for name in modules if f"sourcecraft_artifacts.cli.{name}" in loaded} == commands


def test_a_quiet_download_loads_only_its_own_way(cli: Cli, service: FakeService) -> None:
    """With -q neither the progress display nor the code for the other kind of target is loaded."""
    service.add("a.txt", b"1")
    words = ["download", "7", *CUBE, "-q"]
    to_folder = loaded_by(RUN, *words, "-d", str(cli.out), **cli.env)
    to_file = loaded_by(RUN, *words, "-o", str(cli.out / "b.txt"), **cli.env)
    targets = [f"sourcecraft_artifacts.downloads.{name}" for name in ("to_folder", "to_file")]
    assert [[name in loaded for name in targets] for loaded in (to_folder, to_file)] == [
        [True, False],
        [False, True],
    ]
    display = {"rich", "sourcecraft_artifacts.show.progress", "sourcecraft_artifacts.show.tracking"}
    assert not (to_folder | to_file) & display
    assert (cli.out / "a.txt").read_bytes() == (cli.out / "b.txt").read_bytes() == b"1"


def test_verify_loads_nothing_of_the_network(cli: Cli, service: FakeService) -> None:
    """A folder is checked without the modules that connect to something."""
    service.add("a.txt", b"1")
    cli.download("-q")
    loaded = loaded_by(RUN, "verify", str(cli.out), **cli.env)
    assert "sourcecraft_artifacts.downloads.verify" in loaded
    assert not loaded & {"socket", "ssl", "urllib3", "requests"}
