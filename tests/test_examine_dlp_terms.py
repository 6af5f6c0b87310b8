"""Tests of smtpgate.examine.dlp.terms: weighted terms in texts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.dlp.health import DICTIONARIES
from smtpgate.examine.dlp.terms import BadTerm, Dictionary, Terms, TermTally, words_of


def score(terms: dict[str, float], *texts: str, most: int = 5, source: str = "plain") -> float:
    """The score of a dictionary over texts."""
    found = rows(Dictionary("d", tuple(terms.items()), most=most), *texts, source=source)
    return float(found[0]["score"]) if found else 0.0


def rows(dictionary: Dictionary, *texts: str, source: str = "plain") -> list[dict[str, Any]]:
    """Its matches."""
    tally = TermTally(Terms([dictionary]))
    for text in texts:
        tally.search(text, "1", source)
    return tally.matches()


class TermsTests(SynchronousTestCase):
    """What counts."""

    def test_words_have_bounds(self) -> None:
        """Case, width and what is between words make no difference; parts of words do, but for a star."""
        for term, text, times in (
            ("falcon", "The FALCON, a falcon; falcons, peregrinefalcon", 2), ("falcon*", "falcons falcon falco", 2),
            ("project falcon", "Project\r\n  Falcon, project-falcon, project big falcon", 2),
            ("grün", "GRÜN grün gru\u0308n grun", 3), ("Straße", "STRASSE straße", 2), ("ｆｕｌｌ", "full FULL", 2),
            ("проект", "Проект и проекты", 1), ("проект*", "Проект и проекты", 2), ("机密", "这是机密文件，机密", 2),
            ("c 3", "c-3 c3", 1), ("merger falcon", "merger merger falcon", 1),
        ):  # fmt: skip
            self.assertEqual(score({term: 1}, text), times, (term, text))

    def test_weights_are_summed_and_terms_count_so_often(self) -> None:
        """A word that is repeated is no subject."""
        self.assertEqual(score({"a": 2, "b": 0.5}, "a b b a a", most=2), 5.0)
        self.assertEqual(score({"red": 1, "red car": 5, "car": 1}, "red car"), 7.0)

    def test_what_comes_twice_counts_once(self) -> None:
        """Plain and as a page; files count by themselves."""
        tally = TermTally(Terms([Dictionary("d", (("a", 1.0),))]))
        for source in ("plain", "html", "file"):
            tally.search("a a", "1", source)
        self.assertEqual(tally.matches()[0]["score"], 4.0)

    def test_below_the_threshold_there_is_nothing(self) -> None:
        """From it on a match for each level, with the heaviest terms."""
        dictionary = Dictionary("d", (("falcon", 5.0), ("kite", 1.0)), threshold=6.0)
        self.assertEqual(rows(dictionary, "falcon"), [])
        found = rows(dictionary, "kite falcon")
        self.assertEqual([one["confidence"] for one in found], ["high", "medium", "low"])
        self.assertEqual((found[0]["samples"], found[0]["distinct"], found[0]["score"]), (["falcon", "kite"], 2, 6.0))

    def test_windows_hide_nothing(self) -> None:
        """A term of several words over the bound of what is cut at once, once."""
        for shift in range(0, 24, 3):
            text = "x " * ((1 << 19) - shift // 2) + "project red falcon " + "y " * 100
            self.assertEqual(score({"project red falcon": 1, "falcon": 10, "red": 100}, text), 111.0, shift)

    @given(
        st.lists(st.sampled_from(["a", "b", "c d", "a b", "dd*", "bc"]), unique=True), st.text("abcd ", max_size=200)
    )
    def test_it_is_what_a_plain_count_gives(self, terms: list[str], text: str) -> None:
        """Word by word."""
        words = text.split()
        expected = 0
        for term in terms:
            parts = term.removesuffix("*").split()
            for place in range(len(words) - len(parts) + 1):
                there = words[place : place + len(parts)]
                expected += there == parts or term.endswith("*") and there[0].startswith(parts[0])
        self.assertEqual(score(dict.fromkeys(terms, 1.0), text, most=1000), expected)

    def test_terms_that_are_none(self) -> None:
        """Nothing to find, too many words, a star that stands for all."""
        for term in ("", "...", "a*", "a*b", "x " * 13):
            self.assertRaises(BadTerm, words_of, term)

    def test_words_of_health(self) -> None:
        """A report is one, talk is none."""
        health = DICTIONARIES["health"]
        report = "Discharge summary: the patient was diagnosed with hepatitis C, chemotherapy started, biopsy of 3 May."
        self.assertTrue(rows(health, report))
        self.assertTrue(rows(health, "Arztbrief: Karzinom, Metastasen in der Leber; die Chemotherapie beginnt."))
        self.assertEqual(
            rows(health, "The patient customer waits for treatment of his order at the hospital shop."), []
        )
