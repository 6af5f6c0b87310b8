"""Tests of what filters say of their options beside one another (`filters.base.Options.doubts`), and of rules there."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.problem import ConfigErrors
from smtpgate.plugins import find_factories

GATE = """
hostname = "gate.example.net"
local_domains = ["example.net"]
[listeners.mx]
listen = ["tcp:25"]
tls = "off"
[backends.mail]
servers = ["192.0.2.1:25"]
tls = "off"
client_info = "xclient"
[[routes]]
backend = "mail"
"""


def told(filters: str) -> list[tuple[str, str]]:
    """Places and severities of what is said about the filters of a configuration."""
    factories, _ = find_factories()
    try:
        problems = loads(GATE + filters, Path("/etc/smtpgate/gate.toml"), factories).warnings
    except ConfigErrors as errors:
        problems = errors.problems
    return [(one.key, one.severity) for one in problems if one.key.startswith("filters")]


def table(use: str, options: str) -> str:
    """One filter."""
    return f'[[filters]]\nuse = "{use}"\n[filters.options]\n{options}\n'


class DoubtTests(SynchronousTestCase):
    """Likely slips."""

    def test_an_entry_that_skips(self) -> None:
        """A filter that is not there, one that looks for malware, none at all; a day that is over."""
        skips = "filters[1].options.entries[0].skips"
        for entry, wanted in (
            ('skips = ["dnsbl"]', []),
            ('skips = ["dnsbll"]', [(skips, "warning")]),
            ('skips = ["attachments"]', [(skips, "warning")]),
            ('owner = "sales"', [("filters[1].options.entries[0]", "warning")]),
            ('skips = ["dnsbl"], until = "2001-01-01"', [("filters[1].options.entries[0].until", "warning")]),
        ):
            entries = f'entries = [{{ clients = ["192.0.2.0/28"], action = "accept", {entry} }}]'
            chain = table("dnsbl", 'lists = [{ zone = "list.example.org", weight = 1.0 }]') + table("access", entries)
            found = told(chain + table("attachments", ""))
            self.assertEqual(found, wanted, entry)

    def test_a_list_that_takes_the_place_of_the_shipped_one(self) -> None:
        """What is in none any more would pass."""
        self.assertEqual(told(table("attachments", 'reject = [".iso"]')), [("filters[0].options.reject", "warning")])
        self.assertEqual(told(table("attachments", 'tag = ["executable"]')), [])

    def test_lists_that_nobody_named(self) -> None:
        """A threshold over nothing."""
        self.assertEqual(told(table("dnsbl", "reject_at = 3.0")), [("filters[0].options", "warning")])
        self.assertEqual(told(table("arc", "trusted = -2.0")), [("filters[0].options.trusted", "warning")])

    def test_an_action_that_rspamd_does_not_have(self) -> None:
        """The others keep what is shipped for them."""
        server = 'servers = "http://127.0.0.1:11333"\n'
        found = told(table("rspamd", server + 'actions = { "add headers" = "tag" }'))
        self.assertEqual(found, [("filters[0].options.actions", "warning")])
        options = find_factories()[0]["rspamd"].options(servers="http://127.0.0.1:1", actions={"reject": "tag"})
        self.assertEqual((options.actions["reject"], options.actions["no action"]), ("tag", "note"))

    def test_what_cannot_be(self) -> None:
        """Thresholds in the wrong order, a wait without an end, a row that limits nothing."""
        for use, options in (
            ("dnsbl", 'tag_at = 9.0\nreject_at = 3.0\nlists = [{ zone = "list.example.org", weight = 1.0 }]'),
            ("spamd", 'servers = "127.0.0.1:783"\ntag = 15.0\nreject = 5.0'),
            ("greylist", 'delay = "2h"\nwindow = "1h"'),
            ("limits", "rows = [{}]"),
        ):
            self.assertEqual([severity for _, severity in told(table(use, options))], ["error"], use)

    def test_a_file_that_is_not_there(self) -> None:
        """Told at its key."""
        found = told(table("blocklists", 'files = ["/none/a.txt"]') + table("yara", 'rules = ["/none/b.yar"]'))
        self.assertEqual([key for key, _ in found], ["filters[0].options.files", "filters[1].options.rules"])

    def test_a_table_where_a_list_is_wanted(self) -> None:
        """With what to write."""
        error = self.assertRaises(ConfigErrors, loads, GATE + "[filters.dmarc]\nx = 1\n", Path("/tmp/gate.toml"), {})
        self.assertIn("write [[filters]], in two brackets", str(error))
