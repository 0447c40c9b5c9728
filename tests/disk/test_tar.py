"""Tar archives are read as their writers meant them, and damage is found."""

from __future__ import annotations

import io
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from archives import (
    BLOCK,
    COMPRESSIONS,
    END,
    MTIME,
    archive,
    filled,
    folder,
    header,
    link,
    long_name,
    member,
    packed,
    pax,
    record,
)
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.disk import inflate, tar
from sourcecraft_artifacts.disk.tar import Kind, Member, TarReader
from sourcecraft_artifacts.disk.tar_fields import UnsafeArchive, is_header, sum_of

GNU_TAR = shutil.which("tar")


def dripping(data: bytes, most: int = 1 << 20) -> inflate.Read:
    """Return bytes in pieces of a size."""
    file = io.BytesIO(data)
    return lambda count: file.read(min(count, most))


def read(data: bytes, most: int = 1 << 20) -> list[tuple[Member, bytes]]:
    """Read a whole archive, compressed or not, with the bytes of its files."""
    reader = TarReader(inflate.opened(data[:BLOCK], dripping(data, most)))
    return [
        (one, b"".join(map(bytes, reader.content())) if one.kind is Kind.FILE else b"")
        for one in reader
    ]


def names(data: bytes) -> list[str]:
    """Return the names in an archive."""
    return [one.name for one, _ in read(data)]


def reason(data: bytes) -> str:
    """Return why an archive is refused."""
    with pytest.raises(UnsafeArchive) as caught:
        read(data)
    return str(caught.value)


def test_what_a_member_tells() -> None:
    """A member has its kind, size, permission bits, time to the second, and target."""
    data = archive(
        folder("d/", mode=0o40755),
        member("d/a", b"abc", mode=0o104755),
        link("d/b", "a"),
        link("d/c", "d/a", kind=b"1"),
    )
    time = MTIME * 10**9
    assert read(data) == [
        (Member("d/", Kind.FOLDER, 0, 0o755, time, ""), b""),
        (Member("d/a", Kind.FILE, 3, 0o755, time, ""), b"abc"),
        (Member("d/b", Kind.SYMLINK, 0, 0o777, time, "a"), b""),
        (Member("d/c", Kind.HARD_LINK, 0, 0o777, time, "d/a"), b""),
    ]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("most", [1, 7, 512, 1 << 20])
def test_pieces_of_any_size(kind: int, most: int) -> None:
    """The size of the pieces that are read makes no difference."""
    body = random.Random(1).randbytes(3000)
    files: dict[str, bytes | str | None] = {"a": body, "b": b"", "c": body[:512], "d": "a"}
    found = read(packed(files, kind), most)
    assert [content for _, content in found] == [body, b"", body[:512], b""]


def test_content_that_nobody_takes_is_passed_over() -> None:
    """Content that is not read, or half read, is skipped."""
    data = archive(member("a", b"x" * 3000), member("b", b"y" * 2000), member("c", b"z"))
    reader = TarReader(dripping(data, 700))
    seen = []
    for one in reader:
        seen.append(one.name)
        if one.name == "b":
            next(iter(reader.content()))
    assert seen == ["a", "b", "c"]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=120)


@given(st.dictionaries(texts, st.binary(max_size=1500), max_size=6), st.data())
def test_what_tarfile_wrote(files: dict[str, bytes], data: st.DataObject) -> None:
    """Any names and contents written by tarfile are read, in GNU's form and in pax."""
    kind = data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    clean = {name.strip("/") or "-": body for name, body in files.items()}
    assert {one.name: body for one, body in read(packed(clean, kind))} == clean


@given(st.binary(max_size=2000), st.integers(0, 4), st.lists(st.tuples(st.integers(), st.binary())))
def test_whatever_the_bytes(noise: bytes, keep: int, spoils: list[tuple[int, bytes]]) -> None:
    """A damaged archive is read or refused, without another exception."""
    good = bytearray(packed({"a": b"x" * 700, "b" * 150: b"y", "c": "a"}))[: keep * 1024]
    for at, what in spoils:
        if good:
            place = at % len(good)
            good[place : place + len(what)] = what
    for data in (bytes(good) + noise, noise):
        with suppress(UnsafeArchive):
            read(data)


