"""What this process asks of the C library's allocator, and how much memory it has.

Content comes in pieces of up to 256 KiB. By its defaults glibc gives such memory back to the kernel when a piece is
done and takes it anew, page by page, for the next one; that was a tenth of what a message of 100 KB costs
(docs/performance.md). Kept are at most some MiB at the top of the heap.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

#: mallopt(3): the number of a setting, and what is asked for, in octets.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 8 * 2**20
_LARGE: Final = 2 * 2**20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def keep_memory() -> bool:
    """Keep freed memory for the next piece of content; False where the C library knows no such setting."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return False
    if not name.startswith("glibc"):
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)) and bool(libc.mallopt(_M_MMAP_THRESHOLD, _LARGE))


def resident_octets() -> int:
    """Memory of this process that is in use (resident set); 0 where the system does not say (no /proc)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
