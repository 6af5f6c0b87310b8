"""Each demand for protection with each behaviour of a server, over sockets: the stated reply, and nothing in clear.

The table stands in docs/tls.md, and is held against this test.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import Response
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from smtpgate.testing.ports import HTTP
from smtpgate.testing.resolver import FakeResolver
from smtpgate.wiring import rules_of
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, EHLO, REFERENCE, Backend, Client, Connection

DOCS = Path(__file__).parent.parent / "docs" / "tls.md"
STARTTLS = (*EHLO, "STARTTLS")
NAME = "mx.example.org"
#: What was sent, and must not be seen in clear.
SECRET = b"the quick brown secret"


def broken(connection: Connection) -> bytes:
    """STARTTLS is taken, and the handshake answered with something else."""
    connection.say(b"220 go on")
    connection.more()
    connection.sock.sendall(b"500 what is that?\r\n")
    return DROP


class Downgrade:
    """STARTTLS is offered to the first connection, the probe or a message before, and to none after that."""

    def __init__(self) -> None:
        self.seen: list[Connection] = []

    def __call__(self, connection: Connection) -> bytes:
        connection.has_mail, connection.recipients = False, 0
        if connection not in self.seen:
            self.seen.append(connection)
        words = ["PIPELINING", "8BITMIME"]
        if connection is self.seen[0] and not isinstance(connection.sock, ssl.SSLSocket):
            words.append("STARTTLS")
        lines = ["backend.example.net", *words]
        return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]).encode()


@attrs.frozen
class Server:
    """How a server behaves.

    :ivar certificate: self-signed, expired, wrong-name or right; "" for none
    """

    words: tuple[str, ...] = STARTTLS
    rules: tuple[tuple[bytes, Any], ...] = ()
    certificate: str = "right"


BEHAVIOURS: dict[str, Callable[[], Server]] = {
    "no STARTTLS": lambda: Server(EHLO, certificate=""),
    "STARTTLS refused, 454": lambda: Server(rules=((b"^STARTTLS", b"454 4.7.0 not now"),)),
    "STARTTLS refused, 502": lambda: Server(rules=((b"^STARTTLS", b"502 5.5.1 what?"),)),
    "handshake broken": lambda: Server(rules=((b"^STARTTLS", broken),)),
    "self-signed certificate": lambda: Server(certificate="self-signed"),
    "expired certificate": lambda: Server(certificate="expired"),
    "wrong name": lambda: Server(certificate="wrong-name"),
    "right certificate": lambda: Server(),
    "no STARTTLS from the second connection on": lambda: Server(rules=((b"^EHLO", Downgrade()),)),
}
CLEAR, SAFE = "in clear", "over TLS"
NEEDED, NO_TLS, FAILED = "550 5.7.10", "451 4.7.4", "451 4.7.5"
DEMANDS = ("nothing", "encrypted", "verified", "dane")
#: What becomes of mail through servers that are listed, by what is demanded; the backend has `tls = "optional"`. DANE
#: is for others, and refused when the configuration is loaded.
LISTED = {
    "no STARTTLS": (CLEAR, NEEDED, NEEDED),
    "STARTTLS refused, 454": (CLEAR, NO_TLS, NO_TLS),
    "STARTTLS refused, 502": (CLEAR, NEEDED, NEEDED),
    "handshake broken": (CLEAR, FAILED, FAILED),
    "self-signed certificate": (SAFE, SAFE, NEEDED),
    "expired certificate": (SAFE, SAFE, NEEDED),
    "wrong name": (SAFE, SAFE, NEEDED),
    "right certificate": (SAFE, SAFE, SAFE),
    "no STARTTLS from the second connection on": (CLEAR, NEEDED, NEEDED),
}
#: The same through servers that the DNS names, by what their domain publishes.
PUBLISHED = {
    ("nothing", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("nothing", "wrong name"): (SAFE, SAFE, NEEDED, NEEDED),
    ("nothing", "right certificate"): (SAFE, SAFE, SAFE, NEEDED),
    ("DANE-EE that fits", "right certificate"): (SAFE, SAFE, SAFE, SAFE),
    ("DANE-EE that fits", "wrong name"): (SAFE, SAFE, SAFE, SAFE),
    ("DANE-EE that fits", "expired certificate"): (SAFE, SAFE, SAFE, SAFE),
    ("DANE-EE that fits", "self-signed certificate"): (SAFE, SAFE, SAFE, SAFE),
    ("DANE-EE that fits", "no STARTTLS"): (NO_TLS, NO_TLS, NO_TLS, NO_TLS),
    ("DANE-EE that fits", "STARTTLS refused, 502"): (NO_TLS, NO_TLS, NO_TLS, NO_TLS),
    ("DANE-EE that fits", "handshake broken"): (FAILED, FAILED, FAILED, FAILED),
    ("DANE-EE of another key", "right certificate"): (FAILED, FAILED, FAILED, FAILED),
    ("DANE-TA that fits", "right certificate"): (SAFE, SAFE, SAFE, SAFE),
    ("DANE-TA that fits", "wrong name"): (FAILED, FAILED, FAILED, FAILED),
    ("DANE-TA that fits", "expired certificate"): (FAILED, FAILED, FAILED, FAILED),
    ("TLSA that cannot be used", "no STARTTLS"): (NO_TLS, NO_TLS, NEEDED, NEEDED),
    ("TLSA that cannot be used", "wrong name"): (SAFE, SAFE, NEEDED, NEEDED),
    ("TLSA without an answer", "right certificate"): (FAILED, FAILED, FAILED, FAILED),
    ("TLSA that is not signed", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("TLSA that is not signed", "right certificate"): (SAFE, SAFE, SAFE, NEEDED),
    ("MX that is not signed, with TLSA", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("address that is not signed, with TLSA", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("MTA-STS enforce", "right certificate"): (SAFE, SAFE, SAFE, NEEDED),
    ("MTA-STS enforce", "wrong name"): (FAILED, FAILED, FAILED, NEEDED),
    ("MTA-STS enforce", "self-signed certificate"): (FAILED, FAILED, FAILED, NEEDED),
    ("MTA-STS enforce", "expired certificate"): (FAILED, FAILED, FAILED, NEEDED),
    ("MTA-STS enforce", "no STARTTLS"): (NO_TLS, NO_TLS, NO_TLS, NEEDED),
    ("MTA-STS enforce", "no STARTTLS from the second connection on"): (SAFE, SAFE, SAFE, NEEDED),
    ("MTA-STS enforce, of other hosts", "right certificate"): (FAILED, FAILED, FAILED, NEEDED),
    ("MTA-STS testing", "self-signed certificate"): (SAFE, SAFE, NEEDED, NEEDED),
    ("MTA-STS testing", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("MTA-STS none", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("MTA-STS that cannot be fetched", "no STARTTLS"): (CLEAR, NEEDED, NEEDED, NEEDED),
    ("DANE-EE of another key, and MTA-STS enforce", "right certificate"): (FAILED, FAILED, FAILED, FAILED),
    ("DANE-EE that fits, and MTA-STS of other hosts", "self-signed certificate"): (SAFE, SAFE, SAFE, SAFE),
}


def _counted(fault: str, *rows: tuple[str, str]) -> dict[tuple[str, str], tuple[str, ...]]:
    return dict.fromkeys(rows, (fault,))


#: What is counted for the report of the domain (RFC 8460 section 4.3), where nothing is demanded; success where nothing
#: stands here.
COUNTED = {
    **_counted("starttls-not-supported", *(row for row in PUBLISHED if row[1] == "no STARTTLS")),
    **_counted("starttls-not-supported", ("DANE-EE that fits", "STARTTLS refused, 502")),
    **_counted(
        "validation-failure",
        ("DANE-EE that fits", "handshake broken"),
        ("DANE-EE of another key", "right certificate"),
        ("DANE-EE of another key, and MTA-STS enforce", "right certificate"),
        ("MTA-STS enforce, of other hosts", "right certificate"),
    ),
    **_counted("certificate-host-mismatch", ("DANE-TA that fits", "wrong name"), ("MTA-STS enforce", "wrong name")),
    **_counted(
        "certificate-expired",
        ("DANE-TA that fits", "expired certificate"),
        ("MTA-STS enforce", "expired certificate"),
    ),
    **_counted(
        "certificate-not-trusted",
        ("MTA-STS enforce", "self-signed certificate"),
        ("MTA-STS testing", "self-signed certificate"),
    ),
    **_counted("tlsa-invalid", ("TLSA that cannot be used", "wrong name")),
    **_counted("dnssec-invalid", ("TLSA without an answer", "right certificate")),
    ("MTA-STS that cannot be fetched", "no STARTTLS"): ("starttls-not-supported", "sts-policy-fetch-error"),
}


def tables() -> str:
    """Both tables as the document has them."""
    lines = [f"| a listed server | {' | '.join(DEMANDS[:3])} |", "|---" * 4 + "|"]
    lines += [f"| {behaviour} | {' | '.join(results)} |" for behaviour, results in LISTED.items()]
    lines += ["", f"| published | the server | {' | '.join(DEMANDS)} | counted |", "|---" * 7 + "|"]
    for row, results in PUBLISHED.items():
        cells = (*row, *results, ", ".join(COUNTED.get(row, ("success",))))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def policy(mode: str, host: str = NAME) -> bytes:
    """An MTA-STS policy."""
    return f"version: STSv1\nmode: {mode}\nmx: {host}\nmax_age: 86400\n".encode()


class MatrixCase(GatewayCase):
    """Certificates, zones and messages."""

    timeout = 240

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.ca = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self.certificates = {
            "right": self.issue(self.ca, NAME),
            "wrong-name": self.issue(self.ca, "mx.other.example"),
            "expired": self.issue(self.ca, NAME, not_before=now - 9 * day, not_after=now - day),
            "self-signed": Path(self.certificate()),
        }

    def issue(self, ca: trustme.CA, *names: str, **more: Any) -> Path:
        """A certificate with key and chain in one file."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        issued = ca.issue_cert(*names, **more)
        chain = issued.private_key_pem.bytes() + b"".join(one.bytes() for one in issued.cert_chain_pems)
        # The authority comes along: DANE-TA needs it (RFC 7671 section 5.2.2).
        path.write_bytes(chain + ca.cert_pem.bytes())
        path.chmod(0o600)
        return path

    def server(self, behaviour: str) -> Backend:
        """A server that behaves so."""
        made = BEHAVIOURS[behaviour]()
        certificate = self.certificates.get(made.certificate)
        backend = Backend(made.rules, made.words, certificate=certificate)
        self.addCleanup(backend.close)
        return backend

    def digest(self, behaviour: str) -> str:
        """SHA-256 of the key that such a server has, in hex."""
        path = self.certificates[BEHAVIOURS[behaviour]().certificate or "right"]
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(key).hexdigest()

    def authority(self) -> str:
        """SHA-256 of our authority's certificate, in hex."""
        (certificate,) = x509.load_pem_x509_certificates(self.ca.cert_pem.bytes())
        return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def policies(self, demand: str) -> str:
        """The table of a demand."""
        return "" if demand == "nothing" else f'[[tls_policies]]\nlevel = "{demand}"\n'

    def send(self, gateway: TestGateway, recipient: bytes = b"b@example.net", header: bytes = b"") -> bytes:
        """The reply that settles a message."""
        with Client(gateway.port()) as client:
            client.hello()
            for line in (b"MAIL FROM:<a@example.com>", b"RCPT TO:<" + recipient + b">", b"DATA"):
                reply = client.say(line)
                if not reply.startswith((b"250", b"354")):
                    return reply
            return client.say(header + b"Subject: x\r\n\r\n" + SECRET + b"\r\n.")

    def outcome(self, reply: bytes, backend: Backend, has_envelope: bool = False) -> str:
        """What became of a message, in a word; nothing of one that was refused may have gone in clear.

        :param has_envelope: the demand came when the server had the envelope
        """
        carriers = [one for one in backend.connections if b"DATA" in [line[:4] for line in one.commands]]
        if reply.startswith(b"250 "):
            self.assertEqual([SECRET in one for one in backend.messages], [True])
            return CLEAR if carriers[-1].clear is None else SAFE
        self.assertEqual(backend.messages, [])
        self.assertEqual([one for one in backend.unfinished if SECRET in one], [])
        if not has_envelope:
            self.assertEqual([line for line in backend.commands if line[:4] in (b"MAIL", b"RCPT", b"DATA")], [])
        return " ".join(reply.decode().split()[:2])


