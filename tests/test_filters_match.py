"""Tests of smtpgate.filters.match: patterns over header fields and raw content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.match import SCAN_OCTETS, WINDOW_OCTETS, MatchFilter, MatchOptions, factory
from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import NULL_SENDER
from smtpgate.testing import Gateway, complaints, use

HEADER = b"Subject: x\r\n\r\n"


def rule(place: dict[str, object], pattern: str, **more: object) -> dict[str, object]:
    """One rule."""
    return {"name": "r", "pattern": pattern} | place | more


def subject(value: bytes, *rules: dict[str, object], fields: bytes = b"") -> Finding | None:
    """What is found in a header section."""
    look = MatchFilter(MatchOptions.model_validate({"rules": list(rules)}), None).transaction(_transaction())
    return look.header(HeaderSection(b"Subject: " + value + b"\r\n" + fields + b"\r\n"))


def body(chunks: list[bytes], *rules: dict[str, object]) -> Finding | None:
    """What is found in a body that comes in these chunks, behind a header section in a chunk of its own."""
    look = MatchFilter(MatchOptions.model_validate({"rules": list(rules)}), None).transaction(_transaction())
    look.header(HeaderSection(HEADER))
    for chunk in (HEADER, *chunks):
        look.body(chunk)
    return look.end()


def _transaction() -> Transaction:
    return Transaction("id.1", Session("id", "mx", "mx"), NULL_SENDER, {})


IN_SUBJECT: dict[str, object] = {"header": "Subject"}
IN_BODY: dict[str, object] = {"body": True}


class HeaderTests(SynchronousTestCase):
    """Rules about fields."""

    def test_case_does_not_count(self) -> None:
        """Neither of the field's name nor of its value."""
        for value in (b"buy VIAGRA now", b"Viagra"):
            self.assertIsNotNone(subject(value, rule({"header": "sUBJECT"}, "viagra")), value)
        self.assertIsNone(subject(b"hello", rule(IN_SUBJECT, "viagra")))

    def test_letters_beyond_ascii(self) -> None:
        """In UTF-8 a class is a class of letters, and case does not count there either."""
        for value in ("größe", "GRÖSSE", "GRöSSE"):
            self.assertIsNotNone(subject(value.encode(), rule(IN_SUBJECT, "gr[äö](ß|ss)e")), value)
        # The octets of one letter, each taken for a letter of its own, would be found in others.
        self.assertIsNone(subject("㤀".encode(), rule(IN_SUBJECT, "ä")))
        self.assertIsNone(subject(b"\xa4\xc3", rule(IN_SUBJECT, "[äö]")))

    def test_octets_that_are_no_utf8_harm_nobody(self) -> None:
        """What is ASCII beside them is found."""
        self.assertIsNotNone(subject(b"\xff\xfe spam \xc3", rule(IN_SUBJECT, "spam")))

    def test_folded_values_are_one_line(self) -> None:
        """A fold is no way around a pattern."""
        self.assertIsNotNone(subject(b"very\r\n good\r\n\toffer", rule(IN_SUBJECT, "^very good\toffer$")))

    def test_every_field_of_that_name_is_looked_at(self) -> None:
        """Not the first alone."""
        self.assertIsNotNone(subject(b"hello", rule(IN_SUBJECT, "^spam$"), fields=b"Subject: spam\r\n"))

    def test_no_such_field_is_no_match(self) -> None:
        """Also of a pattern that matches nothing at all."""
        self.assertIsNone(subject(b"x", rule({"header": "x-none"}, ".*")))

    def test_several_matches_are_one_finding(self) -> None:
        """The strongest speaks, the scores of all count, the detail names all."""
        rules = [
            rule(IN_SUBJECT, "a", name="one", action="note", score=1.5),
            rule(IN_SUBJECT, "b", name="two", action="reject", reply="No b here", score=2),
            rule(IN_SUBJECT, "c", name="three", action="reject", score=4.0),
            rule(IN_SUBJECT, "z", name="four", action="reject", score=8.0),
        ]
        found = subject(b"abc", *rules)
        assert found is not None
        self.assertEqual((found.reason, found.action, found.public, found.score), ("two", "reject", "No b here", 7.5))
        self.assertEqual(found.detail, "matched in header: one (Subject), two (Subject), three (Subject)")

    def test_a_pattern_of_alternatives_stands_alone(self) -> None:
        """What we put around it binds looser."""
        self.assertIsNone(subject(b"xspam hamx", rule(IN_SUBJECT, "^spam|ham$")))
        self.assertIsNotNone(subject(b"x ham", rule(IN_SUBJECT, "^spam|ham$")))


