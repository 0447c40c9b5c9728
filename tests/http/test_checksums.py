"""The checksums that storages send: found, told apart and checked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.errors import TransferError
from sourcecraft_artifacts.http.checksums import Digests, expected_digests, new_hash

TEXT = b"123456789"


def b64(data: bytes) -> str:
    """Bytes as checksum headers carry them."""
    return base64.b64encode(data).decode()


def headers(values: Mapping[str, str]) -> Mapping[str, str]:
    """Headers as an answer has them, by lower-case names."""
    return {name.lower(): value for name, value in values.items()}


VECTORS = [
    ("crc32", TEXT, "cbf43926"),
    ("crc32", b"", "00000000"),
    ("crc32c", TEXT, "e3069283"),
    ("crc32c", b"", "00000000"),
    # RFC 3720, B.4.
    ("crc32c", bytes(32), "8a9136aa"),
    ("crc32c", b"\xff" * 32, "62a8ab43"),
    ("crc32c", bytes(range(32)), "46dd794e"),
    ("crc32c", bytes(range(31, -1, -1)), "113fdb5c"),
    ("crc64nvme", TEXT, "ae8b14860a799888"),
    ("crc64nvme", b"", "0000000000000000"),
    # NVM Express, NVM command set, 5.2.1.3.4.
    ("crc64nvme", bytes(4096), "6482d367eb22b64e"),
    ("crc64nvme", b"\xff" * 4096, "c0ddba7302eca3ac"),
    ("md5", b"", "d41d8cd98f00b204e9800998ecf8427e"),
    ("md5", b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    ("sha1", b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
]


@pytest.mark.parametrize(("name", "data", "digest"), VECTORS)
def test_known_vectors(name: str, data: bytes, digest: str) -> None:
    """Each algorithm gives the check value of its standard, and goes on between digests."""
    one = new_hash(name)
    one.update(data[:5])
    one.digest()
    one.update(memoryview(data)[5:])
    assert one.digest().hex() == digest


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_pieces_hash_as_the_whole_does(pieces: list[bytes]) -> None:
    """However the bytes come, the digests are those of the whole, and the position counts them."""
    whole = b"".join(pieces)
    names = ("md5", "sha1", "sha512", "crc32", "crc32c", "crc64nvme")
    expected = {}
    for name in names:
        one = new_hash(name)
        one.update(whole)
        expected[name] = one.digest()
    digests = Digests(expected)
    for piece in pieces:
        digests.update(memoryview(piece))
    digests.check()
    assert digests.sha256 == hashlib.sha256(whole).hexdigest()
    assert digests.position == len(whole)


MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, TEXT).digest() for name in ("md5", "sha1", "sha256", "sha512")
)
CRC32, CRC32C, CRC64 = (
    bytes.fromhex(check) for check in ("cbf43926", "e3069283", "ae8b14860a799888")
)
ADLER32 = bytes.fromhex("091e01de")
OTHER = bytes(16)

FOUND: list[tuple[dict[str, str], dict[str, bytes]]] = [
    ({"Content-MD5": b64(MD5)}, {"md5": MD5}),
    ({"x-amz-checksum-crc32": b64(CRC32)}, {"crc32": CRC32}),
    ({"x-amz-checksum-crc32c": b64(CRC32C)}, {"crc32c": CRC32C}),
    ({"x-amz-checksum-crc64nvme": b64(CRC64)}, {"crc64nvme": CRC64}),
    ({"x-amz-checksum-md5": b64(MD5)}, {"md5": MD5}),
    ({"x-amz-checksum-sha1": b64(SHA1)}, {"sha1": SHA1}),
    ({"x-amz-checksum-sha512": b64(SHA512)}, {"sha512": SHA512}),
    ({"Digest": f"adler32={ADLER32.hex()}"}, {"adler32": ADLER32}),
    ({"x-amz-checksum-sha256": b64(SHA256)}, {"sha256": SHA256}),
    (
        {"x-amz-checksum-sha256": b64(SHA256), "x-amz-checksum-type": "FULL_OBJECT"},
        {"sha256": SHA256},
    ),
    ({"x-goog-hash": f"crc32c={b64(CRC32C)}"}, {"crc32c": CRC32C}),
    # Two lines, as an answer joins them.
    (
        {"x-goog-hash": f"crc32c={b64(CRC32C)}, md5={b64(MD5)}"},
        {"crc32c": CRC32C, "md5": MD5},
    ),
    ({"Digest": f"SHA-256={b64(SHA256)},MD5={b64(MD5)}"}, {"sha256": SHA256, "md5": MD5}),
    ({"Digest": f"sha={b64(SHA1)}, unixsum=30637"}, {"sha1": SHA1}),
    ({"Digest": f"SHA-512={b64(SHA512)}"}, {"sha512": SHA512}),
    (
        {"Repr-Digest": f"sha-512=:{b64(SHA512)}:, sha-256=:{b64(SHA256)}:"},
        {"sha512": SHA512, "sha256": SHA256},
    ),
    ({"Repr-Digest": f"md5=:{b64(MD5)}:;q=1"}, {"md5": MD5}),
    # Two that agree are one; two that do not are nothing that any bytes could have.
    ({"Content-MD5": b64(MD5), "x-goog-hash": f"md5={b64(MD5)}"}, {"md5": MD5}),
    ({"Content-MD5": b64(OTHER), "x-goog-hash": f"md5={b64(MD5)}"}, {"md5": b""}),
    ({"Digest": f"md5={b64(MD5)}", "Repr-Digest": f"md5=:{b64(OTHER)}:"}, {"md5": b""}),
]
NOT_FOUND: list[dict[str, str]] = [
    {},
    # Composites speak of the digests of parts.
    {"x-amz-checksum-crc32": f"{b64(CRC32)}-3"},
    {"x-amz-checksum-crc32": b64(CRC32), "x-amz-checksum-type": "COMPOSITE"},
    {"x-amz-checksum-sha256": f"{b64(SHA256)}-2", "x-amz-checksum-type": "composite"},
    # An ETag may look like an MD5; nothing says that it is one.
    {"ETag": f'"{MD5.hex()}"'},
    # ProtocolError ones.
    {"Content-MD5": MD5.hex()},
    {"Digest": f"adler32={b64(ADLER32)}"},
    {"Content-MD5": b64(MD5[:-1])},
    {"Content-MD5": "nonsense!"},
    {"Content-MD5": "\xe9"},
    {"x-goog-hash": f"md5{b64(MD5)}"},
    {"x-goog-hash": "md5="},
    {"Digest": f"sha-384={b64(bytes(48))}"},
    {"Repr-Digest": f"sha-256={b64(SHA256)}"},
    {"Repr-Digest": "sha-256=:AAAA:"},
    # It speaks of the message, not of the object.
    {"Content-Digest": f"sha-256=:{b64(SHA256)}:"},
]


@pytest.mark.parametrize(("sent", "found"), FOUND)
def test_checksums_are_found(sent: dict[str, str], found: dict[str, bytes]) -> None:
    """Every header that speaks of the whole object is read."""
    assert expected_digests(200, headers(sent), 9) == found


@pytest.mark.parametrize("sent", NOT_FOUND)
def test_what_is_no_checksum_of_the_whole_is_passed_over(sent: dict[str, str]) -> None:
    """Neither composites nor misshapen values may fail a good body."""
    assert expected_digests(200, headers(sent), 9) == {}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"Content-MD5": b64(MD5)}, {}),
        ({"x-amz-checksum-sha256": b64(SHA256)}, {}),
        ({"x-goog-hash": f"md5={b64(MD5)}"}, {"md5": MD5}),
        ({"Digest": f"sha-256={b64(SHA256)}"}, {"sha256": SHA256}),
        ({"Repr-Digest": f"sha-256=:{b64(SHA256)}:"}, {"sha256": SHA256}),
    ],
)
def test_a_partial_answer_may_speak_of_its_part(
    sent: dict[str, str], found: dict[str, bytes]
) -> None:
    """On a 206 only what always speaks of the whole object counts."""
    assert expected_digests(206, headers(sent), 9) == found


@pytest.mark.parametrize(
    ("size", "algorithms"),
    [
        (16 << 20, {"crc32c", "md5"}),
        ((16 << 20) + 1, {"md5"}),
        (None, {"crc32c", "md5"}),
    ],
)
def test_a_slow_checksum_gives_way_to_a_stronger_one(
    size: int | None, algorithms: set[str]
) -> None:
    """Of a large object a CRC without fast code is left out, if another one is there."""
    sent = headers({"x-goog-hash": f"crc32c={b64(CRC32C)}, md5={b64(MD5)}"})
    alone = headers({"x-goog-hash": f"crc32c={b64(CRC32C)}"})
    assert expected_digests(200, sent, size).keys() == algorithms
    assert expected_digests(200, alone, size).keys() == {"crc32c"}


@pytest.mark.parametrize(("sent", "found"), FOUND)
def test_wrong_bytes_are_not_accepted(sent: dict[str, str], found: dict[str, bytes]) -> None:
    """One bit off fails each of them, by name; the right bytes pass those that can be met."""
    wrong, right = Digests(found), Digests(found)
    wrong.update(b"123456788")
    right.update(TEXT)
    with pytest.raises(TransferError, match="is not the one") as caught:
        wrong.check()
    assert caught.value.code == "checksum"
    if b"" not in found.values():
        right.check()
