"""The commands that race: ours, the downloaders, and bare Python for what cannot be had faster."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .measure import Broken, Contender
from .nginx import Server
from .works import Work, generate, listing_path, publish

_GET = "import sys, typer, requests; requests.get(sys.argv[1]).content"
_UNCHANGED = """
import os, sys, typer, requests
for artifact in requests.get(sys.argv[1]).json()["artifacts"]:
    os.stat(os.path.join(sys.argv[2], artifact["local_path"]))
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a row finds its files and commands; `scratch` takes what outlives a run."""

    command: str
    server: Server
    scratch: Path
    works: dict[str, Work] = field(default_factory=dict)

    def work(self, name: str) -> Work:
        """The files of that name, generated the first time."""
        if name not in self.works:
            self.works[name] = generate(self.server, name)
        return self.works[name]

    @property
    def python(self) -> str:
        """The interpreter that runs our command, as far as it stands beside it."""
        program = shutil.which(self.command)
        beside = Path(program).resolve().with_name("python") if program else Path()
        return str(beside) if beside.is_file() else sys.executable


def ours(bench: Bench, name: str, kind: str, *, keep: bool = False) -> Contender:
    """Our download of a work; with `keep` each run after the first finds it complete."""
    work = bench.work(name)
    output = str(bench.scratch / f"kept-{name}") if keep else "out"
    where = [publish(bench.server, work, kind), "-R", "o/r", "-d", output, "-q"]
    trust = ["--ca-bundle", str(bench.server.authority)] if kind == "tls" else []
    argv = [bench.command, "download", "1", "w", "t", *where, *trust]
    return Contender("ours", argv, _complete(work, output))


def curl(bench: Bench, name: str, kind: str, *options: str) -> Contender:
    """curl with those options, reading its URLs from a config file."""
    work = bench.work(name)
    config = bench.scratch / f"curl-{name}-{kind}.conf"
    pairs = work.pairs(bench.server.url(kind))
    config.write_text("".join(f'url = "{url}"\noutput = "out/{path}"\n' for url, path in pairs))
    trust = ["--cacert", str(bench.server.authority)] if kind == "tls" else []
    argv = ["curl", "-q", "-fsS", "--create-dirs", *options, *trust, "-K", str(config)]
    return Contender(" ".join(("curl", *options[:1])), argv, _complete(work, "out"))


def aria2c(bench: Bench, name: str, kind: str, *options: str) -> Contender:
    """aria2c with those options, reading its URLs from an input file."""
    work = bench.work(name)
    listing = bench.scratch / f"aria2c-{name}-{kind}.txt"
    pairs = work.pairs(bench.server.url(kind))
    listing.write_text("".join(f"{url}\n  out={path}\n" for url, path in pairs))
    trust = [f"--ca-certificate={bench.server.authority}"] if kind == "tls" else []
    quiet = ["--no-conf", "-q", "--file-allocation=none", "-d", "out", "-i", str(listing)]
    argv = ["aria2c", *options, *quiet, *trust]
    return Contender(" ".join(("aria2c", *options)), argv, _complete(work, "out"))


def unchanged(bench: Bench) -> list[Contender]:
    """Our second run over 10,000 files, and the least that a Python program can do for it."""
    contender = ours(bench, "tiny", "plain", keep=True)
    url = f"{bench.server.url('api')}/{listing_path('tiny-plain')}"
    folder = str(bench.work("tiny").folder)
    peer = Contender("python: GET, 10,000 stats", [bench.python, "-c", _UNCHANGED, url, folder])
    return [contender, peer]


def listing(bench: Bench) -> list[Contender]:
    """`list --json` of ten artifacts, and the imports and the request that it rests on."""
    cube = publish(bench.server, bench.work("few"), "plain")
    argv = [bench.command, "list", "1", "w", "t", cube, "-R", "o/r", "--json"]
    url = f"{bench.server.url('api')}/{listing_path(cube)}"
    peer = Contender("python: imports, GET", [bench.python, "-c", _GET, url])
    return [Contender("ours", argv, check=_lists_ten), peer]


def start(bench: Bench, *arguments: str, answer: bytes) -> list[Contender]:
    """A command that only prints, and `import typer`."""
    contender = Contender("ours", [bench.command, *arguments], check=partial(_prints, answer))
    return [contender, _import_typer(bench)]


def completion(bench: Bench) -> list[Contender]:
    """Completing an option in bash, and `import typer`."""
    env = {
        "_SOURCECRAFT_ARTIFACTS_COMPLETE": "complete_bash",
        "COMP_WORDS": "sourcecraft-artifacts download --",
        "COMP_CWORD": "2",
    }
    contender = Contender("ours", [bench.command], check=partial(_prints, b"--dir"), env=env)
    return [contender, _import_typer(bench)]


def _import_typer(bench: Bench) -> Contender:
    return Contender("python: import typer", [bench.python, "-c", "import typer"])


def _complete(work: Work, output: str) -> Callable[[Path, bytes], None]:
    return lambda folder, stdout: work.check(folder / output)


def _lists_ten(folder: Path, stdout: bytes) -> None:
    if stdout.count(b'"local_path"') != 10:
        raise Broken("it does not list ten artifacts")


def _prints(answer: bytes, folder: Path, stdout: bytes) -> None:
    if answer not in stdout:
        raise Broken(f"{answer.decode()} is not in what it prints")
