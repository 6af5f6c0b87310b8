"""Tests of smtpgate.examine.dlp: what detectors find, how sure, and what only looks alike."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.dlp.catalogue import CATALOGUE
from smtpgate.examine.dlp.detector import GROUPS, LEVELS, Detector
from smtpgate.examine.dlp.fold import octets_of, visible
from smtpgate.examine.dlp.scan import SLICE, Searcher
from smtpgate.examine.dlp.tally import DISTINCT, PATTERNS, Tally

ALL = Searcher(CATALOGUE.values())
CARD = "4111 1111 1111 1111"


def matches(text: str, searcher: Searcher = ALL) -> list[dict[str, Any]]:
    """All that is found."""
    tally = Tally()
    searcher.search(text, "1", tally)
    return tally.matches()


def found(text: str, searcher: Searcher = ALL) -> dict[str, str]:
    """Detectors, and how sure each is."""
    surest: dict[str, str] = {}
    for match in matches(text, searcher):
        surest.setdefault(match["detector"], match["confidence"])
    return surest


class CatalogueTests(SynchronousTestCase):
    """The detectors that come along."""

    def test_each_finds_its_vectors_and_nothing_else(self) -> None:
        """As sure as it can be, and none of those that only look alike."""
        for detector in CATALOGUE.values():
            self.assertTrue(detector.good, detector.name)
            for text in detector.good:
                self.assertEqual(found(text).get(detector.name), detector.near, (detector.name, text))
            for text in detector.bad:
                self.assertNotIn(detector.name, found(text), text)

    def test_they_are_well_formed(self) -> None:
        """Groups and levels that there are, one of form and pattern, names that conditions can write."""
        for name, one in CATALOGUE.items():
            self.assertRegex(name, r"\A[a-z][a-z0-9-]+\Z")
            self.assertIn(one.group, GROUPS)
            self.assertTrue(bool(one.forms) != bool(one.pattern), name)
            self.assertIn(one.near, LEVELS)
            self.assertTrue(set(one.forms.values()) <= {"", *LEVELS}, name)
            self.assertTrue(one.evidence or "" not in (one.level or "x", *one.forms.values()), name)


class FormTests(SynchronousTestCase):
    """What is a candidate, and what is a piece of something else."""

    def test_cards_however_they_are_written(self) -> None:
        """B-158: blanks, dashes, one run; other digits and blanks; behind it a date, in a table, at the end."""
        for shown in (
            CARD, "4111-1111-1111-1111", "4111111111111111", "5555 5555 5555 4444", "378282246310005",
            "3782 822463 10005",
            "6011111111111117", "3530111333300000", "2223003122003222", "4111\u00a01111\u00a01111\u00a01111",
            "4111\u20111111\u20111111\u20111111", "\uff14\uff11\uff11\uff11 1111 1111 1111",
            "4111\u200b1111\u200b11111111",
            "٤١١١ ١١١١ ١١١١ ١١١١", "4111  1111  1111  1111",
        ):  # fmt: skip
            for text in ("{}", "pay with {} please", "card:{}.", "({})", "{} 12/27 123", "x;{};y", "{},123", "\t{}\n"):
                self.assertIn("card", found(text.format(shown)), text.format(shown))

    def test_pieces_of_something_longer_are_none(self) -> None:
        """B-156, B-164: runs, decimals, versions, UUIDs, hashes, URLs' numbers, telephones, postal codes."""
        for text in (
            "order 77004111111111111111882319 shipped", "4111 1111 1111 1112", "4111 1111 1111 1111 1111 1111",
            "4111111111111111a", "x4111111111111111", "41 11 11 11 11 11 11 11", "0000000000000000",
            "1.4111111111111111",
            "550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204e9800998ecf8427e", "12_4111111111111111",
            "Send it to 12345-6789.\nInvoice 100234567 paid, build 202409158.", "536-90-43991", "1536-90-4399",
            "536-90 4399", "10.0.19041.1234", "2024-05-17T12:45:01.123456789Z", "52.520008,13.404954",
        ):  # fmt: skip
            self.assertEqual(found(text), {}, text)

    def test_lists_are_found_whole(self) -> None:
        """Whatever divides them: a list of a kind is no longer number of another kind."""
        for values, detector in (
            (("4111 1111 1111 1111", "5555 5555 5555 4444", "4012 8888 8888 1881"), "card"),
            (("4111111111111111", "5555555555554444", "4012888888881881"), "card"),
            (("3782 822463 10005", "4111 1111 1111 1111", "3714 496353 98431"), "card"),
            (("DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32", "NL91 ABNA 0417 1643 00"), "iban"),
            (("DE89370400440532013000", "GB82WEST12345698765432", "NL91ABNA0417164300"), "iban"),
            (("123 456 782", "130 692 544"), "ca-sin"),
            (("85.07.30-033 28", "93.05.18-223 61"), "be-nn"),
            (("536-90-4399", "219-09-9998", "457-55-5463"), "us-ssn"),
        ):
            word = CATALOGUE[detector].evidence[0]
            for sign in (" ", "  ", "\u00a0", "/", " / ", "+", "_", ",", ", ", ";", "\t", "|", "\r\n", " and "):
                text = f"{word}: {sign.join(values)}"
                (match, *_) = [one for one in matches(text) if one["detector"] == detector]
                self.assertEqual((match["distinct"], match["confidence"]), (len(values), "high"), text)

    def test_of_many_groups_those_that_hold_are_found(self) -> None:
        """Digits before a number hide it only where they could be of it; a date behind a stroke belongs to none."""
        for text in (
            "card 12 4111 1111 1111 1111", "4711/08 card 4111 1111 1111 1111", "card 4111 1111 1111 1111 12 34",
            "card_4111111111111111.pdf", "_4111111111111111_", "SSN/DOB 536-90-4399/12/31/1980",
            "SSN 536-90-4399/1980-12-31", "IBAN_DE89370400440532013000",
        ):  # fmt: skip
            self.assertTrue({"card", "us-ssn", "iban"} & set(found(text)), text)

    def test_accounts_end_where_their_country_says(self) -> None:
        """B-160: words in capitals behind; B-162: dashes, and digits that only look like one."""
        for text, count in (
            ("pay to DE89 3704 0044 0532 0130 00 BANK REFERENCE INVOICE", 1),
            ("GB82-WEST-1234-5698-7654-32\n0089 3704 0044 0532 0130 00", 1),
            ("DE89370400440532013000 and de89370400440532013000 and NL91ABNA0417164300", 2),
        ):
            (match, *_) = matches(text)
            self.assertEqual((match["detector"], match["distinct"]), ("iban", count), text)

    def test_a_number_counts_once(self) -> None:
        """B-173: what is a card is no telephone; the surest counts where several could be."""
        self.assertEqual(list(found(f"phone or ssn or card {CARD}")), ["card"])
        self.assertEqual(list(found("BSN 111222333, SSN of nobody")), ["nl-bsn"])
        self.assertEqual(len(found("+49 30 1234567")), 1)

    @given(st.text(alphabet="0123456789 -+./AGBDEé<:=\n", max_size=400))
    def test_letters_and_octets_are_one_for_one(self, text: str) -> None:
        """Whatever stands there, places are the same and nothing raises."""
        seen = visible(text)
        self.assertEqual(len(octets_of(seen)), len(seen))
        matches(text)

    @given(st.text(max_size=60))
    def test_any_letter_is_one_octet(self, text: str) -> None:
        """Of any writing."""
        self.assertEqual(len(octets_of(visible(text))), len(visible(text)))

    def test_the_bounds_of_slices_hide_nothing(self) -> None:
        """Wherever the bound falls in it, one is one."""
        for shift in range(-25, 5):
            (match, *_) = matches("x" * (SLICE + shift - 1) + f" {CARD} card " + "y" * 50)
            self.assertEqual((match["count"], match["confidence"]), (1, "high"), shift)


