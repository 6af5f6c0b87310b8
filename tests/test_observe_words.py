"""Tests of smtpgate.observe.words."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe import words
from smtpgate.policy.transaction import OUTCOMES
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply
from tests.observe_kit import REFUSED, finding, session, transaction, verdict


class VerdictTests(SynchronousTestCase):
    """`verdict_of`."""

    def test_each_outcome_has_a_word(self) -> None:
        """No outcome of the core is counted as something that nobody named."""
        found = {outcome: words.verdict_of(transaction(session(), outcome)) for outcome in OUTCOMES}
        self.assertEqual(
            found,
            {
                "delivered": "accept",
                "unacked": "accept",
                "refused": "reject",
                "deferred": "defer",
                "aborted": "abort",
                "unknown": "error",
                "held": "quarantine",
                "discarded": "discard",
                "redirected": "redirect",
            },
        )

    def test_what_went_through_marked_is_named_so(self) -> None:
        """A tagged message is told apart from an untouched one."""
        tagged = transaction(session(), verdict=verdict(finding("bulk", "tag")))
        self.assertEqual(words.verdict_of(tagged), "tag")

    def test_a_tag_of_a_refused_message_is_not_its_verdict(self) -> None:
        """What the backend refused was refused, whatever we thought of it."""
        refused = transaction(session(), "refused", reply=REFUSED, verdict=verdict(finding("bulk", "tag")))
        self.assertEqual(words.verdict_of(refused), "reject")


class StageTests(SynchronousTestCase):
    """`stage_of`."""

    def test_stage_is_how_far_it_came(self) -> None:
        """The last step that was begun names the stage."""
        facts = session()
        self.assertEqual(words.stage_of(transaction(facts)), "final")
        self.assertEqual(words.stage_of(transaction(facts, end_at=0.0)), "data")
        self.assertEqual(words.stage_of(transaction(facts, end_at=0.0, data_at=0.0)), "rcpt")
        self.assertEqual(words.stage_of(transaction(facts, recipients=(), end_at=0.0, data_at=0.0)), "mail")


class ReasonTests(SynchronousTestCase):
    """`reason_of` and `reply_reason`."""

    def test_a_delivered_message_has_no_reason(self) -> None:
        """There is nothing to explain."""
        self.assertEqual(words.reason_of(transaction(session())), ("", ""))

    def test_the_finding_that_decided_is_the_reason(self) -> None:
        """The filter is named with it."""
        found = finding("spf-fail")
        refused = transaction(session(), "refused", reply=found.reply(), verdict=verdict(found))
        self.assertEqual(words.reason_of(refused), ("spf-fail", "spf"))

    def test_our_own_reply_is_the_reason(self) -> None:
        """Every reply of the gateway has its name."""
        for name in ("MESSAGE_TOO_BIG", "RELAY_DENIED", "NO_ROUTE"):
            refused = transaction(session(), "refused", reply=getattr(status, name))
            self.assertEqual(words.reason_of(refused), (name.lower(), ""))

    def test_a_reply_of_the_backend_that_reads_like_ours_is_the_backends(self) -> None:
        """Only our very object is ours."""
        ours = status.RELAY_DENIED
        same = Reply(ours.code, ours.enhanced, ours.lines)
        self.assertEqual(words.reason_of(transaction(session(), "refused", reply=same)), ("backend", ""))

    def test_the_finding_about_one_recipient_is_found_by_its_reply(self) -> None:
        """A transaction has no verdict where a filter refused its only recipient."""
        found = finding("greylisted", "defer", "grey", recipients=frozenset({0}))
        shadow = finding("other", "defer", "shadow", is_shadow=True)
        deferred = transaction(session(), "deferred", reply=found.reply(), findings=[shadow, found])
        self.assertEqual(words.reason_of(deferred), ("greylisted", "grey"))
        other = Reply(451, "4.7.1", ("Something else",))
        self.assertEqual(words.reply_reason(deferred, other), ("backend", ""))


class SessionTests(SynchronousTestCase):
    """`closed_by`, `is_quiet`, `direction_of`."""

    def test_who_closed_is_a_closed_list(self) -> None:
        """QUIT and a vanished client are both the client's doing."""
        self.assertEqual(words.closed_by(session(closed_by="quit")), "client")
        self.assertEqual(words.closed_by(session(closed_by="admin")), "server")
        self.assertEqual(words.closed_by(session(closed_by="timeout")), "timeout")

    def test_only_a_connection_that_did_nothing_is_quiet(self) -> None:
        """A health check is; what logged in, failed, carried mail or was thrown out is not."""
        self.assertTrue(words.is_quiet(session(closed_by="client")))
        self.assertTrue(words.is_quiet(session(closed_by="quit")))
        self.assertFalse(words.is_quiet(session(errors=1)))
        self.assertFalse(words.is_quiet(session(user="alice")))
        self.assertFalse(words.is_quiet(session(closed_by="timeout")))
        busy = session()
        transaction(busy)
        self.assertFalse(words.is_quiet(busy))

    def test_direction_follows_the_role(self) -> None:
        """Submission leads out."""
        self.assertEqual(words.direction_of("submission"), "out")
        self.assertEqual(words.direction_of("mx"), "in")
