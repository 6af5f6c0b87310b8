"""Edits of bodies: over a corpus of every build of message, held against the library's parser, our own, and dkimpy."""

from __future__ import annotations

import base64
import email
import html
import random
import re
from collections.abc import Sequence
from email import policy
from typing import Any

import dkim
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.edits.outline import Outline
from smtpgate.edits.plan import Plan, edit, from_answer, plan
from smtpgate.edits.removal import NOTICE
from smtpgate.edits.wanted import REASONS, Change, Target, to_plain
from smtpgate.message.splice import apply, check, inverse
from tests.edit_corpus import CALENDAR, HEAD, IMAGE, PDF, Case, cases, message, multi, text
from tests.signing_kit import pem, record, rsa_key

CASES = cases()
WORDS = "Caution: this came from outside.\n  It is not checked -- <see> & {sender}."
WIDE = "Vorsicht: für 你 € geprüft"
VALUES = {"sender": "ann@example.org", "hostname": "gate.example.net", "date": "2026-01-07"}
SIGNED = ("from", "subject", "to", "content-type", "content-transfer-encoding", "mime-version")


def banner(words: str = WORDS, action: str = "banner", **more: Any) -> Change:
    """A change that puts these words."""
    return Change("ext", action, text=words, **{"on_signature": "edit", **more})


def leaves(content: bytes) -> list[tuple[str, Any]]:
    """All parts as the library sees them, in order, each with its path of types."""
    found = []
    stack: list[tuple[str, Any]] = [("", email.message_from_bytes(content, policy=policy.compat32))]
    while stack:
        path, part = stack.pop()
        path = f"{path}/{part.get_content_type()}"
        found.append((path, part))
        if part.is_multipart():
            stack += [(path, child) for child in reversed(part.get_payload())]
    return found


def raw(part: Any) -> bytes:
    """A body as it stands."""
    payload = part._payload
    return payload.encode("ascii", "surrogateescape") if isinstance(payload, str) else b""


def said(part: Any) -> str:
    """A text as people read it."""
    octets = part.get_payload(decode=True)
    charset = part.get_content_charset() or "utf-8"
    return str(octets.decode("utf-8" if charset == "us-ascii" else charset)).replace("\r\n", "\n")


def filled(words: str) -> str:
    """With the placeholder that the words of these tests have."""
    return words.replace("{sender}", "ann@example.org")


