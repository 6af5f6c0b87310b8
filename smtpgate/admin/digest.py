"""Digests: one mail to each person about what came to be held for them since the last, with links to release it or ask
for it.

A person is a user with all their addresses, or an address that is nobody's; when they hear is what the user chose, else
what the configuration says for the domain, else for all (`Slot`). At each time all that is held since the last is gone
through, up to that time and no further: what comes meanwhile is for the next, whatever is tried again. A gateway that
was down then makes up for it for some hours; after that all of it is in the next digest. That somebody has theirs is
written in one step with it (`state.people`), so that no kill sends it twice. Who gets mail about what is what the
classes say (`users`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

import attrs

from smtpgate.admin.links import Link, Links
from smtpgate.admin.spoken import words_of
from smtpgate.admin.text import clock_time, visible
from smtpgate.config.model_quarantine import Schedule
from smtpgate.control import Control
from smtpgate.control.views import Refused
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Held, Letter
from smtpgate.policy.own import normal_address
from smtpgate.policy.person import Person
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
#: Nobody hears of what is older: a schedule of a week, and a day.
_OLDEST_S: Final = 8 * _DAY_S
#: Where nothing is held, what was gone through last for those who hear at once is written down so often.
_NOTED_S: Final = 600.0
#: Under which is remembered up to what time the last digest went.
LAST: Final = "last"
_KEPT_S: Final = 400 * _DAY_S
#: What users are called beside addresses, which have no blank there (`state.people`).
_USER: Final = "user "
#: Who holds what somebody has blocked themselves; they know.
_BLOCKED: Final = "own-lists"


@attrs.frozen
class Slot:
    """Those who hear at the same times.

    :ivar key: under which is remembered how far they have heard
    """

    key: str
    schedule: Schedule


@attrs.define
class _Reader:
    """Somebody who hears now.

    :ivar who: a user's name behind "user ", or an address; `address`: to which it goes
    :ivar rows: an address of theirs as it was written, and the message, the newest first
    """

    who: str
    address: str
    person: Person | None
    rows: list[tuple[str, Held]] = attrs.field(factory=list)


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
        #: When how far somebody has heard was written last, by slot.
        self._noted: dict[str, float] = {}

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
        if not self._is_at_work and self._control.settings.admin.public_url:
            self._is_at_work = True
            self._start(self._work()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self._is_at_work = False
        failure.trap(Refused, StoreFailed)
        self._control.engine.tell(Happened("digest.failed", "error", f"no digests could be sent: {failure.value}"))

    # When

    def slot_of(self, address: str, person: Person | None) -> Slot:
        """When somebody hears.

        :param person: whose address it is; None for nobody's
        """
        if person is not None and person.preferences.digest:
            chosen = person.preferences
            schedule = Schedule(chosen.digest, (chosen.at,), chosen.weekday)
            return Slot(f"{LAST} ={chosen.digest} {chosen.weekday} {chosen.at}", schedule)
        digests = self._control.settings.digests
        domain = normal_address(address).rpartition("@")[2]
        one = digests.domains.get(domain)
        return Slot(f"{LAST} {domain}", one.schedule) if one is not None else Slot(LAST, digests.schedule)

    def _slots(self, people: list[Person]) -> Iterator[Slot]:
        """All that have somebody."""
        digests, seen = self._control.settings.digests, set()
        said = [Slot(LAST, digests.schedule)]
        said += [Slot(f"{LAST} {domain}", one.schedule) for domain, one in digests.domains.items()]
        said += [self.slot_of("", one) for one in people if one.preferences.digest]
        for slot in said:
            if slot.schedule.is_on and slot.key not in seen:
                seen.add(slot.key)
                yield slot

    async def heard(self, person: Person) -> tuple[float, bool]:
        """Up to when somebody has heard under the schedule that holds for them now, in seconds since the epoch; and
        whether they hear at all: who does not is not told later either.
        """
        slot = self.slot_of(person.addresses[0] if person.addresses else "", person)
        last = await self._table.get(slot.key) if slot.schedule.is_on else None
        return (float(last) if last is not None else self._control.engine.wall()), slot.schedule.is_on

    async def _work(self) -> None:
        now = self._control.engine.wall()
        people = await self._control.people.all()
        for slot in self._slots(people):
            await self._work_off(slot, people, now)
        self._is_at_work = False

    async def _work_off(self, slot: Slot, people: list[Person], now: float) -> None:
        last = await self._table.get(slot.key)
        schedule = slot.schedule
        is_immediate = schedule.when == "immediate"
        due = now if is_immediate else due_at(schedule.at, now, schedule.weekday if schedule.when == "weekly" else None)
        until = due - _WRITTEN_S
        if last is None:
            # What was held before anybody wanted digests is not announced.
            await self._table.put(slot.key, now, _KEPT_S)
        elif last > now + MISSED_S:
            # The clock was stepped back: that time would not come for as long.
            await self._table.put(slot.key, until, _KEPT_S)
        elif until > last and now - due <= MISSED_S:
            count = await self.send(float(last), until, now, slot, people)
            if count or not is_immediate or now - self._noted.get(slot.key, 0.0) >= _NOTED_S:
                self._noted[slot.key] = now
                await self._table.put(slot.key, until, _KEPT_S)
            settled = [who.removeprefix(_USER) for who in await self._switched(slot, people)]
            if count or settled:
                await self._control.people.store.settle(settled, until - _OLDEST_S - _DAY_S)

    # What

    async def send(
        self, since: float, until: float, now: float, slot: Slot | None = None, people: list[Person] | None = None
    ) -> int:
        """Digests of what came to be held between these times; how many were sent.

        :param slot: to those who hear then; None: to all
        """
        people = await self._control.people.all() if people is None else people
        readers = await self._gather(since, until, slot, people)
        count = 0
        try:
            for reader in readers:
                await self._post(reader, until, now)
                count += 1
        finally:
            if count:
                self._control.engine.outbox.wake()
        if count:
            self._control.engine.tell(Happened("digest.sent", "info", f"{count} digests", (("count", count),)))
        return count

    async def _gather(self, since: float, until: float, slot: Slot | None, people: list[Person]) -> list[_Reader]:
        """Those who hear now, each with their messages."""
        settings, store = self._control.settings, self._control.people.store
        owners = {address: one for one in people for address in one.addresses}
        # Whoever chose another schedule has not heard of what the one before had not come to yet.
        switched = await self._switched(slot, people)
        begin = max(min([since, *switched.values()]), until - _OLDEST_S) if switched else since
        found: dict[str, _Reader] = {}
        seen, before = 0, ""
        while seen < MOST:
            wanted = {"direction": "in", "since": begin, "until": until}
            page = await self._control.quarantine.search(wanted, _PAGE, before)
            for message in page:
                if settings.quarantine.of(message.held_as).users == "nothing" or message.filter == _BLOCKED:
                    continue
                for one in message.recipients:
                    if one.state not in ("held", "refused") or not self._may_get(one.address):
                        continue
                    person = owners.get(normal_address(one.address))
                    if slot is not None and self.slot_of(one.address, person).key != slot.key:
                        continue
                    who = f"{_USER}{person.name}" if person is not None else one.address.lower()
                    reader = found.setdefault(who, _Reader(who, one.address, person))
                    reader.rows.append((one.address, message))
            seen += len(page)
            if len(page) < _PAGE:
                break
            before = page[-1].id
        marks = await store.marks(list(found)) if found else {}
        return [
            reader
            for reader in found.values()
            if self._has_news(reader, max(marks.get(reader.who, 0.0), switched.get(reader.who, since)))
        ]

    async def _switched(self, slot: Slot | None, people: list[Person]) -> dict[str, float]:
        """Of those who hear now who chose that since: up to when they had heard before."""
        found = await self._control.people.store.switched()
        if slot is None or not found:
            return {}
        mine = [one for one in people if one.name in found and self.slot_of(one.addresses[0], one).key == slot.key]
        return {f"{_USER}{one.name}": found[one.name] for one in mine}

    def _has_news(self, reader: _Reader, heard: float) -> bool:
        """Whether there is something that they have not heard of; the rest is left out."""
        reader.rows = [row for row in reader.rows if row[1].at >= heard]
        mine = [address for address in (reader.person.addresses if reader.person else ()) if self._may_get(address)]
        reader.address = mine[0] if mine else reader.address
        return bool(reader.rows)

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

    async def _post(self, reader: _Reader, until: float, now: float) -> None:
        engine, settings, address = self._control.engine, self._control.settings, reader.address
        octets = self.compose(reader, now)
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
        await self._control.people.store.announce(letter, reader.who, until)

    def _language(self, reader: _Reader) -> str:
        digests = self._control.settings.digests
        if reader.person is not None and reader.person.preferences.language:
            return reader.person.preferences.language
        one = digests.domains.get(normal_address(reader.address).rpartition("@")[2])
        return one.language if one is not None else digests.language

    def compose(self, reader: _Reader, now: float) -> bytes:
        """The mail to one person."""
        settings, address = self._control.settings, reader.address
        language = self._language(reader)
        words = words_of(language)
        mine = list(dict.fromkeys(own for own, _ in reader.rows))
        rows = [self._row(own, message, now, words, len(mine) > 1) for own, message in reader.rows[:NAMED]]
        values = {
            "words": words,
            "language": language,
            "address": mine[0] if len(mine) == 1 else words["for_several"].format(count=len(mine)),
            "hostname": settings.hostname,
            "rows": rows,
            "more": max(0, len(reader.rows) - NAMED),
            "until": clock_time(now + settings.digests.links_s),
            "page": f"{settings.admin.public_url}/my" if reader.person is not None else "",
        }
        mail = EmailMessage(policy=SMTP.clone(max_line_length=78))
        mail["From"] = f"{words['from_name']} <{settings.outbox.sender}>"
        count = len(reader.rows)
        mail["Subject"] = words["subject_one" if count == 1 else "subject_many"].format(count=count)
        mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
        # Of each recipient's its own: stores leave out what they have by that id already.
        mail["Message-ID"] = f"<digest.{self._control.engine.vault.fresh_id()}@{settings.hostname}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        mail.set_content(self._render("digest.txt", **values), cte="quoted-printable")
        mail.add_alternative(self._render("digest.html", **values), subtype="html", cte="quoted-printable")
        # Last: what sets a content takes fields about the content away.
        mail["Content-Language"] = language
        # The address is a stranger's, and goes in octet for octet (RFC 5321 section 4.1.2, RFC 6532): the library would
        # decode what looks like an encoded word in it.
        return b"To: <" + address.encode() + b">\r\n" + mail.as_bytes()

    def _row(self, address: str, message: Held, now: float, words: Any, says_whose: bool) -> dict[str, Any]:
        """What a digest says of one message."""
        settings = self._control.settings
        may_release = settings.quarantine.of(message.held_as).is_released_by_users
        action = "release" if may_release else "ask"
        until = int(min(now + settings.digests.links_s, message.expires))
        token = self._links.token(Link(action, message.id, address.lower(), until))
        return {
            "at": clock_time(message.at),
            "sender": visible(message.sender or "<>", 100),
            "author": visible(message.author, 100),
            "subject": visible(message.subject or words["no_subject"], 150),
            "to": visible(address, 100) if says_whose else "",
            "held_as": message.held_as,
            "action": words[f"do_{action}"],
            "url": f"{settings.admin.public_url}/held/{token}",
        }


def due_at(minutes: tuple[int, ...], now: float, weekday: int | None = None) -> float:
    """The last of these times of the day that has come, by the clock of the machine; seconds since the epoch.

    :param weekday: on that day alone, 0 for Monday
    """
    today = time.localtime(now)
    latest = 0.0
    for back in range(2 if weekday is None else 8):
        for minute in minutes:
            moment = time.mktime(
                (today.tm_year, today.tm_mon, today.tm_mday - back, minute // 60, minute % 60, 0, 0, 0, -1)
            )
            if moment <= now and weekday in (None, time.localtime(moment).tm_wday):
                latest = max(latest, moment)
    return latest
