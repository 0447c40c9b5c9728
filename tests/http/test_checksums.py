"""The checksums that storages send: which are read, and how they are checked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcecraft_artifacts.errors import TransferError
from sourcecraft_artifacts.http.checksums import Digests, expected_digests, new_hash

TEXT = b"123456789"


def b64(data: bytes) -> str:
    """Encode bytes as checksum headers do."""
    return base64.b64encode(data).decode()


def headers(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers as a response has them, by lower-case names."""
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
    """Each algorithm gives the check value of its standard, also if a digest is read in between."""
    one = new_hash(name)
    one.update(data[:5])
    one.digest()
    one.update(memoryview(data)[5:])
    assert one.digest().hex() == digest


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_pieces_hash_as_the_whole_does(pieces: list[bytes]) -> None:
    """Bytes in any pieces have the digests of the whole, and the position counts them."""
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


@given(st.sampled_from(["crc32c", "crc64nvme"]), st.integers(0, 5000), st.randoms())
def test_long_pieces_give_what_short_ones_do(name: str, count: int, random: Random) -> None:
    """Folding a long piece gives the same CRC as the table alone."""
    body = random.randbytes(count)
    at_once, bit_by_bit = new_hash(name), new_hash(name)
    at_once.update(body)
    for at in range(0, count, 100):
        bit_by_bit.update(body[at : at + 100])
    assert at_once.digest() == bit_by_bit.digest()


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
    # Two lines, as a response joins them.
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
    # Two that agree count as one; two that differ can match no bytes.
    ({"Content-MD5": b64(MD5), "x-goog-hash": f"md5={b64(MD5)}"}, {"md5": MD5}),
    ({"Content-MD5": b64(OTHER), "x-goog-hash": f"md5={b64(MD5)}"}, {"md5": b""}),
    ({"Digest": f"md5={b64(MD5)}", "Repr-Digest": f"md5=:{b64(OTHER)}:"}, {"md5": b""}),
    # The same header twice, as a response joins them.
    ({"Content-MD5": f"{b64(MD5)}, {b64(MD5)}"}, {"md5": MD5}),
    ({"Content-MD5": f"{b64(MD5)}, {b64(OTHER)}"}, {"md5": b""}),
    ({"Content-MD5": f"{b64(OTHER)},{b64(MD5)}"}, {"md5": b""}),
    ({"Content-MD5": f"{b64(MD5)}, nonsense"}, {"md5": MD5}),
    ({"x-amz-checksum-crc32": f"{b64(CRC32)}, {b64(CRC32)}"}, {"crc32": CRC32}),
    ({"x-amz-checksum-crc32": f"{b64(CRC32)}, {b64(bytes(4))}"}, {"crc32": b""}),
    ({"x-amz-checksum-sha256": f"{b64(SHA256)}-2, {b64(SHA256)}"}, {"sha256": SHA256}),
    ({"x-goog-hash": f"md5={b64(MD5)}, md5={b64(OTHER)}"}, {"md5": b""}),
    ({"Digest": f"md5={b64(MD5)}, MD5={b64(MD5)}"}, {"md5": MD5}),
    ({"Repr-Digest": f"md5=:{b64(MD5)}:, md5=:{b64(OTHER)}:"}, {"md5": b""}),
    ({"Repr-Digest": f"MD5 = :{b64(MD5)}:"}, {"md5": MD5}),
    # The body is the stored form, compressed or not.
    (
        {
            "x-goog-hash": f"md5={b64(MD5)}",
            "x-goog-stored-content-encoding": "GZIP",
            "Content-Encoding": "gzip",
        },
        {"md5": MD5},
    ),
    (
        {"x-goog-hash": f"md5={b64(MD5)}", "x-goog-stored-content-encoding": "identity"},
        {"md5": MD5},
    ),
    # Only Google's hash is of the stored form.
    (
        {"Content-MD5": b64(MD5), "x-goog-stored-content-encoding": "gzip"},
        {"md5": MD5},
    ),
]
NOT_FOUND: list[dict[str, str]] = [
    {},
    # Composites are made of the digests of parts.
    {"x-amz-checksum-crc32": f"{b64(CRC32)}-3"},
    {"x-amz-checksum-crc32": b64(CRC32), "x-amz-checksum-type": "COMPOSITE"},
    {"x-amz-checksum-sha256": f"{b64(SHA256)}-2", "x-amz-checksum-type": "composite"},
    # An ETag may look like an MD5, but it need not be one.
    {"ETag": f'"{MD5.hex()}"'},
    # Malformed ones.
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
    {"x-amz-checksum-crc32": b64(CRC32), "x-amz-checksum-type": "COMPOSITE, COMPOSITE"},
    {"x-amz-checksum-crc32": b64(CRC32), "x-amz-checksum-type": "FULL_OBJECT, COMPOSITE"},
    # The hash of the stored form, which is not what was sent.
    {"x-goog-hash": f"md5={b64(OTHER)}", "x-goog-stored-content-encoding": "gzip"},
    {
        "x-goog-hash": f"crc32c={b64(CRC32C)},md5={b64(OTHER)}",
        "x-goog-stored-content-encoding": "gzip",
        "Content-Encoding": "identity",
    },
    {
        "x-goog-hash": f"md5={b64(OTHER)}",
        "x-goog-stored-content-encoding": "identity",
        "Content-Encoding": "gzip",
    },
    {
        "x-goog-hash": f"md5={b64(OTHER)}",
        "x-goog-stored-content-encoding": "br",
        "Content-Encoding": "gzip",
    },
    # It is for the message, not for the object.
    {"Content-Digest": f"sha-256=:{b64(SHA256)}:"},
]


