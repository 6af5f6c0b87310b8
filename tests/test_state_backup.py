"""Backups: made beside a gateway that writes, read again, refused where anything is wrong with them."""

from __future__ import annotations

import gzip
import os
import sqlite3
import stat
import tarfile
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.state.backup import KEPT, MANIFEST, BadBackup, clear, create, keep, last, restore, verify
from smtpgate.state.database import Database
from smtpgate.state.folder import StateError, StateFolder
from smtpgate.state.offline import DATABASE


class BackupTests(SynchronousTestCase):
    """One folder, and its backup."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.folder = self.root / "state"
        self.config = self.root / "gate.toml"
        self.config.write_text('state_dir = "state"\n')
        state = StateFolder(self.folder)
        state.lock()
        self.addCleanup(state.unlock)
        self.secret = state.secret("links")
        self.database = Database(self.folder / DATABASE)
        self.database.open()
        self.addCleanup(self.database.close)
        (self.folder / "held").mkdir()
        (self.folder / "held" / "a").write_bytes(b"a message")
        (self.folder / "spool").mkdir()
        (self.folder / "spool" / "x").write_bytes(b"on its way")
        self.file = self.root / "one.backup"

    def test_there_and_back(self) -> None:
        """Whole, private, and no file of a moment in it; its time is known."""
        made = create(self.folder, self.config, self.file, "1.0")
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual(verify(self.file), made)
        found = last(self.folder)
        assert found is not None
        self.assertEqual(found, (made.at, self.file.stat().st_size))
        into = self.root / "again"
        self.assertEqual(restore(self.file, into), made)
        self.assertEqual((into / "state/held/a").read_bytes(), b"a message")
        self.assertEqual((into / "smtpgate.toml").read_bytes(), self.config.read_bytes())
        self.assertFalse((into / "state/spool").exists())
        self.assertEqual([path.name for path in self.folder.glob("backup-*")], [])
        again = StateFolder(into / "state")
        again.lock()
        self.addCleanup(again.unlock)
        self.assertEqual(again.secret("links"), self.secret)
        database = Database(into / "state" / DATABASE)
        database.open()
        database.close()

    def test_those_beside_the_state(self) -> None:
        """Private, the newest few are kept, and none of them is in the next one."""
        place = self.folder / "backups"
        place.mkdir()
        for year in range(2000, 2000 + KEPT):
            (place / f"smtpgate-{year}0101T000000Z.tar.gz").write_bytes(b"old")
        made = keep(self.folder, self.config, "1.0")
        self.assertEqual(stat.S_IMODE(made.stat().st_mode), 0o600)
        names = sorted(path.name for path in place.iterdir())
        self.assertEqual(len(names), KEPT)
        self.assertEqual((names[0][9:13], names[-1]), ("2001", made.name))
        restore(made, self.root / "again")
        self.assertFalse((self.root / "again/state/backups").exists())

    def test_a_clock_that_was_set_back(self) -> None:
        """The backup that was just made stays, whatever the names of the others say."""
        place = self.folder / "backups"
        place.mkdir()
        for year in range(2090, 2090 + KEPT):
            (place / f"smtpgate-{year}0101T000000Z.tar.gz").write_bytes(b"old")
        made = keep(self.folder, self.config, "1.0")
        self.assertTrue(made.exists())
        self.assertEqual(len(list(place.iterdir())), KEPT)

    def test_what_a_killed_one_left(self) -> None:
        """Links to mail that is deleted since: gone at the next start; what somebody is at is left to them."""
        left = self.folder / "backup-999999999-x"
        (left / "files").mkdir(parents=True)
        os.link(self.folder / "held" / "a", left / "files" / "a")
        alive = self.folder / f"backup-{os.getppid()}-y"
        alive.mkdir()
        (self.folder / "backups").mkdir()
        (self.folder / "backups" / ".smtpgate-20260101T000000Z.tar.gz.new").write_bytes(b"half")
        clear(self.folder)
        self.assertEqual((left.exists(), alive.exists()), (False, True))
        self.assertEqual(list((self.folder / "backups").iterdir()), [])
        self.assertTrue((self.folder / "held" / "a").exists())

    def test_while_it_is_written_to(self) -> None:
        """The copy is the state of one moment: two tables that are changed together are never apart."""
        with closing(sqlite3.connect(self.folder / DATABASE)) as first:
            first.execute("CREATE TABLE one (n INTEGER)")
            first.execute("CREATE TABLE two (n INTEGER)")
            first.commit()
        is_over = threading.Event()
        written = threading.Event()

        def write() -> None:
            with closing(sqlite3.connect(self.folder / DATABASE, timeout=30)) as connection:
                number = 0
                while not is_over.is_set():
                    number += 1
                    with connection:
                        connection.execute("INSERT INTO one VALUES (?)", (number,))
                        connection.execute("INSERT INTO two VALUES (?)", (number,))
                    written.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.assertTrue(written.wait(30))
            create(self.folder, self.config, self.file, "1.0")
        finally:
            is_over.set()
            writer.join()
        restore(self.file, self.root / "again")
        with closing(sqlite3.connect(self.root / "again/state" / DATABASE)) as copy:
            counts = [copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("one", "two")]
        self.assertEqual(counts[0], counts[1])
        self.assertGreater(counts[0], 0)

    def test_what_is_damaged_is_refused(self) -> None:
        """Cut off, changed, with a part more or less, of a newer version; and nothing of it is left."""
        create(self.folder, self.config, self.file, "1.0")
        whole = self.file.read_bytes()
        plain = gzip.decompress(whole)
        at = plain.index(b"a message")
        for bad in (
            whole[: len(whole) // 2],
            b"",
            b"no backup",
            gzip.compress(plain[:at] + b"A" + plain[at + 1 :]),
            gzip.compress(plain.replace(b'"layout": 1', b'"layout": 9')),
            gzip.compress(plain.replace(b"state/held/a", b"state/held/b", 1)),
            gzip.compress(plain.replace(b"state/held/a", b"../../held/a", 1)),
        ):
            self.file.write_bytes(bad)
            self.assertRaises(BadBackup, verify, self.file)
            self.assertRaises(BadBackup, restore, self.file, self.root / "again")
            self.assertEqual([path.name for path in self.root.iterdir() if "again" in path.name], [])

    def test_links_are_no_parts(self) -> None:
        """A part that would lead elsewhere is refused."""
        with tarfile.open(self.file, "w:gz") as archive:
            link = tarfile.TarInfo("state/x")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc"
            archive.addfile(link)
        self.assertIn("no part", str(self.assertRaises(BadBackup, verify, self.file)))
        self.assertNotIn(MANIFEST, os.listdir(self.root))

    def test_nothing_is_written_over(self) -> None:
        """Neither a file nor a folder; and a folder without state has no backup."""
        self.file.write_bytes(b"mine")
        self.assertRaises(StateError, create, self.folder, self.config, self.file, "1.0")
        self.assertEqual(self.file.read_bytes(), b"mine")
        other = self.root / "other.backup"
        create(self.folder, self.config, other, "1.0")
        self.assertRaises(StateError, restore, other, self.folder)
        self.assertRaises(StateError, create, self.root / "held", self.config, self.root / "x", "1.0")

    def test_by_the_command_line(self) -> None:
        """create, verify, a dry run, and back."""
        config = ["--config", str(self.config)]
        self.assertEqual(main([*config, "backup", "create", str(self.file)]), 0)
        self.assertEqual(main([*config, "backup", "create", str(self.file)]), 1)
        self.assertEqual(main(["backup", "verify", str(self.file)]), 0)
        into = self.root / "again"
        self.assertEqual(main(["restore", str(self.file), "--dry-run", "--into", str(into)]), 0)
        self.assertFalse(into.exists())
        self.assertEqual(main(["restore", str(self.file)]), 2)
        self.assertEqual(main(["restore", str(self.file), "--into", str(into)]), 0)
        self.assertTrue((into / "state" / DATABASE).exists())
