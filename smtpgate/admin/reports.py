"""What browsers report, and whom to tell: pages that tried what their content policy forbids, and security.txt.

A report is what a browser says, or whoever writes like one: a short line in the log, a few in a minute, and counted
beyond that. It changes nothing and is answered alike whatever it holds. security.txt (RFC 9116) is for those who are
logged in, like all that says what runs here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from twisted.logger import Logger

from smtpgate.admin.answer import REPORTS, Answer, plain
from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import visible

#: Largest report. Browsers cut what they quote of a page (CSP3 section 5.3: 40 characters); addresses are what is long.
REPORT_OCTETS: Final = 16384
#: Lines of reports in a minute, from all browsers together.
REPORTS_A_MINUTE: Final = 10
#: security.txt says that it holds so long (RFC 9116 section 2.5.5: less than a year).
_HOLDS_S: Final = 30 * 86400
#: What a report may say, as browsers name it: in a body of `report-uri`.
_FIELDS: Final = ("effective-directive", "blocked-uri", "document-uri", "source-file")


class Reports:
    """Those that were heard."""

    log = Logger(namespace="smtpgate.admin")

    def __init__(self, wall: Callable[[], float]) -> None:
        """:param wall: seconds since the epoch"""
        self._wall = wall
        self._minute = 0
        self._heard = 0

    def hear(self, body: bytes, address: str) -> None:
        """Write one down, as far as there is room. Raises Refusal for what is no report."""
        if len(body) > REPORT_OCTETS:
            raise Refusal("too-large", 413, f"a report has at most {REPORT_OCTETS} octets")
        try:
            value = json.loads(body)
            said = value["csp-report"]
            told = {name: _place(str(said[name])) for name in _FIELDS if said.get(name)}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Refusal("malformed", 400, "that is no report of a browser") from None
        minute = int(self._wall() // 60)
        if minute != self._minute:
            if self._heard > REPORTS_A_MINUTE:
                left_out = self._heard - REPORTS_A_MINUTE
                self.log.warn("{left_out} more reports of pages in a minute were left out", left_out=left_out)
            self._minute, self._heard = minute, 0
        self._heard += 1
        if self._heard <= REPORTS_A_MINUTE:
            words = " ".join(f"{name}={visible(one, 200)}" for name, one in told.items())
            self.log.warn("a page was kept from what it may not, says {address}: {words}", address=address, words=words)


def _place(uri: str) -> str:
    """An address without what may be secret in it: links that were mailed have it in their path."""
    head, _, rest = uri.partition("://")
    if not rest:
        return head
    return f"{head}://{'/'.join(rest.partition('?')[0].split('/')[:2])}"


async def report(ask: Ask) -> Answer:
    """A browser kept a page from something."""
    ask.office.reports.hear(ask.request.body, ask.caller.address)
    return Answer(b"", 204)


async def security_txt(ask: Ask) -> Answer:
    """Whom to tell of a hole (RFC 9116): the postmaster, whom every host that takes mail has (RFC 5321 4.5.1)."""
    until = datetime.fromtimestamp(ask.office.wall() + _HOLDS_S, UTC)
    hostname = ask.office.control.settings.hostname
    return plain(f"Contact: mailto:postmaster@{hostname}\nExpires: {until:%Y-%m-%dT%H:%M:%SZ}\nPreferred-Languages: en")


_WEB = frozenset({"web"})

ROUTES = (
    Route("POST", REPORTS, "public", report, "word", "A browser kept a page from something", doors=_WEB),
    Route("GET", "/.well-known/security.txt", "self", security_txt, "word", "Whom to tell of a hole", is_own=True),
)
