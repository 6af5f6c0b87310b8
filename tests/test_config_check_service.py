"""Tests of smtpgate.config.check_service."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_service as checks
from smtpgate.config.model import Admin, FilterUse, Limits, Timeouts
from smtpgate.config.surroundings import Folder, Surroundings
from smtpgate.policy.verdict import Scale
from tests.config_kit import backend, listener, said, tree

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class HostnameTests(SynchronousTestCase):
    """`hostname_is_a_name`."""

    def test_full_name_is_good(self) -> None:
        """A name with a dot, of letters, digits and hyphens."""
        for name in ("gate.example.com", "g-1.example.com", "xn--bcher-kva.example"):
            self.assertEqual(said(checks.hostname_is_a_name, tree(hostname=name)), [], name)

    def test_short_name_is_warned_about(self) -> None:
        """It works at home, and nowhere else."""
        self.assertEqual(said(checks.hostname_is_a_name, tree(hostname="gate")), [("hostname", "warning")])

    def test_what_no_host_can_be_named_is_refused(self) -> None:
        """Peers would refuse our EHLO."""
        for name in (
            "my_gate.example.com",
            "gate..example",
            "",
            "192.0.2.1",
            "2001:db8::1",
            "[192.0.2.1]",
            "a b.c",
            "-a.example",
            "a" * 64 + ".example",
            "gate.bücher.example",
            "a.\r\nb",
        ):
            self.assertEqual(said(checks.hostname_is_a_name, tree(hostname=name)), [("hostname", "error")], name)

    def test_name_beyond_ascii_is_offered_in_ascii(self) -> None:
        """The hint is the name as it must be written."""
        (fault,) = checks.hostname_is_a_name(tree(hostname="gate.bücher.example"))
        self.assertEqual(fault.hint, 'write "gate.xn--bcher-kva.example"')


class StateDirTests(SynchronousTestCase):
    """`state_dir_is_usable`."""

    def severities(self, folder: Folder) -> list[str]:
        """What is said about a folder."""
        around = Surroundings(NOW, state_dir=folder)
        return [fault.severity for fault in checks.state_dir_is_usable(tree(), around)]

    def test_usable_folder_is_good(self) -> None:
        """There, or yet to be made."""
        self.assertEqual(self.severities(Folder()), [])
        self.assertEqual(self.severities(Folder(exists=False)), [])

    def test_folder_that_cannot_be_written_is_refused(self) -> None:
        """Nor one that is a file."""
        self.assertEqual(self.severities(Folder(reason="this user may not write in /x")), ["error"])
        self.assertEqual(self.severities(Folder(exists=False, reason="/x is not a folder")), ["error"])

    def test_folder_that_this_user_cannot_make_is_warned_about(self) -> None:
        """The check may run as another user than the gateway, on another machine even."""
        self.assertEqual(self.severities(Folder(exists=False, reason="this user may not write in /")), ["warning"])

    def test_what_only_another_user_may_write(self) -> None:
        """It is said who should run it, not that the file is wrong."""
        why = Folder(reason="this user may not write /x")
        (folder,) = checks.state_dir_is_usable(tree(), Surroundings(NOW, state_dir=why))
        (log,) = checks.log_file_is_usable(tree(), Surroundings(NOW, log_file=why))
        self.assertIn("run this as that user", folder.hint)
        self.assertIn("run this as the gateway's user", log.hint)


class LimitTests(SynchronousTestCase):
    """Limits and times."""

    def test_no_listener_is_refused(self) -> None:
        """There would be nothing to do."""
        self.assertEqual(said(checks.something_listens, tree(listeners=[])), [("listeners", "error")])
        self.assertEqual(said(checks.something_listens, tree()), [])

    def test_names_with_odd_characters_are_refused(self) -> None:
        """They stand in logs, metrics and addresses."""
        for name in ("my mx", "", "mx/1", "-mx", "m" * 64, "mä"):
            found = said(checks.names_are_plain, tree(listeners=[listener(name)]))
            self.assertEqual([severity for _, severity in found], ["error"], name)
        for name in ("mx", "mx-1", "mx_1.b", "1"):
            self.assertEqual(said(checks.names_are_plain, tree(listeners=[listener(name)])), [], name)

    def test_verdict_has_a_cap(self) -> None:
        """300 seconds and not one more."""
        found = said(checks.verdict_is_in_time, tree(timeouts=Timeouts(verdict_s=301)))
        self.assertEqual(found, [("timeouts.verdict", "error")])
        self.assertEqual(said(checks.verdict_is_in_time, tree(timeouts=Timeouts(verdict_s=300))), [])
        self.assertEqual(said(checks.verdict_is_in_time, tree()), [])

    def test_short_data_done_is_warned_about(self) -> None:
        """RFC 5321 section 4.5.3.2.6."""
        found = said(checks.backend_gets_its_time, tree(timeouts=Timeouts(data_done_s=599)))
        self.assertEqual(found, [("timeouts.data_done", "warning")])
        self.assertEqual(said(checks.backend_gets_its_time, tree()), [])

    def test_times_of_years_are_refused(self) -> None:
        """A day is the most, for each; the verdict has a cap of its own."""
        for field in attrs.fields(Timeouts):
            key = field.name.removesuffix("_s")
            found = [] if key == "verdict" else [(f"timeouts.{key}", "error")]
            self.assertEqual(
                said(checks.times_have_sense, tree(timeouts=Timeouts(**{field.name: 86401.0}))), found, key
            )
            self.assertEqual(said(checks.times_have_sense, tree(timeouts=Timeouts(**{field.name: 86400.0}))), [], key)
        judged = tree(backends=[backend("mail", probe_s=86401.0)])
        self.assertEqual(said(checks.times_have_sense, judged), [("backends.mail.probe", "error")])

    def test_times_of_milliseconds_are_warned_about(self) -> None:
        """Only a stop may be as quick as it likes."""
        for field in attrs.fields(Timeouts):
            key = field.name.removesuffix("_s")
            found = [] if key == "drain" else [(f"timeouts.{key}", "warning")]
            self.assertEqual(said(checks.times_have_sense, tree(timeouts=Timeouts(**{field.name: 0.9}))), found, key)
            self.assertEqual(said(checks.times_have_sense, tree(timeouts=Timeouts(**{field.name: 1.0}))), [], key)
        judged = tree(backends=[backend("mail", probe_s=0.9)])
        self.assertEqual(said(checks.times_have_sense, judged), [("backends.mail.probe", "warning")])
        self.assertEqual(said(checks.times_have_sense, tree(timeouts=Timeouts(drain_s=0.0))), [])

    def test_small_message_size_is_warned_about(self) -> None:
        """RFC 5321 section 4.5.3.1.7."""
        small, enough = Limits(message_size_octets=65535), Limits(message_size_octets=65536)
        found = said(checks.messages_of_64_kib_pass, tree(limits=small))
        self.assertEqual(found, [("limits.message_size", "warning")])
        self.assertEqual(said(checks.messages_of_64_kib_pass, tree(limits=enough)), [])

    def test_too_few_recipients_are_refused(self) -> None:
        """RFC 5321 section 4.5.3.1.8."""
        found = said(checks.hundred_recipients_pass, tree(limits=Limits(recipients=99)))
        self.assertEqual(found, [("limits.recipients", "error")])
        self.assertEqual(said(checks.hundred_recipients_pass, tree(limits=Limits(recipients=100))), [])


class ListenTests(SynchronousTestCase):
    """Ports of listeners and admin pages."""

    def test_S_01_admin_pages_open_to_the_network_are_refused(self) -> None:
        """Unless somebody says that he wants that."""
        for text in ("tcp:8080", "tcp:8080:interface=192.0.2.1", "systemd:domain=INET:index=0"):
            found = said(checks.admin_is_not_open, tree(admin=Admin(listen=text)))
            self.assertEqual(found, [("admin.listen", "error")], text)
            self.assertEqual(said(checks.admin_is_not_open, tree(admin=Admin(listen=text, insecure=True))), [], text)

    def test_S_01_admin_pages_on_this_machine_are_good(self) -> None:
        """Loopback, a unix socket, or none at all."""
        for text in (
            "tcp:8080:interface=127.0.0.1",
            r"tcp:8080:interface=\:\:1",
            "unix:/run/admin.sock",
            None,
        ):
            self.assertEqual(said(checks.admin_is_not_open, tree(admin=Admin(listen=text))), [], text)

    def test_health_paths_may_be_open(self) -> None:
        """A probe comes from another machine."""
        self.assertEqual(said(checks.admin_is_not_open, tree(admin=Admin(health_listen="tcp:8081"))), [])

    def test_port_used_twice_is_refused(self) -> None:
        """In one listener, in two, and with the admin pages."""
        doors = [
            listener("a", "tcp:25", "tcp:25:interface=127.0.0.1"),
            listener("b", "tcp:8080"),
            listener("c", "tcp:25"),
        ]
        self.assertEqual(
            said(checks.nothing_is_listened_on_twice, tree(listeners=doors)),
            [
                ("listeners.a.listen[1]", "error"),
                ("listeners.b.listen[0]", "error"),
                ("listeners.c.listen[0]", "error"),
            ],
        )
        doors = [listener("a", "tcp:25", "unix:/a"), listener("b", "tcp:26", "unix:/b")]
        self.assertEqual(said(checks.nothing_is_listened_on_twice, tree(listeners=doors)), [])

    def test_health_may_share_the_listener_of_the_admin_pages(self) -> None:
        """The same text in both keys means one listener."""
        same = Admin(health_listen="tcp:8080:interface=127.0.0.1")
        self.assertEqual(said(checks.nothing_is_listened_on_twice, tree(admin=same)), [])
        other = Admin(health_listen="tcp:8080")
        found = said(checks.nothing_is_listened_on_twice, tree(admin=other))
        self.assertEqual(found, [("admin.health_listen", "error")])


class FilterTests(SynchronousTestCase):
    """`filters_have_own_names`."""

    def test_filters_of_one_name_are_refused(self) -> None:
        """The second must have a name of its own."""
        twice = (FilterUse(1, 5, "spf"), FilterUse(2, 9, "spf"))
        self.assertEqual(said(checks.filters_have_own_names, tree(filters=twice)), [("filters[1]", "error")])
        named = (FilterUse(1, 5, "spf"), FilterUse(2, 9, "spf", "strict"))
        self.assertEqual(said(checks.filters_have_own_names, tree(filters=named)), [])


class ScoreTests(SynchronousTestCase):
    """`scores_rise`."""

    def test_what_is_good(self) -> None:
        """Rising, equal, some of them off."""
        for scale in (Scale(), Scale(tag=5.0, reject=5.0), Scale(tag=5.0, quarantine=6.0, defer=7.5, reject=12.0)):
            self.assertEqual(said(checks.scores_rise, tree(scale=scale)), [], scale)

    def test_all_mail_would_be_refused(self) -> None:
        """By a threshold that a message without findings reaches."""
        for scale in (Scale(reject=0.0), Scale(reject=-1.0)):
            self.assertEqual(said(checks.scores_rise, tree(scale=scale)), [("scores.reject", "error")], scale)

    def test_one_would_never_count(self) -> None:
        """It works, and not as meant."""
        found = said(checks.scores_rise, tree(scale=Scale(tag=12.0, reject=5.0)))
        self.assertEqual(found, [("scores.reject", "warning")])