@pytest.mark.parametrize("most", [0x7F, 0xFF])
@given(st.data())
def test_a_headers_bytes_are_added_up(most: int, data: st.DataObject) -> None:
    """The sum of any 512 bytes is right, of ASCII's and of all, and of the largest of them."""
    some = bytes(data.draw(st.lists(st.integers(0, most), max_size=BLOCK)))
    block = some.rjust(BLOCK, bytes([most]))
    assert sum_of(block) == sum(block)


PAX = [
    record("mtime", "1700000000.25"),
    record("mtime", "soon"),
    record("mtime", ""),
    record("atime", "17"),
    record("ctime", "17"),
    record("path", "other"),
    record("size", "2"),
    record("GNU.sparse.major", "1"),
]
MODES = [b"0000644\0", b"0000644 ", b"000644 \0", b"\x80" + bytes(7), b"0000689\0"]


@given(
    st.binary(min_size=1, max_size=100),
    st.sampled_from(MODES),
    st.sampled_from([0, 3, 512]),
    st.sampled_from([b"0", b"\0", b"5", b"7"]),
    st.sampled_from([b"ustar\x0000", b"ustar  \0", bytes(8)]),
    st.dictionaries(st.integers(0, 511), st.binary(min_size=1, max_size=1), max_size=1),
    st.lists(st.sampled_from(PAX), max_size=3),
    st.dictionaries(st.integers(0, 700), st.binary(min_size=1, max_size=1), max_size=1),
)
def test_usual_files_are_read_as_all_others(
    name: bytes,
    mode: bytes,
    size: int,
    kind: bytes,
    magic: bytes,
    damage: dict[int, bytes],
    records: list[bytes],
    more_damage: dict[int, bytes],
) -> None:
    """The fast reading of a usual header has the same result as the slow one, or refuses too."""
    head = bytearray(header(name, size, kind, magic=magic, patch={100: mode}))
    for at, byte in damage.items():
        head[at : at + 1] = byte
    before = bytearray(pax(*records) if records else b"")
    for at, byte in more_damage.items():
        if at < len(before):
            before[at : at + 1] = byte
    data = bytes(before) + bytes(head) + filled(b"x" * size) + END

    def told() -> object:
        try:
            return read(data)
        except UnsafeArchive as unsafe:
            return str(unsafe)

    shortly = told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tar, "usual_fields", lambda header: None)
        assert told() == shortly


def test_cut_anywhere() -> None:
    """A cut archive is refused, also if it was cut between two members."""
    data = archive(member("a", b"x" * 700), pax(record("path", "long")), member("b", b"y"))
    end = len(data) - len(END)
    assert len(read(data)) == 2
    for size in range(end + 1):
        assert reason(data[:size]) == "it was cut short"
    assert len(read(data[: end + BLOCK])) == 2


def test_what_follows_the_end_is_not_read() -> None:
    """Bytes after the end are ignored, as by other programs."""
    assert names(archive(member("a")) + member("b")) == ["a"]


