"""The link that a session keeps from one transaction to the next.

One at most. After a relayed login it is pinned: it stands for the login, and only that very link may carry the
session's mail (P-177). Otherwise it rests in its pool, which takes it back when others wait for the slot.
"""

from __future__ import annotations

from smtpgate.proxy.link import Link
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply


class KeptLink:
    """A place for one link.

    :ivar link: None where none is kept
    :ivar pool: where it comes from
    :ivar is_pinned: AUTH was relayed over it
    """

    __slots__ = ("link", "pool", "is_pinned")

    def __init__(self) -> None:
        self.link: Link | None = None
        self.pool: Pool | None = None
        self.is_pinned = False

    def take(self, pool: Pool, traffic_class: str) -> Link | None:
        """The link, where it goes to that backend and still stands and its slot may be had; it is no longer kept then.

        :param traffic_class: whose slot it takes
        """
        link, self.link = self.link, None
        if link is None:
            return None
        assert self.pool is not None
        limit = link.capabilities.limits.get("MAILMAX", 0)
        if self.pool is pool and link.is_usable and not (limit and link.transactions >= limit):
            if pool.slots.wake(link, traffic_class, self.is_pinned):
                return link
        elif self.is_pinned and link.is_usable:
            self.link = link
            return None
        self._give_up(link)
        return None

    def keep(self, pool: Pool, link: Link) -> None:
        """Keep a link for the next transaction of this session."""
        if not link.is_usable:
            link.abort()
            return
        if self.link is not None and self.link is not link:
            self._give_up(self.link)
        self.link, self.pool = link, pool
        pool.slots.rest(link, None if self.is_pinned else self.drop)

    def _give_up(self, link: Link) -> None:
        """This session has no more use for it; another may have."""
        assert self.pool is not None
        if not self.pool.slots.park(link):
            link.quit()

    def drop(self) -> None:
        """Say goodbye to the server."""
        link, self.link = self.link, None
        if link is not None:
            link.quit()

    def leave(self) -> None:
        """The session is over."""
        link, self.link = self.link, None
        if link is not None:
            self._give_up(link)

    def is_authentic(self, pool: Pool | None = None) -> bool:
        """Whether the kept link still stands for the login: at that backend, or at any."""
        return self.link is not None and self.link.is_usable and (pool is None or self.pool is pool)

    def nameless_reply(self) -> Reply:
        """Why no mail goes where the login does not count: the login stands and the route leads elsewhere, never
        there as somebody without a name (P-177); or the login went with its link."""
        return status.IDENTITY_PINNED if self.is_authentic() else Reply(421, "4.4.2", status.BACKEND_LOST.lines)
