"""Who pays for work: CPU time of threads is told to whoever asked for it.

The admin side has a part of the gateway's time and no more (`admin.pace`). What it has done elsewhere, in the threads
of the database or of the pool, is measured there and told to it; mail pays nothing and is told nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

#: Told the CPU seconds, in the thread that spent them; None where nobody asks.
PAYER: ContextVar[Callable[[float], object] | None] = ContextVar("payer", default=None)


def counted(function: Callable[..., T]) -> Callable[..., T]:
    """The same function; its CPU time goes to who pays where this is called."""
    payer = PAYER.get()
    if payer is None:
        return function

    def run(*args: Any, **kw: Any) -> T:
        began = time.thread_time()
        try:
            return function(*args, **kw)
        finally:
            payer(time.thread_time() - began)

    return run
