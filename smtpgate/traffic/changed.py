"""Keys of which something changed, given in the order in which it did, to be written.

A dict that is emptied from its front is walked through from its front each time; so those that are given come from one
that is not changed any more, and what changes meanwhile goes into the next.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Changed(Generic[T]):
    """The keys.

    :ivar fresh: those that changed since the older ones began to be given; a key is added by setting it
    """

    __slots__ = ("fresh", "_older")

    def __init__(self) -> None:
        self.fresh: dict[T, None] = {}
        self._older: Iterator[T] = iter(())

    def pop(self) -> T | None:
        """The one that changed first; None where there is none. One that changes again is given again."""
        key = next(self._older, None)
        if key is None and self.fresh:
            self._older, self.fresh = iter(self.fresh), {}
            key = next(self._older)
        return key
