"""Tests of smtpgate.policy.record: one session as plain values, for history, pages and the API."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.changes import Changed
from smtpgate.policy.record import compact, expand, plain
from smtpgate.policy.transaction import TIMELINE_STEPS
from smtpgate.smtp.reply import Reply
from tests.observe_kit import REFUSED, WALL, finding, session, transaction, verdict


class PlainTests(SynchronousTestCase):
    """`plain`."""

    def test_everything_is_json(self) -> None:
        """And comes back from it as it was."""
        facts = session()
        found = finding(score=2.5, detail="why")
        transaction(facts, "refused", reply=REFUSED, findings=[found], verdict=verdict(found), notes=["bare_newline"])
        facts.transactions[0].changes = [Changed("rules/x", "removed", "2 image/png", "image a.png, 8 octets")]
        facts.findings = [finding("helo-odd", "note", "helo", is_shadow=True, seconds=0.25)]
        made = plain(facts, facts.ended)
        self.assertEqual(json.loads(json.dumps(made)), made)
        changed = {"author": "rules/x", "what": "removed", "where": "2 image/png", "before": "image a.png, 8 octets"}
        self.assertEqual(made["messages"][0]["changes"], [{**changed, "after": ""}])
        self.assertEqual(made["messages"][0]["verdict"]["decided_by"]["reason"], "spf-fail")
        self.assertEqual((made["findings"][0]["is_shadow"], made["findings"][0]["duration_ms"]), (True, 250.0))

    def test_times_are_milliseconds_since_the_session_began(self) -> None:
        """Whatever the clock showed; what did not happen has none."""
        facts = session()
        transaction(facts, data_at=0.0, end_at=0.0, verdict_at=0.0, committed_at=0.0)
        made = plain(facts, 0.0)
        (message,) = made["messages"]
        self.assertEqual(made["started"], WALL + 1)
        self.assertAlmostEqual(made["duration_ms"], 400.0)
        self.assertAlmostEqual(message["begun_ms"], 100.0)
        self.assertAlmostEqual(message["ended_ms"], 270.0)
        self.assertEqual([message[name] for name in ("data_ms", "end_ms", "verdict_ms", "committed_ms")], [None] * 4)

    def test_lists_without_names_say_the_same(self) -> None:
        """As JSON, with and without whatever may be absent; what is added later is absent from what was kept before."""
        found = finding()
        for facts, given in (
            (session(), {"reply": REFUSED, "findings": [found], "verdict": verdict(found), "notes": ["bare_newline"]}),
            (session(tls=None), {"reply": None, "data_at": 0.0}),
        ):
            transaction(facts, "refused", **given)
            kept = json.loads(json.dumps(compact(facts, facts.ended)))
            self.assertEqual(expand(kept), plain(facts, facts.ended))
            self.assertNotIn("class_reason", expand(kept[:-1]))

    def test_a_session_that_runs(self) -> None:
        """With the transaction that is under way, and its age by the clock."""
        facts = session(ended=0.0)
        transaction(facts)
        running = transaction(facts, "", reply=None)
        facts.transactions.remove(running)
        facts.transaction = running
        made = plain(facts, facts.begun + 2)
        self.assertTrue(made["is_live"])
        self.assertAlmostEqual(made["duration_ms"], 2000.0)
        self.assertEqual([message["outcome"] for message in made["messages"]], ["delivered", ""])
        self.assertIsNone(made["messages"][1]["reply"])

    def test_recipients_and_what_they_were_told(self) -> None:
        """At RCPT, and at the end; in the timeline as one line."""
        facts = session()
        made = transaction(facts, recipients=("b@example.net", "c@example.net"))
        one, two = made.recipients
        one.final, one.state = Reply(250, "2.0.0", ("queued",)), "delivered"
        two.reply, two.state = REFUSED, "refused"
        shown = plain(facts, 0.0)
        first, second = shown["messages"][0]["recipients"]
        self.assertEqual(
            (first["address"], first["state"], first["final"]["text"]), ("<b@example.net>", "delivered", "queued")
        )
        self.assertEqual((second["reply"]["code"], second["final"]), (550, None))
        steps = [step["detail"] for step in shown["timeline"] if step["what"] == "RCPT"]
        self.assertEqual(steps, ["<b@example.net> 250 Ok", "<c@example.net> 550 No such user"])

    def test_recipients_of_a_message_that_was_refused(self) -> None:
        """Accepted at RCPT is no end: they share what the message heard."""
        for outcome, state in (("refused", "refused"), ("deferred", "deferred"), ("aborted", "accepted")):
            facts = session()
            made = transaction(facts, outcome=outcome)
            made.recipients[0].state, made.recipients[0].final, made.reply = "accepted", None, REFUSED
            (shown,) = plain(facts, 0.0)["messages"][0]["recipients"]
            self.assertEqual(shown["state"], state)
            self.assertEqual(shown["final"] is None, outcome == "aborted")

    def test_a_session_in_clear_without_mail(self) -> None:
        """Nothing is made up."""
        made = plain(session(tls=None, helo="", client_name=""), 0.0)
        self.assertEqual((made["tls"], made["messages"], made["findings"], made["helo"]), (None, [], [], ""))

    def test_a_long_timeline_says_what_it_left_out(self) -> None:
        """By number."""
        facts = session()
        for _ in range(TIMELINE_STEPS + 5):
            facts.note(facts.begun, "client", "NOOP")
        made = plain(facts, 0.0)
        self.assertEqual((len(made["timeline"]), made["dropped_steps"]), (TIMELINE_STEPS, 6))
