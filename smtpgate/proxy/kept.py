"""The links that a session keeps from one transaction to the next: one for each backend.

After a relayed login one is pinned: it stands for the login, and only that very link may carry the session's mail
(P-177). Otherwise they rest in their pools, which take them back when others wait for the slot.
"""

from __future__ import annotations

from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.proxy.link import Link
from smtpgate.proxy.pool import Pool
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: Links that a session keeps: as many as one transaction may have (`proxy.exchange.BACKENDS`). A session that sends to
#: all the world has a destination for each domain.
KEPT = 8


class KeptLinks:
    """Places for links.

    :ivar is_pinned: AUTH was relayed over the one that is kept
    """

    __slots__ = ("is_pinned", "_links")

    def __init__(self) -> None:
        self.is_pinned = False
        self._links: dict[Pool, Link] = {}

    def take(self, pool: Pool, traffic_class: str, need: Need = NO_NEED) -> Link | None:
        """The link to that backend, where it still stands and its slot may be had; it is no longer kept then.

        :param traffic_class: whose slot it takes
        :param need: what the message asks of it; one that has less is given up
        """
        link = self._links.pop(pool, None)
        if link is None:
            return None
        if not need.is_met(link.tls, link.need):
            _give_up(pool, link)
            return None
        limit = link.capabilities.limits.get("MAILMAX", 0)
        if link.is_usable and not (limit and link.transactions >= limit):
            if pool.slots.wake(link, traffic_class, self.is_pinned):
                return link
        _give_up(pool, link)
        return None

    def keep(self, pool: Pool, link: Link) -> None:
        """Keep a link for the next transaction of this session."""
        if not link.is_usable:
            link.abort()
        elif pool in self._links and self._links[pool] is not link:
            _give_up(pool, link)
        else:
            self._links[pool] = link
            if len(self._links) > KEPT and not self.is_pinned:
                self._hand_over(next(iter(self._links)))
            pool.slots.rest(link, None if self.is_pinned else lambda: self._hand_over(pool))

    def _hand_over(self, pool: Pool) -> None:
        """Others wait for it."""
        link = self._links.pop(pool, None)
        if link is not None:
            _give_up(pool, link)

    def _drop(self, pool: Pool) -> None:
        link = self._links.pop(pool, None)
        if link is not None:
            link.quit()

    def drop(self) -> None:
        """Say goodbye to the servers."""
        for pool in list(self._links):
            self._drop(pool)

    def leave(self) -> None:
        """The session is over."""
        links, self._links = self._links, {}
        for pool, link in links.items():
            _give_up(pool, link)

    @property
    def login(self) -> Link | None:
        """The link that AUTH was relayed over, while it stands."""
        if not self.is_pinned:
            return None
        return next((link for link in self._links.values() if link.is_usable), None)

    def has_less(self, pool: Pool, need: Need) -> bool:
        """Whether the login stands there over a link that has less protection than is needed: no other may do."""
        link = self._links.get(pool)
        return self.is_pinned and link is not None and not need.is_met(link.tls, link.need)

    def is_authentic(self, pool: Pool) -> bool:
        """Whether the login still stands at that backend."""
        link = self._links.get(pool)
        return self.is_pinned and link is not None and link.is_usable

    def nameless_reply(self) -> Reply:
        """Why no mail goes where the login does not count: the login stands and the route leads elsewhere, never
        there as somebody without a name (P-177); or the login went with its link."""
        return status.IDENTITY_PINNED if self.login is not None else Reply(421, "4.4.2", status.BACKEND_LOST.lines)


def _give_up(pool: Pool, link: Link) -> None:
    """This session has no more use for it; another may have."""
    if not pool.slots.park(link):
        link.quit()
