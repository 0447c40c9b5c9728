"""A forked command starts and ends like a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fork_server
import pytest
from forked import IS_POSSIBLE, Forked, ForkServer

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="commands are forked on Linux alone")

# Prints all that a process can tell of its start; with an argument, it runs that.
PROBE = """
import gc, json, locale, os, random, resource, signal, sys, threading, time
if len(sys.argv) > 2:
    exec(sys.argv[1])
else:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    streams = sys.stdin, sys.stdout, sys.stderr
    umask = os.umask(0)
    facts = {
        "arguments": [os.path.basename(sys.argv[0]), *sys.argv[1:], *sys.orig_argv],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": umask,
        "leads its session": os.getsid(0) == os.getpid(),
        "leads its group": os.getpgid(0) == os.getpid(),
        "group": os.getpgid(0) == os.getpid() or os.getpgid(0),
        # Not 32 and 33: the C library's own, which it ignores when it starts a program.
        "signals": [int(status[n], 16) & ~(3 << 31) for n in ("SigBlk", "SigIgn", "SigCgt")],
        "handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "encodings": [(one.encoding, one.errors, one.newlines, one.mode) for one in streams],
        "buffers": [(one.line_buffering, one.write_through, one.isatty()) for one in streams],
        "stages": [(type(one.buffer).__name__, one.buffer.raw.mode, one.name) for one in streams],
        "originals": [sys.__stdin__ is sys.stdin, sys.__stdout__ is sys.stdout],
        "flags": str(sys.flags),
        "path": sys.path,
        "locale": [locale.setlocale(locale.LC_ALL), time.tzname],
        "names": [__name__, __package__, sys.modules["__main__"].__dict__ is globals()],
        "collector": [gc.isenabled(), gc.get_threshold()],
        "threads": [threading.active_count(), threading.current_thread().name],
        "warnings": sys.warnoptions,
        "limits": [resource.getrlimit(what) for what in range(16)],
    }
    print(json.dumps(facts, default=str))
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Start, Start]]:
    """Start the probe as a process of its own, and by a fork."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.py").write_text(PROBE)
    early = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    server = ForkServer(early)

    def given(env: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return {"env": {**early, **(env or {})}, **pipes, **options}

    def alone(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "probe", *arguments]
        return subprocess.Popen(command, **given(**options))

    def forked(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return Forked(server, "probe", *arguments, **given(**options))

    yield alone, forked
    server.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE},
        {"stderr": subprocess.STDOUT},
        {"cwd": "/", "start_new_session": True},
        {"env": {"COLUMNS": "17", "NO_COLOR": "1", "HOME": "/nowhere"}},
    ],
)
def test_it_begins_as_a_process_of_its_own(
    starts: tuple[Start, Start], options: dict[str, Any]
) -> None:
    """Arguments, variables, folder, signals, descriptors, streams and limits are the same."""
    begun = [json.loads(start(**options).communicate()[0]) for start in starts]
    assert begun[0] == begun[1]


def test_it_has_the_mask_of_now(starts: tuple[Start, Start]) -> None:
    """It has the current umask, even if the server started with another one."""
    umask = os.umask(0o027)
    try:
        begun = [json.loads(start().communicate()[0])["umask"] for start in starts]
    finally:
        os.umask(umask)
    assert begun == [0o027, 0o027]


def test_it_can_have_a_terminal(starts: tuple[Start, Start]) -> None:
    """On a terminal its streams are buffered by lines, as Python does it."""
    told = []
    for start in starts:
        ours, its = pty.openpty()
        process = start(stdin=its, stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        told.append(os.read(ours, 1 << 20))
        process.wait()
        os.close(ours)
    assert b'"buffers": [[true, false, true]' in told[0]
    assert told[0].startswith(told[1][:1000])


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "sys.exit(3)",
        "sys.exit('words')",
        "os._exit(7)",
        "1 / 0",
        "raise KeyboardInterrupt",
        "os.kill(os.getpid(), 15)",
        "os.abort()",
        "print('said'); sys.stderr.write('and'); print(sys.stdin.read())",
        "import atexit; atexit.register(print, 'the end')",
        "threading.Thread(target=lambda: (time.sleep(0.01), print('waited for'))).start()",
    ],
)
def test_it_ends_as_a_process_of_its_own(starts: tuple[Start, Start], code: str) -> None:
    """It has the same status and the same last output."""
    ended = []
    for start in starts:
        process = start(code, "x", stderr=subprocess.PIPE)
        out, err = process.communicate(b"given")
        ended.append((process.returncode, out, err.splitlines()[-1:]))
    assert ended[0] == ended[1]


def test_it_can_be_waited_for_and_killed(starts: tuple[Start, Start]) -> None:
    """It can be waited for, with a time limit, and killed by its id."""
    for start in starts:
        process = start("print('up', flush=True); time.sleep(60)", "x")
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
        os.kill(process.pid, 9)
        assert process.wait() == -9
        assert process.poll() == -9
        process.communicate()


def test_two_draw_other_numbers(starts: tuple[Start, Start]) -> None:
    """Two commands have different random numbers."""
    code = "import os, uuid; print(random.Random().random(), random.getrandbits(99), hash('x'))"
    drawn = {starts[1](code, "x").communicate()[0].rsplit(b" ", 1)[0] for _ in range(3)}
    assert len(drawn) == 3


@pytest.fixture
def customized(tmp_path: Path) -> dict[str, str]:
    """Variables with which a Python replaces `os.getpid` as it starts."""
    (tmp_path / "sitecustomize.py").write_text("import os\nos.getpid = lambda: 'replaced'\n")
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}


def test_what_is_replaced_at_the_start_is_replaced(
    starts: tuple[Start, Start], customized: dict[str, str]
) -> None:
    """A `sitecustomize.py` of a test is run in the fork."""
    process = starts[1]("print(os.getpid())", "x", env=customized)
    assert process.communicate()[0] == b"replaced\n"


def test_a_copy_of_what_is_replaced_is_told(
    customized: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that has `from os import getpid` would go on with the real one."""
    module: Any = ModuleType("sourcecraft_artifacts.copies")
    module.getpid = os.getpid
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(os, "getpid", os.getpid)
    with pytest.raises(AssertionError, match="has copies of what is to be replaced"):
        fork_server.customize(customized["PYTHONPATH"])


def test_folders_of_modules_need_a_start(
    fork_server: ForkServer, customized: dict[str, str]
) -> None:
    """What they would replace has been imported already."""
    assert fork_server.serves(customized)
    Path(customized["PYTHONPATH"], "json.py").touch()
    assert not fork_server.serves(customized)


@pytest.mark.parametrize(
    ("name", "is_served"),
    [
        ("HOME", True),
        ("COLUMNS", True),
        ("TERM", True),
        ("NO_COLOR", True),
        ("FORCE_COLOR", True),
        ("https_proxy", True),
        ("SSL_CERT_FILE", True),
        ("SOURCECRAFT_TOKEN", True),
        ("PYTHONUNBUFFERED", False),
        ("PYTHONPATH", False),
        ("LC_ALL", False),
        ("LANG", False),
        ("TZ", False),
        ("OPENSSL_CONF", False),
        ("TYPER_USE_RICH", False),
    ],
)
def test_what_is_read_early_needs_a_start(
    fork_server: ForkServer, hurry: dict[str, str], name: str, is_served: bool
) -> None:
    """A variable that Python or a module reads at its start needs a real process."""
    assert fork_server.serves({"PATH": os.environ["PATH"], **hurry, name: "1"}) == is_served
