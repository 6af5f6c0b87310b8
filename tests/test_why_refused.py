"""From a refusal to its reason: what a client was told, pasted as it is, opens the page that explains it.

A real gateway with SPF, DKIM, DMARC and rules, a real client, a backend that takes and refuses, a DNS of its own; asked
over HTTP as a browser without scripts asks, and by the command line.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import smtplib
import urllib.parse
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import dns.message
import dns.rcode
import dns.rrset

from smtpgate.cli import main
from tests.real_kit import RealCase, free_port, until

CLIENT = "203.0.113.9"
ZONE = {
    ("sender.example", "TXT"): '"v=spf1 ip4:198.51.100.0/24 -all"',
    ("_dmarc.sender.example", "TXT"): '"v=DMARC1; p=none"',
    ("good.example", "TXT"): f'"v=spf1 ip4:{CLIENT} -all"',
    ("_dmarc.good.example", "TXT"): '"v=DMARC1; p=reject"',
}
CONFIG = """
local_domains = ["example.net"]
[admin]
listen = "tcp:{admin}:interface=127.0.0.1"
[resolver]
servers = ["127.0.0.1:{dns}"]
[scores]
tag = 3
reject = 20
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
xclient_from = ["127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{backend}"]
tls = "off"
client_info = "off"
[[routes]]
recipient = ["example.net"]
backend = "mail"
[[filters]]
use = "spf"
[[filters]]
use = "dkim"
[[filters]]
use = "dmarc"
[[rules]]
name = "no-lotteries"
when = "subject.contains('lottery') && !attachments.exists(a, a.kind == 'executable')"
action = "reject"
reply = "550 5.7.1 Lotteries are not accepted here"
"""


class _Names(asyncio.DatagramProtocol):
    """A DNS that knows `ZONE`."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked)
        name, kind = asked.question[0].name, asked.question[0].rdtype.name
        text = ZONE.get((name.to_text(omit_final_dot=True).lower(), kind))
        if text is not None:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, text))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


