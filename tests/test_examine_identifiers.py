"""Tests of smtpgate.examine.identifiers: numbers that name a person or an account."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.identifiers import KINDS, identify

ALL = tuple(KINDS)


def found(text: str, *kinds: str) -> list[tuple[str, str]]:
    """Kind and value of each."""
    return [(one.kind, one.value) for one in identify(text, kinds or ALL)]


class IdentifierTests(SynchronousTestCase):
    """What is one, and what only looks like one."""

    def test_cards_in_the_forms_people_write(self) -> None:
        """B-158: with blanks, dashes, in one run; each scheme by its test number."""
        for shown in (
            "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "5555 5555 5555 4444",
            "378282246310005", "3782 822463 10005", "6011111111111117", "30569309025904", "3530111333300000",
            "2223003122003222",
        ):  # fmt: skip
            for text in (shown, f"pay with {shown} please", f"card:{shown}.", f"({shown})"):
                with self.subTest(text=text):
                    value = shown.replace(" ", "").replace("-", "")
                    self.assertEqual(found(text), [("card", value)])

    def test_what_only_looks_like_a_card(self) -> None:
        """B-156: a piece of a longer run; wrong check digit, scheme, groups; dates, UUIDs, hashes, money."""
        for text in (
            "order 77004111111111111111882319 shipped", "4111 1111 1111 1112", "4111 1111 1111 1111 1111 1111",
            "9111111111111111", "4111111111111111a", "x4111111111111111", "41 11 11 11 11 11 11 11",
            "0000000000000000", "1.4111111111111111", "550e8400-e29b-41d4-a716-446655440000",
            "d41d8cd98f00b204e9800998ecf8427e",
        ):  # fmt: skip
            with self.subTest(text=text):
                self.assertEqual(found(text, "card"), [])

    def test_accounts_end_where_their_country_says(self) -> None:
        """B-160: words in capitals behind; B-162: dashes, and digits that only look like one."""
        self.assertEqual(
            found("pay to DE89 3704 0044 0532 0130 00 BANK REFERENCE INVOICE"), [("iban", "DE89370400440532013000")]
        )
        self.assertEqual(
            found("GB82-WEST-1234-5698-7654-32\n0089 3704 0044 0532 0130 00"), [("iban", "GB82WEST12345698765432")]
        )
        for text in ("DE89370400440532013001", "XX89370400440532013000", "aDE89370400440532013000", "DE8937040044"):
            self.assertEqual(found(text, "iban"), [], text)

    def test_social_security_numbers_are_grouped(self) -> None:
        """B-164: no ZIP+4, no invoice, no build; none from areas that are not given out."""
        self.assertEqual(found("SSN 536-90-4399, or 536 90 4399"), [("us-ssn", "536904399")] * 2)
        for text in (
            "Send it to 12345-6789.\nInvoice 100234567 paid, build 202409158.", "000-12-3456", "666-12-3456",
            "912-12-3456", "536-90-43991", "1536-90-4399", "536-90 4399",
        ):  # fmt: skip
            self.assertEqual(found(text, "us-ssn"), [], text)

    def test_a_number_counts_once(self) -> None:
        """B-173: what is a card is no telephone."""
        self.assertEqual(found("card 4111 1111 1111 1111"), [("card", "4111111111111111")])
        self.assertEqual(len(found("+49 30 1234567")), 1)

    def test_only_the_last_four_are_shown(self) -> None:
        """Of whatever it is."""
        (one,) = identify("4111 1111 1111 1111", ("card",))
        self.assertEqual(one.masked, "************1111")

    @given(st.text(alphabet="0123456789 -+.AGB\n", max_size=300))
    def test_nothing_overlaps_and_all_is_in_order(self, text: str) -> None:
        """Whatever the text."""
        spans = [(one.start, one.end) for one in identify(text, ALL)]
        self.assertEqual(spans, sorted(spans))
        for (_, end), (start, _) in zip(spans, spans[1:], strict=False):
            self.assertLessEqual(end, start)
