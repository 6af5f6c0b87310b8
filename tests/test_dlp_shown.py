"""What was found is shown nowhere: replies, fields, log, history, quarantine and reports have it masked."""

from __future__ import annotations

import base64
import io
import json
from contextlib import redirect_stdout
from email import message_from_bytes
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.config.loader import loads
from smtpgate.examine.dlp.hiding import COVER, Cover
from smtpgate.examine.dlp.search import search
from smtpgate.observe.journal import Journal
from smtpgate.policy import event as told
from smtpgate.policy.record import compact, expand
from smtpgate.proxy.services import Services as OfGateway
from smtpgate.rules.searching import CATALOGUE, DICTIONARIES
from smtpgate.testing.ports import Children
from smtpgate.wiring import rules_of
from tests.script_kit import Backend
from tests.test_filters_search import SearchCase, rule
from tests.vault_kit import Services, VaultCase, VaultGateway

CARD, SSN, TOKEN = "4111111111111111", "536-90-4399", "ghp_" + "aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0kP9mLn"
PASSWORD = "t0pS3cr3tPw"
VALUES = (CARD, CARD[4:12], SSN, SSN.replace("-", ""), TOKEN, TOKEN[8:-8], PASSWORD)
ALL = "matches.exists(m, m.count > 0)"


def holds(text: str) -> list[str]:
    """The values that are in a text, whatever stands between their letters."""
    bare = "".join(one for one in text if one.isalnum())
    return [one for one in VALUES if one in text or "".join(filter(str.isalnum, one)) in bare]


def mail(subject: str = f"card {CARD[:4]} {CARD[4:8]}-{CARD[8:12]} {CARD[12:]} to pay") -> bytes:
    """With values in its subject, its text, the name of a file, of one in an archive that cannot be read, and that
    file."""
    file = f"ssn {SSN} and {TOKEN}\r\npostgres://app:{PASSWORD}@db.example.net/x\r\n".encode()
    return (
        f"From: Ann <ann@example.org>\r\nTo: all\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        f"ssn {SSN} and credit card {CARD}.\r\n"
        f'--b\r\nContent-Type: text/plain; name="scan {CARD}.txt"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        f"{base64.b64encode(file).decode()}\r\n"
        f'--b\r\nContent-Type: application/x-thing; name="{SSN} {TOKEN}.bin"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
        f"{base64.b64encode(bytes([0x7F, 0, 0x81, 0xFE] * 60)).decode()}\r\n--b--\r\n"
    ).encode()


class CoverTests(SynchronousTestCase):
    """Values taken out of what is told."""

    def test_whatever_stands_between(self) -> None:
        """Blanks, dashes, other digits and marks; what is beside it stays."""
        for text, shown in (
            ("a/4111 1111-1111.1111 x.pdf", "a/**** x.pdf"),
            ("4111\u200b111111111111", COVER),
            ("\uff1411111111111111\u0661", COVER),
            ("4111111111111111/4111111111111111", "****/****"),
            ("\u4e2d\u6587\u5b57\u7b26 411111 card 1111111111", "\u4e2d\u6587\u5b57\u7b26 ****"),
            ("ABC", "ABC"),
            ("", ""),
        ):
            self.assertEqual(Cover([text], ["4111111111111111"]).texts, {text: shown})
        self.assertEqual(Cover(["see pass-word: aB3456 there"], ["word: aB3456", "345"]).texts.popitem()[1],
                         "see pass-**** there")  # fmt: skip

    def test_more_than_is_looked_through(self) -> None:
        """Is told as nothing."""
        texts = Cover(["x" * 60_000, "y" * 6000, "z"], ["4111111111111111"]).texts
        self.assertEqual([len(one) for one in texts.values()], [60_000, 4, 4])

    @given(
        st.lists(st.text(alphabet="ab1-\u0661é ", min_size=4), max_size=4),
        st.text(alphabet="ab1-\u0661é ", max_size=40),
    )
    def test_nothing_is_left(self, values: list[str], text: str) -> None:
        """Of any value in any text."""
        shown = Cover([text], values).texts[text]
        bare = [row.translate({ord("\u0661"): "1", ord("é"): "e", ord("-"): None, ord(" "): None}) for row in values]
        for piece in shown.split(COVER):
            left = piece.translate({ord("\u0661"): "1", ord("é"): "e", ord("-"): None, ord(" "): None})
            for value in bare:
                self.assertFalse(len(value) >= 4 and value in left, (value, shown))


