"""What the page of a message works out of its record: proofs, points, what would have been, phases, the answer."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import insight
from smtpgate.admin.record import MessageView, SessionRecord, of_facts
from smtpgate.policy.verdict import ACTIONS, Finding, Scale, merge
from smtpgate.smtp.reply import Reply
from tests.admin_kit import ApiCase, make_session

SCALE = Scale(tag=4.0, reject=8.0)
SPAM = (
    Finding("dnsbl-listed", score=5.0, filter="dnsbl", seconds=0.05),
    Finding("links-short", score=2.0, filter="links", seconds=0.004),
    Finding("wording-lottery", score=3.0, filter="wording"),
    Finding("spf-pass", score=-1.0, filter="spf", detail="example.org"),
    Finding("tried", score=9.0, filter="new", is_shadow=True),
)


def record_of(findings: tuple[Finding, ...] = (), scale: Scale = SCALE, **more: Any) -> SessionRecord:
    facts = make_session(findings=findings, **more)
    facts.transactions[0].verdict = merge(findings, scale)
    return of_facts(facts, 101.0)


class ProofTests(SynchronousTestCase):
    """Who it is from."""

    def test_results_in_the_order_of_the_methods(self) -> None:
        """With the tone of each; two signatures are two rows."""
        found = (
            Finding("dmarc-pass", detail="example.org, by dkim=example.org", filter="dmarc"),
            Finding("dkim-fail", detail="d=list.example", filter="dkim"),
            Finding("dkim-pass", detail="d=example.org", filter="dkim"),
            Finding("spf-softfail", detail="example.org", filter="spf"),
            Finding("iprev-none", filter="iprev"),
        )
        proofs = insight.proofs(record_of(found).messages[0])
        self.assertEqual(
            [(one.method, one.result, one.tone) for one in proofs],
            [
                ("spf", "softfail", "wait"),
                ("dkim", "fail", "bad"),
                ("dkim", "pass", "good"),
                ("dmarc", "pass", "good"),
            ],
        )
        self.assertEqual(insight.proofs(record_of().messages[0]), [])


class PointTests(SynchronousTestCase):
    """How points add up."""

    def test_sum_bars_and_thresholds(self) -> None:
        """Bars stand behind each other, the largest first; what is tried in shadow is shown and not summed."""
        points = insight.points(record_of(SPAM).messages[0], SCALE)
        assert points is not None
        self.assertEqual(points.total, 9.0)
        self.assertEqual([one.score for one in points.bars], [5.0, 3.0, 2.0, -1.0, 9.0])
        self.assertEqual([mark[:2] for mark in points.marks], [("tag", 4.0), ("reject", 8.0)])
        first, second = points.bars[:2]
        self.assertEqual(first.start + first.width, second.start)
        self.assertTrue(points.bars[-1].is_shadow)
        self.assertIsNone(insight.points(record_of().messages[0], SCALE))

    @given(st.lists(st.floats(-1000, 1000).filter(lambda score: abs(score) > 0.01), min_size=1, max_size=20))
    @settings(max_examples=60)
    def test_bars_stay_in_the_picture(self, scores: list[float]) -> None:
        """Whatever the points."""
        found = tuple(Finding(f"r{number}", score=score, filter="f") for number, score in enumerate(scores))
        points = insight.points(record_of(found).messages[0], SCALE)
        assert points is not None
        for one in points.bars:
            self.assertGreaterEqual(one.start, 0)
            self.assertLessEqual(one.start, 1000)
        for _, _, place in points.marks:
            self.assertTrue(0 <= place <= 1000)

    def test_without_one_finding(self) -> None:
        """Told by the function that decides: only those that make a difference."""
        found = insight.otherwise(record_of(SPAM).messages[0], SCALE)
        self.assertEqual(
            [(one.reason, one.action) for one in found],
            [("dnsbl-listed", "tag"), ("links-short", "tag"), ("wording-lottery", "tag")],
        )

    @given(
        st.lists(
            st.tuples(st.sampled_from(sorted(set(ACTIONS) - {"accept"})), st.floats(-3, 9), st.booleans()), max_size=8
        )
    )
    @settings(max_examples=100)
    def test_what_would_have_been_is_what_is_decided_then(self, made: list[tuple[str, float, bool]]) -> None:
        """Leave the finding out and judge anew: that very action."""
        found = tuple(
            Finding(f"r{number}", action, "no", score=score, filter=f"f{number}", is_shadow=shadow)
            for number, (action, score, shadow) in enumerate(made)
        )
        for one in insight.otherwise(record_of(found).messages[0], SCALE):
            less = merge([other for other in found if other.reason != one.reason], SCALE)
            self.assertEqual(less.action, one.action)
            self.assertLess(less.rank, merge(found, SCALE).rank)

    def test_with_fewer_points(self) -> None:
        """What would have been below the threshold, and who gave the most; nothing where points did not decide."""
        message = record_of(SPAM).messages[0]
        said = insight.below(message, insight.points(message, SCALE))
        milder, most = "Below 8 points it would have been accepted with a mark; it has 9", "dnsbl: dnsbl-listed (+5)"
        self.assertEqual(said, f"{milder}, most of them from {most}.")
        alone = Scale(reject=8.0)
        message = record_of(SPAM, alone).messages[0]
        self.assertIn("would have been accepted;", insight.below(message, insight.points(message, alone)))
        self.assertEqual(insight.below(message, insight.points(message, Scale(tag=1.0))), "")
        for found in ((), (Finding("no-programs", "reject", filter="rules", score=20.0),)):
            message = record_of(found).messages[0]
            self.assertEqual(insight.below(message, insight.points(message, SCALE)), "")

    def test_where_the_record_does_not_say_enough(self) -> None:
        """Other thresholds at the time, or a finding that silenced others: nothing is claimed."""
        self.assertEqual(insight.otherwise(record_of(SPAM).messages[0], Scale(tag=1.0)), [])
        spared = (*SPAM, Finding("friend", "accept", filter="rules", skips=frozenset({"wording"})))
        self.assertEqual(insight.otherwise(record_of(spared).messages[0], SCALE), [])
        self.assertEqual(insight.otherwise(record_of().messages[0], SCALE), [])


class PhaseTests(SynchronousTestCase):
    """Where the time went."""

    def test_a_message_that_was_delivered(self) -> None:
        """Client, checks, backend, reply; checks with what each took."""
        record = record_of(SPAM[:2])
        phases = insight.phases(record.messages[0], record)
        self.assertEqual(
            [(one.name, one.waits_for) for one in phases],
            [
                ("envelope", "client"),
                ("content", "client"),
                ("checks", "filter"),
                ("dnsbl", "filter"),
                ("links", "filter"),
                ("backend", "backend"),
                ("reply", "us"),
            ],
        )
        whole = sum(one.took_ms for one in phases if not one.is_inner)
        self.assertAlmostEqual(whole, 321.0 - 25.0, delta=0.01)
        self.assertIn("the backend", insight.reached(phases))
        for one in phases:
            self.assertTrue(0 <= one.start and one.start + one.width <= 1000, one)

    def test_a_message_that_no_server_was_given(self) -> None:
        """Refused by our checks nobody waits for a backend; what is held is written by us."""
        for action, wanted in (("reject", []), ("defer", []), ("quarantine", [("keeping", "us")])):
            record = record_of((Finding("found", action, "no", filter="rules"),))
            phases = insight.phases(record.messages[0], record)
            found = [(one.name, one.waits_for) for one in phases if one.name in ("backend", "keeping")]
            self.assertEqual(found, wanted, action)

    def test_a_message_that_never_came(self) -> None:
        """It ended at RCPT: an envelope, and nothing else."""
        message = MessageView(id="x.1", begun_ms=10.0, ended_ms=60.0, outcome="refused")
        phases = insight.phases(message, SessionRecord(id="x"))
        self.assertEqual([(one.name, one.took_ms) for one in phases], [("envelope", 50.0)])
        self.assertEqual(insight.reached([]), "")


class BackendTests(SynchronousTestCase):
    """Under which name the backend has it."""

    def test_usual_replies(self) -> None:
        """Of Postfix, Exim, Sendmail, Exchange, Google, qmail; of others nothing is guessed."""
        for text, wanted in (
            ("2.0.0 Ok: queued as 4XyZ1b2c3dz9", "4XyZ1b2c3dz9"),
            ("OK id=1tAbCd-000000001Xy-0aBc", "1tAbCd-000000001Xy-0aBc"),
            ("5BRAbcde012345 Message accepted for delivery", "5BRAbcde012345"),
            ("2.6.0 <a@b> [InternalId=1234567890123, Hostname=x] Queued mail for delivery", "1234567890123"),
            ("OK  1700000000 a1-20020a17090a.123 - gsmtp", "a1-20020a17090a.123"),
            ("ok 1700000000 qp 12345", "12345"),
            ("Ok: kept as 1795831320.773768.8705_1.sink", "1795831320.773768.8705_1.sink"),
            ("Thank you", ""),
            ("queued as <script>", ""),
        ):
            self.assertEqual(insight.queue_id(text), wanted, text)


class AnswerTests(ApiCase):
    """What a sender can be told, and the API."""

    def test_it_says_what_the_reply_said_and_no_more(self) -> None:
        """Reply, remedy and reference; no filter, no score."""
        reply = Reply(550, "5.7.26", ("The DMARC policy of example.org is not met by this message",))
        record = record_of(SPAM, outcome="refused", reply=reply)
        said = insight.answer(record.messages[0], "gate.example.net", "2026-11-28")
        for words in (
            "550 5.7.26 The DMARC policy",
            "DMARC policy forbids",
            record.messages[0].id,
            "<ann@example.org>",
            "<bob@example.net>",
        ):
            self.assertIn(words, said)
        for words in ("dnsbl", "points", "wording"):
            self.assertNotIn(words, said)
        self.assertEqual(insight.answer(record_of().messages[0], "gate.example.net", "x"), "")

    def test_the_api_says_what_the_page_shows(self) -> None:
        """All of it for one message; 404 for none."""
        facts = make_session(findings=SPAM, outcome="refused", reply=Reply(550, "5.7.1", ("No",)))
        self.desk.history.keep(facts)
        said = self.get(f"/messages/{facts.id}.1/explain")
        self.assertEqual((said["id"], said["verdict"], said["score"]), (f"{facts.id}.1", "refused", 9.0))
        self.assertEqual([one["method"] for one in said["proofs"]], ["spf"])
        self.assertEqual([one["name"] for one in said["phases"] if not one["is_inner"]][0], "envelope")
        self.assertIn("5.7.1", said["answer"])
        page = self.desk.ask("GET", f"/sessions/{facts.id}.1", token=self.owner).text
        for words in ("Who it is from", "Points: 9.0", "Where its time went", "For a sender who asks"):
            self.assertIn(words, page)
        self.assertNotIn("U+000A", page)
        self.assertEqual(self.desk.ask("GET", "/api/v1/messages/x.1/explain", token=self.owner).status, 404)
