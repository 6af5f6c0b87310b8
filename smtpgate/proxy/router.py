"""Which backend a recipient goes to, and why.

A pure function of the configuration and of what is known at RCPT: the routes are asked in order, the first that
matches wins. `explain` tells the same walk step by step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from smtpgate.config.model import Backend, Route, Settings
from smtpgate.policy.transaction import Session
from smtpgate.smtp.address import NULL_SENDER, Path

#: Characters by which a local part asks to be routed elsewhere: percent hack, bang path, quoted "user@host". Postfix
#: keeps the same list (allow_untrusted_routing).
_ROUTING = frozenset("@%!:")


@attrs.frozen
class Step:
    """One route that was asked.

    :ivar failed: the condition that did not match; "" for the winner
    """

    number: int
    backend: str
    failed: str


class Router:
    """The routes of one configuration revision."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = settings.local_domains
        self._by_listener = {name: _reachable(settings.routes, name) for name in settings.listeners}
        self._by_rule = {
            name: [
                rule.backend
                for rule in settings.rules
                if rule.action == "route" and rule.mode == "enforce" and (not rule.listener or name in rule.listener)
            ]
            for name in settings.listeners
        }

    def is_local(self, path: Path) -> bool:
        """Whether mail to that address is for us: its domain is ours and its local part names no other host.

        ``postmaster`` without a domain is ours (RFC 5321 section 4.5.1).
        """
        if not path.domain:
            return path.local == "postmaster"
        return self._local.matches(path.domain) and _ROUTING.isdisjoint(path.local)

    def route(self, session: Session, sender: Path, recipient: Path) -> Route | None:
        """The route of one recipient; None where there is none."""
        for route in self._by_listener[session.listener]:
            if not _failed(route, session, sender, recipient):
                return route
        return None

    def default(self, listener: str) -> Route | None:
        """The route of ``postmaster`` without a domain: the listener's first."""
        routes = self._by_listener[listener]
        return routes[0] if routes else None

    def anywhere(self, recipient: Path) -> str:
        """Name of the backend of the first route that takes a recipient whoever sends; "" where there is none."""
        for route in self._settings.routes:
            if not (route.client or route.sni or route.user or route.sender) and (
                not route.recipient or route.recipient.matches(recipient.local, recipient.domain)
            ):
                return route.backend
        return ""

    def explain(self, session: Session, sender: Path, recipient: Path) -> list[Step]:
        """All routes that were asked, up to the one that won."""
        steps = []
        for route in self._settings.routes:
            failed = _failed(route, session, sender, recipient)
            if route.listener and session.listener not in route.listener:
                failed = "listener"
            steps.append(Step(route.number, route.backend, failed))
            if not failed:
                break
        return steps

    def backends(self, listener: str) -> list[Backend]:
        """Every backend that a listener's mail may go to."""
        names = dict.fromkeys([route.backend for route in self._by_listener[listener]] + self._by_rule[listener])
        backends: Mapping[str, Backend] = self._settings.backends
        return [backends[name] for name in names]

    def candidates(self, session: Session) -> list[Backend]:
        """Backends that are still possible once listener, client, SNI and user are known (AUTH relay needs one)."""
        names: dict[str, None] = {}
        for route in self._by_listener[session.listener]:
            if route.client and not route.client.contains(session.client_ip):
                continue
            if route.sni and not route.sni.matches(session.sni):
                continue
            if route.user and not route.user.matches(session.user):
                continue
            names[route.backend] = None
            if not route.sender and not route.recipient:
                break
        return [self._settings.backends[name] for name in names]

    def differs_by_recipient(self, listener: str) -> bool:
        """Whether two recipients of one message may go to two backends."""
        routes = self._by_listener[listener]
        return any(route.recipient for route in routes) and len({route.backend for route in routes}) > 1


def _reachable(routes: Iterable[Route], listener: str) -> tuple[Route, ...]:
    """The routes that a listener's mail is asked for, up to the one that takes all that comes to it."""
    found = []
    for route in routes:
        if not route.listener or listener in route.listener:
            found.append(route)
            if not (route.client or route.sni or route.user or route.sender or route.recipient):
                break
    return tuple(found)


def _failed(route: Route, session: Session, sender: Path, recipient: Path) -> str:
    if route.client and not route.client.contains(session.client_ip):
        return "client"
    if route.sni and not route.sni.matches(session.sni):
        return "sni"
    if route.user and not (session.user and route.user.matches(session.user)):
        return "user"
    if route.sender and not (
        route.sender.matches(sender.local, sender.domain) if sender is not NULL_SENDER else route.sender.matches("", "")
    ):
        return "sender"
    if route.recipient and not route.recipient.matches(recipient.local, recipient.domain):
        return "recipient"
    return ""