class ListedTests(MatrixCase):
    """Servers that are listed."""

    def listed(self, backend: Backend, more: str) -> str:
        """A gateway before one."""
        keys = f'tls_name = "{NAME}"' + (f'\ntls_ca = "{self.ca_file}"' if "verified" in more else "")
        return self.config(backend.port, backend=keys, backend_tls="optional") + more

    @inlineCallbacks
    def test_each_demand_with_each_behaviour(self) -> Iterator[Deferred[Any]]:
        """As `LISTED` says."""
        found: dict[str, tuple[str, ...]] = {}
        for behaviour in LISTED:
            for demand in DEMANDS[:3]:
                backend = self.server(behaviour)
                text = self.listed(backend, self.policies(demand))
                reply = yield self.run_script(text, self.send)
                found[behaviour] = (*found.get(behaviour, ()), self.outcome(reply, backend))
        self.assertEqual(found, LISTED)


class NamedCase(MatrixCase):
    """Mail that goes where the DNS says."""

    def named(self, port: int, more: str = "") -> str:
        """A gateway whose mail goes where the DNS says."""
        return f"""
hostname = "gate.example.com"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
tls = "off"
relay_from = ["127.0.0.0/8"]
[backends.out]
kind = "mx"
port = {port}
allow_private = true
tls_ca = "{self.ca_file}"
[[routes]]
backend = "out"
{more}"""