@pytest.mark.parametrize(("sent", "found"), FOUND)
def test_checksums_are_found(sent: dict[str, str], found: dict[str, bytes]) -> None:
    """Every header for the whole object is read."""
    assert expected_digests(200, headers(sent)) == found


@pytest.mark.parametrize("sent", NOT_FOUND)
def test_what_is_no_checksum_of_the_whole_is_passed_over(sent: dict[str, str]) -> None:
    """Composites and malformed values do not fail a good body."""
    assert expected_digests(200, headers(sent)) == {}


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"Content-MD5": b64(MD5)}, {}),
        ({"x-amz-checksum-sha256": b64(SHA256)}, {}),
        ({"x-goog-hash": f"md5={b64(MD5)}"}, {"md5": MD5}),
        ({"Digest": f"sha-256={b64(SHA256)}"}, {"sha256": SHA256}),
        ({"Repr-Digest": f"sha-256=:{b64(SHA256)}:"}, {"sha256": SHA256}),
        (
            {"x-amz-checksum-sha256": b64(SHA256), "x-amz-checksum-type": "FULL_OBJECT"},
            {"sha256": SHA256},
        ),
        (
            {"x-goog-hash": f"md5={b64(MD5)}", "x-goog-stored-content-encoding": "gzip"},
            {},
        ),
        # The part is the whole object; S3 still leaves out the mark of a composite.
        ({"Content-MD5": b64(MD5), "Content-Range": "bytes 0-8/9"}, {"md5": MD5}),
        ({"Content-MD5": b64(MD5), "Content-Range": "bytes 0-7/9"}, {}),
        ({"x-amz-checksum-sha256": b64(SHA256), "Content-Range": "bytes 0-8/9"}, {}),
    ],
)
def test_a_partial_answer_may_speak_of_its_part(
    sent: dict[str, str], found: dict[str, bytes]
) -> None:
    """In a 206 only headers that are always for the whole object count."""
    assert expected_digests(206, headers(sent)) == found


@pytest.mark.parametrize("name", ["crc32c", "crc64nvme"])
def test_a_large_object_is_checked_too(name: str) -> None:
    """One wrong byte in 12 MB fails a CRC that Python has no fast code for."""
    body = Random(1).randbytes(1 << 20)
    right = new_hash(name)
    for _ in range(12):
        right.update(body)
    digests = Digests({name: right.digest()})
    for at in range(12):
        digests.update(body if at else b"\0" + body[1:])
    with pytest.raises(TransferError, match=name):
        digests.check()


def test_checksums_that_differ_are_a_failure_of_any_object() -> None:
    """Two different checksums of one kind are an error, whatever the bytes."""
    sent = headers({"x-goog-hash": f"crc32c={b64(CRC32C)},crc32c={b64(bytes(4))}"})
    digests = Digests(expected_digests(200, sent))
    with pytest.raises(TransferError, match="crc32c"):
        digests.check()


def test_a_later_answer_adds_what_is_computed_anyway() -> None:
    """A later checksum is checked, or returned if the first bytes were not hashed for it."""
    digests = Digests({"md5": MD5})
    digests.update(TEXT)
    assert digests.expect({"sha256": SHA256, "sha1": SHA1}) == {"sha1": SHA1}
    digests.check()
    assert digests.expected == {"md5": MD5, "sha256": SHA256}
    digests.expect({"sha256": bytes(32)})
    with pytest.raises(TransferError, match="sha256"):
        digests.check()


@pytest.mark.parametrize(("sent", "found"), FOUND)
def test_wrong_bytes_are_not_accepted(sent: dict[str, str], found: dict[str, bytes]) -> None:
    """One wrong bit fails each checksum by name; the right bytes pass."""
    wrong, right = Digests(found), Digests(found)
    wrong.update(b"123456788")
    right.update(TEXT)
    with pytest.raises(TransferError, match="is not the one") as caught:
        wrong.check()
    assert caught.value.code == "checksum"
    if b"" not in found.values():
        right.check()
