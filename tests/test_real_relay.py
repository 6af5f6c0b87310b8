"""Never an open relay: 200 envelopes of a stranger to foreign domains, in every spelling that ever fooled a server.

The Postfix behind the gateway would relay all of them, since the gateway is in its `mynetworks`: only the gateway
stands between. It refuses each at RCPT, and Postfix sees no transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.real_kit import Postfix, RealCase, until
from tests.script_kit import Client

#: Ours are example.net and every domain below example.org.
RECIPIENTS = (
    # Plain, and what looks like ours.
    b"victim@foreign.example",
    b"VICTIM@FOREIGN.EXAMPLE",
    b"Victim@Foreign.Example",
    b"victim@foreign.example.",
    b"victim@example.org",
    b"victim@EXAMPLE.ORG",
    b"victim@notexample.net",
    b"victim@example.net.foreign.example",
    b"victim@mail.example.net",
    b"victim@example.netx",
    b"victim@example.org.",
    b"victim@example",
    b"victim@net",
    b"victim@localhost",
    b"victim@gate.example.com",
    b"victim@xn--exmple-cua.net",
    b"victim@ex\xc3\xa4mple.net",
    # The local part names another host, the domain is ours.
    b"victim%foreign.example@example.net",
    b"victim%foreign.example@EXAMPLE.net",
    b"victim%40foreign.example@example.net",
    b"victim%a.example%foreign.example@example.net",
    b"foreign.example!victim@example.net",
    b"a.example!foreign.example!victim@sub.example.org",
    b'"victim@foreign.example"@example.net',
    b'"victim\\@foreign.example"@example.net',
    b'"victim%foreign.example"@example.net',
    b'"foreign.example!victim"@example.net',
    b'"@foreign.example:victim"@example.net',
    b'"<victim@foreign.example>"@example.net',
    b'"victim"%foreign.example@example.net',
    # Domain and local part both foreign, or two domains.
    b"victim%foreign.example@other.example",
    b"victim%example.net@foreign.example",
    b"example.net!victim@foreign.example",
    b'"victim@example.net"@foreign.example',
    b"victim@foreign.example@example.net",
    b"victim@example.net@foreign.example",
    b"victim@foreign.example%example.net",
    # Source routes.
    b"@example.net:victim@foreign.example",
    b"@example.net,@a.example.org:victim@foreign.example",
    b"@a.example.org:victim%foreign.example@example.net",
    b'@example.net:"victim@foreign.example"@example.net',
    # Literals.
    b"victim@[192.0.2.1]",
    b"victim@[127.0.0.1]",
    b"victim@[IPv6:2001:db8::1]",
    b"victim@[foreign.example]",
    b"victim@192.0.2.1",
    # No domain, or no address.
    b"victim",
    b"foreign.example!victim",
    b"victim@",
    b"victim@foreign.example>,<bob@example.net",
)
SENDERS = (b"spammer@foreign.example", b"", b"bob@example.net", b"spammer%example.net@other.example")
#: A session ends with its twentieth error; each envelope here makes two.
PER_SESSION = 5


def envelopes() -> Iterator[tuple[int, bytes, bytes]]:
    """Number, sender and recipient; the number of the sender is the way in which the client speaks too."""
    for way, sender in enumerate(SENDERS):
        for recipient in RECIPIENTS:
            yield way, sender, recipient


def commands(postfix: Postfix, verb: str) -> int:
    """How often a command was said to a Postfix, over all connections that are closed; refused ones count too."""
    lines = postfix.logged("disconnect from")
    found = [re.search(rf" {verb}=(?:\d+/)?(\d+)", line) for line in lines]
    return sum(int(match[1]) for match in found if match)


class RelayTests(RealCase):
    """A gateway of role mx before a Postfix that trusts it."""

    programs = ("postfix",)

    def hello(self, way: int) -> Client:
        """A session: plain, with HELO, under TLS, or plain for one that pipelines."""
        client = Client(self.port)
        if way == 1:
            client.say(b"HELO stranger.example")
            return client
        client.hello()
        if way == 2:
            self.assertTrue(client.say(b"STARTTLS").startswith(b"220"))
            client.starttls()
            client.hello()
        return client

    def attempt(self, client: Client, way: int, sender: bytes, recipient: bytes) -> list[bytes]:
        """Replies to MAIL, RCPT and DATA."""
        lines = [b"MAIL FROM:<" + sender + b">", b"RCPT TO:<" + recipient + b">", b"DATA"]
        if way != 3:
            return [client.say(line) for line in lines]
        client.send(b"\r\n".join(lines) + b"\r\n")
        return [client.read() for _ in lines]

    def bait(self, postfix: Postfix) -> None:
        """Ask it directly. A Postfix that has just begun may need more than one try: its parts start when asked."""
        for patience in (True, True, False):
            try:
                with Client(postfix.port) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<spammer@foreign.example>")
                    for recipient in RECIPIENTS[0], b"victim%foreign.example@example.net":
                        reply = client.say(b"RCPT TO:<" + recipient + b">")
                        self.assertTrue(reply.startswith(b"250"), reply)
                    client.say(b"QUIT")
                return
            except TimeoutError:
                if not patience:
                    raise

    def test_two_hundred_envelopes(self) -> None:
        """200 refusals with 5yz at RCPT; the backend has seen none of them; one honest message goes through."""
        main = """