class PublishedTests(NamedCase):
    """Servers that the DNS names."""

    def zones(self, publication: str, behaviour: str) -> dict[str, Any]:
        """What the DNS says."""
        signed = "TLSA" in publication or "DANE" in publication
        key = self.digest(behaviour)
        if "another key" in publication:
            key = hashlib.sha256(b"another").hexdigest()
        tlsa: Any = {"TLSA": f"3 1 1 {key}", "authentic": publication != "TLSA that is not signed"}
        if "DANE-TA" in publication:
            tlsa["TLSA"] = f"2 0 1 {self.authority()}"
        elif "cannot be used" in publication:
            tlsa["TLSA"] = [f"1 1 1 {key}", "3 1 9 00", f"3 1 1 {key[:20]}"]
        elif "without an answer" in publication:
            tlsa = "servfail"
        zones: dict[str, Any] = {
            "example.org": {"MX": f"10 {NAME}", "authentic": signed and not publication.startswith("MX")},
            NAME: {"A": "127.0.0.1", "authentic": signed and not publication.startswith("address")},
        }
        if "DANE" in publication or "TLSA" in publication:
            zones[f"_{self.port}._tcp.{NAME}"] = tlsa
        if "MTA-STS" in publication:
            zones["_mta-sts.example.org"] = {"TXT": "v=STSv1; id=20261127;"}
        return zones

    def web(self, publication: str) -> HTTP:
        """Where the policy is."""
        http = HTTP()
        mode = re.search("enforce|testing|none", publication)
        hosts = "*.other.example" if "of other hosts" in publication else NAME
        text = policy(mode[0] if mode else "enforce", hosts)
        answer = Response(200, {"content-type": "text/plain; charset=utf-8"}, text)
        fetch = "cannot be fetched" not in publication
        http.answer = lambda *_: succeed(answer) if fetch else fail(HTTPFailed("no answer within 10 s"))
        return http

    @inlineCallbacks
    def test_each_demand_with_each_publication(self) -> Iterator[Deferred[Any]]:
        """As `PUBLISHED` says."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        counted: dict[tuple[str, str], dict[str, int]] = {}

        def script(gateway: TestGateway) -> tuple[bytes, dict[str, int]]:
            return self.send(gateway, b"b@example.org"), dict(gateway.control.tls.reports.totals)

        for publication, behaviour in PUBLISHED:
            for demand in DEMANDS:
                backend = self.server(behaviour)
                self.port = backend.port
                resolver = FakeResolver(self.zones(publication, behaviour))
                http = self.web(publication)
                text = self.named(backend.port, self.policies(demand))
                said: Any = yield self.run_script(text, script, resolver=resolver, http=http)
                reply, totals = said
                row = publication, behaviour
                counted.setdefault(row, totals)
                found[row] = (*found.get(row, ()), self.outcome(reply, backend))
        self.assertEqual(found, PUBLISHED)
        wanted = {row: COUNTED.get(row, ("success",)) for row in PUBLISHED}
        self.assertEqual({row: tuple(sorted(totals)) for row, totals in counted.items()}, wanted)
        self.assertTrue(all(set(totals.values()) == {1} for totals in counted.values()))


class NameTests(NamedCase):
    """Whose certificate counts, by what says that a host is a server of the domain."""

    HOST = "mx.provider.example"

    @inlineCallbacks
    def test_a_host_elsewhere(self) -> Iterator[Deferred[Any]]:
        """An unsigned answer proves nothing: the domain's own name counts then, and that of a host within it."""
        for names, signed, confirmed, host, wanted in (
            ([self.HOST], False, False, self.HOST, NEEDED),
            (["example.org"], False, False, self.HOST, SAFE),
            ([self.HOST], True, False, self.HOST, SAFE),
            (["example.org"], True, False, self.HOST, SAFE),
            ([self.HOST], False, True, self.HOST, SAFE),
            (["mx.example.org"], False, False, "mx.example.org", SAFE),
            (["mx.xexample.org"], False, False, "mx.xexample.org", NEEDED),
            (["*.org"], False, False, "mx.example.org", NEEDED),
        ):
            backend = Backend((), STARTTLS, certificate=self.issue(self.ca, *names))
            self.addCleanup(backend.close)
            zones: dict[str, Any] = {
                "example.org": {"MX": f"10 {host}", "authentic": signed},
                host: {"A": "127.0.0.1"},
            }
            http = HTTP()
            http.answer = lambda *_: succeed(
                Response(200, {"content-type": "text/plain"}, policy("testing", self.HOST))
            )
            if confirmed:
                zones["_mta-sts.example.org"] = {"TXT": "v=STSv1; id=1;"}
            text = self.named(backend.port, self.policies("verified"))
            reply = yield self.run_script(
                text,
                lambda gateway: self.send(gateway, b"b@example.org"),
                resolver=FakeResolver(zones),
                http=http,
            )
            self.assertEqual(self.outcome(reply, backend), wanted, (names, signed, confirmed, host))

    @inlineCallbacks
    def test_a_connection_that_is_kept(self) -> Iterator[Deferred[Any]]:
        """One that was opened for less proves no more to a later message of the session than a new one would."""
        for mode, signed, confirmed, wanted in (
            ("testing", False, False, NEEDED),
            ("testing", True, False, SAFE),
            ("testing", False, True, SAFE),
            ("none", False, False, NEEDED),
        ):
            backend = Backend((), STARTTLS, certificate=self.issue(self.ca, self.HOST))
            self.addCleanup(backend.close)
            zones: dict[str, Any] = {
                "example.org": {"MX": f"10 {self.HOST}", "authentic": signed},
                self.HOST: {"A": "127.0.0.1"},
                "_mta-sts.example.org": {"TXT": "v=STSv1; id=1;"},
            }
            http = HTTP()
            hosts = policy(mode, self.HOST if confirmed else "mx.example.org")
            http.answer = lambda *_, hosts=hosts: succeed(Response(200, {"content-type": "text/plain"}, hosts))

            def run(gateway: TestGateway, backend: Backend = backend) -> str:
                with Client(gateway.port()) as client:
                    client.hello()
                    for sender in (b"a@example.com", b"s@example.com"):
                        backend.messages.clear()
                        client.say(b"MAIL FROM:<" + sender + b">")
                        reply = client.say(b"RCPT TO:<b@example.org>")
                        if reply.startswith(b"250"):
                            client.say(b"DATA")
                            reply = client.say(b"Subject: x\r\n\r\n" + SECRET + b"\r\n.")
                return self.outcome(reply, backend, has_envelope=True)

            needs = '[[tls_policies]]\nlevel = "verified"\nsender = ["s@example.com"]\n'
            text = self.named(backend.port, needs)
            found = yield self.run_script(text, run, resolver=FakeResolver(zones), http=http)
            self.assertEqual(found, wanted, (mode, signed, confirmed))


