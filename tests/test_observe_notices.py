"""Tests of smtpgate.observe.notices."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe import notices
from smtpgate.observe.names import EVENTS
from smtpgate.observe.notices import Notice
from smtpgate.policy import event as told
from tests.observe_kit import session, transaction


class NoticeTests(SynchronousTestCase):
    """Each small line."""

    def test_every_notice_is_in_the_list(self) -> None:
        """Its name, and each of its fields."""
        facts = session()
        made = transaction(facts)
        every: list[Notice] = [
            notices.session_opened(facts),
            notices.connection_refused(told.ConnectionRefused("mx", "192.0.2.1", "proxy_error", "why")),
            notices.connections_refused("mx", "refused_limit", 7),
            notices.command_refused(facts, ("MAIL", 503, "nested"), 2),
            notices.filter_failed(told.FilterFailed("spf", "mail", "raised", "why", "tempfail", facts.id), 1),
            notices.server_changed(told.ServerChanged("mail", "a:25", "up", "down", "why"), 1),
            notices.link_failed(told.LinkFailed("mail", "a:25", "connect", "why", facts.id), 1),
            notices.delivery_unknown(told.DeliveryUnknown(made, "a:25", "why")),
            notices.duplicate_possible(told.DuplicatePossible(made, "first")),
            notices.dropped(3),
            notices.reopened("/a", ""),
            notices.reopened("/a", "why"),
            notices.reopened("-", ""),
            notices.failed("Thing", ValueError("x")),
        ]
        for _, name, message, fields in every:
            self.assertIn(name, EVENTS)
            self.assertEqual({key for key, _ in fields} - set(EVENTS[name].fields), set(), name)
            self.assertTrue(message)

    def test_levels_follow_what_happened(self) -> None:
        """Somebody must look where we are full or a server went down, and not where one came up."""
        full = told.ConnectionRefused("mx", "192.0.2.1", "refused_capacity")
        one = told.ConnectionRefused("mx", "192.0.2.1", "refused_limit")
        self.assertEqual(notices.connection_refused(full)[0], "warning")
        self.assertEqual(notices.connection_refused(one)[0], "info")
        self.assertEqual(notices.server_changed(told.ServerChanged("m", "s", "up", "down", ""), 0)[0], "warning")
        self.assertEqual(notices.server_changed(told.ServerChanged("m", "s", "down", "up", ""), 0)[0], "info")

    def test_nothing_left_out_is_no_field(self) -> None:
        """`repeated` stands only where something was."""
        fields = dict(notices.link_failed(told.LinkFailed("mail", "a:25", "connect", "why"), 0)[3])
        self.assertIsNone(fields["repeated"])
