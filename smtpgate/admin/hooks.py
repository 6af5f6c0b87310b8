"""Webhooks: what happens is told to addresses that the configuration names, off the way of mail.

An event costs the mail that it is about an entry in a short list. Once a second the list goes to the database, as far
as there is room (`queue` of each hook); from there one call after the other goes out for each hook, signed, and again,
later each time, until it is answered with 2xx or given up. A hook that hangs or fails keeps neither mail nor another
hook waiting. Killed, the gateway forgets what happened in the last second; what was written down is called at least
once, under one id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import ensureDeferred

from smtpgate import __version__
from smtpgate.admin.hub import describe, message_of
from smtpgate.admin.text import moment, visible
from smtpgate.config.model_hooks import Webhook
from smtpgate.control import Control
from smtpgate.control.views import Actor, Refused, Unavailable, Unknown
from smtpgate.interfaces import HTTPFailed, StoreFailed
from smtpgate.policy import event as told
from smtpgate.policy.call import DONE, FAILED, WAITING, Call, pause_s

#: The list is emptied so often; what is beyond its length is lost, and counted.
GATHER_S: Final = 1.0
LISTED: Final = 5000
#: Alerts are looked at so often.
ALERTS_S: Final = 5.0
#: What waits is counted so often.
COUNTED_S: Final = 10.0
#: A hook that fails is tried so often at least, with one call or another.
AWAY_S: Final = 120.0
#: Octets of an answer: nobody reads it but its status.
_ANSWER: Final = 4096
#: A call that is over is kept for so long.
KEPT_S: Final = 7 * 86400.0
_PRUNE_S: Final = 3600.0
#: Events that have a secret: the code for the first visit is for who reads the log.
_NEVER: Final = frozenset({"admin.setup"})
RESULTS: Final = ("ok", "retry", "failed", "dropped")


def signature(secret: bytes, at: int, body: bytes) -> str:
    """What a call is signed with: HMAC-SHA256 over its time, a point and its body, so that no old call can be sent
    again as a new one (as Stripe's and the Standard Webhooks' are)."""
    return f"t={at},v1={hmac.digest(secret, str(at).encode() + b'.' + body, hashlib.sha256).hex()}"


@attrs.define
class _Line:
    """One hook at work.

    :ivar is_busy: a call is under way; `has_news`: something came meanwhile
    :ivar failures: tries that failed since the last that did not
    :ivar timer: of the next try
    """

    hook: Webhook
    client: Any
    is_busy: bool = False
    has_news: bool = False
    failures: int = 0
    timer: Any = None


class Webhooks:
    """All of them."""

    def __init__(self, control: Control, store: Any, client: Callable[[Webhook], Any], clock: Any) -> None:
        """
        :param store: `state.hook_store`
        :param client: makes an `interfaces.IHTTPClient` that goes where a hook may be, and nowhere else
        """
        self._control = control
        self._store = store
        self._client = client
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._pending: deque[tuple[float, Any]] = deque()
        self._dropped = 0
        self._timer: Any = None
        self._alerts: set[str] | None = None
        self._next_alerts = self._next_prune = self._next_count = 0.0
        self._is_writing = False
        self._wants_messages = False
        #: Calls that wait, by hook, as they were counted last.
        self.waiting: dict[str, int] = {}

    def open(self) -> None:
        """Hear of what happens from now on, and go on with what waits."""
        self._control.watch(self._hear)
        self._timer = self._clock.callLater(0, self._tick)

    def close(self) -> None:
        """No more."""
        self._control.unwatch(self._hear)
        for timer in (self._timer, *(line.timer for line in self._lines.values())):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        self._lines.clear()

    # What happens

    def _hear(self, event: Any) -> None:
        """Quick: the mail waits for it."""
        kind = type(event)
        if not self._lines or kind is told.TransactionEnded and not self._wants_messages:
            return
        if kind in (told.TransactionEnded, told.Happened, told.ServerChanged):
            if len(self._pending) >= LISTED:
                self._dropped += 1
                return
            self._pending.append((self._control.engine.wall(), event))

    def _tick(self) -> None:
        self._timer = self._clock.callLater(GATHER_S, self._tick)
        self._follow()
        if not self._is_writing and (self._lines or self.waiting):
            self._is_writing = True
            ensureDeferred(self._write()).addBoth(self._written)

    def _written(self, result: Any) -> Any:
        self._is_writing = False
        if hasattr(result, "trap"):
            result.trap(StoreFailed)
            message = f"calls of webhooks cannot be written down: {result.value}"
            self._control.engine.tell(told.Happened("webhook.failed", "error", message))

    def _follow(self) -> None:
        """The hooks are those of the settings at work."""
        hooks = self._control.settings.webhooks
        for name, line in list(self._lines.items()):
            if hooks.get(name) != line.hook:
                if line.timer is not None and line.timer.active():
                    line.timer.cancel()
                del self._lines[name]
        for name, hook in hooks.items():
            if name not in self._lines:
                self._lines[name] = _Line(hook, self._client(hook))
                self._later(self._lines[name], 0.0)
        self._wants_messages = any(one.wants("message", "message.done") for one in hooks.values())

    async def _write(self) -> None:
        now = self._control.engine.wall()
        calls: list[Call] = []
        while self._pending and len(calls) < LISTED:
            at, event = self._pending.popleft()
            calls += self._calls_of(at, event)
        calls += self._of_alerts(now)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            for name in self._lines:
                self._count(name, "dropped", dropped)
        if calls:
            most = {name: line.hook.queue for name, line in self._lines.items()}
            for name, count in (await self._store.put(calls, most)).items():
                self._count(name, "dropped", count)
            for name in {one.hook for one in calls}:
                if name in self._lines:
                    self._wake(self._lines[name])
        if now >= self._next_count:
            self._next_count = now + COUNTED_S
            counts = await self._store.counts()
            self.waiting = {hook: count for (hook, state), count in counts.items() if state == WAITING}
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_S
            while await self._store.forget(now - KEPT_S):
                pass

    def _calls_of(self, at: float, event: Any) -> Iterator[Call]:
        if type(event) is told.TransactionEnded:
            transaction = event.transaction
            content = {**message_of(transaction), "reason": _reason(transaction.verdict)}
            found: Any = ("message", "message.done", content)
        else:
            found = describe(event)
        if found is None or found[1].startswith("webhook.") or found[1] in _NEVER:
            # What is told of webhooks themselves would call them without end.
            return
        yield from self._calls(at, *found)

    def _calls(self, at: float, topic: str, name: str, content: Mapping[str, Any]) -> Iterator[Call]:
        body = ""
        for line in self._lines.values():
            hook = line.hook
            if not hook.wants(topic, name):
                continue
            if topic == "message" and hook.outcomes and content["outcome"] not in hook.outcomes:
                continue
            body = body or self._body(at, name, content)
            yield Call(hook.name, name, body, at, due=at)

    def _body(self, at: float, name: str, content: Mapping[str, Any]) -> str:
        settings = self._control.settings
        said = {"event": name, "time": moment(at), "node": settings.hostname, "data": content}
        return json.dumps(said, ensure_ascii=True, separators=(",", ":"))

    def _of_alerts(self, now: float) -> Iterator[Call]:
        if now < self._next_alerts or not any(line.hook.wants("alert", "") for line in self._lines.values()):
            return
        self._next_alerts = now + ALERTS_S
        there = {one.id: one for one in self._control.mutes.unmuted(self._control.alerts.now())}
        before, self._alerts = self._alerts, set(there)
        # What there is when it begins is told too: nobody has heard of it.
        for id in there.keys() - (before or set()):
            one = there[id]
            content = {"id": id, "level": one.level, "text": visible(one.text, 500), "link": one.link}
            yield from self._calls(now, "alert", "alert.raised", content)
        for id in (before or set()) - there.keys():
            yield from self._calls(now, "alert", "alert.ended", {"id": id})

    def _count(self, name: str, result: str, count: int = 1) -> None:
        for _ in range(count):
            self._control.engine.meter.count("webhook_deliveries_total", name, result)

    # Calls

    def _later(self, line: _Line, seconds: float) -> None:
        if line.timer is not None and line.timer.active():
            line.timer.cancel()
        line.timer = self._clock.callLater(seconds, self._call, line)

    def _wake(self, line: _Line) -> None:
        """There is something new: it goes at once where nothing failed last."""
        line.has_news = line.is_busy
        if not line.is_busy and not line.failures:
            self._later(line, 0.0)

    def _call(self, line: _Line) -> None:
        if line.is_busy or self._lines.get(line.hook.name) is not line:
            return
        line.is_busy = True
        ensureDeferred(self._next(line)).addBoth(self._called, line)

    def _called(self, result: Any, line: _Line) -> None:
        line.is_busy = False
        # It may have come behind the look that found nothing.
        wait_s = 0.0 if result is None and line.has_news else result
        line.has_news = False
        if hasattr(result, "trap"):
            result.trap(StoreFailed)
            wait_s = pause_s(1)
        if wait_s is not None and self._lines.get(line.hook.name) is line:
            self._later(line, wait_s)

    async def _next(self, line: _Line) -> float | None:
        """Make the call that is due first; seconds until the next look, None until something is new."""
        call: Call | None = await self._store.next(line.hook.name)
        if call is None:
            # What comes next is tried at once, whatever became of those before.
            line.failures = 0
            return None
        now = self._control.engine.wall()
        # A clock that was stepped back makes nobody wait for years.
        if now < call.due <= now + 2 * pause_s(100):
            return call.due - now
        done = await self._try(line, call)
        await self._store.write(done)
        if done.state == DONE:
            line.failures = 0
            return 0.0
        line.failures += 1
        # One that is away is not asked for each call that waits for it, and one that is back hears soon.
        return min(pause_s(line.failures), AWAY_S)

    async def _try(self, line: _Line, call: Call) -> Call:
        hook, now = line.hook, self._control.engine.wall()
        code, said = await self._post(line, call, int(now))
        if 200 <= code < 300:
            self._count(hook.name, "ok")
            return attrs.evolve(call, state=DONE, tries=call.tries + 1, code=code, told=said)
        tries = call.tries + 1
        due = now + pause_s(tries)
        # 410: whoever is there wants no more of it (RFC 9110 section 15.5.11).
        is_over = code == 410 or due > call.at + hook.keep_s
        self._count(hook.name, "failed" if is_over else "retry")
        if is_over:
            message = f"a call of webhook {hook.name} is given up: {said}"
            self._control.engine.tell(told.Happened("webhook.given_up", "warning", message, (("target", hook.name),)))
        return attrs.evolve(call, state=FAILED if is_over else WAITING, tries=tries, due=due, code=code, told=said)

    async def _post(self, line: _Line, call: Call, at: int) -> tuple[int, str]:
        """The status of its answer, 0 for none; and what to say of it."""
        hook, body = line.hook, call.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"smtpgate/{__version__}",
            "Smtpgate-Event": call.event,
            "Smtpgate-Delivery": str(call.n),
            "Smtpgate-Signature": signature(hook.secret, at, body),
        }
        try:
            answer = await line.client.request("POST", hook.url, headers, body, hook.timeout_s, _ANSWER)
        except HTTPFailed as error:
            return 0, str(error)[:300]
        moved = "; it sends elsewhere, and nothing is followed" if 300 <= answer.status < 400 else ""
        return answer.status, f"answered {answer.status}{moved}"

    # For managers

    def check(self, name: str) -> Webhook:
        """One of the settings at work. Raises Unknown."""
        hook = self._control.settings.webhooks.get(name)
        if hook is None:
            raise Unknown(f"no webhook {name}")
        return hook

    async def _ask(self, asked: Any) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"calls of webhooks cannot be read or written now: {error}") from error

    async def counts(self) -> dict[tuple[str, str], int]:
        """Calls by hook and state."""
        found: dict[tuple[str, str], int] = await self._ask(self._store.counts())
        return found

    async def find(self, limit: int, before: int = 0, hook: str = "", state: str = "") -> list[Call]:
        """Calls, the newest first."""
        found: list[Call] = await self._ask(self._store.find(limit, before, hook, state))
        return found

    async def call(self, hook: str, n: int) -> Call:
        """One of a hook's. Raises Unknown."""
        found: Call | None = await self._ask(self._store.call(n))
        if found is None or found.hook != hook:
            raise Unknown("no such call")
        return found

    async def test(self, name: str, actor: Actor) -> Call:
        """Call a hook now, once, and wait for its answer; nothing of it is kept."""
        hook, now = self.check(name), self._control.engine.wall()
        body = self._body(now, "webhook.test", {"message": f"a test by {visible(actor.name, 80)}"})
        line = self._lines.get(name) or _Line(hook, self._client(hook))
        code, said = await self._post(line, Call(name, "webhook.test", body, now), int(now))
        return Call(name, "webhook.test", body, now, state=DONE if 200 <= code < 300 else FAILED, code=code, told=said)

    async def replay(self, hook: str, n: int) -> None:
        """Make a call again that is over, as it was."""
        self.check(hook)
        call = await self.call(hook, n)
        if call.state == WAITING:
            raise Refused("it waits still")
        now = self._control.engine.wall()
        again = attrs.evolve(call, state=WAITING, at=now, due=now, tries=0, told="called again")
        left = await self._ask(self._store.put([again], {hook: self.check(hook).queue}))
        if left:
            raise Refused("too many calls wait for it already")
        if hook in self._lines:
            self._lines[hook].failures = 0
            self._wake(self._lines[hook])


def _reason(verdict: Any) -> dict[str, str] | None:
    """Who decided over a message, and why."""
    decided = verdict.decided_by if verdict is not None else None
    return {"filter": decided.filter, "reason": decided.reason} if decided is not None else None
