"""Reports on TLS (RFC 8460): what is counted, what a report says, and where it is wanted."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.tls_report import FAULTS, addresses, day_of
from smtpgate.proxy import tls_reports as module
from smtpgate.proxy.guard import NOTHING, Published
from smtpgate.proxy.tls_reports import ASKED, KEPT_DAYS, TLSReports, wanted_at
from smtpgate.testing.resolver import FakeResolver
from tests.admin_kit import ApiCase, Desk

NOON = 1_795_780_800.0  # 2026-11-27 12:00 UTC
DAY = "2026-11-27"
STS = Published("sts", ("version: STSv1", "mode: enforce"), ("*.mx.example",))


class CountTests(SynchronousTestCase):
    """`TLSReports`."""

    def setUp(self) -> None:
        self.now = NOON
        self.reports = TLSReports(lambda: self.now)

    def one(self, domain: str = "a.example", day: str = DAY) -> dict[str, Any]:
        """The report for a domain."""
        (found,) = (
            one
            for one in self.reports.reports(day, "gate.example.com")
            if one["policies"][0]["policy"]["policy-domain"] == domain
        )
        return found

    def test_a_report(self) -> None:
        """As RFC 8460 section 4.4 has it."""
        for _ in range(3):
            self.reports.succeeded("a.example", STS)
        self.reports.failed("a.example", STS, "one.mx.example", "certificate-expired")
        self.reports.failed("a.example", STS, "one.mx.example", "certificate-expired")
        self.reports.failed("a.example", STS, "", "sts-policy-fetch-error")
        self.reports.succeeded("a.example", NOTHING)
        self.assertEqual(
            self.one(),
            {
                "organization-name": "gate.example.com",
                "date-range": {"start-datetime": "2026-11-27T00:00:00Z", "end-datetime": "2026-11-27T23:59:59Z"},
                "contact-info": "postmaster@gate.example.com",
                "report-id": "2026-11-27!a.example!gate.example.com",
                "policies": [
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-domain": "a.example",
                            "policy-string": ["version: STSv1", "mode: enforce"],
                            "mx-host": ["*.mx.example"],
                        },
                        "summary": {"total-successful-session-count": 3, "total-failure-session-count": 3},
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "failed-session-count": 2,
                                "receiving-mx-hostname": "one.mx.example",
                            },
                            {"result-type": "sts-policy-fetch-error", "failed-session-count": 1},
                        ],
                    },
                    {
                        "policy": {"policy-type": "no-policy-found", "policy-domain": "a.example"},
                        "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
                    },
                ],
            },
        )
        json.dumps(self.one())
        self.assertEqual(
            dict(self.reports.totals), {"success": 4, "certificate-expired": 2, "sts-policy-fetch-error": 1}
        )

    def test_days(self) -> None:
        """Each has its own; those that are long past are forgotten."""
        for number in range(KEPT_DAYS + 3):
            self.now = NOON + 86_400 * number
            self.reports.succeeded("a.example", NOTHING)
        self.assertEqual(len(self.reports.days), KEPT_DAYS)
        self.assertEqual(self.reports.days[-1], "2026-12-07")
        self.assertEqual(self.reports.reports(DAY, "x"), [])
        self.assertEqual(self.one(day="2026-12-07")["policies"][0]["summary"]["total-successful-session-count"], 1)

    def test_bounds(self) -> None:
        """Domains and servers are strangers' choice; what is beyond is counted in sum."""
        self.patch(module, "ROWS", 2)
        self.patch(module, "FAULTS", 3)
        for name in "abc":
            self.reports.succeeded(f"{name}.example", NOTHING)
        self.assertEqual(len(self.reports.reports(DAY, "x")), 2)
        self.assertEqual(self.reports.totals["success"], 3)
        for number in range(10):
            self.reports.failed("a.example", NOTHING, f"mx{number}", "certificate-expired")
        policy = self.one()["policies"][0]
        self.assertEqual(policy["summary"]["total-failure-session-count"], 10)
        self.assertEqual(len(policy["failure-details"]), 4)

    def test_kept(self) -> None:
        """Over a restart nothing is lost, and a row is written again only when it changed."""
        self.reports.failed("a.example", STS, "mx.example", "certificate-expired")
        self.reports.succeeded("b.example", NOTHING)
        rows = self.reports.changed(self.now, 1) + self.reports.changed(self.now, 10)
        self.assertEqual(len(rows), 2)
        self.assertEqual(self.reports.changed(self.now, 10), [])
        after = TLSReports(lambda: self.now)
        after.restore(json.loads(json.dumps(rows)), self.now)
        self.assertEqual(after.reports(DAY, "x"), self.reports.reports(DAY, "x"))
        after.failed("a.example", STS, "mx.example", "certificate-expired")
        ((key, value, expires),) = after.changed(self.now, 10)
        self.assertEqual((key, value["failures"]), (f"{DAY}|sts|a.example", [["certificate-expired", "mx.example", 2]]))
        self.assertGreater(expires, self.now + KEPT_DAYS * 86_400)