class CorpusTests(SynchronousTestCase):
    """Each message of the corpus with each kind of words, at its top and bottom."""

    def each(self, words: str, place: str, given: Sequence[Case] = CASES) -> None:
        """Put them everywhere."""
        put = 0
        for case in given:
            made = plan(case.content, [banner(words, place=place)], VALUES)
            check(made.splices, len(case.content))
            result = apply(made.splices, case.content)
            self.assertEqual(apply(inverse(made.splices, case.content), result), case.content, case.name)
            if words.isascii() and case.name == "eight bits unknown":
                self.assertEqual(len(made.done), 1)
            else:
                self.assertEqual(len(made.done), case.texts, (case.name, made.left))
            if not made.done:
                self.assertEqual((result, len(made.left)), (case.content, 1), case.name)
                self.assertIn(made.left[0].reason, REASONS)
                continue
            put += 1
            self.look(case, made, result, words, place)
        self.assertGreater(put, len(given) / 2)

    def look(self, case: Case, made: Plan, result: bytes, words: str, place: str) -> None:
        """The same tree, the same octets but in the texts, and there the words with what was there."""
        before, after = leaves(case.content), leaves(result)
        self.assertEqual([path for path, _ in before], [path for path, _ in after], case.name)
        ours = [(one.number, one.media_type) for one in Outline(case.content).pieces]
        self.assertEqual([(one.number, one.media_type) for one in Outline(result).pieces], ours, case.name)
        touched = 0
        for (path, old), (_, new) in zip(before, after, strict=True):
            if old.is_multipart() or raw(old) == raw(new):
                continue
            touched += 1
            self.assertIn(old.get_content_type(), ("text/plain", "text/html"))
            if case.name == "eight bits unknown":
                continue
            was, now = said(old), said(new)
            if path.endswith("html"):
                block = re.search(r'\n<div class="smtpgate-ext".*?</div>\n', now, re.DOTALL)
                assert block is not None, case.name
                self.assertEqual(now.replace(block[0], "", 1), was, case.name)
                inner = re.sub("<[^>]*>", "", block[0]).strip("\n")
                self.assertEqual(html.unescape(inner), filled(words), case.name)
                continue
            if "format=flowed" in str(old["content-type"]):
                now = re.sub("(?m)^ ", "", now)
            shown = "\n".join(line.rstrip() for line in filled(words).split("\n"))
            if case.name.startswith("no-close") and not case.name.endswith("base64"):
                # The library takes a line end from the last part where nothing closes it.
                was, now = was + "\n", now + "\n"
            if place == "top":
                expected = f"{shown}\n\n{was}"
            elif not was:
                expected = f"{shown}\n"
            elif was.endswith("\n"):
                expected = f"{was}\n{shown}\n"
            else:
                expected = f"{was}\n\n{shown}"
            self.assertEqual(now, expected, case.name)
        for path, part in after:
            if part["content-transfer-encoding"] == "base64" and "one line" not in case.name:
                self.assertLessEqual(max(map(len, raw(part).split())), 76, (case.name, path))
        self.assertEqual(touched, case.texts or 1, case.name)
        if case.content.isascii():
            self.assertTrue(result.isascii(), case.name)
        longest = max(map(len, case.content.split(b"\r\n")))
        self.assertLessEqual(max(map(len, result.split(b"\r\n"))), max(longest, 998), case.name)
        self.assertEqual(result.count(b"\n"), result.count(b"\r\n"), case.name)

    def test_plain_words_at_the_top(self) -> None:
        """ASCII, so every text keeps its character set."""
        self.each(WORDS, "top")

    def test_plain_words_at_the_bottom(self) -> None:
        """The same behind."""
        self.each(WORDS, "bottom")

    def test_words_that_few_sets_can_say(self) -> None:
        """Those texts become UTF-8, and keep their letters."""
        self.each(WIDE, "top", CASES[::2])
        self.each(WIDE, "bottom", CASES[1::2])

    def test_a_long_line(self) -> None:
        """No line grows past what mail may have."""
        given = [case for case in CASES if case.name.startswith(("plain ", "html ")) or " " not in case.name]
        self.each("word " * 300 + "end", "bottom", given)

    def test_untouched_sets_stay(self) -> None:
        """A text that can say the words keeps character set and transfer encoding, and its octets."""
        for case in CASES:
            if case.name.startswith("plain ") and "utf-16" not in case.name:
                made = plan(case.content, [banner(place="bottom")], VALUES)
                (one,) = made.splices
                self.assertGreater(one.offset, case.content.find(b"\r\n\r\n"), case.name)
                self.assertLessEqual(one.removed, 8, case.name)

    def test_wrapped(self) -> None:
        """Where no text may be changed and the rule says so: the message is a part, octet for octet."""
        for place in ("top", "bottom"):
            for case in CASES[::2]:
                made = plan(case.content, [banner(WIDE, place=place, wrap=True)], VALUES)
                if not made.done or made.done[0].what != "wrapped":
                    continue
                result = apply(made.splices, case.content)
                self.assertEqual(apply(inverse(made.splices, case.content), result), case.content, case.name)
                body = case.content.partition(b"\r\n\r\n")[2]
                self.assertIn(b"\r\n\r\n" + body + b"\r\n--", result, case.name)
                top, first, *_ = leaves(result)
                self.assertEqual(top[1].get_content_type(), "multipart/mixed")
                parts = top[1].get_payload()
                words = parts[0 if place == "top" else 1]
                self.assertEqual(said(words), WIDE, case.name)
                inner = parts[1 if place == "top" else 0]
                self.assertEqual(inner.get_content_type(), leaves(case.content)[0][1].get_content_type(), case.name)

    def test_a_text_that_cannot_be_changed_is_wrapped_too(self) -> None:
        """Or a word of the sender's in its header would keep the words out."""
        plain = b"Content-Type: text/plain; charset=%s\r\n%s\r\n%s\r\n"
        for entity, reason in (
            (plain % (b"x-nobody-knows", b"", b"hi"), "charset"),
            (plain % (b"iso-2022-jp", b"", b"\x1b$\xff"), "charset"),
            (plain % (b"utf-8", b"Content-Transfer-Encoding: x-uuencode\r\n", b"hi"), "encoding"),
            (plain % (b"utf-8", b"", b"hi\r\n" * (2 << 20)), "too-large"),
            (multi("alternative", text("utf-8", "8bit"), plain % (b"x-nobody-knows", b"", b"hi")), "charset"),
        ):
            content = message(entity)
            self.assertEqual([one.reason for one in plan(content, [banner()], VALUES).left], [reason])
            made = plan(content, [banner(wrap=True)], VALUES)
            self.assertEqual([one.what for one in made.done], ["wrapped"], entity[:100])
            self.assertIn(content.partition(b"\r\n\r\n")[2], apply(made.splices, content))