class DowngradeTests(NamedCase):
    """Who can hinder answers of the DNS must not be able to take DANE away."""

    @inlineCallbacks
    def test_answers_that_do_not_come(self) -> Iterator[Deferred[Any]]:
        """A signed domain's mail waits for them; one that is not signed has nothing to lose."""
        for fault, signed, wanted in (
            ({"AAAA": "servfail"}, True, "451 4.4.3"),
            ({"A": "timeout"}, True, "451 4.4.3"),
            ({"CNAME": "servfail"}, True, FAILED),
            ({"AAAA": "servfail"}, False, CLEAR),
            ({"CNAME": "servfail"}, False, CLEAR),
        ):
            backend = self.server("no STARTTLS")
            zones = {
                "example.org": {"MX": f"10 {NAME}", "authentic": signed},
                NAME: {"A": "127.0.0.1", "faults": fault, "authentic": signed},
                f"_{backend.port}._tcp.{NAME}": {"TLSA": f"3 1 1 {'00' * 32}", "authentic": signed},
            }
            reply = yield self.run_script(
                self.named(backend.port),
                lambda gateway: self.send(gateway, b"b@example.org"),
                resolver=FakeResolver(zones),
            )
            self.assertEqual(self.outcome(reply, backend), wanted, (fault, signed))

    @inlineCallbacks
    def test_records_behind_an_alias(self) -> Iterator[Deferred[Any]]:
        """Those of the name that it stands for in the end come first, then its own (RFC 7672 section 2.2)."""
        fits, other = self.digest("right certificate"), "00" * 32
        for behind, own, wanted in ((fits, other, SAFE), (other, fits, FAILED), (None, fits, SAFE), (None, None, SAFE)):
            backend = self.server("right certificate")
            zones: dict[str, Any] = {
                "example.org": {"MX": f"10 {NAME}"},
                NAME: {"CNAME": "between.example"},
                "between.example": {"CNAME": "real.example"},
                "real.example": {"A": "127.0.0.1"},
            }
            for name, key in (("real.example", behind), (NAME, own)):
                if key is not None:
                    zones[f"_{backend.port}._tcp.{name}"] = {"TLSA": f"3 1 1 {key}"}
            reply = yield self.run_script(
                self.named(backend.port),
                lambda gateway: self.send(gateway, b"b@example.org"),
                resolver=FakeResolver(zones, is_authentic=True),
            )
            self.assertEqual(self.outcome(reply, backend), wanted, (behind, own))

    def test_names_beside_a_policy(self) -> Deferred[Any]:
        """With MTA-STS the certificate must be for the host too, whatever names a table of ours gives."""
        backend = Backend((), STARTTLS, certificate=self.issue(self.ca, "mail.bank.example"))
        self.addCleanup(backend.close)
        zones = {
            "example.org": {"MX": f"10 {NAME}"},
            NAME: {"A": "127.0.0.1"},
            "_mta-sts.example.org": {"TXT": "v=STSv1; id=1;"},
        }
        http = HTTP()
        http.answer = lambda *_: succeed(Response(200, {"content-type": "text/plain"}, policy("enforce")))
        text = self.named(backend.port, '[[tls_policies]]\nlevel = "verified"\nnames = ["mail.bank.example"]\n')

        def run(gateway: TestGateway) -> None:
            self.assertEqual(self.outcome(self.send(gateway, b"b@example.org"), backend), FAILED)

        return self.run_script(text, run, resolver=FakeResolver(zones), http=http)


