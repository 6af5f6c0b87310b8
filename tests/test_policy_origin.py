# ruff: noqa: E501 - fields and zones as they stand
"""Tests of smtpgate.policy.origin: where a message comes from."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.patterns import NetworkList
from smtpgate.message.header import HeaderSection
from smtpgate.policy.origin import FIELD_OCTETS, HOPS, Hop, Origin, origin, read_received
from smtpgate.policy.transaction import Session

RELAYS = NetworkList(["10.0.0.0/8", "2001:db8:1::/48"])
RELAY = "10.0.0.1"

IP, IP6, N, H = "192.0.2.7", "2001:db8::7", "n.example", "h.example"


def found(*received: str, client: str = RELAY) -> Origin:
    """The origin of a message with these Received fields, from the top."""
    session = Session("id", "mx", "mx")
    session.client_ip, session.client_name, session.helo = client, "relay.example.net", "relay.example.net"
    octets = b"".join(f"Received: {one}; Wed, 7 Jan 2026 12:00:00 +0000\r\n".encode("latin-1") for one in received)
    return origin(session, HeaderSection(octets + b"Subject: x\r\n\r\n"), RELAYS)


STRANGER = "from mail.example.org (mail.example.org [192.0.2.7]) by relay.example.net (Postfix) with ESMTP id 1"


class FormTests(SynchronousTestCase):
    """The programs that we know."""

    def test_forms(self) -> None:
        """Address, name and greeting of each."""
        for text, ip, name, helo in (
            # Postfix
            ("from h.example (n.example [192.0.2.7]) by r (Postfix) with ESMTP id 1", IP, N, H),
            ("from h.example (unknown [192.0.2.7]) by r (Postfix) with SMTP id 1", IP, "", H),
            ("from h (n.example [IPv6:2001:db8::7]) (using TLSv1.3 with cipher X (256/256 bits)) (No client certificate"
             " requested) by r (Postfix) with ESMTPS id 1 for <a@b>", IP6, N, "h"),
            ("from [10.9.9.9] (n.example [192.0.2.7]) by r (Postfix) with ESMTP id 1", IP, N, "[10.9.9.9]"),
            ("from x by y (n.example [192.0.2.7]) by r (Postfix) with ESMTP id 1", IP, N, "x by y"),
            ("from a b c (unknown [192.0.2.7]) by r (Postfix) with ESMTP id 1", IP, "", "a b c"),
            # this gateway
            ("from h.example (n.example [192.0.2.7])\t(using TLSv1.3 with cipher X (256 bits))\tby g (smtpgate) with"
             " ESMTPS id 1", IP, N, H),
            ("from h.example ([192.0.2.7])\tby g (smtpgate) with ESMTP id 1", IP, "", H),
            # Sendmail
            ("from h.example (n.example [192.0.2.7]) by r (8.17.1/8.17.1) with ESMTPS id 1 (version=TLSv1.3 verify=NO)",
             IP, N, H),
            ("from h.example (n.example [192.0.2.7] (may be forged)) by r (8.17.1/8.17.1) with ESMTP id 1",
             IP, "", H),
            ("from h.example (bob@n.example [192.0.2.7]) by r (8.17.1/8.17.1) with ESMTP id 1",
             IP, N, H),
            # OpenSMTPD
            ("from h.example (n.example [192.0.2.7]) by r (OpenSMTPD) with ESMTPS id 1 (TLSv1.3:X:256:NO)",
             IP, N, H),
            # Google's way to write names
            ("from h.example (n.example. [192.0.2.7]) by mx.r with ESMTPS id 1", IP, N, H),
            # Exim
            ("from n.example ([192.0.2.7] helo=h.example) by r with esmtps (TLS1.3) tls X (Exim 4.96) id 1",
             IP, N, H),
            ("from n.example ([192.0.2.7]:4321) by r with esmtp (Exim 4.96) id 1", IP, N, N),
            ("from [192.0.2.7] (helo=h.example) by r with esmtp (Exim 4.96) id 1", IP, "", H),
            ("from [192.0.2.7] (port=4321 helo=[10.1.1.1]) by r with smtp (Exim 4.96) id 1", IP, "", "[10.1.1.1]"),
            ("from [2001:db8::7] (helo=h.example ident=bob) by r with esmtp (Exim 4.96) id 1", IP6, "", H),
            ("from [192.0.2.7] by r with smtp (Exim 4.96) id 1", IP, "", "[192.0.2.7]"),
            # Exchange, and IIS
            ("from h.example (192.0.2.7) by ex.corp (10.1.1.1) with Microsoft SMTP Server (version=TLS1_2, cipher=X) id"
             " 15.2.1 via Frontend Transport", IP, "", H),
            ("from h.example (2001:db8::7) by ex.corp (fe80::1%4) with Microsoft SMTP Server id 15.2.1",
             IP6, "", H),
            ("from h.example ([192.0.2.7]) by ex.corp with Microsoft SMTPSVC(10.0.17763.1697)", IP, "", H),
            # qmail
            ("from unknown (HELO h.example) (192.0.2.7) by r with SMTP", IP, "", H),
            ("from n.example (HELO h.example) (bob@192.0.2.7) by r with ESMTPS", IP, N, H),
            ("from n.example (192.0.2.7) by r with SMTP", IP, "", N),
            # an address of the one family in the other's clothes
            ("from h (n.example [IPv6:::ffff:192.0.2.7]) by r (Postfix) with ESMTP id 1", IP, N, "h"),
        ):  # fmt: skip
            self.assertEqual(read_received(text.replace("\t", " ")), Hop(ip, name, helo), text)

    def test_other_forms_are_not_guessed_at(self) -> None:
        """Born on the relay, of a program that we do not know, or broken."""
        for text in (
            "",
            "by r (Postfix, from userid 1000) id 1",
            "by r (Postfix) id 1",
            "from alice by r with local (Exim 4.96) id 1",
            "(qmail 12 invoked by uid 89)",
            "from h.example by r with SMTP id 1",
            "from h.example",
            "from (n.example [192.0.2.7]) by r with SMTP",
            "from h.example (n.example [192.0.2.7] by r with SMTP id 1",
            "from h.example n.example [192.0.2.7]) by r with SMTP id 1",
            "from h.example (n.example [192.0.2.7]) by r (Postfix with SMTP id 1",
            "from h.example (n.example [192.0.2.7])",
            "from h.example (n.example [192.0.2.777]) by r with SMTP id 1",
            "from h.example (a b [192.0.2.7]) by r with SMTP id 1",
            "from h.example (n.example [192.0.2.7] and more) by r with SMTP id 1",
            "from h.example (n.example [192.0.2.7][10.0.0.1]) by r with SMTP id 1",
            "from h.example (HELO x) by r with SMTP",
            "from [192.0.2.7] by r with HTTP id 1",
            "from h.example ([192.0.2.7] odd) by r with esmtp (Exim 4.96) id 1",
            "from h.example ([192.0.2.7] note=odd) by r with esmtp (Exim 4.96) id 1",
            "from ex.corp (ex.corp [fe80::1]) by ex.corp with Microsoft SMTP Server id 1",
        ):
            self.assertIsNone(read_received(text), text)

    def test_who_logged_in_is_seen(self) -> None:
        """By the word of RFC 3848, or by a comment; not by what the client can write."""
        for text, is_authenticated in (
            ("from h (n.example [192.0.2.7]) by r (Postfix) with ESMTPSA id 1", True),
            ("from h (n.example [192.0.2.7]) (Authenticated sender: bob) by r (Postfix) with ESMTP id 1", True),
            ("from h (n.example [192.0.2.7]) (authenticated bits=0) by r (8.17.1/8.17.1) with ESMTP id 1", True),
            ("from n.example ([192.0.2.7] helo=h) by r with esmtpsa (TLS1.3) (Exim 4.96) id 1", True),
            ("from h (n.example [192.0.2.7]) by r (Postfix) with ESMTPS id 1", False),
            ("from with ESMTPSA (n.example [192.0.2.7]) by r (Postfix) with ESMTP id 1", False),
        ):
            hop = read_received(text)
            assert hop is not None
            self.assertEqual(hop.is_authenticated, is_authenticated, text)

    @given(st.text(alphabet="fromby ()[]:;=@.127IPv6HELOExim\t", max_size=200))
    @settings(max_examples=400, deadline=None)
    def test_whatever_stands_there_is_a_hop_or_none(self, text: str) -> None:
        """And the address is one."""
        hop = read_received("from " + text + " by r with SMTP (Exim 4)")
        if hop is not None:
            self.assertEqual(NetworkList([hop.ip]).entries[0].partition("/")[0], hop.ip)


class WalkTests(SynchronousTestCase):
    """From one relay to the next."""

    def test_a_client_is_its_own_origin(self) -> None:
        """Whatever the fields say."""
        self.assertEqual(
            found(STRANGER, client="192.0.2.99"), Origin("192.0.2.99", "relay.example.net", "relay.example.net", True)
        )
        self.assertFalse(found(STRANGER, client="").is_known)

    def test_behind_relays_it_is_the_first_stranger(self) -> None:
        """What stands below the first stranger, the stranger may have written."""
        inner = "from r2.example.net (r2.example.net [10.0.0.2]) by relay.example.net (Postfix) with ESMTP id 2"
        itself = "from localhost (localhost [127.0.0.1]) by relay.example.net (Postfix) with ESMTP id 3"
        forged = "from bank.example (bank.example [198.51.100.1]) by x with ESMTP id 4"
        note = "(qmail 5 invoked from network)"
        for fields in (
            [STRANGER],
            [STRANGER, forged],
            [inner, STRANGER, forged],
            [itself, inner, STRANGER],
            [note, inner, note, STRANGER],
        ):
            self.assertEqual(
                found(*fields),
                Origin("192.0.2.7", "mail.example.org", "mail.example.org", True, is_relayed=True),
                fields,
            )

    def test_before_the_header_section_it_is_not_known(self) -> None:
        """Behind a relay."""
        session = Session("id", "mx", "mx")
        session.client_ip = "2001:db8:1::5"
        self.assertEqual(origin(session, None, RELAYS), Origin(is_relayed=True))

    def test_what_cannot_be_read_ends_the_walk(self) -> None:
        """The lines below are not asked instead; what could not be read is told, without control characters."""
        unknown = found("by relay.example.net (Postfix, from userid 33) id 1\x07", STRANGER)
        self.assertFalse(unknown.is_known)
        self.assertEqual(unknown.ip, "")
        self.assertTrue(unknown.unread.startswith("by relay.example.net (Postfix, from userid 33) id 1?"))
        self.assertEqual(found().unread, "no Received field")

    def test_mail_of_the_relays_themselves_has_no_origin(self) -> None:
        """A ring of relays too, however long."""
        inner = "from r2 (r2.example.net [10.0.0.2]) by relay.example.net (Postfix) with ESMTPSA id 2"
        for fields in ([inner], [inner] * (HOPS + 5) + [STRANGER]):
            self.assertEqual((found(*fields).is_known, found(*fields).unread), (False, "only relays of ours"))

    def test_a_relay_that_logs_in_is_still_a_relay(self) -> None:
        """Else a stranger's mail would pass unseen behind it; a person who logs in is told from it."""
        inner = "from r2 (r2.example.net [10.0.0.2]) by relay.example.net (Postfix) with ESMTPSA id 2"
        person = "from laptop (n.example [192.0.2.8]) (Authenticated sender: bob) by r2 (Postfix) with ESMTPSA id 1"
        self.assertFalse(found(inner, STRANGER).is_authenticated)
        self.assertEqual((found(inner, person).ip, found(inner, person).is_authenticated), ("192.0.2.8", True))

    def test_a_field_is_read_up_to_a_limit(self) -> None:
        """A comment that does not end within it is no form that we know."""
        self.assertFalse(
            found("from h (" + "x" * FIELD_OCTETS + " [192.0.2.7]) by r (Postfix) with ESMTP id 1").is_known
        )
