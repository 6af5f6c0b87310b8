"""Tests of smtpgate.filters.engines.servers and .base: whom to ask, whom to leave alone, and what is remembered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines.base import malware, pieces, shown, whole
from smtpgate.filters.engines.servers import PAUSE_MOST_S, PAUSE_S, BadAnswer, EngineFailed, Places, Servers
from smtpgate.interfaces import StreamClosed
from tests.engine_kit import Content


class Asked:
    """Services with a clock, and servers whose answers a test fires by hand."""

    def __init__(self, *endpoints: str, connections: int = 2, waiting: int = 1, failures: int = 2) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        self.tell = self.told.append
        self.open: list[tuple[str, Deferred[Any]]] = []
        self.servers = Servers("engine", endpoints, self, connections, waiting, failures)

    async def question(self, endpoint: str) -> Any:
        answer: Deferred[Any] = Deferred()
        self.open.append((endpoint, answer))
        try:
            return await answer
        finally:
            self.open.remove((endpoint, answer))

    def ask(self) -> Deferred[Any]:
        """A question; each server has ten seconds."""
        return ensureDeferred(self.servers.ask(self.question, 10.0))

    @property
    def at_work(self) -> list[str]:
        """Where questions are now."""
        return [endpoint for endpoint, _ in self.open]

    def says(self, answer: Any) -> None:
        """The oldest question is answered, or fails."""
        deferred = self.open[0][1]
        if isinstance(answer, Exception):
            deferred.errback(answer)
        else:
            deferred.callback(answer)

    def names(self) -> list[tuple[str, str]]:
        """What was told: event and server."""
        return [(event.name, dict(event.fields)["server"]) for event in self.told]


class ServersTests(SynchronousTestCase):
    """`Servers`."""

    def test_the_first_answer_counts(self) -> None:
        """A server that fails hands on to the next, in the order of the list."""
        for failure in (StreamClosed("gone"), BadAnswer("garbage"), EngineFailed("busy")):
            asked = Asked("a", "b", "c")
            answer = asked.ask()
            asked.says(failure)
            self.assertEqual(asked.at_work, ["b"])
            asked.says("yes")
            self.assertEqual(self.successResultOf(answer), "yes")

    def test_silence_is_a_failure(self) -> None:
        """After its time the next is asked."""
        asked = Asked("a", "b")
        answer = asked.ask()
        asked.clock.advance(10)
        self.assertEqual(asked.at_work, ["b"])
        asked.clock.advance(10)
        error = self.failureResultOf(answer, EngineFailed).value
        self.assertEqual(str(error), "a: no answer within 10 s; b: no answer within 10 s")

    def test_the_idlest_is_asked(self) -> None:
        """One that works is used alone; a second question at the same time goes to the other."""
        asked = Asked("a", "b")
        asked.ask()
        asked.ask()
        self.assertEqual(asked.at_work, ["a", "b"])

    def test_other_errors_are_not_held_against_a_server(self) -> None:
        """A fault of ours passes through at once, and the place is free again."""
        asked = Asked("a", "b", connections=1, failures=1)
        answer = asked.ask()
        asked.says(OSError("disk"))
        self.failureResultOf(answer, OSError)
        self.assertEqual(asked.told, [])
        asked.ask()
        self.assertEqual(asked.at_work, ["a"])

    def test_places_are_few_and_so_are_those_who_wait(self) -> None:
        """Two at work, one waits, the fourth is turned away; whoever has waited gets the next place."""
        asked = Asked("a", connections=2, waiting=1)
        first, _, third, fourth = (asked.ask() for _ in range(4))
        self.assertIn("busy", str(self.failureResultOf(fourth, EngineFailed).value))
        self.assertEqual(len(asked.open), 2)
        asked.says("yes")
        self.assertEqual(self.successResultOf(first), "yes")
        self.assertEqual(len(asked.open), 2)
        self.assertNoResult(third)

    def test_one_that_is_cancelled_gives_its_place_back(self) -> None:
        """At work, and while it waits; it counts against nobody."""
        asked = Asked("a", connections=1, waiting=1, failures=1)
        first, second = asked.ask(), asked.ask()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = asked.ask()
        self.assertNoResult(third)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((len(asked.open), asked.told), (1, []))

    def test_a_server_that_fails_is_left_alone(self) -> None:
        """After so many failures in a row, told once; while no other is there a question fails at once."""
        asked = Asked("a", failures=2)
        for _ in range(2):
            answer = asked.ask()
            asked.says(StreamClosed("refused"))
            self.failureResultOf(answer, EngineFailed)
        self.assertEqual(asked.names(), [("engine.down", "a")])
        self.assertIn("engine: a fails and is left alone: refused", asked.told[0].message)
        self.assertIn("no server to ask", str(self.failureResultOf(asked.ask(), EngineFailed).value))

    def test_failures_count_in_a_row(self) -> None:
        """One answer in between, and it begins anew."""
        asked = Asked("a", failures=2)
        for said in (StreamClosed("x"), "yes", StreamClosed("x"), "yes"):
            answer = asked.ask()
            asked.says(said)
            answer.addErrback(lambda failure: None)
        self.assertEqual(asked.told, [])

    def test_after_a_pause_one_question_is_the_trial(self) -> None:
        """The others still fail at once; its failure makes the pause longer without a word, its success ends it."""
        asked = Asked("a", failures=1, connections=9)
        self.fails(asked)
        pause = PAUSE_S
        for _ in range(8):
            asked.clock.advance(pause - 0.1)
            self.failureResultOf(asked.ask(), EngineFailed)
            self.assertEqual(asked.open, [])
            asked.clock.advance(0.1)
            trial = asked.ask()
            self.failureResultOf(asked.ask(), EngineFailed)
            asked.says(StreamClosed("refused"))
            self.failureResultOf(trial, EngineFailed)
            pause = min(2 * pause, PAUSE_MOST_S)
        self.assertEqual(asked.names(), [("engine.down", "a")])
        asked.clock.advance(PAUSE_MOST_S)
        answer = asked.ask()
        asked.says("yes")
        self.assertEqual(self.successResultOf(answer), "yes")
        self.assertEqual(asked.names(), [("engine.down", "a"), ("engine.up", "a")])
        self.fails(asked)
        asked.clock.advance(PAUSE_S)
        self.assertNoResult(asked.ask())

    def fails(self, asked: Asked) -> None:
        """One question fails."""
        answer = asked.ask()
        asked.says(StreamClosed("refused"))
        self.failureResultOf(answer, EngineFailed)

    def test_a_trial_that_is_cancelled_is_followed_by_another(self) -> None:
        """A client that left is no reason to leave a server alone for good."""
        asked = Asked("a", failures=1)
        self.fails(asked)
        asked.clock.advance(PAUSE_S)
        trial = asked.ask()
        trial.cancel()
        self.failureResultOf(trial, CancelledError)
        self.assertNoResult(asked.ask())

    def test_those_on_their_way_together_count_once(self) -> None:
        """Ten that fail in one moment make one pause, not ten doublings."""
        asked = Asked("a", failures=1, connections=10)
        answers = [asked.ask() for _ in range(10)]
        while asked.open:
            asked.says(StreamClosed("reset"))
        for answer in answers:
            self.failureResultOf(answer, EngineFailed)
        asked.clock.advance(PAUSE_S)
        self.assertNoResult(asked.ask())

    def test_one_that_is_down_is_passed_over(self) -> None:
        """Nobody waits for it while there is another."""
        asked = Asked("a", "b", failures=1)
        first = asked.ask()
        asked.says(StreamClosed("refused"))
        asked.says("yes")
        self.successResultOf(first)
        asked.ask()
        self.assertEqual(asked.at_work, ["b"])

    def test_a_loan_holds_a_place(self) -> None:
        """It is given back once, however often that is said."""
        asked = Asked("a", connections=2, waiting=0)
        loan = asked.servers.lend(is_calm=True)
        assert loan is not None
        self.assertIsNotNone(asked.servers.lend(is_calm=True))
        self.assertIsNone(asked.servers.lend())
        loan.release()
        loan.release()
        self.assertEqual(asked.servers.places.free, 1)
        loan.fails("x")
        loan.fails("x")
        self.assertEqual(asked.names(), [("engine.down", "a")])

    def test_uploads_leave_half_of_the_places(self) -> None:
        """Messages at their end find room."""
        asked = Asked("a", connections=4)
        lent = [asked.servers.lend(is_calm=True) for _ in range(4)]
        self.assertEqual([one is not None for one in lent], [True, True, True, False])


class PlacesTests(SynchronousTestCase):
    """`Places`."""

    def test_places_are_never_lost(self) -> None:
        """In whatever order they are taken, given up and given back."""
        places = Places(2, 3)
        held = [ensureDeferred(places.take()) for _ in range(5)]
        held[3].cancel()
        self.failureResultOf(held[3], CancelledError)
        for _ in range(4):
            places.give()
        for number in (0, 1, 2, 4):
            self.successResultOf(held[number])
        self.assertEqual(places.free, 2)

    def test_a_long_line_that_is_done_at_once(self) -> None:
        """Each gives its place back while it has it: all have one, however many."""
        places = Places(1, 5000)
        first = ensureDeferred(places.take())
        self.successResultOf(first)

        async def quick(number: int) -> int:
            await places.take()
            places.give()
            return number

        asked = [ensureDeferred(quick(number)) for number in range(2000)]
        places.give()
        self.assertEqual([self.successResultOf(one) for one in asked], list(range(2000)))
        self.assertEqual(places.free, 1)


class WordTests(SynchronousTestCase):
    """What all engines use."""

    def test_patterns(self) -> None:
        """The first that fits, without regard to case; of several names the strongest; what fits none is refused."""
        actions = {"PUA.*": "tag", "*.Test": "note", "D*": "defer"}
        for names, action, reason in (
            (("pua.x",), "tag", "malware-suspected"),
            (("A.Test",), "note", "malware-suspected"),
            (("A.Test", "D", "pua.x"), "defer", "malware-suspected"),
            (("pua.x", "B"), "reject", "malware"),
        ):
            found = malware(names, actions)
            self.assertEqual((found.action, found.reason, found.detail), (action, reason, ", ".join(names)))

    def test_what_is_shown_is_one_short_line(self) -> None:
        """Whatever an engine said."""
        self.assertEqual(shown("a\r\nb\x1b[31m\tc\0" + "x" * 2000)[:12], "a b [31m c x")
        self.assertLessEqual(len(shown("x" * 2000)), 500)

    def test_content_that_has_gone_is_an_error(self) -> None:
        """A transaction that ended has no octets any more: that must not pass for an empty message."""
        content = Content(b"x" * 1000)
        self.assertEqual(self.successResultOf(ensureDeferred(whole(content))), b"x" * 1000)
        content._octets = b""

        async def read() -> None:
            async for _ in pieces(content):
                pass

        self.failureResultOf(ensureDeferred(read()), OSError)
        self.failureResultOf(ensureDeferred(whole(content)), OSError)