class DocumentTests(SynchronousTestCase):
    """docs/tls.md."""

    def test_its_configuration_can_be_loaded(self) -> None:
        """All of it together, beside listeners of both kinds."""
        text = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[listeners.mx]
listen = ["tcp:25"]
[listeners.out]
listen = ["tcp:587"]
role = "submission"
relay_from = ["192.0.2.0/24"]
[backends.mail]
servers = ["192.0.2.10:25"]
[[routes]]
listener = "mx"
backend = "mail"
"""
        blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        settings = loads(text + "".join(blocks), "/nowhere/gate.toml")
        self.assertEqual((len(blocks), len(settings.tls_policies), settings.backends["world"].kind), (3, 2, "mx"))
        self.assertEqual((settings.tls_reports.send, settings.tls_reports.backend), (True, "world"))

    def test_has_the_tables(self) -> None:
        """As they are tested here."""
        self.assertIn(tables(), DOCS.read_text(encoding="utf-8"))


class StepTests(MatrixCase):
    """Rules that ask for TLS, at each step of a message."""

    STEPS = {
        "mail": "sender_domain == 'example.com'",
        "rcpt": "recipient == 'b@example.net'",
        "data": "recipients.size() == 1",
        "header": "subject == 'x'",
        "end": "size > 10",
    }

    def rule(self, step: str, level: str, more: str = "") -> str:
        """A rule that is judged at a step."""
        return f"""
