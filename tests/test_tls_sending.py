"""Reports on TLS are sent where domains ask for them: by mail whatever is wrong with their TLS, and by HTTPS."""

from __future__ import annotations

import email
import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control.tls_sending import AT_ONCE, SPREAD_S, TLSSending, offset_s
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import Response
from smtpgate.policy.protection import LENIENT, NO_NEED, Need
from smtpgate.policy.transaction import TLSFacts
from smtpgate.proxy.guard import Published
from smtpgate.testing.ports import HTTP, Table
from smtpgate.testing.resolver import FakeResolver
from tests.script_kit import Backend
from tests.test_tls_matrix import NAME, STARTTLS, NamedCase
from tests.vault_kit import VaultGateway

STS = Published("sts", ("version: STSv1", "mode: enforce"), ("mx.example.org",))
DAY_S = 86_400.0
KEYS = '[tls_reports]\nsend = true\n[outbox]\nsender = "gate@example.com"\n'


class NeedTests(SynchronousTestCase):
    """A link that was opened for a report."""

    def test_serves_reports_only(self) -> None:
        """It was held against nothing that its domain publishes; any link will do for a report."""
        self.assertFalse(NO_NEED.is_met(None, LENIENT))
        self.assertFalse(Need("encrypted").is_met(TLSFacts(), LENIENT))
        for one, other, wanted in (
            (NO_NEED, LENIENT, LENIENT),
            (LENIENT, NO_NEED, LENIENT),
            (LENIENT, Need("verified"), Need("verified")),
            (Need("verified"), LENIENT, Need("verified")),
        ):
            self.assertEqual(one.and_(other), wanted)
        for tls, opened_for in ((None, LENIENT), (None, NO_NEED), (TLSFacts(), Need("encrypted"))):
            self.assertTrue(LENIENT.is_met(tls, opened_for))


class ConfigTests(SynchronousTestCase):
    """What is asked for must be possible."""

    def test_a_gateway_takes_its_own_time(self) -> None:
        """The same each day, in the first four hours."""
        times = {offset_s(f"gate{number}.example.com") for number in range(200)}
        self.assertTrue(all(600 <= one < SPREAD_S for one in times))
        self.assertGreater(len(times), 190)


