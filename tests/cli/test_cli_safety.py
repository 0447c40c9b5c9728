"""Hostile paths, URLs, links and texts, through the installed command."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from archives import archive, member
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, eventually, held, tree
from servers import json_response

UNSAFE = {
    "../climbs": "../climbs",
    "a/../../deeper": "deeper",
    "inner/../back": "inner/../back",
    "ends/..": "ends/..",
    "..": "..",
    "": "",
    "/": "",
    "./": "",
    "nul\0": "nul\\x00",
    "line\nfeed": "line\\nfeed",
    "esc\x1b[2J": "esc\\x1b[2J",
    "del\x7f": "del\\x7f",
    "c1\x9b": "c1\\x9b",
    "long-" + "x" * 251: "long-",
    "wide-" + "ё" * 126: "wide-",
    "lone\ud800": "lone\\ud800",
    f"{STATE}/manifest.json": f"{STATE}/manifest.json",
    f"/./{STATE}/own": f"{STATE}/own",
}
WINDOWS = [
    *(
        "back\\slash",
        "C:drive",
        "c:/root",
        "\\\\host\\share\\unc",
        "nul",
        "AUX.txt",
        "com1",
        "LPT9.a.b",
    ),
    *("sub/con/x", "dot.", "space ", "dir./x", "less<", "more>", "colon:x", 'quote"', "pipe|"),
    *("query?", "star*", f"{STATE.upper()}/x"),
]
SAFE = {
    "/abs/file": "abs/file",
    "./here": "here",
    "double//slash": "double/slash",
    "trailing/": "trailing",
    "a..b": "a..b",
    "...": "...",
    "..hidden/.env": "..hidden/.env",
    "-rf": "-rf",
    "~": "~",
    "$(id)": "$(id)",
    "%2e%2e/%2fetc": "%2e%2e/%2fetc",
    "back\\slash": "back\\slash",
    "C:\\con": "C:\\con",
    "nul": "nul",
    "dot.": "dot.",
    " space ": " space ",
    "[red]x[_nope]:bomb:": "[red]x[_nope]:bomb:",
    "bidi\u202etxt": "bidi\u202etxt",
    "ё" * 127: "ё" * 127,
    f"x{STATE}": f"x{STATE}",
}


def refused(service: FakeService, cli: Cli, *arguments: str) -> str:
    """Return the message of a refused plan; check that nothing was requested or written."""
    finished = cli.download(*arguments, code=8)
    assert service.storage.requests == []
    assert os.listdir(cli.cwd) == []
    assert all(c == "\n" or c.isprintable() for c in finished.err)
    return finished.err


def test_unsafe_paths_refuse_the_plan_by_name(service: FakeService, cli: Cli) -> None:
    """Each unsafe path is named in one message; --exclude leaves them out."""
    for path in UNSAFE:
        service.add(path, b"evil")
    service.add("good", b"good")
    said = refused(service, cli)
    assert [shown for shown in UNSAFE.values() if shown not in said] == []
    refused(service, cli, "--layout", "flat")
    refused(service, cli, "--layout", "nested", "--if-exists", "overwrite")
    cli.download("-i", "good")
    assert tree(cli.out) == {"good": b"good"}


def test_an_unsafe_path_is_refused_for_a_single_file_too(service: FakeService, cli: Cli) -> None:
    """A single unsafe path is refused in the same way; --exclude leaves it out."""
    service.add("../evil.txt", b"evil")
    service.add("good", b"good")
    assert "../evil.txt" in refused(service, cli, "-i", "evil.txt")
    cli.download("-x", "evil.txt")
    assert tree(cli.out) == {"good": b"good"}


@pytest.mark.skipif(os.name != "posix", reason="these names are refused on Windows")
def test_odd_but_safe_paths_land_below_the_folder(service: FakeService, cli: Cli) -> None:
    """Paths are checked by component: odd but safe names are accepted."""
    for path, place in SAFE.items():
        service.add(path, place.encode())
    finished = cli.download("--progress", "plain")
    assert tree(cli.out) == {place: place.encode() for place in SAFE.values()}
    assert "[red]x[_nope]:bomb:" in finished.err
    assert "\u202e" not in finished.err


@pytest.mark.skipif(sys.platform != "linux", reason="others name files in Unicode always")
def test_names_that_the_system_cannot_write(service: FakeService, cli: Cli) -> None:
    """Under an ASCII locale the plan refuses such a name, before there is a folder too."""
    service.add("отчёт", b"1")
    service.add("plain", b"2")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "this system's encoding" in cli.download(env=ascii_only, code=8).err
    assert not cli.out.exists()
    cli.download("-x", "о*", env=ascii_only | {"PYTHONUTF8": "1"})
    assert tree(cli.out)["plain"] == b"2"


def test_files_of_a_run_in_another_locale(service: FakeService, cli: Cli) -> None:
    """Names that an ASCII locale lacks, on disk already, are told of with the way out."""
    service.add("folder", archive(member("отчёт", b"1")))
    cli.download()
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in (("download", "7", *CUBE, "-d", "out"), ("verify", "out")):
        finished = cli(*command, env=ascii_only, code=1)
        assert "a name cannot be written in this system's encoding (ascii)" in finished.err
        assert "LC_ALL=C.UTF-8" in finished.err
    assert tree(cli.out) == {"folder/отчёт": b"1"}


def test_portable_paths_judge_as_windows_does(service: FakeService, cli: Cli) -> None:
    """`--portable-paths` refuses names and foldings of other systems, each by name."""
    pairs = ["Readme", "README", "nfc-\u00e9", "nfd-e\u0301".replace("nfd", "nfc"), "Dir/a", "dir"]
    for path in (*WINDOWS, *pairs, "good"):
        service.add(path, b"x")
    said = refused(service, cli, "--portable-paths")
    assert [path for path in (*WINDOWS, *pairs) if path not in said] == []
    assert "good" not in said


@pytest.mark.parametrize(
    ("paths", "arguments"),
    [
        (["a", "a"], []),
        (["a", "./a"], []),
        (["a/", "/a"], []),
        (["d/f", "d"], []),
        (["d/e/f", "d"], []),
        (["x/same", "y/same"], ["--layout", "flat"]),
    ],
)
def test_collisions(service: FakeService, cli: Cli, paths: list[str], arguments: list[str]) -> None:
    """Two artifacts on one path, or one inside the other, refuse the plan."""
    for day, path in enumerate(paths, start=1):
        service.add(path, b"x").dates["updated_at"] = f"2026-11-0{day}T00:00:00Z"
    said = refused(service, cli, *arguments)
    assert all(path in said for path in paths)


@pytest.mark.parametrize("name", ["..", "a/b", "../../up", "", ".", "c\x1b"])
def test_names_as_folders_stay_below(service: FakeService, cli: Cli, name: str) -> None:
    """A workflow's name becomes one safe component or refuses the plan."""
    cube = (name, "build", "linux")
    record = service.record(service.add("file", b"x", cube=cube))
    service.api.on("/repos/org/repo/cicd/artifacts/", json_response({"artifacts": [record]}))
    cli("download", "7", "-d", "out/below", code=(2, 3, 5, 8))
    assert not [place for place in tree(cli.cwd) if not place.startswith("out/below/")]


