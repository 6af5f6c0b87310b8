"""Postfix and Dovecot as backends; swaks, smtp-source, Postfix and smtplib as clients; HAProxy in front.

Both legs with STARTTLS, verified. What is delivered is byte for byte what was sent, below the trace lines.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests import real_kit
from tests.real_kit import GATE, Authority, Dovecot, Gateway, Postfix, Process, RealCase, split_trace, until
from tests.script_kit import Client

#: What content may hold that a careless hop would change.
PARTS = (
    b"plain line\r\n",
    b".\r\n..\r\n...leading dots\r\n.x\r\n",
    b"trailing blanks  \t \r\n\r\n\r\n",
    b"x" * 990 + b"\r\n",
    "größer, 日本語\r\n".encode(),
    b"From the beginning of a line\r\n",
    b"--boundary--\r\n\tindented\r\n",
    b"\x01\x7f\x0b control\r\n",
    b"no dot at the end\r\n\r\n",
)


def make_message(number: int, recipient: str = "bob@example.net") -> bytes:
    """A message with every part, in an order of its own, and a folded field."""
    turn = number % len(PARTS)
    head = (
        f"From: Alice <alice@example.org>\r\nTo: {recipient}\r\nSubject: message {number}\r\n\tfolded\r\n"
        f"Date: Tue, 25 Nov 2025 10:00:00 +0000\r\nMessage-ID: <peers-{number}@example.org>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        "X-Empty:\r\nX-ODD-case:   three blanks before\r\n\r\n"
    )
    return head.encode() + b"".join(PARTS[turn:] + PARTS[:turn])


def stored_form(message: bytes) -> bytes:
    """As a Maildir keeps it."""
    return message.replace(b"\r\n", b"\n")


class PeerTests(RealCase):
    """One gateway before Postfix and Dovecot."""

    programs = ("postfix", "smtp-source", "dovecot", "swaks")

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.folder)
        certificate = self.authority.issue("mail.example.net")
        tls = f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {certificate}\nsmtpd_tls_loglevel = 1\n"
        xclient = "smtpd_authorized_xclient_hosts = 127.0.0.1\n"
        self.postfix: Postfix = self.start(Postfix(self.folder, "backend", tls + xclient))
        self.dovecot: Dovecot = self.start(Dovecot(self.folder, certificate, {"bob@lmtp.example.net": ""}))
        self.gate: Gateway = self.gateway(f"""
