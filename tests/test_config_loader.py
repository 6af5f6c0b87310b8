"""Tests of smtpgate.config.loader, with the files of badconfig/ and goodconfig/.

Each bad file has one kind of mistake and, beside it, all that is said about it; each good file has, beside
it, the tree that comes out of it. A new message is looked at before it is written there.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import trustme
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import ConfigErrors, load, loads
from tests.config_kit import TESTS, complaint, dump
from tests.config_kit import load as load_anywhere

GOOD = """\
hostname = "gate.example.com"
local_domains = ["example.net"]
[listeners.mx]
listen = "tcp:25"
tls = "off"
[backends.mail]
servers = "127.0.0.1:2525"
client_info = "xclient"
[[routes]]
backend = "mail"
"""


class GoldenTests(SynchronousTestCase):
    """Files with their expected outcome."""

    maxDiff = None

    def test_bad_files_say_exactly_what_is_expected(self) -> None:
        """Place, key, message and hint of every mistake, and nothing else."""
        paths = sorted((TESTS / "badconfig").glob("*.toml"))
        self.assertGreaterEqual(len(paths), 45)
        for path in paths:
            self.assertEqual(complaint(path), path.with_suffix(".expected").read_text(encoding="utf-8"), path.name)

    def test_good_files_become_exactly_the_expected_tree(self) -> None:
        """All values, with defaults and warnings."""
        paths = sorted((TESTS / "goodconfig").glob("*.toml"))
        self.assertTrue(paths)
        for path in paths:
            expected = path.with_suffix(".dump").read_text(encoding="utf-8")
            self.assertEqual(dump(load_anywhere(path), path.parent), expected, path.name)

    def test_every_problem_has_a_hint_and_a_place(self) -> None:
        """Nobody is told that something is wrong and left alone with it."""
        for path in (TESTS / "badconfig").glob("*.toml"):
            error = self.assertRaises(ConfigErrors, load_anywhere, path)
            lines = path.read_text(encoding="utf-8").split("\n")
            for problem in error.problems:
                self.assertTrue(problem.hint, str(problem))
                self.assertTrue(1 <= problem.line <= len(lines), str(problem))
                self.assertTrue(1 <= problem.column <= len(lines[problem.line - 1]) + 1, str(problem))
            self.assertNotIn("hunter2", str(error))
            self.assertEqual([p.line for p in error.problems], sorted(p.line for p in error.problems))

    def test_many_mistakes_are_told_in_one_run(self) -> None:
        """Schema, checks, filters and warnings together."""
        error = self.assertRaises(ConfigErrors, load_anywhere, TESTS / "badconfig" / "80-everything-at-once.toml")
        self.assertGreaterEqual(len(error.problems), 25)
        tables = {problem.key.partition(".")[0].partition("[")[0] for problem in error.problems}
        self.assertEqual(
            tables,
            {
                "hostnme",
                "local_domains",
                "admin",
                "limits",
                "timeouts",
                "listeners",
                "backends",
                "routes",
                "filters",
            },
        )


class LoadTests(SynchronousTestCase):
    """`load` and `loads`."""

    def setUp(self) -> None:
        """A folder of our own."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "gate.toml"

    def problems(self, octets: bytes) -> list[str]:
        """What is said about a file with these octets."""
        self.path.write_bytes(octets)
        error = self.assertRaises(ConfigErrors, load, self.path)
        return [str(problem).replace(str(self.path), "FILE") for problem in error.problems]

    def test_settings_know_their_file_and_text(self) -> None:
        """Path and digest name the revision."""
        self.path.write_text(GOOD)
        settings = load(self.path)
        self.assertEqual(settings.path, self.path.absolute())
        self.assertEqual(settings.state_dir, self.path.absolute().parent / "var")
        self.assertEqual(settings.digest, loads(GOOD).digest)
        self.assertNotEqual(settings.digest, loads(GOOD + "\n").digest)
        self.assertEqual(len(settings.digest), 64)

    def test_text_without_a_path_is_below_the_current_folder(self) -> None:
        """The admin page checks a text before it is a file."""
        settings = loads(GOOD)
        self.assertIsNone(settings.path)
        self.assertEqual(settings.state_dir, Path.cwd() / "var")
        error = self.assertRaises(ConfigErrors, loads, "x = 1\n" + GOOD)
        self.assertTrue(str(error).startswith("<text>:1:1  x  unknown key"))

    def test_path_is_printed_as_it_was_given(self) -> None:
        """An editor or a terminal can follow it."""
        error = self.assertRaises(ConfigErrors, loads, "x = 1\n" + GOOD, "etc/smtpgate.toml")
        self.assertTrue(str(error).startswith("etc/smtpgate.toml:1:1  x"))

    def test_file_that_cannot_be_read_is_one_problem(self) -> None:
        """Not there, a folder, a pipe: none of them hangs or crashes."""
        os.mkfifo(self.folder / "pipe")
        for name, reason in (
            ("missing", "no such file or directory"),
            (".", "it is not a regular file"),
            ("pipe", "it is not a regular file"),
        ):
            error = self.assertRaises(ConfigErrors, load, self.folder / name)
            (problem,) = error.problems
            self.assertEqual((problem.line, problem.message), (0, f"cannot be read: {reason}"), name)

    def test_text_that_is_not_utf8_is_one_problem(self) -> None:
        """With the line of the first bad octet."""
        self.assertEqual(
            self.problems(b"# a\n# b\xff\n"),
            ["FILE  is not UTF-8: octet 0xff in line 2; save the file as UTF-8"],
        )

    def test_mark_of_some_editors_is_passed_over(self) -> None:
        """A byte order mark is not the operator's mistake."""
        self.path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
        self.assertEqual(load(self.path).hostname, "gate.example.com")

    def test_warnings_do_not_stop_and_are_kept(self) -> None:
        """The tree carries them to the log and the pages."""
        settings = loads(GOOD.replace('"off"', '"required"'))
        self.assertEqual(
            [problem.key for problem in settings.warnings], ["listeners.mx.certificates", "listeners.mx.tls"]
        )
        self.assertEqual({problem.severity for problem in settings.warnings}, {"warning"})
        self.assertEqual(loads(GOOD).warnings, ())

    def test_warnings_are_told_with_errors(self) -> None:
        """All in one run."""
        error = self.assertRaises(ConfigErrors, loads, "x = 1\n" + GOOD.replace('"off"', '"required"'))
        self.assertEqual([problem.is_error for problem in error.problems], [True, False, False])

    def test_state_folder_may_be_made_later(self) -> None:
        """But not where a file stands."""
        self.path.write_text(f'state_dir = "a/b/c"\n{GOOD}')
        self.assertEqual(load(self.path).warnings, ())
        (self.folder / "a").write_text("")
        error = self.assertRaises(ConfigErrors, load, self.path)
        self.assertIn("is not a folder", error.problems[0].message)

    def test_files_that_are_named_are_read(self) -> None:
        """A certificate, credentials with their mode, found beside the file."""
        leaf = trustme.CA().issue_cert("gate.example.com")
        octets = leaf.private_key_pem.bytes() + b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        for name, content in (("gate.pem", octets), ("login.toml", b'user = "gate"\npassword = "hunter2"\n')):
            (self.folder / name).write_bytes(content)
            (self.folder / name).chmod(0o600)
        text = GOOD.replace('tls = "off"', 'tls = "optional"\ncertificates = "gate.pem"')
        self.path.write_text(text.replace("[[routes]]", 'credentials = "login.toml"\n[[routes]]'))
        settings = load(self.path)
        self.assertEqual(settings.warnings, ())
        credentials = settings.backends["mail"].credentials
        assert credentials is not None
        self.assertEqual((credentials.user, credentials.password.reveal()), ("gate", "hunter2"))
        self.assertNotIn("hunter2", repr(settings))
        (self.folder / "login.toml").chmod(0o644)
        error = self.assertRaises(ConfigErrors, load, self.path)
        (problem,) = error.problems
        self.assertEqual(problem.key, "backends.mail.credentials")
        self.assertIn("chmod 600", problem.hint)

    def test_every_common_setup_of_a_test_bench_loads(self) -> None:
        """One listener, one backend on loopback, one route, in all combinations of their switches."""
        leaf = trustme.CA().issue_cert("gate.example.com")
        certificate = self.folder / "gate.pem"
        leaf.private_key_pem.write_to_path(str(certificate))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(certificate), append=True)
        certificate.chmod(0o600)
        switches = itertools.product(
            ("mx", "relay", "relay under TLS"),
            (False, True),
            ("off", "optional", "required", "verify"),
            ("off", "xclient"),
        )
        for use, with_tls, tls, client_info in switches:
            under_tls = use == "relay under TLS"
            has_tls = with_tls or under_tls
            role, auth = ("mx", "off") if use == "mx" else ("submission", "relay")
            text = (
                'hostname = "gate.example.com"\nlocal_domains = ["example.net"]\n'
                '[admin]\nlisten = "tcp:8080:interface=127.0.0.1"\n'
                '[listeners.front]\nlisten = ["tcp:2525:interface=127.0.0.1"]\nprotocol = "smtp"\n'
                f'role = "{role}"\nauth = "{auth}"\nauth_requires_tls = {str(under_tls).lower()}\n'
                f'tls = "{"optional" if has_tls else "off"}"\n'
                + (f'certificates = ["{certificate.absolute()}"]\n' if has_tls else "")
                + 'proxy_protocol_from = ["127.0.0.0/8"]\n'
                '[backends.mail]\nservers = ["127.0.0.1:2526"]\n'
                f'tls = "{tls}"\nclient_info = "{client_info}"\n'
                'tls_name = "backend.example.net"\n[[routes]]\nbackend = "mail"\n'
            )
            settings = loads(text, self.path)
            expected = {"backends.mail.tls_name"} if tls == "off" else set()
            expected |= {"backends.mail.client_info"} if client_info == "off" else set()
            self.assertEqual({problem.key for problem in settings.warnings}, expected, text)
