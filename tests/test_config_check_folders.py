"""Tests of smtpgate.config.check_folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_folders as checks
from smtpgate.config.model import Admin, Log, Settings
from smtpgate.config.paths import STATE_NAMES, kept_by_us
from smtpgate.config.problem import Fault, dotted
from smtpgate.config.surroundings import ReadFile, Surroundings
from smtpgate.net import selfsigned
from smtpgate.state.database import Database
from smtpgate.state.folder import StateFolder
from smtpgate.state.offline import DATABASE
from smtpgate.state.spool_store import SpoolStore
from tests.config_kit import backend, listener, tree

CONFIG = Path("/etc/smtpgate/gate.toml")

Check = Callable[[Settings, Surroundings], Iterator[Fault]]


def said(check: Check, judged: Settings, config: Path | None = CONFIG, *files: str) -> list[tuple[str, str]]:
    """What a check says about a tree whose file lies there and names these files."""
    named = {Path(file): ReadFile(Path(file)) for file in files}
    around = Surroundings(datetime(2026, 1, 1, tzinfo=UTC), named, path=config)
    return [(dotted(fault.where), fault.severity) for fault in check(judged, around)]


def state(folder: str) -> Settings:
    """A good tree with this state folder."""
    return tree(state_dir=Path(folder))


class StateDirTests(SynchronousTestCase):
    """Where the state folder lies."""

    def test_folders_of_the_system_are_refused(self) -> None:
        """However they are written; a folder in them is what they are for."""
        for folder in ("/", "/tmp", "/var/lib/", "/etc/smtpgate/..", "/usr/local"):
            found = said(checks.state_dir_is_our_own, state(folder))
            self.assertEqual(found, [("state_dir", "error")], folder)
        for folder in ("/var/lib/smtpgate", "/data", "/tmp/x", "/etc/smtpgate/var", "/srv"):
            self.assertEqual(said(checks.state_dir_is_our_own, state(folder)), [], folder)

    def test_folders_that_are_emptied_are_warned_about(self) -> None:
        """The ledger must outlive a restart of the machine."""
        for folder in ("/tmp/smtpgate", "/run/smtpgate", "/var/run/x/y", "/dev/shm/x", "/var/lib/../tmp/x"):
            self.assertEqual(said(checks.state_dir_lasts, state(folder)), [("state_dir", "warning")], folder)
        for folder in ("/var/lib/smtpgate", "/tmporary", "/running/x"):
            self.assertEqual(said(checks.state_dir_lasts, state(folder)), [], folder)

    def test_a_trial_may_pass_as_a_whole(self) -> None:
        """A configuration that lies there too, or nowhere, is no service."""
        for config in (Path("/tmp/trial/gate.toml"), None):
            self.assertEqual(said(checks.state_dir_lasts, state("/tmp/trial/var"), config), [], config)

    def test_folder_of_the_configuration_is_warned_about(self) -> None:
        """And any above it; not one beside it."""
        check = checks.state_dir_is_beside_the_configuration
        for folder in ("/etc/smtpgate", "/etc/smtpgate/var/..", "/etc/smtpgate/."):
            self.assertEqual(said(check, state(folder)), [("state_dir", "warning")], folder)
        for folder in ("/etc/smtpgate/var", "/etc/smtp", "/var/lib/smtpgate"):
            self.assertEqual(said(check, state(folder)), [], folder)
        self.assertEqual(said(check, state("/opt/gate"), Path("/opt/gate/etc/gate.toml")), [("state_dir", "warning")])


class PathTests(SynchronousTestCase):
    """`paths_have_one_use`."""

    def found(self, *files: str, file: str = "-", listen: str = "tcp:25", **given: object) -> list[tuple[str, str]]:
        """What is said about a log and a socket, with the state folder in /srv/state."""
        judged = tree([listener("mx", listen)], log=Log(file=file), state_dir=Path("/srv/state"), **given)
        return said(checks.paths_have_one_use, judged, CONFIG, *files)

    def test_log_over_another_file_is_refused(self) -> None:
        """The configuration, what it names, what the gateway keeps, and the state folder or one above it."""
        named = ("/etc/smtpgate/gate.pem", "/etc/smtpgate/passwords")
        for file in (
            "/etc/smtpgate/gate.toml",
            "/etc/smtpgate/x/../gate.pem",
            "/etc/smtpgate/passwords",
            "/srv/state/smtpgate.sqlite",
            "/srv/state/smtpgate.sqlite-wal",
            "/srv/state/ledger.key",
            "/srv/state/lock",
            "/srv/state/spool/gate.log",
            "/srv/state/Maildir/new/gate.log",
            "/srv/state",
            "/srv",
        ):
            self.assertEqual(self.found(*named, file=file), [("log.file", "error")], file)

    def test_log_anywhere_else_is_good(self) -> None:
        """In the state folder too."""
        for file in ("-", "/var/log/smtpgate.log", "/srv/state/gate.log", "/srv/state/log/lock", "/srv/stated"):
            self.assertEqual(self.found("/etc/smtpgate/gate.pem", file=file), [], file)

    def test_socket_over_another_file_is_refused(self) -> None:
        """Its path is cleared before it is bound."""
        for path in ("/srv/state/control.sock", "/srv/state/lock", "/etc/gate.pem", "/var/log/gate.log", "/srv/state"):
            found = self.found("/etc/gate.pem", file="/var/log/gate.log", listen=f"unix:{path}:mode=660")
            self.assertEqual(found, [("listeners.mx.listen[0]", "error")], path)
        for path in ("/srv/state/smtp.sock", "/run/smtpgate/smtp.sock"):
            self.assertEqual(self.found(listen=f"unix:{path}"), [], path)

    def test_sockets_of_the_admin_pages_are_looked_at_too(self) -> None:
        """One endpoint in both keys is one socket."""
        door = "unix:/srv/state/control.sock"
        self.assertEqual(self.found(admin=Admin(listen=door)), [("admin.listen", "error")])
        self.assertEqual(self.found(admin=Admin(health_listen=door)), [("admin.health_listen", "error")])
        self.assertEqual(self.found(admin=Admin(listen=door, health_listen=door)), [("admin.listen", "error")])

    def test_what_the_gateway_makes_is_known(self) -> None:
        """The names are written a second time in the room of the configuration, which may not ask the state's."""
        folder = Path(self.mktemp()).absolute()
        made = StateFolder(folder)
        made.lock()
        made.secret("ledger")
        selfsigned.ensure(folder, "gate.example.com")
        SpoolStore(folder)
        database = Database(folder / DATABASE)
        database.open()
        found = {path.name for path in folder.iterdir()}
        database.close()
        made.unlock()
        self.assertLess({"lock", "layout", "spool", "selfsigned.pem", DATABASE}, found)
        for name in found | STATE_NAMES:
            self.assertEqual(kept_by_us(str(folder / name), str(folder)), name)


class DoorTests(SynchronousTestCase):
    """`sockets_are_not_our_own_door`."""

    def test_door_of_the_command_line_is_no_backend(self) -> None:
        """It speaks HTTP, and takes no mail."""
        for path, found in (
            ("/srv/state/control.sock", [("backends.mail.servers[0]", "error")]),
            ("/srv/state/x/../control.sock", [("backends.mail.servers[0]", "error")]),
            ("/srv/other/control.sock", []),
        ):
            judged = tree(backends=[backend("mail", f"unix:{path}")], state_dir=Path("/srv/state"))
            self.assertEqual(said(checks.sockets_are_not_our_own_door, judged), found, path)
