"""Content that is mapped, taken whole."""

from __future__ import annotations

import mmap
from typing import Any


def whole(content: Any) -> bytes:
    """All octets of it. The mapped pages are given back: a job that looks at the copy needs them no more, and of a
    large mail they are as much again."""
    octets = bytes(content)
    if isinstance(content, mmap.mmap):
        content.madvise(mmap.MADV_DONTNEED)
    return octets