[[rules]]
name = "secret"
when = "{self.STEPS[step]}"
action = "require-tls"
tls_level = "{level}"
{more}
"""

    def run_rule(
        self, backend: Backend, rule: str, script: Callable[[TestGateway], Any], **config: str
    ) -> Deferred[Any]:
        """A gateway with a rule before a backend."""
        keys = f'tls_name = "{NAME}"' + (f'\ntls_ca = "{self.ca_file}"' if '"verified"' in rule else "")
        text = self.config(backend.port, backend=keys, backend_tls="optional", **config) + rule
        services: Any = SimpleNamespace(clock=reactor)
        uses = rules_of(loads(text, "/nowhere/gate.toml"), services, services)
        return self.run_script(text, script, uses)

    def chunked(self, gateway: TestGateway) -> bytes:
        """The reply to a message by BDAT, in two chunks."""
        with Client(gateway.port()) as client:
            client.hello()
            for line in (b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.net>"):
                reply = client.say(line)
                if not reply.startswith(b"250"):
                    return reply
            head, body = b"Subject: x\r\n\r\n", SECRET + b"\r\n"
            reply = client.say(b"BDAT %d\r\n" % len(head) + head[:-2])
            if not reply.startswith(b"250"):
                return reply
            return client.say(b"BDAT %d LAST\r\n" % len(body) + body[:-2])

    @inlineCallbacks
    def test_a_server_that_has_no_tls(self) -> Iterator[Deferred[Any]]:
        """Refused, whenever it becomes known; no octet of content has gone there."""
        for step in self.STEPS:
            for send in (self.send, self.chunked):
                backend = self.server("no STARTTLS")
                reply = yield self.run_rule(backend, self.rule(step, "encrypted"), send)
                late = step not in ("mail", "rcpt")
                self.assertEqual(self.outcome(reply, backend, has_envelope=late), NEEDED, (step, send))
                self.assertEqual([one for one in backend.unfinished if one], [], step)
                self.assertEqual(backend.seen(b"^BDAT"), [], step)

    @inlineCallbacks
    def test_a_link_that_has_too_little_is_left(self) -> Iterator[Deferred[Any]]:
        """The message goes over another that has what it needs."""
        for step in self.STEPS:
            for level, send in (("encrypted", self.send), ("verified", self.send), ("encrypted", self.chunked)):
                backend = self.server("right certificate")
                # The probe and the first link of a message hear that there is no TLS now.
                backend.once += [(b"^STARTTLS", b"454 4.7.0 not now")] * 2

                def twice(gateway: TestGateway, send: Any = send) -> bytes:
                    reply: bytes = send(gateway)
                    return send(gateway) if reply.startswith(b"4") else reply

                reply = yield self.run_rule(backend, self.rule(step, level), twice)
                carriers = [one for one in backend.connections if one.commands and one.clear is not None]
                self.assertEqual(reply[:3], b"250", (step, level, reply))
                self.assertEqual([SECRET in one for one in backend.messages], [True])
                for one in backend.connections:
                    content = [line for line in one.in_clear if line[:4] in (b"BDAT",)]
                    self.assertEqual(content, [], (step, level))
                self.assertEqual(len(carriers), 1, (step, level))

    def test_a_link_in_clear_that_was_kept(self) -> Deferred[Any]:
        """A later message of the session that needs TLS does not go over it, and one that does not may."""
        backend = self.server("right certificate")
        backend.once += [(b"^STARTTLS", b"454 4.7.0 not now")] * 2

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for sender in (b"a@example.org", b"a@example.org", b"a@example.com", b"a@example.org"):
                    self.assertRegex(client.message(sender=sender), rb"^250 ")
            clear = [one for one in backend.connections if one.clear is None and b"DATA" in one.commands]
            safe = [one for one in backend.connections if one.clear is not None]
            self.assertEqual([one.commands.count(b"DATA") for one in clear], [2])
            # What was opened for the one that needs it serves those after it too.
            self.assertEqual([one.commands.count(b"DATA") for one in safe], [2])

        return self.run_rule(backend, self.rule("mail", "encrypted"), run)

    def test_recipients_who_need_more_than_others(self) -> Deferred[Any]:
        """They have a leg of their own, and the message goes to all of them."""
        backend = self.server("right certificate")
        backend.once += [(b"^STARTTLS", b"454 4.7.0 not now")] * 2

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(
                    client.message(recipients=(b"c@example.net", b"b@example.net", b"d@example.net")), rb"^250 "
                )
            asked = {
                line: one.clear is None
                for one in backend.connections
                for line in one.commands
                if line.startswith(b"RCPT")
            }
            self.assertEqual(
                asked,
                {
                    b"RCPT TO:<c@example.net>": True,
                    b"RCPT TO:<b@example.net>": False,
                    b"RCPT TO:<d@example.net>": True,
                },
            )
            self.assertEqual(len(backend.messages), 2)

        return self.run_rule(backend, self.rule("rcpt", "encrypted"), run)

    def test_a_recipient_who_cannot_have_it_leaves_the_others(self) -> Deferred[Any]:
        """It alone is refused."""
        backend = self.server("no STARTTLS")

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.com>")
                self.assertRegex(client.say(b"RCPT TO:<c@example.net>"), rb"^250 ")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^550 5\.7\.10 .*" + REFERENCE)
                self.assertRegex(client.say(b"DATA"), rb"^354 ")
                self.assertRegex(client.say(b"Subject: x\r\n\r\nhi\r\n."), rb"^250 ")

        return self.run_rule(backend, self.rule("rcpt", "encrypted"), run)

    @inlineCallbacks
    def test_in_shadow_nothing_changes(self) -> Iterator[Deferred[Any]]:
        """It goes in clear, and the finding says that it would not have."""
        for step in self.STEPS:
            backend = self.server("no STARTTLS")
            reply = yield self.run_rule(backend, self.rule(step, "encrypted", 'mode = "shadow"'), self.send)
            self.assertEqual(self.outcome(reply, backend), CLEAR, step)

    @inlineCallbacks
    def test_the_client_s_leg(self) -> Iterator[Deferred[Any]]:
        """Without TLS it is told so, before the backend hears of it where that is known; with TLS it is served."""
        certificate = f'certificates = ["{self.certificates["right"]}"]'
        for step in self.STEPS:
            wanted = "530 5.7.10" if step in ("mail", "rcpt", "data") else NEEDED

            def run(gateway: TestGateway, step: str = step, wanted: str = wanted) -> None:
                reply = self.send(gateway)
                self.assertTrue(reply.startswith(wanted.encode()), (step, reply))
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"STARTTLS")
                    client.starttls()
                    client.hello()
                    self.assertRegex(client.message(sender=b"a@example.com"), rb"^250 ", step)

            backend = self.server("no STARTTLS")
            rule = self.rule(step, "encrypted", 'leg = "client"')
            yield self.run_rule(backend, rule, run, tls="optional", listener=certificate)
            self.assertEqual([SECRET in one for one in backend.messages], [False])

    def test_a_policy_of_the_client_s_leg(self) -> Deferred[Any]:
        """By listener and recipient; a client certificate where that is asked for."""
        issued = self.issue(self.ca, "client.example.com")
        listener = f'certificates = ["{self.certificates["right"]}"]\nclient_ca = "{self.ca_file}"'
        backend = self.server("no STARTTLS")
        policy = """
