"""Tests of smtpgate.config.units."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.problem import BadValue
from smtpgate.config.units import format_duration, format_size, parse_duration, parse_size


class SizeTests(SynchronousTestCase):
    """`parse_size` and `format_size`."""

    def test_units_are_binary_or_decimal_as_written(self) -> None:
        """Each unit has one meaning, whatever its case and spacing."""
        for text, octets in (
            ("50 MiB", 50 * 2**20),
            ("10 MB", 10**7),
            ("1KiB", 1024),
            ("2 kB", 2000),
            ("2 KB", 2000),
            ("3 gib", 3 * 2**30),
            ("1.5 MiB", 1572864),
            (" 7 B ", 7),
            ("8", 8),
        ):
            self.assertEqual(parse_size(text), octets, text)

    def test_number_is_octets(self) -> None:
        """A number without quotes needs no unit."""
        self.assertEqual(parse_size(1024), 1024)

    def test_unit_with_two_meanings_is_refused_with_both(self) -> None:
        """Nobody knows whether 50M is binary, so both ways to say it are offered."""
        error = self.assertRaises(BadValue, parse_size, "50M")
        self.assertIn('"50 MiB"', error.hint)
        self.assertIn('"50 MB"', error.hint)

    def test_nonsense_is_refused_with_an_example(self) -> None:
        """What is no size gets an answer that shows one."""
        values: tuple[object, ...] = (
            "",
            "big",
            "-1",
            "1e3",
            "5 5",
            "1,5 MB",
            "MiB",
            -1,
            True,
            1.5,
            None,
            [],
            "9" * 20,
        )
        for value in values:
            error = self.assertRaises(BadValue, parse_size, value)
            self.assertIn("50 MiB", error.hint, value)

    def test_unknown_unit_lists_the_units(self) -> None:
        """A unit that there is not gets the list of those that there are."""
        error = self.assertRaises(BadValue, parse_size, "5 miles")
        self.assertEqual(error.hint, "use one of B, kB, MB, GB, KiB, MiB, GiB")

    def test_formatted_size_reads_back(self) -> None:
        """What is written is exact."""
        for octets in (0, 1, 1000, 1024, 1536, 50 * 2**20, 2**30):
            self.assertEqual(parse_size(format_size(octets)), octets)
        self.assertEqual(format_size(50 * 2**20), "50 MiB")


class DurationTests(SynchronousTestCase):
    """`parse_duration` and `format_duration`."""

    def test_units_add_up(self) -> None:
        """Parts with units may be joined; a number alone is seconds."""
        for text, seconds in (
            ("90s", 90.0),
            ("5m", 300.0),
            ("1h", 3600.0),
            ("1h30m", 5400.0),
            ("1 d", 86400.0),
            ("250ms", 0.25),
            ("1.5s", 1.5),
            ("30", 30.0),
        ):
            self.assertEqual(parse_duration(text), seconds, text)
        self.assertEqual(parse_duration(30), 30.0)
        self.assertEqual(parse_duration(0.5), 0.5)

    def test_nonsense_is_refused_with_an_example(self) -> None:
        """What is no time, or no end, gets an answer that shows one."""
        for value in ("", "soon", "-5s", "5 minutes", "5m 30", -1, True, float("inf"), float("nan"), None):
            error = self.assertRaises(BadValue, parse_duration, value)
            self.assertIn("5m", error.hint, value)

    def test_formatted_duration_reads_back(self) -> None:
        """What is written is exact."""
        for seconds in (0.0, 0.5, 1.0, 60.0, 90.0, 3600.0, 86400.0):
            self.assertEqual(parse_duration(format_duration(seconds)), seconds)
        self.assertEqual(format_duration(300), "5m")