URLS = [
    "http://example.com/x",
    "ftp://localhost/x",
    "file:///etc/passwd",
    "//localhost/x",
    "javascript:alert(1)",
    "https://",
    "https://ann:pa55word@localhost/x",
    "http://127.0.0.1@example.com/x",
    "http://localhost.example.com/x",
    "http://127.0.0.1.example.com/x",
    "http://169.254.169.254/latest/meta-data",
    "http://0.0.0.0/x",
    "https://localhost:99999/x",
    "https://localhost/a b\r\nX-Evil: 1",
]


def test_unsafe_urls_refuse_the_plan_by_name(service: FakeService, cli: Cli) -> None:
    """URLs must be https, or http on loopback, without user info; refused ones are not printed."""
    for at, url in enumerate(URLS):
        service.add(f"file-{at:02}", url=url)
    service.add("good", b"x")
    said = refused(service, cli)
    assert [at for at in range(len(URLS)) if f"file-{at:02}" not in said] == []
    assert "pa55word" not in said
    assert "X-Evil" not in said


def test_symlinks_below_the_folder_are_not_followed(
    service: FakeService, cli: Cli, tmp_path: Path
) -> None:
    """Linked folders and files, dangling or not, are refused or kept with each --if-exists."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"theirs")
    service.add("dir/file", b"evil")
    service.add("file", b"evil")
    service.add("dangling", b"evil")
    cli.out.mkdir()
    for name, to in [("dir", outside), ("file", outside / "victim"), ("dangling", outside / "new")]:
        (cli.out / name).symlink_to(to)
    for mode in ("update", "error", "overwrite", "skip"):
        cli.download("--if-exists", mode, code=8)
        cli.download("-x", "dir/*", "--if-exists", mode, code=(0, 8))
        assert tree(outside) == {"victim": b"theirs"}


@pytest.mark.parametrize("where", [STATE, f"{STATE}/manifest.json"])
def test_a_linked_state_is_not_followed(
    service: FakeService, cli: Cli, tmp_path: Path, where: str
) -> None:
    """A symlink in the state folder's place is not followed either."""
    outside = tmp_path / "outside"
    service.add("file", b"x")
    cli.download()
    (cli.out / STATE).rename(outside)
    before = tree(outside)
    (cli.out / where).parent.mkdir(exist_ok=True)
    (cli.out / where).symlink_to(tmp_path / Path(where.replace(STATE, "outside")))
    service.add("other", b"y")
    cli.download("--if-exists", "overwrite", code=(0, 1, 8))
    assert tree(outside) == before


def test_a_folder_swapped_for_a_link_meanwhile(
    service: FakeService, cli: Cli, tmp_path: Path
) -> None:
    """A folder that is swapped for a symlink during the transfer does not lead outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    gate = threading.Event()
    body = bytes(100_000)
    stored = service.add("dir/file", body, held(body, gate))
    process = cli.start("download", "7", *CUBE, "-d", "out")
    eventually(stored.asked.is_set, "the transfer has begun")
    if (cli.out / "dir").exists():
        (cli.out / "dir").rename(cli.out / "moved")
    (cli.out / "dir").symlink_to(outside)
    gate.set()
    cli.finish(process)
    assert os.listdir(outside) == []


def test_a_hard_link_is_replaced_not_written_through(service: FakeService, cli: Cli) -> None:
    """A file that is replaced keeps its old bytes under its other names."""
    service.add("file", b"new")
    cli.out.mkdir()
    (cli.cwd / "theirs").write_bytes(b"theirs")
    os.link(cli.cwd / "theirs", cli.out / "file")
    cli.download("--if-exists", "overwrite")
    assert (cli.cwd / "theirs").read_bytes() == b"theirs"
    assert tree(cli.out) == {"file": b"new"}
