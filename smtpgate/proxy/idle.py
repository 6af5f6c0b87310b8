"""Links that no session has: kept for the next one that is the same to the server.

Off unless `reuse = "pool"`. Two sessions are the same to a server when nothing on the connection tells them apart: the
same server, the same TLS identity, the same login, the same client identity. So a link over which a client logged in,
or that was told a client's address with XCLIENT or a PROXY header, is never lent to another. XFORWARD is said anew
before each MAIL and does not stand in the way.

A link ends before the server would end it: by age, by number of transactions, by time without work. Postfix keeps one
for 2 s, and none for longer than 300 s (smtp_connection_reuse_time_limit); count-bound reuse alone lets a slow server
attract the load, so age bounds it too. A goodbye that came meanwhile is seen before the link is used.
"""

from __future__ import annotations

from typing import Any

from smtpgate.config.model import Backend
from smtpgate.policy.transaction import Session
from smtpgate.proxy.link import Link

Key = tuple[str, str, str]


class IdleLinks:
    """The idle links of one backend."""

    def __init__(self, backend: Backend, clock: Any) -> None:
        self._backend = backend
        self._clock = clock
        #: By what must be the same, the last used first in line: those that are not needed grow old and go.
        self._links: dict[Key, list[tuple[Link, Any]]] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    def count(self, server: str) -> int:
        """How many to one server."""
        return sum(len(links) for key, links in self._links.items() if key[0] == server)

    def _key(self, server: str, session: Session | None, link: Link | None) -> Key:
        """What must be the same: server, our login there, and the name in our EHLO where that is the client's."""
        user = self._backend.credentials.user if self._backend.credentials is not None else ""
        name = ""
        if self._backend.ehlo_name == "client":
            name = session.helo if session is not None else link.ehlo_name if link is not None else ""
        return server, user, name

    def _may(self) -> bool:
        return self._backend.reuse == "pool" and self._backend.client_info in ("off", "xforward")

    def park(self, link: Link) -> bool:
        """Keep a link; False where it must end."""
        backend = self._backend
        now = self._clock.seconds()
        if (
            self._is_closed
            or not self._may()
            or not link.is_settled
            or link.is_personal
            or link.transactions >= backend.reuse_transactions
            or now - link.opened >= backend.reuse_age_s
        ):
            return False
        most = link.capabilities.limits.get("MAILMAX", 0)
        if most and link.transactions >= most:
            return False
        key = self._key(link.server, None, link)
        left = min(backend.reuse_idle_s, backend.reuse_age_s - (now - link.opened))
        call = self._clock.callLater(left, self._expire, key, link)
        self._links.setdefault(key, []).append((link, call))
        return True

    def has(self, server: str, session: Session) -> bool:
        """Whether there is a link to that server that is the same for this session."""
        return bool(self._links) and self._key(server, session, None) in self._links

    def take(self, server: str, session: Session) -> Link | None:
        """A link to that server that is the same for this session; None where there is none."""
        if not self._links:
            return None
        key = self._key(server, session, None)
        links = self._links.get(key)
        while links:
            link, call = links.pop()
            call.cancel()
            if not links:
                del self._links[key]
            if link.is_settled:
                return link
            link.abort("closed by the server while it was idle")
            links = self._links.get(key)
        return None

    def _expire(self, key: Key, link: Link) -> None:
        self._remove(key, link)
        link.quit()

    def _remove(self, key: Key, link: Link) -> Any:
        links = self._links.get(key, [])
        for number, (one, call) in enumerate(links):
            if one is link:
                del links[number]
                if not links:
                    del self._links[key]
                return call
        return None

    def forget(self, link: Link) -> None:
        """It is over."""
        if self._links:
            call = self._remove(self._key(link.server, None, link), link)
            if call is not None and call.active():
                call.cancel()

    def drop(self, server: str) -> bool:
        """End the link to a server that is idle the longest; whether there was one."""
        for key, links in self._links.items():
            if key[0] == server:
                link, call = links.pop(0)
                if not links:
                    del self._links[key]
                call.cancel()
                link.quit()
                return True
        return False

    def close(self) -> None:
        """The revision is gone."""
        self._is_closed = True
        for key in list(self._links):
            for link, call in self._links.pop(key):
                call.cancel()
                link.quit()
