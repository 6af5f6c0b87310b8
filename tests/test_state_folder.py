"""Tests of smtpgate.state.folder: the state folder, locked by one process, and the secrets in it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.state import folder as module
from smtpgate.state.folder import LAYOUT, StateError, StateFolder, StateLocked

#: Holds a folder and says so, then waits for its end.
HOLD = """
import sys
from pathlib import Path
from smtpgate.state.folder import StateFolder
held = StateFolder(Path(sys.argv[1]))
held.lock()
held.secret("ledger")
print("held", flush=True)
sys.stdin.read()
"""


class FolderCase(SynchronousTestCase):
    """A folder that is not there yet."""

    def setUp(self) -> None:
        """Name it."""
        self.path = Path(self.mktemp()).absolute()

    def locked(self) -> StateFolder:
        """The folder, held by this test."""
        made = StateFolder(self.path)
        made.lock()
        self.addCleanup(made.unlock)
        return made

    def refused(self) -> str:
        """Why it cannot be had; and it can as soon as that is mended, so nothing stays held."""
        error = self.assertRaises(StateError, StateFolder(self.path).lock)
        return str(error)

    def child(self) -> subprocess.Popen[str]:
        """Another process that holds it."""
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        assert child.stdout is not None and child.stdin is not None
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.stdout.close)
        self.assertEqual(child.stdout.readline(), "held\n")
        return child


class LockTests(FolderCase):
    """`StateFolder.lock`."""

    def test_it_is_made_where_it_is_missing(self) -> None:
        """With its parents, for this user alone."""
        self.path /= "a/b"
        self.locked()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o700)
        self.assertEqual((self.path / "layout").read_text(), f"{LAYOUT}\n")
        self.assertEqual((self.path / "lock").read_text(), f"{os.getpid()}\n")
        for name in ("lock", "layout"):
            self.assertEqual(stat.S_IMODE((self.path / name).stat().st_mode), 0o600, name)

    def test_two_cannot_hold_it(self) -> None:
        """Neither in one process nor in two; the text says what to do."""
        held = self.locked()
        error = self.assertRaises(StateLocked, StateFolder(self.path).lock)
        self.assertIn(f"state_dir {self.path} is in use by another process; stop it", str(error))
        held.unlock()
        self.child()
        self.assertRaises(StateLocked, StateFolder(self.path).lock)

    def test_a_killed_process_holds_nothing(self) -> None:
        """What it left is taken over."""
        child = self.child()
        child.send_signal(signal.SIGKILL)
        child.wait()
        secret = self.locked().secret("ledger")
        self.assertEqual((self.path / "ledger.key").read_bytes(), secret)

    def test_unlocking_twice_does_no_harm(self) -> None:
        """And it can be locked again."""
        held = self.locked()
        held.unlock()
        held.unlock()
        self.locked()

    def test_a_file_in_its_place(self) -> None:
        """Is no folder."""
        self.path.write_text("x")
        self.assertIn("give a folder that this user may write", self.refused())
        self.assertEqual(self.path.read_text(), "x")


class LayoutTests(FolderCase):
    """A folder of another version."""

    def test_a_newer_layout_is_refused_and_left_alone(self) -> None:
        """Its lock is let go."""
        self.locked().unlock()
        (self.path / "layout").write_text(f"{LAYOUT + 1}\n")
        self.assertIn(f"written by a newer version of smtpgate (layout {LAYOUT + 1})", self.refused())
        self.assertEqual((self.path / "layout").read_text(), f"{LAYOUT + 1}\n")
        (self.path / "layout").write_text(f"{LAYOUT}\n")
        self.locked()

    def test_a_damaged_layout_is_refused(self) -> None:
        """Whatever is in it."""
        self.locked().unlock()
        for octets in (b"", b"x", b"-1", b"1.0", b"\xff\xfe", "١".encode(), b"9" * 5000, b"1 1"):
            (self.path / "layout").write_bytes(octets)
            self.assertIn(f"layout is damaged: it should be the number {LAYOUT}", self.refused())

    def test_an_older_layout_is_taken(self) -> None:
        """The program knows what came before it."""
        self.patch(module, "LAYOUT", LAYOUT + 1)
        self.path.mkdir()
        (self.path / "layout").write_text(f"{LAYOUT}\n")
        self.locked()

    def test_what_a_crash_left_half_written_is_written_anew(self) -> None:
        """The whole file takes its place at once."""
        self.path.mkdir()
        (self.path / "layout.new").write_bytes(b"gar")
        self.locked()
        self.assertEqual((self.path / "layout").read_text(), f"{LAYOUT}\n")
        self.assertFalse((self.path / "layout.new").exists())


class SecretTests(FolderCase):
    """`StateFolder.secret`."""

    def test_a_secret_stays_the_same(self) -> None:
        """Over restarts; each name has its own, and only this user reads it."""
        held = self.locked()
        one, two = held.secret("ledger"), held.secret("sessions")
        self.assertEqual((len(one), len(two)), (32, 32))
        self.assertNotEqual(one, two)
        self.assertEqual(stat.S_IMODE((self.path / "ledger.key").stat().st_mode), 0o600)
        held.unlock()
        self.assertEqual(self.locked().secret("ledger"), one)

    def test_a_damaged_secret_is_refused_and_left_alone(self) -> None:
        """A new one would make the old rows unreadable, and nobody would know why."""
        held = self.locked()
        for octets in (b"", b"x" * 31, b"x" * 33):
            (self.path / "ledger.key").write_bytes(octets)
            error = self.assertRaises(StateError, held.secret, "ledger")
            self.assertIn(f"ledger.key is damaged: it has {len(octets)} octets in place of 32", str(error))
            self.assertEqual((self.path / "ledger.key").read_bytes(), octets)
