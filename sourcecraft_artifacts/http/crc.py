"""CRC-32C and CRC-64/NVME in Python, which has no fast code for them.

A table handles one byte after the other, about 6 MB/s. Here long integers do most of the work: a
CRC is a remainder of polynomials, so the first half of the bytes can be replaced by its
contribution to the second half, which is itself, shifted and added once for each term of a
constant. After some halvings only a few bytes are left for the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

_SHORT = 128
"""For so few bytes the table is as fast."""
_FEW_TERMS = {
    0x82F63B78: (6128, (2783, 358, 0)),
    0x9A6C9329AC4BC9B5: (8752, (1991, 1782, 1631, 1165, 855, 408, 4)),
}
"""By polynomial: an exponent of x whose remainder has few terms, and these; so have its squares."""


class Crc:
    """A reflected cyclic redundancy check of `bits` bits, as a hash."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._polynomial = polynomial
        self._bits = bits
        self._ones = (1 << bits) - 1
        self._value = self._ones

    def update(self, data: bytes | memoryview, /) -> None:
        """Add the bytes that follow."""
        if len(data) > _SHORT:
            number = int.from_bytes(data, "little") ^ self._value
            data, self._value = self._folded(number, len(data)), 0
        value, table = self._value, _table(self._polynomial)
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        """Return the check value of all bytes so far."""
        return (self._value ^ self._ones).to_bytes(self._bits // 8, "big")

    def _folded(self, number: int, count: int) -> bytes:
        """Return a few bytes with the same remainder as `count` bytes, lowest bits first."""
        while count > _SHORT:
            stays, exponents = _step(self._polynomial, self._bits, count)
            folded = min(count - stays, stays - (max(exponents) + 7) // 8)
            first = number & ((1 << 8 * folded) - 1)
            number >>= 8 * folded
            for exponent in exponents:
                number ^= first << (8 * (stays - folded) - exponent)
            count -= folded
        return number.to_bytes(count, "little")


@lru_cache
def _table(polynomial: int) -> tuple[int, ...]:
    return tuple(_times_x(value, 8, polynomial) for value in range(256))


def _step(polynomial: int, bits: int, count: int) -> tuple[int, tuple[int, ...]]:
    """Return how many of `count` bytes stay, and the exponents of x^(8 * that number)."""
    power, exponents = _FEW_TERMS.get(polynomial, (0, ()))
    if 0 < power // 8 < count:
        times = ((count - 1) // (power // 8)).bit_length() - 1
        return (power // 8) << times, tuple(exponent << times for exponent in exponents)
    stays = 1 << ((count - 1).bit_length() - 1)
    return stays, _terms(polynomial, bits, stays)


@lru_cache
def _terms(polynomial: int, bits: int, count: int) -> tuple[int, ...]:
    """Return the exponents of x^(8 * count) mod the polynomial; `count` is a power of two."""
    one, power = 1 << (bits - 1), 0
    if count == 1:
        power = _times_x(one, 8, polynomial)
    else:  # without carries, the square of a sum is the sum of the squares
        for exponent in _terms(polynomial, bits, count // 2):
            power ^= _times_x(one, 2 * exponent, polynomial)
    return tuple(_exponents(power, bits))


def _exponents(power: int, bits: int) -> Iterator[int]:
    return (at for at in range(bits) if power >> (bits - 1 - at) & 1)


def _times_x(value: int, times: int, polynomial: int) -> int:
    """Multiply by x `times` times; in a reflected polynomial the highest bit is that of 1."""
    for _ in range(times):
        value = (value >> 1) ^ (polynomial if value & 1 else 0)
    return value
