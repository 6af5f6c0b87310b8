"""Parts of a page that stand for themselves: one store that fails takes away its own part, and leaves the rest."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from smtpgate.control.views import Unavailable
from smtpgate.interfaces import StoreFailed

T = TypeVar("T")


async def panel(asked: Awaitable[T], otherwise: T) -> tuple[T, str]:
    """What a part of a page shows, and "".

    :param otherwise: what it shows where the store that has it fails; then with the words that say why
    """
    try:
        return await asked, ""
    except (StoreFailed, Unavailable) as error:
        return otherwise, str(error)
