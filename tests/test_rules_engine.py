"""Conditions: each wrong one is refused with its place and a hint; right ones are judged at the right step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.problem import one_of
from smtpgate.rules.engine import BadExpression, Bundle, ExpressionFailed, Known, check, compile, record
from smtpgate.rules.vocabulary import FACTS, HEADER, RECORDS, STEPS

DOCS = Path(__file__).resolve().parent.parent / "docs" / "policy.md"

#: Text, line, column, and a piece of what is said.
WRONG = (
    ("sendr == 'a'", 1, 1, 'did you mean "sender"'),
    ("sender == a", 1, 11, "a is no fact"),
    ("Sender == 'a'", 1, 1, 'did you mean "sender"'),
    ("size > 1 && sise < 3", 1, 13, 'did you mean "size"'),
    ("size > 1 &&\n  sise < 3", 2, 3, 'did you mean "size"'),
    ("attachment.exists(a, a.octets > 1)", 1, 1, 'did you mean "attachments"'),
    ("fingerprints.exists(f, f.part > 0.3)", 1, 25, "Fingerprint has no field part"),
    ("fingerprints.exists(f, f.share > 30)", 1, 32, "no such operation"),
    ("attachments.exists(a, a.knd == 'x')", 1, 24, 'did you mean "kind"'),
    ("attachments.exists(a,\n  a.size > 1)", 2, 4, "Attachment has no field size"),
    ("links.exists(l, l.hst == 'x')", 1, 18, 'did you mean "host"'),
    ("findings.exists(f, f.points > 1.0)", 1, 21, "Finding has no field points"),
    ("size > 'x'", 1, 6, "compare like with like"),
    ("size > 1.5", 1, 6, "compare like with like"),
    ("score > 5", 1, 7, "compare like with like"),
    ("sender == 1", 1, 8, "compare like with like"),
    ("sender > size", 1, 8, "compare like with like"),
    ("sender + 1 == 'x'", 1, 8, "no such operation"),
    ("!sender", 1, 1, "no such operation"),
    ("sender && size > 1", 1, 8, "no such operation"),
    ("recipients == 'a'", 1, 12, "compare like with like"),
    ("recipients.contains('a')", 1, 20, "no such operation"),
    ("'a' in sender", 1, 5, "no such operation"),
    ("1 in recipients", 1, 3, "no such operation"),
    ("attachments.exists(a, a.octets > 'x')", 1, 32, "no such operation"),
    ("attachments.exists(a, a.is_inline == 'yes')", 1, 35, "no such operation"),
    ("attachments.exists(a, a.name)", 1, 19, "no such operation"),
    ("attachments[0].octets == '1'", 1, 23, "no such operation"),
    ("attachments", 1, 1, "not true or false"),
    ("size", 1, 1, "a whole number, not true or false"),
    ("sender", 1, 1, "a text, not true or false"),
    ("score", 1, 1, "a number, not true or false"),
    ("subject.matches('[')", 1, 17, "missing ]"),
    ("size > 1 &&\n subject.matches('(')", 2, 18, "missing )"),
    ("subject.matches(r'a{2000}')", 1, 18, "patterns are those of RE2"),
    ('subject.matches("(?=x)")', 1, 17, "patterns are those of RE2"),
    ("subject.match('x')", 1, 14, "neither texts nor lists have a function match"),
    ("header(1).size() > 0", 1, 7, "no such operation"),
    ("header('X-A') == 'x'", 1, 15, "no such operation"),
    ("heder('X-A').size() > 0", 1, 6, 'did you mean "header"'),
    ("exec('rm')", 1, 5, "exec is no fact and no function"),
    ("sender ==", 1, 10, "syntax error"),
    ("sender = 'a'", 1, 8, "syntax error"),
    ("(sender == 'a'", 1, 15, "syntax error"),
    ("sender == 'a", 1, 11, "syntax error"),
    ("", 1, 1, "syntax error"),
    ("sender == 'a' and size > 1", 1, 15, "syntax error"),
    ("size > 1;", 1, 9, "syntax error"),
    ("x" * 10_001, 1, 1, "make two rules"),
)

#: What who knows another language first would write, and a piece of the hint that leads to what is right.
FOREIGN = (
    ("links.exists(l, links.filter(o, o.host == l.host).size() > 1)", "write .exists(x, ...)"),
    ("links.map(l, recipients.map(r, r + l.host)).size() > 1", "write .exists(x, ...)"),
    ("links.all(l, authors.exists(a, recipients.filter(r, r == a).size() > 0))", "write .exists(x, ...)"),
    ("subject.lowerAscii() == 'x'", "(?i)"),
    ("lower(subject) == 'x'", "(?i)"),
    ("subject.toLower() == 'x'", ".contains('x')"),
    ("subject.startswith('x')", ".startsWith('x')"),
    ("subject.ends_with('x')", ".endsWith('x')"),
    ("subject.contains_any(['a', 'b'])", ".matches('a|b')"),
    ("subject.contains(['a', 'b'])", ".matches('a|b')"),
    ("subject.startsWith('x', true)", ".startsWith('x')"),
    ("subject =~ 'x'", ".matches('x')"),
    ("subject ~ 'x'", ".matches('x')"),
    ("subject LIKE 'x'", ".matches('x')"),
    ("subject.matches(/x/i)", "in quotes"),
    ("subject.matches('x', 'i')", ".matches('pattern')"),
    (r"subject.matches('\d+')", "r'"),
    (r"subject.matches('\bword')", r"r'\bword\b'"),
    ("attachments.exists(a, a.name.matches('*.exe'))", ".endsWith('.exe')"),
    ("subject.matches('(?<=a)b')", "neither ahead nor behind"),
    ("subject = 'x'", "write =="),
    ("subject === 'x'", "write =="),
    ("sender <> 'x'", "write !="),
    ("sender eq 'x'", "write =="),
    ("sender == 'x' and size > 5", "&&"),
    ("sender == 'x' OR size > 5", "||"),
    ("not sender.contains('x')", "!"),
    ("sender not in ['a']", "!(sender in"),
    ("sender in ('a', 'b')", "['a', 'b']"),
    ("sender in {'a'}", "['a', 'b']"),
    ("sender in 'example.org'", ".contains('x')"),
    ("'example.org' in sender", ".contains('x')"),
    ("client_ip in '10.0.0.0/8'", "startsWith('10.')"),
    ("size > 10MB", "whole number of octets"),
    ("size > 10 MiB", "whole number of octets"),
    ("size > '10MB'", "whole number of octets"),
    ("score > 5", "5.0"),
    ("size > 1.5", "without, as 5"),
    ("subject == \u201cx\u201d", "word processor"),
    ("subject == \u2018x\u2019", "word processor"),
    ("subject == x", "'x'"),
    ("subject == None", "== ''"),
    ("subject == null", "== ''"),
    ("has(subject)", "== ''"),
    ("subject.isEmpty()", "== ''"),
    ("True", "true"),
    ("header('X-A') == 'x'", "exists"),
    ("header['X-A'] == 'x'", "header('X-Mailer')"),
    ("headers('X-A').size() > 0", "header('X-Mailer')"),
    ("recipients.contains('a@x.test')", "in recipients"),
    ("recipients == 'a@x.test'", "in recipients"),
    ("recipients.any(r, r == 'x')", ".exists("),
    ("recipients.exists(r == 'x')", "recipients.exists(r, r == 'x')"),
    ("recipients.length > 10", ".size()"),
    ("len(recipients) > 10", ".size()"),
    ("recipients > 10", ".size()"),
    ("recipients.exists(r, r.domain == 'x')", "recipient_domains"),
    ("attachments.name == 'x'", "attachments.exists("),
    ("attachments.exists(a, a.size > 5)", "octets"),
    ("attachments.exists(a, a.extension == 'exe')", ".endsWith('.exe')"),
    ("attachments.exists(a, a.flags.contains('macro'))", "in recipients"),
    ("body.contains('x')", "dictionaries"),
    ("from == 'a@x.test'", "authors"),
    ("to == 'a@x.test'", "recipients"),
    ("spf == 'fail'", "findings"),
    ("hour > 18", "time of day"),
    ("user", "compare it"),
    ("!user", "user != ''"),
    ("sender == 'x';", "no end sign"),
    ("sender == 'x' # why", "//"),
    ("sender == 'x')", "one ) too many"),
    ("sender == 'it's'", '"it\'s"'),
    ("'x' in recipients && 'y' in", "missing at the end"),
    ("subject.matches(sender)", ".contains(sender)"),
    ("links.exists(l, l.host.matches(l.url + '.{1,900}'))", "in quotes"),
    ("subject.matches('a' + 'b')", "in quotes"),
    ("subject.matches(direction == 'in' ? 'a' : 'b')", "in quotes"),
    ("matches(subject, 'x')", "subject.matches('pattern')"),
    # What compiles, and would never be true.
    ("direction == 'inbound'", "known: in, out"),
    ("direction in ['in', 'Out']", "known: in, out"),
    ("sender == 'Ann@x.test'", "'ann@x.test'"),
    ("'Ann@x.test' in recipients", "'ann@x.test'"),
    ("recipients.exists(r, r.endsWith('@X.test'))", "'@x.test'"),
    ("attachments.exists(a, a.name.endsWith('.EXE'))", "'.exe'"),
    ("attachments.exists(a, a.kind == 'exe')", "executable"),
    ("attachments.exists(a, 'macros' in a.flags)", "macro"),
    ("matches.exists(m, m.confidence == 'sure')", "known: low, medium, high"),
    ("sender == 'a' ? direction == 'in' : sender == 'B'", "'b'"),
)
#: What looks like one of them and is right.
RIGHT = (
    'subject.matches( r"a\'b" ) && matches.size() == 0 && matches.exists(m, m.count > 1)',
    "subject.contains('X') && user == 'Ann'",
    "header('X-A').exists(h, h == 'In')",
    "attachments.exists(a, a.detail == 'PE' && a.media_type == 'X')",
    "findings.exists(f, f.filter == 'X')",
    r"subject.matches('\\bword') && subject.matches(r'\bword')",
    "'A' == subject || helo == 'In' // direction == 'no'",
    "fingerprints.exists(a, a.name == 'Plan')",
    "fingerprints.exists(a, a.name == 'Plan') && attachments.exists(a, a.name == 'plan.pdf')",
    "attachments.exists(a, a.name == 'plan.pdf') && fingerprints.exists(a, a.name == 'Plan')",
    "recipients.exists(direction, direction == 'a@x.test')",
    "links.filter(l, l.host == 'a').exists(l, l.source == 'qr') && links.map(l, l.host).size() > 1",
    "authors.exists(a, recipients.exists(r, r == a)) && header('X').exists(a, a == 'X')",
)


class WrongTests(SynchronousTestCase):
    """What is no condition."""

    def test_habits_of_other_languages_are_led_to_what_is_right(self) -> None:
        """By a hint that says it; none is taken."""
        for text, piece in FOREIGN:
            error = self.assertRaises(BadExpression, check, text)
            self.assertIn(piece, error.hint or one_of(error.word, error.known, ""), (text, str(error)))
            self.assertNotIn("facts.", str(error), text)

    def test_what_may_be_true_is_taken(self) -> None:
        """Capital letters where what is compared keeps them, and names that only look like others."""
        for text in RIGHT:
            check(text)

    def test_each_with_its_place_and_a_hint(self) -> None:
        """Found when it is compiled, before any mail."""
        self.assertGreaterEqual(len(WRONG), 40)
        for text, line, column, piece in WRONG:
            error = self.assertRaises(BadExpression, check, text)
            self.assertEqual((error.line, error.column), (line, column), (text, str(error)))
            hint = error.hint or one_of(error.word, error.known, "")
            self.assertIn(piece, f"{error.message}; {hint}", text)
            self.assertTrue(hint, text)
            self.assertNotIn("facts.", error.message, text)

    def test_what_takes_an_examination(self) -> None:
        """A rule that speaks of files or links, and none that only has such a word in a text."""
        for text, needs in (
            ("attachments.size() > 0", True),
            ("size > 1 && links.exists(l, l.host == 'x')", True),
            ("is_inspected", True),
            ("size > 1 && subject.contains('attachments')", False),
            ("subject.contains('attachments')", False),
            ("score > 1.0", False),
        ):
            self.assertIs(compile(text).needs_content, needs, text)

    def test_what_takes_a_search_for_what_is_registered(self) -> None:
        """By itself, or together with what takes an examination."""
        for text, needs in (
            ("fingerprints.exists(f, f.share > 0.3)", (False, True)),
            ("rows.exists(r, r.rows > 1 && 'iban' in r.columns) && links.size() > 0", (True, True)),
            ("attachments.size() > 0 && subject.contains('rows')", (True, False)),
        ):
            made = compile(text)
            self.assertEqual((made.needs_content, made.needs_registered), needs, text)

    def test_what_is_never_known_together(self) -> None:
        """One recipient, and what comes when all are there."""
        for text in ("recipient == 'a' && size > 1", "recipient in recipients"):
            check(text)
            error = self.assertRaises(BadExpression, compile, text)
            self.assertIn("recipients.exists", error.hint)
        self.assertRaises(BadExpression, compile, "recipient == 'a'", "subject == 'x'")


class JudgeTests(SynchronousTestCase):
    """What is true."""

    def known(self, step: str, **given: Any) -> Known:
        """Of some message."""
        values: dict[str, Any] = {}
        for fact in FACTS:
            empty = {"string": "", "int": 0, "double": 0.0, "bool": True}.get(fact.kind, [])
            values[fact.name] = given.get(fact.name, empty)
        return Known(step, values, given.get("fields", {}))

    def holds(self, text: str, unless: str = "", **given: Any) -> bool:
        """Whether it holds of such a message."""
        condition = compile(text, unless)
        return condition.holds(self.known(condition.step, **given))

    def test_loops_in_loops_end(self) -> None:
        """They fail in words, and neither hold up the message nor count as not true; one loop is long enough."""
        many = [f"user{number}@example.net" for number in range(1000)]
        text = "recipients.exists(r, recipients.exists(s, r == s + 'x'))"
        error = self.assertRaises(ExpressionFailed, self.holds, text, recipients=many)
        self.assertIn("too long for this message", str(error))
        self.assertFalse(self.holds("recipients.exists(r, r == 'x')", recipients=many))
        self.assertTrue(self.holds(text.replace("+ 'x'", ""), recipients=many))

    def test_the_step_is_the_first_that_knows_all(self) -> None:
        """For each fact by itself, for several, and for what must not hold."""
        for fact in FACTS:
            test = {"string": f"{fact.name} == 'a'", "int": f"{fact.name} > 1", "double": f"{fact.name} > 1.0"}
            text = test.get(fact.kind, fact.name if fact.kind == "bool" else f"{fact.name}.size() > 1")
            self.assertEqual(compile(text).step, fact.step, fact.name)
        self.assertEqual(compile("header('X').size() > 0").step, "header")
        self.assertEqual(compile("true").step, "mail")
        self.assertEqual(compile("sender == 'a' && size > 1").step, "end")
        self.assertEqual(compile("sender == 'a'", "subject == 'x'").step, "header")
        self.assertEqual(compile("sender == 'a'", "recipient == 'x'").step, "rcpt")

    def test_what_holds(self) -> None:
        """Each kind of fact."""
        program = record("Attachment")(name="run.exe", kind="executable", flags=["bad-name"], octets=400)
        link = record("Link")(url="https://a.example/", domain="a.example")
        for text, values in (
            ("sender == 'a@example.org'", {"sender": "a@example.org"}),
            ("recipients.exists(r, r.endsWith('@example.net'))", {"recipients": ["x@y.example", "b@example.net"]}),
            ("attachments.exists(a, a.kind == 'executable' && 'bad-name' in a.flags)", {"attachments": [program]}),
            ("attachments.filter(a, a.octets > 100).size() == 1", {"attachments": [program]}),
            ("links.exists(l, l.domain in ['b.example', 'a.example'])", {"links": [link]}),
            ("subject.matches('(?i)invoice [0-9]+')", {"subject": "Your Invoice 17"}),
            ("header('X-Mailer').exists(h, h == 'y')", {"fields": {"x-mailer": ["x", "y"]}}),
            ("header('x-none').size() == 0", {}),
            ("score > 4.5", {"score": 5.0}),
            ("size > 10 // of octets", {"size": 11}),
        ):
            self.assertTrue(self.holds(text, **values), text)
            self.assertFalse(self.holds(text, "true", **values), text)
            self.assertFalse(self.holds(f"!({text}\n)", **values), text)

    def test_what_cannot_be_judged_is_not_false(self) -> None:
        """It fails, and whoever asked must know."""
        for text in ("size / size > 0", "recipients[0] == 'a'", "header('X')[0] == 'a'", "subject.matches(sender)"):
            self.assertRaises(ExpressionFailed, self.holds, text, sender="[")

    def test_why_it_failed_has_nothing_of_the_mail(self) -> None:
        """It comes into the log."""
        for text in (
            "{'a': 1}[subject] == 1",
            "{'a': 1}[header('X')[0]] == 1",
            "int(subject) > 5",
            "double(subject) > 1.0",
            "timestamp(subject) > timestamp('2020-01-01T00:00:00Z')",
            "duration(subject) == duration('1s')",
            "subject.matches(subject)",
        ):
            values = {"subject": 'my "secret" plan (', "fields": {"x": ['my "secret" plan (']}}
            error = self.assertRaises(ExpressionFailed, self.holds, text, **values)
            self.assertTrue(str(error), text)
            for word in ("secret", "plan"):
                self.assertNotIn(word, str(error), text)

    @given(st.lists(st.sampled_from(("size > 1", "size > 9", "size / (size - size) > 1", "score > 1.0")), min_size=1))
    def test_a_look_at_several_misses_none(self, texts: list[str]) -> None:
        """None that holds, and none that cannot be judged."""
        conditions = [compile(text if "size" in text else f"{text} && size > 0") for text in texts]
        known = self.known("end", size=5)
        wanted = any(text in ("size > 1", "size / (size - size) > 1") for text in texts)
        self.assertEqual(Bundle(conditions).may_hold(known), wanted)

    def test_patterns(self) -> None:
        """Ours and the engine's are the same; what looks like a call in a text is none."""
        for text, subject, expected in (
            ("subject.matches('b+')", "abbc", True),
            ("subject.matches(r'^\\d+$')", "123", True),
            ("subject.matches('^b')", "ab", False),
            ("subject.contains('.matches(')", "x.matches(y", True),
            ("subject . matches ( 'ü' ) // .matches(", "ü", True),
            ("'x'.matches(subject)", "x", True),
        ):
            self.assertEqual(self.holds(text, subject=subject), expected, text)

    def test_what_would_never_end_fails(self) -> None:
        """Loops in loops over many recipients."""
        names = [f"u{number}@example.net" for number in range(1000)]
        text = "recipients.all(a, recipients.all(b, recipients.all(c, a + b + c != 'x')))"
        self.assertRaises(ExpressionFailed, self.holds, text, recipients=names)
        self.assertFalse(self.holds("subject.matches('(a+)+$')", subject="a" * 5000 + "!"))

    def test_one_message_does_not_see_the_header_of_another(self) -> None:
        """Judged in turn."""
        condition = compile("header('X').exists(h, h == 'a')")
        one, other = (self.known("header", fields={"x": [value]}) for value in "ab")
        self.assertEqual([condition.holds(known) for known in (one, other, one)], [True, False, True])


class DocumentTests(SynchronousTestCase):
    """docs/policy.md."""

    def test_all_words_are_there(self) -> None:
        """Each fact and field with its kind and what it is."""
        text = DOCS.read_text(encoding="utf-8")
        rows = set(re.findall(r"(?m)^\| `(\w+)(?:\(name\))?` \| ([\w()]+) \| (.*) \|$", text))
        wanted = {(fact.name, fact.kind, fact.about) for fact in (*FACTS, HEADER)}
        wanted |= {(name, kind, about) for fields in RECORDS.values() for name, (kind, about) in fields.items()}
        self.assertEqual(rows, wanted)
        self.assertEqual({fact.step for fact in FACTS}, set(STEPS))
