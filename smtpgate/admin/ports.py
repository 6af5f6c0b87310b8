"""What the office needs of the stores, as small protocols; `state` and `observe` have the real ones.

Each call that may touch the disk gives an awaitable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from smtpgate.control import Actor


class Users(Protocol):
    """Users, their tokens, their web sessions, and the audit (`state.users`)."""

    def has_owner(self) -> Awaitable[bool]:
        """Whether anybody can log in at all."""

    def verify(self, name: str, password: str) -> Awaitable[Any]:
        """The user, or None; an unknown name costs the same time."""

    def audit(self, actor: Actor, action: str, target: str, **more: Any) -> Awaitable[Any]:
        """Write down a change, durably."""


class History(Protocol):
    """Ended sessions (`observe.history`)."""

    def find(self, reference: str) -> Awaitable[Mapping[str, Any] | None]:
        """A session by its id or by the id of one of its messages."""

    def recent(self, limit: int) -> Awaitable[Sequence[Mapping[str, Any]]]:
        """The newest."""
