"""The gateway as a process before servers that a DNS server names: DANE over the wire, and counts that outlive it."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import sys
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.real_kit import Authority, Gateway, Process, RealCase, run
from tests.script_kit import EHLO, Backend, Client


class NameServer:
    """A DNS server on loopback that signs for all that it says (it sets AD)."""

    def __init__(self) -> None:
        self.zones: dict[tuple[str, str], str] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                octets, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            if octets == b"end":
                return
            query = dns.message.from_wire(octets)
            question = query.question[0]
            name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
            response = dns.message.make_response(query, recursion_available=True)
            response.flags |= dns.flags.AD
            text = self.zones.get((name, kind))
            if text is not None:
                response.answer.append(dns.rrset.from_text(question.name, 5, "IN", kind, text))
            else:
                if not any(one == name for one, _ in self.zones):
                    response.set_rcode(dns.rcode.NXDOMAIN)
                soa = "ns.example. root.example. 1 3600 600 86400 5"
                response.authority.append(dns.rrset.from_text(".", 5, "IN", "SOA", soa))
            self._socket.sendto(response.to_wire(), peer)

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()


def key_of(pem: Path) -> str:
    """SHA-256 of the key of a certificate, in hex."""
    certificate = x509.load_pem_x509_certificates(pem.read_bytes())[0]
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(key).hexdigest()


class Again(Gateway):
    """A gateway that has ended, started once more."""

    def __init__(self, old: Gateway) -> None:
        self.folder, self.config = old.folder, old.config
        twistd = Path(sys.executable).with_name("twistd")
        Process.__init__(self, old.folder, "again", twistd, "-n", "--pidfile=", "smtpgate", "--config", old.config)


class DaneTests(RealCase):
    """Mail that leaves."""

    def test_by_dane_and_over_a_restart(self) -> None:
        """A certificate that fits is taken, another is not; the report of the day has both, after a restart too."""
        names = NameServer()
        self.addCleanup(names.close)
        certificate = Authority(self.folder).issue("whatever.example")
        backend = Backend((), [*EHLO, "STARTTLS"], certificate=certificate)
        self.addCleanup(backend.close)
        for domain, key in (("good.example", key_of(certificate)), ("bad.example", "00" * 32)):
            names.zones[domain, "MX"] = f"10 mx.{domain}."
            names.zones[f"mx.{domain}", "A"] = "127.0.0.1"
            names.zones[f"_{backend.port}._tcp.mx.{domain}", "TLSA"] = f"3 1 1 {key}"
        names.zones["good.example", "TXT"] = '"x"'
        names.zones["_smtp._tls.good.example", "TXT"] = '"v=TLSRPTv1; rua=mailto:tls@good.example"'
        names.zones["null.example", "MX"] = "0 ."
        config = f"""
[resolver]
servers = ["127.0.0.1:{names.port}"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
relay_from = ["127.0.0.0/8"]
tls = "off"
[backends.world]
kind = "mx"
port = {backend.port}
allow_private = true
[[routes]]
backend = "world"
[[tls_policies]]
level = "dane"
recipient = ["good.example"]
"""
        gateway = self.gateway(config)
        with Client(gateway.port()) as client:
            client.hello()
            self.assertRegex(client.message(recipients=(b"a@good.example",)), rb"^250 ")
            client.say(b"MAIL FROM:<a@example.org>")
            self.assertRegex(client.say(b"RCPT TO:<a@bad.example>"), rb"^451 4\.7\.5 ")
            self.assertRegex(client.say(b"RCPT TO:<a@null.example>"), rb"^556 5\.1\.10 ")
            self.assertRegex(client.say(b"RCPT TO:<a@none.example>"), rb"^550 5\.1\.2 ")
            self.assertRegex(client.say(b"RCPT TO:<b@good.example>"), rb"^250 ")
            client.say(b"QUIT")
        self.assertEqual(len(backend.messages), 1)
        for connection in backend.connections:
            self.assertEqual([line for line in connection.in_clear if line[:4] in (b"MAIL", b"RCPT", b"DATA")], [])
        before = self.reports(gateway.config)
        self.assertEqual(
            [(one["policies"][0]["policy"]["policy-domain"], one["policies"][0]["summary"]) for one in before],
            [
                ("bad.example", {"total-successful-session-count": 0, "total-failure-session-count": 1}),
                ("good.example", {"total-successful-session-count": 1, "total-failure-session-count": 0}),
            ],
        )
        told = run(sys.executable, "-m", "smtpgate.cli", "--config", gateway.config, "tls-report")
        self.assertRegex(told.stdout, r"(?m)^good.example +1 +0 +mailto:tls@good.example$")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(), 0)
        self.assertEqual(gateway.crashed(), [])
        again: Again = self.start(Again(gateway))
        self.assertEqual(self.reports(again.config), before)

    def reports(self, config: Path) -> list[dict[str, dict[str, object]]]:
        """What the command line says."""
        told = run(sys.executable, "-m", "smtpgate.cli", "--config", config, "--json", "tls-report")
        self.assertEqual(told.returncode, 0, told.stderr)
        found: list[dict[str, dict[str, object]]] = json.loads(told.stdout)
        return found
