"""libarchive on octets in memory, with one format and one filter.

`archives` reads through this what is no plain ZIP member. Only what the caller names is switched on: formats that
guess (mtree, raw behind anything) and filters that start outside programs (lrzip, grzip) are never reached. The
functions raise whatever the library raises for hostile octets, and ImportError or OSError where it is absent; the
caller makes flags of it.

libarchive 3.5 and later, archive_read(3) and archive_entry(3).
"""

from __future__ import annotations

import ctypes
import locale
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from smtpgate.examine.budget import hush
from smtpgate.examine.zipdir import PIECE


@contextmanager
def reader(content: bytes, formats: Sequence[str], filter_name: str, word: str) -> Iterator[tuple[Any, Any]]:
    """libarchive on octets in memory, with these formats and this filter alone."""
    hush("libarchive")
    from libarchive import ffi

    _choose_letters()
    archive = ffi.read_new()
    try:
        if word:
            ffi.read_add_passphrase(archive, word.encode())
        if filter_name:
            ffi.get_read_filter_function(filter_name)(archive)
        for name in formats:
            ffi.get_read_format_function(name)(archive)
        ffi.read_open_memory(archive, ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p), len(content))
        yield ffi, archive
    finally:
        ffi.read_free(archive)


@cache
def _choose_letters() -> None:
    """Names beyond ASCII come out of the library only in a locale that has their letters."""
    if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")


def entries(ffi: Any, archive: Any) -> Iterator[Any]:
    """Headers one after the other. Raises what the library raises."""
    from libarchive.entry import ArchiveEntry

    while True:
        entry = ArchiveEntry(archive)
        if ffi.read_next_header2(archive, entry._entry_p) == ffi.ARCHIVE_EOF:
            return
        yield entry


def pieces(ffi: Any, archive: Any, entry: Any, most: int = 1 << 62) -> Iterator[bytes]:
    """The content of the entry whose header was read last."""
    del entry  # the library knows no other
    buffer = ctypes.create_string_buffer(PIECE)
    total = 0
    while total <= most:
        length = ffi.read_data(archive, buffer, PIECE)
        if length <= 0:
            return
        total += length
        yield ctypes.string_at(buffer, length)


def is_locked(ffi: Any, entry: Any) -> bool:
    """True where the library knows that the content of the entry is encrypted."""
    return bool(ffi.libarchive.archive_entry_is_data_encrypted(ctypes.c_void_p(entry._entry_p)) > 0)
