"""Tests of smtpgate.observe.outlet."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe.outlet import HELD_OCTETS, RETRY_S, Outlet


class OutletTests(SynchronousTestCase):
    """`Outlet`."""

    def setUp(self) -> None:
        self.now = 0.0
        self.path = Path(self.mktemp())

    def open(self) -> Outlet:
        """An outlet into our file."""
        outlet = Outlet(str(self.path), lambda: self.now)
        self.addCleanup(outlet.close)
        return outlet

    def pipe(self) -> tuple[Outlet, int]:
        """An outlet into a blocking pipe, and the pipe's other end."""
        reader, writer = os.pipe()
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
        outlet = self.open()
        os.close(outlet._fd)
        outlet._take(writer)
        self.reader: int | None = reader
        self.addCleanup(self.close_reader)
        return outlet, reader

    def close_reader(self) -> None:
        """The program that reads our log ends."""
        if self.reader is not None:
            os.close(self.reader)
            self.reader = None

    def test_lines_are_added_to_a_file_that_others_cannot_read(self) -> None:
        """What is there already stays, and a new file is for the owner and the group."""
        first = self.open()
        first.write(b"one\n")
        first.close()
        self.open().write(b"two\n")
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode) & 0o137, 0)

    def test_unwritable_file_is_an_error_at_the_opening(self) -> None:
        """Only there: a gateway that cannot log does not start."""
        with self.assertRaises(OSError):
            Outlet(str(self.path / "missing" / "log"))

    def test_reopened_file_is_the_new_one(self) -> None:
        """After a rotation the old file gets nothing more."""
        outlet = self.open()
        outlet.write(b"one\n")
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        outlet.reopen()
        outlet.write(b"two\n")
        self.assertEqual((old.read_bytes(), self.path.read_bytes()), (b"one\n", b"two\n"))

    def test_failed_reopening_keeps_the_old_file(self) -> None:
        """No line is lost by it."""
        outlet = self.open()
        with mock.patch("os.open", side_effect=OSError(errno.EACCES, "no")), self.assertRaises(OSError):
            outlet.reopen()
        outlet.write(b"one\n")
        self.assertEqual(self.path.read_bytes(), b"one\n")

    def test_standard_output_is_the_descriptor_itself(self) -> None:
        """`sys.stdout` is led back into the log by twistd; descriptor 1 is not."""
        outlet = Outlet("-")
        with mock.patch("os.write", side_effect=lambda fd, octets: len(octets)) as write:
            outlet.write(b"one\n")
        self.assertTrue(outlet.is_standard)
        self.assertEqual({call.args[0] for call in write.call_args_list}, {1})
        outlet.reopen()
        outlet.close()
        os.fstat(1)

    def test_full_disk_holds_lines_and_tries_again(self) -> None:
        """Nothing is raised, nothing is lost while there is room in memory, and it is not tried for each line."""
        outlet = self.open()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")) as write:
            outlet.write(b"one\n")
            outlet.write(b"two\n")
            self.assertEqual(write.call_count, 1)
            self.now += RETRY_S
            outlet.write(b"three\n")
            self.assertEqual(write.call_count, 2)
        self.assertTrue(outlet.holds)
        self.now += RETRY_S
        outlet.write(b"four\n")
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\nthree\nfour\n")
        self.assertEqual((outlet.dropped, outlet.holds), (0, False))

    def test_too_much_held_is_dropped_by_whole_lines_and_counted(self) -> None:
        """Memory is bounded; what is left is still whole lines."""
        outlet = self.open()
        line = b"x" * 999 + b"\n"
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            for _ in range(2000):
                outlet.write(line)
        self.now += RETRY_S
        outlet.write(b"")
        written = self.path.read_bytes()
        self.assertLessEqual(len(written), HELD_OCTETS)
        self.assertEqual(written, line * written.count(b"\n"))
        self.assertEqual(written.count(b"\n") + outlet.dropped, 2000)
        self.assertGreater(outlet.dropped, 0)

    def test_half_a_line_is_followed_by_its_other_half(self) -> None:
        """A write that took a part goes on where it stopped."""
        outlet = self.open()
        real = os.write
        with mock.patch("os.write", side_effect=[2, OSError(errno.ENOSPC, "full")]):
            outlet.write(b"one\ntwo\n")
        real(outlet._fd, b"on")
        self.now += RETRY_S
        outlet.write(b"three\n")
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\nthree\n")

    def test_pipe_that_nobody_reads_never_blocks(self) -> None:
        """A blocking pipe would stop the mail; all arrives once somebody reads."""
        outlet, reader = self.pipe()
        line = b"y" * 99 + b"\n"
        for _ in range(3000):
            outlet.write(line)
        self.assertTrue(outlet.holds)
        self.assertEqual(outlet.dropped, 0)
        got = b""
        for _ in range(100):
            try:
                got += os.read(reader, 2**20)
            except BlockingIOError:
                break
            self.now += RETRY_S
            outlet.write(b"")
        self.assertEqual(got, line * 3000)

    def test_closed_pipe_costs_lines_and_no_error(self) -> None:
        """They are counted, and nothing is kept for a reader who is gone."""
        outlet, _ = self.pipe()
        self.close_reader()
        outlet.write(b"one\ntwo\n")
        outlet.write(b"three\n")
        self.assertEqual((outlet.dropped, outlet.holds), (3, False))

    def test_what_is_held_at_the_end_is_counted(self) -> None:
        """Closing tries once more, and then tells the truth."""
        outlet = self.open()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            outlet.write(b"one\ntwo\n")
            outlet.close()
        self.assertEqual(outlet.dropped, 2)
