"""Folders that the service stores as archives become folders again."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from archives import (
    COMPRESSIONS,
    MTIME,
    archive,
    folder,
    header,
    link,
    member,
    packed,
    pax,
    record,
)
from conftest import Cli
from fake_service import STATE, FakeService, tree
from servers import ranged

from sourcecraft_artifacts.disk import aside
from sourcecraft_artifacts.disk.directory import open_root
from sourcecraft_artifacts.disk.tar_fields import UnsafeArchive

FILES: dict[str, bytes | str | None] = {"a.js": b"a" * 700, "sub/b.js": b"b"}
EXPECTED = {"dist/a.js": b"a" * 700, "dist/sub/b.js": b"b"}


def below(prefix: str, files: dict[str, bytes | str | None]) -> dict[str, bytes | str | None]:
    """Return the same files below a prefix."""
    return {f"{prefix}{name}": content for name, content in files.items()}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("prefix", ["", "dist/", "./", "./dist/"])
def test_a_folder_arrives_as_a_folder(
    service: FakeService, cli: Cli, compression: str, prefix: str
) -> None:
    """An archive, compressed or not, becomes a folder, with or without the folder's name in it."""
    service.add("./dist/", COMPRESSIONS[compression](packed(below(prefix, FILES))))
    finished = cli.download("--json")
    assert tree(cli.out) == EXPECTED
    (file,) = finished.json["files"]
    assert (file["outcome"], file["members"], file["path"]) == ("downloaded", 2, "out/dist")
    assert sorted(os.listdir(cli.out / STATE)) == [".gitignore", "manifest.json"]
    assert (cli.out / STATE / ".gitignore").read_text() == "*\n"
    assert (cli.out / "dist/a.js").stat().st_mtime_ns == MTIME * 10**9
    asked = len(service.storage.requests)
    assert cli.download("--json").outcomes == {"./dist/": "unchanged"}
    assert len(service.storage.requests) == asked
    assert cli("verify", "out").out == "out/dist/a.js: OK\nout/dist/sub/b.js: OK\n"


# The local_path, the contents of the archive, and the expected files.
FORMS: list[tuple[str, dict[str, bytes | str | None], dict[str, bytes]]] = [
    ("dist", below("dist/", FILES), EXPECTED),
    ("out/sheets", {"sheets/a": b"1"}, {"out/sheets/a": b"1"}),
    ("out/sheets", {"out/sheets/a": b"1"}, {"out/sheets/a": b"1"}),
    ("plan.json", {"plan.json": b"{}"}, {"plan.json": b"{}"}),
    ("a/app", {"app": b"1"}, {"a/app": b"1"}),
    (
        "dist/*.deb",
        {"dist/a.deb": b"1", "dist/b.deb": b"2"},
        {"dist/a.deb": b"1", "dist/b.deb": b"2"},
    ),
    ("dist/*.deb", {"a.deb": b"1"}, {"dist/a.deb": b"1"}),
    ("*.deb", {"a.deb": b"1"}, {"a.deb": b"1"}),
    ("dist/*.tgz", {"a.tgz": b"1"}, {"dist/a.tgz": b"1"}),
    ("my.app", {"my.app/x": b"1"}, {"my.app/x": b"1"}),
    ("app.tar", {"app.tar": b"1"}, {"app.tar": b"1"}),
]


@pytest.mark.parametrize(("local_path", "files", "expected"), FORMS)
def test_forms(
    service: FakeService,
    cli: Cli,
    local_path: str,
    files: dict[str, bytes | str | None],
    expected: dict[str, bytes],
) -> None:
    """For each form of local_path the files are in the right place; a second run keeps them."""
    service.add(local_path, packed(files))
    paths = cli.download("--paths", "--checksums", "sums").out.splitlines()
    assert tree(cli.out) == expected
    assert sorted(paths) == [f"out/{name}" for name in sorted(expected)]
    subprocess.run(["sha256sum", "-c", "--strict", "sums"], cwd=cli.cwd, check=True)
    assert len((cli.cwd / "sums").read_text().splitlines()) == len(expected)
    asked = len(service.storage.requests)
    assert cli.download("--json").outcomes == {local_path: "unchanged"}
    assert len(service.storage.requests) == asked
    assert cli("verify", "out").out == "".join(f"out/{name}: OK\n" for name in sorted(expected))