local_domains = ["example.net", "lmtp.example.net"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
certificates = ["{self.authority.issue(GATE)}"]
[listeners.behind]
listen = ["tcp:0:interface=127.0.0.1"]
certificates = ["{self.folder / (GATE + ".pem")}"]
proxy_protocol_from = ["127.0.0.1"]
[backends.smtp]
servers = ["127.0.0.1:{self.postfix.port}"]
tls = "verify"
tls_ca = "{self.authority.ca}"
tls_name = "mail.example.net"
client_info = "xclient"
[backends.lmtp]
servers = ["127.0.0.1:{self.dovecot.port}"]
protocol = "lmtp"
tls = "verify"
tls_ca = "{self.authority.ca}"
tls_name = "mail.example.net"
[[routes]]
recipient = ["lmtp.example.net"]
backend = "lmtp"
[[routes]]
backend = "smtp"
""")

    def take(self, server: Postfix | Dovecot, count: int) -> list[bytes]:
        """Wait for so many messages at a server; their content below the trace fields."""
        until(lambda: len(server.messages()) >= count and not server.queued(), f"{count} messages arrive")
        found = server.messages()
        self.assertEqual(len(found), count)
        return [split_trace(message)[1] for message in found]

    def done(self, count: int, backend: str) -> None:
        """All went through TLS to that backend, and nothing of ours failed."""
        done = until(lambda: len(got := self.gate.events("message.done")) >= count and got, "the log is written")
        self.assertEqual([line for line in done if line["outcome"] != "delivered"], [])
        self.assertEqual({(line["pool"], line["backend_tls"]) for line in done}, {(backend, "TLSv1.3")})
        self.assertEqual(self.gate.crashed(), [])

    def test_smtplib(self) -> None:
        """Python's client, STARTTLS verified, DATA with content that tempts, to both backends."""
        sent = [make_message(number) for number in range(18)]
        for domain in ("example.net", "lmtp.example.net"):
            with real_kit.smtp(self.gate.port()) as client:
                client.starttls(context=self.authority.context())
                for message in sent:
                    options = ["BODY=8BITMIME"]
                    client.sendmail("alice@example.org", [f"bob@{domain}"], message, options)
        for server in (self.postfix, self.dovecot):
            self.assertEqual(sorted(self.take(server, 18)), sorted(map(stored_form, sent)))
        done = self.gate.events("message.done")
        self.assertEqual({line["backend_tls"] for line in done}, {"TLSv1.3"})
        self.assertEqual({line["tls_version"] for line in done}, {"TLSv1.3"})
        self.assertEqual(self.gate.crashed(), [])
        self.figures("18 messages each to Postfix and Dovecot, byte for byte")

    def test_chunks_and_size(self) -> None:
        """BDAT in odd pieces under TLS, and 8 MB by DATA: both servers have every octet."""
        sent = [make_message(number) for number in range(len(PARTS))]
        large = make_message(100) + b"".join(PARTS) * 7000
        self.assertGreater(len(large), 8_000_000)
        for domain, server in (("example.net", self.postfix), ("lmtp.example.net", self.dovecot)):
            envelope = [b"MAIL FROM:<alice@example.org> BODY=8BITMIME", f"RCPT TO:<bob@{domain}>".encode()]
            with Client(self.gate.port()) as client:
                client.hello()
                client.say(b"STARTTLS")
                client.starttls()
                self.assertIn(b"CHUNKING", client.hello())
                for number, message in enumerate(sent):
                    replies = [client.say(line) for line in envelope]
                    cuts = [0, 1 + number, 300 + number, 301 + number, len(message)]
                    for start, end in pairwise(cuts):
                        last = b" LAST" if end == len(message) else b""
                        client.send(b"BDAT %d%s\r\n" % (end - start, last) + message[start:end])
                        replies.append(client.read())
                    self.assertEqual([reply[:3] for reply in replies], [b"250"] * 6, replies)
                replies = [client.say(line) for line in (*envelope, b"DATA")]
                stuffed = b"\r\n" + large
                reply = client.say(stuffed.replace(b"\r\n.", b"\r\n..")[2:] + b".")
                self.assertTrue(reply.startswith(b"250 "), (replies, reply))
            bodies = self.take(server, len(sent) + 1)
            self.assertEqual(set(bodies) ^ {stored_form(message) for message in [*sent, large]}, set())
        self.assertEqual(self.gate.crashed(), [])
        self.figures(f"{len(sent)} messages by BDAT and one of {len(large)} octets, to Postfix and Dovecot each")

    def test_swaks(self) -> None:
        """swaks with STARTTLS, one message for each backend."""
        for number, domain in enumerate(("example.net", "lmtp.example.net")):
            message = make_message(number)
            body = self.folder / f"swaks-{number}.eml"
            # swaks puts a line end of its own behind the file.
            body.write_bytes(stored_form(message)[:-1])
            made = real_kit.run(
                "swaks", "--server", f"127.0.0.1:{self.gate.port()}", "--tls", "--from", "alice@example.org",
                "--to", f"bob@{domain}", "--ehlo", "client.example.org", "--data", f"@{body}",
                "--tls-verify", "--tls-ca-path", self.authority.ca,
            )  # fmt: skip
            self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
            self.assertIn("TLS started with cipher TLSv1.3", made.stdout)
            server = (self.postfix, self.dovecot)[number]
            self.assertEqual(self.take(server, 1), [stored_form(message)])
        self.figures("2 messages")

    def test_smtp_source(self) -> None:
        """Postfix's load generator: many messages over many sessions, to both backends."""
        for domain, server in (("example.net", self.postfix), ("lmtp.example.net", self.dovecot)):
            made = real_kit.run(
                "smtp-source", "-m", 300, "-s", 15, "-l", 4000, "-M", "client.example.org", "-f", "alice@example.org",
                "-t", f"bob@{domain}", f"127.0.0.1:{self.gate.port()}",
            )  # fmt: skip
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            bodies = self.take(server, 300)
            self.assertEqual(len({body.partition(b"\n\n")[2] for body in bodies}), 1)
            ids = {line for body in bodies for line in body.split(b"\n") if line.startswith(b"Message-Id:")}
            self.assertEqual(len(ids), 300)
        done = until(lambda: len(got := self.gate.events("message.done")) >= 600 and got, "the log is written")
        self.assertEqual({line["outcome"] for line in done}, {"delivered"})
        self.assertEqual(self.gate.crashed(), [])
        self.figures("300 messages each to Postfix and Dovecot over 15 sessions")

    def test_postfix_client(self) -> None:
        """A Postfix that relays by the gateway and verifies its certificate; its replies and ours end in its log."""
        main = f"""
relayhost = [127.0.0.1]:{self.gate.port()}
default_transport = smtp
mynetworks = 127.0.0.0/8
smtp_tls_security_level = verify
smtp_tls_CAfile = {self.authority.ca}
smtp_tls_verify_cert_match = {GATE}
smtp_tls_loglevel = 1
"""
        sender: Postfix = self.start(Postfix(self.folder, "sender", main, ["@example.org"]))
        sent = {
            domain: [make_message(number) for number in range(20)] for domain in ("example.net", "lmtp.example.net")
        }
        with real_kit.smtp(sender.port) as client:
            for domain, messages in sent.items():
                for message in messages:
                    client.sendmail("alice@example.org", [f"bob@{domain}"], message, ["BODY=8BITMIME"])
        for server, domain in ((self.postfix, "example.net"), (self.dovecot, "lmtp.example.net")):
            self.assertEqual(sorted(self.take(server, 20)), sorted(map(stored_form, sent[domain])))
        until(lambda: len(sender.logged("status=sent")) == 40 and not sender.queued(), "the sender's queue is empty")
        self.assertTrue(sender.logged("Verified TLS connection established to 127.0.0.1"))
        self.assertEqual(self.gate.crashed(), [])
        self.figures("20 messages each to Postfix and Dovecot")

    def test_backend_certificate_of_another_name(self) -> None:
        """A backend whose certificate has another name gets no mail, and the client keeps it."""
        text = self.gate.config.read_text().replace('tls_name = "mail.example.net"', 'tls_name = "other.example.net"')
        other = self.gateway(text.partition("\n")[2].partition("\n")[2])
        for domain in ("example.net", "lmtp.example.net"):
            with real_kit.smtp(other.port()) as client:
                client.ehlo()
                client.mail("alice@example.org")
                code, reply = client.rcpt(f"bob@{domain}")
            self.assertEqual((code, reply[:5]), (451, b"4.7.5"), reply)
        self.assertEqual(self.postfix.messages() + self.dovecot.messages(), [])

    def test_haproxy(self) -> None:
        """HAProxy with send-proxy-v2 before the gateway, XCLIENT behind it: Postfix sees the client itself."""
        real_kit.need("haproxy")
        port = real_kit.free_port()
        conf = self.folder / "haproxy.cfg"
        conf.write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend mail
  bind 127.0.0.1:{port}
  default_backend gate
backend gate
  server gate 127.0.0.1:{self.gate.port("behind")} send-proxy-v2
""")
        self.start(HAProxy(self.folder, conf, port))
        sources = [f"127.0.{number}.{number + 7}" for number in range(1, 21)]
        sent = [make_message(number) for number in range(20)]
        for source, message in zip(sources, sent):
            with real_kit.smtp(port, source) as client:
                client.starttls(context=self.authority.context())
                client.sendmail("alice@example.org", ["bob@example.net"], message, ["BODY=8BITMIME"])
        bodies = self.take(self.postfix, 20)
        self.assertEqual(sorted(bodies), sorted(map(stored_form, sent)))
        seen = set()
        for stored in self.postfix.messages():
            fields, _ = split_trace(stored)
            received = [field for field in fields if field.startswith(b"Received:")]
            self.assertEqual(len(received), 2)
            for field in received:
                seen.add(field.partition(b"[")[2].partition(b"]")[0].decode())
        self.assertEqual(seen, set(sources))
        clients = {line.rpartition("client=")[2] for line in self.postfix.logged(": client=")}
        self.assertEqual(clients, {f"unknown[{source}]" for source in sources})
        self.done(20, "smtp")
        self.figures("20 client addresses seen by Postfix")


class HAProxy(Process):
    """A load balancer."""

    def __init__(self, folder: Path, conf: Path, port: int) -> None:
        self.port = port
        super().__init__(folder, "haproxy", "haproxy", "-db", "-f", conf)

    def ready(self) -> HAProxy:
        """Wait until it listens."""
        until(lambda: self.is_up(self.port), "haproxy listens")
        return self