class ChoiceTests(SynchronousTestCase):
    """What the keys of a rule say."""

    def put(self, content: bytes, *changes: Change) -> tuple[bytes, Plan]:
        """A message with these changes."""
        made = plan(content, changes, VALUES)
        return apply(made.splices, content), made

    def reasons(self, content: bytes, *changes: Change) -> list[str]:
        """Why they are not made."""
        return [one.reason for one in self.put(content, *changes)[1].left]

    def test_once_in_a_thread(self) -> None:
        """Found by its words in a quoted plain text, by its class in HTML, however a program renamed that."""
        content = message(multi("alternative", text("utf-8", "8bit"), text("utf-8", "base64", html=True)))
        once = banner(once=True)
        result, made = self.put(content, once)
        self.assertEqual(len(made.done), 2)
        self.assertEqual(self.reasons(result, once), ["there"])
        lines = filled(WORDS).replace("ann@", "somebody@").split("\n")
        quoted = "".join(f"> > {line}\r\n" for line in " ".join(lines).replace(" is ", " is\n").split("\n"))
        reply = HEAD + b"\r\nYes.\r\n" + quoted.encode()
        self.assertEqual(self.reasons(reply, once), ["there"])
        self.assertEqual(self.reasons(reply, banner()), [])
        page = message(b'Content-Type: text/html\r\n\r\n<div class="x_smtpgate-ext">old words</div>\r\n')
        self.assertEqual(self.reasons(page, once), ["there"])
        other = page.replace(b"smtpgate-ext", b"smtpgate-external")
        self.assertEqual(self.reasons(other, once), [])
        short = Change("ext", "banner", text="Hi", once=True, on_signature="edit")
        self.assertEqual(self.reasons(HEAD + b"\r\nHi\r\n", short), [])

    def test_invitations(self) -> None:
        """Left alone, or the texts beside them are not, if told; the invitation stays as it is."""
        content = message(multi("alternative", text("utf-8", "8bit"), CALENDAR))
        self.assertEqual(self.reasons(content, banner()), ["calendar"])
        result, made = self.put(content, banner(invitations=True))
        self.assertEqual([one.where for one in made.done], ["1 text/plain"])
        self.assertIn(CALENDAR, result)
        forwarded = b"Content-Type: message/rfc822\r\n\r\n" + content
        _, made = self.put(message(multi("mixed", text("us-ascii", "7bit"), forwarded, boundary=b"out")), banner())
        self.assertEqual([one.where for one in made.done], ["1 text/plain"])

    def test_what_only_says_that_it_is_a_file(self) -> None:
        """A name or a disposition keeps no words out of what programs show all the same; real files stay."""
        page = b"Content-Type: text/html%s\r\n%s\r\n<p>x</p>\r\n"
        named, inline = page % (b"; name=x.html", b""), page % (b"", b"Content-Disposition: inline; filename=x\r\n")
        file = page % (b"", b"Content-Disposition: attachment; filename=x\r\n")
        plain, other = b"Content-Type: text/plain\r\n\r\nhi\r\n", page % (b"", b"Content-ID: <o>\r\n")
        for entity, wanted in (
            (named, ["1 text/html"]),
            (inline, ["1 text/html"]),
            (file, []),
            (multi("alternative", plain, named), ["1 text/plain", "2 text/html"]),
            (multi("alternative", plain, file), ["1 text/plain", "2 text/html"]),
            (
                multi("alternative", plain, multi("related", named, PDF, boundary=b"r")),
                ["1 text/plain", "2.1 text/html"],
            ),
            (multi("related", named, PDF), ["1 text/html"]),
            (multi("related", plain, other, more=b'; start="<o>"'), ["1 text/plain", "2 text/html"]),
            (multi("report", inline, PDF), ["1 text/html"]),
            (multi("mixed", named, PDF), ["1 text/html"]),
            (multi("mixed", named, plain), ["2 text/plain"]),
            (multi("mixed", file, PDF), []),
            (multi("mixed", plain, file), ["1 text/plain"]),
        ):
            made = plan(message(entity), [Change("b", "banner", text="Caution")], {})
            self.assertEqual([one.where for one in made.done], wanted, entity)

    def test_letters_that_look_like_marks(self) -> None:
        """Octets of a stateful set are no HTML: the words are put between letters, not into them."""
        looks = b"\x1b$B</body>>\x1b(B"
        page = b"<body>x</body>" + looks + b"\r\n"
        content = message(b"Content-Type: text/html; charset=iso-2022-jp\r\n\r\n" + page)
        for place in ("top", "bottom"):
            result, made = self.put(content, banner("Hello", place=place))
            self.assertEqual(len(made.done), 1)
            shown = said(leaves(result)[0][1])
            self.assertIn(looks.decode("iso2022_jp"), shown)
            self.assertIn("Hello</div>\nx</body>" if place == "top" else "Hello</div>\n</body>", shown)

    def test_placeholders(self) -> None:
        """A stranger's words are one line without marks that turn letters, and no HTML."""
        hostile = {"sender": '"<b>\u202e\r\n\u2028--b1"@x', "sender_domain": "x" * 1000}
        content = message(multi("alternative", text("us-ascii", "7bit"), text("us-ascii", "7bit", html=True)))
        made = plan(content, [banner("From {sender} of {sender_domain}, {nothing}")], hostile)
        result = apply(made.splices, content)
        self.assertNotIn(b"<b>", result.partition(b"<div")[2].partition(b"</div>")[0])
        self.assertIn(b"&lt;b&gt;", result)
        self.assertIn(b"{nothing}", result)
        self.assertNotIn(b"x" * 321, result)
        self.assertEqual(len(leaves(result)), 3)

    def test_a_boundary_that_was_aimed_at(self) -> None:
        """Words that would end a part of this very message are not put into it."""
        content = message(multi("mixed", text("us-ascii", "7bit"), PDF, boundary=b"------"))
        self.assertEqual(self.reasons(content, banner("--------\nNot for you")), ["ambiguous"])
        self.assertEqual(self.reasons(content, banner("- -----\nNot for you")), [])

    def test_several_rules(self) -> None:
        """In their order, each on what those before it leave; one list about the message as it came."""
        content = message(multi("mixed", text("koi8-r", "base64"), PDF, IMAGE))
        changes = (
            banner("First words"),
            Change(
                "gone", "strip", on_signature="edit", parts=(Target("2", "report.pdf", "pdf", "application/pdf", 30),)
            ),
            Change("again", "strip", on_signature="edit", parts=(Target("2"), Target("3"))),
            Change("bye", "disclaimer", text="Прощай", place="bottom", on_signature="edit"),
            banner("Über allem", place="top"),
        )
        result, made = self.put(content, *changes)
        self.assertEqual([one.what for one in made.done], ["banner", "removed", "removed", "disclaimer", "banner"])
        self.assertEqual(made.left, ())
        (_, top), (_, only) = leaves(result)
        self.assertTrue(
            re.fullmatch("Über allem\n\nFirst words\n\nПривет.*\n\nПрощай\n", said(only), re.DOTALL), said(only)
        )
        self.assertEqual(apply(inverse(made.splices, content), result), content)
        authors = {author for one in made.splices for author in one.author.split(", ")}
        self.assertEqual(authors, {"rules/ext", "rules/gone", "rules/again", "rules/bye"})

    def test_the_job(self) -> None:
        """Plain values in and out, the same plan; what is no plan is told."""
        content = message(multi("mixed", text("shift_jis", "8bit"), PDF))
        changes = [banner(WIDE), Change("r", "replace", parts=(Target("2", "r.pdf"),), on_signature="edit")]
        answer = edit(memoryview(content), {"changes": [to_plain(one) for one in changes], "values": VALUES})
        self.assertEqual(from_answer(answer), plan(content, changes, VALUES))
        for wrong in (
            {},
            {**answer, "splices": [{}]},
            {**answer, "done": 1},
            {**answer, "done": [{"rule": "x", "what": "y", "where": ""}]},
            {**answer, "left": [{"rule": "x"}]},
        ):
            self.assertRaises(ValueError, from_answer, wrong)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from([
        b"--b\r\n", b"--b--\r\n", b"--c\r\n", b"\r\n", b"text\r\n", b"<body>", b"</body>", b"<!--", b"-->",
        b"=", b"=3D=\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/alternative; boundary=c\r\n",
        b"Content-Type: text/html; charset=iso-2022-jp\r\n", b"Content-Transfer-Encoding: base64\r\n", b"\xff\xfe",
        b"Content-Transfer-Encoding: quoted-printable\r\n", b"aGVsbG8=\r\n", b"\x1b$B", b"MIME-Version: 1.0\r\n", b"\n",
    ]), max_size=25).map(b"".join), st.sampled_from(["top", "bottom"]), st.booleans())  # fmt: skip
    def test_anything(self, content: bytes, place: str, wrap: bool) -> None:
        """Whatever the message, a plan comes out that leads there and back; and it is read as the one before was."""
        changes = [
            banner(WIDE, place=place, wrap=wrap),
            Change("s", "strip", parts=(Target("1"),), on_signature="edit"),
        ]
        made = plan(content, changes, VALUES)
        check(made.splices, len(content))
        if made.splices:
            result = apply(made.splices, content)
            self.assertEqual(apply(inverse(made.splices, content), result), content)
            self.assertEqual(Outline(result).doubt, "")


