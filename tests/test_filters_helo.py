"""Tests of smtpgate.filters.helo: names that no honest server gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.helo import HeloFilter, HeloOptions, factory
from smtpgate.policy.transaction import Session
from smtpgate.policy.verdict import Finding
from smtpgate.testing import Gateway, complaints, use

CLIENT = "192.0.2.1"


def look(name: str, ip: str = CLIENT, trusted: bool = False, **options: object) -> Finding | None:
    """What is found about a name."""
    session = Session("id", "mx", "mx")
    session.client_ip, session.is_trusted = ip, trusted
    return HeloFilter(HeloOptions.model_validate(options), None).session(session).helo(name)


def reason(name: str, ip: str = CLIENT, **options: object) -> str:
    """Its reason; "" for a good name."""
    found = look(name, ip, **options)  # type: ignore[arg-type]
    return found.reason if found is not None else ""


class NameTests(SynchronousTestCase):
    """What is odd about a name."""

    def test_host_names_are_good(self) -> None:
        """With digits, hyphens, a dot at the end, and as A-labels."""
        for name in ("mail.example.org", "MAIL.example.org.", "a.b", "x-1.example.org", "3com.com", "xn--bcher-kva.de"):
            self.assertEqual(reason(name), "", name)

    def test_malformed_names(self) -> None:
        """Neither a name nor a literal."""
        for name in ("-a.example.org", "a..b", "a_b.example.org", ".", "a b", "mail.example.org/x", "[192.0.2.1", "[]",
                     "[mail.example.org]", "[IPv6:192.0.2.1]", "[2001:db8::1]", "192.0.2.1]", "b?cher.de"):  # fmt: skip
            self.assertEqual(reason(name), "helo-malformed", name)

    def test_unqualified_names(self) -> None:
        """A dot at the end does not make a domain of it."""
        for name in ("localhost", "WIN-7", "mail."):
            self.assertEqual(reason(name), "helo-unqualified", name)

    def test_literals_of_the_client_are_good(self) -> None:
        """However the address is spelled: a dual-stack socket shows IPv4 clients as IPv6."""
        for name, ip in (
            ("[192.0.2.1]", "192.0.2.1"),
            ("[192.0.2.1]", "::ffff:192.0.2.1"),
            ("[IPv6:::ffff:192.0.2.1]", "192.0.2.1"),
            ("[IPv6:2001:db8::1]", "2001:db8::1"),
            ("[ipv6:2001:DB8:0::1]", "2001:db8::1"),
            ("[IPv6:fe80::1]", "fe80::1%eth0"),
        ):
            self.assertEqual(reason(name, ip), "", (name, ip))

    def test_literals_of_others_are_odd(self) -> None:
        """The detail has both addresses."""
        for name, ip in (("[192.0.2.2]", "192.0.2.1"), ("[IPv6:::1]", "192.0.2.1"), ("[0.0.0.1]", "::1")):
            self.assertEqual(reason(name, ip), "helo-literal-mismatch", (name, ip))
        found = look("[192.0.2.2]")
        assert found is not None
        self.assertEqual(found.detail, "[192.0.2.2] from 192.0.2.1")

    def test_a_client_without_address_has_no_other_one(self) -> None:
        """It came over a unix socket."""
        self.assertEqual(reason("[192.0.2.2]", ""), "")

    def test_a_stranger_with_our_name(self) -> None:
        """In any case, with a dot at the end, and below a star; a friend may use it."""
        own = ["gate.example.com", "*.example.net"]
        for name in ("gate.example.com", "GATE.Example.com.", "mx.example.net"):
            self.assertEqual(reason(name, own_names=own), "helo-our-name", name)
            self.assertIsNone(look(name, trusted=True, own_names=own))
        for name in ("other.example.com", "example.net", "gate.example.com.evil.org"):
            self.assertEqual(reason(name, own_names=own), "", name)

    @given(st.text(max_size=600))
    def test_no_name_breaks_the_filter(self, name: str) -> None:
        """Whatever a client says is None or a finding, in bounded length."""
        found = look(name, own_names=["gate.example.com"])
        if found is not None:
            self.assertLessEqual(len(found.detail), 300)

    def test_a_long_name_costs_no_time(self) -> None:
        """The pattern is linear: a name of hyphens and dots is looked at once."""
        self.assertEqual(reason("a-" * 50_000), "helo-malformed")
        self.assertEqual(reason("a." * 50_000 + "-"), "helo-malformed")


class ActionTests(SynchronousTestCase):
    """Each check can be turned up, and off."""

    def hello(self, name: str, options: str, mode: str = "enforce") -> tuple[str, list[str]]:
        """The reply to a greeting, and the actions that were proposed."""
        client = Gateway(use(factory, options, mode=mode)).connect(CLIENT)
        return client.helo(name)[:9], [finding.action for finding in client.findings]

    def test_every_action_of_every_check(self) -> None:
        """note and tag let the client in."""
        replies = {"note": "250-gate.", "tag": "250-gate.", "defer": "451 4.7.1", "reject": "550 5.7.1"}
        for check, name in (
            ("malformed", "a..b"),
            ("unqualified", "localhost"),
            ("literal_mismatch", "[192.0.2.9]"),
            ("our_name", "gate.example.com"),
        ):
            options = f'own_names = ["gate.example.com"]\n{check} = '
            for action, reply in replies.items():
                self.assertEqual(self.hello(name, f'{options}"{action}"'), (reply, [action]), (check, action))
            self.assertEqual(self.hello(name, f'{options}"off"'), ("250-gate.", []), check)

    def test_by_default_everything_is_only_noted(self) -> None:
        """RFC 5321 section 4.1.4 forbids to refuse mail because of the name."""
        for name in ("a..b", "localhost", "[192.0.2.9]"):
            self.assertEqual(self.hello(name, ""), ("250-gate.", ["note"]), name)

    def test_a_refused_client_may_greet_again(self) -> None:
        """And cannot send mail before that."""
        client = Gateway(use(factory, 'unqualified = "reject"')).connect()
        self.assertEqual(client.helo("localhost"), "550 5.7.1 Give the name of your host")
        self.assertTrue(client.mail().startswith("503 "))
        self.assertTrue(client.helo("mail.example.org").startswith("250"))
        self.assertEqual(client.message(), "250 2.0.0 Ok")

    def test_the_last_name_counts(self) -> None:
        """A greeting takes the place of the one before, with what was found about it."""
        client = Gateway(use(factory, 'unqualified = "note"')).connect()
        client.helo("localhost")
        client.helo("localhost")
        self.assertEqual([one.reason for one in client.findings], ["helo-unqualified"])
        client.helo("mail.example.org")
        self.assertEqual(client.findings, [])

    def test_it_is_not_meant_for_submission(self) -> None:
        """A laptop gives any name."""
        self.assertEqual(factory.roles, frozenset({"mx"}))

    def test_mistakes_are_said_at_load(self) -> None:
        """With the key that has them."""
        self.assertEqual(complaints(factory, 'malformed = "drop"'), ['malformed: unknown value "drop"'])
        self.assertEqual(complaints(factory, 'own_names = ["*"]'), ['own_names: "*" would match every domain'])
        self.assertEqual(complaints(factory, "unqualifed = 1"), ["unqualifed: unknown key"])