class AddressTests(SynchronousTestCase):
    """Where reports are wanted."""

    def test_records(self) -> None:
        """One record with addresses; several records are none (RFC 8460 section 3)."""
        for texts, wanted in (
            ([b"v=TLSRPTv1; rua=mailto:a@x.example"], ("mailto:a@x.example",)),
            (
                [b"v=TLSRPTv1;rua=https://x.example/r , mailto:a@x.example;", b"other"],
                ("https://x.example/r", "mailto:a@x.example"),
            ),
            ([b"v=TLSRPTv1; rua=http://x.example, ftp://y, mailto:"], ()),
            ([b"v=TLSRPTv1; rua=mailto:a@x", b"v=TLSRPTv1; rua=mailto:b@x"], ()),
            ([b"v=TLSRPTv10; rua=mailto:a@x"], ()),
            ([b"v=TLSRPTv1"], ()),
            ([b"\xff\xfe"], ()),
            ([], ()),
        ):
            self.assertEqual(addresses(texts), wanted, texts)

    def test_all_at_once(self) -> None:
        """Of a domain whose DNS fails nothing is known; not more than some are asked for together."""
        resolver = FakeResolver(
            {"_smtp._tls.a.example": {"TXT": "v=TLSRPTv1; rua=mailto:a@x"}, "_smtp._tls.b.example": "servfail"}
        )
        found = self.successResultOf(ensureDeferred(wanted_at(resolver, ["a.example", "b.example", "c.example"])))
        self.assertEqual(found, {"a.example": ("mailto:a@x",), "b.example": None, "c.example": ()})
        clock = Clock()
        slow = FakeResolver({f"_smtp._tls.d{number}.example": {"TXT": "x", "delay": 1} for number in range(100)}, clock)
        asked = ensureDeferred(wanted_at(slow, [f"d{number}.example" for number in range(100)]))
        for waiting in (ASKED, ASKED, ASKED, 100 - 3 * ASKED):
            self.assertEqual(slow.waiting, waiting)
            clock.advance(1)
        self.assertEqual(set(self.successResultOf(asked).values()), {()})

    def test_days(self) -> None:
        """A day is written in one way."""
        self.assertEqual(day_of(DAY), DAY)
        for text in ("", "2026-13-01", "20261127", "2026-11-27T00:00", "yesterday", "2026-W48-5"):
            self.assertRaises(ValueError, day_of, text)


class ApiTests(ApiCase):
    """GET /api/v1/tls-reports."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.owner = self.desk.token("owner")

    def test_reports_of_a_day(self) -> None:
        """Without a date those of the last day of which something is known."""
        self.assertEqual(self.get("/tls-reports"), {"days": [], "items": []})
        watch = self.desk.control.tls.reports
        watch.failed("a.example", STS, "mx.example", FAULTS[0])
        watch.succeeded("a.example", STS)
        found = self.get("/tls-reports")
        (day,) = found["days"]
        (one,) = found["items"]
        self.assertEqual(
            (one["domain"], one["successes"], one["failures"], one["wanted_at"]), ("a.example", 1, 1, None)
        )
        self.assertEqual(one["report"]["policies"][0]["failure-details"][0]["result-type"], "starttls-not-supported")
        self.assertEqual(self.get(f"/tls-reports?date={day}"), found)
        self.assertEqual(self.get("/tls-reports?date=2020-01-01")["items"], [])
        for number in range(600):
            watch.succeeded(f"b{number:03}.example", STS)
        pages = [self.get(f"/tls-reports?date={day}&after={after}")["items"] for after in ("", "b498.example")]
        self.assertEqual([len(page) for page in pages], [500, 101])
        self.assertEqual(len({one["domain"] for page in pages for one in page}), 601)
