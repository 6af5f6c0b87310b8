"""Tests of smtpgate.state.spool_store: bodies in files that vanish by themselves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import ISpoolStore
from smtpgate.policy.event import Happened
from smtpgate.state.spool_store import LEFT_OCTETS, SpoolStore

#: Writes a body, says so, and waits for its end.
WRITE = """
import sys
from pathlib import Path
from smtpgate.state.spool_store import SpoolStore
file = SpoolStore(Path(sys.argv[1])).open()
file.write(b"secret" * 100000)
file.flush()
print("written", flush=True)
sys.stdin.read()
"""


class SpoolStoreTests(SynchronousTestCase):
    """`SpoolStore`."""

    def setUp(self) -> None:
        """Make a folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def kept(self) -> list[str]:
        """What can be seen in it."""
        return [path.name for path in (self.folder / "spool").iterdir()]

    def test_it_keeps_the_port_s_promise(self) -> None:
        """A binary file that can be read back."""
        store = SpoolStore(self.folder)
        verifyObject(ISpoolStore, store)
        with store.open() as file:
            file.write(b"one\r\n")
            file.seek(0)
            self.assertEqual(file.read(), b"one\r\n")

    def test_a_file_has_no_name(self) -> None:
        """Nobody else can open it, and it is gone when closed."""
        store = SpoolStore(self.folder)
        with store.open() as one, store.open() as two:
            one.write(b"x" * 100_000)
            two.write(b"y")
            one.flush()
            self.assertEqual(self.kept(), [])
        self.assertEqual(self.kept(), [])

    def test_nothing_is_left_when_the_process_is_killed(self) -> None:
        """P-305: neither a name nor an octet."""
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdin is not None
        self.assertEqual(child.stdout.readline(), "written\n")
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()
        self.assertEqual(self.kept(), [])

    def test_a_disk_that_is_nearly_full_is_full(self) -> None:
        """The rest of the gateway needs some room too."""
        store = SpoolStore(self.folder, left_octets=2**62)
        error = self.assertRaises(OSError, store.open)
        self.assertEqual(error.errno, errno.ENOSPC)
        self.assertEqual(self.kept(), [])

    def test_want_of_room_is_told_once_and_so_is_its_end(self) -> None:
        """However many messages are deferred, and whatever notices it; on the brink nothing is told to and fro."""
        told: list[Happened] = []
        store = SpoolStore(self.folder, left_octets=1000, tell=told.append)
        free = 1000
        self.patch(os, "statvfs", lambda path: os.statvfs_result((1, 1, 10**6, 0, free, 0, 0, 0, 0, 255)))
        store.open().close()
        self.assertEqual(told, [])
        for free in (999, 10, 0):
            self.assertRaises(OSError, store.open)
            store.look()
        self.assertEqual(
            [(event.name, event.level, dict(event.fields)["free"]) for event in told], [("spool.full", "error", 999)]
        )
        for free in (1000, 1499, 999, 1499):
            store.look()
        self.assertEqual(len(told), 1)
        free = 1200
        store.open().close()
        free = 1500
        for _ in range(3):
            store.open().close()
        self.assertEqual([event.name for event in told], ["spool.full", "spool.recovered"])
        free = 999
        self.assertRaises(OSError, store.open)
        self.assertEqual([event.name for event in told], ["spool.full", "spool.recovered", "spool.full"])

    def test_many_threads_tell_once(self) -> None:
        """Bodies are spooled in several."""
        told: list[Happened] = []
        store = SpoolStore(self.folder, left_octets=2**62, tell=told.append)
        threads = [threading.Thread(target=lambda: [store.look() for _ in range(200)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(told), 1)

    def test_the_limit_is_the_one_that_is_documented(self) -> None:
        """docs/operation.md names it."""
        text = (Path(__file__).parent.parent / "docs" / "operation.md").read_text(encoding="utf-8")
        self.assertIn(f"{LEFT_OCTETS >> 20} MiB", text)

    def test_a_folder_that_was_taken_away_is_an_error_of_the_disk(self) -> None:
        """One message is deferred, and nothing else happens."""
        store = SpoolStore(self.folder)
        (self.folder / "spool").rmdir()
        self.assertRaises(OSError, store.open)

    def test_a_folder_that_is_there_is_used(self) -> None:
        """After a restart."""
        SpoolStore(self.folder)
        with SpoolStore(self.folder).open() as file:
            self.assertEqual(file.write(b"x"), 1)