class RemovalTests(SynchronousTestCase):
    """Parts taken out and replaced."""

    def take(self, content: bytes, *numbers: str, action: str = "strip", **more: Any) -> tuple[bytes, Plan]:
        """The message without these parts."""
        parts = tuple(Target(one, "päper\u202e.exe", "executable", "application/x", 9) for one in numbers)
        made = plan(content, [Change("no", action, parts=parts, on_signature="edit", **more)], VALUES)
        result = apply(made.splices, content)
        self.assertEqual(apply(inverse(made.splices, content), result), content)
        return result, made

    def paths(self, content: bytes) -> list[str]:
        """The tree as the library sees it."""
        return [path for path, _ in leaves(content)]

    def test_over_the_corpus(self) -> None:
        """Each part of each message, taken out and replaced: all others stay octet for octet, in both parsers."""
        count = 0
        for case in CASES[::3]:
            outline = Outline(case.content)
            for piece in list(outline.pieces):
                if outline.doubt or piece.children or not piece.is_here:
                    continue
                for action in ("strip", "replace"):
                    result, made = self.take(case.content, piece.number, action=action)
                    self.assertEqual(made.left, (), (case.name, piece.number))
                    (done,) = made.done
                    # The library takes a line end from the last part where nothing closes it.
                    kept, now = (
                        [raw(part).rstrip() for _, part in leaves(one) if not part.is_multipart()]
                        for one in (case.content, result)
                    )
                    if case.name.startswith("report ") and piece.media_type == "message/delivery-status":
                        # The library has two parts in what is one to us.
                        kept = kept[:-1]
                        kept[-1] += b"x"
                    gone = [one for one in kept if one not in now]
                    self.assertLessEqual(len(gone), 1, case.name)
                    if done.what == "removed":
                        self.assertEqual(len(now), len(kept) - 1, case.name)
                    else:
                        self.assertEqual(len(now), len(kept), case.name)
                        self.assertTrue(
                            any(
                                "removed by the mail gateway" in said(part).replace("=\n", "")
                                for path, part in leaves(result)
                                if path.endswith("text/plain")
                            ),
                            case.name,
                        )
                    count += 1
        self.assertGreater(count, 1000)

    def test_taken_out(self) -> None:
        """With its boundary line; the last one too, where nothing closes the multipart and where something does."""
        plain = text("utf-8", "8bit")
        for close in (True, False):
            content = message(multi("mixed", plain, PDF, IMAGE, close=close))
            self.assertEqual(self.take(content, "2")[0], message(multi("mixed", plain, IMAGE, close=close)))
            self.assertEqual(self.take(content, "1")[0], message(multi("mixed", PDF, IMAGE, close=close)))
            expected = message(multi("mixed", plain, PDF, close=close))
            self.assertEqual(self.take(content, "3")[0], expected if close else expected.removesuffix(b"\r\n"))

    def test_a_text_where_something_must_stand(self) -> None:
        """The only part, all parts, the page of a related, a half of a signed one, the message itself."""
        plain, html = text("us-ascii", "7bit"), text("us-ascii", "7bit", html=True)
        for content, numbers, expected in (
            (multi("mixed", PDF), ("1",), ["multipart/mixed", "text/plain"]),
            (multi("mixed", PDF, IMAGE), ("1", "2"), ["multipart/mixed", "text/plain"]),
            (multi("related", html, IMAGE), ("1",), ["multipart/related", "text/plain", "image/png"]),
            (multi("related", html, IMAGE), ("2",), ["multipart/related", "text/html"]),
            (multi("signed", plain, PDF), ("2",), ["multipart/signed", "text/plain", "text/plain"]),
            (multi("alternative", plain, html), ("2",), ["multipart/alternative", "text/plain", "text/plain"]),
            (PDF, ("1",), ["text/plain"]),
        ):
            result, _ = self.take(message(content), *numbers)
            self.assertEqual([part.get_content_type() for _, part in leaves(result)], expected)

    def test_names_of_strangers(self) -> None:
        """In any script, without what turns letters round; the rule's own words where it has some."""
        content = message(multi("mixed", text("us-ascii", "7bit"), PDF))
        result, made = self.take(content, "2", action="replace", text="{name} ({kind}) is gone: {rule}\nAsk us.")
        (part,) = [part for path, part in leaves(result)[2:]]
        self.assertEqual(said(part), "päper.exe (executable) is gone: no\nAsk us.")
        self.assertTrue(result.isascii())
        self.assertEqual((made.done[0].before, made.done[0].what), ("executable päper.exe, 9 octets", "replaced"))
        result, _ = self.take(content, "2", action="replace")
        shown = NOTICE.format(name="päper.exe", kind="executable", octets=9, hostname="gate.example.net", rule="no")
        self.assertEqual(said(leaves(result)[2][1]), shown)

    def test_in_attached_messages(self) -> None:
        """Where it stands it goes; in an encoded message that goes as a whole."""
        inner = message(multi("mixed", text("us-ascii", "7bit"), PDF, boundary=b"in"))
        here = message(multi("mixed", text("us-ascii", "7bit"), b"Content-Type: message/rfc822\r\n\r\n" + inner))
        result, made = self.take(here, "2.2")
        self.assertEqual(made.left, ())
        self.assertEqual(self.paths(result)[-1], "/multipart/mixed/message/rfc822/multipart/mixed/text/plain")
        wrapped = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        coded = base64.encodebytes(inner).replace(b"\n", b"\r\n")
        content = message(multi("mixed", text("us-ascii", "7bit"), wrapped + coded))
        result, made = self.take(content, "2.2")
        self.assertEqual((made.left, self.paths(result)), ((), ["/multipart/mixed", "/multipart/mixed/text/plain"]))

    def test_what_is_not_there(self) -> None:
        """A number of no part is never passed over; nothing at all is told."""
        content = message(multi("mixed", text("us-ascii", "7bit"), PDF))
        self.assertEqual([one.reason for one in self.take(content, "7")[1].left], ["whole"])
        self.assertEqual([one.reason for one in self.take(content)[1].left], ["nothing"])


