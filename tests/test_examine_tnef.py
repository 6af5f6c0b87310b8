"""smtpgate.examine.tnef: attachments of winmail.dat files, and lengths that lie."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.tnef import look_at_tnef
from tests.files_kit import PROGRAM, budget, mapi, tnef

#: Types and numbers of properties.
TEXT, WIDE, OBJECT, BINARY = 0x1E, 0x1F, 0x0D, 0x102
LONG_NAME, DATA, HTML = 0x3707, 0x3701, 0x1013
IMESSAGE = bytes.fromhex("0703020000000000c000000000000046")


class AttachmentTests(SynchronousTestCase):
    """What comes out."""

    def test_names_and_content(self) -> None:
        """Regression B-99: the title, or the long name of the properties before it."""
        found = look_at_tnef(tnef((b"tool.exe", PROGRAM), (b"b.txt", b"hello")), budget())
        self.assertEqual(
            [(one.names, one.content) for one in found.members], [(("tool.exe",), PROGRAM), (("b.txt",), b"hello")]
        )
        self.assertEqual(found.flags, frozenset())
        for kind, raw in ((WIDE, "l\u00e4nger.exe\0".encode("utf-16-le")), (TEXT, b"l\xe4nger.exe\0")):
            found = look_at_tnef(tnef((b"TOOL~1.EXE", PROGRAM), properties=mapi((kind, LONG_NAME, raw))), budget())
            self.assertEqual(found.members[0].names, ("l\u00e4nger.exe", "TOOL~1.EXE"))

    def test_an_attached_message(self) -> None:
        """It comes out as a file of the same kind, without the class id before it."""
        inner = tnef((b"tool.exe", PROGRAM))
        found = look_at_tnef(tnef((b"mail", b""), properties=mapi((OBJECT, DATA, IMESSAGE + inner))), budget())
        self.assertEqual(found.members[0].content, inner)

    def test_properties_of_every_type_are_passed(self) -> None:
        """Fixed ones, many values, and those with names of their own."""
        fixed = struct.pack("<HHI", 3, 0x1234, 7) + struct.pack("<HHI", 11, 0x1234, 1) + struct.pack("<HHQ", 0x40, 1, 7)
        many = struct.pack("<HHIII", 0x1003, 2, 2, 7, 8) + struct.pack("<HHIHH", 0x1002, 2, 2, 7, 8)
        named = struct.pack("<HH16sIII", 3, 0x8001, bytes(16), 0, 9, 7)
        texted = struct.pack("<HH16sII", 3, 0x8002, bytes(16), 1, 6) + b"a\0b\0\0\0\0\0" + struct.pack("<I", 7)
        name = mapi((TEXT, LONG_NAME, b"run.exe\0"))[4:]
        properties = struct.pack("<I", 8) + fixed + many + named + texted + name
        found = look_at_tnef(tnef((b"a", b"b"), properties=properties), budget())
        self.assertEqual((found.members[0].names, found.flags), (("run.exe", "a"), frozenset()))

    def test_the_html_body(self) -> None:
        """It is shown to a person, so it is given back as markup."""
        value = mapi((BINARY, HTML, b"<a href=x>"))
        content = (
            tnef() + struct.pack("<BII", 1, 0x00069003, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)
        )
        self.assertEqual(look_at_tnef(content, budget()).markup, ((b"<a href=x>", "body.html"),))


class HostileTests(SynchronousTestCase):
    """Files that lie."""

    def test_what_comes_before_the_fault_stands(self) -> None:
        """A file that is cut off, and one that is none."""
        content = tnef((b"tool.exe", PROGRAM), (b"b.txt", b"hello" * 9))
        found = look_at_tnef(content[:-20], budget())
        self.assertEqual((found.flags, [one.names for one in found.members]), ({"broken"}, [("tool.exe",), ("b.txt",)]))
        self.assertEqual(look_at_tnef(b"garbage", budget()).flags, {"broken"})

    def test_counts_that_lie(self) -> None:
        """Billions of properties, values and attributes end where the octets do."""
        for properties in (
            b"\xff\xff\xff\xff",
            b"\xff\xff\xff\xff" + struct.pack("<HHI", 0x1002, 1, 0xFFFFFFFF),
            struct.pack("<IHHI", 1, TEXT, 1, 0xFFFFFFFF),
            struct.pack("<IHHII", 1, BINARY, 1, 1, 0xFFFFFFFF),
            struct.pack("<IHH", 1, 0x99, 1),
        ):
            found = look_at_tnef(tnef((b"a", b"b"), properties=properties), budget())
            self.assertEqual((found.flags, len(found.members)), ({"broken"}, 1), properties)
        small = struct.pack("<BII", 1, 0x0006800C, 0) + b"\0\0"
        self.assertEqual(look_at_tnef(tnef() + small * 20_000, budget()).flags, {"broken"})

    def test_limits(self) -> None:
        """Many attachments, no octets left, no time left."""
        many = look_at_tnef(tnef(*[(b"a", b"b")] * 600), budget())
        self.assertEqual((many.flags, len(many.members)), ({"too-many"}, 500))
        self.assertEqual(look_at_tnef(tnef((b"a", b"b" * 99)), budget(octets=9)).flags, {"too-big"})
        self.assertEqual(look_at_tnef(tnef((b"a", b"b")), budget(seconds=-1.0)).flags, {"not-examined"})

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=8)), max_size=5), st.integers(0, 500))
    def test_nothing_raises(self, changes: list[tuple[int, bytes]], cut: int) -> None:
        """Octets changed or cut off."""
        value = mapi((WIDE, LONG_NAME, b"r\0u\0n\0"), (BINARY, DATA, b"xyz"))
        content = bytearray(tnef((b"tool.exe", b"MZ" * 30), properties=value))
        for at, piece in changes:
            content[at % len(content) : at % len(content) + len(piece)] = piece
        self.assertTrue(look_at_tnef(bytes(content[: cut or None]), budget()).flags <= {"broken", "too-big"})