@pytest.mark.parametrize("local_path", ["data.bin", "app.tar", "app.tgz", "dist/*.tgz"])
def test_an_archive_that_stays(service: FakeService, cli: Cli, local_path: str) -> None:
    """An archive of other names is kept; a message says so if its name does not."""
    body = packed(FILES)
    service.add(local_path, body)
    said = cli.download().err
    assert tree(cli.out) == {local_path: body}
    assert ("is a tar archive; it is kept" in said) == (local_path == "data.bin")
    assert cli.download("--json").outcomes == {local_path: "unchanged"}


@pytest.mark.parametrize("local_path", ["dist/", "dist"])
@pytest.mark.parametrize(
    "data",
    [archive(folder("dist/")), archive(folder("./")), bytes(10240), gzip.compress(bytes(1024))],
    ids=["named", "dot", "zeros", "gzip"],
)
def test_an_empty_folder(service: FakeService, cli: Cli, data: bytes, local_path: str) -> None:
    """An empty folder is created, and is unchanged for the second run."""
    service.add(local_path, data)
    assert cli.download("--json").json["files"][0]["members"] == 0
    assert list((cli.out / "dist").iterdir()) == []
    assert cli.download("--json").outcomes == {local_path: "unchanged"}
    (cli.out / "dist").rmdir()
    cli.download()
    assert (cli.out / "dist").is_dir()


@pytest.mark.parametrize(("name", "size"), [("zeros", 10241), ("zeros", 2048), ("z.bin", 10240)])
def test_zeros_are_no_folder(service: FakeService, cli: Cli, name: str, size: int) -> None:
    """A file of zeros counts as an empty archive only with a fitting name and size."""
    service.add(name, bytes(size))
    cli.download()
    assert tree(cli.out) == {name: bytes(size)}


