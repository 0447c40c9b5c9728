"""The sample repository `sandbox/demo`: the same runs, dates and bytes every time."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from datetime import UTC, datetime, timedelta

from .content import Generated, Inline
from .data import Artifact, Cube, Reference, Repository, Run, Task, Workflow

MIB = 1 << 20
NEWEST = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ANNA, BORIS, CHEN = Reference("u-1", "anna"), Reference("u-2", "boris"), Reference("u-3", "chen")


def sample_repository() -> Repository:
    """Return the sample repository, whose run 45 goes on for 20 seconds."""
    recent = (_going_on(), _failed(), _showpiece(), _pull_request(), _canceled())
    return Repository("sandbox/demo", (*recent, *(_older(number) for number in range(40, 14, -1))))


def _going_on() -> Run:
    linux = Cube("linux", (_plan(45, "linux"), _app(45, ready=2.0)), begins=0.0, ends=4.0)
    windows = Cube("windows", (_plan(45, "windows"), _app(45)), begins=0.0, ends=8.0)
    unit = Cube("unit", (_coverage(45),), begins=4.0, ends=13.0)
    trace = Artifact("traces/api.bin", content=Generated("45/api", 2 * MIB))
    api = Cube("api", (_allure(45), trace), begins=8.0, ends=20.0, appears=5.0)
    tasks = (Task("build", (linux, windows)), Task("test", (unit, api)))
    workflow = Workflow("ci", tasks, "Build and test")
    return Run("45", (workflow,), None, True, "manual", NEWEST, ANNA)


def _failed() -> Run:
    linux = Cube("linux", (_plan(44, "linux"), _app(44)), ends=41.0)
    unit = Cube(
        "unit",
        (
            _text("logs/unit.log", "37 passed, 1 failed: test_rounding\n"),
            Artifact("coverage/html/index.html", "failed"),
            Artifact("testing/unit_tests/allure-report.zip", "missing"),
            Artifact("dumps/core.bin", "registered"),
        ),
        "failed",
        begins=42.0,
        ends=88.0,
    )
    api = Cube("api", (_allure(44), _plan(44, "api")), begins=42.0, ends=95.0)
    workflow = Workflow("ci", (Task("build", (linux,)), Task("test", (unit, api))))
    errors = ("Cube unit of task test ended with exit code 1",)
    return Run("44", (workflow,), None, False, "push", _before(1), BORIS, None, errors)


def _showpiece() -> Run:
    image = Artifact("images/disk.img", content=Generated("43/disk", 32 * MIB))
    symbols = Artifact("dist/symbols.bin", content=Generated("43/symbols", 8 * MIB))
    linux = Cube("linux", (_plan(43, "linux"), _app(43), image), ends=61.0)
    windows = Cube("windows", (_plan(43, "windows"), _app(43), symbols), ends=84.0)
    source = "export default function Page() {\n  return null;\n}\n"
    covered = (_coverage(43), _text("coverage/html/[slug].tsx", source), _text("logs/empty.log"))
    unit = Cube("unit", covered, begins=61.0, ends=118.0)
    summary = _text("отчёты/итог.txt", "Итог: 38 проверок, 38 успешно.\n")
    notes = _text("release notes.txt", "1.4.0\n- Faster start.\n- Fewer surprises.\n")
    api = Cube("api", (_allure(43), summary, notes), begins=61.0, ends=140.0)
    tasks = (Task("build", (linux, windows)), Task("test", (unit, api)))
    return Run("43", (Workflow("ci", tasks), _site()), None, False, "push", _before(2), ANNA)


def _site() -> Workflow:
    index = Artifact("site/search.bin", content=Generated("43/search", 8 * MIB - 12_345))
    page = _text("site/index.html", _html("Demo", "Documentation of the demo."))
    render = Cube("render", (_plan(43, "render"), page, index), ends=52.0)
    return Workflow("docs", (Task("site", (render,)),), "Documentation")


def _pull_request() -> Run:
    lint = Cube("lint", (_text("reports/lint.json", '{"problems": []}\n'),), ends=9.0)
    unit = Cube("unit", (_coverage(42),), ends=30.0)
    workflow = Workflow("review", (Task("check", (lint, unit)),))
    pull = Reference("p-17", "17")
    return Run("42", (workflow,), None, False, "pr_update", _before(3), CHEN, pull)


def _canceled() -> Run:
    cube = Cube("linux", status="canceled", ends=3.0)
    workflow = Workflow("ci", (Task("build", (cube,)),))
    return Run("41", (workflow,), None, False, "manual", _before(4), BORIS)


def _older(number: int) -> Run:
    status = {0: "failed", 3: "timeout"}.get(number % 7, "success")
    artifacts = (_plan(number, "linux"),) if status == "success" else ()
    workflow = Workflow("ci", (Task("build", (Cube("linux", artifacts, status),)),))
    event = ("push", "schedule", "push", "restart")[number % 4]
    user = (ANNA, BORIS, CHEN)[number % 3]
    return Run(str(number), (workflow,), None, False, event, _before(45 - number), user)


def _before(steps: int) -> datetime:
    return NEWEST - timedelta(hours=5, minutes=7) * steps


def _plan(number: int, cube: str) -> Artifact:
    plan = {"run": number, "cube": cube, "steps": ["fetch", "build", "pack"]}
    return _text("plan.json", json.dumps(plan, indent=2) + "\n")


def _coverage(number: int) -> Artifact:
    return _text("coverage/html/index.html", _html(f"Coverage of run {number}", "91%"))


def _app(number: int, ready: float | None = None) -> Artifact:
    packed = _tar_gz("app/VERSION", f"1.4.{number}\n".encode())
    return Artifact("./dist/app.tar.gz", content=Inline(packed), ready=ready)


def _allure(number: int) -> Artifact:
    page = _html(f"Report of run {number}", "12 passed").encode()
    content = Inline(_zip("allure-report/index.html", page))
    return Artifact("testing/api_tests/allure-report.zip", content=content)


def _text(local_path: str, text: str = "") -> Artifact:
    return Artifact(local_path, content=Inline(text.encode()))


def _html(title: str, text: str) -> str:
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
    return f"{head}<p>{text}</p>\n</html>\n"


def _zip(name: str, data: bytes) -> bytes:
    member = zipfile.ZipInfo(name, (2026, 11, 1, 9, 0, 0))
    member.create_system = 3  # by default this depends on the platform
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, data)
    return packed.getvalue()


def _tar_gz(name: str, data: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(data), 1_793_523_600
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(data))
    return _gzip_stored(packed.getvalue())


def _gzip_stored(data: bytes) -> bytes:
    # By hand: what zlib makes of the same bytes differs between its releases and its forks.
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    return head + block + struct.pack("<II", zlib.crc32(data), len(data))