async def backend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A mail server that calls a message Q7ZK01 and knows no "nobody"."""
    writer.write(b"220 mail.example.net ESMTP\r\n")
    while line := (await reader.readline()).upper():
        if line.startswith(b"DATA"):
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 2.0.0 Ok: queued as Q7ZK01\r\n")
        elif line.startswith(b"RCPT TO:<NOBODY"):
            writer.write(b"550 5.1.1 mail.example.net knows no such user\r\n")
        elif line.startswith(b"QUIT"):
            writer.write(b"221 2.0.0 bye\r\n")
            break
        else:
            writer.write(b"250 mail.example.net\r\n" if line.startswith(b"EHLO") else b"250 2.0.0 ok\r\n")
    writer.close()


class WhyRefusedTests(RealCase):
    """Messages through one gateway, each explained."""

    def setUp(self) -> None:
        super().setUp()
        background = self.background()
        names, servers = free_port(), free_port()
        loop = background.loop
        background.do(loop.create_datagram_endpoint(_Names, ("127.0.0.1", names)))
        background.do(asyncio.start_server(backend, "127.0.0.1", servers))
        self.admin = free_port()
        self.gate = self.gateway(CONFIG.format(admin=self.admin, dns=names, backend=servers))
        made = self.command("token", "add", "reader", "--role", "helpdesk")
        found = re.search(r"sgt_\w+", made)
        assert found is not None, made
        self.token = re.findall(r"sgt_[\w-]+", made)[0]

    def command(self, *words: str, code: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                ended = main(["--config", str(self.gate.config), *words])
            except SystemExit as ending:
                ended = ending.code if isinstance(ending.code, int) else 1
        self.assertEqual(ended, code, out.getvalue() + err.getvalue())
        return out.getvalue()

    def send(self, subject: str, recipient: str, sender: str = "ann@sender.example") -> tuple[str, str]:
        """One message from `CLIENT`; the whole reply that ended it, and its Message-ID."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
        mail["Message-ID"] = f"<{subject.replace(' ', '.')}@{sender.partition('@')[2]}>"
        mail.set_content("Hello")
        with smtplib.SMTP("127.0.0.1", self.gate.port()) as client:
            client.ehlo("mail.sender.example")
            client.docmd(f"XCLIENT ADDR={CLIENT} NAME=mail.sender.example")
            client.ehlo("mail.sender.example")
            client.mail(sender)
            code, text = client.rcpt(recipient)
            if code == 250:
                code, text = client.data(mail.as_bytes())
        return f"{code} {text.decode()}", mail["Message-ID"]

    def find(self, pasted: str) -> tuple[str, str]:
        """What the box of the pages leads to: the address where it ends, after one jump, and the page's text."""
        jumps: list[str] = []

        class Jumps(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *args: Any) -> Any:
                jumps.append(args[-1])
                return super().redirect_request(*args)

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Jumps())
        url = f"http://127.0.0.1:{self.admin}/search?{urllib.parse.urlencode({'q': pasted})}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})
        with opener.open(request, timeout=30) as answer:
            text = answer.read().decode()
        self.assertEqual(len(jumps), 1, jumps)
        return urllib.parse.urlsplit(answer.url).path, " ".join(re.sub(r"<[^>]*>", " ", text).split())

    def bounce(self, reply: str, message_id: str, has_reference: bool = True) -> bytes:
        """What the sender's server makes of a refusal, as Postfix writes it."""
        said = reply if has_reference else "550 5.7.1 refused"
        report = EmailMessage(policy=policy.SMTP)
        report["From"], report["Subject"] = "MAILER-DAEMON@sender.example", "Undelivered Mail Returned to Sender"
        report["Message-ID"] = "<20261128.report@sender.example>"
        host = "host gate.example.com[192.0.2.1]"
        report.set_content(f"<bob@example.net>: {host} said: {said} (in reply to end of DATA\n    command)\n")
        original = EmailMessage()
        original["Message-ID"] = message_id
        original.set_content("Hello")
        report.add_attachment(original)
        return report.as_bytes()

    def test_from_what_was_told_to_why(self) -> None:
        """A rule's refusal, a backend's, and mail that was taken: the page and the command name what there is."""
        refused, refused_id = self.send("you won the lottery", "bob@example.net")
        self.assertTrue(refused.startswith("550 5.7.1 Lotteries are not accepted here"), refused)
        unknown, _ = self.send("hello nobody", "nobody@example.net")
        self.assertTrue(unknown.startswith("550 5.1.1 mail.example.net knows no such user"), unknown)
        taken, taken_id = self.send("hello bob", "bob@example.net", "eve@good.example")
        self.assertTrue(taken.startswith("250 2.0.0 Ok: queued as Q7ZK01"), taken)
        reference = {text: text.split()[-1] for text in (refused, unknown, taken)}
        (started,) = self.gate.events("config.applied")
        revision = started["config_rev"]

        place, page = self.find(f"The server said:\n  {refused}\n")
        self.assertEqual(place, f"/sessions/{reference[refused]}")
        for wanted in (
            "no-lotteries",
            "550",
            "5.7.1",
            f"Lotteries are not accepted here {reference[refused]}",
            "spf-fail",
            "dkim",
            "dmarc",
            "sender.example",
            CLIENT,
            revision,
            "mail",
        ):
            self.assertIn(wanted, page)
        # Each filter's time and its share of the score stand there.
        for name in ("spf", "dkim", "dmarc", "rules"):
            self.assertRegex(page, rf"\b{name}\b")
        self.assertRegex(page, r"[0-9.]+ ms")

        place, page = self.find(unknown)
        self.assertEqual(place, f"/sessions/{reference[unknown]}")
        self.assertIn("mail.example.net knows no such user", page)
        self.assertIn("the backend", page)

        place, page = self.find(taken)
        self.assertEqual(place, f"/sessions/{reference[taken]}")
        for wanted in ("Q7ZK01", "queued as", "route 1", "spf-pass", revision):
            self.assertIn(wanted.lower(), page.lower())

        # Whatever only one message has opens it, too.
        until(lambda: self.gate_has(taken_id), "the history has it")
        for pasted, wanted in (
            (refused_id, refused),
            (refused_id.strip("<>"), refused),
            ("Q7ZK01", taken),
            ("eve@good.example", taken),
            ("from:good.example", taken),
            ("nobody@example.net", unknown),
            (self.bounce(refused, refused_id).decode(), refused),
            (self.bounce(refused, refused_id, has_reference=False).decode(), refused),
            (" ".join(self.bounce(refused, refused_id).decode().split()), refused),
        ):
            self.assertEqual(self.find(pasted)[0], f"/sessions/{reference[wanted]}", pasted)
        # What several have is a list.
        for pasted in (CLIENT, "203.0.113.0/24", "ann@sender.example", "bob@example.net"):
            place, page = self.find(pasted)
            self.assertEqual(place, "/messages")
            self.assertIn("you won the lottery", page, pasted)

        self.by_command(refused, refused_id, taken)

    def gate_has(self, message_id: str) -> bool:
        """The message can be searched for."""
        return bool(json.loads(self.command("messages", f"message-id:{message_id}", "--json"))["items"])

    def by_command(self, refused: str, refused_id: str, taken: str) -> None:
        """`smtpgate explain` and `smtpgate messages` say the same."""
        file = self.folder / "bounce.eml"
        reference = refused.split()[-1]
        for name, octets in (
            ("with its reference", self.bounce(refused, refused_id)),
            ("with the returned header only", self.bounce(refused, refused_id, has_reference=False)),
        ):
            file.write_bytes(octets)
            self.assertIsNotNone(message_from_bytes(octets)["Message-ID"])
            out = self.command("explain", str(file))
            self.assertIn(f"message {reference}", out, name)
        for words in ((reference,), (refused_id,), ("you", "won", "lottery"), ("said:", refused)):
            out = self.command("explain", *words)
            for wanted in (
                f"message {reference}",
                f"reply 550 5.7.1 Lotteries are not accepted here {reference}",
                "decided by rules: no-lotteries",
                "spf: spf-fail",
                " ms",
                "configuration revision",
                "for the sender:",
            ):
                self.assertIn(wanted, out, words)
        out = self.command("explain", "Q7ZK01")
        self.assertIn("route 1 to backend mail", out)
        self.assertIn("queued there as Q7ZK01", out)
        told = json.loads(self.command("explain", taken.split()[-1], "--json"))
        self.assertEqual(told["message"]["outcome"], "delivered")
        self.assertEqual(told["explanation"]["queue_id"], "Q7ZK01")
        self.assertIn("3 messages", self.command("explain", CLIENT))
        self.command("explain", "nothing.like.it", code=1)
        self.command("explain", code=2)
        found = json.loads(self.command("messages", "from:ann@sender.example", "verdict:refused", "--json"))
        self.assertEqual(len(found["items"]), 2)
        self.assertIn("no-lotteries", self.command("messages", "rule:no-lotteries"))
        self.assertEqual(self.command("messages", "nothing.like.it").strip(), "none")
        self.command("messages", "fro:x", code=1)
        # Somebody's address is taken out: their mail stays, and nothing leads from them to it.
        self.assertIn("2 messages", self.command("erase", "--address", "Ann@sender.example", "--reason", "a letter"))
        self.command("explain", "ann@sender.example", code=1)
        self.command("explain", refused_id, code=1)
        self.assertIn("from <erased>", self.command("explain", reference))
        self.assertIn("history.erase", self.command("audit", "list"))
