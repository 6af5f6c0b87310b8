"""Reference ids: what a reply, a log line and a page name the same session by."""

from __future__ import annotations

import functools
import os

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_random = memoryview(b"")


def new_id(wall: float) -> str:
    """26 characters that sort by time: ten of milliseconds, sixteen of chance (80 bits), base 32."""
    global _random
    if len(_random) < 16:
        _random = memoryview(os.urandom(4096).translate(_TO_ALPHABET))
    chance, _random = bytes(_random[:16]), _random[16:]
    number = int(wall * 1000)
    return f"{_slow_part(number >> 20)}{_PAIRS[number >> 10 & 1023]}{_PAIRS[number & 1023]}{chance.decode('ascii')}"


_TO_ALPHABET = bytes(ord(_ALPHABET[octet & 31]) for octet in range(256))


_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


@functools.lru_cache(maxsize=16)
def _slow_part(number: int) -> str:
    return _PAIRS[number >> 20 & 1023] + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023]