HUGE = (1 << 20) + 1
LIES = {
    "checksum": (header("a")[:148] + b"0000000\0" + header("a")[156:] + END, "a header in it is d"),
    "size": (header("a", patch={124: b"00000zzzzzz\0"}) + END, "a number in it is damaged"),
    "underscore": (header("a", patch={124: b"0000_000_0\0\0"}) + END, "a number in it is damaged"),
    "octal 9": (header("a", patch={124: b"00000000009\0"}) + END, "a number in it is damaged"),
    "size beyond": (header("a", 10**9) + END, "it was cut short"),
    "huge": (header("a", patch={124: b"\x80" + b"\xff" * 11}) + END, "it was cut short"),
    "character device": (archive(header("dev", kind=b"3")), "dev in it is a device"),
    "block device": (archive(header("dev", kind=b"4")), "dev in it is a device"),
    "fifo": (archive(header("pipe", kind=b"6")), "pipe in it is a FIFO"),
    "unknown kind": (archive(header("odd", kind=b"q")), "odd in it is of an unknown kind"),
    "other volume": (archive(header("rest", kind=b"M")), "rest in it is a piece of a file"),
    "pax length": (archive(pax(b"99 path=a\n"), member("b")), "has a wrong length"),
    "pax short length": (archive(pax(b"3 path=a\n"), member("b")), "has a wrong length"),
    "pax no length": (archive(pax(b"path=a\n"), member("b")), "has a wrong length"),
    "pax negative": (archive(pax(b"-9 path=a\n"), member("b")), "has a wrong length"),
    "pax no equals": (archive(pax(b"8 patha\n"), member("b")), "a header in it is damaged"),
    "pax no break": (archive(pax(b"9 path=ab"), member("b")), "a header in it is damaged"),
    "pax NUL": (archive(pax(record("path", b"a\0b")), member("b")), "a name in it holds a NUL"),
    "pax link NUL": (archive(pax(record("linkpath", b"a\0")), link("b", "c")), "holds a NUL"),
    "pax size": (archive(pax(record("size", "-1")), member("b")), "a number in it is damaged"),
    "pax size beyond": (archive(pax(record("size", "9999")), member("b")), "it was cut short"),
    "pax size text": (archive(pax(record("size", "1_0")), member("b")), "a number in it is dam"),
    "pax alone": (archive(pax(record("path", "a"))), "it ends after a header whose member is mis"),
    "pax huge": (archive(header("x", HUGE, b"x") + bytes(HUGE)), "a header in it is too large"),
    "pax many": (
        archive(*[pax(record("comment", "x" * 300_000))] * 5, member("b")),
        "a member of it has too many headers",
    ),
    "path for all": (archive(pax(record("path", "a"), kind=b"g"), member("b")), "to all members"),
    "size for all": (archive(pax(record("size", "1"), kind=b"g"), member("b")), "to all members"),
    "long name NUL": (archive(long_name(b"a\0b\0"), member("b")), "a long name in it holds a NUL"),
    "long name huge": (archive(long_name(b"a" * HUGE), member("b")), "a header in it is too large"),
    "long name alone": (archive(long_name(b"a" * 200)), "it ends after a header whose member"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str) -> None:
    """Each kind of damage is refused with its own reason."""
    data, expected = LIES[lie]
    assert expected in reason(data)


def test_numbers_in_base_256() -> None:
    """Base 256, GNU tar's form for large numbers, is read; a negative time becomes 1970."""
    size, time = b"\x80" + (3).to_bytes(11, "big"), b"\xff" * 12
    (found,) = read(archive(header("a", patch={124: size, 136: time}) + filled(b"abc")))
    assert found == (Member("a", Kind.FILE, 3, 0o644, 0), b"abc")


@pytest.mark.parametrize(
    ("told", "nanoseconds"),
    [
        ("1700000000.25", 1_700_000_000_250_000_000),
        ("1700000000.0123456789", 1_700_000_000_012_345_678),
        ("1.", 1_000_000_000),
        ("-5.5", 0),
        ("1e9", 0),
        ("9" * 30, 9_000_000_000 * 10**9),
        ("9" * 5000, 0),
        ("now", 0),
    ],
)
def test_times_of_pax(told: str, nanoseconds: int) -> None:
    """Times may have fractions; an impossible one becomes 1970, or the latest accepted."""
    ((found, _),) = read(archive(pax(record("mtime", told)), member("a")))
    assert found.mtime_ns == nanoseconds


def test_the_checksum_of_old_programs() -> None:
    """Checksums of signed bytes are accepted."""
    block = bytearray(header("n\xe4me".encode("latin-1")))
    total = sum(one - 256 if one > 127 else one for one in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % total
    assert is_header(bytes(block))
    assert names(archive(bytes(block))) == ["n\udce4me"]


def test_names_that_are_no_utf_8() -> None:
    """Invalid UTF-8 becomes lone surrogates, which paths may not have."""
    assert names(archive(member(b"\xff\xfe"))) == ["\udcff\udcfe"]


def test_a_folder_without_a_kind() -> None:
    """In the old form, a slash at the end makes a folder."""
    data = archive(header("old/", kind=b"\0"), member("old/a", kind=b"\0"))
    assert [one.kind for one, _ in read(data)] == [Kind.FOLDER, Kind.FILE]


def test_long_names_of_gnu() -> None:
    """GNU's long names apply to names and to link targets."""
    data = archive(
        long_name(b"t" * 300 + b"\0", b"K"), long_name(b"n" * 300 + b"\0"), link("n", "t")
    )
    ((found, _),) = read(data)
    assert (found.name, found.target) == ("n" * 300, "t" * 300)


def test_headers_speak_for_one_member() -> None:
    """Extended headers apply to one member only."""
    data = archive(pax(record("path", "x"), record("mtime", "1")), member("a"), member("b"))
    assert [(one.name, one.mtime_ns) for one, _ in read(data)] == [
        ("x", 10**9),
        ("b", MTIME * 10**9),
    ]


def test_a_label_and_a_comment_are_no_members() -> None:
    """Labels and comments of `tar --label` and `git archive` are not members."""
    comment = pax(record("comment", "0123abcd"), kind=b"g")
    assert names(archive(header("label", kind=b"V"), comment, member("a"))) == ["a"]


def sparse_pax(*records: bytes, data: bytes) -> bytes:
    """Return a sparse file whose spans are in a pax header."""
    return archive(pax(*records), member("GNUSparseFile.0/s", data), member("next", b"n"))


SPARSE = b"ab" + bytes(8) + b"cd" + bytes(4)
SPARSE_FORMS = {
    "0.0": sparse_pax(
        record("GNU.sparse.size", "16"),
        record("GNU.sparse.numblocks", "2"),
        record("GNU.sparse.offset", "0"),
        record("GNU.sparse.numbytes", "2"),
        record("GNU.sparse.offset", "10"),
        record("GNU.sparse.numbytes", "2"),
        record("path", "s"),
        data=b"abcd",
    ),
    "0.1": sparse_pax(
        record("GNU.sparse.size", "16"),
        record("GNU.sparse.map", "0,2,10,2"),
        record("GNU.sparse.name", "s"),
        data=b"abcd",
    ),
    "1.0": sparse_pax(
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.minor", "0"),
        record("GNU.sparse.realsize", "16"),
        record("GNU.sparse.name", "s"),
        data=filled(b"2\n0\n2\n10\n2\n") + b"abcd",
    ),
}


@pytest.mark.parametrize("form", SPARSE_FORMS)
def test_sparse_files(form: str) -> None:
    """Holes are read as zeros, and the next member is found."""
    found = read(SPARSE_FORMS[form])
    assert [(one.name, one.size, body) for one, body in found] == [
        ("s", 16, SPARSE),
        ("next", 1, b"n"),
    ]


SPARSE_LIES = {
    "beyond its size": ["0,2,16,2", "16"],
    "backwards": ["10,2,0,2", "16"],
    "over one another": ["0,4,2,0", "16"],
    "more than was stored": ["0,2,10,3", "16"],
    "less than was stored": ["0,2,10,1", "16"],
    "half a pair": ["0,2,10", "16"],
    "no number": ["0,2,x,2", "16"],
    "too many": [",".join(["0,0"] * 100_001), "16"],
}


@pytest.mark.parametrize("lie", SPARSE_LIES)
def test_sparse_files_that_lie(lie: str) -> None:
    """Wrong spans are refused before any byte is returned."""
    spans, size = SPARSE_LIES[lie]
    records = [record("GNU.sparse.size", size), record("GNU.sparse.map", spans)]
    assert (
        "in it is" in (found := reason(sparse_pax(*records, data=b"abcd"))) or "in it has" in found
    )


@pytest.mark.parametrize("text", [b"1\n0\n", b"9" * 30 + b"\n", b"x\n", b"999999999\n0\n0\n"])
def test_leading_spans_that_lie(text: bytes) -> None:
    """A list of spans that never ends, or has a wrong length, is refused."""
    records = [record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "16")]
    assert "in it" in reason(sparse_pax(*records, data=filled(text)))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Create a folder with everything that GNU tar can pack."""
    tree = tmp_path / "dist"
    (tree / "sub/empty").mkdir(parents=True)
    (tree / "a.js").write_bytes(b"a" * 10_000)
    (tree / "run.sh").write_bytes(b"#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "sub/\u043f\u0440\u0438\u0432\u0435\u0442").write_bytes(b"hello")
    (tree / "sub/link").symlink_to("../a.js")
    os.link(tree / "a.js", tree / "z-hard")
    with (tree / "holes").open("wb") as file:
        for at in range(0, 40):
            file.seek(at * 100_000)
            file.write(b"data %d" % at)
        file.truncate(5_000_000)
    for path in tree.rglob("*"):
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)
    return tmp_path


GNU_FORMS = [
    ["--format=v7"],
    ["--format=oldgnu"],
    ["--format=gnu"],
    ["--format=ustar"],
    ["--format=pax"],
    ["--format=gnu", "-S"],
    ["--format=oldgnu", "-S"],
    ["--format=pax", "-S", "--sparse-version=0.0"],
    ["--format=pax", "-S", "--sparse-version=0.1"],
    ["--format=pax", "-S", "--sparse-version=1.0"],
    ["--format=gnu", "--label=old"],
    ["--format=gnu", "--listed-incremental=snap"],
    ["--format=pax", "--listed-incremental=snap"],
    ["-z"],
    ["-j"],
    ["-J"],
]


@pytest.mark.skipif(GNU_TAR is None, reason="there is no tar")
@pytest.mark.parametrize("form", GNU_FORMS, ids=" ".join)
def test_what_gnu_tar_writes(home: Path, form: list[str]) -> None:
    """In each of GNU tar's formats the members are those that were packed."""
    packing = ["tar", "-C", str(home), "-cf", str(home / "out.tar"), "--sort=name", *form, "dist"]
    subprocess.run(packing, check=True, cwd=home)
    found = {
        one.name.rstrip("/"): (one, body) for one, body in read((home / "out.tar").read_bytes())
    }
    tree = home / "dist"
    paths = [tree, *tree.rglob("*")]
    assert sorted(found) == sorted(path.relative_to(home).as_posix() for path in paths)
    for path in paths:
        one, body = found[path.relative_to(home).as_posix()]
        if path.is_symlink():
            assert (one.kind, one.target) == (Kind.SYMLINK, "../a.js")
        elif path.is_dir():
            assert one.kind is Kind.FOLDER
        elif one.kind is Kind.HARD_LINK:
            assert one.target == "dist/a.js"
        else:
            assert (body, one.mode) == (path.read_bytes(), path.stat().st_mode & 0o777)
            assert one.mtime_ns == MTIME * 10**9


@pytest.mark.parametrize("noise", [b"", b"short", bytes(600), b"text " * 200, b"PK\x03\x04" * 200])
def test_what_is_no_archive(noise: bytes) -> None:
    """Other files are told apart by their first bytes."""
    assert not is_header(noise[:BLOCK])


def test_many_members_take_no_memory() -> None:
    """Only the headers of one member are in memory."""
    one = member("a", b"x" * 600)
    left = [200]

    def endless(count: int) -> bytes:
        left[0] -= 1
        return one * 100 if left[0] > 0 else END

    reader = TarReader(endless)
    assert sum(1 for _ in reader) == 100 * 199
    assert len(reader._buffer) < 2 * tar._CHUNK


@pytest.mark.parametrize("kind", [name for name in COMPRESSIONS if name != "plain"])
def test_compressed_archives(kind: str) -> None:
    """Compressed archives, also of several streams, are read; damage and cuts are found."""
    data, make = packed({"a": b"x" * 5000}), COMPRESSIONS[kind]
    small = make(data)
    assert [body for _, body in read(small, most=100)] == [b"x" * 5000]
    assert [body for _, body in read(make(data[:700]) + make(data[700:]))] == [b"x" * 5000]

    def drain(spoiled: bytes) -> None:
        source = inflate.opened(spoiled[:BLOCK], dripping(spoiled, 64))
        while source(1 << 20):
            pass

    for size in range(len(small) - 1, 6, -7):
        with pytest.raises(UnsafeArchive, match="it was cut short"):
            drain(small[:size])
    with pytest.raises(UnsafeArchive, match="compressed data are damaged"):
        drain(small[:-6] + bytes([small[-6] ^ 1]) + small[-5:])
    with pytest.raises(UnsafeArchive, match="something else follows"):
        drain(small + b"rest")
    drain(small + bytes(20))
    drain(small + bytes(512) + small)


def test_an_xz_file_that_wants_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An xz file with a huge dictionary is refused."""
    data = lzma.compress(bytes(2000))
    monkeypatch.setattr(inflate, "_MOST_MEMORY", 1 << 20)
    assert reason(data) == "to unpack it takes too much memory"


def test_a_compression_that_this_python_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the compression, and what can read it."""
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(inflate.CannotRead) as caught:
        inflate.opened(b"\x28\xb5\x2f\xfd" + bytes(9), dripping(b""))
    assert (caught.value.name, caught.value.remedy) == ("zstd", "Python 3.14 or newer unpacks it")