mydestination = example.net
virtual_mailbox_domains =
local_transport = virtual
default_transport = discard
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
"""
        postfix: Postfix = self.start(Postfix(self.folder, "trusting", main, ["bob@example.net"]))
        # The bait is real: asked directly, this Postfix takes a foreign recipient, by name and by hack.
        self.bait(postfix)
        until(lambda: commands(postfix, "rcpt") >= 2, "Postfix tells of the bait")
        asked = commands(postfix, "rcpt"), commands(postfix, "data")
        gate = self.gateway(f"""
local_domains = ["example.net", "*.example.org"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{postfix.port}"]
[[routes]]
backend = "mail"
""")
        self.port = gate.port()
        before = len(postfix.logged("client="))
        wanted = list(envelopes())
        self.assertEqual(len(set(wanted)), 200)
        codes: dict[str, int] = {}
        for start in range(0, len(wanted), PER_SESSION):
            group = wanted[start : start + PER_SESSION]
            with self.hello(group[0][0]) as client:
                for way, sender, recipient in group:
                    mail, rcpt, data = self.attempt(client, way, sender, recipient)
                    self.assertTrue(mail.startswith(b"250 "), (sender, mail))
                    self.assertRegex(rcpt, rb"^5\d\d 5\.\d\.\d+ ", recipient)
                    self.assertRegex(data, rb"^5\d\d ", recipient)
                    codes[rcpt[:9].decode()] = codes.get(rcpt[:9].decode(), 0) + 1
                    self.assertTrue(client.say(b"RSET").startswith(b"250"))
        self.assertEqual(sum(codes.values()), 200)
        with Client(self.port) as client:
            client.hello()
            reply = client.message(b"Subject: honest\r\n\r\nhello\r\n", recipients=[b"bob@example.net"])
            self.assertTrue(reply.startswith(b"250 2.0.0"), reply)
        until(lambda: postfix.messages("bob@example.net") and not postfix.queued(), "the honest one is delivered")
        # Postfix counts the commands of each connection. One RCPT is honest, and behind the bait there is no other.
        until(lambda: commands(postfix, "data") > asked[1], "Postfix tells of the last connection")
        self.assertEqual((commands(postfix, "rcpt") - asked[0], commands(postfix, "data") - asked[1]), (1, 1))
        queued = postfix.logged("smtpd.*: client=")
        self.assertEqual(len(queued) - before, 1, queued)
        self.assertEqual(postfix.logged("NOQUEUE"), [])
        self.assertEqual(postfix.logged("victim"), [])
        # The bait itself, which was asked directly, ended before DATA.
        self.assertEqual(len(postfix.logged("status=sent")), 1)
        self.assertEqual(gate.crashed(), [])
        self.figures(f"200 of 200 refused at RCPT {codes}, 1 honest message delivered, Postfix asked for none of them")
