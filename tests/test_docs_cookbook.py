"""docs/cookbook.md: each block is put to work, and mail is sent that it is about, and mail that it is not."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.examine.known import fingerprint_of, table_of
from smtpgate.plugins import find_factories
from smtpgate.policy.event import TransactionEnded
from smtpgate.proxy.reputation import Reputation
from smtpgate.proxy.services import Examination, FilterSettings, Ports, Services
from smtpgate.proxy.shared import Memory
from smtpgate.proxy.use import Use
from smtpgate.state.register_store import RegisterStore
from smtpgate.testing.ports import HTTP, Children, Table, no_connection
from smtpgate.testing.resolver import FakeResolver
from smtpgate.wiring import rules_of
from tests.files_kit import PROGRAM, compound, docx, macro_project, marked_encrypted, packed
from tests.script_kit import Backend, Client
from tests.vault_kit import VaultCase

PAGE = Path(__file__).parent.parent / "docs" / "cookbook.md"
BLOCKS: Final = {
    re.search(r'(?m)^name += "([^"]+)"', block)[1]: block  # type: ignore[index]
    for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}
CONFIG = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[listeners.mx]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[listeners.submission]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
relay_from = ["127.0.0.0/8"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{mail}"]
tls = "optional"
[backends.archive]
servers = ["127.0.0.1:{archive}"]
tls = "off"
[[routes]]
backend = "mail"
"""
PLAN = (
    "The northern works are sold in March to the family that built them, for nine million, and nobody may know of it. "
    + (
        " ".join(
            f"Chapter {n} of the plan says what hall {n} is worth, and who of the {n + 40} people there stays."
            for n in range(40)
        )
    )
)
KEY = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


def mail(
    text: str = "Hello.", subject: str = "x", head: str = "", author: str = "Ann <ann@example.org>", *files: Any
) -> bytes:
    """A message; `files` are names, types and contents."""
    top = f"From: {author}\r\nSubject: {subject}\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n{head}"
    if not files:
        return f"{top}Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n".encode()
    parts = [f"Content-Type: text/plain\r\n\r\n{text}\r\n"]
    for name, kind, content in files:
        coded = base64.encodebytes(content).decode().replace("\n", "\r\n")
        parts.append(
            f"Content-Type: {kind}; name={name}\r\nContent-Disposition: attachment; filename={name}\r\n"
            f"Content-Transfer-Encoding: base64\r\n\r\n{coded}"
        )
    body = "".join(f"--b\r\n{part}\r\n" for part in parts)
    return f"{top}Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}--b--\r\n".encode()