class SignatureTests(SynchronousTestCase):
    """What is foretold of DKIM is what dkimpy sees."""

    def sign(self, content: bytes, names: Sequence[str], form: str, length: bool) -> bytes:
        """With one more signature on top."""
        parts = [one.encode() for one in form.split("/")]
        field: bytes = dkim.sign(
            content, b"s", b"example.org", pem(rsa_key()), canonicalize=(parts[0], parts[1]),
            include_headers=[one.encode() for one in names], length=length,
        )  # fmt: skip
        return field + content

    def verify(self, content: bytes) -> bool:
        """As dkimpy sees it."""
        return bool(dkim.verify(content, dnsfunc=lambda name, timeout=5: record().encode()))

    def test_foretold_is_seen(self) -> None:
        """For every message of the corpus, with a change, a form, a length and fields that a fixed chance picks."""
        seen = {True: 0, False: 0}
        forms = ("relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed")
        changes = (
            banner(WORDS, place="top"),
            banner(WORDS, place="bottom"),
            banner(WIDE, place="bottom", wrap=True),
            Change("no", "replace", on_signature="edit", parts=(Target("2"),)),
        )
        chance = random.Random(7)
        for case in CASES:
            if Outline(case.content).doubt:
                continue
            for change in chance.sample(changes, 1):
                names = chance.choice((("from", "subject"), SIGNED))
                content = self.sign(case.content, names, chance.choice(forms), chance.random() < 0.5)
                self.assertTrue(self.verify(content), case.name)
                made = plan(content, [change], VALUES)
                if not made.done:
                    continue
                holds = self.verify(apply(made.splices, content))
                foretold = not any(one.kind == "dkim" for one in made.broken)
                self.assertEqual(foretold, holds, (case.name, change.action, made.broken, made.done))
                seen[holds] += 1
        self.assertGreater(seen[True], 5)
        self.assertGreater(seen[False], 200)

    def test_what_a_rule_says(self) -> None:
        """Skip, refuse or edit; of a signature that is dead already nothing is left to break."""
        content = self.sign(message(text("us-ascii", "7bit")), SIGNED, "relaxed/relaxed", length=False)
        skip = plan(content, [banner(on_signature="skip")], VALUES)
        self.assertEqual(
            (skip.splices, [(one.reason, one.is_refused) for one in skip.left]), ((), [("signature", False)])
        )
        refuse = plan(content, [banner(on_signature="refuse")], VALUES)
        self.assertEqual([(one.reason, one.is_refused) for one in refuse.left], [("signature", True)])
        broken = plan(content, [banner()], VALUES).broken
        self.assertEqual([(one.kind, one.name, one.by) for one in broken], [("dkim", "example.org/s", ("body",))])
        dead = plan(content + b"more\r\n", [banner(on_signature="skip")], VALUES)
        self.assertEqual((len(dead.done), dead.broken), (1, ()))
        two = plan(content, [banner(), banner(on_signature="skip")], VALUES)
        self.assertEqual((len(two.done), two.left), (2, ()))

    def test_fields_that_change_are_named(self) -> None:
        """A text that becomes UTF-8 says so in its header, which is signed."""
        content = self.sign(message(text("koi8-r", "8bit")), SIGNED, "relaxed/relaxed", length=False)
        (broken,) = plan(content, [banner("Grüße €")], VALUES).broken
        self.assertEqual(set(broken.by), {"body", "content-type", "content-transfer-encoding"})

    def test_chains(self) -> None:
        """The newest signature of a chain breaks as others do."""
        content = b"Authentication-Results: example.org; spf=pass\r\n" + message(text("us-ascii", "7bit"))
        names = [b"from", b"subject"]
        fields = dkim.arc_sign(content, b"s", b"example.org", pem(rsa_key()), b"example.org", include_headers=names)
        content = b"".join(fields) + content

        def verify(octets: bytes) -> str:
            result, _, _ = dkim.arc_verify(octets, dnsfunc=lambda name, timeout=5: record().encode())
            return str(result.decode())

        self.assertEqual(verify(content), "pass")
        made = plan(content, [banner()], VALUES)
        self.assertEqual([(one.kind, one.name, one.by) for one in made.broken], [("arc", "example.org/s", ("body",))])
        self.assertEqual(verify(apply(made.splices, content)), "fail")

    def test_sealed(self) -> None:
        """S/MIME: a part taken out of it breaks it, one beside it does not."""
        signed = multi("signed", multi("mixed", text("us-ascii", "7bit"), PDF, boundary=b"in"), PDF, boundary=b"sig")
        content = message(multi("mixed", signed, PDF))
        for number, expected in (("1.1.2", [("mime", "1")]), ("2", [])):
            change = Change("no", "strip", on_signature="edit", parts=(Target(number),))
            made = plan(content, [change], VALUES)
            self.assertEqual([(one.kind, one.name) for one in made.broken], expected)
        wrap = plan(message(signed), [banner(wrap=True, on_signature="skip")], VALUES)
        self.assertEqual([one.reason for one in wrap.left], ["signature"])