class SureTests(SynchronousTestCase):
    """How sure something is."""

    def test_evidence_makes_surer(self) -> None:
        """In its window, in any language, before or behind; words stand by themselves."""
        for text, level in (
            ("4111111111111111", "medium"), ("4111111111111111 credit card", "high"),
            ("Kreditkarte " + "x " * 100 + CARD, "high"),
            ("Kreditkarte " + "x " * 200 + CARD, "medium"), (f"номер карты {CARD}", "high"), (f"カード番号{CARD}",
            "high"),
            (f"número de tarjeta: {CARD}", "high"), (f"discard {CARD}", "medium"),
        ):  # fmt: skip
            self.assertEqual(found(text), {"card": level}, text)

    def test_counter_evidence_makes_less_sure(self) -> None:
        """What is called an order is hardly a card, even where cards are spoken of."""
        self.assertEqual(found("order number 4111111111111111"), {"card": "low"})
        self.assertEqual(found("Your card was charged. Order 4111111111111111"), {"card": "medium"})
        self.assertEqual(found("https://shop.example/item/4111111111111111/x"), {"card": "low"})

    def test_words_that_say_something_else_elsewhere(self) -> None:
        """An abbreviation that is a word of another language is evidence at once before a number, or over a column."""
        for text in (
            "Das ist ein Test. Unsere Nummer lautet 123456782, bitte.", "Esto es sin duda el numero 130692544.",
            "He said that the parcel was 7503305044089.", "I had to run the job 12531909-2",
            "Det er kort tid til 4111111111111111", "To nie jest X2482300W", "fiscal year 2024: 501964843 units",
            "Your ID number is in the mail. Part 039337423.", "The patient may call 943-476-5870",
        ):  # fmt: skip
            self.assertNotIn("high", found(text).values(), text)
        for text, detector in (
            ("EIN no. 911144442", "us-ein"), ("EIN: 91-1144442", "us-ein"), ("SIN:\n    130692544", "ca-sin"),
            ("name;SIN\nx;130692544", "ca-sin"),
            ("SIN 130692544", "ca-sin"), ("SAID: 7503305044089", "za-id"), ("PAN 4111111111111111", "card"),
        ):  # fmt: skip
            self.assertEqual(found(text), {detector: "high"}, text)

    def test_words_beside_a_link_say_nothing_of_it(self) -> None:
        """Numbers in addresses are pages."""
        self.assertEqual(found("https://t.example/c/4111111111111111?u=1 your membership card"), {"card": "medium"})
        self.assertEqual(found("https://t.example/?card=4111111111111111"), {"card": "high"})

    def test_columns_are_evidence(self) -> None:
        """Of a table the name of the column that something stands in, however far below."""
        rows = "".join(f"{number};Ann;4111111111111111;x\n" for number in range(200))
        (match, *_) = matches("id;name;card number;note\n" + rows)
        self.assertEqual((match["confidence"], match["count"]), ("high", 200))
        self.assertEqual(
            found("id;card holder;order no;note\n" + "x\n" * 300 + "1;Ann;4111111111111111;x\n")["card"], "low"
        )

    def test_there_is_a_match_for_each_level(self) -> None:
        """Each of what is at least so sure."""
        text = f"{CARD} " + "x " * 300 + "credit card 5555 5555 5555 4444, 5555 5555 5555 4444"
        rows = [(one["confidence"], one["count"], one["distinct"]) for one in matches(text)]
        self.assertEqual(rows, [("high", 2, 1), ("medium", 3, 2), ("low", 3, 2)])

    def test_examples_and_placeholders_are_no_secrets(self) -> None:
        """What manuals show, and what stands in for one."""
        for text in (
            "AKIAIOSFODNN7EXAMPLE", "ghp_" + "x" * 36, "password: required", "password=<your password>",
            "password=${PW}",
            "https://user:password@example.com/", "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx", "ghp_" + "1234567890" * 4,
        ):  # fmt: skip
            self.assertEqual(found(text), {}, text)


