"""Tests of smtpgate.message.mime: the parts of a message, in every reading."""

from __future__ import annotations

import base64
import binascii

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.mime import ANOMALIES, Message, MimeLimits, Part, walk

#: The test string that every scanner knows, in two pieces, so that this file is no match.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
HARMLESS = b"harmless stand-in for a test attachment\n"
TOP = (
    b"From: Alice <alice@example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: case\r\n"
    b"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <b@example.com>\r\nMIME-Version: 1.0\r\n"
)
MIXED = TOP + b'Content-Type: multipart/mixed; boundary="Part"\r\n\r\n'
TEXT = b"--Part\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nSee the attachment.\r\n\r\n"
CLOSE = b"\r\n--Part--\r\n"


def coded(octets: bytes) -> bytes:
    """Base64 in lines."""
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def attachment(name: bytes = b"run.exe", octets: bytes = HARMLESS, boundary: bytes = b"Part") -> bytes:
    """A part with a file."""
    return b"--%b\r\nContent-Type: application/octet-stream; name=%b\r\nContent-Transfer-Encoding: base64\r\n\r\n%b" % (
        boundary,
        name,
        coded(octets),
    )


def shape(message: Message, reading: int = 0) -> list[tuple[str, str]]:
    """Numbers and types of one reading."""
    return [(part.number, part.media_type) for part in message.parts if part.reading == reading]


def kinds(message: Message) -> list[str]:
    """Kinds of anomalies, once each."""
    return list(dict.fromkeys(anomaly.kind for anomaly in message.anomalies))


def named(message: Message, name: str) -> list[Part]:
    """The parts that some program would give that name."""
    return [part for part in message.parts if name in part.names]


class TreeCase(SynchronousTestCase):
    """Checks that hold for every message."""

    def look(self, content: bytes, limits: MimeLimits = MimeLimits()) -> Message:  # noqa: B008
        """Walk, and hold the result against its own promises."""
        message = walk(content, limits)
        self.assertEqual(message.parts[0].parent, -1)
        self.assertEqual(sorted({part.reading for part in message.parts}), list(range(len(message.profiles))))
        for index, part in enumerate(message.parts):
            self.assertLess(part.parent, index)
            self.assertLessEqual(0, part.start)
            self.assertLessEqual(part.start, part.end)
            self.assertLessEqual(part.end, len(part.source))
            if part.parent >= 0:
                self.assertGreater(part.depth, message.parts[part.parent].depth)
        for anomaly in message.anomalies:
            self.assertIn(anomaly.kind, ANOMALIES)
        return message

    def finds(self, message: Message, octets: bytes) -> None:
        """Some part in some decoding has these octets."""
        self.assertTrue(
            any(octets in one for part in message.parts for one in (part.decoded(), *part.readings())), octets
        )


