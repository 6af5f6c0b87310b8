"""Tests of smtpgate.proxy.pipeline: order, time, and what becomes of a filter that fails; in a gateway in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.base import MAIL_STAGES, SESSION_STAGES, STAGES, Factory, Filter
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.inmemory import Delivered
from smtpgate.proxy.pipeline import SLOW_S, Chain
from smtpgate.proxy.use import STREAM_S
from smtpgate.proxy.use import Use as PipelineUse
from smtpgate.smtp.address import NULL_SENDER
from smtpgate.testing import Client, Gateway, use

OK = "250 2.0.0 Ok"
#: The reply to each stage's step where nothing objects.
PASSES = {
    "connect": "220 gate.example.com ESMTP",
    "helo": "250-gate.example.com",
    "mail": "250 2.1.0 Sender ok",
    "rcpt": "250 2.0.0 Ok",
    "data": "354 End data with <CR><LF>.<CR><LF>",
    "header": OK,
    "body": OK,
    "end": OK,
}
NO_CHECK = {
    "tempfail": "451 4.3.0 A check could not be done; try again later",
    "reject": "550 5.3.0 A check could not be done",
}


class Scripted(Filter):
    """A filter whose stage methods a test gives; `heard` has every call in order, over all filters of the test."""

    def __init__(self, name: str, methods: dict[str, Callable[..., Any]], heard: list[tuple[str, str]]) -> None:
        self.name, self.methods, self.heard = name, methods, heard

    def session(self, session: Any) -> Any:
        """An object with the methods of a session's stages."""
        return self._made(SESSION_STAGES)

    def transaction(self, transaction: Any) -> Any:
        """An object with those of a transaction's."""
        return self._made(MAIL_STAGES)

    def _made(self, stages: tuple[str, ...]) -> Any:
        if "begin" in self.methods:
            self.methods["begin"]()
        made = type("Made", (), {})()
        for stage in (*stages, "closed"):
            if stage in self.methods:
                setattr(made, stage, self._noted(stage, self.methods[stage]))
        return made

    def _noted(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            self.heard.append((self.name, stage))
            return method(*args)

        return noted


class Kit:
    """Factories of scripted filters that share one list of calls."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def factory(
        self, name: str = "one", *, budget_s: float = 2.0, on_error: str = "tempfail", **methods: Any
    ) -> Factory:
        """A factory; a method is a function, or what every call returns."""
        made = {
            stage: method if callable(method) else lambda *args, found=method: found
            for stage, method in methods.items()
        }
        stages = frozenset(made) & frozenset(STAGES) or frozenset({"mail"})
        return Factory(
            name,
            None,
            stages,
            lambda options, services: Scripted(name, made, self.heard),
            on_error=on_error,
            budget_s=budget_s,
        )


def step(client: Client, stage: str) -> str:
    """Take a fresh client up to a stage; the reply to the step that the stage is at."""
    steps: list[tuple[str, Callable[[], str]]] = [
        ("connect", lambda: client.greeting),
        ("helo", lambda: client.helo()),
        ("mail", lambda: client.mail()),
        ("rcpt", lambda: client.rcpt()),
        ("data", lambda: client.data()),
        ("end", lambda: _content(client)),
    ]
    wanted = "end" if stage in ("header", "body") else stage
    for name, take in steps:
        reply = take()
        if name == wanted:
            return reply
    raise AssertionError(stage)


def _content(client: Client) -> str:
    client.content(b"Subject: x\r\n\r\n")
    client.content(b"hello\r\n")
    return client.end()


def raises(*args: Any) -> Any:
    """A stage method with a mistake in it."""
    raise RuntimeError("a mistake")


async def raises_late(*args: Any) -> Any:
    """The same, asynchronous."""
    raise RuntimeError("a mistake")


class OrderTests(SynchronousTestCase):
    """Who is called when."""

    def test_each_stage_is_called_in_the_order_of_the_file(self) -> None:
        """At every stage, and `closed` once for each object."""
        kit = Kit()
        everything: dict[str, Any] = dict.fromkeys((*STAGES, "closed"))
        gateway = Gateway(use(kit.factory("one", **everything)), use(kit.factory("two", **everything)))
        client = gateway.connect()
        self.assertEqual(step(client, "end"), OK)
        self.assertTrue(client.say("QUIT").startswith("221"))
        stages = ["connect", "helo", "mail", "rcpt", "data", "header", "body", "body", "end"]
        wanted = [(name, stage) for stage in stages for name in ("one", "two")]
        self.assertEqual(len(self.each(kit, "body")), 4)
        self.assertEqual([pair for pair in kit.heard if pair[1] not in ("body", "closed")],
                         [pair for pair in wanted if pair[1] != "body"])  # fmt: skip
        closed = [name for name, _ in self.each(kit, "closed")]
        self.assertEqual(closed, ["one", "two", "one", "two"])

    def each(self, kit: Kit, stage: str) -> list[tuple[str, str]]:
        """The calls of one stage."""
        return [pair for pair in kit.heard if pair[1] == stage]

    def test_auth_is_a_stage(self) -> None:
        """Called with the user's name, after the login."""
        names: list[str] = []
        kit = Kit()
        gateway = Gateway(use(kit.factory(auth=lambda user: names.append(user))), role="submission")
        client = gateway.connect()
        client.helo()
        self.assertTrue(client.login("anna").startswith("235"))
        self.assertEqual(names, ["anna"])

    def test_stages_that_a_factory_does_not_name_are_not_called(self) -> None:
        """Also where the object has a method of that name."""
        chain = Chain(
            [PipelineUse("one", Scripted("one", {"mail": raises}, []), frozenset({"rcpt"}), frozenset({"mx"}))],
            "mx",
            Gateway().clock,
            lambda event: None,
        )
        run = chain.transaction(Transaction("1", Session("1", "l", "mx"), NULL_SENDER, {}))
        self.assertFalse(run.wants("mail"))

    def test_other_roles_and_mode_off_are_not_called(self) -> None:
        """Nothing of them is even made."""
        kit = Kit()
        made = Scripted("one", {"begin": raises, "mail": raises}, kit.heard)
        mail, session = frozenset({"mail"}), frozenset({"connect"})
        for one in (
            PipelineUse("one", made, mail | session, frozenset({"submission"})),
            PipelineUse("one", made, mail | session, frozenset({"mx"}), "off"),
        ):
            gateway = Gateway(one)
            client = gateway.connect()
            client.helo()
            self.assertEqual(client.message(), OK)
            self.assertEqual(gateway.failures, [])

    def test_whoever_looks_on_hears_of_each_filter(self) -> None:
        """Also of one that has nothing to say, of one that is still at work, and of one that fails."""
        answer: Deferred[Any] = Deferred()
        heard: list[tuple[str, str, str, bool]] = []
        kit = Kit()
        gateway = Gateway(
            use(kit.factory("silent", mail=None)),
            use(kit.factory("slow", mail=lambda: answer)),
            use(kit.factory("broken", mail=raises, on_error="continue")),
            use(kit.factory("loud", mail=lambda: [Finding("a", "note"), Finding("b", "tag")]), mode="shadow"),
        )
        client = gateway.connect()
        client.helo()
        gateway._door.chain.seen = lambda id, name, stage, word, seconds, is_shadow: heard.append(
            (name, stage, word, is_shadow)
        )
        client.mail()
        words = [("silent", "pass"), ("slow", "running"), ("broken", "error"), ("loud", "tag")]
        self.assertEqual(heard, [(name, "mail", word, name == "loud") for name, word in words])
        answer.callback(Finding("c", "reject"))
        self.assertTrue(client.read().startswith("550"))
        self.assertEqual(heard[-1], ("slow", "mail", "reject", False))

    def test_findings_keep_who_found_them_and_how_long_it_took(self) -> None:
        """What a filter writes there itself does not count."""
        kit = Kit()
        boast = Finding("found", filter="somebody else", is_shadow=True, seconds=99.0)
        client = Gateway(use(kit.factory("one", mail=boast), name="mine")).connect()
        client.helo()
        client.mail()
        (found,) = client.findings
        self.assertEqual((found.filter, found.is_shadow, found.seconds), ("mine", False, 0.0))

    def test_a_chain_knows_whether_the_message_must_wait(self) -> None:
        """A filter that needs it, or that may hold the verdict long; not in shadow."""
        for needs, budget, mode, spools in (
            (False, STREAM_S, "enforce", False),
            (True, 1.0, "enforce", True),
            (False, STREAM_S + 0.1, "enforce", True),
            (True, 9.0, "shadow", False),
            (True, 9.0, "off", False),
        ):
            one = PipelineUse("one", None, frozenset({"end"}), frozenset({"mx"}), mode, "tempfail", needs, budget)
            chain = Chain([one], "mx", Gateway().clock, lambda event: None)
            self.assertEqual(chain.spools, spools, (needs, budget, mode))


class FindingTests(SynchronousTestCase):
    """What a finding does at each stage."""

    def test_a_refusal_is_the_reply_of_its_stage(self) -> None:
        """Both kinds, at every stage."""
        for stage in PASSES:
            for action, code in (("reject", "550 5.7.1"), ("defer", "451 4.7.1")):
                gateway = Gateway(use(Kit().factory(**{stage: Finding("no", action, "Not so")})))
                reply = step(gateway.connect(), stage)
                wanted = {"connectreject": "554 5.7.1", "connectdefer": "421 4.7.1"}.get(stage + action, code)
                self.assertEqual(reply, f"{wanted} Not so", (stage, action))
                self.assertEqual(gateway.backend.messages, [], (stage, action))

    def test_what_is_no_refusal_lets_mail_pass(self) -> None:
        """At every stage."""
        for stage, reply in PASSES.items():
            for action in ("note", "accept", "tag", "quarantine"):
                client = Gateway(use(Kit().factory(**{stage: Finding("found", action)}))).connect()
                self.assertEqual(step(client, stage), reply, (stage, action))
                self.assertEqual({found.action for found in client.findings}, {action})

    def test_one_recipient_s_refusal_is_not_the_others(self) -> None:
        """A finding at RCPT is about that recipient, and not about the message."""
        kit = Kit()
        refuse = lambda recipient: Finding("no", "reject") if recipient.path.local == "eve" else None  # noqa: E731
        gateway = Gateway(use(kit.factory(rcpt=refuse)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(recipients=["eve@example.net", "bob@example.net"]), OK)
        self.assertEqual(gateway.backend.messages[0].recipients, ("bob@example.net",))
        self.assertEqual([found.recipients for found in client.findings], [frozenset({0})])

    def test_a_session_goes_on_after_a_refused_message(self) -> None:
        """With objects of its own for the next one."""
        answers = [Finding("no", "reject"), None]
        gateway = Gateway(use(Kit().factory(end=lambda: answers.pop(0))))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")
        self.assertEqual(client.message(), OK)
        self.assertEqual(len(gateway.backend.messages), 1)


class ShadowTests(SynchronousTestCase):
    """Shadow never affects the reply."""

    @given(
        st.sampled_from(sorted(PASSES)),
        st.sampled_from(["note", "accept", "tag", "quarantine", "defer", "reject", "raise", "lie", "begin"]),
        st.sampled_from(["tempfail", "reject", "continue"]),
    )
    def test_whatever_a_filter_in_shadow_does_mail_passes(self, stage: str, what: str, on_error: str) -> None:
        """It finds, fails and lies at each stage, with each policy; all of it is recorded."""
        method: Any = {"raise": raises, "lie": "no finding", "begin": None}.get(what) if what in (
            "raise", "lie", "begin") else Finding("found", what, skips=frozenset({"two"}))  # fmt: skip
        kit = Kit()
        methods = {stage: method} | ({"begin": raises} if what == "begin" else {})
        gateway = Gateway(
            use(kit.factory("one", on_error=on_error, **methods), mode="shadow"), use(kit.factory("two", end=None))
        )
        client = gateway.connect()
        self.assertEqual(client.greeting, PASSES["connect"])
        self.assertEqual(step(client, "end"), OK)
        self.assertEqual(len(gateway.backend.messages), 1)
        self.assertIn(("two", "end"), kit.heard)
        self.assertTrue(client.findings)
        self.assertTrue(all(found.is_shadow for found in client.findings))

    def test_the_verdict_says_what_it_would_have_been(self) -> None:
        """And that it was not."""
        kit = Kit()
        shadow = use(kit.factory("one", end=Finding("no", "reject", score=5.0)), mode="shadow")
        client = Gateway(shadow, use(kit.factory("two", end=Finding("odd", "tag", score=1.0)))).connect()
        client.helo()
        self.assertEqual(client.message(), OK)
        verdict = client.verdict
        assert verdict is not None
        self.assertEqual((verdict.action, verdict.would, verdict.score), ("tag", "reject", 1.0))

    def test_a_hanging_filter_in_shadow_costs_its_budget_and_no_more(self) -> None:
        """The reply is that of a pass."""
        gateway = Gateway(use(Kit().factory(end=lambda: Deferred(), on_error="reject"), mode="shadow"))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "")
        gateway.advance(2)
        self.assertEqual(client.read(), OK)


class TimeTests(SynchronousTestCase):
    """Asynchronous filters."""

    def ready(self, *filters: Any) -> tuple[Gateway, Client]:
        """A client that has greeted."""
        gateway = Gateway(*filters)
        client = gateway.connect()
        client.helo()
        return gateway, client

    def test_filters_of_a_stage_run_together(self) -> None:
        """The stage ends with the last, and the findings are in the order of the file."""
        kit = Kit()
        first: Deferred[Any] = Deferred()
        second: Deferred[Any] = Deferred()

        async def wait() -> Any:
            return await first

        gateway, client = self.ready(use(kit.factory("one", mail=wait)), use(kit.factory("two", mail=lambda: second)))
        self.assertEqual(client.mail(), "")
        self.assertEqual(kit.heard, [("one", "mail"), ("two", "mail")])
        gateway.advance(0.5)
        second.callback(Finding("second"))
        self.assertEqual(client.read(), "")
        gateway.advance(0.5)
        first.callback(Finding("first"))
        self.assertEqual(client.read(), PASSES["mail"])
        self.assertEqual(
            [(found.reason, found.seconds) for found in client.findings], [("first", 1.0), ("second", 0.5)]
        )

    def test_results_that_are_there_at_once(self) -> None:
        """A coroutine that never waits, and a fired Deferred."""

        async def at_once() -> Any:
            return Finding("first")

        kit = Kit()
        _, client = self.ready(
            use(kit.factory("one", mail=at_once)),
            use(kit.factory("two", mail=lambda: succeed(Finding("second")))),
            use(kit.factory("three", mail=lambda: succeed(None))),
        )
        self.assertEqual(client.mail(), PASSES["mail"])
        self.assertEqual([found.reason for found in client.findings], ["first", "second"])

    def test_each_has_its_own_budget(self) -> None:
        """One that runs out takes no time from the other."""
        kit = Kit()
        slow: Deferred[Any] = Deferred()
        gateway, client = self.ready(
            use(kit.factory("one", budget_s=1.0, on_error="continue", mail=lambda: Deferred())),
            use(kit.factory("two", budget_s=4.0, mail=lambda: slow)),
        )
        client.mail()
        gateway.advance(1)
        self.assertEqual([(event.filter, event.kind) for event in gateway.failures], [])
        gateway.advance(2)
        slow.callback(Finding("odd", "tag"))
        self.assertEqual(client.read(), PASSES["mail"])
        self.assertEqual([found.reason for found in client.findings], ["filter-failed", "odd"])
        self.assertEqual([(event.filter, event.kind) for event in gateway.failures], [("one", "timeout")])

    def test_a_filter_that_hangs_follows_its_policy(self) -> None:
        """At every stage but body, with each policy, no later than its budget; the wait is cancelled."""
        for stage in PASSES:
            if stage == "body":
                continue
            for policy, wanted in (*NO_CHECK.items(), ("continue", PASSES[stage])):
                cancelled: list[Any] = []
                waiting: Deferred[Any] = Deferred(cancelled.append)
                gateway = Gateway(use(Kit().factory(on_error=policy, **{stage: lambda *args, w=waiting: w})))
                client = gateway.connect()
                reply = step(client, stage)
                self.assertEqual(reply, "", (stage, policy))
                gateway.advance(2)
                if stage == "connect" and policy != "continue":
                    wanted = {"tempfail": "421 4.7.1", "reject": "554 5.3.0"}[policy] + NO_CHECK[policy][9:]
                heard = client.read().partition("\n")[0]
                self.assertEqual(heard, wanted, (stage, policy))
                self.assertEqual(cancelled, [waiting])
                (event,) = gateway.failures
                self.assertEqual((event.stage, event.kind, event.policy), (stage, "timeout", policy))

    def test_the_verdict_s_time_bounds_the_last_stage(self) -> None:
        """Whatever the budget of a filter is."""
        gateway = Gateway(use(Kit().factory(budget_s=300.0, end=lambda: Deferred())), config="[timeouts]\nverdict = 3")
        client = gateway.connect()
        client.helo()
        client.message()
        gateway.advance(2.9)
        self.assertEqual(client.read(), "")
        gateway.advance(0.2)
        self.assertEqual(client.read(), NO_CHECK["tempfail"])

    def test_filters_share_the_time_of_the_verdict(self) -> None:
        """45 seconds on mx and 20 on submission for all of them together; each of those cut follows its own policy."""
        for role, seconds in (("mx", 45.0), ("submission", 20.0)):
            slow = [
                use(Kit().factory(f"slow{number}", budget_s=120.0, on_error="continue", end=lambda: Deferred()))
                for number in range(5)
            ]
            quick = use(Kit().factory("quick", end=lambda: Finding("odd", "tag")))
            gateway = Gateway(*slow, quick, role=role)
            client = gateway.connect()
            client.helo()
            if role == "submission":
                client.login("alice")
            client.message()
            gateway.advance(seconds - 0.2)
            self.assertEqual(client.read(), "", role)
            gateway.advance(0.4)
            self.assertEqual(client.read(), OK, role)
            self.assertEqual([one.reason for one in client.findings], ["odd", *["filter-failed"] * 5])
            self.assertEqual({(one.kind, one.policy) for one in gateway.failures}, {("timeout", "continue")})

    def test_a_client_that_hangs_up_cancels_every_wait(self) -> None:
        """At each stage; what is awaited hears of it, the objects are closed, no session and no timer stays."""
        for stage in ("connect", "helo", "mail", "rcpt", "data", "end"):
            kit = Kit()
            cancelled: list[str] = []

            async def wait(*args: Any, cancelled: list[str] = cancelled) -> None:
                try:
                    await Deferred()
                finally:
                    cancelled.append("coroutine")

            raw: Deferred[Any] = Deferred(lambda waiting, c=cancelled: c.append("deferred"))  # type: ignore[misc]
            gateway = Gateway(
                use(kit.factory("one", closed=None, **{stage: wait})),
                use(kit.factory("two", closed=None, **{stage: lambda *args, raw=raw: raw})),
            )
            calm = len(gateway.clock.getDelayedCalls())
            client = gateway.connect()
            self.assertEqual(step(client, stage), "", stage)
            client.hang_up()
            self.assertEqual(sorted(cancelled), ["coroutine", "deferred"], stage)
            timers = [getattr(call.func, "__self__", None) for call in gateway.clock.getDelayedCalls()]
            self.assertFalse([owner for owner in timers if isinstance(owner, Deferred)], stage)
            self.assertEqual(gateway.sessions, 0, stage)
            self.assertEqual([name for name, heard in kit.heard if heard == "closed"], ["one", "two"], stage)
            gateway.advance(60)
            self.assertEqual(gateway.failures, [], stage)
            self.assertLessEqual(len(gateway.clock.getDelayedCalls()), calm, stage)
            self.assertEqual(gateway.backend.messages, [], stage)

    def test_a_late_answer_is_nobody_s(self) -> None:
        """Neither of this message nor of the next."""
        late: Deferred[Any] = Deferred()
        answers: list[Any] = [late, None]
        gateway, client = self.ready(use(Kit().factory(end=lambda: answers.pop(0))))
        client.message()
        gateway.advance(2)
        self.assertEqual(client.read(), NO_CHECK["tempfail"])
        late.callback(Finding("late", "reject"))
        self.assertEqual(client.message(), OK)
        self.assertEqual([found.reason for found in client.findings], ["filter-failed"])

    def test_a_filter_that_blocks_the_reactor_is_named(self) -> None:
        """Its answer counts; nobody can take it back."""
        gateway = Gateway()
        for took, named in ((SLOW_S, []), (SLOW_S * 2, [("one", "mail", "blocked")])):
            waits: list[Any] = []
            factory = Kit().factory(mail=lambda: waits[0]())
            gateway, client = self.ready(use(factory))

            def block(gateway: Gateway = gateway, took: float = took) -> Finding:
                # Time passes while the method runs: that is what blocking is.
                gateway.clock.rightNow += took
                return Finding("found", "reject")

            waits.append(block)
            self.assertEqual(client.mail(), "550 5.7.1 Refused by policy")
            self.assertEqual([(event.filter, event.stage, event.kind) for event in gateway.failures], named)
            self.assertEqual([found.reason for found in client.findings], ["found"])


class FailureTests(SynchronousTestCase):
    """Filters that raise and lie."""

    def outcome(self, stage: str, method: Any, policy: str) -> tuple[str, FilterFailed]:
        """The reply of a stage, and what was told."""
        gateway = Gateway(use(Kit().factory(on_error=policy, **{stage: method})))
        client = gateway.connect()
        reply = step(client, stage)
        failures = gateway.failures
        self.assertTrue(failures, (stage, policy))
        self.assertEqual({found.reason for found in client.findings}, {"filter-failed"})
        return reply, failures[0]

    def test_raise_and_lie_follow_the_policy(self) -> None:
        """Each kind of failure at every stage with each policy: the same path, one event with the name."""
        for stage in PASSES:
            for kind, method in (
                ("raised", raises),
                ("raised", raises_late),
                ("raised", lambda *args: fail(RuntimeError("a mistake"))),
                ("wrong type", True),
                ("wrong type", "550 no"),
                ("wrong type", (Finding("x"),)),
                ("wrong type", [Finding("x", "reject"), "550 no"]),
                ("wrong type", lambda *args: Finding),
                ("wrong type", lambda *args: succeed(0)),
            ):
                if stage == "body" and (method is raises_late or kind == "raised" and method is not raises):
                    continue
                for policy in ("tempfail", "reject", "continue"):
                    reply, event = self.outcome(stage, method, policy)
                    wanted = PASSES[stage] if policy == "continue" else NO_CHECK[policy]
                    if stage == "connect" and policy != "continue":
                        wanted = {"tempfail": "421 4.7.1", "reject": "554 5.3.0"}[policy] + wanted[9:]
                    self.assertEqual(reply, wanted, (stage, kind, policy))
                    self.assertEqual((event.filter, event.stage, event.kind), ("one", stage, kind))
                    self.assertEqual(event.policy, policy)
                    if kind == "raised":
                        self.assertIn("a mistake", event.detail)

    def test_a_finding_that_cannot_be_made_is_a_failure_of_its_filter(self) -> None:
        """The value refuses it inside the filter."""
        for wrong in (
            lambda *args: Finding("Bad Reason"),
            lambda *args: Finding("x", "explode"),
            lambda *args: Finding("x", "reject", code=451),
            lambda *args: Finding("x", "defer", enhanced="5.1.1"),
        ):
            reply, event = self.outcome("mail", wrong, "tempfail")
            self.assertEqual((reply, event.kind), (NO_CHECK["tempfail"], "raised"))

    def test_a_filter_that_cannot_begin_is_judged_at_the_first_stage_that_comes(self) -> None:
        """Also where its own stages are much later."""
        for stages, first in (({"connect": None}, "connect"), ({"end": None}, "rcpt"), ({"mail": None}, "mail")):
            for policy in ("tempfail", "reject", "continue"):
                gateway = Gateway(use(Kit().factory(on_error=policy, begin=raises, **stages)))
                client = gateway.connect()
                wanted = PASSES[first] if policy == "continue" else NO_CHECK[policy]
                if first == "connect" and policy != "continue":
                    wanted = {"tempfail": "421 4.7.1", "reject": "554 5.3.0"}[policy] + wanted[9:]
                self.assertEqual(step(client, first), wanted, (stages, policy))
                self.assertEqual([(event.stage, event.kind) for event in gateway.failures], [("begin", "raised")])

    def test_one_filter_s_failure_is_not_the_others(self) -> None:
        """They are heard; a refusal for good is stronger than a check that could not be done."""
        kit = Kit()
        gateway = Gateway(use(kit.factory("one", end=raises)), use(kit.factory("two", end=Finding("bad", "reject"))))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")
        self.assertEqual([found.reason for found in client.findings], ["filter-failed", "bad"])

    def test_one_message_s_failure_is_not_the_next_one_s(self) -> None:
        """Promise 9."""
        answers: list[Any] = [raises, lambda: None]
        gateway = Gateway(use(Kit().factory(end=lambda: answers.pop(0)())))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), NO_CHECK["tempfail"])
        self.assertEqual(client.message(), OK)

    def test_a_body_method_that_raised_is_not_asked_again(self) -> None:
        """One event, however many chunks follow."""
        gateway = Gateway(use(Kit().factory(body=raises, end=None)))
        client = gateway.connect()
        client.helo()
        client.mail(), client.rcpt(), client.data()
        for _ in range(20):
            client.content(b"Subject: x\r\n\r\nmore\r\n")
        self.assertEqual(client.end(), NO_CHECK["tempfail"])
        self.assertEqual([event.stage for event in gateway.failures], ["body"])

    def test_closed_comes_once_and_may_raise(self) -> None:
        """However the transaction ended; a mistake there is told and changes nothing."""
        endings: list[tuple[str, Callable[[Client], Any]]] = [
            ("delivered", lambda client: client.message()),
            ("reset", lambda client: (client.mail(), client.say("RSET"))),
            ("greeted anew", lambda client: (client.mail(), client.helo())),
            ("quit", lambda client: (client.mail(), client.say("QUIT"))),
            ("gone", lambda client: (client.mail(), client.hang_up())),
            ("gone in the content", lambda client: (client.mail(), client.rcpt(), client.data(), client.hang_up())),
        ]
        for ending, end in endings:
            kit = Kit()
            gateway = Gateway(use(kit.factory(mail=None, closed=raises)))
            client = gateway.connect()
            client.helo()
            end(client)
            self.assertEqual([stage for _, stage in kit.heard], ["mail", "closed"], ending)
            (event,) = gateway.failures
            self.assertEqual((event.stage, event.kind, event.policy), ("closed", "raised", "none"))
            self.assertEqual(client.findings, [], ending)


