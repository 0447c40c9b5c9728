"""What is shown of a download on a terminal and in a log: each fact once."""

from __future__ import annotations

import json
import os
import re
import shlex

import picture
import pytest
from archives import archive, member
from conftest import Cli
from fake_service import CUBE, STATE, FakeService, problem, target, tree
from servers import Response, json_response
from terminal import screen

from sourcecraft_artifacts.downloads.repair import MOST_PATTERNS

BODY = b"body"
SLOW = ("ci", "test", "slow")
FULL = "ci/build/linux: "


@pytest.fixture
def mixed(service: FakeService) -> FakeService:
    """Serve an artifact that is there, one that the storage lost, and one still registered."""
    service.add("good", BODY)
    service.add("lost", BODY, Response(404))
    service.add("never", status="registered")
    return service


def on_terminal(cli: Cli, *arguments: str, **env: str) -> tuple[int, str]:
    """Run the command on a terminal; return its exit status and all that it wrote."""
    return picture.started_on_terminal(lambda **more: cli.start(*arguments, **more), env)


@pytest.mark.usefixtures("mixed")
def test_a_terminal_is_told_each_thing_once(cli: Cli) -> None:
    """A failure is named when it happens, above the summary that counts it."""
    status, written = on_terminal(cli, "download", "7", *CUBE, "-d", "out")
    *lines, hint = screen(written)
    assert status == 6
    assert hint.strip() == (
        "hint: if run 7 is in progress,"
        " --wait fetches what is still registered as soon as it is ready"
    )
    assert [line.split(":")[:2] for line in lines[:-1]] == [
        ["failed", " out/lost"],
        ["unavailable", " never (still registered)"],
    ]
    assert lines[-1].startswith("Downloaded 1 file to out/good, ")
    assert lines[-1].endswith("; 1 unavailable, 1 failed.")


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("size", ["0", "wide"])
def test_a_size_that_is_none_is_not_taken(cli: Cli, size: str) -> None:
    """With invalid COLUMNS and LINES a terminal shows tables and failures as usual."""
    for command in (["list", "7"], ["runs"]):
        status, written = on_terminal(cli, *command, COLUMNS=size, LINES=size)
        assert (status, written) == on_terminal(cli, *command, COLUMNS="80", LINES="24")
        assert "Status" in written
    _, written = on_terminal(cli, "download", "7", *CUBE, COLUMNS=size, LINES=size)
    assert screen(written)[0].startswith("failed: ")


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("options", [(), ("--progress", "none"), ("-q",)])
def test_a_log_is_told_each_thing_once(cli: Cli, options: tuple[str, ...]) -> None:
    """With any --progress, one line names each missing artifact and its reason."""
    err = cli.download(*options, code=6).err
    (lost,) = [line for line in err.splitlines() if "lost" in line]
    (never,) = [line for line in err.splitlines() if "never" in line]
    assert lost.startswith("failed: ")
    assert "404" in lost
    assert never == "unavailable: never (still registered)"


def test_what_fail_fast_called_off_is_one_line(service: FakeService, cli: Cli) -> None:
    """A hundred files that --fail-fast cancelled are one line."""
    service.add("lost", BODY, Response(404))
    for number in range(100):
        service.add(f"file{number}", BODY, Response(404))
    err = cli.download("--fail-fast", "--jobs", "1", code=6).err
    assert len([line for line in err.splitlines() if line.startswith("failed: ")]) < 50
    (line,) = [line for line in err.splitlines() if line.startswith("cancelled: ")]
    assert line.endswith(" files")


def test_a_plan_without_work_says_so(service: FakeService, cli: Cli) -> None:
    """A dry run never says that something was downloaded."""
    service.add("good", BODY)
    cli.download()
    planned = cli.download("-n")
    assert planned.out == "keep\tout/good\n"
    assert planned.err == "Would fetch nothing; 1 unchanged.\n"


@pytest.mark.parametrize("to", [("-d", "out"), ("-i", "never", "-o", "file")])
@pytest.mark.usefixtures("mixed")
def test_a_quiet_plan_says_why_it_fails(cli: Cli, to: tuple[str, ...]) -> None:
    """With -q, a plan that ends with exit 6 says why."""
    finished = cli("download", "7", *CUBE, "-n", "-q", *to, code=6)
    assert finished.err == "unavailable: never (still registered)\n"
    assert finished.out.splitlines()[-1].startswith("unavailable\t")