class RegularTests(TreeCase):
    """Messages as programs write them."""

    def test_a_tree_with_the_numbers_of_imap(self) -> None:
        """Multiparts, a message inside, and a multipart in that."""
        inner = (
            b'Subject: inner\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="In"\r\n\r\n'
            b"--In\r\n\r\none\r\n--In\r\nContent-Type: text/html\r\n\r\ntwo\r\n--In--\r\n"
        )
        alternative = (
            b'--Part\r\nContent-Type: multipart/alternative; boundary="Alt"\r\n\r\n--Alt\r\n\r\nplain\r\n--Alt--\r\n'
        )
        content = (
            MIXED
            + alternative
            + b"--Part\r\nContent-Type: message/rfc822\r\n\r\n"
            + inner
            + b"--Part\r\n\r\nend"
            + CLOSE
        )
        message = self.look(content)
        self.assertEqual(
            [(part.number, part.media_type, part.parent, part.depth) for part in message.parts],
            [
                ("", "multipart/mixed", -1, 0),
                ("1", "multipart/alternative", 0, 1),
                ("1.1", "text/plain", 1, 2),
                ("2", "message/rfc822", 0, 1),
                ("2.TEXT", "multipart/mixed", 3, 2),
                ("2.1", "text/plain", 4, 3),
                ("2.2", "text/html", 4, 3),
                ("3", "text/plain", 0, 1),
            ],
        )
        self.assertEqual(
            [bytes(part.body) for part in message.parts if not part.is_container], [b"plain", b"one", b"two", b"end"]
        )
        self.assertEqual((message.anomalies, message.limits, message.profiles), ((), (), ("the usual program",)))
        self.assertTrue(message.is_complete)

    def test_what_a_part_says(self) -> None:
        """Fields of its own header."""
        content = (
            TOP
            + b"Content-Type: Text/HTML; charset=UTF-8; name=a.html\r\nContent-Disposition: Inline; filename=b.html\r\n"
            b"Content-Transfer-Encoding: Quoted-Printable\r\n\r\na=3Db\r\n"
        )
        (part,) = self.look(content).parts
        self.assertEqual(
            (part.number, part.media_type, part.charset, part.disposition, part.encoding, part.names),
            ("1", "text/html", "utf-8", "inline", "quoted-printable", ("b.html", "a.html")),
        )
        self.assertEqual((part.decoded(), part.decoded(2), part.readings()), (b"a=b\r\n", b"a=", ()))
        self.assertEqual(part.header.first("subject"), b"case")
        self.assertEqual(part.octets, 7)

    def test_a_digest(self) -> None:
        """Its parts are messages where they do not say otherwise."""
        content = (
            TOP + b"Content-Type: multipart/digest; boundary=D\r\n\r\n--D\r\n\r\nSubject: x\r\n\r\nbody\r\n--D--\r\n"
        )
        self.assertEqual(
            [kind for _, kind in shape(self.look(content))], ["multipart/digest", "message/rfc822", "text/plain"]
        )

    def test_nothing_is_copied(self) -> None:
        """A body is a view of the content."""
        content = MIXED + TEXT + CLOSE
        self.assertIs(self.look(content).parts[1].source, content)

    def test_preamble_and_epilogue_are_no_parts(self) -> None:
        """Also with 8-bit text, and nothing is told of the usual words (B-65)."""
        content = MIXED + "This is a message with parts, café\r\n".encode() + TEXT + b"--Part--\r\nThe list\r\n"
        self.assertEqual((len(self.look(content).parts), kinds(self.look(content))), (2, []))

    def test_fields_of_a_header_that_others_crash_on(self) -> None:
        """B-53, B-57, B-59, B-61 and B-63: what stands in these fields does not touch the parts."""
        for field in (
            b"From: =?utf-8?q?=0AMy_Shop?= <alice@example.com>",
            b"To: undisclosed recipients: bob@example.net",
            b"Message-ID: <[0123456789abcdef@example.com]>",
            b"Subject: =?x-no-such-charset?B?aGVsbG8=?= world",
            b'From: "\xcf\xf0\xe8\xe2\xe5\xf2" <alice@example.com>',
        ):
            message = self.look(field + b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nHello\r\n")
            self.assertEqual((shape(message), kinds(message)), ([("1", "text/plain")], []), field)


class RowTests(TreeCase):
    """Reports from the field about MIME, with their inputs."""

    def test_a_parameter_that_ends_in_a_star(self) -> None:
        """The message is looked at, there is no name (B-55)."""
        message = self.look(TOP + b"Content-Type: text/plain; name*\r\n\r\nHello\r\n")
        self.assertEqual((message.parts[0].media_type, message.parts[0].names), ("text/plain", ()))
        self.assertEqual(kinds(message), ["broken-parameter"])

    def test_names_in_percent_coded_pieces(self) -> None:
        """B-69."""
        part = (
            b'--Part\r\nContent-Type: application/x-msdownload;\r\n name*0*="\'\'attached%2E";\r\n name*1*="%62";\r\n'
            b" name*2=at\r\n"
            b"Content-Disposition: attachment;\r\n filename*0*=\"''attached%2E\";\r\n"
            b' filename*1*="%62";\r\n filename*2=at\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\n"
        )
        message = self.look(MIXED + TEXT + part + coded(HARMLESS) + CLOSE)
        self.assertEqual(message.parts[2].names, ("attached.bat",))
        self.assertEqual(message.parts[2].decoded(), HARMLESS)

    def test_a_name_with_a_mark_that_turns_letters(self) -> None:
        """The mark is in the name, for who judges it (B-71)."""
        part = b"--Part\r\nContent-Disposition: attachment; filename*=utf-8''invoice%E2%80%AEfdp.exe\r\n\r\nx"
        self.assertEqual(len(named(self.look(MIXED + part + CLOSE), "invoice\u202efdp.exe")), 1)

    def test_a_harmless_table(self) -> None:
        """One name, one type, nothing odd (B-73)."""
        part = b'--Part\r\nContent-Type: text/csv; name="orders.csv"\r\n'
        part += b'Content-Disposition: attachment; filename="orders.csv"\r\n\r\na'
        message = self.look(MIXED + TEXT + part + CLOSE)
        self.assertEqual((message.parts[2].names, kinds(message)), (("orders.csv",), []))

    def test_parameters_on_lines_of_their_own(self) -> None:
        """Name and encoding are seen as by programs that join such lines, and the rest as by those that stop (B-77)."""
        part = (
            b'--Part\r\nContent-Type: application/octet-stream; x-unix-mode=0600;\r\nname="run.exe"\r\n'
            b'Content-Disposition: attachment;\r\nfilename="run.exe"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        )
        message = self.look(MIXED + TEXT + part + coded(EICAR) + CLOSE)
        self.assertIn("run.exe", message.parts[2].names)
        self.assertEqual(message.parts[2].decoded(), EICAR)
        self.assertTrue(any(bytes(part.body).startswith(b'name="run.exe"') for part in message.parts))
        self.assertEqual(kinds(message), ["broken-header-line"])

    def test_a_blank_before_a_name(self) -> None:
        """B-79."""
        part = b'--Part\r\nContent-Type: text/html\r\nContent-Disposition: attachment;\r\n filename= "page.js"\r\n\r\nx'
        self.assertEqual(self.look(MIXED + TEXT + part + CLOSE).parts[2].names, ("page.js",))

    def test_two_content_types(self) -> None:
        """The parts of either boundary are found, whichever field comes first (B-81)."""
        fields = [
            b'Content-Type: multipart/mixed; boundary="Unused"\r\n',
            b'Content-Type: multipart/mixed; boundary="Part"\r\n',
        ]
        for first, second in (fields, fields[::-1]):
            message = self.look(TOP + first + second + b"\r\n" + TEXT + attachment(b"note.bin", EICAR) + CLOSE)
            self.finds(message, EICAR)
            self.assertEqual(len(named(message, "note.bin")), 1)
            self.assertIn("duplicate-content-type", kinds(message))

    def test_a_line_that_only_begins_with_the_boundary(self) -> None:
        """It closes nothing; programs that think so are read too (B-83)."""
        message = self.look(MIXED + TEXT + b"--Part--More\r\n\r\n" + attachment() + CLOSE)
        self.assertEqual(
            shape(message), [("", "multipart/mixed"), ("1", "text/plain"), ("2", "application/octet-stream")]
        )
        self.assertTrue(named(message, "run.exe"))
        self.assertIn("boundary-junk", kinds(message))
        texts = [bytes(part.body) for part in message.parts if part.media_type == "text/plain"]
        self.assertIn(b"See the attachment.\r\n", texts)

    def test_a_boundary_that_begins_with_the_outer_one(self) -> None:
        """Both levels are found, and nothing is odd about it (B-85)."""
        content = (
            TOP + b'Content-Type: multipart/mixed; boundary="XYZ"\r\n\r\n--XYZ\r\n'
            b'Content-Type: multipart/alternative; boundary="XYZalt"\r\n\r\n--XYZalt\r\n\r\ntext\r\n--XYZalt--\r\n\r\n'
            + attachment(boundary=b"XYZ")
            + b"\r\n--XYZ--\r\n"
        )
        message = self.look(content)
        self.assertEqual([number for number, _ in shape(message)], ["", "1", "1.1", "2"])
        self.assertEqual((named(message, "run.exe")[0].decoded(), kinds(message)), (HARMLESS, []))

    def test_a_missing_last_boundary(self) -> None:
        """The last part is found (B-87)."""
        message = self.look(MIXED + TEXT + attachment(b"note.bin", EICAR))
        self.assertEqual((message.parts[2].decoded(), kinds(message)), (EICAR, ["no-close"]))

    def test_hundreds_of_levels(self) -> None:
        """The limit is told, and what lies below it is one body (B-88)."""
        message = self.look(nested(300))
        self.assertIn("depth", message.limits)
        self.assertFalse(message.is_complete)
        self.assertEqual(max(part.depth for part in message.parts if part.reading == 0), MimeLimits().depth)
        self.finds(message, b"the innermost")

    def test_an_attached_message(self) -> None:
        """What is inside counts, as it stands or encoded (B-90)."""
        inner = MIXED.replace(b"Part", b"Inner") + attachment(boundary=b"Inner") + b"\r\n--Inner--\r\n"
        for encoding, body in ((b"", inner), (b"Content-Transfer-Encoding: base64\r\n", coded(inner))):
            for kind in (b"rfc822", b"global", b"x-other"):
                part = b"--Part\r\nContent-Type: message/" + kind + b"\r\n" + encoding + b"\r\n" + body
                message = self.look(MIXED + TEXT + part + CLOSE)
                (found,) = named(message, "run.exe")
                self.assertEqual((found.number, found.decoded(), found.reading), ("2.1", HARMLESS, 0))
                self.assertEqual(kinds(message), ["encoded-message"] if encoding else [])

    def test_an_attached_message_with_the_boundary_of_the_outer_one(self) -> None:
        """Its parts are found where the outer boundary wins, and the place is told (B-90, variant)."""
        part = b"--Part\r\nContent-Type: message/rfc822\r\n\r\n" + MIXED + TEXT + attachment() + CLOSE
        message = self.look(MIXED + TEXT + part + CLOSE)
        self.assertTrue(named(message, "run.exe"))
        self.assertIn("boundary-reused", kinds(message))

    def test_a_uuencoded_file_in_a_text(self) -> None:
        """It is a part that some programs show, also where the text is encoded (B-101)."""
        lines = b"".join(binascii.b2a_uu(EICAR[at : at + 45]) for at in range(0, len(EICAR), 45)).replace(
            b"\n", b"\r\n"
        )
        text = b"Here is the file.\r\n\r\nbegin 644 run.exe\r\n" + lines + b"`\r\nend\r\n\r\nregards\r\n"
        for encoding, body in ((b"7bit", text), (b"base64", coded(text))):
            message = self.look(
                TOP + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
            )
            (found,) = named(message, "run.exe")
            self.assertEqual((found.number, found.parent, found.reading, found.decoded()), ("1.1", 0, 1, EICAR))
            self.assertEqual(kinds(message), ["uuencode-in-text"])

    def test_padding_in_the_middle_of_base64(self) -> None:
        """The whole is decoded; stopping is another reading (B-103)."""
        body = coded(EICAR[:35]) + coded(EICAR[35:])
        part = b"--Part\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + body
        message = self.look(MIXED + TEXT + part + CLOSE)
        self.assertEqual(message.parts[2].decoded(), EICAR)
        self.assertIn(EICAR[:35], message.parts[2].readings())
        self.assertEqual([(one.kind, one.where) for one in message.anomalies], [("base64-padding", "2")])

    def test_a_hundred_thousand_semicolons(self) -> None:
        """B-204."""
        content = TOP + b"Content-Type: text/plain" + b";" * 100_000 + b" name=a.exe\r\n\r\nHello\r\n"
        self.assertEqual(self.look(content).parts[0].names, ("a.exe",))

    def test_blank_lines_first(self) -> None:
        """B-216: before the first boundary, and at the beginning of a part."""
        message = self.look(
            MIXED + b"\r\n" * 20_000 + b"--Part\r\nContent-Type: text/plain\r\n\r\n" + b"\r\n" * 20_000 + b"x" + CLOSE
        )
        self.assertEqual((message.parts[1].octets, kinds(message)), (40_001, []))


def nested(levels: int, inner: bytes = b"\r\nthe innermost") -> bytes:
    """So many multiparts in one another."""
    edges = [b"edge%04d" % level for level in range(levels)]
    opened = [b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (edge, edge) for edge in edges]
    return TOP + b"".join(opened) + inner + b"".join(b"\r\n--%b--\r\n" % edge for edge in reversed(edges))


class AmbiguityTests(TreeCase):
    """Places where programs disagree: the parts of the other reading are there too."""

    def other(self, content: bytes, kind: str, octets: bytes = HARMLESS) -> Message:
        """The place is told, and what the other program sees is found in a part of its own reading."""
        message = self.look(content)
        self.assertIn(kind, kinds(message))
        self.assertGreater(len(message.profiles), 1)
        self.assertTrue(any(part.reading and octets in part.decoded() for part in message.parts), message.parts)
        return message

    def test_two_boundaries_in_one_field(self) -> None:
        """The last of them counts for some."""
        content = TOP + b"Content-Type: multipart/mixed; boundary=Other; boundary=Part\r\n\r\n--Other\r\n\r\nx\r\n"
        self.other(content + attachment() + CLOSE + b"--Other--\r\n", "duplicate-boundary")

    def test_a_boundary_read_with_and_without_quotes(self) -> None:
        """Programs that know no quotes cut at the semicolon."""
        content = TOP + b'Content-Type: multipart/mixed; boundary="Part;x"\r\n\r\n--Part;x\r\n\r\nx\r\n'
        self.other(content + attachment() + CLOSE + b"--Part;x--\r\n", "duplicate-boundary")

    def test_a_boundary_that_is_read_in_two_ways_and_occurs_in_one(self) -> None:
        """That is no ambiguity."""
        content = TOP + b'Content-Type: multipart/mixed; boundary="Part;x"\r\n\r\n--Part;x\r\n\r\nx\r\n--Part;x--\r\n'
        self.assertEqual(kinds(self.look(content)), [])

    def test_no_boundary(self) -> None:
        """Some guess it."""
        content = TOP + b"Content-Type: multipart/mixed\r\n\r\n" + attachment() + CLOSE
        self.other(content, "no-boundary")
        self.other(content.replace(b"mixed", b"mixed; boundary=other"), "no-parts")

    def test_a_header_that_ends_at_a_broken_line(self) -> None:
        """Some begin the body there."""
        self.other(
            MIXED + b"--Part\r\nhttp evil\r\nX-A: b\r\n\r\ntext" + CLOSE, "broken-header-line", b"http evil\r\nX-A: b"
        )

    def test_a_boundary_on_a_line_of_its_own(self) -> None:
        """Some join it to the field above."""
        content = TOP + b"Content-Type: multipart/mixed;\r\nboundary=Part\r\n\r\n" + attachment() + CLOSE
        self.other(content, "broken-header-line")

    def test_a_line_of_blanks_in_a_header(self) -> None:
        """Some end the header there."""
        content = TOP + b" \t\r\nContent-Type: text/html\r\n\r\n<a>"
        self.assertEqual(self.other(content, "blank-header-line", b"<a>").parts[0].media_type, "text/html")

    def test_a_part_without_an_empty_line(self) -> None:
        """Some show its lines as text."""
        self.other(MIXED + b"--Part\r\nhttp://evil.example/ : x" + CLOSE, "no-header-end", b"http://evil.example/")

    def test_parts_after_the_closing_line(self) -> None:
        """Some go on there."""
        self.other(MIXED + TEXT + CLOSE + attachment() + CLOSE, "hidden-epilogue")
        self.other(MIXED + TEXT + CLOSE + b"--Part\r\n\r\nsecret" + CLOSE, "parts-after-close", b"secret")

    def test_what_hides_outside_the_parts(self) -> None:
        """Parts of another boundary, lines of base64, a uuencoded file."""
        program = coded(b"MZ" + bytes(200))
        uu = b"begin 644 run.exe\r\n#35I0\r\n`\r\nend\r\n"
        for hidden, octets in (
            (attachment(boundary=b"Hidden"), HARMLESS),
            (b"a\r\n" + program, b"MZ" + bytes(200)),
            (b"a\r\n" + uu, b"MZP"),
        ):
            self.other(MIXED + hidden + TEXT + CLOSE, "hidden-preamble", octets)
            self.other(MIXED + TEXT + CLOSE + hidden, "hidden-epilogue", octets)

    def test_a_boundary_that_is_used_twice(self) -> None:
        """Some give it to the inner multipart and go back to the outer one behind its closing line."""
        inner = b"--Part\r\nContent-Type: multipart/mixed; boundary=Part\r\n\r\n" + TEXT + b"--Part--\r\n"
        self.other(MIXED + inner + attachment() + CLOSE, "boundary-reused")

    def test_malformed_types(self) -> None:
        """Mended by most, plain text for some."""
        for kind in (b"multipart/mixed, x", b'"multipart/mixed"', b"multipart", b"multipart / mixed"):
            content = TOP + b"Content-Type: " + kind + b"; boundary=Part\r\n\r\n" + attachment() + CLOSE
            message = self.other(content, "bad-content-type", b"--Part")
            self.assertEqual(named(message, "run.exe")[0].reading, 0)

    def test_lone_carriage_returns(self) -> None:
        """Lines for some."""
        self.other(MIXED + b"--Part\r\n\r\nx\r" + attachment() + CLOSE, "bare-cr")

    def test_lone_line_feeds(self) -> None:
        """No lines for some."""
        content = TOP + b"X: y\nContent-Type: text/html\r\n\r\n<a>"
        self.assertEqual(self.other(content, "bare-lf", b"<a>").parts[1].media_type, "text/plain")

    def test_nul(self) -> None:
        """Left out by some."""
        self.other(MIXED + TEXT + attachment().replace(b"--Part", b"--Pa\0rt") + CLOSE, "nul")

    def test_an_encoded_multipart(self) -> None:
        """Decoded by some."""
        content = MIXED[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n" + coded(TEXT + attachment() + CLOSE)
        message = self.other(content, "encoded-multipart")
        self.assertEqual([number for number, _ in shape(message, 1)], ["1", "1.TEXT", "1.1", "1.2"])

    def test_a_message_that_says_to_be_encoded_and_is_not(self) -> None:
        """Left as it stands by some."""
        content = (
            TOP
            + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + MIXED
            + attachment()
            + CLOSE
        )
        self.other(content, "encoded-message")

    def test_a_part_in_a_report(self) -> None:
        """A message for some."""
        part = attachment().partition(b"\r\n")[2]
        self.other(TOP + b"Content-Type: message/delivery-status\r\n\r\nX: y\r\n" + part, "part-in-report")
        report = self.look(
            TOP + b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nStatus: 5.0.0\r\n"
        )
        self.assertEqual((kinds(report), len(report.parts)), ([], 1))

    def test_two_quirks_at_once(self) -> None:
        """A program that follows the second Content-Type and joins lines sees parts that no other sees."""
        fields = b"Content-Type: text/plain\r\nContent-Type: multipart/mixed;\r\nboundary=Part\r\n\r\n"
        message = self.look(TOP + fields + attachment() + CLOSE)
        (found,) = named(message, "run.exe")
        self.assertEqual(message.profiles[found.reading].count(";"), 1)

    def test_an_ambiguity_inside_another_reading(self) -> None:
        """A broken header in a part that only the second Content-Type shows."""
        part = b"--Part\r\nContent-Type: application/octet-stream;\r\nname=run.exe\r\n\r\nx"
        fields = b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=Part\r\n\r\n"
        self.assertTrue(named(self.look(TOP + fields + part + CLOSE), "run.exe"))

    def test_a_broken_header_above_hides_no_broken_header_below(self) -> None:
        """Programs may read a message's header by other rules than a part's."""
        part = b"--Part\r\nContent-Type: application/octet-stream;\r\nname=run.exe\r\n\r\nx"
        message = self.look(b"broken line\r\n" + MIXED + part + CLOSE)
        self.assertTrue([one for one in named(message, "run.exe") if one.reading == 0])

    def test_nothing_is_shown_twice(self) -> None:
        """A leaf that another reading has as well is not repeated; a name that only it has is added."""
        message = self.look(MIXED + TEXT + b"--Part--x\r\n" + attachment() + CLOSE + b"a\0b")
        bodies = [(bytes(part.body), part.encoding) for part in message.parts if not part.is_container]
        self.assertEqual(len(bodies), len(set(bodies)))


class ToldTests(TreeCase):
    """What is told besides."""

    def test_anomalies(self) -> None:
        """Each with the header or body that has it."""
        multipart = b"Content-Type: multipart/mixed; boundary=Part\r\n\r\n--Part\r\n\r\nx\r\n--Part--\r\n"
        for content, told in (
            (multipart, ["no-mime-version"]),
            (TOP + b"Subject: again\r\n\r\nx", ["duplicate-field"]),
            (TOP + multipart.replace(b"Part", b"b" * 71), ["long-boundary"]),
            (TOP + b"Content-Type: text/plain; a=b; a=c\r\n\r\nx", ["duplicate-parameter"]),
            (
                TOP + b"Content-Disposition: inline\r\nContent-Disposition: attachment\r\n\r\nx",
                ["duplicate-disposition"],
            ),
            (TOP + b"Content-Transfer-Encoding: x-foo\r\n\r\nx", ["unknown-encoding"]),
            (
                TOP + b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQ",
                ["duplicate-encoding"],
            ),
            (TOP + b"Content-Type: message/external-body; access-type=URL\r\n\r\nX: y\r\n\r\n", ["external-body"]),
            (TOP + b"Content-Type: message/partial; number=1\r\n\r\nX: y\r\n\r\nx", ["partial-message"]),
            (TOP + b"Content-Type: text/plain\r\nContent-Type: text/plain\r\n\r\nx", []),
        ):
            self.assertEqual(kinds(self.look(content)), told, content[-90:])

    def test_where_it_is(self) -> None:
        """The number of the part."""
        part = b"--Part\r\nContent-Transfer-Encoding: x-foo\r\n\r\nx"
        self.assertEqual([one.where for one in self.look(MIXED + TEXT + part + CLOSE).anomalies], ["2"])

    def test_one_kind_is_told_a_few_times(self) -> None:
        """Thousands of the same help nobody."""
        part = b"--Part\r\nContent-Transfer-Encoding: x-foo\r\n\r\nx\r\n"
        self.assertLess(len(self.look(MIXED + part * 500 + CLOSE).anomalies), 30)

    def test_every_kind_has_a_sentence(self) -> None:
        """In plain words, without a full stop, as the flags of files have them."""
        for kind, sentence in ANOMALIES.items():
            self.assertRegex(kind, "^[a-z0-9-]+$")
            self.assertGreater(len(sentence.split()), 3)
            self.assertFalse(sentence.endswith("."))


class LimitTests(TreeCase):
    """Work is bounded, and where it ended is told."""

    def test_parts(self) -> None:
        """So many are given, and told."""
        message = self.look(MIXED + TEXT * 50 + CLOSE, MimeLimits(parts=10))
        self.assertEqual((len(message.parts), message.limits), (10, ("parts",)))

    def test_a_message_with_many_parts_and_levels(self) -> None:
        """Within the limits that are set, thousands of either are fine."""
        limits = MimeLimits(depth=2000, parts=20_000)
        message = self.look(MIXED + b"--Part\r\n\r\nx\r\n" * 10_000 + CLOSE, limits)
        self.assertEqual((len(message.parts), message.limits, kinds(message)), (10_001, (), []))
        message = self.look(nested(1000), limits)
        self.assertEqual((len(message.parts), message.limits, kinds(message)), (1001, (), []))
        message = self.look(b"Content-Type: message/rfc822\r\n\r\n" * 1000, limits)
        self.assertEqual((len(message.parts), message.limits), (1001, ()))

    def test_boundaries_that_are_prefixes_of_each_other(self) -> None:
        """Twenty levels, each boundary the beginning of the next."""
        edges = [b"b" * (level + 1) for level in range(20)]
        opened = [b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (edge, edge) for edge in edges]
        message = self.look(
            TOP + b"".join(opened) + b"\r\nx" + b"".join(b"\r\n--%b--\r\n" % edge for edge in edges[::-1])
        )
        self.assertEqual((len(message.parts), kinds(message), message.limits), (21, [], ()))

    def test_lines_that_begin_as_boundaries_do(self) -> None:
        """Each takes a step, so that they are counted."""
        message = self.look(MIXED + b"--Part--x\r\n" * 500, MimeLimits(lines=100))
        self.assertIn("lines", message.limits)

    def test_more_files_in_a_text_than_are_looked_at(self) -> None:
        """They are told, and lines that only look like files are not counted."""
        text = b"begin 644 prose\r\nno file\r\n" * 1000
        self.assertEqual(self.look(TOP + b"\r\n" + text).limits, ())
        message = self.look(TOP + b"\r\n" + text + b"begin 644 a\r\n#86)C\r\nend\r\n")
        self.assertEqual([part.decoded() for part in message.parts[1:]], [b"abc"])
        message = self.look(TOP + b"\r\n" + b"begin 644 a\r\n#86)C\r\nend\r\n" * 150)
        self.assertEqual((len(message.parts), message.limits), (101, ("readings",)))

    def test_a_header_larger_than_is_looked_at(self) -> None:
        """Its end is found all the same."""
        message = self.look(TOP + b"X: y\r\n" * 1000 + b"\r\nbody", MimeLimits(header_octets=500))
        self.assertEqual((message.limits, bytes(message.parts[0].body)), (("header",), b"body"))

    def test_decoded_octets(self) -> None:
        """Messages in encoded messages: what is decoded to be walked is bounded over all."""
        content = b"\r\n" + b"x" * 5000
        for _ in range(6):
            content = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + coded(content)
        message = self.look(content, MimeLimits(decoded_octets=20_000))
        self.assertIn("octets", message.limits)
        sources = {
            id(part.source): len(part.source) for part in message.parts if part.source is not message.parts[0].source
        }
        self.assertLessEqual(sum(sources.values()), 20_000)

    def test_readings_do_not_multiply(self) -> None:
        """A message that is ambiguous everywhere, on all levels: what all readings hold together is bounded."""
        inner = b"\r\n" + b"text of the innermost\r\n" * 100_000
        content = nested(25, inner).replace(
            b"Content-Type", b"name=x\r\n \r\nContent-Type: multipart/mixed; boundary=zz\r\nContent-Type"
        )
        content = content.replace(b"--edge", b"--edge00x\r\n--edge")
        limits = MimeLimits()
        message = self.look(content, limits)
        self.assertIn("readings", message.limits)
        held = sum(part.octets for part in message.parts if not part.is_container)
        self.assertLessEqual(held, (1 + limits.overlap) * len(content) + (1 << 20))
        self.assertLessEqual(len(message.profiles), limits.readings + 1)

    def test_ambiguous_parts_by_the_hundred(self) -> None:
        """Each is read in each way, and still few are given."""
        part = b"--Part\r\nContent-Type: text/plain;\r\nname=a\r\n \r\nX: y\r\n--Partly\r\n"
        message = self.look(MIXED + part * 900 + CLOSE)
        self.assertLessEqual(len(message.parts), (1 + MimeLimits().overlap) * MimeLimits().parts + 100)