class SendingTests(NamedCase):
    """A gateway that counted yesterday."""

    def run_sending(
        self,
        wanted: str,
        script: Callable[[VaultGateway, Any], Any],
        certificate: str = "right",
        http: Any = None,
        others: Mapping[str, Any] = MappingProxyType({}),
    ) -> Deferred[Any]:
        """Run a script; `send(day)` sends the reports.

        :param wanted: the record of the domain that was mailed to
        :param others: more domains that were mailed to, and what stands at their names
        """
        folder = Path(self.mktemp()).absolute()
        http = http or HTTP()

        class Own(VaultGateway):
            """Over a folder of this test."""

        Own.folder = folder
        self.kind = Own
        self.table = Table(time.time)
        self.backend = Backend((), STARTTLS, certificate=self.certificates[certificate])
        self.addCleanup(self.backend.close)
        zones: dict[str, Any] = {
            "_smtp._tls.example.org": {"TXT": wanted},
            "reports.example": {"MX": f"10 {NAME}"},
            NAME: {"A": "127.0.0.1"},
            "_mta-sts.reports.example": {"TXT": "v=STSv1; id=1;"},
        }
        policy = b"version: STSv1\nmode: enforce\nmx: other.example\nmax_age: 86400\n"
        self.names = FakeResolver(zones | {f"_smtp._tls.{name}": what for name, what in others.items()})
        web = HTTP()
        web.answer = lambda *_: succeed(Response(200, {"content-type": "text/plain"}, policy))

        def run(gateway: VaultGateway) -> Any:
            reports = gateway.control.tls.reports
            reports._wall = lambda: time.time() - DAY_S
            gateway.in_reactor(lambda: reports.succeeded("example.org", STS))
            for other in others:
                gateway.in_reactor(reports.succeeded, other, STS)
            gateway.in_reactor(lambda: reports.failed("example.org", STS, NAME, "certificate-expired"))
            reports._wall = time.time
            sending = TLSSending(gateway.control, lambda resolver: http, Clock(), self.table, ensureDeferred)
            day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - DAY_S))
            return script(gateway, lambda: gateway.in_reactor(lambda: ensureDeferred(sending.send(day))))

        text = self.named(self.backend.port, KEYS)
        return self.run_script(text, run, resolver=self.names, http=web)  # type: ignore[arg-type]

    @inlineCallbacks
    def test_by_mail_whatever_is_wrong(self) -> Iterator[Deferred[Any]]:
        """The domain of the address publishes a policy that its server does not keep, and has the report all the same,
        once; the way there is not counted."""

        def script(gateway: VaultGateway, send: Callable[[], bool]) -> None:
            self.assertTrue(send())
            self.assertTrue(gateway.posted())
            self.assertTrue(send())
            self.assertTrue(gateway.posted())
            (octets,) = self.backend.messages
            mail = email.message_from_bytes(octets)
            self.assertEqual(mail.get_content_type(), "multipart/report")
            self.assertEqual(mail.get_param("report-type"), "tlsrpt")
            self.assertEqual((mail["From"], mail["To"]), ("<gate@example.com>", "<tls+a@reports.example>"))
            self.assertEqual(
                (mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]), ("example.org", "gate.example.com")
            )
            self.assertRegex(
                " ".join(mail["Subject"].split()),
                r"^Report Domain: example\.org Submitter: gate\.example\.com Report-ID: <\S+>$",
            )
            words, packed = mail.get_payload()
            self.assertIn("Sessions that failed: 1", words.get_payload())
            self.assertEqual(packed.get_content_type(), "application/tlsrpt+gzip")
            self.assertRegex(packed.get_filename(), r"^gate\.example\.com!example\.org!\d+!\d+\.json\.gz$")
            report = json.loads(gzip.decompress(packed.get_payload(decode=True)))
            (row,) = report["policies"]
            self.assertEqual(row["failure-details"][0]["result-type"], "certificate-expired")
            self.assertEqual([line for line in self.backend.commands if line[:4] == b"MAIL"][0][:11], b"MAIL FROM:<")
            self.assertEqual(dict(gateway.control.tls.reports.totals), {"success": 1, "certificate-expired": 1})

        yield self.run_sending("v=TLSRPTv1; rua=mailto:tls%2Ba@reports.example", script, "self-signed")

    @inlineCallbacks
    def test_by_https(self) -> Iterator[Deferred[Any]]:
        """Tried again until it is taken, and no more then."""
        http = HTTP()
        answers: list[Any] = [
            lambda: fail(HTTPFailed("no answer within 30 s")),
            lambda: succeed(Response(503, {}, b"")),
            lambda: succeed(Response(202, {}, b"")),
        ]
        http.answer = lambda *_: answers.pop(0)()

        def script(gateway: VaultGateway, send: Callable[[], bool]) -> None:
            self.assertEqual([send() for _ in range(4)], [False, False, True, True])
            self.assertEqual(answers, [])
            method, url, headers, body = http.requests[0]
            self.assertEqual((method, url), ("POST", "https://reports.example/v1"))
            self.assertEqual(dict(headers), {"Content-Type": "application/tlsrpt+gzip"})
            self.assertEqual(json.loads(gzip.decompress(body or b""))["policies"][0]["policy"]["policy-type"], "sts")
            self.assertEqual(len(gateway.told_of("tls_report.failed")), 2)
            self.assertEqual(gateway.letters(), [])

        yield self.run_sending("v=TLSRPTv1; rua=https://reports.example/v1", script, http=http)

    @inlineCallbacks
    def test_one_domain_keeps_no_other_waiting(self) -> Iterator[Deferred[Any]]:
        """An address that looks as if it were encoded, a DNS that does not answer, and receivers that do not: all
        others have theirs, and who is not known of is asked again."""
        http = HTTP()
        silent: list[Deferred[Any]] = []

        def answer(method: str, url: str, *_: Any) -> Deferred[Any]:
            if "silent" in url:
                silent.append(Deferred())
                return silent[-1]
            return succeed(Response(200, {}, b""))

        http.answer = answer
        hidden = "v=TLSRPTv1; rua=mailto:=%3Futf-8%3Fq%3Fa=0D=0ABccx%3F=@reports.example"
        others: dict[str, Any] = {"a.example": {"TXT": hidden}, "b.example": "servfail"}
        others |= {
            f"c{place}.example": {"TXT": f"v=TLSRPTv1; rua=https://silent.example/{place}"} for place in range(50)
        }
        others["d.example"] = {"TXT": "v=TLSRPTv1; rua=https://good.example/"}

        def script(gateway: VaultGateway, send: Callable[[], bool]) -> None:
            def hang_up() -> None:
                for one in silent:
                    if not one.called:
                        one.errback(HTTPFailed("no answer within 30 s"))

            sending = Thread(target=lambda: said.append(send()))
            said: list[bool] = []
            sending.start()
            self.assertTrue(gateway.until(lambda: len(silent) == AT_ONCE))
            gateway.in_reactor(hang_up)
            sending.join(15)
            self.assertEqual(said, [False])
            self.assertEqual([url for _, url, _, _ in http.requests if "silent" not in url], ["https://good.example/"])
            self.assertEqual(len(silent), AT_ONCE)
            self.assertTrue(gateway.posted())
            to = {mail["To"] for mail in map(email.message_from_bytes, self.backend.messages)}
            self.assertEqual(to, {"<=?utf-8?q?a=0D=0ABccx?=@reports.example>", "<tls@reports.example>"})
            self.names.add({f"_smtp._tls.{name}": "nodata" for name in others if name[0] == "c"})
            self.names.add({"_smtp._tls.b.example": {"TXT": "v=TLSRPTv1; rua=https://late.example/"}})
            self.assertTrue(send())
            self.assertEqual(http.requests[-1][1], "https://late.example/")

        yield self.run_sending("v=TLSRPTv1; rua=mailto:tls@reports.example", script, http=http, others=others)

    @inlineCallbacks
    def test_not_wanted(self) -> Iterator[Deferred[Any]]:
        """Nothing is sent to who asks for none, or to an address that is none."""

        def script(gateway: VaultGateway, send: Callable[[], bool]) -> None:
            self.assertTrue(send())
            self.assertEqual(gateway.letters(), [])

        for record in ("v=spf1 -all", "v=TLSRPTv1; rua=mailto:%00@reports.example"):
            yield self.run_sending(record, script)


