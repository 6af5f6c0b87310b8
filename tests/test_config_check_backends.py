"""Tests of smtpgate.config.check_backends."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.assembly import client_tls
from smtpgate.config import check_backends as checks
from smtpgate.config.model import Credentials, Route, Secret
from tests.config_kit import backend, listener, said, tree

LOGIN = Credentials("gate", Secret("hunter2"))


class TLSTests(SynchronousTestCase):
    """TLS towards servers."""

    def test_verified_addresses_need_a_name(self) -> None:
        """A name, or pins in its place; on loopback too."""
        for given, found in (
            ({}, ["backends.mail.servers[0]", "backends.mail.servers[2]", "backends.mail.servers[3]"]),
            ({"tls_name": "mail.example.net"}, []),
            ({"tls_pins": (bytes(32),)}, []),
        ):
            group = backend(
                "mail",
                "192.0.2.1:25",
                "mail.example.net:25",
                "127.0.0.1:25",
                "unix:/a",
                tls="verify",
                **given,
            )
            keys = [key for key, _ in said(checks.verified_servers_have_names, tree(backends=[group]))]
            self.assertEqual(keys, found, given)

    def test_addresses_without_verification_need_no_name(self) -> None:
        """What is not verified has none to be verified by."""
        for tls in ("required", "implicit"):
            group = backend("mail", "192.0.2.1:25", "unix:/a", tls=tls)
            self.assertEqual(said(checks.verified_servers_have_names, tree(backends=[group])), [])

    def test_socket_has_no_name_for_an_authority(self) -> None:
        """With TLS from the first octet too, where an authority asks for verification."""
        group = backend("mail", "192.0.2.1:465", "unix:/a", tls="implicit", tls_ca=Path("/ca"))
        found = said(checks.verified_servers_have_names, tree(backends=[group]))
        self.assertEqual(found, [("backends.mail.servers[1]", "error")])

    def test_implicit_tls_is_verified_where_something_is_named(self) -> None:
        """TLS from the first octet says nothing about who is there; `required` never verifies."""
        for tls, given, verified in (
            ("off", {}, False),
            ("optional", {"tls_name": "mail.example.net"}, False),
            ("required", {"tls_pins": (bytes(32),)}, False),
            ("verify", {}, True),
            ("implicit", {}, False),
            ("implicit", {"tls_name": "mail.example.net"}, True),
            ("implicit", {"tls_ca": Path("/ca")}, True),
            ("implicit", {"tls_pins": (bytes(32),)}, True),
            ("implicit", {"tls_certificate": Path("/own")}, False),
        ):
            self.assertEqual(checks.is_verified(backend(tls=tls, **given)), verified, (tls, given))

    def test_the_gateway_verifies_by_the_same_rule(self) -> None:
        """What the check believes is what a connection will do."""
        for tls in ("optional", "required", "verify", "implicit"):
            for given in ({}, {"tls_name": "mail.example.net"}, {"tls_pins": (bytes(32),)}):
                group = backend(tls=tls, **given)
                made = client_tls(group)
                assert made is not None
                self.assertEqual(made.verifies, checks.is_verified(group), (tls, given))

    def test_trust_that_nothing_is_held_against_is_refused(self) -> None:
        """Authorities and pins where any certificate is taken; a name is asked for in the handshake all the same."""
        for tls, found in (
            ("optional", [("backends.mail.tls_ca", "error"), ("backends.mail.tls_pins", "error")]),
            ("required", [("backends.mail.tls_ca", "error"), ("backends.mail.tls_pins", "error")]),
            ("verify", []),
            ("implicit", []),
        ):
            group = backend(tls=tls, tls_ca=Path("/a"), tls_pins=(bytes(32),), tls_name="mail.example.net")
            self.assertEqual(said(checks.trust_is_asked_for, tree(backends=[group])), found, tls)

    def test_trust_without_tls_is_refused(self) -> None:
        """A name alone is warned about: it is often left over."""
        group = backend(
            tls="off",
            tls_ca=Path("/a"),
            tls_pins=(bytes(32),),
            tls_certificate=Path("/b"),
            tls_name="mail.example.net",
        )
        self.assertEqual(
            said(checks.tls_keys_have_tls, tree(backends=[group])),
            [
                ("backends.mail.tls_ca", "error"),
                ("backends.mail.tls_pins", "error"),
                ("backends.mail.tls_certificate", "error"),
                ("backends.mail.tls_name", "warning"),
            ],
        )
        group = backend(tls="verify", tls_ca=Path("/a"))
        self.assertEqual(said(checks.tls_keys_have_tls, tree(backends=[group])), [])

    def test_own_password_in_the_clear_is_refused(self) -> None:
        """Nor to whoever poses as the server; unless the operator takes the risk, or nobody can listen."""
        for tls, address, requires, found in (
            ("off", "mail.example.net:25", True, ["backends.mail.credentials"]),
            ("optional", "192.0.2.1:25", True, ["backends.mail.credentials"]),
            ("optional", "192.0.2.1:25", False, []),
            ("required", "192.0.2.1:25", True, ["backends.mail.credentials"]),
            ("required", "192.0.2.1:25", False, []),
            ("implicit", "192.0.2.1:465", True, ["backends.mail.credentials"]),
            ("verify", "192.0.2.1:25", True, []),
            ("off", "127.0.0.1:25", True, []),
            ("off", "unix:/run/mail.sock", True, []),
        ):
            group = backend("mail", address, tls=tls, auth_requires_tls=requires, credentials=LOGIN)
            keys = [key for key, _ in said(checks.own_credentials_are_safe, tree(backends=[group]))]
            self.assertEqual(keys, found, (tls, address, requires))

    def test_client_s_password_goes_over_verified_legs_only(self) -> None:
        """Otherwise AUTH could never be relayed, and the check says so instead of the first user."""
        door = listener("sub", "tcp:587", role="submission", auth="relay", auth_requires_tls=False)
        for tls, address, given, found in (
            ("off", "mail.example.net:25", {}, ["backends.mail.tls"]),
            ("optional", "mail.example.net:25", {}, ["backends.mail.tls"]),
            ("required", "mail.example.net:25", {}, ["backends.mail.tls"]),
            ("required", "mail.example.net:25", {"tls_pins": (bytes(32),)}, ["backends.mail.tls"]),
            ("required", "mail.example.net:25", {"auth_requires_tls": False}, []),
            ("verify", "mail.example.net:25", {}, []),
            ("implicit", "mail.example.net:465", {}, ["backends.mail.tls"]),
            ("implicit", "mail.example.net:465", {"tls_certificate": Path("/own")}, ["backends.mail.tls"]),
            ("implicit", "mail.example.net:465", {"tls_name": "mail.example.net"}, []),
            ("implicit", "mail.example.net:465", {"tls_ca": Path("/ca")}, []),
            ("implicit", "mail.example.net:465", {"tls_pins": (bytes(32),)}, []),
            ("implicit", "127.0.0.1:465", {}, []),
            ("off", "127.0.0.1:25", {}, []),
        ):
            group = backend("mail", address, tls=tls, **given)
            keys = [key for key, _ in said(checks.logins_go_over_safe_legs, tree([door], [group]))]
            self.assertEqual(keys, found, (tls, address, given))

    def test_no_relayed_login_asks_nothing_of_the_leg(self) -> None:
        """Mail without passwords goes over any."""
        self.assertEqual(said(checks.logins_go_over_safe_legs, tree(backends=[backend(tls="off")])), [])


class BothLegsTests(SynchronousTestCase):
    """`logins_are_hidden_on_one_leg`."""

    def found(
        self, door: dict[str, object], group: dict[str, object], listen: str = "tcp:587"
    ) -> list[tuple[str, str]]:
        """What is said of a login from this listener to this backend."""
        given: dict[str, object] = {"role": "submission", "auth": "relay", "auth_requires_tls": False, **door}
        behind = {"auth_requires_tls": False, **group}
        address = str(behind.pop("address", "mail.example.net:25"))
        judged = tree([listener("sub", listen, **given)], [backend("mail", address, **behind)])
        return said(checks.logins_are_hidden_on_one_leg, judged)

    def test_both_legs_open_are_warned_about(self) -> None:
        """Off, optional and not verified are all the same to who listens or poses."""
        told = [("listeners.sub.auth_requires_tls", "warning")]
        for tls in ("off", "optional"):
            for behind in ("off", "optional", "required", "implicit"):
                self.assertEqual(self.found({"tls": tls}, {"tls": behind}), told, (tls, behind))

    def test_one_leg_closed_is_enough(self) -> None:
        """The switch of the other was set by somebody who knew."""
        cases: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
            ({"tls": "required"}, {}),
            ({"tls": "implicit"}, {}),
            ({"auth_requires_tls": True}, {}),
            ({"auth": "local"}, {}),
            ({}, {"tls": "verify"}),
            ({}, {"tls": "implicit", "tls_name": "mail.example.net"}),
            ({}, {"address": "127.0.0.1:25"}),
            ({}, {"address": "unix:/run/mail.sock"}),
            ({}, {"auth_requires_tls": True}),
        )
        for door, group in cases:
            self.assertEqual(self.found(door, group), [], (door, group))
        for listen in ("tcp:587:interface=127.0.0.1", "unix:/run/smtpgate/smtp.sock"):
            self.assertEqual(self.found({}, {}, listen), [], listen)


class ServerTests(SynchronousTestCase):
    """Where servers are."""

    def test_server_twice_in_one_backend_is_refused(self) -> None:
        """In two backends it may be."""
        group = backend("mail", "192.0.2.1:25", "192.0.2.1:26", "192.0.2.1:25", "unix:/a", "unix:/a")
        self.assertEqual(
            said(checks.servers_differ, tree(backends=[group])),
            [("backends.mail.servers[2]", "error"), ("backends.mail.servers[4]", "error")],
        )
        groups = [backend("a", "192.0.2.1:25"), backend("b", "192.0.2.1:25")]
        self.assertEqual(said(checks.servers_differ, tree(backends=groups)), [])

    def test_own_listener_as_a_server_is_refused(self) -> None:
        """By any of the names and addresses that are known to be ours."""
        for listen, address, is_loop in (
            ("tcp:25", "127.0.0.1:25", True),
            ("tcp:25", "localhost:25", True),
            ("tcp:25", "gate.example.com:25", True),
            ("tcp:25", "127.0.0.1:26", False),
            ("tcp:25", "192.0.2.1:25", False),
            ("tcp:25", "[::1]:25", False),
            (r"tcp:25:interface=\:\:", "[::1]:25", True),
            (r"tcp:25:interface=\:\:", "127.0.0.1:25", True),
            ("tcp:25:interface=192.0.2.1", "192.0.2.1:25", True),
            ("tcp:25:interface=192.0.2.1", "127.0.0.1:25", False),
            ("tcp:25:interface=192.0.2.1", "gate.example.com:25", True),
            ("tcp:25:interface=127.0.0.1", "gate.example.com:25", False),
            ("tcp:25:interface=127.0.0.1", "localhost:25", True),
            ("tcp:25:interface=127.0.0.2", "127.0.0.1:25", False),
            ("unix:/run/a", "unix:/run/a", True),
            ("unix:/run/a", "unix:/run/b", False),
            ("unix:/run/a", "127.0.0.1:25", False),
        ):
            judged = tree([listener("mx", listen)], [backend("mail", address)])
            found = [("backends.mail.servers[0]", "error")] if is_loop else []
            self.assertEqual(said(checks.servers_are_not_us, judged), found, (listen, address))

    def test_own_address_is_known_from_any_listener(self) -> None:
        """One listener names the address, another has the port on all of them."""
        doors = [listener("a", "tcp:25"), listener("b", "tcp:26:interface=192.0.2.1")]
        judged = tree(doors, [backend("mail", "192.0.2.1:25")])
        self.assertEqual(said(checks.servers_are_not_us, judged), [("backends.mail.servers[0]", "error")])

    def test_unused_backend_is_warned_about(self) -> None:
        """A forgotten route, or a forgotten table."""
        judged = tree(backends=[backend("mail"), backend("old")])
        self.assertEqual(said(checks.backends_are_used, judged), [("backends.old", "warning")])


class ClientTests(SynchronousTestCase):
    """`backends_judge_the_client`."""

    def test_backend_that_takes_us_for_the_client_is_warned_about(self) -> None:
        """On mx, and with AUTH relay, where a ban would hit us."""
        blind = backend(client_info="off")
        relay = listener("sub", "tcp:587", role="submission", auth="relay")
        local = listener("sub", "tcp:587", role="submission", auth="local")
        for door, group, found in (
            (listener(), blind, [("backends.mail.client_info", "warning")]),
            (relay, blind, [("backends.mail.client_info", "warning")]),
            (local, blind, []),
            (listener(), backend(client_info="xclient"), []),
            (listener(), backend(client_info="off", protocol="lmtp"), []),
        ):
            self.assertEqual(said(checks.backends_judge_the_client, tree([door], [group])), found)

    def test_backend_out_of_reach_is_not_warned_about(self) -> None:
        """Its servers see no mail of the world."""
        judged = tree([listener()], [backend("mail"), backend("b", client_info="off")], [Route(1, 1, backend="mail")])
        self.assertEqual(said(checks.backends_judge_the_client, judged), [])
