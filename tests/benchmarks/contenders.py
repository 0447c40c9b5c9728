"""The commands that are compared: ours, other downloaders, and minimal Python programs."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .measure import Broken, Contender
from .nginx import Server
from .works import Work, generate, listing_path, publish

_CURL = ("curl", "-q", "-fsS", "--create-dirs")
_ARIA2C = ("aria2c", "--no-conf", "-q", "--file-allocation=none", "-d", "out")
_GET = "import sys, typer, requests; requests.get(sys.argv[1]).content"
_UNCHANGED = """
import os, sys, typer, requests
for artifact in requests.get(sys.argv[1]).json()["artifacts"]:
    os.stat(os.path.join(sys.argv[2], artifact["local_path"]))
"""
_FEW = """
import hashlib, http.client, os, ssl, sys, threading, typer, requests
from urllib.parse import urlsplit

def fetch(url, path):
    where = urlsplit(url)
    connection = http.client.HTTPSConnection(where.netloc, context=context)
    connection.request("GET", where.path)
    body = connection.getresponse().read()
    hashlib.sha256(body).hexdigest()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)

listing, authority = sys.argv[1:]
artifacts = requests.get(listing, verify=authority).json()["artifacts"]
context = ssl.create_default_context(cafile=authority)
for one in artifacts:
    words = one["download_url"], os.path.join("out", one["local_path"])
    threading.Thread(target=fetch, args=words).start()
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """The files and commands for a row; `scratch` has what outlives a run."""

    command: str
    server: Server
    scratch: Path
    works: dict[str, Work] = field(default_factory=dict)

    def work(self, name: str) -> Work:
        """Return the files of that name, and generate them at the first call."""
        if name not in self.works:
            self.works[name] = generate(self.server, name)
        return self.works[name]

    @property
    def python(self) -> str:
        """The interpreter of our command, if it is beside it."""
        program = shutil.which(self.command)
        beside = Path(program).resolve().with_name("python") if program else Path()
        return str(beside) if beside.is_file() else sys.executable


def ours(bench: Bench, name: str, kind: str, *, keep: bool = False) -> Contender:
    """Our download of a work; with `keep`, each run after the first finds it complete."""
    work = bench.work(name)
    output = str(bench.scratch / f"kept-{name}") if keep else "out"
    where = [publish(bench.server, work, kind), "-R", "o/r", "-d", output, "-q"]
    trust = _trust(bench, kind, "--ca-bundle")
    argv = [bench.command, "download", "1", "w", "t", *where, *trust]
    return Contender("ours", argv, _complete(work, output))


def curl(bench: Bench, name: str, kind: str, *options: str) -> Contender:
    """curl with those options, reading its URLs from a config file."""
    work = bench.work(name)
    config = bench.scratch / f"curl-{name}-{kind}.conf"
    pairs = work.pairs(bench.server.url(kind))
    config.write_text("".join(f'url = "{url}"\noutput = "out/{path}"\n' for url, path in pairs))
    return Contender(
        " ".join(("curl", *options[:1])),
        [*_CURL, *options, *_trust(bench, kind, "--cacert"), "-K", str(config)],
        _complete(work, "out"),
    )


def aria2c(bench: Bench, name: str, kind: str, *options: str) -> Contender:
    """aria2c with those options, reading its URLs from an input file."""
    work = bench.work(name)
    listing = bench.scratch / f"aria2c-{name}-{kind}.txt"
    pairs = work.pairs(bench.server.url(kind))
    listing.write_text("".join(f"{url}\n  out={path}\n" for url, path in pairs))
    trust = [f"--ca-certificate={bench.server.authority}"] * bench.server.secure(kind)
    argv = [*_ARIA2C, *options, *trust, "-i", str(listing)]
    return Contender(" ".join(("aria2c", *options)), argv, _complete(work, "out"))


def scripts(bench: Bench, name: str, kind: str) -> list[Contender]:
    """What a shell script would do: list with curl, select with jq, fetch with curl or aria2c."""
    work = bench.work(name)
    cube = publish(bench.server, work, kind)
    trust = _trust(bench, kind, "--cacert")
    listing = f"{bench.server.url('api')}/{listing_path(cube)}"
    asked = shlex.join(["curl", "-q", "-fsS", *_trust(bench, "api", "--cacert"), listing])
    for_curl = r'''.artifacts[] | "url = \"\(.download_url)\"\noutput = \"out/\(.local_path)\""'''
    for_aria2c = r'''.artifacts[] | "\(.download_url)\n  out=\(.local_path)"'''
    with_curl = shlex.join([*_CURL, "-Z", "--parallel-max", "50", "--http1.1", *trust, "-K", "-"])
    known = f"--ca-certificate={bench.server.authority}"
    with_aria2c = shlex.join([*_ARIA2C, "-j16", "-x16", "-s16", "-k1M", known, "-i", "urls"])
    lines = {
        "curl -Z": f"{asked} | jq -r {shlex.quote(for_curl)} | {with_curl}",
        "aria2c -x16": f"{asked} | jq -r {shlex.quote(for_aria2c)} > urls && {with_aria2c}",
    }
    return [
        Contender(who, ["bash", "-o", "pipefail", "-c", line], _complete(work, "out"))
        for who, line in lines.items()
    ]


def bare(bench: Bench, name: str, kind: str) -> Contender:
    """What Python needs for few files over TLS: imports, listing, a thread each, fsync."""
    work = bench.work(name)
    listing = f"{bench.server.url('api')}/{listing_path(publish(bench.server, work, kind))}"
    argv = [bench.python, "-c", _FEW, listing, str(bench.server.authority)]
    return Contender("python: imports, listing, GETs", argv, _complete(work, "out"))


def _trust(bench: Bench, kind: str, option: str) -> list[str]:
    """The option that names the CA, if TLS is used."""
    return [option, str(bench.server.authority)] * bench.server.secure(kind)


def unchanged(bench: Bench) -> list[Contender]:
    """Our second run over 10,000 files, and the least that a Python program needs for it."""
    contender = ours(bench, "tiny", "plain", keep=True)
    url = f"{bench.server.url('api')}/{listing_path('tiny-plain')}"
    folder = str(bench.work("tiny").folder)
    peer = Contender("python: GET, 10,000 stats", [bench.python, "-c", _UNCHANGED, url, folder])
    return [contender, peer]


def listing(bench: Bench, name: str) -> list[Contender]:
    """`list --json` of few artifacts, and its imports and request alone."""
    work = bench.work(name)
    cube = publish(bench.server, work, "plain")
    argv = [bench.command, "list", "1", "w", "t", cube, "-R", "o/r", "--json"]
    url = f"{bench.server.url('api')}/{listing_path(cube)}"
    peer = Contender("python: imports, GET", [bench.python, "-c", _GET, url])
    return [Contender("ours", argv, check=partial(_lists, len(work.files))), peer]


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


def _lists(number: int, folder: Path, stdout: bytes) -> None:
    if stdout.count(b'"local_path"') != number:
        raise Broken(f"it does not list {number} artifacts")


def _prints(answer: bytes, folder: Path, stdout: bytes) -> None:
    if answer not in stdout:
        raise Broken(f"{answer.decode()} is not in what it prints")
