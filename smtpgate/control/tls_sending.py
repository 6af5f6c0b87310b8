"""Sends reports on TLS to the domains that ask for them (RFC 8460 section 5).

Once a day, at a time of its own within four hours after midnight in UTC, so that not all gateways come at once, the
reports of the day before go where `_smtp._tls` of each domain says: by mail through the outbox, signed like all that
the gateway writes and however the domain fails at its own TLS (section 3), or by HTTPS to public addresses. What was
done is kept over restarts; what failed, and whom the DNS said nothing of, is tried again until the next day. A gateway
that is killed between a report and its mark sends it twice, under one Report-ID.

Whoever gets mail from here chooses where his report goes: a receiver that does not answer keeps no other waiting long.
"""

from __future__ import annotations

import calendar
import gzip
import json
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from twisted.internet.defer import DeferredList

from smtpgate.control.tls import MOST, ReportView
from smtpgate.interfaces import HTTPFailed, StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Letter
from smtpgate.smtp.address import path_of

#: When it looks whether it is time, and when it tries again what failed.
LOOK_S: Final = 600.0
#: Within which the time of a gateway lies.
SPREAD_S: Final = 4 * 3600
_DAY_S: Final = 86_400
#: One report by HTTPS.
POST_S: Final = 30.0
#: Reports under way: 20,000 to receivers that do not answer, each another, take 21 hours.
AT_ONCE: Final = 8
_ANSWER_OCTETS: Final = 10_000
#: Reports of one day at most: as many domains as are counted.
_PAGES: Final = 100
_TYPE: Final = "application/tlsrpt+gzip"
_DONE: Final = "done"
_Way = tuple[str, Callable[[], Any]]