def with_file(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    """A message with one file."""
    return mail("Hello.", "x", "", "Ann <ann@example.org>", (name, kind, content))


@attrs.frozen
class Sent:
    """A message that is sent, to these at example.net where they have no domain.

    :ivar becomes: the last reply, how many messages each backend has, who is to have them, and what is held
    :ivar holds: of what arrives first
    """

    content: bytes
    becomes: str
    to: tuple[str, ...] = ("bob",)
    sender: str = "ann@example.org"
    listener: str = "mx"
    holds: bytes = b""


def out(content: bytes, becomes: str, *to: str, sender: str = "ann@example.net", holds: bytes = b"") -> Sent:
    """One that leaves."""
    return Sent(content, becomes, to or ("bob@example.org",), sender, "submission", holds)


HTML = b"<!DOCTYPE html><html><body><form action='https://x.example/'><input type=password></form></body></html>"
ZIP = packed({"a.txt": b"hello"})
ARRIVED, LEFT = "250 mail:1 bob", "250 mail:1 bob"
MANY = ", ".join(f"p{n}@d{n}.example" for n in range(6))
CUSTOMERS = [["Adelheid", "Musterfrau-Zeisig", "K-2039114"], ["Bertram", "Quellwasser", "K-7730122"]]

#: By the first rule of a block: mail that it is true of, and mail that it is not.
CASES: Final[dict[str, tuple[Sent, Sent]]] = {
    "from-outside": (
        Sent(mail(), ARRIVED, holds=b"Subject: [EXTERNAL] x"),
        out(mail(), LEFT, holds=b"Subject: x"),
    ),
    "no-programs": (
        Sent(with_file("a.zip", packed({"run.txt": PROGRAM})), "550 mail:0"),
        Sent(with_file("run.exe", b"Only a text, whatever its name is.\r\n"), ARRIVED),
    ),
    "macros-wait": (
        Sent(
            with_file("a.doc", compound(macro_project("Sub AutoOpen()\r\nEnd Sub\r\n", "Macros/"))),
            "250 mail:0 held:malware",
        ),
        Sent(with_file("a.docx", docx(body="<w:p><w:r><w:t>Hello</w:t></w:r></w:p>")), ARRIVED),
    ),
    "locked-archives-wait": (
        Sent(with_file("a.zip", marked_encrypted(ZIP)), "250 mail:0 held:policy"),
        Sent(with_file("a.zip", ZIP), ARRIVED),
    ),
    "look-alike-warning": (
        Sent(mail(author="Ann <ann@examp1e-partner.com>"), ARRIVED, holds=b"only looks like one that you know"),
        Sent(mail(), ARRIVED, holds=b"\r\n\r\nHello."),
    ),
    "spam-waits": (
        Sent(mail(author='"boss@example.net" <x@elsewhere.example>'), "250 mail:0 held:spam"),
        Sent(mail(), ARRIVED),
    ),
    "no-forms-for-support": (
        Sent(
            with_file("login.html", HTML, "text/html"),
            "250 mail:1 support",
            ("support",),
            holds=b"login.html was taken out",
        ),
        Sent(with_file("login.html", HTML, "text/html"), ARRIVED, holds=b"filename=login.html"),
    ),
    "partner": (
        Sent(with_file("a.zip", ZIP), ARRIVED, sender="x@partner.example"),
        Sent(with_file("a.zip", ZIP), "550 mail:0"),
    ),
    "noisy-robot": (
        Sent(mail(subject="[ok] build 1"), "250 mail:0 held:discarded", sender="robot@builds.example"),
        Sent(mail(subject="[failed] build 2"), ARRIVED, sender="robot@builds.example"),
    ),
    "carl-has-left": (
        Sent(mail(), "250 mail:2 bob dora", ("bob", "carl")),
        Sent(mail(), ARRIVED),
    ),
    "to-the-archive": (
        Sent(mail(), "250 mail:0 archive:1 archive-2019", ("archive-2019",)),
        Sent(mail(), ARRIVED),
    ),
    "no-cards-out": (
        out(mail("Card: 4111 1111 1111 1111, valid to 12/29"), "550 mail:0"),
        out(mail("Card: 4111 1111 1111 1111, valid to 12/29"), LEFT, "bob@example.net"),
    ),
    "personal-data-out": (
        out(mail("DE89370400440532013000, NL91ABNA0417164300, FR1420041010050500013M02606"), LEFT),
        out(mail("DE89370400440532013000"), LEFT),
    ),
    "no-secrets-out": (
        out(mail(f"The key is {KEY}"), "550 mail:0"),
        out(mail("The key is under the mat."), LEFT),
    ),
    "merger-plan": (
        out(mail(PLAN[: len(PLAN) // 2]), "250 mail:0 held:dlp"),
        out(mail(PLAN[: len(PLAN) // 10]), LEFT),
    ),
    "customers": (
        out(mail("\r\n".join(", ".join(row) for row in CUSTOMERS)), "550 mail:0"),
        out(mail(", ".join(CUSTOMERS[0])), LEFT),
    ),
    "large-mail-inside": (
        out(mail("x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 30_000), "550 mail:0", "bob@example.net"),
        out(mail("x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 30_000), LEFT),
    ),
    "use-bcc": (
        out(mail(head=f"To: {MANY}\r\n"), "550 mail:0", *(f"p{n}@d{n}.example" for n in range(6))),
        out(
            mail(head="To: ann@example.net\r\n"),
            "250 mail:1 p0 p1 p2 p3 p4 p5",
            *(f"p{n}@d{n}.example" for n in range(6)),
        ),
    ),
    "inside-and-outside": (
        out(mail(subject="Internal: figures"), "550 mail:0", "bob@example.net", "x@example.org"),
        out(mail(subject="Internal: figures"), "250 mail:1 bob carl", "bob@example.net", "carl@example.net"),
    ),
    "looks-like-a-partner": (
        out(mail(), "550 mail:0", "bob@northern-w0rks.example"),
        out(mail(), LEFT, "bob@northern-works.example"),
    ),
    "disclaimer": (
        out(mail(), LEFT, holds=b"Example Ltd, registered"),
        out(mail(), LEFT, "bob@example.net", holds=b"\r\n\r\nHello.\r\n"),
    ),
    "bank-over-tls": (
        out(mail(), "550 mail:0", "bob@bank.example"),
        out(mail(), LEFT),
    ),
    "board-journal": (
        Sent(mail(), "250 mail:2 bob journal"),
        Sent(mail(), "250 mail:1 carl", ("carl",)),
    ),
    "offers-to-the-auditors": (
        out(mail(subject="Offer 17"), "250 mail:2 audit bob"),
        out(mail(subject="No offer"), LEFT),
    ),
}


def envelopes(backend: Backend) -> list[str]:
    """The local parts of those who got something."""
    found: list[str] = []
    now: list[str] = []
    for line in backend.commands:
        if line == b"RSET" or line.startswith(b"MAIL"):
            now = []
        elif line.startswith(b"RCPT"):
            now.append(line.partition(b"<")[2].partition(b"@")[0].decode())
        elif line == b"DOT":
            found += now
    return found


class PageTests(SynchronousTestCase):
    """The page."""

    def test_every_block_is_played(self) -> None:
        """And no other."""
        self.assertEqual(set(BLOCKS), set(CASES))
        self.assertGreaterEqual(len(BLOCKS), 20)


class CookbookTests(VaultCase):
    """Each block, on the wire."""

    timeout = 120

    def uses(self, settings: Any, factories: Any) -> list[Use]:
        """Its filters and rules; jobs of children run at once, what is registered is real."""
        register = RegisterStore(self.folder, bytes(32))
        register.put("fingerprint", "merger-plan", fingerprint_of("merger-plan", [("a.txt", PLAN.encode())], bytes(32)))
        columns = ["first", "last", "number"]
        register.put("table", "customers", table_of("customers", columns, iter(CUSTOMERS), bytes(32), 2, 200))
        reputation = Reputation(time.time, lambda: settings)
        reputation.correspondents.learn("x", "northern-works.example", time.time())
        clock: Any = reactor
        ports = Ports(
            clock, lambda event: None, deferToThread, FakeResolver({}, clock), Children(), HTTP(), no_connection,
            lambda name: Table(time.time), Memory(clock), reputation, register,
        )  # fmt: skip
        known = FilterSettings(settings.hostname, settings.local_domains, settings.trusted_relays)
        examination = Examination({"limits": attrs.asdict(settings.content)})
        services, shadow = (Services(ports, known, examination, is_shadow) for is_shadow in (False, True))
        made = []
        for use in settings.filters:
            factory = factories[use.use]
            built = factory.build(use.options, services)
            made.append(Use.of(factory, use.name, built, use.roles, use.mode, use.on_error))
        return [*made, *rules_of(settings, services, shadow)]

    @inlineCallbacks
    def test_each_rule(self) -> Any:
        """Of the first message it is true, and what it says comes of that; of the second it is not."""
        for name, cases in CASES.items():
            for is_true, sent in zip((True, False), cases, strict=True):
                yield self.play(name, sent, is_true)

    def play(self, name: str, sent: Sent, is_true: bool) -> Deferred[Any]:
        """One message through a gateway with one block."""
        self.kind.folder = self.folder / f"{name}-{is_true}"
        self.kind.folder.mkdir()
        behind, archive = Backend(), Backend()
        self.addCleanup(behind.close)
        self.addCleanup(archive.close)
        text = CONFIG.replace("{mail}", str(behind.port)).replace("{archive}", str(archive.port)) + BLOCKS[name]
        factories, _ = find_factories()
        settings = loads(text, "/nowhere/gate.toml", factories)

        def script(gateway: Any) -> None:
            code = self.code(gateway, sent)
            self.assertTrue(gateway.idle())
            self.assertTrue(gateway.posted())
            transaction = gateway.told(TransactionEnded)[-1].transaction
            hit = {one.reason for one in transaction.findings if one.filter == "rules"}
            self.assertEqual(name in hit, is_true, f"{name}: {hit}")
            arrived = [f"mail:{len(behind.messages)}"]
            arrived += [f"archive:{len(archive.messages)}"] if archive.messages else []
            arrived += sorted(envelopes(behind) + envelopes(archive))
            arrived += [f"held:{one.held_as}" for one in gateway.held()]
            self.assertEqual(" ".join([code, *arrived]), sent.becomes, name)
            if sent.holds:
                self.assertIn(sent.holds, behind.messages[0], name)

        # The gateway of the kit gets its filters made.
        plain = re.sub(r"\[\[filters\]\]\n(?:\w+ += .*\n)+", "", text)
        return self.run_script(plain, script, self.uses(settings, factories))

    def code(self, gateway: Any, sent: Sent) -> str:
        """What the client hears last."""
        with Client(gateway.port(sent.listener)) as client:
            client.hello()
            client.say(b"MAIL FROM:<" + sent.sender.encode() + b">")
            for whom in sent.to:
                address = whom if "@" in whom else f"{whom}@example.net"
                refused = client.say(b"RCPT TO:<" + address.encode() + b">")
            reply = client.say(b"DATA")
            if reply[:3] == b"354":
                reply = client.say(sent.content + b".")
            elif refused[:1] in b"45":
                reply = refused
            return reply[:3].decode()
