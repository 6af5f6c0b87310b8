"""What the tests of sender checks share: a gateway with zones, relays of its own, and one message through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from smtpgate.config.patterns import NetworkList
from smtpgate.policy.verdict import Finding
from smtpgate.testing import PLAIN, Client, Gateway, use

CLIENT = "192.0.2.7"
RELAY = "10.0.0.1"


def gateway(factory: Any, options: str = "", zones: Mapping[str, Any] | None = None, **kwargs: Any) -> Gateway:
    """A gateway with that one filter, behind which 10.0.0.0/8 are relays of ours."""
    made = Gateway(use(factory, options, **kwargs), zones=zones or {})
    # In place, since the filter has them already.
    made.services.settings = attrs.evolve(made.services.settings, trusted_relays=NetworkList(["10.0.0.0/8"]))
    return made


def deliver(
    made: Gateway,
    ip: str = CLIENT,
    helo: str = "mail.example.org",
    sender: str = "alice@example.org",
    content: str = PLAIN,
    recipients: Iterable[str] = ("bob@example.net",),
    wait_s: float = 0.0,
) -> Client:
    """A client that has sent one message; `wait_s` passes after each of its steps that is not answered at once.

    :return: the client, with its last reply as `greeting`
    """
    client = made.connect(ip)

    def hear(reply: str) -> str:
        if not reply and wait_s:
            made.advance(wait_s)
            reply = client.read()
        client.greeting = reply
        return reply

    hear(client.helo(helo))
    hear(client.mail(sender))
    for recipient in recipients:
        hear(client.rcpt(recipient))
    if hear(client.data()).startswith("354"):
        client.content(content.replace("\n", "\r\n").encode())
        hear(client.end())
    return client


def reasons(client: Client) -> list[str]:
    """What was found."""
    return [one.reason for one in client.findings]


def only(client: Client) -> Finding:
    """The one finding."""
    (found,) = client.findings
    return found


def relayed(ip: str = CLIENT, helo: str = "mail.example.org", name: str = "unknown") -> str:
    """A message as a relay of ours hands it on."""
    line = f"Received: from {helo} ({name} [{ip}])\n\tby relay.example.net (Postfix) with ESMTP id 1\n"
    return line + "\tfor <bob@example.net>; Wed, 7 Jan 2026 12:00:00 +0000 (UTC)\n" + PLAIN
