"""Tests of smtpgate.config.build."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import build, model, schema
from smtpgate.config.build_filters import Plugins
from smtpgate.config.position import read
from smtpgate.config.problem import Fault, dotted
from smtpgate.config.surroundings import ReadFile
from tests.config_kit import FACTORIES, FAILED, SpfOptions

BASE = Path("/etc/smtpgate")
WHERE = ("backends", "mail", "credentials")


def built(text: str, plugins: Plugins | None = None) -> tuple[model.Settings, list[Fault]]:
    """The tree and the faults of a text, with no files at all."""
    document = read(text)
    file = schema.File.model_validate(document.tree)
    return build.settings(file, document, BASE, "host.example.com", {}, plugins or Plugins(FACTORIES, FAILED))


class PathTests(SynchronousTestCase):
    """Paths and names."""

    def test_relative_paths_begin_at_the_file(self) -> None:
        """Absolute ones stay, and - is standard output."""
        tree, _ = built('state_dir = "state"\n[log]\nfile = "gate.log"\n')
        self.assertEqual((tree.state_dir, tree.log.file), (BASE / "state", "/etc/smtpgate/gate.log"))
        tree, _ = built('state_dir = "/var/lib/x"\n')
        self.assertEqual((tree.state_dir, tree.log.file), (Path("/var/lib/x"), "-"))

    def test_all_files_that_are_named_are_asked_for(self) -> None:
        """What the loader does not read, no check can judge."""
        document = read(
            '[listeners.mx]\nlisten = "tcp:25"\n'
            'certificates = ["a", "/b"]\nclient_ca = "c"\npassword_file = "d"\n'
            '[backends.m]\nservers = "a:25"\ntls_ca = "e"\ntls_certificate = "f"\ncredentials = "g"\n'
        )
        paths = list(build.paths_in(schema.File.model_validate(document.tree), BASE))
        self.assertEqual(paths, [BASE / "a", Path("/b"), BASE / "c", BASE / "d", BASE / "e", BASE / "f", BASE / "g"])

    def test_hostname_is_that_of_the_host_unless_given(self) -> None:
        """Without a trailing dot, which no greeting has."""
        self.assertEqual(built("")[0].hostname, "host.example.com")
        self.assertEqual(built('hostname = "gate.example.com."')[0].hostname, "gate.example.com")

    def test_admin_can_be_off(self) -> None:
        """Off is None inside."""
        self.assertIsNone(built('[admin]\nlisten = "off"\n')[0].admin.listen)

    def test_listeners_and_backends_keep_the_order_of_the_file(self) -> None:
        """Pages and logs list them as the operator does."""
        tree, _ = built("".join(f'[listeners.{name}]\nlisten = "tcp:25"\n' for name in "zamb"))
        self.assertEqual(list(tree.listeners), ["z", "a", "m", "b"])


class FilterTests(SynchronousTestCase):
    """`[[filters]]`."""

    def faults(self, text: str, plugins: Plugins | None = None) -> list[tuple[str, str]]:
        """Key and message of each fault."""
        return [(dotted(fault.where), fault.message) for fault in built(text, plugins)[1]]

    def test_options_are_an_instance_of_the_filter_s_class(self) -> None:
        """With its defaults where nothing is given."""
        tree, faults = built('[[filters]]\nuse = "spf"\n[filters.options]\nlookups = 3\n')
        self.assertEqual(faults, [])
        self.assertEqual(tree.filters[0].options, SpfOptions(lookups=3))
        self.assertEqual(tree.filters[0].line, 1)

    def test_unknown_filter_names_those_found_and_those_that_failed(self) -> None:
        """A plugin with a typing error is mostly why it is not there."""
        (fault,) = built('[[filters]]\nuse = "spff"\n')[1]
        self.assertEqual(
            fault.hint,
            'did you mean "spf"? known: clamav, spf; could not be imported:'
            " smtpgate.plugins.broken: ImportError: No module named 'nothing'",
        )
        (fault,) = built('[[filters]]\nuse = "spf"\n', Plugins())[1]
        self.assertEqual(fault.hint, "no filters were found")

    def test_bad_options_have_their_path(self) -> None:
        """A plugin's author gets this for nothing."""
        text = '[[filters]]\nuse = "spf"\noptions = { lookups = 99, lokups = 1 }\n'
        self.assertEqual(
            self.faults(text),
            [
                ("filters[0].options.lookups", "99 is too large"),
                ("filters[0].options.lokups", "unknown key"),
            ],
        )

    def test_filter_without_options_takes_none(self) -> None:
        """Each key is unknown to it."""
        self.assertEqual(
            self.faults('[[filters]]\nuse = "clamav"\noptions = { a = 1, b = 2 }\n'),
            [("filters[0].options.a", "unknown key"), ("filters[0].options.b", "unknown key")],
        )

    def test_role_that_a_filter_is_not_made_for_is_refused(self) -> None:
        """Sender checks on submission would refuse the own users."""
        text = '[[filters]]\nuse = "spf"\nroles = ["submission"]\n'
        self.assertEqual(self.faults(text), [("filters[0].roles", 'the filter "spf" is not made for all of these')])
        self.assertEqual(self.faults('[[filters]]\nuse = "clamav"\nroles = ["submission"]\n'), [])


class CredentialsTests(SynchronousTestCase):
    """`credentials_from`."""

    def said(self, text: str, **given: object) -> str:
        """What is wrong with a file, or the user in it."""
        file = ReadFile(Path("/login"), text.encode("utf-8", "surrogateescape"), **given)  # type: ignore[arg-type]
        found, faults = build.credentials_from(file, WHERE)
        self.assertNotIn("hunter2", repr((found, faults)))
        if found is not None:
            self.assertEqual(found.password.reveal(), "hunter2")
            return found.user
        (fault,) = faults
        self.assertTrue(fault.hint)
        return fault.message

    def test_user_and_password_are_read(self) -> None:
        """The password as a secret."""
        self.assertEqual(self.said('user = "gate"\npassword = "hunter2"\n'), "gate")

    def test_file_that_others_can_read_is_refused(self) -> None:
        """Also by the group; the hint says what would be right."""
        for mode in (0o640, 0o604, 0o644, 0o666):
            message = self.said('user = "gate"\npassword = "hunter2"\n', mode=mode)
            self.assertEqual(message, f"/login can be read by others (mode {mode:04o})")
        self.assertEqual(self.said('user = "gate"\npassword = "hunter2"\n', mode=0o400), "gate")

    def test_bad_files_are_refused_without_repeating_them(self) -> None:
        """The password may be anywhere in a bad file."""
        for text, message in (
            ("hunter2", "/login is no TOML at line 1"),
            ('user = "gate"\npassword = "hunter2', "/login is no TOML at line 2"),
            ('user = "gate"\npasword = "hunter2"\n', "/login has the wrong keys"),
            ('user = "gate"\npassword = 5\n', "/login has the wrong keys"),
            ('user = "gate"\npassword = "hunter2"\nhost = "x"\n', "/login has the wrong keys"),
            ('user = ""\npassword = "hunter2"\n', "/login has an empty user or password"),
            ('user = "a"\npassword = ""\n', "/login has an empty user or password"),
            ("a = 1\udcff", "/login is not UTF-8"),
            ("", "/login has the wrong keys"),
        ):
            self.assertEqual(self.said(text), message, text)

    def test_file_that_cannot_be_read_is_refused(self) -> None:
        """With the reason of the system."""
        self.assertEqual(self.said("", reason="permission denied"), "cannot read /login: permission denied")
