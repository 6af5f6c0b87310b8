"""Mail tried without effect: the real session, filters, rules and verdict, on what is at work and on a draft.

A try has a session in memory, on a configuration that was made for it alone (`control.bench_world`): what it reads is
real, and nothing of it is delivered, held, counted, learned, told or kept. What is not played, a page should say: the
backend takes everything over a leg that is as protected as was asked, every password is right, limits have counted
nothing before, nobody is banned, no greeting waits. Engines and hooks outside are asked as for any mail.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred

from smtpgate.config.model import Listener, Settings
from smtpgate.control.bench_client import Client, HungUp, Line, faults, play, stuffed
from smtpgate.control.bench_world import World, make_world
from smtpgate.control.rule_trials import listener_of
from smtpgate.control.views import Invalid, Refused
from smtpgate.policy.event import FilterFailed, Happened
from smtpgate.policy.question import client_address
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import TLSFacts
from smtpgate.proxy.inmemory import Front
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.smtp.address import path_of
from smtpgate.tasks import TimeUp

#: Tries at work at a time; each may have a child process examine a message.
AT_ONCE: Final = 2
#: A try that takes longer is ended.
LONGEST_S: Final = 120.0
#: What is ended is over after so long: nothing in memory keeps it.
_END_S: Final = 10.0
#: Lines and letters of a script.
SCRIPT_LINES: Final = 2000
SCRIPT_LETTERS: Final = 900_000
RECIPIENTS: Final = 100
TLS_VERSIONS: Final = ("TLSv1.2", "TLSv1.3")
AT_WORK, DRAFT = "at work", "draft"


@attrs.frozen
class Arrival:
    """How mail would have come.

    :ivar listener: "": the first of role mx, or else the first
    :ivar tls: TLSv1.2, TLSv1.3, off, or "": the newest where the listener has TLS
    :ivar at: when, seconds since the epoch; None: now
    """

    sender: str = ""
    recipients: tuple[str, ...] = ()
    client_ip: str = "192.0.2.1"
    helo: str = "client.example.org"
    user: str = ""
    tls: str = ""
    listener: str = ""
    at: float | None = None


@attrs.frozen
class Tried:
    """What became of it on one configuration.

    :ivar of: which one it was: AT_WORK or DRAFT; `revision`: its id
    :ivar record: the session, as `policy.record` has it
    :ivar failures: what could not do its work: name of a filter, or gateway; stage, kind and detail
    :ivar keeps: what would have been held or sent beside: (class or kind, recipients)
    :ivar scale: sums of points that lead to an action
    :ivar is_session: it was a dialogue that somebody wrote
    """

    of: str
    revision: str
    record: dict[str, Any]
    dialogue: tuple[Line, ...]
    failures: tuple[tuple[str, str, str, str], ...]
    keeps: tuple[tuple[str, tuple[str, ...]], ...]
    scale: Any
    took_s: float
    is_session: bool = False

    @property
    def message(self) -> dict[str, Any] | None:
        """The last message of it."""
        messages = self.record["messages"]
        return messages[-1] if messages else None

    @property
    def outcome(self) -> str:
        """What became of the message, or of the session where it came to none: delivered, refused..., or closed."""
        message = self.message
        if message is None:
            return "closed"
        if message["outcome"]:
            return str(message["outcome"])
        return "aborted"


@attrs.frozen
class Difference:
    """Something that is otherwise on another configuration."""

    what: str
    before: str
    after: str


class Bench:
    """Tries mail."""

    def __init__(self, engine: Engine, reception: Reception, current: Callable[[], Revision]) -> None:
        self._engine = engine
        self._clock: Any = engine.clock
        self._reception = reception
        self._current = current
        self._busy = 0
        #: Makes a configuration for one try (`assembly.Assembly.apart`); and what gives it up again. `tap` gives them.
        self.build: Callable[[Settings, World], Revision] | None = None
        self.give_up: Callable[[Revision], None] | None = None

    async def message(self, octets: bytes, arrival: Arrival, draft: Settings | None = None) -> list[Tried]:
        """What would become of a message now; and on a draft, where one is given.

        Raises Invalid for an arrival that cannot be, and Refused while too many others are tried.
        """
        body = await self._engine.in_thread(stuffed, octets)
        return await self._both(arrival, draft, lambda one: message_of(one, arrival, body))

    async def session(self, script: Sequence[str], arrival: Arrival, draft: Settings | None = None) -> list[Tried]:
        """The same of a dialogue: the client's lines, as `bench_client.play` takes them."""
        wrong = faults(script)
        if wrong:
            raise Invalid(wrong)
        found = await self._both(arrival, draft, lambda one: lambda client: play(client, script))
        return [attrs.evolve(one, is_session=True) for one in found]

    async def _both(self, arrival: Arrival, draft: Settings | None, make: Callable[[Listener], Any]) -> list[Tried]:
        async def work() -> list[Tried]:
            out = [await self.one(AT_WORK, self._current().settings, arrival, make)]
            if draft is not None:
                out.append(await self.one(DRAFT, draft, arrival, make))
            return out

        self.check(self._current().settings, arrival)
        if draft is not None:
            self.check(draft, arrival)
        found: list[Tried] = await self.alone(work)
        return found

    async def alone(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something that takes a while, unless too many others do."""
        if self._busy >= AT_ONCE:
            raise Refused("other mail is being tried; wait for its result")
        self._busy += 1
        try:
            return await work()
        finally:
            self._busy -= 1

    def check(self, settings: Settings, arrival: Arrival) -> Listener:
        """The listener that it would come to. Raises Invalid for what cannot be."""
        name, _ = listener_of(settings, arrival.listener)
        listener = settings.listeners[name]
        for address in (arrival.sender, *arrival.recipients):
            if address:
                try:
                    path_of(address)
                except ValueError as error:
                    raise Invalid(str(error)) from None
        try:
            client_address(arrival.client_ip)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if not all(letter.isprintable() for letter in arrival.helo + arrival.user):
            raise Invalid("helo and user are printable letters")
        if len(arrival.recipients) > RECIPIENTS:
            raise Invalid(f"{RECIPIENTS} recipients are the most for a try")
        if arrival.user and listener.auth == "off":
            with_auth = [one.name for one in settings.listeners.values() if one.auth != "off"]
            raise Invalid(f"nobody logs in on listener {name}; those with logins: {', '.join(with_auth) or 'none'}")
        if arrival.tls not in ("", "off", *TLS_VERSIONS):
            raise Invalid(f"tls is off or one of {', '.join(TLS_VERSIONS)}")
        if arrival.tls in TLS_VERSIONS and listener.tls == "off":
            raise Invalid(f"listener {name} has no TLS")
        if arrival.tls == "off" and listener.tls == "implicit":
            raise Invalid(f"on listener {name} TLS comes first")
        return listener

    async def one(self, of: str, settings: Settings, arrival: Arrival, make: Callable[[Listener], Any]) -> Tried:
        """One try on one configuration.

        :param make: for a listener what plays the client
        """
        if self.build is None or self.give_up is None:
            raise Refused("mail cannot be tried here")
        listener = self.check(settings, arrival)
        world = make_world(self._engine, arrival.at)
        began = self._engine.clock.seconds()
        try:
            revision = self.build(settings, world)
        except Exception as error:
            raise Refused(f"the configuration cannot be put to work: {error}") from error
        try:
            return await self._played(of, revision, listener, arrival, world, make(listener), began)
        finally:
            self.give_up(revision)

    async def _played(
        self,
        of: str,
        revision: Revision,
        listener: Listener,
        arrival: Arrival,
        world: World,
        script: Callable[[Client], Coroutine[Any, Any, None]],
        began: float,
    ) -> Tried:
        reception = Reception(world.engine(self._engine), lambda: revision)
        reception.admission.reputation = self._reception.admission.reputation
        front = Front(revision.doors[listener.name].rules, (arrival.client_ip, 50000), _tls(listener, arrival))
        client = Client(front, world.turns)
        for pool in revision.pools.values():
            pool.start()
        over: Deferred[None] = Deferred()
        reception.on_idle = lambda: world.turns.append(lambda: over.callback(None) if not over.called else None)
        session = reception.begin(listener.name, front)
        playing = ensureDeferred(script(client))
        playing.addTimeout(LONGEST_S, self._clock)
        is_late = False
        try:
            await playing
        except HungUp:
            pass
        except (TimeoutError, CancelledError, TimeUp):
            is_late = True
        finally:
            client.hang_up()
            session.kill()
        if reception.sessions:
            over.addTimeout(_END_S, self._clock)
            try:
                await over
            except TimeoutError:
                is_late = True
        if is_late:
            raise Refused(f"it was not over after {LONGEST_S:.0f} s, and was ended")
        record = plain(session.facts, world.clock.seconds())
        failed = [_failure(one) for one in world.events]
        keeps = [(one.held_as, tuple(to.address for to in one.recipients)) for one in world.vault.held]
        keeps += [(one.kind, tuple(to.address for to in one.recipients)) for one in world.vault.letters]
        return Tried(
            of,
            revision.id,
            record,
            tuple(client.dialogue),
            tuple(one for one in failed if one is not None),
            tuple(keeps),
            revision.settings.scale,
            self._engine.clock.seconds() - began,
        )


def _failure(event: Any) -> tuple[str, str, str, str] | None:
    """What went wrong in it: a filter's failure, or one of the gateway itself."""
    if isinstance(event, FilterFailed):
        return event.filter, event.stage, event.kind, event.detail
    if isinstance(event, Happened) and event.level == "error":
        return "gateway", "", event.name, event.message[:500]
    return None


def _tls(listener: Listener, arrival: Arrival) -> TLSFacts | None:
    if listener.tls == "off":
        return None
    cipher = "ECDHE-RSA-AES256-GCM-SHA384" if arrival.tls == "TLSv1.2" else "TLS_AES_256_GCM_SHA384"
    return TLSFacts(arrival.tls if arrival.tls in TLS_VERSIONS else "TLSv1.3", cipher, 256)


def message_of(listener: Listener, arrival: Arrival, body: bytes) -> Callable[[Client], Coroutine[Any, Any, None]]:
    """What plays a client with one message.

    :param body: as `bench_client.stuffed` makes it
    """
    return _Message(listener, arrival, body).play


class _Message:
    """A client with one message."""

    def __init__(self, listener: Listener, arrival: Arrival, body: bytes) -> None:
        self._listener = listener
        self._arrival = arrival
        self._body = body

    async def play(self, client: Client) -> None:
        """From the greeting to the end. What is refused ends it."""
        arrival, listener = self._arrival, self._listener
        greeting = await client.hear()
        if not greeting.startswith("220"):
            return
        offered = await self._hello(client)
        if listener.tls in ("optional", "required") and arrival.tls != "off":
            if not (await client.say("STARTTLS")).startswith("220"):
                return
            offered = await self._hello(client)
        if arrival.user and not (await client.login(arrival.user)).startswith("235"):
            return
        words = {line[4:].partition(" ")[0].upper() for line in offered.split("\n")}
        params = " BODY=8BITMIME" if "8BITMIME" in words and not self._body.isascii() else ""
        if "SMTPUTF8" in words and not "".join((arrival.sender, *arrival.recipients)).isascii():
            params += " SMTPUTF8"
        if not (await client.say(f"MAIL FROM:<{arrival.sender}>{params}")).startswith("250"):
            return
        heard = [await client.say(f"RCPT TO:<{one}>") for one in arrival.recipients]
        if any(reply.startswith("250") for reply in heard) and (await client.say("DATA")).startswith("354"):
            await client.content(self._body)
            if listener.protocol == "lmtp":
                for _ in range(sum(reply.startswith("250") for reply in heard) - 1):
                    await client.hear()
        await client.say("QUIT")

    async def _hello(self, client: Client) -> str:
        verb = "LHLO" if self._listener.protocol == "lmtp" else "EHLO"
        return await client.say(f"{verb} {self._arrival.helo}")


def differences(before: Tried, after: Tried) -> list[Difference]:
    """What is otherwise: the result, the reply, points, findings, recipients, server."""
    told = _facts(before), _facts(after)
    return [
        Difference(what, told[0].get(what, ""), told[1].get(what, ""))
        for what in dict.fromkeys((*told[0], *told[1]))
        if told[0].get(what, "") != told[1].get(what, "")
    ]


def _facts(one: Tried) -> dict[str, str]:
    message = one.message
    facts = {"result": one.outcome, "dialogue": "" if message is not None else _last(one)}
    if message is None:
        return facts
    verdict = message["verdict"]
    facts["reply"] = reply_text(message["reply"])
    facts["decision"] = verdict["action"] if verdict is not None else "accept"
    facts["score"] = f"{verdict['score']:.2f}" if verdict is not None else "0.00"
    facts["would, with checks in shadow"] = verdict["would"] if verdict is not None else ""
    decided = verdict["decided_by"] if verdict is not None else None
    facts["decided by"] = f"{decided['filter']}: {decided['reason']}" if decided is not None else ""
    facts["backend"] = message["backend"]
    for to in message["recipients"]:
        facts[f"recipient {to['address']}"] = f"{to['state']} {reply_text(to['reply'])}".strip()
    for found in message["findings"]:
        shadow = ", in shadow" if found["is_shadow"] else ""
        points = f", {found['score']:+.2f} points" if found["score"] else ""
        facts[f"finding {found['filter']}: {found['reason']}"] = f"{found['action']}{points}{shadow}"
    for change in message["changes"]:
        facts[f"change {change['author']}: {change['where']}"] = change["what"]
    return facts


def _last(one: Tried) -> str:
    return next((line.text for line in reversed(one.dialogue) if line.who == "S"), "")


def reply_text(reply: dict[str, Any] | None) -> str:
    """A reply of a record in one line; "" for none."""
    return " ".join(f"{reply['code']} {reply['enhanced']} {reply['text']}".split()) if reply is not None else ""


__all__ = ["Arrival", "Bench", "Difference", "Tried", "differences", "reply_text"]
