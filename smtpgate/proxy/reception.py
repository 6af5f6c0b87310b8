"""Who is here: connections counted at the door, and the sessions that run.

The acceptor asks `refusal` for each connection; behind a PROXY header the client is counted once it is known
(`admit`). Limits are on the total, of which each class has a guaranteed part, and on each client: an IPv4 address or an
IPv6 /64 (Postfix anvil counts alike).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from smtpgate.config.model import Listener
from smtpgate.policy.event import ConnectionRefused
from smtpgate.proxy.admission import STRANGER, Admission, Standing
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.session import Session
from smtpgate.proxy.warden import Warden
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.classes import CLASSES, RANK
from smtpgate.traffic.pressure import BANNER, FEWER
from smtpgate.traffic.shares import Shares

#: Connections over the limit that may say for whom they are, in their PROXY header, before they are refused.
HEADERS = 64
#: Sessions of a class that are looked at for one that is idle.
LOOKED_AT = 100


def client_key(address: str) -> str:
    """What one client is counted by."""
    if ":" not in address:
        return address
    parsed = ipaddress.ip_address(address.partition("%")[0])
    assert isinstance(parsed, ipaddress.IPv6Address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::ffff:127.")) or address in ("", "::1")


class Reception:
    """The sessions of this process.

    :ivar sessions: those that run, by id
    :ivar admission: which class each is of
    :ivar warden: who may not come in
    :ivar shares: how many sessions each class has, and is promised
    :ivar on_idle: called whenever the last one has gone
    """

    def __init__(self, engine: Engine, revision: Callable[[], Revision]) -> None:
        self.sessions: dict[str, Session] = {}
        self.total = 0
        self.is_draining = False
        #: Nobody new is let in for a while.
        self.is_paused = False
        self.on_idle: Callable[[], None] | None = None
        #: Somebody listens to some: told of each session once its client is known, before a word was said.
        self.heed: Callable[[Any], None] | None = None
        self._engine = engine
        self._revision = revision
        self.admission = Admission(engine.clock, lambda: revision().settings, engine.tell)
        self.warden = Warden(engine.wall, lambda: revision().settings, engine.tell)
        self.shares = Shares(0)
        #: The last one at the door: who it is, is asked once.
        self._judged: tuple[str, Listener | None, Standing] = ("", None, STRANGER)
        self._by_client: Counter[str] = Counter()
        self._keys: dict[str, str] = {}
        self._by_class: dict[str, dict[str, Session]] = {name: {} for name in CLASSES}

    def refusal(self, listener_name: str, peer: str) -> Reply | None:
        """Asked at the door; a Reply where the connection is not let in."""
        settings = self._revision().settings
        listener = settings.listeners[listener_name]
        if self.is_paused:
            self._refused(listener_name, peer, "refused_paused")
            return status.PAUSED
        if self.is_draining:
            self._refused(listener_name, peer, "refused_capacity", "the gateway takes no mail now")
            return status.SHUTTING_DOWN
        if not listener.proxy_protocol_from:
            standing = self.admission.of_client(peer, listener)
            self._judged = (peer, listener, standing)
            return self._class_refusal(listener, peer, standing.name) or self._count_refusal(listener, peer)
        if len(self.sessions) >= settings.limits.connections + HEADERS:
            self._refused(listener_name, peer, "refused_capacity")
            return status.TOO_MANY_CONNECTIONS
        return None

    def _class_refusal(self, listener: Listener, client: str, name: str) -> Reply | None:
        """Whether a class may have one more session."""
        ban = self.warden.find(client)
        if ban is not None:
            self._refused(listener.name, client, "refused_banned", f"{ban.reason}: {ban.evidence}")
            return self.warden.refusal(ban)
        shares = self.shares
        settings = self._revision().settings
        if shares.capacity != settings.limits.connections:
            shares.resize(settings.limits.connections)
        shed = self.admission.sheds(name)
        if BANNER in shed or FEWER in shed and shares.used[name] >= shares.promised(name):
            self._refused(listener.name, client, "refused_pressure", f"{name} at {self.admission.pressure.name}")
            return self.admission.busy_reply(421)
        if shares.may(name) or shares.used[name] < shares.promised(name) and self._evict(name):
            return None
        self._refused(listener.name, client, "refused_capacity", name)
        return status.TOO_MANY_CONNECTIONS

    def _evict(self, name: str) -> bool:
        """End an idle session of a less deserving class that has more than its part; whether there was one."""
        for other in reversed(CLASSES[RANK[name] + 1 :]):
            if self.shares.borrowed(other):
                for session in islice(self._by_class[other].values(), LOOKED_AT):
                    if session.is_idle:
                        session.kill(status.TOO_MANY_CONNECTIONS)
                        return True
        return False

    def _count_refusal(self, listener: Listener, client: str) -> Reply | None:
        limits = self._revision().settings.limits
        if _is_loopback(client) or listener.relay_from and listener.relay_from.contains(client):
            return None
        if self._by_client[client_key(client)] >= limits.connections_per_client:
            self._refused(listener.name, client, "refused_limit")
            return status.TOO_MANY_FROM_CLIENT
        return None

    def _refused(self, listener: str, peer: str, result: str, detail: str = "") -> None:
        self._engine.tell(ConnectionRefused(listener, peer, result, detail))

    def begin(self, listener_name: str, front: Any) -> Session:
        """A session for a connection that was let in."""
        revision = self._revision()
        door = revision.doors[listener_name]
        session = Session(self._engine, revision, door, front, self)
        self.total += 1
        self.sessions[session.facts.id] = session
        if not door.listener.proxy_protocol_from:
            self._count(session, front.peer[0])
            peer, listener, standing = self._judged
            if peer != front.peer[0] or listener is not door.listener:
                standing = self.admission.of_client(front.peer[0], door.listener)
            self._join(session, standing)
        else:
            self._join(session, STRANGER)
        front.on_gone = session.gone
        session.start()
        return session

    def _count(self, session: Session, client: str) -> None:
        key = client_key(client)
        self._keys[session.facts.id] = key
        self._by_client[key] += 1

    def _join(self, session: Session, standing: Standing) -> None:
        session.facts.traffic_class = standing.name
        session.facts.class_reason = standing.reason
        self.shares.take(standing.name)
        self._by_class[standing.name][session.facts.id] = session

    def _leave(self, session: Session) -> None:
        name = session.facts.traffic_class
        if self._by_class[name].pop(session.facts.id, None) is not None:
            self.shares.give_back(name)

    def reclass(self, session: Session, standing: Standing) -> None:
        """More is known of a session."""
        if standing.name != session.facts.traffic_class:
            self._leave(session)
            self._join(session, standing)
            session.note("us", "class", f"{standing.name}: {standing.reason}")

    def _uncount(self, session: Session) -> None:
        key = self._keys.pop(session.facts.id, None)
        if key is not None:
            self._by_client[key] -= 1
            if not self._by_client[key]:
                del self._by_client[key]

    def admit(self, session: Session) -> Reply | None:
        """The PROXY header or XCLIENT named the client: count it; a Reply where it has too many connections."""
        client = session.facts.client_ip
        # It may have been counted under the address that it had before.
        self._uncount(session)
        self._leave(session)
        listener = session.door.listener
        standing = self.admission.of_client(client, listener)
        refusal = self._class_refusal(listener, client, standing.name) or self._count_refusal(listener, client)
        self._join(session, standing)
        if refusal is None:
            self._count(session, client)
        return refusal

    def ended(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session.facts.id, None)
        self._uncount(session)
        self._leave(session)
        if not self.sessions and self.on_idle is not None:
            self.on_idle()

    def drain(self) -> None:
        """Let transactions in flight finish; idle sessions hear 421 now."""
        self.is_draining = True
        for session in list(self.sessions.values()):
            session.drain()

    def kill_all(self) -> None:
        """The grace time is over: only messages that are being committed are still waited for."""
        for session in list(self.sessions.values()):
            session.kill()