[[tls_policies]]
level = "verified"
leg = "client"
listener = ["front"]
recipient = ["b@example.net"]
"""

        def run(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<a@example.com>")
                self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), rb"^530 5\.7\.10 ")
                self.assertRegex(client.say(b"RCPT TO:<c@example.net>"), rb"^250 ")
            for shown, wanted in ((None, rb"^550 5\.7\.10 "), (issued, rb"^250 ")):
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"STARTTLS")
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                    if shown is not None:
                        context.load_cert_chain(shown)
                    client.sock = context.wrap_socket(client.sock)
                    client.hello()
                    client.say(b"MAIL FROM:<a@example.com>")
                    self.assertRegex(client.say(b"RCPT TO:<b@example.net>"), wanted)

        return self.run_script(self.config(backend.port, tls="optional", listener=listener) + policy, run)

    @inlineCallbacks
    def test_a_filter_that_asks_too_late(self) -> Iterator[Deferred[Any]]:
        """The content has gone when it speaks: the server gets no end of it, and the client is told."""

        class Late:
            """Asks at the end, and does not say that messages must wait for it."""

            def session(self, session: Any) -> None:
                """Nothing."""

            def transaction(self, transaction: Any) -> Late:
                """The same for all."""
                return self

            def end(self) -> Finding:
                """What it asks for."""
                return Finding("secret", protects="encrypted")

            def close(self) -> None:
                """Nothing."""

        use = Use("late", Late(), frozenset({"end"}), frozenset({"mx"}))
        for behaviour, wanted in (("no STARTTLS", NEEDED), ("right certificate", SAFE)):
            backend = self.server(behaviour)
            text = self.config(backend.port, backend_tls="optional")
            reply: Any = yield self.run_script(text, self.send, [use])
            if wanted == SAFE:
                self.assertEqual(self.outcome(reply, backend), SAFE)
            else:
                self.assertRegex(reply, rb"^550 5\.7\.10 ")
                self.assertEqual(backend.messages, [])

    @inlineCallbacks
    def test_names_of_a_policy(self) -> Iterator[Deferred[Any]]:
        """The certificate must have one of them, and one of each policy that matches."""
        for names, wanted in (
            ((["mx.other.example"],), SAFE),
            ((["a.example", "mx.other.example"],), SAFE),
            (([NAME],), NEEDED),
            ((["mx.other.example"], [NAME]), NEEDED),
        ):
            backend = self.server("wrong name")
            tables = "".join(f'[[tls_policies]]\nlevel = "verified"\nnames = {one}\n' for one in names)
            text = self.config(backend.port, backend=f'tls_ca = "{self.ca_file}"', backend_tls="optional") + tables
            reply = yield self.run_script(text, self.send)
            self.assertEqual(self.outcome(reply, backend), wanted, names)
