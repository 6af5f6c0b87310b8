"""Digests: one mail to each recipient about what came to be held for them since the last, with links to release it or
ask for it.

At each time of the day that the configuration names, all that is held since the last digest is gone through, up to that
time and no further: what comes meanwhile is for the next, whatever is tried again. A gateway that was down then makes
up for it for some hours; after that all of it is in the next digest. Who gets mail about what is what the classes say
(`users`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from smtpgate.admin.links import Link, Links
from smtpgate.admin.spoken import words_of
from smtpgate.admin.text import clock_time, visible
from smtpgate.control import Control
from smtpgate.control.views import Refused
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Held, Letter
from smtpgate.smtp.address import path_of

#: A time that was missed by more is left out: nobody wants the digest of the morning in the evening.
MISSED_S: Final = 6 * 3600.0
#: Messages that one digest names; of more it says how many.
NAMED: Final = 100
#: Messages that are gone through for all digests of one time.
MOST: Final = 200_000
_PAGE: Final = 500
_LOOK_S: Final = 30.0
_DAY_S: Final = 86400.0
#: A row may be written so long after its id was made; what is younger is for the next digest.
_WRITTEN_S: Final = 60.0
#: Under which is remembered up to what time the last digest went.
LAST: Final = "last"


class Digests:
    """Sends them when it is time."""

    def __init__(
        self,
        control: Control,
        render: Callable[..., str],
        links: Links,
        clock: Any,
        table: Any,
        start: Callable[[Any], Any],
    ) -> None:
        """
        :param render: a template with values
        :param table: an `interfaces.ITable`
        :param start: a coroutine as a Deferred
        """
        self._control = control
        self._render = render
        self._links = links
        self._clock = clock
        self._table = table
        self._start = start
        self._timer: Any = None
        self._is_at_work = False
        #: Who had theirs already of digests that a failure has stopped: nobody gets one again with each new try.
        self._told: set[str] = set()

    def open(self) -> None:
        """Look from time to time."""
        self._timer = self._clock.callLater(_LOOK_S, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.callLater(_LOOK_S, self._look)
        if not self._is_at_work and self._control.settings.digests.at:
            self._is_at_work = True
            self._start(self._work()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self._is_at_work = False
        failure.trap(Refused, StoreFailed)
        self._control.engine.tell(Happened("digest.failed", "error", f"no digests could be sent: {failure.value}"))

    async def _work(self) -> None:
        now = self._control.engine.wall()
        last = await self._table.get(LAST)
        due = due_at(self._control.settings.digests.at, now)
        until = due - _WRITTEN_S
        if last is None:
            # What was held before anybody wanted digests is not announced.
            await self._table.put(LAST, now, 400 * _DAY_S)
        elif last > now + MISSED_S:
            # The clock was stepped back: that time would not come for as long.
            await self._table.put(LAST, until, 400 * _DAY_S)
        elif until > last and now - due <= MISSED_S:
            await self.send(float(last), until, now)
            await self._table.put(LAST, until, 400 * _DAY_S)
            self._told.clear()
        self._is_at_work = False

    async def send(self, since: float, until: float, now: float) -> int:
        """Digests of what came to be held between these times; how many were sent."""
        by_address = await self._gather(since, until)
        try:
            for place, (address, messages) in by_address.items():
                if place in self._told:
                    continue
                await self._post(address, messages, now)
                self._told.add(place)
        finally:
            if self._told:
                self._control.engine.outbox.wake()
        count = len(self._told)
        self._told.clear()
        if count:
            self._control.engine.tell(Happened("digest.sent", "info", f"{count} digests", (("count", count),)))
        return count

    async def _gather(self, since: float, until: float) -> dict[str, tuple[str, list[Held]]]:
        """By address in lower case: the address as it was written last, and its messages, the newest first."""
        settings = self._control.settings
        found: dict[str, tuple[str, list[Held]]] = {}
        seen, before = 0, ""
        while seen < MOST:
            wanted = {"direction": "in", "since": since, "until": until}
            page = await self._control.quarantine.search(wanted, _PAGE, before)
            for message in page:
                if settings.quarantine.of(message.held_as).users == "nothing":
                    continue
                for one in message.recipients:
                    if one.state in ("held", "refused") and self._may_get(one.address):
                        found.setdefault(one.address.lower(), (one.address, []))[1].append(message)
            seen += len(page)
            if len(page) < _PAGE:
                break
            before = page[-1].id
        return found

    def _may_get(self, address: str) -> bool:
        settings = self._control.settings
        try:
            path = path_of(address)
        except ValueError:
            return False
        wanted = settings.digests.recipients
        if wanted:
            return wanted.matches(path.local, path.domain)
        return settings.local_domains.matches(path.domain)

    async def _post(self, address: str, messages: list[Held], now: float) -> None:
        engine, settings = self._control.engine, self._control.settings
        octets = self.compose(address, messages, now)
        vault = engine.vault
        body = await vault.begin()
        await body.write(octets)
        await body.finish()
        listener = next((name for name, one in settings.listeners.items() if one.role == "mx"), "")
        letter = Letter(
            id=vault.fresh_id(),
            kind="digest",
            at=now,
            expires=now + _DAY_S,
            body=body.name,
            octets=len(octets),
            sender="",
            recipients=(Addressee(address, state="waiting"),),
            facts={"listener": listener, "role": "mx", "started": now, "helo": settings.hostname},
            params={} if address.isascii() else {"SMTPUTF8": None},
            due=now,
        )
        await vault.post(letter, {})

    def compose(self, address: str, messages: list[Held], now: float) -> bytes:
        """The mail to one recipient."""
        settings = self._control.settings
        words = words_of(settings.digests.language)
        rows = [self._row(address, message, now) for message in messages[:NAMED]]
        values = {
            "words": words,
            "language": settings.digests.language,
            "address": address,
            "hostname": settings.hostname,
            "rows": rows,
            "more": max(0, len(messages) - NAMED),
            "until": clock_time(now + settings.digests.links_s),
        }
        mail = EmailMessage(policy=SMTP.clone(max_line_length=78))
        mail["From"] = f"{words['from_name']} <{settings.outbox.sender}>"
        count = len(messages)
        mail["Subject"] = words["subject_one" if count == 1 else "subject_many"].format(count=count)
        mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
        # Of each recipient's its own: stores leave out what they have by that id already.
        mail["Message-ID"] = f"<digest.{self._control.engine.vault.fresh_id()}@{settings.hostname}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        mail.set_content(self._render("digest.txt", **values), cte="quoted-printable")
        mail.add_alternative(self._render("digest.html", **values), subtype="html", cte="quoted-printable")
        # Last: what sets a content takes fields about the content away.
        mail["Content-Language"] = settings.digests.language
        # The address is a stranger's, and goes in octet for octet (RFC 5321 section 4.1.2, RFC 6532): the library would
        # decode what looks like an encoded word in it.
        return b"To: <" + address.encode() + b">\r\n" + mail.as_bytes()

    def _row(self, address: str, message: Held, now: float) -> dict[str, Any]:
        """What a digest says of one message."""
        settings = self._control.settings
        may_release = settings.quarantine.of(message.held_as).is_released_by_users
        action = "release" if may_release else "ask"
        until = int(min(now + settings.digests.links_s, message.expires))
        words = words_of(settings.digests.language)
        token = self._links.token(Link(action, message.id, address.lower(), until))
        return {
            "at": clock_time(message.at),
            "sender": visible(message.sender or "<>", 100),
            "author": visible(message.author, 100),
            "subject": visible(message.subject or words["no_subject"], 150),
            "held_as": message.held_as,
            "action": words[f"do_{action}"],
            "url": f"{settings.admin.public_url}/held/{token}",
        }


def due_at(minutes: tuple[int, ...], now: float) -> float:
    """The last of these times of the day that has come, by the clock of the machine; seconds since the epoch."""
    today = time.localtime(now)
    latest = 0.0
    for back in (0, 1):
        for minute in minutes:
            moment = time.mktime(
                (today.tm_year, today.tm_mon, today.tm_mday - back, minute // 60, minute % 60, 0, 0, 0, -1)
            )
            if moment <= now:
                latest = max(latest, moment)
    return latest