class TimeTests(SynchronousTestCase):
    """When it looks."""

    def test_once_a_day(self) -> None:
        """After its time has come, for the day before; what is left is tried again; a restart sends nothing twice."""
        asked: list[str] = []
        left = [False]
        midnight = 1_795_737_600.0

        class Known:
            """What it uses of the gateway."""

            class settings:  # noqa: N801
                """Of the configuration."""

                hostname = "gate.example.com"

                class tls_reports:  # noqa: N801
                    """On."""

                    send = True

            class engine:  # noqa: N801
                """The clock."""

                wall = staticmethod(lambda: self.now)

        table = Table(lambda: self.now)
        at = offset_s("gate.example.com")

        class Sending(TLSSending):
            """That sends nothing."""

            async def send(self, day: str) -> bool:
                asked.append(day)
                return not left[0]

        for now, is_left, wanted in (
            (midnight + at - 1, False, []),
            (midnight + at + 1, True, ["2026-11-26"]),
            (midnight + at + 601, False, ["2026-11-26"]),
            (midnight + at + 1201, False, []),
            (midnight + DAY_S + at - 1, False, []),
            (midnight + DAY_S + at + 1, False, ["2026-11-27"]),
        ):
            self.now, left[0] = now, is_left
            clock = Clock()
            sending = Sending(Known, lambda _: None, clock, table, ensureDeferred)
            sending.open()
            clock.advance(61)
            sending.close()
            self.assertEqual((now - midnight, asked), (now - midnight, wanted))
            self.assertEqual(clock.getDelayedCalls(), [])
            asked.clear()
