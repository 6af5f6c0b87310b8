"""Tests of smtpgate.config.registries."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.entry import parse_domain
from smtpgate.config.registries import SECOND_LEVEL, is_registry


class RegistryTests(SynchronousTestCase):
    """`is_registry`."""

    def test_two_labels_and_no_others(self) -> None:
        """The country alone and what somebody owns below are none."""
        for domain in ("co.uk", "com.au", "co.jp", "com.br", "co.za", "co.nz", "co.in", "com.tr"):
            self.assertTrue(is_registry(domain), domain)
        for domain in ("uk", "com", "", "example.uk", "example.co.uk", "co.com", "com.de", "co.uk.example", ".uk"):
            self.assertFalse(is_registry(domain), domain)

    def test_labels_are_in_normal_form(self) -> None:
        """They are compared with domains that are."""
        for top, labels in SECOND_LEVEL.items():
            self.assertTrue(labels, top)
            for label in labels:
                self.assertEqual(parse_domain(f"{label}.{top}"), f"{label}.{top}")