class BodyTests(SynchronousTestCase):
    """Rules about content."""

    def test_the_header_section_is_not_part_of_it(self) -> None:
        """Wherever the chunks are cut."""
        content = HEADER + b"hello\r\n"
        for cut in range(len(content) + 1):
            options = MatchOptions.model_validate({"rules": [rule(IN_BODY, "subject")]})
            look = MatchFilter(options, None).transaction(_transaction())
            look.header(HeaderSection(HEADER))
            look.body(content[:cut])
            look.body(content[cut:])
            self.assertIsNone(look.end(), cut)

    def test_every_cut_finds_the_same(self) -> None:
        """A match over the border of two chunks, and over several lines."""
        content = b"one\r\nfirst line\r\nsecond line\r\nthree"
        for pattern, is_there in (
            ("first line", True),
            ("^first line$", True),
            ("^line$", False),
            ("^first", True),
            ("^irst", False),
            ("lin$", False),
            ("line\nsecond", True),
            ("one\nfirst line\nsecond", True),
            (r"\bthree\b", True),
            (r"\bhree", False),
            ("^three$", True),
            (r"\Aone", True),
            (r"\Afirst", False),
        ):
            for cut in range(len(content) + 1):
                for second in range(cut, len(content) + 1, 5):
                    chunks = [content[:cut], content[cut:second], content[second:]]
                    found = body(chunks, rule(IN_BODY, pattern))
                    self.assertEqual(found is not None, is_there, (pattern, chunks))

    @given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
    def test_chunks_make_no_difference(self, content: bytes, cuts: list[int]) -> None:
        """What is found depends on the content alone."""
        marks = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
        chunks = [content[a:b] for a, b in zip(marks, marks[1:], strict=False)]
        rules = [
            rule(IN_BODY, pattern, name=f"r{number}") for number, pattern in enumerate(("^a", "b$", "a\nb", "[ä-ü]"))
        ]
        self.assertEqual(body(chunks, *rules), body([content], *rules))

    def test_octet_by_octet_over_many_windows(self) -> None:
        """A small match deep in a long text, and none where there is none."""
        lines = b"".join(b"line %d of the text\r\n" % number for number in range(WINDOW_OCTETS // 4))
        for text, is_there in ((lines + b"needle\r\n", True), (lines, False), (b"needle\r\n" + lines, True)):
            found = body([text[at : at + 1] for at in range(len(text))], rule(IN_BODY, "^needle$"))
            self.assertEqual(found is not None, is_there)

    def test_a_line_without_end_is_looked_at_all_the_same(self) -> None:
        """And costs no memory beyond the window."""
        options = MatchOptions.model_validate({"rules": [rule(IN_BODY, "needle")]})
        look = MatchFilter(options, None).transaction(_transaction())
        for _ in range(100):
            look.body(b"x" * 1000)
            self.assertLessEqual(len(look._text), WINDOW_OCTETS + 1000)
        look.body(b"nee")
        look.body(b"dle" + b"x" * 5000)
        self.assertIsNotNone(look.end())

    def test_where_we_cut_no_line_begins(self) -> None:
        """In a line longer than the window."""
        chunks = [b"a" + b"x" * WINDOW_OCTETS * 2, b"x" * WINDOW_OCTETS * 2, b"x\r\n"]
        self.assertIsNone(body(chunks, rule(IN_BODY, "^x")))
        self.assertIsNotNone(body([*chunks, b"x\r\n"], rule(IN_BODY, "^x")))

    def test_a_match_within_the_window_is_never_missed(self) -> None:
        """Where it is split after long lines."""
        long = b"y" * (WINDOW_OCTETS - 10)
        self.assertIsNotNone(body([b"a" + long[:500], long[500:] + b"b"], rule(IN_BODY, "ay+b")))

    def test_only_the_start_of_a_large_body_is_looked_at(self) -> None:
        """The rest is a matter of other filters."""
        piece = b"x" * 1023 + b"\n"
        pieces = [piece * 1024] * (SCAN_OCTETS // 2**20)
        self.assertIsNone(body([*pieces, b"needle\r\n"], rule(IN_BODY, "needle")))
        self.assertIsNotNone(body([*pieces[1:], b"needle\r\n"], rule(IN_BODY, "needle")))

    def test_all_that_matched_is_told_at_the_end(self) -> None:
        """Each rule once, however often it matched."""
        rules = [rule(IN_BODY, "a", name="one", score=1.0), rule(IN_BODY, "b", name="two", action="tag", score=1.0)]
        found = body([b"a b\r\n", b"a b\r\n" * 10], *rules)
        assert found is not None
        self.assertEqual((found.reason, found.score, found.detail), ("two", 2.0, "matched in body: one, two"))

    def test_a_pattern_that_blows_up_elsewhere_takes_linear_time(self) -> None:
        """RE2 does not go back."""
        self.assertIsNone(body([b"a" * 200_000], rule(IN_BODY, "(a+)+$b")))


class ReplyTests(SynchronousTestCase):
    """In a gateway."""

    def test_every_action_in_header_and_body(self) -> None:
        """note and tag let the message pass."""
        for place in ('header = "subject"', "body = true"):
            for action, reply in (
                ("note", "250 2.0.0 Ok"),
                ("tag", "250 2.0.0 Ok"),
                ("defer", "451 4.7.1 Not now"),
                ("reject", "550 5.7.1 Not now"),
            ):
                options = f'name = "r", {place}, pattern = "spam", action = "{action}", reply = "Not now"'
                client = Gateway(use(factory, f"rules = [{{ {options} }}]")).connect()
                client.helo()
                self.assertEqual(client.message("Subject: spam\n\nspam\n"), reply, (place, action))
                assert client.verdict is not None
                self.assertEqual([found.action for found in client.findings], [action])

    def test_scores_of_header_and_body_are_summed(self) -> None:
        """The verdict has them, whatever the actions."""
        rules = (
            '{ name = "h", header = "subject", pattern = "spam", score = 1.5 }',
            '{ name = "b", body = true, pattern = "spam", score = 2 }',
        )
        client = Gateway(use(factory, f"rules = [{', '.join(rules)}]")).connect()
        client.helo()
        self.assertEqual(client.message("Subject: spam\n\nspam\n"), "250 2.0.0 Ok")
        assert client.verdict is not None
        self.assertEqual(client.verdict.score, 3.5)

    def test_a_message_that_is_all_header_or_all_body(self) -> None:
        """No empty line at all, and nothing before it."""
        options = 'rules = [{ name = "b", body = true, pattern = "x-field", action = "reject" }]'
        client = Gateway(use(factory, options)).connect()
        client.helo()
        self.assertEqual(client.message("X-Field: x\n"), "250 2.0.0 Ok")
        self.assertEqual(client.message("\nX-Field: x\n")[:3], "550")

    def test_a_reply_of_the_operator_stays_one_printable_line(self) -> None:
        """Whatever it is made of."""
        options = 'rules = [{ name = "b", body = true, pattern = "x", action = "reject", reply = "No\\r\\n250 ü" }]'
        client = Gateway(use(factory, options)).connect()
        client.helo()
        self.assertRegex(client.message("\nx\n"), r"^550 5\.7\.1 No[ ?]+250 \?+$")
        self.assertEqual(client.read(), "")


class ConfigurationTests(SynchronousTestCase):
    """Mistakes are said at load."""

    def test_mistakes_have_their_place_and_their_words(self) -> None:
        """A pattern that cannot be, a place that is none or two, a field with its colon."""
        for options, said in (
            (
                'name = "r", header = "subject", pattern = "("',
                ['rules[0].pattern: "(" is no RE2 pattern: missing ): ('],
            ),
            (
                'name = "r", header = "subject", pattern = "a)(b"',
                ['rules[0].pattern: "a)(b" is no RE2 pattern: unexpected ): a)(b'],
            ),
            ('name = "r", header = "subject", pattern = "(?<=a)b"', None),
            ('name = "r", header = "subject", pattern = ""', None),
            ('name = "r", header = "Subject:", pattern = "x"', ['rules[0].header: "Subject:" is no name of a field']),
            ('name = "r", pattern = "x"', ["rules[0]: no place to look at"]),
            ('name = "r", header = "a", body = true, pattern = "x"', ["rules[0]: two places"]),
            ('name = "r", body = true, pattern = "x\\\\z"', ["rules[0]: \\z has no meaning in a body"]),
            ('name = "Big Rule", body = true, pattern = "x"', None),
            (
                'name = "r", body = true, pattern = "x", action = "quarantine"',
                ['rules[0].action: unknown value "quarantine"'],
            ),
            ('name = "r", body = true, pattern = "x", score = nan', None),
            ('name = "r", body = true, pattern = "x", case = true', ["rules[0].case: unknown key"]),
            ('body = true, pattern = "x"', ["rules[0].name: missing key"]),
        ):
            with self.subTest(options=options):
                found = complaints(factory, f"rules = [{{ {options} }}]")
                self.assertEqual(len(found), 1, found)
                if said is not None:
                    self.assertEqual(found, said)

    def test_a_pattern_that_needs_too_much_memory_is_refused(self) -> None:
        """Before it meets mail."""
        pattern = "((((a{1,100}){1,100}){1,100}){1,100})"
        found = complaints(factory, f'rules = [{{ name = "r", body = true, pattern = "{pattern}" }}]')
        self.assertEqual(len(found), 1, found)