class TLSSending:
    """Sends them when it is time."""

    def __init__(
        self,
        control: Any,
        http: Callable[[Any], Any],
        clock: Any,
        table: Any,
        start: Callable[[Any], Any],
    ) -> None:
        """
        :param http: an `interfaces.IHTTPClient` that goes to public addresses only, given a resolver
        :param table: an `interfaces.ITable`
        :param start: a coroutine as a Deferred
        """
        self._control = control
        self._http = http
        self._clock = clock
        self._table = table
        self._start = start
        self._timer: Any = None
        self._is_at_work = False

    def open(self) -> None:
        """Look from time to time."""
        self._timer = self._clock.callLater(LOOK_S / 10, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK_S, self._look)
        if not self._is_at_work and self._control.settings.tls_reports.send:
            self._is_at_work = True
            self._start(self._work()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self._is_at_work = False
        failure.trap(StoreFailed)
        self._tell("error", f"no reports on TLS could be sent: {failure.value}")

    def _tell(self, level: str, message: str) -> None:
        if level == "info":
            self._control.engine.tell(Happened("tls_report.sent", "info", message))
        else:
            self._control.engine.tell(Happened("tls_report.failed", "error", message))

    async def _work(self) -> None:
        now = self._control.engine.wall()
        midnight = now - now % _DAY_S
        if now - midnight >= offset_s(self._control.settings.hostname):
            day = time.strftime("%Y-%m-%d", time.gmtime(midnight - 1))
            if await self._table.get(_DONE) != day and await self.send(day):
                await self._table.put(_DONE, day, 3 * _DAY_S)
        self._is_at_work = False

    async def send(self, day: str) -> bool:
        """The reports of a day; whether nothing is left to do.

        :param day: as 2026-11-27, in UTC
        """
        done: Counter[bool] = Counter()
        silent: set[str] = set()
        after = ""
        try:
            for _ in range(_PAGES):
                views = await self._control.tls.day(day, after)
                done[False] += sum(view.wanted_at is None for view in views)
                due = deque(way for view in views for way in self._ways(day, view, silent))
                workers = [self._start(self._work_off(due, done)) for _ in range(AT_ONCE)]
                for is_over, failure in await DeferredList(workers, consumeErrors=True):
                    if not is_over:
                        failure.raiseException()
                if len(views) < MOST:
                    break
                after = views[-1].domain
        finally:
            if done[True]:
                self._tell("info", f"{done[True]} reports on the TLS of {day}")
                self._control.engine.outbox.wake()
        return not done[False]

    async def _work_off(self, due: deque[_Way], done: Counter[bool]) -> None:
        """Send what is due until nothing is; `done` counts what was sent, and what was not."""
        while due:
            key, run = due.popleft()
            if await self._table.get(key) is None:
                is_sent = await run()
                if is_sent:
                    await self._table.put(key, 1, 3 * _DAY_S)
                done[is_sent] += 1

    def _ways(self, day: str, view: ReportView, silent: set[str]) -> list[_Way]:
        """What there is to do for one domain, each under a key of its own.

        :param silent: hosts that did not answer in this round
        """
        ways: list[_Way] = []
        for uri in view.wanted_at or ():
            key = f"{day}|{view.domain}|{zlib.crc32(uri.encode()):08x}"
            if uri.startswith("mailto:"):
                address = unquote(uri.removeprefix("mailto:").partition("?")[0])
                ways.append((key, partial(self._mail, view, address)))
            else:
                ways.append((key, partial(self._post, view, uri, silent)))
        return ways

    async def _mail(self, view: ReportView, address: str) -> bool:
        try:
            path_of(address)
        except ValueError:
            # Nobody can have it there.
            return True
        engine, settings = self._control.engine, self._control.settings
        octets = compose(view, address, _packed(view), settings.hostname, settings.outbox.sender, engine.wall())
        vault, now = engine.vault, engine.wall()
        body = await vault.begin()
        await body.write(octets)
        await body.finish()
        letter = Letter(
            id=vault.fresh_id(),
            kind="tls-report",
            at=now,
            expires=now + _DAY_S,
            body=body.name,
            octets=len(octets),
            sender="",
            recipients=(Addressee(address, state="waiting"),),
            backend=settings.tls_reports.backend,
            params={} if address.isascii() else {"SMTPUTF8": None},
            facts={"listener": "", "role": "submission", "started": now, "helo": settings.hostname},
            due=now,
        )
        await vault.post(letter, {})
        return True

    async def _post(self, view: ReportView, uri: str, silent: set[str]) -> bool:
        revision = self._control.current()
        resolver = next((one.resolver for one in revision.destinations.values()), None)
        if resolver is None:
            return True
        host = uri.removeprefix("https://").partition("/")[0].lower()
        if host in silent:
            return False
        headers = {"Content-Type": _TYPE}
        try:
            answer = await self._http(resolver).request("POST", uri, headers, _packed(view), POST_S, _ANSWER_OCTETS)
        except HTTPFailed as error:
            silent.add(host)
            self._tell("error", f"the report to {view.domain} could not be sent to {uri[:200]}: {error}")
            return False
        if not 200 <= answer.status < 300:
            self._tell("error", f"the report to {view.domain} was not taken by {uri[:200]}: {answer.status}")
            return False
        return True


def offset_s(hostname: str) -> float:
    """When after midnight a gateway sends them: always the same, and another for each."""
    return float(600 + zlib.crc32(hostname.encode()) % (SPREAD_S - 600))


def compose(view: ReportView, address: str, packed: bytes, hostname: str, sender: str, now: float) -> bytes:
    """The mail of one report (RFC 8460 sections 5.1 and 5.3)."""
    report = view.report
    began, ended = (_seconds(report["date-range"][name]) for name in ("start-datetime", "end-datetime"))
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"<{sender}>"
    mail["Subject"] = f"Report Domain: {view.domain} Submitter: {hostname} Report-ID: <{report['report-id']}>"
    mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
    mail["Message-ID"] = f"<tls-report.{began}.{view.domain}@{hostname}>"
    mail["TLS-Report-Domain"] = view.domain
    mail["TLS-Report-Submitter"] = hostname
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(
        f"This is a report on the TLS of mail to {view.domain}, as RFC 8460 has it.\n\n"
        f"Submitter: {hostname}\nDay: {report['date-range']['start-datetime'][:10]}\n"
        f"Sessions as they should be: {view.successes}\nSessions that failed: {view.failures}\n"
    )
    mail.add_attachment(
        packed,
        maintype="application",
        subtype="tlsrpt+gzip",
        filename=f"{hostname}!{view.domain}!{began}!{ended}.json.gz",
    )
    mail.set_type("multipart/report")
    mail.set_param("report-type", "tlsrpt")
    # The address is a stranger's, and goes in octet for octet: the library would decode what looks like an encoded word
    # in it, and fail where that has a line end.
    return b"To: <" + address.encode() + b">\r\n" + mail.as_bytes()


def _packed(view: ReportView) -> bytes:
    return gzip.compress(json.dumps(view.report).encode(), mtime=0)


def _seconds(moment: str) -> int:
    return calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
