"""Tests of smtpgate.config.check_listeners."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import check_listeners as checks
from smtpgate.config.model import Listener
from smtpgate.config.patterns import DomainList, NetworkList
from tests.config_kit import listener, said, tree


def submission(**given: object) -> Listener:
    """A submission listener with nothing wrong but what is given."""
    given.setdefault("auth", "relay")
    given.setdefault("auth_requires_tls", False)
    return listener("sub", "tcp:587", role="submission", **given)


class RelayTests(SynchronousTestCase):
    """What would make an open relay, or a gateway that takes nothing."""

    def test_mx_without_local_domains_is_refused(self) -> None:
        """It could accept nothing."""
        found = said(checks.mx_has_local_domains, tree(local_domains=DomainList()))
        self.assertEqual(found, [("listeners.mx", "error")])
        self.assertEqual(said(checks.mx_has_local_domains, tree()), [])

    def test_submission_alone_needs_no_local_domains(self) -> None:
        """It sends anywhere."""
        alone = tree([submission()], local_domains=DomainList())
        self.assertEqual(said(checks.mx_has_local_domains, alone), [])

    def test_public_top_level_wildcard_is_refused(self) -> None:
        """*.com is the world; *.lan is a house."""
        domains = DomainList(["example.net", "*.com", "*.lan", "*.example.org", "localhost"])
        found = said(checks.local_domains_are_not_the_world, tree(local_domains=domains))
        self.assertEqual(found, [("local_domains[1]", "error")])

    def test_wildcard_over_a_registry_is_refused(self) -> None:
        """*.co.uk is half of a country; co.uk alone relays for nobody, and is nobody's."""
        domains = DomainList(["*.co.uk", "co.uk", "*.example.co.uk", "*.CO.JP", "*.co.example", "co.nl", "uk"])
        found = said(checks.local_domains_are_not_the_world, tree(local_domains=domains))
        self.assertEqual(
            found, [("local_domains[0]", "error"), ("local_domains[1]", "warning"), ("local_domains[3]", "error")]
        )

    def test_submission_must_know_its_clients(self) -> None:
        """By AUTH or by network, and AUTH must be asked for."""
        networks = NetworkList(["192.0.2.0/24"])
        for given, found in (
            ({"auth": "off"}, [("listeners.sub.auth", "error")]),
            ({"auth": "off", "relay_from": networks}, []),
            ({"auth_required": False}, [("listeners.sub.auth_required", "error")]),
            ({"auth_required": False, "relay_from": networks}, [("listeners.sub.auth_required", "error")]),
            ({"auth": "local"}, []),
            ({}, []),
        ):
            self.assertEqual(said(checks.submission_knows_its_clients, tree([submission(**given)])), found, given)

    def test_mx_need_not_know_its_clients(self) -> None:
        """It takes mail from the world."""
        self.assertEqual(said(checks.submission_knows_its_clients, tree()), [])

    def test_required_auth_that_is_off_is_refused(self) -> None:
        """On submission relay_from may say who sends in its place."""
        found = said(checks.required_auth_is_on, tree([listener(auth_required=True)]))
        self.assertEqual(found, [("listeners.mx.auth_required", "error")])
        self.assertEqual(said(checks.required_auth_is_on, tree([submission()])), [])
        trusted = submission(auth="off", relay_from=NetworkList(["192.0.2.0/24"]))
        self.assertEqual(said(checks.required_auth_is_on, tree([trusted])), [])

    def test_relay_from_with_strangers_is_refused(self) -> None:
        """/8 and /16 are the widest that anybody may own."""
        networks = NetworkList(["0.0.0.0/0", "10.0.0.0/8", "64.0.0.0/7", "::/0", "2001:db8::/32", "2000::/15"])
        found = said(checks.relay_from_is_narrow, tree([listener(relay_from=networks)]))
        self.assertEqual([key for key, _ in found], [f"listeners.mx.relay_from[{n}]" for n in (0, 2, 3, 5)])

    def test_load_balancer_in_relay_from_is_warned_about(self) -> None:
        """Where its header names no client its own address counts, in whichever of the two networks it lies."""
        balancers = NetworkList(["192.0.2.5", "2001:db8:1::/48"])
        for network, is_told in (
            ("192.0.2.5", True),
            ("192.0.2.0/24", True),
            ("2001:db8:1::7", True),
            ("::ffff:192.0.2.5", True),
            ("192.0.2.6", False),
            ("2001:db8:2::/48", False),
        ):
            judged = tree([submission(relay_from=NetworkList([network]), proxy_protocol_from=balancers)])
            found = [("listeners.sub.relay_from[0]", "warning")] if is_told else []
            self.assertEqual(said(checks.relay_from_leaves_balancers_out, judged), found, network)

    def test_load_balancer_of_another_listener_is_an_ordinary_client(self) -> None:
        """It sends no header there."""
        networks = NetworkList(["192.0.2.5"])
        doors = [submission(relay_from=networks), listener("mx", proxy_protocol_from=networks)]
        self.assertEqual(said(checks.relay_from_leaves_balancers_out, tree(doors)), [])

    def test_load_balancer_of_mx_is_not_told_of(self) -> None:
        """Nobody can send anywhere there."""
        networks = NetworkList(["192.0.2.5"])
        doors = [listener("mx", relay_from=networks, proxy_protocol_from=networks)]
        self.assertEqual(said(checks.relay_from_leaves_balancers_out, tree(doors)), [])

    def test_trusted_peers_with_strangers_are_refused(self) -> None:
        """Who may say who the client is may say that it is us."""
        everybody = NetworkList(["0.0.0.0/0"])
        given = listener(xclient_from=everybody, proxy_protocol_from=everybody)
        self.assertEqual(
            said(checks.trusted_peers_are_narrow, tree([given])),
            [("listeners.mx.xclient_from[0]", "error"), ("listeners.mx.proxy_protocol_from[0]", "error")],
        )
        given = listener(xclient_from=NetworkList(["127.0.0.0/8"]))
        self.assertEqual(said(checks.trusted_peers_are_narrow, tree([given])), [])


