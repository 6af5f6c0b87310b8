"""Tests of smtpgate.examine.wording: what a message says, as numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import Text
from smtpgate.examine.urls import link
from smtpgate.examine.wording import FEATURES, families, features, normal
from smtpgate.message.header import HeaderSection

NO_HEADER = HeaderSection(b"\r\n")


def said(text: str) -> set[str]:
    """The families of a text."""
    return families(normal(text))


class FamilyTests(SynchronousTestCase):
    """Phrases, in the languages that they are looked for in."""

    def test_phrases_and_their_families(self) -> None:
        """One of each, as such mail has it."""
        for text, family in (
            ("Your account has been temporarily suspended", "account-threat"),
            ("Ihr Konto wurde vorübergehend gesperrt", "account-threat"),
            ("Please verify your billing information", "verify-identity"),
            ("Veuillez mettre à jour vos coordonnées", "verify-identity"),
            ("Confirme su cuenta", "verify-identity"),
            ("You must respond within 24 hours or lose it", "urgency"),
            ("Klicken Sie bitte hier", "click-here"),
            ("Your mailbox is almost full", "mailbox-quota"),
            ("your password will expire", "mailbox-quota"),
            ("Your payment was declined", "payment-trouble"),
            ("You have been selected to win", "prize"),
            ("next of kin of our late client", "advance-fee"),
            ("ten million US dollars", "advance-fee"),
            ("I recorded you with your webcam", "extortion"),
            ("buy \u0441heap V1agra", "pharma"),
            ("no credit check", "loan-debt"),
            ("220 Freispiele warten", "gambling"),
            ("Your package is on hold", "parcel"),
            ("Ihr Paket wartet", "parcel"),
            ("You have a new voicemail", "document-lure"),
            ("Dear valued customer,", "vague-greeting"),
            ("Sehr geehrter Kunde", "vague-greeting"),
            ("Gentile cliente", "vague-greeting"),
            ("a tax refund of 120 EUR", "refund"),
            ("Are you available? I need a quick favour", "stranger-favour"),
            ("Claim your reward", "giveaway"),
            ("Earn $500 per week, no experience needed", "job-offer"),
            ("Nebenjob von zu Hause", "job-offer"),
        ):
            self.assertIn(family, said(text), text)

    def test_letters_of_people_say_nothing(self) -> None:
        """No family but sums of money."""
        for text in (
            "Hi Anna,\n\nthe meeting moved to Thursday. I will bring the draft and the figures.\n\nBest,\nTom",
            "Liebe Marie, danke für die Fotos. Bis nächste Woche, Jan",
            "The patch applies cleanly; tests pass on all three platforms. Committed as r4711.",
            "Bonjour Pierre, je serai en retard de dix minutes. À tout à l'heure.",
        ):
            self.assertEqual(said(text) - {"money"}, set(), text)

    def test_tricks_with_letters_are_undone(self) -> None:
        """Zero-width characters, full-width letters, odd blanks and quotes."""
        for text in (
            "cl\u200bick here",
            "ｃｌｉｃｋ　ｈｅｒｅ",
            "click\u00a0\nhere",
            "CLICK HERE",
            "cl\u0456ck h\u0435re",
        ):
            self.assertIn("click-here", said(text), text)


class FeatureTests(SynchronousTestCase):
    """The form around the phrases."""

    def features(
        self, text: str = "", subject: str = "", header: bytes = b"", hidden: str = "", urls: tuple[str, ...] = ()
    ) -> dict[str, float]:
        """Numbers of a message."""
        links = [made for url in urls if (made := link(url, source="html", tag="a")) is not None]
        return features(subject, [Text("html", text, "1", hidden)], links, HeaderSection(header + b"\r\n"))

    def test_what_is_not_there_is_left_out(self) -> None:
        """Zeros say nothing."""
        self.assertEqual(self.features("hello"), {"letters": 5})

    def test_subjects(self) -> None:
        """Capitals, marks, pictures, styled letters; families of its own."""
        found = self.features(subject="WIN A PRIZE NOW!!! \U0001f381")
        self.assertEqual((found["subject-upper"], found["subject-marks"], found["emoji-subject"]), (1, 3, 1))
        self.assertEqual(self.features(subject="\U0001d56e\U0001d571\U0001d570\U0001d56f")["styled-letters"], 1)
        self.assertEqual(self.features(subject="Your parcel is on hold: delivery fee")["parcel-subject"], 1)

    def test_an_answer_to_nothing(self) -> None:
        """Re: without a thread; with one, or from a list, it is an honest answer."""
        self.assertEqual(self.features(subject="Re: hello")["reply-without-thread"], 1)
        for header in (b"In-Reply-To: <1@x>\r\n", b"References: <1@x>\r\n", b"List-Id: <l.example>\r\n"):
            self.assertNotIn("reply-without-thread", self.features(subject="Re: hello", header=header))
        self.assertNotIn("reply-without-thread", self.features(subject="Regarding: hello"))

    def test_hidden_letters_and_links(self) -> None:
        """Counted."""
        found = self.features(
            "short", hidden="x" * 500, urls=("http://a.example/", "http://b.a.example/", "mailto:x@y.example")
        )
        self.assertEqual(
            (found["hidden-letters"], found["link-domains"], found["links"], found["only-link"]), (500, 1, 3, 1)
        )

    def test_words_of_two_alphabets(self) -> None:
        """Latin with Greek or Cyrillic in one word."""
        self.assertEqual(self.features("p\u0430ypal and \u043f\u0440\u0438\u0432\u0435\u0442")["mixed-words"], 1)

    def test_unseen_characters_in_words(self) -> None:
        """Between Latin letters; the joiners that other scripts need are none."""
        self.assertEqual(
            self.features("pass\u200bword, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")["zero-width-words"], 1
        )

    def test_every_number_is_explained(self) -> None:
        """For whoever reads the detail of a finding."""
        found = self.features("CLICK HERE " * 50, "RE: PRIZE!! \U0001f381", hidden="x", urls=("http://a.example",))
        self.assertEqual(found.keys() - FEATURES.keys(), set())

    @given(st.text(max_size=500), st.text(max_size=80))
    def test_nothing_raises(self, text: str, subject: str) -> None:
        """Whatever is written."""
        features(subject, [Text("plain", text)], [], NO_HEADER)