@pytest.mark.parametrize("rule", ["update", "overwrite"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_the_place_of_a_folder(
    service: FakeService, cli: Cli, rule: str, kind: str
) -> None:
    """A stranger's file or link in a folder's place is refused, also with overwrite."""
    service.add("dist", packed(below("dist/", FILES)))
    service.add("x/y", b"1")
    outside = cli.cwd / "outside"
    outside.mkdir()
    for place in (cli.out / "dist/sub", cli.out / "x"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(outside) if kind == "link" else place.write_bytes(b"mine")
    before = tree(cli.out)
    for excluded in ("dist", "x/*"):
        said = cli.download("--if-exists", rule, "-x", excluded, code=8).err
        assert "not a folder" in said or "is a symlink, which is never followed" in said
        assert tree(cli.out) == before
    assert list(outside.iterdir()) == []


def test_modes_links_and_empty_folders(service: FakeService, cli: Cli) -> None:
    """Permission bits are kept under the umask; a hard link becomes a file of its own."""
    service.add(
        "dist",
        archive(
            folder("dist/", mode=0o7777),
            member("dist/run", b"#!", mode=0o6755),
            member("dist/open", b"o", mode=0o666),
            link("dist/hard", "dist/run", kind=b"1"),
            folder("dist/empty/"),
            link("dist/bin/run", "../run"),
        ),
    )
    assert cli.download("--json").json["files"][0]["members"] == 4
    dist = cli.out / "dist"
    assert (dist / "run").stat().st_mode & 0o7777 == 0o755
    assert (dist / "open").stat().st_mode & 0o7777 == 0o644
    assert (dist / "hard").stat().st_nlink == 1
    assert (dist / "hard").read_bytes() == b"#!"
    assert (dist / "bin/run").readlink() == Path("../run")
    assert (dist / "empty").is_dir()
    assert cli.download("--json").outcomes == {"dist": "unchanged"}
    (dist / "bin/run").unlink()
    (dist / "bin/run").symlink_to("../open")
    assert "out/dist/bin/run: FAILED" in cli("verify", "out", code=8).out
    assert cli.download("--json").outcomes == {"dist": "downloaded"}
    assert (dist / "bin/run").readlink() == Path("../run")


@pytest.mark.skipif(os.name == "nt", reason="has no such modes")
def test_other_permissions_are_put_right(service: FakeService, cli: Cli) -> None:
    """If only a member's permissions differ, they are put right without a transfer.

    Another umask of a later run is no difference.
    """
    service.add("bin", archive(member("run", b"1", mode=0o755), member("key", b"2", mode=0o600)))
    cli.download()
    (cli.out / "bin/run").chmod(0o644)
    (cli.out / "bin/key").chmod(0o666)
    assert cli("verify", "out", code=8).out == "out/bin/key: FAILED\nout/bin/run: FAILED\n"
    asked = len(service.storage.requests)
    assert cli.download("-n").out.split()[0] == "keep"
    assert (cli.out / "bin/run").stat().st_mode & 0o777 == 0o644
    finished = cli.download("--json")
    assert finished.outcomes == {"bin": "unchanged"}
    assert "put the permissions of 2 files of bin right" in finished.err
    assert len(service.storage.requests) == asked
    assert cli("verify", "out").out == "out/bin/key: OK\nout/bin/run: OK\n"
    assert (cli.out / "bin/key").stat().st_mode & 0o777 == 0o600
    umask = os.umask(0o077)
    try:
        assert cli.download("--json").outcomes == {"bin": "unchanged"}
    finally:
        os.umask(umask)
    assert (cli.out / "bin/run").stat().st_mode & 0o777 == 0o755 & ~umask
    (cli.out / "bin/run").chmod(0o644)
    (cli.out / "bin/key").write_bytes(b"changed")
    assert cli.download("--json").outcomes == {"bin": "downloaded"}
    assert cli("verify", "out").out == "out/bin/key: OK\nout/bin/run: OK\n"


def test_no_unpack_leaves_it_as_it_came(service: FakeService, cli: Cli) -> None:
    """--no-unpack keeps the archive; then --unpack needs no transfer, as it is still there."""
    body = packed(below("dist/", FILES))
    service.add("dist", body)
    cli.download("--no-unpack")
    assert tree(cli.out) == {"dist": body}
    asked = len(service.storage.requests)
    found = cli.download("--json").json["files"][0]
    assert (found["outcome"], found["members"], found["transferred"]) == ("downloaded", 2, 0)
    assert tree(cli.out) == EXPECTED
    assert len(service.storage.requests) == asked
    assert cli.download("--json").outcomes == {"dist": "unchanged"}
    cli.download("--no-unpack")
    assert tree(cli.out) == {"dist": body}
    assert cli("verify", "out").out == "out/dist: OK\n"


@pytest.mark.parametrize("options", [("--no-unpack",), ()])
def test_a_folder_in_a_folder_becomes_a_file(
    service: FakeService, cli: Cli, options: tuple[str, ...]
) -> None:
    """Its parent folder, which is empty for a moment, stays."""
    body = packed(below("dist/", FILES))
    service.add("deep/x/dist", body)
    cli.download()
    if not options:
        body = b"plain"
        renew(service, body)
    cli.download(*options)
    assert tree(cli.out) == {"deep/x/dist": body}
    assert cli("verify", "out").out == "out/deep/x/dist: OK\n"


def test_a_file_goes_to_output_as_it_is(service: FakeService, cli: Cli) -> None:
    """`-o` never unpacks."""
    body = packed(FILES)
    service.add("dist", body)
    cli("download", "7", "ci", "build", "linux", "-o", "x")
    assert (cli.cwd / "x").read_bytes() == body


def renew(service: FakeService, body: bytes, version: str = "2") -> None:
    """Replace the first artifact by another version."""
    stored = service.artifacts[0]
    stored.dates = {**stored.dates, "updated_at": version}
    stored.replies = [ranged(body, etag=f'"{version}"')]


def test_a_changed_folder_loses_what_it_lost(service: FakeService, cli: Cli) -> None:
    """Files that a new version lacks are removed if unchanged; files that were changed stay."""
    old = {"a": b"1", "b": b"2", "gone/x": b"3", "gone/y": b"4", "left/z": b"5", "kept": b"6"}
    service.add("dist", packed({f"dist/{name}": body for name, body in old.items()}))
    cli.download()
    (cli.out / "dist/left/z").write_bytes(b"mine")
    (cli.out / "dist/note").write_bytes(b"a stranger's")
    renew(service, packed({"dist/a": b"new", "dist/kept/k": b"a file became a folder"}))
    cli.download()
    assert tree(cli.out) == {
        "dist/a": b"new",
        "dist/kept/k": b"a file became a folder",
        "dist/left/z": b"mine",
        "dist/note": b"a stranger's",
    }
    assert not (cli.out / "dist/gone").exists()
    renew(service, packed({"dist/kept": b"and a file again"}), "3")
    cli.download()
    assert tree(cli.out) == {
        "dist/kept": b"and a file again",
        "dist/left/z": b"mine",
        "dist/note": b"a stranger's",
    }


def test_an_edited_file_where_the_new_version_has_a_folder(service: FakeService, cli: Cli) -> None:
    """The new version lacks that file, and it is not as we left it: only `overwrite` removes it."""
    service.add("dist", packed({"dist/a": b"1", "dist/b": b"2"}))
    cli.download()
    (cli.out / "dist/a").write_bytes(b"mine")
    renew(service, packed({"dist/a/x": b"3", "dist/b/y": b"4"}))
    assert "dist/a is not a folder" in cli.download(code=8).err
    assert tree(cli.out) == {"dist/a": b"mine", "dist/b": b"2"}
    cli.download("--if-exists", "overwrite")
    assert tree(cli.out) == {"dist/a/x": b"3", "dist/b/y": b"4"}


def test_a_strangers_file_in_the_place_of_a_folder(service: FakeService, cli: Cli) -> None:
    """It is not ours because a folder of ours was there, whatever the new version is."""
    service.add("dist", packed({"dist/a": b"1"}))
    cli.download()
    for new in (packed({"dist/a": b"2"}), b"a file"):
        shutil.rmtree(cli.out / "dist", ignore_errors=True)
        (cli.out / "dist").write_bytes(b"mine")
        renew(service, new, new[-2:].hex())
        asked = len(service.artifacts[0].requests)
        cli.download("--no-unpack", "-n", code=8)
        assert len(service.artifacts[0].requests) == asked
        cli.download(code=8)
        assert tree(cli.out) == {"dist": b"mine"}


@pytest.mark.parametrize("rule", ["update", "skip", "overwrite", "error"])
def test_what_stands_in_the_folder_already(service: FakeService, cli: Cli, rule: str) -> None:
    """--if-exists applies to each member; only `error` refuses an existing folder."""
    service.add("dist", packed(below("dist/", FILES)))
    service.add("other.txt", b"o")
    (cli.out / "dist").mkdir(parents=True)
    (cli.out / "dist/mine").write_bytes(b"mine")
    code = 8 if rule == "error" else 0
    finished = cli.download("--if-exists", rule, code=code)
    rest = {} if code else {**EXPECTED, "other.txt": b"o"}
    assert tree(cli.out) == {"dist/mine": b"mine", **rest}
    if rule == "error":
        assert "nothing was downloaded" in finished.err
        return
    cli.download("--if-exists", rule)
    assert tree(cli.out) == {"dist/mine": b"mine", **rest}


def test_a_stranger_at_a_member(service: FakeService, cli: Cli) -> None:
    """A file of somebody else stays, and nothing is put in place, without skip or overwrite."""
    service.add("dist", packed(below("dist/", FILES)))
    service.add("other.txt", b"o")
    (cli.out / "dist").mkdir(parents=True)
    (cli.out / "dist/a.js").write_bytes(b"mine")
    finished = cli.download("--json", code=8)
    assert finished.outcomes == {"dist": "failed", "other.txt": "downloaded"}
    assert "dist/a.js" in finished.err
    assert tree(cli.out) == {"dist/a.js": b"mine", "other.txt": b"o"}
    cli.download("--if-exists", "skip")
    assert tree(cli.out) == {**EXPECTED, "dist/a.js": b"mine", "other.txt": b"o"}
    asked = len(service.storage.requests)
    cli.download("--if-exists", "skip")
    assert len(service.storage.requests) == asked
    assert cli("verify", "out").out == "out/dist/sub/b.js: OK\nout/other.txt: OK\n"
    cli.download("--if-exists", "overwrite")
    assert tree(cli.out) == {**EXPECTED, "other.txt": b"o"}


def test_members_that_were_skipped_are_not_right(service: FakeService, cli: Cli) -> None:
    """After `skip` kept an older member or a stranger's, `update` looks at it again."""
    service.add("dist", archive(member("a", b"1"), member("same", b"s")))
    cli.download()
    renew(service, archive(member("a", b"22"), member("same", b"s")))
    assert cli.download("--json", "--if-exists", "skip").outcomes == {"dist": "downloaded"}
    assert tree(cli.out) == {"dist/a": b"1", "dist/same": b"s"}
    cli.download()
    assert tree(cli.out) == {"dist/a": b"22", "dist/same": b"s"}
    assert cli.download("--json").outcomes == {"dist": "unchanged"}
    (cli.out / "dist/a").write_bytes(b"mine")
    (cli.out / STATE / "manifest.json").unlink()
    cli.download("--if-exists", "skip")
    assert "dist/a" in cli.download(code=8).err
    assert (cli.out / "dist/a").read_bytes() == b"mine"


def test_a_member_in_the_place_of_an_artifact(service: FakeService, cli: Cli) -> None:
    """The file belongs to the folder from then on; the older artifact is forgotten."""
    service.add("dist/a", b"9")
    cli.download()
    service.artifacts.clear()
    service.add("dist", archive(member("a", b"1"), member("b", b"2")))
    cli.download()
    assert cli("verify", "out").out == "out/dist/a: OK\nout/dist/b: OK\n"
    renew(service, archive(member("b", b"2")))
    cli.download()
    assert tree(cli.out) == {"dist/b": b"2"}
    assert cli("verify", "out").out == "out/dist/b: OK\n"


def test_a_plain_file_where_a_folder_stands(service: FakeService, cli: Cli) -> None:
    """A plain file is refused where a folder exists, and the folder stays."""
    service.add("app", b"no archive")
    service.add("other.txt", b"o")
    (cli.out / "app").mkdir(parents=True)
    (cli.out / "app/mine").write_bytes(b"mine")
    for rule in ("update", "overwrite"):
        finished = cli.download("--json", "--if-exists", rule, code=8)
        assert finished.outcomes["app"] == "failed"
        assert "a folder stands in its place" in finished.err
    assert tree(cli.out) == {"app/mine": b"mine", "other.txt": b"o"}


def test_a_folder_where_a_stranger_s_file_stands(service: FakeService, cli: Cli) -> None:
    """A file in a folder's place is refused before any transfer, or overwritten if asked for."""
    service.add("dist", packed(below("dist/", FILES)))
    cli.out.mkdir()
    (cli.out / "dist").write_bytes(b"mine")
    cli.download(code=8)
    assert service.storage.requests == []
    cli.download("--if-exists", "overwrite")
    assert tree(cli.out) == EXPECTED


def test_a_file_that_became_a_folder(service: FakeService, cli: Cli) -> None:
    """A file that becomes a folder is replaced, and so is the folder that becomes a file."""
    service.add("dist", b"plain")
    cli.download()
    renew(service, packed(below("dist/", FILES)))
    cli.download()
    assert tree(cli.out) == EXPECTED
    renew(service, b"plain again", "3")
    cli.download()
    assert tree(cli.out) == {"dist": b"plain again"}
    assert cli("verify", "out").out == "out/dist: OK\n"


def test_empty_folders_of_a_killed_run_are_no_obstacle(service: FakeService, cli: Cli) -> None:
    """Folders that a killed run left empty are replaced by a file."""
    service.add("dist", packed({"dist/a/b/c": b"1", "dist/d": b"2"}))
    cli.download()
    (cli.out / "dist/a/b/c").unlink()
    renew(service, packed({"dist/a": b"a file now", "dist/d": b"2"}))
    cli.download()
    assert tree(cli.out) == {"dist/a": b"a file now", "dist/d": b"2"}
    (cli.out / "dist/x/y").mkdir(parents=True)
    cli.download("--no-unpack")
    assert (cli.out / "dist").is_file()


def test_members_of_two_artifacts(service: FakeService, cli: Cli) -> None:
    """Two artifacts may share a folder, but not a file."""
    service.add("dist/*.deb", packed({"dist/a.deb": b"1"}))
    service.add("dist/*.rpm", packed({"dist/a.rpm": b"2"}))
    service.add("dist/*.txt", packed({"dist/a.deb": b"3", "dist/x.txt": b"4"}))
    finished = cli.download("--json", "-x", "*.txt")
    assert tree(cli.out) == {"dist/a.deb": b"1", "dist/a.rpm": b"2"}
    finished = cli.download("--json", code=8)
    assert finished.outcomes["dist/*.txt"] == "failed"
    assert "is also a file of another artifact, dist/*.deb" in finished.err
    assert tree(cli.out) == {"dist/a.deb": b"1", "dist/a.rpm": b"2"}


def test_the_plan_names_the_folder(service: FakeService, cli: Cli) -> None:
    """A plan names the folder, without a request to the storage."""
    service.add("dist", packed(below("dist/", FILES)))
    assert cli.download("-n").out == "download\tout/dist\n"
    cli.download("--no-unpack")
    assert cli.download("-n").out == "unpack\tout/dist\n"
    cli.download()
    assert cli.download("-n").out == "keep\tout/dist\n"
    assert len(service.storage.requests) == 1


@pytest.mark.parametrize(
    ("layout", "where"),
    [("nested", "ci/build/linux/x/dist"), ("flat", "dist"), ("mirror", "x/dist")],
)
def test_layouts(service: FakeService, cli: Cli, layout: str, where: str) -> None:
    """With each layout the folder is where a file would be, and its members are below it."""
    service.add("x/dist", packed(below("dist/", FILES)))
    cli.download("--layout", layout)
    assert tree(cli.out) == {f"{where}/{name}": body for name, body in FILES.items()}


def test_what_the_manifest_holds(service: FakeService, cli: Cli) -> None:
    """The manifest has each member under its artifact, with size, SHA-256, mode and time."""
    service.add("dist", packed(below("dist/", FILES)))
    cli.download()
    entry = json.loads((cli.out / STATE / "manifest.json").read_text())["files"]["dist"]
    assert entry["members"]["sub/b.js"] == {
        "size": 1,
        "sha256": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
        "mode": 0o644,
        "mtime_ns": MTIME * 10**9,
    }


HOSTILE: dict[str, bytes] = {
    "absolute": archive(member("/tmp/evil", b"x")),
    "climbing": archive(member("dist/../../evil", b"x")),
    "climbing folder": archive(folder("../evil")),
    "through a symlink": archive(link("dist/l", ".."), member("dist/l/evil", b"x")),
    "through an absolute symlink": archive(link("dist/l", "/tmp"), member("dist/l/evil", b"x")),
    "symlink out": archive(link("dist/l", "../../evil")),
    "symlinks out together": archive(link("dist/a", "."), link("dist/b", "a/..")),
    "absolute symlink": archive(link("dist/l", "/etc/passwd")),
    "hard link out": archive(link("dist/l", "../../secret", kind=b"1")),
    "absolute hard link": archive(link("dist/l", "/etc/passwd", kind=b"1")),
    "device": archive(member("dist/a"), folder("dist/"), link("dist/d", "", kind=b"3")),
    "block device": archive(link("dist/d", "", kind=b"4")),
    "fifo": archive(link("dist/d", "", kind=b"6")),
    "duplicates": archive(member("dist/a", b"1"), member("dist/a", b"2")),
    "file and folder": archive(member("dist/a", b"1"), member("dist/a/b", b"2")),
    "symlink, then file": archive(link("dist/a", "b"), member("dist/a", b"2")),
    "state folder": archive(member(f"dist/{STATE}/manifest.json", b"{}")),
    "state folder by case": archive(member("dist/.SOURCECRAFT-artifacts/x", b"{}")),
    "NUL": archive(member("dist/a\0b", b"x"))[:0] or archive(member("dist/a\nb", b"x")),
    "not UTF-8": archive(member(b"dist/\xff", b"x")),
    "escape": archive(member("dist/\x1b[2J", b"x")),
    "truncated": archive(member("dist/a", b"x" * 2000))[:1400],
    "truncated between members": archive(member("dist/a", b"x"))[:1024],
    "damaged": archive(member("dist/a", b"x" * 2000), b"\xff" * 512),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_archives(service: FakeService, cli: Cli, attack: str) -> None:
    """An unsafe archive fails by name, none of its files is in place, and the others go on."""
    (cli.cwd / "secret").write_bytes(b"secret")
    service.add("dist", HOSTILE[attack])
    service.add("other.txt", b"o")
    finished = cli.download("--json", code=6)
    by_name = {file["local_path"]: file for file in finished.json["files"]}
    assert by_name["dist"]["error"]["code"] == "unsafe_archive"
    assert by_name["other.txt"]["outcome"] == "downloaded"
    assert "--no-unpack" in finished.err
    assert tree(cli.out) == {"other.txt": b"o"}
    assert not (cli.out / "dist").exists()
    assert sorted(path.name for path in cli.cwd.iterdir()) == ["out", "secret"]
    assert not Path("/tmp/evil").exists()
    asked = len(service.storage.requests)
    cli.download("--no-unpack")
    assert (cli.out / "dist").read_bytes() == HOSTILE[attack]
    assert service.storage.requests[asked:][0].header("Range")


def test_archives_that_become_too_large(service: FakeService, cli: Cli) -> None:
    """Megabytes that expand to gigabytes, or to huge holes, are refused before they are written."""
    zeros = zlib.compressobj(1, wbits=31)
    packed_zeros = zeros.compress(header("dist/zeros", 4 << 30)) + zeros.compress(bytes(1 << 20))
    service.add("zeros", packed_zeros + zeros.flush())
    holes = pax(record("GNU.sparse.size", str(1 << 40)), record("GNU.sparse.map", "0,0"))
    service.add("holes", archive(holes, member("dist/s")))
    report = cli.download("--json", code=6).json
    messages = [file["error"]["message"] for file in report["files"]]
    assert messages == ["its archive is not unpacked: it becomes too large"] * 2
    assert tree(cli.out) == {}


def test_a_million_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with more than a million members is refused before most of them are made."""
    made: list[str] = []
    monkeypatch.setattr(aside, "MOST_MEMBERS", 300)
    monkeypatch.setattr(aside, "_MANY", 20)
    body = archive(*(member(f"{number}") for number in range(301)))
    (tmp_path / "packed").write_bytes(body)
    with open_root(str(tmp_path)) as folder_, (tmp_path / "packed").open("rb") as file:
        one = aside.Aside(folder_, "aside")
        with pytest.raises(UnsafeArchive, match="more than 300 members"):
            one.fill(file.fileno(), len(body), lambda: None, made.append)
        assert len(list((tmp_path / "aside").glob("*/*"))) == 19
        one.remove()
    assert not (tmp_path / "aside").exists()


def test_after_a_kill_members_are_told_by_their_bytes(service: FakeService, cli: Cli) -> None:
    """A file that was there before may have the size and the time of the one in the archive."""
    service.add("dist", packed({"dist/a": b"1", "dist/b": b"2"}))
    cli.download()
    file, manifest = cli.out / "dist/a", cli.out / STATE / "manifest.json"
    time = file.stat().st_mtime_ns
    file.write_bytes(b"x")
    os.utime(file, ns=(time, time))
    assert cli.download("--json").json["files"][0]["outcome"] == "unchanged"
    known = json.loads(manifest.read_text())
    known["files"]["dist"]["intended"] = True  # as a kill leaves it
    manifest.write_text(json.dumps(known))
    cli.download()
    assert tree(cli.out) == {"dist/a": b"1", "dist/b": b"2"}
