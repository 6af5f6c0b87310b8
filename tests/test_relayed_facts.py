"""Who a message is from, where the client is not the sender: by PROXY, by XCLIENT, and by the Received line of a relay.

The gateway is the running one, over sockets; its checks of senders ask a DNS in memory. Each way brings one sender that
its domain allows and one that it does not, and the client's own address, loopback, must say nothing.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.patterns import NetworkList
from smtpgate.filters.sender.authres import factory as authres
from smtpgate.filters.sender.iprev import factory as iprev
from smtpgate.filters.sender.spf import factory as spf
from smtpgate.policy.event import TransactionEnded
from smtpgate.testing import Gateway, use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client

GOOD, BAD = "192.0.2.7", "198.51.100.9"
ZONES = {
    "example.org": {"TXT": f"v=spf1 ip4:{GOOD} -all"},
    "7.2.0.192.in-addr.arpa": {"PTR": "mail.example.org"},
    "mail.example.org": {"A": GOOD},
}
FOUND = {GOOD: {"spf-pass"}, BAD: {"spf-fail", "iprev-missing"}}
LINES = "From: alice@example.org\r\nSubject: x\r\n\r\nhello\r\n"


def received(ip: str) -> str:
    """The line that a relay of ours writes over what it took from that address."""
    return f"Received: from mail.example.org (unknown [{ip}])\r\n\tby relay.example.net (Postfix) with ESMTP id 1\r\n"


class RelayTests(GatewayCase):
    """Three ways of being told."""

    def ask(self, way: str, listener: str, relays: tuple[str, ...] = ()) -> Deferred[Any]:
        """Both senders by one way; what was found, and the facts of the session."""
        kit = Gateway(use(spf), use(iprev), use(authres), zones=ZONES)
        kit.services.settings = attrs.evolve(kit.services.settings, trusted_relays=NetworkList(relays))
        # The filters are those of the kit; the engine around them is the running one.
        return self.drive(lambda gateway, backend: self.speak(way, gateway, backend), uses=kit._uses, listener=listener)

    def speak(self, way: str, gateway: TestGateway, backend: Backend) -> None:
        for ip in (GOOD, BAD):
            with Client(gateway.port(), greet=False) as client:
                if way == "proxy":
                    client.send(f"PROXY TCP4 {ip} 203.0.113.1 4711 25\r\n".encode())
                self.assertTrue(client.read().startswith(b"220"))
                client.hello()
                if way == "xclient":
                    told = client.say(f"XCLIENT ADDR={ip} PORT=4711 NAME=[UNAVAILABLE]".encode())
                    self.assertEqual(told[:3], b"220")
                    client.hello()
                for line in (b"MAIL FROM:<alice@example.org>", b"RCPT TO:<bob@example.net>"):
                    self.assertTrue(client.say(line).startswith(b"250"), line)
                self.assertTrue(client.say(b"DATA").startswith(b"354"))
                content = (received(ip) if way == "received" else "") + LINES
                self.assertTrue(client.say(content.encode() + b".").startswith(b"250"))
            self.assertTrue(gateway.until(lambda: len(gateway.told(TransactionEnded)) == (1 if ip == GOOD else 2)))
            transaction = gateway.told(TransactionEnded)[-1].transaction
            self.assertEqual({one.reason for one in transaction.findings}, FOUND[ip], (way, ip))
            self.assertTrue(all(ip in one.detail for one in transaction.findings), transaction.findings)
            self.assertEqual(transaction.session.client_ip, "127.0.0.1" if way == "received" else ip)
            self.assertEqual(transaction.session.peer_ip, "127.0.0.1")
            written = backend.messages[-1].decode()
            self.assertIn(f"spf={'pass' if ip == GOOD else 'fail'} smtp.mailfrom=alice@example.org", written)
            self.assertNotIn("[127.0.0.1]" if way != "received" else "spf=none", written)

    def test_by_a_load_balancer(self) -> Deferred[Any]:
        """The PROXY protocol."""
        return self.ask("proxy", 'proxy_protocol_from = ["127.0.0.0/8"]')

    def test_by_a_filter_before_us(self) -> Deferred[Any]:
        """XCLIENT."""
        return self.ask("xclient", 'xclient_from = ["127.0.0.0/8"]')

    def test_by_a_relay_of_the_house(self) -> Deferred[Any]:
        """A relay is believed in its own Received line, if it is one of those named."""
        return self.ask("received", "", ("127.0.0.0/8",))
