"""Tests of smtpgate.config.check_routes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_routes as checks
from smtpgate.config.model import Listener, Route
from smtpgate.config.patterns import AddressList, DomainList, NetworkList, PatternList
from tests.config_kit import backend, listener, said, tree

KINDS: dict[str, Any] = {
    "client": NetworkList,
    "sni": DomainList,
    "user": PatternList,
    "sender": AddressList,
    "recipient": AddressList,
    "listener": tuple,
}


def routes(*given: dict[str, Any]) -> list[Route]:
    """Routes by their conditions, to the backend "mail" unless said otherwise, ten lines apart."""
    made = []
    for number, one in enumerate(given, 1):
        asked = {key: KINDS[key](value) for key, value in one.items() if key in KINDS}
        made.append(Route(number, number * 10, backend=one.get("backend", "mail"), **asked))
    return made


def submission(name: str = "sub", **given: object) -> Listener:
    """A submission listener with AUTH relay unless said otherwise."""
    given.setdefault("auth", "relay")
    return listener(name, "tcp:587", role="submission", **given)


class NameTests(SynchronousTestCase):
    """Names in routes."""

    def test_unknown_backend_lists_the_known_ones(self) -> None:
        """With the one that was probably meant."""
        judged = tree(routes=routes({"backend": "mial"}), backends=[backend("mail"), backend("archive")])
        (fault,) = checks.backends_exist(judged)
        self.assertEqual(fault.where, ("routes", 0, "backend"))
        self.assertEqual(fault.hint, 'did you mean "mail"? known: mail, archive')

    def test_unknown_listener_lists_the_known_ones(self) -> None:
        """At its place in the list."""
        (fault,) = checks.listeners_exist(tree(routes=routes({"listener": ["mx", "submision"]})))
        self.assertEqual(fault.where, ("routes", 0, "listener", 1))
        self.assertEqual(fault.hint, "known: mx")

    def test_known_names_are_good(self) -> None:
        """Nothing is said."""
        judged = tree(routes=routes({"listener": ["mx"]}))
        self.assertEqual(said(checks.backends_exist, judged) + said(checks.listeners_exist, judged), [])


class ReachTests(SynchronousTestCase):
    """`routes_can_be_reached`."""

    def dead(self, *given: dict[str, Any], listeners: list[Listener] | None = None) -> list[int]:
        """The numbers (from 0) of routes that no mail can reach."""
        judged = tree(listeners or [listener("mx"), submission("sub")], routes=routes(*given))
        return [int(str(fault.where[1])) for fault in checks.routes_can_be_reached(judged)]

    def test_route_behind_one_without_conditions_is_dead(self) -> None:
        """The first one takes all."""
        self.assertEqual(self.dead({}, {"recipient": ["example.net"]}, {}), [1, 2])

    def test_route_before_one_without_conditions_lives(self) -> None:
        """This is how a default is written."""
        self.assertEqual(self.dead({"recipient": ["example.net"]}, {}), [])

    def test_more_conditions_behind_fewer_are_dead(self) -> None:
        """Asking for more takes a part of what is gone."""
        self.assertEqual(self.dead({"sender": ["a.b"]}, {"sender": ["a.b"], "client": ["192.0.2.1"]}), [1])
        self.assertEqual(self.dead({"sender": ["a.b"], "client": ["192.0.2.1"]}, {"sender": ["a.b"]}), [])

    def test_narrower_entries_behind_wider_are_dead(self) -> None:
        """Each kind of condition knows what is narrower."""
        for key, wide, narrow in (
            ("client", ["192.0.2.0/24"], ["192.0.2.7", "192.0.2.128/25"]),
            ("sni", ["*.example.org"], ["a.example.org", "*.b.example.org"]),
            ("user", ["*@example.net"], ["bob@example.net"]),
            ("sender", ["example.net", "<>"], ["Bob@EXAMPLE.net", "<>"]),
            ("recipient", ["postmaster@"], ["postmaster@example.net"]),
        ):
            self.assertEqual(self.dead({key: wide}, {key: narrow}), [1], key)
            self.assertEqual(self.dead({key: narrow}, {key: wide}), [], key)

    def test_several_routes_together_leave_nothing(self) -> None:
        """Each takes a part; the message names their lines."""
        given = routes(
            {"recipient": ["a.b"]},
            {"recipient": ["c.d"]},
            {"recipient": ["e.f"]},
            {"recipient": ["a.b", "c.d"]},
        )
        (fault,) = checks.routes_can_be_reached(tree(routes=given))
        self.assertEqual(fault.where, ("routes", 3))
        self.assertIn("the routes of line 10 and 20 take all of it", fault.message)

    def test_route_for_all_listeners_behind_each_of_them_is_dead(self) -> None:
        """Once each listener has its own, the default is never asked."""
        self.assertEqual(self.dead({"listener": ["mx"]}, {"listener": ["sub"]}, {}), [2])
        self.assertEqual(self.dead({"listener": ["mx"]}, {}), [])
        self.assertEqual(self.dead({"listener": ["mx", "sub"]}, {"listener": ["sub"]}), [1])

    def test_different_conditions_do_not_hide_each_other(self) -> None:
        """One by sender, one by recipient: mail may match either."""
        self.assertEqual(self.dead({"sender": ["a.b"]}, {"recipient": ["a.b"]}), [])

    def test_route_for_unknown_listeners_is_told_elsewhere(self) -> None:
        """One mistake, one message."""
        self.assertEqual(self.dead({}, {"listener": ["nowhere"]}), [])


class ConditionTests(SynchronousTestCase):
    """`conditions_can_be_met`."""

    def test_user_without_auth_is_refused(self) -> None:
        """No session would have one."""
        found = said(checks.conditions_can_be_met, tree(routes=routes({"user": ["bob"]}, {})))
        self.assertEqual(found, [("routes[0].user", "error")])
        both = tree([listener(), submission()], routes=routes({"user": ["bob"]}, {}))
        self.assertEqual(said(checks.conditions_can_be_met, both), [])

    def test_tls_name_without_tls_is_refused(self) -> None:
        """No client could ask for one."""
        found = said(checks.conditions_can_be_met, tree(routes=routes({"sni": ["a.b"]}, {})))
        self.assertEqual(found, [("routes[0].sni", "error")])
        both = tree([listener(tls="optional")], routes=routes({"sni": ["a.b"]}, {}))
        self.assertEqual(said(checks.conditions_can_be_met, both), [])


class ServiceTests(SynchronousTestCase):
    """Whether mail has a way on."""

    def test_listener_without_a_route_is_refused(self) -> None:
        """It would refuse all mail."""
        judged = tree([listener(), submission()], routes=routes({"listener": ["mx"]}))
        self.assertEqual(said(checks.listeners_are_served, judged), [("listeners.sub", "error")])
        self.assertEqual(said(checks.listeners_are_served, tree()), [])

    def test_route_without_conditions_serves_all_local_domains(self) -> None:
        """The simplest configuration is a good one."""
        judged = tree(local_domains=DomainList(["example.net", "*.example.org"]))
        self.assertEqual(said(checks.local_domains_are_served, judged), [])

    def test_local_domain_without_a_route_is_refused(self) -> None:
        """Its mail would be accepted for and have no way on."""
        judged = tree(
            routes=routes({"recipient": ["example.net"]}),
            local_domains=DomainList(["example.net", "example.org"]),
        )
        self.assertEqual(said(checks.local_domains_are_served, judged), [("local_domains[1]", "error")])

    def test_local_domain_with_a_route_in_part_is_warned_about(self) -> None:
        """Some users, or some subdomains, may be on purpose."""
        judged = tree(
            routes=routes({"recipient": ["bob@example.net", "a.example.org"]}),
            local_domains=DomainList(["example.net", "*.example.org"]),
        )
        self.assertEqual(
            said(checks.local_domains_are_served, judged),
            [("local_domains[0]", "warning"), ("local_domains[1]", "warning")],
        )

    def test_route_of_submission_serves_no_local_domain(self) -> None:
        """Mail from the world does not come that way."""
        judged = tree(
            [listener(), submission()],
            routes=routes({"listener": ["sub"]}, {"listener": ["mx"], "recipient": ["a.b"]}),
        )
        self.assertEqual(said(checks.local_domains_are_served, judged), [("local_domains[0]", "error")])

    def test_route_for_recipients_that_mx_refuses_is_refused(self) -> None:
        """No mail can reach it."""
        given = routes({"recipient": ["example.com", "bob@example.org"]}, {})
        self.assertEqual(said(checks.recipients_are_local, tree(routes=given)), [("routes[0].recipient", "error")])

    def test_single_recipients_that_mx_refuses_are_warned_about(self) -> None:
        """Mostly a domain that was forgotten in local_domains."""
        given = routes({"recipient": ["example.net", "example.com", "postmaster@", "*.net", "<>"]})
        self.assertEqual(
            said(checks.recipients_are_local, tree(routes=given)),
            [("routes[0].recipient[1]", "warning"), ("routes[0].recipient[4]", "warning")],
        )

    def test_submission_may_route_any_recipient(self) -> None:
        """It sends anywhere."""
        judged = tree([listener(), submission()], routes=routes({"recipient": ["example.com"]}, {}))
        self.assertEqual(said(checks.recipients_are_local, judged), [])


class OneBackendTests(SynchronousTestCase):
    """What must be known before a recipient is."""

    def asked(self, *given: dict[str, Any], auth: str = "relay") -> list[str]:
        """The keys that decide too late on a submission listener."""
        judged = tree([submission(auth=auth)], [backend("mail"), backend("other")], routes(*given))
        return [
            key for key, _ in said(checks.login_has_one_backend, judged) + said(checks.user_has_one_backend, judged)
        ]

    def test_login_may_depend_on_name_and_client(self) -> None:
        """Both are known when the backend is asked."""
        self.assertEqual(
            self.asked({"sni": ["a.b"], "backend": "other"}, {"client": ["192.0.2.1"], "backend": "other"}, {}), []
        )

    def test_login_may_not_depend_on_what_comes_later(self) -> None:
        """Sender, recipient, and the user, whose name is known by the login only."""
        for key, value in (("recipient", "a.b"), ("sender", "a.b"), ("user", "bob")):
            self.assertEqual(self.asked({key: [value], "backend": "other"}, {}), [f"routes[0].{key}"])

    def test_login_needs_a_backend_for_a_user_without_a_name(self) -> None:
        """Routes that all ask for the user leave none, even where they all lead to one backend."""
        self.assertEqual(self.asked({"user": ["bob"]}), ["routes[0].user"])
        self.assertEqual(self.asked({"user": ["bob"]}, {"user": ["eve"]}), ["routes[0].user", "routes[1].user"])
        self.assertEqual(self.asked({"user": ["bob"]}, {}), [])
        self.assertEqual(self.asked({"user": ["bob"]}, {"recipient": ["a.b"]}), [])
        self.assertEqual(
            self.asked({"user": ["bob"], "sni": ["a.b"]}, {"sni": ["c.d"], "backend": "other"}), ["routes[0].user"]
        )
        self.assertEqual(self.asked({"user": ["bob"]}, auth="local"), [])

    def test_each_client_may_have_its_own_backend(self) -> None:
        """A condition that comes later must not decide between those of one client."""
        net, other = {"client": ["192.0.2.0/24"]}, {"client": ["198.51.100.0/24"], "backend": "other"}
        self.assertEqual(self.asked({**net, "user": ["bob"]}, net, other), [])
        self.assertEqual(self.asked({**net, "user": ["bob"]}, {"backend": "other"}), ["routes[0].user"])

    def test_conditions_that_decide_nothing_are_good(self) -> None:
        """The backend is the same either way."""
        self.assertEqual(self.asked({"recipient": ["a.b"]}, {}), [])
        self.assertEqual(self.asked({"recipient": ["a.b"]}, {"sender": ["c.d"]}), [])

    def test_routes_of_other_users_do_not_matter(self) -> None:
        """Who takes the one never takes the other."""
        self.assertEqual(
            self.asked(
                {"user": ["*@a.b"], "recipient": ["c.d"]},
                {"user": ["*@a.b"]},
                {"user": ["*@c.d"], "backend": "other"},
                auth="local",
            ),
            [],
        )
        self.assertEqual(
            self.asked({"user": ["*@a.b"], "recipient": ["c.d"]}, {"backend": "other"}, auth="local"),
            ["routes[0].recipient"],
        )

    def test_routes_behind_the_last_possible_one_do_not_matter(self) -> None:
        """A route without such conditions takes the rest."""
        self.assertEqual(self.asked({"recipient": ["a.b"]}, {}, {"user": ["bob"], "backend": "other"}), [])

    def test_submission_may_depend_on_sender_but_not_on_recipient(self) -> None:
        """One backend for a user's mail; LMTP and mx have other ways."""
        self.assertEqual(self.asked({"sender": ["a.b"], "backend": "other"}, {}, auth="local"), [])
        self.assertEqual(
            self.asked({"recipient": ["a.b"], "backend": "other"}, {}, auth="local"), ["routes[0].recipient"]
        )
        self.assertEqual(
            self.asked(
                {"sender": ["a.b"], "recipient": ["a.b"]},
                {"sender": ["c.d"], "backend": "other"},
                auth="local",
            ),
            [],
        )

    def test_mx_may_depend_on_everything(self) -> None:
        """There, recipients may go different ways."""
        judged = tree(
            backends=[backend("mail"), backend("other")],
            routes=routes({"recipient": ["a.b"], "backend": "other"}, {}),
        )
        self.assertEqual(said(checks.user_has_one_backend, judged) + said(checks.login_has_one_backend, judged), [])

    def test_login_at_an_lmtp_server_is_refused(self) -> None:
        """It checks none."""
        group = backend(protocol="lmtp")
        found = said(checks.logins_go_to_smtp, tree([submission()], [group]))
        self.assertEqual(found, [("listeners.sub.auth", "error")])
        self.assertEqual(said(checks.logins_go_to_smtp, tree([submission(auth="local")], [group])), [])