class AnswerTests(SearchCase):
    """What a child says, and what is told of it."""

    def test_a_child_says_no_value(self) -> None:
        """With all detectors; the subject is given masked where there is something in it."""
        request = {"names": [*CATALOGUE, *DICTIONARIES]}
        said = search(mail(), request)
        self.assertEqual(holds(json.dumps(said)), [])
        self.assertEqual(said["subject"], "card **** to pay")
        self.assertEqual({why for _, why in said["unread"]}, {"unsupported"})
        self.assertIn("scan ****.txt", [path for match in said["matches"] for path in match["paths"]])
        for detector in CATALOGUE.values():
            for text in detector.good:
                value = "".join(filter(str.isalnum, text.split(":")[-1]))[-12:]
                name = base64.b64encode(text[:200].encode()).decode()
                content = f'Content-Type: application/x-thing; name="=?utf-8?b?{name}?="\r\n\r\n{text}\r\n'
                said = search(f"Subject: =?utf-8?b?{name}?=\r\n{content}".encode(), {"names": [detector.name]})
                if said["matches"] and len(value) == 12:
                    self.assertNotIn(value, json.dumps(said).replace(" ", ""), detector.name)
        self.assertEqual(search(b"Subject: card\r\n\r\n" + CARD.encode(), request)["subject"], "")

    def test_short_values_are_not_shown_by_half(self) -> None:
        """Of four digits the last one at most."""
        own = {"detectors": [{"name": "pin", "group": "custom", "about": "", "pattern": r"\b[0-9]{4}\b",
                              "level": "high"}], "dictionaries": []}  # fmt: skip
        (match,) = [one for one in search(b"\r\nx 7391\r\n", {"names": ["pin"], "digest": "a", "own": own})["matches"]
                    if one["confidence"] == "high"]  # fmt: skip
        self.assertEqual(match["samples"], ["****1"])

    def test_findings_and_history(self) -> None:
        """Of rules at work and in shadow; two searches hide what each has found."""
        text = rule("a", ALL, more='mode = "shadow"') + rule("b", ALL, "defer")
        reply, client = self.sent(text, mail())
        self.assertEqual(reply[:3], "451")
        self.assertEqual(holds(repr(client.findings)), [])

    def test_on_the_command_line(self) -> None:
        """As a table and as JSON."""
        path = Path(self.mktemp())
        path.write_bytes(mail())
        for more in ((), ("--json",)):
            out = io.StringIO()
            with redirect_stdout(out):
                self.assertEqual(main(["detect", *more, str(path)]), 0)
            self.assertEqual(holds(out.getvalue()), [])
            self.assertIn("4111 **** **** 1111", out.getvalue())


class Searching(Services):
    """Services with children."""

    once = OfGateway.once

    def __init__(self, is_shadow: bool = False) -> None:
        super().__init__(is_shadow)
        self.children = Children()

    async def in_child(self, job: str, transaction: Any, request: Any) -> Any:
        """Run a job at once."""
        return await self.children.run(job, await transaction.content.descriptor(), request, 1.0)


RULES = (
    rule("report", ALL, "journal", 'to = ["archive@example.net"]')
    + rule("mark", ALL, "tag", 'headers = { "X-Found" = "yes" }')
    + rule("hold", f"subject.contains('hold') && {ALL}", "quarantine", 'held_as = "dlp"\n')
    + rule("say", f"subject.contains('stop') && {ALL}", "reject", 'reply = "550 5.7.1 No"')
    + rule("other", ALL, "reject", 'mode = "shadow"')
)


class WireTests(VaultCase):
    """Through the running gateway."""

    def test_nothing_is_written_down(self) -> Deferred[Any]:
        """Replies, fields, journal of events in both forms, history, tables of the quarantine, reports. The file of
        a held message and the message in a report are the message; they have it."""
        settings = loads(self.config(1) + RULES, "/nowhere/gate.toml")
        uses: Any = rules_of(settings, Searching(), Searching(is_shadow=True))  # type: ignore[arg-type]

        def script(gateway: VaultGateway, backend: Backend) -> None:
            shown: list[str] = []
            for word in ("x", "hold", "stop"):
                content = mail(f"{word} {CARD} \u00e9")
                shown.append(self.send(gateway, b"b", content=content.replace(b"\r\n.", b"\r\n..")).decode())
            self.assertEqual([one[:3] for one in shown], ["250", "250", "550"])
            self.assertTrue(gateway.posted())
            passed, *reports = backend.messages
            shown.append(passed[: passed.index(b"From: Ann")].decode("latin-1"))
            for report in reports:
                whole = message_from_bytes(report)
                words, facts, _ = whole.get_payload()
                shown += [repr(whole.items()), words.get_payload(), facts.get_payload(decode=True).decode()]
            self.assertEqual(len(reports), 2)
            held = gateway.held()
            self.assertEqual([one.subject for one in held], ["hold **** \u00e9"])
            shown += map(repr, held)
            ended = gateway.told(told.SessionEnded)
            shown += [json.dumps(expand(compact(one.session, 1.0))) for one in ended]
            self.assertIn("visa 4111 **** **** 1111", shown[-1])
            for form in ("json", "text"):
                file = Path(self.folder / form)
                journal = Journal(form, "debug", file=str(file))
                for event in gateway.events:
                    journal.hear(event)
                journal.close()
                shown.append(file.read_text())
            shown += [one.read_bytes().decode("latin-1") for one in self.folder.glob("smtpgate.sqlite*")]
            for one in shown:
                self.assertEqual(holds(one), [], one[:2000])

        return self.talk("", script, uses=uses)
