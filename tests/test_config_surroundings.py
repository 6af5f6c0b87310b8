"""Tests of smtpgate.config.surroundings."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.surroundings import ReadFile


class ReadFileTests(SynchronousTestCase):
    """`ReadFile`."""

    def test_rights_of_others_are_seen(self) -> None:
        """Any right counts, and the group is told from the rest."""
        for mode, to_group, to_all in ((0o600, False, False), (0o640, True, False), (0o604, True, True)):
            file = ReadFile(Path("x"), mode=mode)
            self.assertEqual((file.is_open_to_group, file.is_open_to_all), (to_group, to_all), oct(mode))

    def test_S_29_octets_are_not_shown(self) -> None:
        """A private key never gets into a traceback by way of a repr."""
        self.assertNotIn("hunter2", repr(ReadFile(Path("x"), b"hunter2")))
