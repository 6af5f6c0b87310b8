"""A session before its greeting: who the client is, whether there is room for it, and whether it can wait.

In this order: the PROXY header of a balancer in front, TLS where it comes first, the delay of a class under pressure,
rate and concurrency limits of connections, the filters of the connection, the wait for those that speak too early, and
the greeting. Each may end the session by `SessionClosing`.
"""

from __future__ import annotations

from typing import Any

from smtpgate.interfaces import SessionClosing
from smtpgate.policy import event as told
from smtpgate.proxy.admission import DELAY_S
from smtpgate.smtp import status
from smtpgate.smtp.proxyline import BadHeader
from smtpgate.tasks import TimeUp
from smtpgate.traffic.classes import SUSPECT, UNKNOWN
from smtpgate.traffic.pressure import DELAY


async def run(session: Any) -> None:
    """From the first octet to the greeting.

    :param session: a `proxy.session.Session`
    """
    facts, front, listener, door = session.facts, session.front, session.door.listener, session.door
    timeouts = session.revision.settings.timeouts
    facts.peer_ip, facts.peer_port = front.peer
    facts.client_ip, facts.client_port = front.peer
    if listener.proxy_protocol_from:
        await _proxy_header(session, timeouts.proxy_header_s)
    if session.reception.heed is not None:
        session.reception.heed(session)
    if listener.tls == "implicit":
        if door.tls is None:
            raise SessionClosing("server", status.TLS_UNAVAILABLE)
        began = session.engine.clock.seconds()
        facts.tls = await front.start_tls(door.tls, began + timeouts.tls_s)
        session.engine.meter.took(session.engine.clock.seconds() - began, "tls_handshake_seconds", "client")
        facts.sni = facts.tls.sni
    facts.is_trusted = bool(listener.relay_from and listener.relay_from.contains(facts.client_ip))
    session.engine.tell(told.SessionOpened(facts))
    admission = session.reception.admission
    if admission.pressure.level and DELAY in admission.sheds(facts.traffic_class) and session.engine.pacer.has_room:
        await session.pause(DELAY_S)
    if not session.revision.limits.is_empty:
        await limit(session)
    if session.run_filters is not None:
        await session.filter("connect")
    await _wait_for_talk(session)
    if front.wire.has_input and listener.early_talker == "reject" and listener.tls != "implicit":
        session.engine.tell(told.ConnectionRefused(listener.name, facts.client_ip, "early_talker"))
        raise SessionClosing("server", status.EARLY_TALKER)
    protocol = "LMTP" if door.rules.is_lmtp else "ESMTP"
    front.wire.greet(f"220 {session.revision.settings.hostname} {protocol}\r\n".encode())


async def _proxy_header(session: Any, seconds: float) -> None:
    facts, listener = session.facts, session.door.listener
    problem = ""
    if not listener.proxy_protocol_from.contains(facts.peer_ip):
        problem = "peer not in proxy_protocol_from"
    else:
        try:
            origin = await session.front.proxy_header(session.engine.clock.seconds() + seconds)
        except TimeUp:
            problem = "no PROXY header in time"
        else:
            if isinstance(origin, BadHeader):
                problem = origin.reason
            elif origin.ip:
                facts.client_ip, facts.client_port = origin.ip, origin.port
                facts.local_ip, facts.local_port = origin.destination_ip, origin.destination_port
    if problem:
        session.engine.tell(told.ConnectionRefused(listener.name, facts.peer_ip, "proxy_error", problem))
        raise SessionClosing("server", None)
    refusal = session.reception.admit(session)
    if refusal is not None:
        raise SessionClosing("server", refusal)


async def limit(session: Any) -> None:
    """Rate and concurrency limits of the client: the greeting waits, or the session is over."""
    limits, facts = session.revision.limits, session.facts
    is_probe = bool(session.door.listener.proxy_protocol_from) and facts.client_ip == facts.peer_ip
    if is_probe:
        # A balancer that asks for nobody looks whether we are well.
        return
    held = limits.connect(facts)
    if held is None:
        return
    facts.findings += held.findings
    if not held.met:
        return
    if held.is_paced and session.engine.pacer.has_room:
        await session.pause(held.wait_s)
        return
    held.denied()
    limits.withdraw(facts)
    detail = held.findings[0].detail
    session.engine.tell(told.ConnectionRefused(facts.listener, facts.client_ip, "refused_limit", detail))
    raise SessionClosing("server", held.reply(421, "4.7.0"))


async def _wait_for_talk(session: Any) -> None:
    """A stranger that speaks before the greeting is no mail server: give it the time to do so. Who waited passes for a
    day, so that a good sender waits once (postscreen greet_wait, without its forced reconnect)."""
    listener, facts, front = session.door.listener, session.facts, session.front
    seconds, warden, pacer = listener.greet_wait_s, session.reception.warden, session.engine.pacer
    if not seconds or listener.early_talker != "reject" or listener.tls == "implicit" or not pacer.has_room:
        return
    if facts.traffic_class not in (UNKNOWN, SUSPECT) or warden.has_waited(facts.client_ip):
        return
    if facts.traffic_class == SUSPECT:
        seconds *= 2
    pacer.waiting += 1
    try:
        if not front.wire.has_input:
            await front.input(session.engine.clock.seconds() + seconds)
    except TimeUp:
        warden.waited(facts.client_ip)
    finally:
        pacer.waiting -= 1