@pytest.mark.parametrize("to", [("-d", "out"), ("-i", "later", "-o", "file")])
def test_a_plan_to_wait_counts_on_what_may_come(
    service: FakeService, cli: Cli, to: tuple[str, ...]
) -> None:
    """With --wait, artifacts of a cube in progress are planned; a failed one is unavailable."""
    service.add_run("7", "processing").cubes[SLOW] = "processing"
    service.add("later", status="registered", cube=SLOW)
    finished = cli("download", "7", "--wait", "-n", "--json", *to)
    assert finished.outcomes == {"later": "planned"}
    said = ["would wait for ci/test/slow", "Would fetch nothing; 1 awaited."]
    assert finished.err.splitlines() == said
    planned = cli("download", "7", "--wait", "-n", *to)
    assert planned.out.startswith("await\t")
    assert planned.err.splitlines() == said
    assert cli("download", "7", "-n", "--json", *to, code=6).outcomes == {"later": "unavailable"}
    service.artifacts[0].status = "failed"
    assert "(failed)" in cli("download", "7", "--wait", "-n", *to, code=6).err
    service.artifacts[0].status = "registered"
    service.runs["7"].cubes[SLOW] = "success"
    cli("download", "7", "--wait", "-n", *to, code=6)
    assert tree(cli.cwd) == {}


def test_a_file_that_is_left_has_its_size(service: FakeService, cli: Cli) -> None:
    """`--if-exists skip` reports the size of a file with `-o` as it does in a folder."""
    service.add("good", BODY)
    (cli.cwd / "file").write_bytes(b"stranger")
    (file,) = cli("download", "7", *CUBE, "-o", "file", "--if-exists", "skip", "--json").json[
        "files"
    ]
    assert (file["outcome"], file["size"]) == ("skipped", 8)


def test_an_artifact_without_a_url_is_not_called_expired(service: FakeService, cli: Cli) -> None:
    """An artifact that is listed without a URL is not reported as expired."""
    record = service.record(service.add("bare", BODY)) | {"download_url": ""}
    service.api.on(target("7", *CUBE), json_response({"artifacts": [record]}))
    err = cli.download(code=6).err
    assert "listing the artifacts again, for new URLs" in err
    assert "expired" not in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("download", "7", *CUBE, "--jobs", "0"), 2),
        (("download", "7", *CUBE, "-i", "nope"), 3),
        (("download", "7", "ci", "build", "nope"), 5),
        (("download", "7", *CUBE, "-d", "there", "--if-exists", "error"), 8),
        (("download", "7", *CUBE, "--retries", "0", "--api-url", "http://127.0.0.1:1"), 7),
    ],
)
def test_without_an_outcome_there_is_no_document(
    service: FakeService, cli: Cli, arguments: tuple[str, ...], code: int
) -> None:
    """With --json stdout has a whole report or nothing, and stderr says why."""
    service.add("good", BODY)
    (cli.cwd / "there").mkdir()
    (cli.cwd / "there" / "good").write_bytes(b"")
    finished = cli(*arguments, "--json", code=code)
    assert finished.stdout == b""
    assert finished.err.startswith("error: ")


REPAIRS = [
    ((), ""),
    (("--layout", "nested"), " --layout nested"),
    (("--layout", "flat", "-i", "good*"), " --layout flat"),
    (("--no-unpack",), " --no-unpack"),
]


@pytest.mark.parametrize(("options", "more"), REPAIRS)
def test_verify_says_how_to_repair(
    service: FakeService, cli: Cli, options: tuple[str, ...], more: str
) -> None:
    """The hint is a whole download command, which repairs the folder and fetches nothing else."""
    service.add("a/good file", archive(member("good file", BODY), member("x", BODY)))
    service.add("b/good", BODY)
    service.add("b/c/good file", b"collides")
    exclude = ("-x", "b/c/**")
    cli("download", "7", *CUBE, "-d", "out", *options, *exclude)
    before = tree(cli.out)
    paths = [path for path in cli.out.rglob("good*") if path.is_file()]
    assert len(paths) == 2
    for path in paths:
        path.write_bytes(b"other")
    hint = cli("verify", "out", code=8).err.splitlines()[1]
    said = hint.removeprefix("  hint: to repair what differs, download again: ")
    address = "7 ci build linux --repo org/repo --dir out"
    patterns = " -i 'a/good file' -i b/good"
    assert said == f"sourcecraft-artifacts download {address}{more}{patterns}"
    cli(*shlex.split(said)[1:])
    assert tree(cli.out) == before
    cli("verify", "out")