class AuthTests(SynchronousTestCase):
    """Whether AUTH can work."""

    def test_local_auth_needs_its_file(self) -> None:
        """And the file needs local AUTH."""
        file = Path("/etc/passwords")
        for given, found in (
            ({"auth": "local"}, [("listeners.sub.auth", "error")]),
            ({"auth": "local", "password_file": file}, []),
            ({"auth": "relay", "password_file": file}, [("listeners.sub.password_file", "warning")]),
            ({"auth": "relay"}, []),
        ):
            self.assertEqual(said(checks.password_file_is_used, tree([submission(**given)])), found, given)

    def test_auth_that_needs_the_tls_that_is_off_is_refused(self) -> None:
        """It could never be offered."""
        for tls, requires, found in (
            ("off", True, [("listeners.sub.auth", "error")]),
            ("off", False, []),
            ("optional", True, []),
        ):
            door = submission(tls=tls, auth_requires_tls=requires)
            self.assertEqual(said(checks.auth_can_be_offered, tree([door])), found, (tls, requires))


class TLSTests(SynchronousTestCase):
    """TLS of listeners."""

    def test_certificates_without_tls_are_warned_about(self) -> None:
        """Mostly a forgotten switch."""
        door = listener(certificates=(Path("/a.pem"),), client_ca=Path("/b.pem"))
        self.assertEqual(
            said(checks.tls_keys_have_tls, tree([door])),
            [("listeners.mx.certificates", "warning"), ("listeners.mx.client_ca", "warning")],
        )
        door = listener(tls="optional", certificates=(Path("/a.pem"),))
        self.assertEqual(said(checks.tls_keys_have_tls, tree([door])), [])

    def test_required_tls_on_mx_is_warned_about(self) -> None:
        """RFC 3207 section 4; on submission it is right."""
        found = said(checks.mx_takes_mail_without_tls, tree([listener(tls="required")]))
        self.assertEqual(found, [("listeners.mx.tls", "warning")])
        self.assertEqual(said(checks.mx_takes_mail_without_tls, tree([submission(tls="required")])), [])
        self.assertEqual(said(checks.mx_takes_mail_without_tls, tree([listener(tls="optional")])), [])

    def test_tls_without_certificates_is_warned_about(self) -> None:
        """A self-signed one encrypts, and proves nothing."""
        found = said(checks.tls_has_certificates, tree([listener(tls="optional")]))
        self.assertEqual(found, [("listeners.mx.certificates", "warning")])
        door = listener(tls="optional", certificates=(Path("/a.pem"),))
        self.assertEqual(said(checks.tls_has_certificates, tree([door])), [])
        self.assertEqual(said(checks.tls_has_certificates, tree([listener(tls="off")])), [])


class LMTPTests(SynchronousTestCase):
    """`lmtp_is_for_delivery`."""

    def test_lmtp_on_port_25_is_refused(self) -> None:
        """RFC 2033 section 5."""
        door = listener("mx", "tcp:24", "tcp:25", protocol="lmtp")
        self.assertEqual(said(checks.lmtp_is_for_delivery, tree([door])), [("listeners.mx.listen[1]", "error")])
        self.assertEqual(said(checks.lmtp_is_for_delivery, tree()), [])

    def test_lmtp_is_not_for_people(self) -> None:
        """Neither submission nor AUTH."""
        door = listener("mx", "tcp:24", protocol="lmtp", role="submission")
        self.assertEqual(said(checks.lmtp_is_for_delivery, tree([door])), [("listeners.mx.role", "error")])
        door = listener("mx", "tcp:24", protocol="lmtp", auth="local")
        self.assertEqual(said(checks.lmtp_is_for_delivery, tree([door])), [("listeners.mx.auth", "error")])

    def test_lmtp_that_begins_with_tls_is_warned_about(self) -> None:
        """Few clients can do it."""
        door = listener("mx", "tcp:24", protocol="lmtp", tls="implicit")
        self.assertEqual(said(checks.lmtp_is_for_delivery, tree([door])), [("listeners.mx.tls", "warning")])


class ReceivedTests(SynchronousTestCase):
    """`only_submission_hides_clients`."""

    def test_mx_that_hides_clients_is_refused(self) -> None:
        """People at home may be hidden, servers not."""
        found = said(checks.only_submission_hides_clients, tree([listener(hide_client=True)]))
        self.assertEqual(found, [("listeners.mx.hide_client", "error")])
        self.assertEqual(said(checks.only_submission_hides_clients, tree([submission(hide_client=True)])), [])