class TellTests(SynchronousTestCase):
    """What leaves."""

    def test_no_value_is_told(self) -> None:
        """Only masked ones, of every detector."""
        for detector in CATALOGUE.values():
            for text in detector.good:
                said = json.dumps(matches(text))
                digits = "".join(one for one in text.split(":")[-1] if one.isalnum())
                self.assertNotIn(digits[-12:], said.replace(" ", ""), detector.name)
                for match in matches(text):
                    for sample in match["samples"]:
                        self.assertIn("-----" if match["detector"] == "private-key" else "****", sample)
        self.assertEqual(matches(CARD)[0]["samples"], ["visa 4111 **** **** 1111"])
        self.assertEqual(matches("SSN 536-90-4399")[0]["samples"], ["****399"])

    def test_counting_ends(self) -> None:
        """Of one detector, and of candidates: that is told."""
        tally = Tally()
        ALL.search("".join(f"ssn 5{number // 10000:02}-{number // 100 % 100:02}-{number % 9999 + 1:04}\n"
                           for number in range(100, 120_000)), "1", tally)  # fmt: skip
        self.assertEqual(tally.matches()[0]["distinct"], DISTINCT)
        tally = Tally()
        Searcher([CATALOGUE["password"]]).search("pwd=aB3456\n" * (PATTERNS + 10), "1", tally)
        self.assertEqual((tally.cut, tally.matches()[0]["distinct"]), ({"password"}, 1))


class OwnTests(SynchronousTestCase):
    """Detectors of the configuration."""

    def test_over_text(self) -> None:
        """In any writing, with a check and evidence of one's own; what is of another form does not hold."""
        own = Detector("own", "custom", "x", pattern=r"№\s?[0-9]{3}-[0-9]{4}\b|\bÄ[0-9]{8}", level="low", check="luhn",
                       evidence=("сотрудник",), window=50)  # fmt: skip
        searcher = Searcher([CATALOGUE["card"]], [own])
        for text, expected in (
            ("№ 123-4566 " * 2, {"own": "low"}), ("№ 123-4567", {}), ("сотрудника № 123-4566", {"own": "high"}),
            ("ю" * SLICE + " № 123-4566 сотрудник " + CARD, {"own": "high", "card": "medium"}),
        ):  # fmt: skip
            self.assertEqual(found(text, searcher), expected, text[-60:])
        other = Detector("own", "custom", "x", pattern="x[0-9]+", level="low", check="aba")
        self.assertEqual(found("x1 x111000025 x9999", Searcher([], [other])), {})