def test_verify_tells_each_file_when_it_has_read_it(service: FakeService, cli: Cli) -> None:
    """The first line comes while the next file, of a tebibyte, is still being read."""
    for name in "ab":
        service.add(name, BODY)
    cli.download()
    os.truncate(cli.out / "b", 1 << 40)
    manifest = cli.out / STATE / "manifest.json"
    records = json.loads(manifest.read_text())
    records["files"]["b"]["size"] = 1 << 40
    manifest.write_text(json.dumps(records))
    with cli.start("verify", "out") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"out/a: OK\n"
        assert running.poll() is None
        running.terminate()
    assert running.returncode == 143


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nothing", "no folder nothing"), (".", "the folder . has no manifest of a download")],
)
def test_verify_says_why_there_is_nothing_to_check(cli: Cli, folder: str, message: str) -> None:
    """A folder that does not exist is told from one without a manifest."""
    assert cli("verify", folder, code=2).err.startswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "said"), [(("list", "8"), "no artifacts"), (("runs", "--user", "x"), "no runs")]
)
def test_a_terminal_is_told_of_an_empty_table(
    service: FakeService, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    """A person sees that there is nothing, unless notices are off; a program reads nothing."""
    service.add_run("8")
    assert on_terminal(cli, *arguments) == (0, f"{said}\n")
    assert on_terminal(cli, *arguments, "-q") == (0, "")
    finished = cli(*arguments)
    assert (finished.out, finished.err) == ("", "")


def test_a_terminal_is_told_what_the_listed_cubes_lack(service: FakeService, cli: Cli) -> None:
    """If one cube cannot be listed, and the others are empty, nothing is said of that one's."""
    other = ("ci", "build", "mac")
    service.add_run("8").cubes.update({CUBE: "success", other: "success"})
    service.api.on(target("8", *other), problem(403, "no"))
    status, written = on_terminal(cli, "list", "8")
    first, *_, last = written.splitlines()
    assert (status, first[:8], last) == (6, "failed: ", "no artifacts in the other cubes")


def test_verify_of_several_runs_says_where_to_repair(service: FakeService, cli: Cli) -> None:
    """The hint names the run whose files differ, or says which runs if there are several."""
    service.add("a", BODY)
    service.add("b", BODY, run="8")
    cli.download()
    cli("download", "8", *CUBE, "-d", "out")
    (cli.out / "a").unlink()
    assert cli("verify", "out", code=8).err.endswith(
        "download again: sourcecraft-artifacts download 7 ci build linux --repo org/repo --dir out"
        " -i ./a\n"
    )
    (cli.out / "b").unlink()
    assert cli("verify", "out", code=8).err.endswith(
        "hint: to repair what differs, download run 7 of org/repo and run 8 of org/repo into out"
        " again, with the options of before\n"
    )


def test_verify_names_no_artifacts_if_there_are_many(service: FakeService, cli: Cli) -> None:
    """If many files differ, the command has no pattern for each."""
    for number in range(MOST_PATTERNS + 1):
        service.add(f"{number}", BODY)
    cli.download()
    for place in tree(cli.out):
        (cli.out / place).unlink()
    assert cli("verify", "out", code=8).err.endswith(
        "download again, with the -i and -x of before if there were any: sourcecraft-artifacts"
        " download 7 ci build linux --repo org/repo --dir out\n"
    )


def test_verify_repairs_what_a_download_would_keep(service: FakeService, cli: Cli) -> None:
    """Damage that keeps size and time, and a link, are repaired too, also in a folder."""
    service.add("dist", archive(member("js", BODY), member("css", BODY)))
    service.add("sly.bin", BODY)
    service.add("link.bin", BODY)
    cli.download()
    before = tree(cli.out)
    for name in ("dist/js", "sly.bin"):
        times = (cli.out / name).stat()
        (cli.out / name).write_bytes(BODY[::-1])
        os.utime(cli.out / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    (cli.out / "link.bin").unlink()
    (cli.out / "link.bin").symlink_to("sly.bin")
    hint = cli("verify", "out", code=8).err.splitlines()[1]
    assert hint.endswith(" -i ./dist -i ./link.bin -i ./sly.bin --if-exists overwrite")
    cli(*shlex.split(hint[hint.index("sourcecraft-artifacts") :])[1:])
    assert tree(cli.out) == before
    cli("verify", "out")


def test_a_refusal_names_the_path_on_disk(service: FakeService, cli: Cli) -> None:
    """The message has the path of the file in the way, DIR included."""
    service.add("dir/a", BODY)
    (cli.out / "ci/build/linux/dir").mkdir(parents=True)
    (cli.out / "ci/build/linux/dir/a").write_bytes(b"mine")
    err = cli("download", "7", "-d", "out", code=8).err
    assert "stands in its place (out/ci/build/linux/dir/a)\n" in err


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
        ({}, False),
    ],
)
@pytest.mark.usefixtures("mixed")
def test_colours_in_a_pipe(cli: Cli, env: dict[str, str], coloured: bool) -> None:
    """A pipe gets colours only with CLICOLOR_FORCE and without NO_COLOR."""
    shown = [cli("list", "7", env=env).out, cli("runs", env=env).out]
    shown += [cli.download(env=env, code=6).err, cli("list", "9", env=env, code=5).err]
    assert ["\x1b[" in text for text in shown] == [coloured] * 4
    assert "\x1b[" not in cli("list", "7", "--json", env=env).out


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_at_a_terminal(cli: Cli, env: dict[str, str], coloured: bool) -> None:
    """A terminal gets colours, except with NO_COLOR or a TERM without colours."""
    colour = re.compile(r"\x1b\[3[0-9]m")
    for command in (["list", "7"], ["runs"], ["list", "9"], ["download", "7", *CUBE]):
        _, written = on_terminal(cli, *command, **env)
        assert bool(colour.search(written)) is coloured, command
