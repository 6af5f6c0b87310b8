"""What the world is told of TLS for a domain of ours, held against the certificates of the listeners."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import ensureDeferred, succeed

from smtpgate.control.tls_promises import Promises
from smtpgate.control.views import Refused, Unavailable
from smtpgate.interfaces import HTTPFailed
from smtpgate.policy.names import Answer
from tests.admin_kit import CONFIG, ApiCase, Desk
from tests.test_admin_tls import NOW, make, pem

POLICY = b"version: STSv1\nmode: enforce\nmx: gate.example.com\nmax_age: 86400\n"


class Page:
    """An answer over HTTP."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body, self.status = body, status


class PromiseTests(ApiCase):
    """With a certificate of a known authority for gate.example.com."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
        self.addCleanup(shutil.rmtree, folder, True)
        root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = make("Root", root_key, days=900)
        self.leaf = make("gate", self.key, ("Root", root_key), names=("gate.example.com",))
        path = folder / "gate.pem"
        path.write_bytes(pem(self.key, self.leaf))
        self.authorities = [self.root.public_bytes(serialization.Encoding.DER)]
        self.desk = Desk(CONFIG.replace('tls = "off"', f'tls = "optional"\ncertificates = ["{path}"]', 1))
        self.owner = self.desk.token("owner")
        self.promises: Promises = self.desk.control.promises
        self.promises._wall = lambda: NOW.timestamp()
        self.records: dict[tuple[str, str], Answer] = {}
        self.page: Any = Page(POLICY)
        self.promises.lookup = lambda name, kind: succeed(self.records.get((name, kind), Answer("nxdomain")))
        self.promises.http = self
        self.put("example.net", "MX", (10, "gate.example.com"))
        key = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.digest = hashlib.sha256(key).hexdigest()

    def put(self, name: str, kind: str, *records: Any, signed: bool = True) -> None:
        self.records[name, kind] = Answer("ok", records, signed)

    def request(self, method: str, url: str, *more: Any) -> Any:
        self.assertEqual((method, url), ("GET", "https://mta-sts.example.net/.well-known/mta-sts.txt"))
        if isinstance(self.page, Exception):
            raise self.page

        async def answer() -> Any:
            return self.page

        return answer()

    def check(self, domain: str = "example.net") -> list[tuple[str, str]]:
        """Checks with their states."""
        self.found = self.successResultOf(ensureDeferred(self.promises.check(domain, self.authorities)))
        return [(one.check, one.state) for one in self.found]

    def sts(self, page: Any = None) -> None:
        self.put("_mta-sts.example.net", "TXT", b"v=STSv1; id=1")
        if page is not None:
            self.page = page

    def test_nothing_is_promised(self) -> None:
        """Which is no fault, and could be better."""
        self.assertEqual(self.check(), [("mx", "ok"), ("mta-sts", "warn"), ("tls-rpt", "warn"), ("dane", "ok")])
        self.assertTrue(all(one.fix for one in self.found if one.state != "ok"))

    def test_all_is_kept(self) -> None:
        """Policy, reports and TLSA."""
        self.sts()
        self.put("_smtp._tls.example.net", "TXT", b"v=TLSRPTv1; rua=mailto:tls@example.net")
        self.put("_25._tcp.gate.example.com", "TLSA", f"3 1 1 {self.digest}")
        self.assertEqual({state for _, state in self.check()}, {"ok"})

    def test_what_the_policy_asks_for(self) -> None:
        """Each MX host, and a certificate that the world believes; less strict where it is only tried."""
        self.put("example.net", "MX", (10, "gate.example.com"), (20, "other.example.net"))
        self.sts()
        texts = [one.text for one in self.found if one.state == "fail"] if self.check() else []
        self.assertEqual(texts, ["the policy does not name other.example.net, an MX host"])
        self.sts(Page(POLICY.replace(b"enforce", b"testing")))
        self.assertIn(("mta-sts", "warn"), self.check())
        self.assertNotIn(("mta-sts", "fail"), self.check())
        self.authorities = []
        self.sts(Page(POLICY + b"mx: other.example.net\n"))
        self.assertIn(("mta-sts", "fail"), self.check())

    def test_a_policy_that_cannot_be_had(self) -> None:
        """Whatever the reason, it says so."""
        for page in (Page(b"", 404), Page(b"nonsense"), HTTPFailed("no route")):
            self.sts(page)
            self.assertIn(("mta-sts", "fail"), self.check())
        self.put("_mta-sts.example.net", "TXT", b"v=STSv1; id=1", b"v=STSv1; id=2")
        self.assertIn(("mta-sts", "fail"), self.check())
        self.records["_mta-sts.example.net", "TXT"] = Answer("timeout")
        self.assertIn(("mta-sts", "warn"), self.check())

    def test_dane(self) -> None:
        """Another key is mail that does not come; unsigned it is none; no answer makes senders wait."""
        name = "_25._tcp.gate.example.com"
        self.put(name, "TLSA", f"3 1 1 {'0' * 64}")
        self.assertIn(("dane", "fail"), self.check())
        self.assertEqual(self.found[-1].fix, f"{name}. TLSA 3 1 1 {self.digest}")
        self.put(name, "TLSA", f"3 1 1 {'0' * 64}", signed=False)
        self.assertNotIn(("dane", "fail"), self.check())
        whole = hashlib.sha512(self.leaf.public_bytes(serialization.Encoding.DER)).hexdigest()
        self.put(name, "TLSA", f"3 0 2 {whole}")
        self.assertEqual(self.check()[-1], ("dane", "ok"))
        self.records[name, "TLSA"] = Answer("failed")
        self.assertEqual(self.check()[-1], ("dane", "fail"))

    def test_somebody_else_takes_its_mail(self) -> None:
        """Or nobody does."""
        self.put("example.net", "MX", (10, "mail.provider.example"))
        self.assertIn(("mx", "warn"), self.check())
        self.records["example.net", "MX"] = Answer("nodata")
        self.assertEqual(self.check(), [("mx", "fail")])

    def test_over_http(self) -> None:
        """Domains of ours only, one at a time; and by the form."""
        answer = self.post("/tls/promises", {"domain": "example.net"})
        self.assertEqual(answer["items"][0]["check"], "mx")
        self.post("/tls/promises", {"domain": "example.com"}, 409)
        head = {"Content-Type": "application/x-www-form-urlencoded"}
        page = self.desk.ask("POST", "/tls/promises", body=b"domain=example.net", headers=head, token=self.owner)
        self.assertEqual((page.status, "promises nothing by MTA-STS" in page.text), (200, True))
        self.promises._is_busy = True
        self.failureResultOf(ensureDeferred(self.promises.check("example.net")), Unavailable)
        self.failureResultOf(ensureDeferred(self.promises.check("evil.example")), Refused)