class CloseTests(SynchronousTestCase):
    """`ChainRun.close`."""

    def test_each_object_is_closed_once_however_often_it_is_asked(self) -> None:
        """Also where one of them raises."""
        heard: list[tuple[str, str]] = []
        told: list[Any] = []
        uses = [
            PipelineUse(
                name, Scripted(name, {"mail": raises, "closed": raises}, heard), frozenset({"mail"}), frozenset({"mx"})
            )
            for name in ("one", "two")
        ]
        run = Chain(uses, "mx", Gateway().clock, told.append).transaction(
            Transaction("1", Session("1", "l", "mx"), NULL_SENDER, {})
        )
        run.close()
        run.close()
        self.assertEqual(heard, [("one", "closed"), ("two", "closed")])
        self.assertEqual([event.filter for event in told], ["one", "two"])


class AcceptTests(SynchronousTestCase):
    """`accept` with `skips`."""

    def test_later_stages_of_the_session_and_its_transactions_are_silent(self) -> None:
        """For the named filter alone, in every message of the session; nothing of it is even made."""
        kit = Kit()
        accept = Finding("friend", "accept", skips=frozenset({"two"}))
        refuse = Finding("no", "reject")
        gateway = Gateway(
            use(kit.factory("one", connect=accept)),
            use(kit.factory("two", helo=refuse, mail=refuse, body=raises, end=refuse)),
            use(kit.factory("three", helo=None, end=None)),
        )
        client = gateway.connect()
        self.assertEqual(client.helo(), PASSES["helo"])
        for _ in range(2):
            self.assertEqual(client.message(), OK)
        self.assertNotIn("two", {name for name, _ in kit.heard})
        self.assertEqual([stage for name, stage in kit.heard if name == "three"], ["helo", "end", "end"])
        other = gateway.connect("198.51.100.1")
        self.assertEqual(other.session.client_ip, "198.51.100.1")

    def test_what_was_found_at_the_same_stage_is_silenced_too(self) -> None:
        """Whoever ran first."""
        accept = Finding("friend", "accept", skips=frozenset({"two"}))
        for order in (("one", "two"), ("two", "one")):
            kit = Kit()
            found = {"one": accept, "two": Finding("no", "reject")}
            client = Gateway(*(use(kit.factory(name, connect=found[name])) for name in order)).connect()
            self.assertEqual(client.greeting, PASSES["connect"], order)

    def test_an_accept_within_a_transaction_ends_with_it(self) -> None:
        """The next message is looked at anew."""
        kit = Kit()
        answers = [Finding("friend", "accept", skips=frozenset({"two"})), None]
        client = Gateway(
            use(kit.factory("one", mail=lambda: answers.pop(0))),
            use(kit.factory("two", rcpt=Finding("no", "reject"), end=Finding("no", "reject"))),
        ).connect()
        client.helo()
        self.assertEqual(client.message(), OK)
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")

    def test_an_accept_for_one_recipient_is_for_that_recipient(self) -> None:
        """It silences nobody for the others, and not for the message."""
        kit = Kit()
        friend = Finding("friend", "accept", skips=frozenset({"two"}))
        accept = lambda recipient: friend if recipient.path.local == "abuse" else None  # noqa: E731
        client = Gateway(
            use(kit.factory("one", rcpt=accept)),
            use(kit.factory("two", rcpt=Finding("no", "reject"))),
        ).connect()
        client.helo()
        client.mail()
        self.assertEqual(client.rcpt("bob@example.net")[:3], "550")
        self.assertEqual(client.rcpt("abuse@example.net")[:3], "250")
        self.assertEqual(client.rcpt("bob@example.net")[:3], "550")

    def test_in_shadow_it_silences_nobody(self) -> None:
        """What is recorded has no effect, here as elsewhere."""
        kit = Kit()
        accept = Finding("friend", "accept", skips=frozenset({"two"}))
        shadow = use(kit.factory("one", connect=accept), mode="shadow")
        client = Gateway(shadow, use(kit.factory("two", end=Finding("no", "reject")))).connect()
        client.helo()
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")

    def test_it_overrules_nothing_that_it_does_not_name(self) -> None:
        """No filter allows a message by running first."""
        kit = Kit()
        accept = use(kit.factory("one", connect=Finding("friend", "accept")))
        client = Gateway(accept, use(kit.factory("two", end=Finding("no", "reject")))).connect()
        client.helo()
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")


class DeliveryTests(SynchronousTestCase):
    """Filters see the message and do not change it."""

    def test_body_chunks_are_the_message(self) -> None:
        """Header section included, whatever the pieces, dots undone."""
        chunks: list[bytes] = []
        gateway = Gateway(use(Kit().factory(body=lambda chunk: chunks.append(chunk))))
        client = gateway.connect()
        client.helo()
        content = b"Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n"
        self.assertEqual(client.message(content), OK)
        self.assertEqual(b"".join(chunks), content)
        (delivered,) = gateway.backend.messages
        self.assertIsInstance(delivered, Delivered)
        self.assertTrue(delivered.content.endswith(b"\r\n" + content), delivered.content)
