"""The sample repository `sandbox/demo`: the same runs, dates and bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta

from .content import Generated, Inline
from .data import EPOCH, Artifact, Cube, Repository, Run, Task, Workflow

MIB = 1 << 20
NEWEST = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def sample_repository() -> Repository:
    """Return the sample repository, whose run 45 goes on for 20 seconds."""
    recent = (_going_on(), _failed(), _showpiece(), _pull_request(), _canceled())
    return Repository("sandbox/demo", (*recent, *(_older(number) for number in range(40, 14, -1))))


def _going_on() -> Run:
    linux = Cube("linux", (_plan(45, "linux"), _app(45, ready=2.0)), begins=0.0, ends=4.0)
    windows = Cube("windows", (_plan(45, "windows"), _app(45)), begins=0.0, ends=8.0)
    unit = Cube("unit", (_coverage(45),), begins=4.0, ends=13.0)
    trace = Artifact("traces/api.bin", Generated("45/api", 2 * MIB))
    # It fails, so that the newest run with success is 43 however long the sandbox is up.
    api = Cube("api", (_allure(45), trace), "failed", begins=8.0, ends=20.0)
    ci = _ci((linux, windows), (unit, api))
    return Run("45", (ci,), live=True, event_type="manual", created_at=NEWEST)


def _failed() -> Run:
    linux = Cube("linux", (_plan(44, "linux"), _app(44)), ends=41.0)
    artifacts = (
        _text("logs/unit.log", "37 passed, 1 failed: test_rounding\n"),
        Artifact("coverage/html/index.html", status="failed"),
        Artifact("testing/unit_tests/allure-report.zip", status="missing"),
        Artifact("dumps/core.bin", status="registered"),
    )
    unit = Cube("unit", artifacts, "failed", begins=42.0, ends=88.0)
    api = Cube("api", (_allure(44), _plan(44, "api")), begins=42.0, ends=95.0)
    ci, errors = _ci((linux,), (unit, api)), ("Cube unit of task test ended with exit code 1",)
    return Run("44", (ci,), created_at=_before(1), user="boris", error_messages=errors)


def _showpiece() -> Run:
    image = Artifact("images/disk.img", Generated("43/disk", 32 * MIB))
    symbols = Artifact("dist/symbols.bin", Generated("43/symbols", 8 * MIB))
    linux = Cube("linux", (_plan(43, "linux"), _app(43), image), ends=61.0)
    windows = Cube("windows", (_plan(43, "windows"), _app(43), symbols), ends=84.0)
    source = "export default function Page() {\n  return null;\n}\n"
    covered = (_coverage(43), _text("coverage/html/[slug].tsx", source), _text("logs/empty.log"))
    unit = Cube("unit", covered, begins=61.0, ends=118.0)
    summary = _text("отчёты/итог.txt", "Итог: 38 проверок, 38 успешно.\n")
    notes = _text("release notes.txt", "1.4.0\n- Faster start.\n- Fewer surprises.\n")
    api = Cube("api", (_allure(43), summary, notes), begins=61.0, ends=140.0)
    return Run("43", (_ci((linux, windows), (unit, api)), _site()), created_at=_before(2))


def _ci(build: tuple[Cube, ...], test: tuple[Cube, ...]) -> Workflow:
    return Workflow("ci", (Task("build", build), Task("test", test)), "Build and test")


def _site() -> Workflow:
    index = Artifact("site/search.bin", Generated("43/search", 8 * MIB - 12_345))
    page = _text("site/index.html", _html("Demo", "Documentation of the demo."))
    render = Cube("render", (_plan(43, "render"), page, index), ends=52.0)
    return Workflow("docs", (Task("site", (render,)),), "Documentation")


def _pull_request() -> Run:
    lint = Cube("lint", (_text("reports/lint.json", '{"problems": []}\n'),), ends=9.0)
    unit = Cube("unit", (_coverage(42),), ends=30.0)
    review = Workflow("review", (Task("check", (lint, unit)),))
    pull, created = "17", _before(3)
    return Run("42", (review,), event_type="pr_update", created_at=created, user="chen", pull=pull)


def _canceled() -> Run:
    ci = Workflow("ci", (Task("build", (Cube("linux", status="canceled", ends=3.0),)),))
    return Run("41", (ci,), event_type="manual", created_at=_before(4), user="boris")


def _older(number: int) -> Run:
    status = {0: "failed", 3: "timeout"}.get(number % 7, "success")
    artifacts = (_plan(number, "linux"),) if status == "success" else ()
    ci = Workflow("ci", (Task("build", (Cube("linux", artifacts, status),)),))
    event = ("push", "schedule", "push", "restart")[number % 4]
    user = ("anna", "boris", "chen")[number % 3]
    created = _before(45 - number)
    return Run(str(number), (ci,), event_type=event, created_at=created, user=user)


def _before(steps: int) -> datetime:
    return NEWEST - timedelta(hours=5, minutes=7) * steps


def _plan(number: int, cube: str) -> Artifact:
    plan = {"run": number, "cube": cube, "steps": ["fetch", "build", "pack"]}
    return _text("plan.json", json.dumps(plan, indent=2) + "\n")


def _coverage(number: int) -> Artifact:
    return _text("coverage/html/index.html", _html(f"Coverage of run {number}", "91%"))


def _app(number: int, ready: float | None = None) -> Artifact:
    content = Inline(_tar("app/VERSION", f"1.4.{number}\n".encode()))
    return Artifact("./dist/app.tar", content, ready=ready)


def _allure(number: int) -> Artifact:
    page = _html(f"Report of run {number}", "12 passed").encode()
    content = Inline(_zip("allure-report/index.html", page))
    return Artifact("testing/api_tests/allure-report.zip", content)


def _text(local_path: str, text: str = "") -> Artifact:
    return Artifact(local_path, Inline(text.encode()))


def _html(title: str, text: str) -> str:
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
    return f"{head}<p>{text}</p>\n</html>\n"


# Both archives store their member as it is: what a compressor makes of it differs between releases.


def _zip(name: str, data: bytes) -> bytes:
    member = zipfile.ZipInfo(name, EPOCH.timetuple()[:6])
    member.create_system = 3  # by default this depends on the platform
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, data)
    return packed.getvalue()


def _tar(name: str, data: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(data), int(EPOCH.timestamp())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
