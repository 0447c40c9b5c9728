"""Archives for tests: valid ones, and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping

BLOCK = 512
MTIME = 1_700_000_000
END = bytes(2 * BLOCK)

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def header(
    name: str | bytes,
    size: int = 0,
    kind: bytes = b"0",
    *,
    mode: int = 0o644,
    mtime: int = MTIME,
    target: str | bytes = b"",
    patch: Mapping[int, bytes] | None = None,
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """Return a header; `patch` replaces bytes at offsets before the checksum is computed."""
    names = [one.encode() if isinstance(one, str) else one for one in (name, target)]
    block = bytearray(BLOCK)
    block[0 : len(names[0])] = names[0]
    block[100:108] = b"%07o\0" % mode
    block[108:124] = b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"%011o\0" % mtime
    block[156:157] = kind
    block[157 : 157 + len(names[1])] = names[1]
    block[257:265] = magic
    for at, data in (patch or {}).items():
        block[at : at + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert len(block) == BLOCK, "a name does not fit"
    return bytes(block)


def filled(data: bytes) -> bytes:
    """Pad content to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def member(name: str | bytes, data: bytes = b"", **more: object) -> bytes:
    """Return a file's header and content."""
    return header(name, len(data), **more) + filled(data)  # type: ignore[arg-type]


def folder(name: str | bytes, mode: int = 0o755) -> bytes:
    """Return a folder's header."""
    return header(name, kind=b"5", mode=mode)


def link(name: str | bytes, target: str | bytes, kind: bytes = b"2") -> bytes:
    """Return a symlink, or with another kind a hard link."""
    return header(name, kind=kind, target=target, mode=0o777)


def record(key: str | bytes, value: str | bytes) -> bytes:
    """Return a record of a pax header."""
    pair = [one.encode() if isinstance(one, str) else one for one in (key, value)]
    rest = b" " + pair[0] + b"=" + pair[1] + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    """Return a pax header for the next member, or with `g` for all that follow."""
    content = b"".join(records)
    return header("PaxHeader", len(content), kind) + filled(content)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """Return GNU's header for a long name, or with `K` for a long target."""
    return header("././@LongLink", len(name), kind, magic=b"ustar  \0") + filled(name)


def archive(*members: bytes) -> bytes:
    """Join members, and add the end mark."""
    return b"".join(members) + END


def packed(files: Mapping[str, bytes | str | None], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Pack files with tarfile; a string is a symlink's target, None a folder."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=kind) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = MTIME, 0o644
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return made.getvalue()
