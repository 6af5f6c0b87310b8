"""Tests of smtpgate.examine.skeleton and smtpgate.examine.brands: names that look like others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.brands import BRANDS, brands_called, brands_in, owner_of
from smtpgate.examine.skeleton import is_mixed, looks_like, skeleton, unicode_host
from smtpgate.examine.urls import registrable

TARGETS = ("paypal.com", "microsoft.com", "amazon.com", "dhl.com", "example.net", "netflix.com")


class LookAlikeTests(SynchronousTestCase):
    """`looks_like`."""

    def test_domains_that_imitate(self) -> None:
        """By letters, by words, by where the name stands."""
        for host, target in (
            ("paypa1.com", "paypal.com"), ("pаypal.com", "paypal.com"), ("xn--pypal-4ve.com", "paypal.com"),
            ("paypal-login.com", "paypal.com"), ("secure-paypal.net", "paypal.com"),
            ("rnicrosoft.com", "microsoft.com"),
            ("amazom.com", "amazon.com"), ("netfllx.com", "netflix.com"), ("paypal.com.evil.example", "paypal.com"),
            ("login.paypal.evil.example", "paypal.com"), ("www.micros0ft.com", "microsoft.com"),
        ):  # fmt: skip
            found = looks_like(host, TARGETS)
            self.assertEqual(found and found[0], target, host)

    def test_domains_that_do_not(self) -> None:
        """The domains themselves, other endings, other words, short names."""
        for host in (
            "paypal.com", "www.paypal.com", "paypal.de", "amazonas.example", "amazon-rainforest.org", "apples.com",
            "dhi.com", "google.com", "example.com", "mail.example.net", "xn--mnchen-3ya.de", "", "com",
        ):  # fmt: skip
            self.assertIsNone(looks_like(host, TARGETS), host)

    def test_letters_of_several_alphabets(self) -> None:
        """B-107: and words that are of one alphabet and look Latin; real words of one alphabet are none."""
        for label, is_odd in (
            ("pаypal", True),
            ("аррӏе", True),
            ("münchen", False),
            ("пример", False),
            ("example", False),
        ):
            self.assertEqual(is_mixed(label), is_odd, label)

    def test_skeletons(self) -> None:
        """Case, accents and look-alikes are undone."""
        self.assertEqual(skeleton("Pаyраl"), skeleton("PAYPAL"))
        self.assertEqual(skeleton("Ámazon"), skeleton("amazon"))
        self.assertNotEqual(skeleton("amazon"), skeleton("amazing"))

    @given(st.text(max_size=80))
    def test_nothing_raises(self, text: str) -> None:
        """Whatever a host is called."""
        looks_like(text, TARGETS)
        unicode_host(f"xn--{text}.example")
        brands_in(text)
        brands_called(text)


class BrandTests(SynchronousTestCase):
    """The table, and names in texts."""

    def test_names_in_texts(self) -> None:
        """Whole words, with look-alike letters undone; parts of words are none."""
        for text, names in (
            ("PayPal Service", ["paypal"]), ("Your Office 365 account", ["microsoft"]), ("P\u0430ypal", ["paypal"]),
            ("DHL Express: Ihr Paket", ["dhl"]), ("an apple a day", []), ("we chase the target", []), ("", []),
            ("upside", []),
        ):  # fmt: skip
            self.assertEqual([brand.names[0] for brand in brands_in(text)], names, text)

    def test_common_words_are_brands_as_whole_names_only(self) -> None:
        """With what offices add to them, and marks."""
        for name, is_brand in (
            ("Ledger", True), ("Ledger Support", True), ("★ ALDI ★", False), ("UPS®", True), ("Chase Hunter", False),
            ("Orange", True), ("Joan Orange", False), ("LOUIS VUITTON", True),
        ):  # fmt: skip
            self.assertEqual(bool(brands_called(name)), is_brand, name)

    def test_the_table_is_in_order(self) -> None:
        """At least 150 names, each with domains that are registrable or below one, none twice as a name."""
        self.assertGreater(len(BRANDS), 150)
        names = [name for brand in BRANDS for name in brand.names]
        self.assertEqual(len(names), len(set(names)))
        for brand in BRANDS:
            self.assertTrue(brand.domains, brand.names)
            for domain in brand.domains:
                self.assertIn(".", domain)
                self.assertTrue(domain == domain.lower() and registrable(domain), domain)

    def test_domains_own_what_is_below_them(self) -> None:
        """And nothing beside them."""
        (paypal,) = brands_in("paypal")
        self.assertTrue(paypal.owns("paypal.com") and paypal.owns("www.paypal.com"))
        self.assertFalse(paypal.owns("notpaypal.com") or paypal.owns("paypal.com.evil.example"))
        self.assertIn(paypal, owner_of(["mail.paypal.com"]))
