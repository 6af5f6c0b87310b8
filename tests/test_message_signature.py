"""Tests of smtpgate.message.signature: tag lists, and which keys a message needs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.message.signature import INSTANCES, key_names, read_domain, read_instance, read_tags, signatures_of


def names(text: str) -> tuple[str, ...]:
    """The names for a header of these lines."""
    return key_names(HeaderSection(text.replace("\n", "\r\n").encode() + b"\r\n"))


class TagTests(SynchronousTestCase):
    """`read_tags` and what reads values."""

    def test_lists(self) -> None:
        """RFC 6376 section 3.2: blanks around names and values, and a semicolon at the end."""
        for value, wanted in (
            (b"a=1; b=2", {"a": b"1", "b": b"2"}),
            (b" a = 1\r\n 2 ;\tb_c=;\r\n ", {"a": b"1\r\n 2", "b_c": b""}),
            (b"a==;", {"a": b"="}),
            (b"", {}),
            (b"a", None),
            (b"a=1;;b=2", None),
            (b"a=1;a=2", None),
            (b"1a=1", None),
            (b"_a=1", None),
            (b"a b=1", None),
            (b"\xc3\xa4=1", None),
        ):
            self.assertEqual(read_tags(value), wanted, value)

    def test_domains(self) -> None:
        """Lower case, no final dot, nothing that is no name."""
        for value, wanted in (
            (b"Example.ORG.", "example.org"),
            (b"_a-1.example", "_a-1.example"),
            ("BÜCHER.example".encode(), "bücher.example"),
            (b"", ""),
            (b"a..b", ""),
            (b"a b", ""),
            (b"a/b", ""),
            (b"\xff.example", ""),
            (b"legitimate.com(.attacker.com", ""),
            (b"a." * 128, ""),
            (b"a\0b", ""),
        ):
            self.assertEqual(read_domain(value), wanted, value)

    def test_instances(self) -> None:
        """The first i= counts; others are no number."""
        for value, wanted in ((b" i=3; x", 3), (b"a=b; i = 12", 12), (b"i=1x", 0), (b"i=1234", 0), (b"x", 0)):
            self.assertEqual(read_instance(value), wanted, value)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60))
    def test_nothing_raises(self, value: bytes) -> None:
        """Whatever stands in a field."""
        read_tags(value)
        read_domain(value)
        read_instance(value)
        key_names(HeaderSection(b"DKIM-Signature:" + value + b"\r\n\r\n"))


class NameTests(SynchronousTestCase):
    """`key_names`."""

    def test_names_of_all_that_is_checked(self) -> None:
        """Signatures, seals, and of the signatures of a chain the newest; each name once."""
        header = (
            "DKIM-Signature: v=1; d=Example.org; s=A\nDKIM-Signature: d=example.org; s=a\nDKIM-signature: s=x\n"
            "DKIM-Signature:\n\td=other.example;\n\ts=b\nDKIM-Signature: d=a; d=b; s=c\n"
            "ARC-Seal: i=1; d=seal.example; s=one\nARC-Seal: i=2; d=seal.example; s=two\n"
            "ARC-Message-Signature: i=2; d=new.example; s=n\nARC-Message-Signature: i=1; d=old.example; s=o\n"
        )
        wanted = ("a._domainkey.example.org", "b._domainkey.other.example", "one._domainkey.seal.example",
                  "two._domainkey.seal.example", "n._domainkey.new.example")  # fmt: skip
        self.assertEqual(names(header), wanted)
        self.assertEqual(names("From: a@example.org\n"), ())

    def test_a_message_cannot_make_us_ask_without_end(self) -> None:
        """RFC 6376 section 8.4: ten signatures; a chain that is too long is not asked for at all."""
        header = "".join(f"DKIM-Signature: d=example.org; s=s{number}\n" for number in range(500))
        self.assertEqual(len(names(header)), 10)
        self.assertEqual(names(header)[0], "s0._domainkey.example.org")
        seals = [f"ARC-Seal: i={number}; d=example.org; s=s{number}\n" for number in range(INSTANCES + 1)]
        self.assertEqual(len(names("".join(seals[1:]))), INSTANCES)
        self.assertEqual(names("".join(seals)), ())
        found, unread = signatures_of(HeaderSection(header.encode().replace(b"\n", b"\r\n") + b"\r\n").fields)
        self.assertEqual((len(found), unread), (10, 490))
