"""Mail about what is wrong, for those without a monitoring system (`[alerts]`).

One mail tells all that is new: what has lasted for `after`, what lasts still after `repeat`, and what was told of and
is over. What is muted is not told. What was told of is kept over restarts, so that none makes a second mail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from smtpgate.admin.text import clock_time, visible
from smtpgate.control import Control
from smtpgate.control.alerts import Alert
from smtpgate.control.views import Refused
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Letter

LOOK_S: Final = 15.0
_KEY: Final = "told"
_DAY_S: Final = 86400.0
#: Alerts that one mail names.
NAMED: Final = 50


class AlertMails:
    """Sends them."""

    def __init__(self, control: Control, clock: Any, table: Any, start: Callable[[Any], Any]) -> None:
        """
        :param table: an `interfaces.ITable`
        :param start: a coroutine as a Deferred
        """
        self._control = control
        self._clock = clock
        self._table = table
        self._start = start
        self._timer: Any = None
        self._is_at_work = False
        #: When what is wrong was told of last, and its words; None until it was read.
        self._told: dict[str, tuple[float, str]] | None = None

    def open(self) -> None:
        """Look from time to time."""
        self._timer = self._clock.callLater(LOOK_S, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK_S, self._look)
        if not self._is_at_work and self._control.settings.alerts.mail:
            self._is_at_work = True
            self._start(self._work()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self._is_at_work = False
        failure.trap(Refused, StoreFailed)
        # It is tried again at the next look. At level warning: it must not be told of itself.
        message = f"no mail about what is wrong could be written: {failure.value}"
        self._control.engine.tell(Happened("alert.mail_failed", "warning", message))

    async def _work(self) -> None:
        if self._told is None:
            found = await self._table.get(_KEY)
            self._told = {id: (float(at), str(text)) for id, at, text in found or ()}
        settings, now = self._control.settings.alerts, self._control.engine.wall()
        there = {one.id: one for one in self._control.alerts.now()}
        fresh = [one for one in self._control.mutes.unmuted(there.values()) if self._is_to_be_told(one, now)]
        over = [(id, text) for id, (_, text) in self._told.items() if id not in there]
        if fresh or over:
            await self._post(fresh, [text for _, text in over], now)
            told = {id: one for id, one in self._told.items() if id in there}
            told |= {one.id: (now, one.text) for one in fresh}
            self._told = told
            rows = [[id, at, text[:200]] for id, (at, text) in list(told.items())[:NAMED]]
            await self._table.put(_KEY, rows, 2 * settings.repeat_s + _DAY_S)
        self._is_at_work = False

    def _is_to_be_told(self, one: Alert, now: float) -> bool:
        settings = self._control.settings.alerts
        if one.level != "bad" and not settings.is_all or now - one.since < settings.after_s:
            return False
        last = (self._told or {}).get(one.id)
        # A clock that was stepped back silences nothing for years.
        return last is None or now - last[0] >= settings.repeat_s or last[0] > now + settings.repeat_s

    async def _post(self, fresh: list[Alert], over: list[str], now: float) -> None:
        engine, settings = self._control.engine, self._control.settings
        if engine.vault is None:
            raise Refused("this gateway has no place to keep mail")
        octets = self.compose(fresh, over, now)
        body = await engine.vault.begin()
        await body.write(octets)
        await body.finish()
        listener = next((name for name, one in settings.listeners.items() if one.role == "mx"), "")
        letter = Letter(
            id=engine.vault.fresh_id(),
            kind="notice",
            at=now,
            expires=now + _DAY_S,
            body=body.name,
            octets=len(octets),
            sender="",
            recipients=tuple(Addressee(address, state="waiting") for address in settings.alerts.mail),
            facts={"listener": listener, "role": "mx", "started": now, "helo": settings.hostname},
            due=now,
        )
        await engine.vault.post(letter, {})
        engine.outbox.wake()

    def compose(self, fresh: list[Alert], over: list[str], now: float) -> bytes:
        """The mail."""
        settings = self._control.settings
        lines = [f"{settings.hostname}, {clock_time(now)}", ""]
        url = settings.admin.public_url
        for one in fresh[:NAMED]:
            word = "wrong" if one.level == "bad" else "will be wrong"
            where = f" {url}{one.link}" if url else ""
            lines.append(f"{word}: {visible(one.text, 500)} (since {clock_time(one.since)}){where}")
        lines += [f"over: {visible(text, 500)}" for text in over[:NAMED]]
        left = max(0, len(fresh) - NAMED) + max(0, len(over) - NAMED)
        if left:
            lines.append(f"and {left} more")
        lines += ["", "One of them can be muted on the page Alerts."]
        mail = EmailMessage(policy=SMTP.clone(max_line_length=78))
        mail["From"] = settings.outbox.sender
        mail["To"] = ", ".join(settings.alerts.mail)
        count = len(fresh)
        said = f"{count} alert{'s' if count != 1 else ''}" if count else f"{len(over)} over"
        mail["Subject"] = f"[{settings.hostname}] {said}"
        mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
        mail["Message-ID"] = f"<alert.{self._control.engine.vault.fresh_id()}@{settings.hostname}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n".join(lines) + "\n", cte="quoted-printable")
        return mail.as_bytes()
