"""The sample repository `sandbox/demo`: the same runs, dates and bytes every time."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta

from .content import Generated, Inline
from .data import EPOCH, Artifact, Cube, Repository, Run, Task, Workflow

CLONE = "#git-clone"
"""An internal cube of the service."""
MIB = 1 << 20
NEWEST = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def sample_repository() -> Repository:
    """Return the sample repository, whose run 45 goes on for 25 seconds.

    From second 13 to 23 it awaits an approval, which comes by itself.
    """
    recent = (_going_on(), _failed(), _showpiece(), _pull_request(), _canceled())
    return Repository("sandbox/demo", (*recent, *(_older(number) for number in range(40, 14, -1))))


def _going_on() -> Run:
    clone = Cube(CLONE, begins=0.0, ends=0.5)
    linux = Cube("linux", (_plan(45, "linux"), _app(45, ready=2.0)), begins=0.0, ends=4.0)
    windows = Cube("windows", (_plan(45, "windows"), _app(45)), begins=0.0, ends=8.0)
    unit = Cube("unit", (_coverage(45),), begins=4.0, ends=13.0)
    trace = Artifact("traces/api.bin", Generated("45/api", 2 * MIB))
    # It fails, so that the newest successful run is 43 however long the sandbox runs.
    api = Cube("api", (_allure(45), trace), "failed", begins=8.0, ends=20.0)
    address = _text("deploy/url.txt", "https://staging.demo.example\n")
    staging = Cube("staging", (address,), begins=13.0, approved=23.0, ends=25.0)
    ci = _ci((clone, linux, windows), (unit, api), (staging,))
    errors = ("Cube api of task test ended with exit code 2",)
    return Run(
        "45", (ci,), live=True, event_type="manual", created_at=NEWEST, error_messages=errors
    )


def _failed() -> Run:
    clone = Cube(CLONE, ends=2.0)
    linux = Cube("linux", (_plan(44, "linux"), _app(44)), ends=41.0)
    artifacts = (
        _text("logs/unit.log", "37 passed, 1 failed: test_rounding\n"),
        Artifact("coverage/html/index.html", status="failed"),
        Artifact("testing/unit_tests/allure-report.zip", status="missing"),
        Artifact("dumps/core.bin", status="registered"),
    )
    unit = Cube("unit", artifacts, "failed", begins=42.0, ends=88.0)
    api = Cube("api", (_allure(44), _plan(44, "api")), begins=42.0, ends=95.0)
    ci, errors = (
        _ci((clone, linux), (unit, api)),
        ("Cube unit of task test ended with exit code 1",),
    )
    return Run("44", (ci,), created_at=_before(1), user="boris", error_messages=errors)


def _showpiece() -> Run:
    image = Artifact("images/disk.img", Generated("43/disk", 32 * MIB))
    symbols = Artifact("dist/symbols.bin", Generated("43/symbols", 8 * MIB))
    clone = Cube(CLONE, ends=2.0)
    linux = Cube("linux", (_plan(43, "linux"), _app(43), image), ends=61.0)
    windows = Cube("windows", (_plan(43, "windows"), _app(43), symbols), ends=84.0)
    source = "export default function Page() {\n  return null;\n}\n"
    covered = (_coverage(43), _text("coverage/html/[slug].tsx", source), _text("logs/empty.log"))
    unit = Cube("unit", covered, begins=61.0, ends=118.0)
    summary = _text("отчёты/итог.txt", "Итог: 38 проверок, 38 успешно.\n")
    notes = _text("release notes.txt", "1.4.0\n- Faster start.\n- Fewer surprises.\n")
    api = Cube("api", (_allure(43), summary, notes), begins=61.0, ends=140.0)
    web = Cube("web", (_dist(43), _node_modules()), ends=44.0)
    ci = _ci((clone, linux, windows, web), (unit, api))
    return Run("43", (ci, _site()), created_at=_before(2))


def _ci(build: tuple[Cube, ...], test: tuple[Cube, ...], deploy: tuple[Cube, ...] = ()) -> Workflow:
    tasks = (Task("build", build), Task("test", test))
    more = (Task("deploy", deploy),) if deploy else ()
    return Workflow("ci", tasks + more, "Build and test")


def _site() -> Workflow:
    index = Artifact("site/search.bin", Generated("43/search", 8 * MIB - 12_345))
    page = _text("site/index.html", _html("Demo", "Documentation of the demo."))
    render = Cube("render", (_plan(43, "render"), page, index), ends=52.0)
    return Workflow("docs", (Task("site", (render,)),), "Documentation")


def _pull_request() -> Run:
    lint = Cube("lint", (_text("reports/lint.json", '{"problems": []}\n'),), ends=9.0)
    unit = Cube("unit", (_coverage(42),), ends=30.0)
    preview = Cube("preview", status="skipped", begins=30.0)
    review = Workflow("review", (Task("check", (lint, unit)), Task("deploy", (preview,))))
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
    content = Inline(_tar(_file("app/VERSION", f"1.4.{number}\n")))
    return Artifact("./dist/app.tar", content, ready=ready)


def _dist(number: int) -> Artifact:
    """Return a folder as the service stores it: the members are below its own name."""
    page, script = _html(f"Demo {number}", "It works."), 'console.log("It works.");\n'
    members = (
        *(_folder("dist"), _file("dist/index.html", page), _folder("dist/assets")),
        _file("dist/assets/app.js", script),
        _file("dist/assets/app.css", "p { color: teal; }\n"),
        _folder("dist/uploads"),
    )
    return Artifact("dist/", Inline(_tar(*members)))


def _node_modules() -> Artifact:
    """Return a folder with a symlink and an executable; the members are not below its name."""
    package = {"name": "is-odd", "version": "3.0.1", "bin": {"is-odd": "cli.js"}}
    script = "#!/usr/bin/env node\nconsole.log(Number(process.argv[2]) % 2 !== 0);\n"
    members = (
        *(_folder("."), _folder("./.bin"), _symlink("./.bin/is-odd", "../is-odd/cli.js")),
        *(_folder("./is-odd"), _file("./is-odd/cli.js", script, mode=0o755)),
        _file("./is-odd/index.js", "module.exports = (n) => n % 2 !== 0;\n"),
        _file("./is-odd/package.json", json.dumps(package, indent=2) + "\n"),
    )
    return Artifact("node_modules", Inline(_tar(*members)))


def _allure(number: int) -> Artifact:
    page = _html(f"Report of run {number}", "12 passed").encode()
    content = Inline(_zip("allure-report/index.html", page))
    return Artifact("testing/api_tests/allure-report.zip", content)


def _text(local_path: str, text: str = "") -> Artifact:
    return Artifact(local_path, Inline(text.encode()))


def _html(title: str, text: str) -> str:
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
    return f"{head}<p>{text}</p>\n</html>\n"


# Archives are not compressed: releases of a compressor may write different bytes.


def _zip(name: str, data: bytes) -> bytes:
    member = zipfile.ZipInfo(name, EPOCH.timetuple()[:6])
    member.create_system = 3  # by default this depends on the platform
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, data)
    return packed.getvalue()


_Member = tuple[tarfile.TarInfo, bytes]


def _tar(*members: _Member) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in members:
            member.size, member.mtime = len(data), int(EPOCH.timestamp())
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _file(name: str, text: str, *, mode: int = 0o644) -> _Member:
    member = tarfile.TarInfo(name)
    member.mode = mode
    return member, text.encode()


def _folder(name: str) -> _Member:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member, b""


def _symlink(name: str, target: str) -> _Member:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, target
    return member, b""
