"""Tests of smtpgate.policy.verdict: findings, and the one decision over them."""

from __future__ import annotations

import random

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.verdict import ACTIONS, PASS, Finding, Scale, Verdict, merge

NAMES = ("one", "two", "three")
FINDINGS = st.lists(
    st.builds(
        Finding,
        reason=st.sampled_from(["a", "b", "c"]),
        action=st.sampled_from(ACTIONS),
        score=st.sampled_from([0.0, 0.5, 1.0, -2.0, 4.0]),
        skips=st.frozensets(st.sampled_from(NAMES), max_size=2),
        filter=st.sampled_from(NAMES),
        is_shadow=st.booleans(),
    ),
    max_size=6,
)


def found(action: str, **given_: object) -> Finding:
    """A finding of filter `one`."""
    return Finding("r", action, **{"filter": "one"} | given_)  # type: ignore[arg-type]


def in_force(findings: list[Finding]) -> list[Finding]:
    """The findings that count, said in another way than merge says it."""
    skipped = {name for one in findings if one.action == "accept" and not one.is_shadow for name in one.skips}
    return [one for one in findings if one.filter not in skipped]


class FindingTests(SynchronousTestCase):
    """`Finding`."""

    def test_reasons_are_identifiers(self) -> None:
        """Metrics and lists are keyed by them."""
        for reason in ("a", "quiet-hours", "av.clam_1", "0"):
            self.assertEqual(Finding(reason).reason, reason)
        for reason in ("", "Big", "two words", "-a", "a\n", "ü", "a/b"):
            with self.assertRaisesRegex(ValueError, "is no identifier"):
                Finding(reason)

    def test_actions_are_of_one_list(self) -> None:
        """Anything else is a mistake of the filter."""
        for action in ("", "drop", "Reject", "pass"):
            with self.assertRaisesRegex(ValueError, "is none of note, accept"):
                Finding("r", action)

    def test_codes_fit_their_action(self) -> None:
        """4yz for defer, 5yz for reject, none for the others (promise 5)."""
        for action, code, fits in (
            ("reject", 550, True), ("reject", 554, True), ("reject", 450, False), ("reject", 250, False),
            ("defer", 451, True), ("defer", 550, False), ("defer", 354, False), ("defer", 45, False),
            ("tag", 250, False), ("note", 451, False), ("quarantine", 550, False),
        ):  # fmt: skip
            with self.subTest(action=action, code=code):
                if fits:
                    self.assertEqual(Finding("r", action, code=code).reply().code, code)
                else:
                    self.assertRaises(ValueError, Finding, "r", action, code=code)

    def test_enhanced_codes_fit_their_action(self) -> None:
        """The class of both is the same."""
        self.assertEqual(Finding("r", "reject", enhanced="5.1.1").reply().enhanced, "5.1.1")
        self.assertEqual(Finding("r", "defer", enhanced="4.2.1").reply().enhanced, "4.2.1")
        for action, enhanced in (("reject", "4.7.1"), ("defer", "5.7.1"), ("reject", "2.0.0"), ("defer", "x")):
            with self.assertRaises(ValueError):
                Finding("r", action, enhanced=enhanced)

    def test_a_reply_is_made_of_what_is_public(self) -> None:
        """With the usual codes and words where none are given; the detail is nobody's business."""
        reply = Finding("r", "reject", detail="secret").reply()
        self.assertEqual((reply.code, reply.enhanced, reply.lines), (550, "5.7.1", ("Refused by policy",)))
        reply = Finding("r", "defer", detail="secret").reply()
        self.assertEqual((reply.code, reply.enhanced, reply.lines), (451, "4.7.1", ("Try again later",)))
        reply = Finding("r", "reject", public="No", code=552, enhanced="5.3.4").reply()
        self.assertEqual((reply.code, reply.enhanced, reply.lines), (552, "5.3.4", ("No",)))

    @given(st.text(max_size=2000))
    def test_no_text_breaks_the_reply_line(self, public: str) -> None:
        """One line, printable ASCII, 512 octets, whatever a filter wants to say."""
        octets = Finding("r", "reject", public=public).reply().octets("0" * 28)
        self.assertLessEqual(len(octets), 512)
        self.assertTrue(octets.startswith(b"550 5.7.1 "))
        self.assertEqual(octets.count(b"\n"), 1)
        self.assertTrue(octets.endswith(b" " + b"0" * 28 + b"\r\n"))
        self.assertTrue(all(0x20 <= octet < 0x7F for octet in octets[:-2]))

    def test_a_finding_cannot_be_changed(self) -> None:
        """The chain makes a copy with its name."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            found("note").action = "reject"  # type: ignore[misc]


class PrecedenceTests(SynchronousTestCase):
    """`merge` as a table."""

    def test_every_pair_of_actions(self) -> None:
        """The stronger decides, in either order."""
        for weak_rank, weak in enumerate(ACTIONS):
            for strong in ACTIONS[weak_rank + 1 :]:
                first, second = found(weak), found(strong, filter="two")
                for pair in ((first, second), (second, first)):
                    verdict = merge(pair)
                    self.assertEqual(verdict.action, strong, (weak, strong))
                    self.assertIs(verdict.decided_by, second)

    def test_the_order_of_strength(self) -> None:
        """Mildest first: a refusal for good is stronger than one for now."""
        self.assertEqual(ACTIONS, ("note", "accept", "tag", "discard", "redirect", "quarantine", "defer", "reject"))

    def test_of_equals_the_first_decides(self) -> None:
        """Its text is what the client hears."""
        for action in ACTIONS[1:]:
            first, second = found(action), found(action, filter="two")
            self.assertIs(merge([first, second]).decided_by, first)

    def test_what_is_a_refusal(self) -> None:
        """The mail does not go on now."""
        for action in ACTIONS:
            self.assertEqual(merge([found(action)]).is_refusal, action in ("defer", "reject"), action)

    def test_nothing_found_is_a_pass(self) -> None:
        """And a note decides nothing."""
        self.assertIs(merge([]), PASS)
        self.assertEqual(merge([found("note", score=2.0)]), Verdict("accept", None, 2.0))
        self.assertFalse(PASS.is_refusal)

    def test_accept_silences_only_whom_it_names(self) -> None:
        """Wherever it stands; scores of the silenced do not count."""
        accept = found("accept", skips=frozenset({"two"}))
        refusal, tag = found("reject", filter="two", score=5.0), found("tag", filter="three", score=1.0)
        for order in ((accept, refusal, tag), (tag, refusal, accept)):
            verdict = merge(order)
            self.assertEqual((verdict.action, verdict.decided_by, verdict.score), ("tag", tag, 1.0))
        self.assertEqual(merge([accept, found("reject", filter="three")]).action, "reject")

    def test_shadow_is_recorded_and_decides_nothing(self) -> None:
        """`would` has what is stronger than what was decided, and nothing else."""
        shadow = found("reject", is_shadow=True, score=9.0)
        for other, would in ((found("tag"), "reject"), (found("defer"), "reject"), (found("reject"), "")):
            verdict = merge([shadow, other])
            self.assertEqual((verdict.action, verdict.would, verdict.score), (other.action, would, 0.0))
        self.assertEqual(merge([shadow]), Verdict("accept", None, 0.0, "reject"))
        for mild in ("note", "accept"):
            self.assertEqual(merge([found(mild, is_shadow=True)]).would, "")

    def test_an_accept_in_shadow_silences_nobody(self) -> None:
        """Neither do the silenced in shadow count in `would`."""
        accept = found("accept", skips=frozenset({"two"}), is_shadow=True)
        self.assertEqual(merge([accept, found("reject", filter="two")]).action, "reject")
        accept = found("accept", skips=frozenset({"two"}))
        self.assertEqual(merge([accept, found("reject", filter="two", is_shadow=True)]).would, "")


class PropertyTests(SynchronousTestCase):
    """`merge` over whatever may be found."""

    @given(FINDINGS, st.randoms(use_true_random=False))
    def test_the_decision_does_not_depend_on_the_order(self, findings: list[Finding], chance: random.Random) -> None:
        """But for who of equals speaks."""
        shuffled = list(findings)
        chance.shuffle(shuffled)
        one, two = merge(findings), merge(shuffled)
        self.assertEqual((one.action, one.score, one.would), (two.action, two.score, two.would))
        self.assertEqual(one.decided_by is None, two.decided_by is None)

    @given(FINDINGS)
    def test_the_decision_is_somebody_s(self, findings: list[Finding]) -> None:
        """Of one that is in force, that is the strongest, and no mild word of nobody."""
        verdict = merge(findings)
        force = [one for one in in_force(findings) if not one.is_shadow]
        strongest = max((ACTIONS.index(one.action) for one in force), default=0)
        if strongest == 0:
            self.assertEqual((verdict.action, verdict.decided_by), ("accept", None))
        else:
            assert verdict.decided_by is not None
            self.assertEqual(verdict.action, ACTIONS[strongest])
            self.assertIs(verdict.decided_by, next(one for one in force if one.action == verdict.action))
        self.assertEqual(verdict.score, sum(one.score for one in force))

    @given(FINDINGS)
    def test_shadow_never_changes_the_decision(self, findings: list[Finding]) -> None:
        """With its findings or without them."""
        without = merge([one for one in findings if not one.is_shadow])
        self.assertEqual(attrs.evolve(merge(findings), would=""), attrs.evolve(without, would=""))

    @given(FINDINGS)
    def test_one_more_finding_never_makes_it_milder(self, findings: list[Finding]) -> None:
        """Unless it is an accept that names somebody."""
        before = merge(findings)
        for action in ACTIONS:
            after = merge([*findings, found(action, filter="four")])
            self.assertGreaterEqual(ACTIONS.index(after.action), ACTIONS.index(before.action))


class ScaleTests(SynchronousTestCase):
    """The sum of scores against the thresholds."""

    SCALE = Scale(tag=5.0, quarantine=8.0, reject=12.0)

    def test_the_sum_leads_to_the_strongest_threshold_it_reaches(self) -> None:
        """A threshold that is off is passed over; one that is met counts."""
        for score, action in (
            (4.9, "accept"),
            (5.0, "tag"),
            (8.0, "quarantine"),
            (11.9, "quarantine"),
            (12.0, "reject"),
        ):
            verdict = merge([found("note", score=score)], self.SCALE)
            self.assertEqual((verdict.action, verdict.score), (action, score))
        self.assertEqual(merge([found("note", score=99.0)]).action, "accept")
        self.assertEqual(merge([found("note", score=99.0)], Scale(defer=50.0)).action, "defer")

    def test_who_decided_is_the_sum_with_its_parts(self) -> None:
        """The explain page shows what it was made of, the heaviest first."""
        verdict = merge([found("note", score=2.0), Finding("heavy", score=4.5, filter="two")], self.SCALE)
        assert verdict.decided_by is not None
        self.assertEqual((verdict.decided_by.filter, verdict.decided_by.reason), ("scores", "scores"))
        self.assertEqual(verdict.decided_by.detail, "6.5 points, 5 are enough: heavy +4.5, r +2.0")

    def test_a_finding_that_says_as_much_speaks_for_itself(self) -> None:
        """Its text tells the sender more than a sum does."""
        refusal = found("reject", score=20.0, public="No programs")
        self.assertIs(merge([refusal], self.SCALE).decided_by, refusal)
        tag = found("tag", score=9.0)
        self.assertEqual(merge([tag], self.SCALE).action, "quarantine")

    def test_good_scores_weigh_against_bad_ones(self) -> None:
        """An allow list takes points off."""
        self.assertEqual(merge([found("note", score=7.0), found("note", score=-3.0)], self.SCALE).action, "accept")

    def test_scores_in_shadow_show_in_would_only(self) -> None:
        """Added to those in force, as they would be."""
        verdict = merge([found("note", score=4.0), found("note", score=9.0, is_shadow=True)], self.SCALE)
        self.assertEqual((verdict.action, verdict.score, verdict.would), ("accept", 4.0, "reject"))

    def test_the_operator_s_words_replace_a_filter_s(self) -> None:
        """By the reason that decided; the sum has one too."""
        scale = Scale(reject=5.0, replies={"r": "Ask our postmaster", "scores": "Too much"})
        for findings, text in (
            ([found("reject", public="x")], "Ask our postmaster"),
            ([found("note", score=6.0)], "Too much"),
        ):
            decided = merge(findings, scale).decided_by
            assert decided is not None
            self.assertEqual(decided.reply().lines, (text,))


class MercyTests(SynchronousTestCase):
    """Mail that guesses must not keep from postmaster and abuse."""

    def test_guesses_tag_at_most(self) -> None:
        """Whoever they are of, sums too; what it would have been is kept."""
        for category in ("spam", "sender"):
            for action in ("quarantine", "defer", "reject"):
                verdict = merge([found(action, category=category, code=0)], has_mercy=True)
                self.assertEqual((verdict.action, verdict.spared), ("tag", action))
        verdict = merge([found("note", score=50.0)], Scale(reject=12.0), has_mercy=True)
        self.assertEqual((verdict.action, verdict.spared), ("tag", "reject"))

    def test_malware_policy_and_protocol_have_none(self) -> None:
        """They are no guesses."""
        for category in ("malware", "policy", "protocol", ""):
            verdict = merge([found("reject", category=category)], has_mercy=True)
            self.assertEqual((verdict.action, verdict.spared), ("reject", ""))

    def test_a_code_of_its_own_is_no_trouble(self) -> None:
        """A tag has none."""
        spared = found("reject", category="spam", code=554, enhanced="5.7.26")
        self.assertEqual(merge([spared], has_mercy=True).action, "tag")

    def test_a_category_is_of_the_list(self) -> None:
        """A mistyped one would have no mercy, and nobody would know."""
        self.assertRaises(ValueError, Finding, "r", category="spma")
