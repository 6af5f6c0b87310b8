"""Rules in shadow beside no rules at all, over a corpus: the same replies, the same octets."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import inlineCallbacks

from smtpgate.policy import event as told
from tests.edit_corpus import cases
from tests.script_kit import Backend, Client
from tests.test_edits_wire import EditCase
from tests.vault_kit import VaultGateway

#: Every third of some 950 structures.
STEP = 3
#: One of each action, each at the step that it can be at, and true of all mail that comes so far.
ACTIONS = {
    "note": "",
    "tag": 'subject_tag = "[X]"\nheaders = { "X-Kind" = "a" }',
    "banner": 'text = "Caution"',
    "disclaimer": 'text = "Confidential"',
    "strip": 'parts = "true"',
    "replace": 'parts = "true"\ntext = "gone"',
    "headers": 'headers_remove = ["Subject", "X-Mailer"]',
    "require-tls": 'tls_level = "verified"',
    "route": 'backend = "mail"',
    "copy": "",
    "bcc": 'to = ["a@example.net"]',
    "journal": 'to = ["a@example.net"]',
    "discard": "",
    "redirect": 'to = ["a@example.net"]',
    "quarantine": "",
    "defer": "",
    "reject": "",
}
CONTENT = ("size > 1", "attachments.size() >= 0", "matches.size() >= 0")


def rules() -> str:
    """Them, and refusals that speak of all that there is."""
    rows = [(action, "true", more) for action, more in ACTIONS.items()]
    rows += [("reject", when, "") for when in CONTENT]
    rows += [
        ("reject", "header('nothing')[0] == 'a'", 'on_error = "reject"'),
        ("tag", "size > 1", 'subject_tag = "[Y]"'),
    ]
    return "".join(
        f'[[rules]]\nname = "r{number}"\nwhen = "{when}"\naction = "{action}"\nmode = "shadow"\n{more}\n'
        for number, (action, when, more) in enumerate(rows)
    )


def without_ids(octets: bytes) -> bytes:
    """Without what is new each time: the reference, and the clock in our trace field."""
    head, gap, body = octets.partition(b"\r\n\r\n")
    return re.sub(rb"\AReceived:.*\r\n(?:[ \t].*\r\n)*", b"Received: ours\r\n", head) + gap + body


class ShadowTests(EditCase):
    """Over the wire."""

    def _all(self, text: str) -> Any:
        """What the client heard, what the backend got, and what was found of the last message."""
        heard: list[bytes] = []
        got: list[bytes] = []
        found: list[Any] = []

        def script(gateway: VaultGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                heard.append(client.hello())
                for case in cases()[::STEP]:
                    for line in (b"MAIL FROM:<ann@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
                        heard.append(client.say(line))
                    heard.append(client.say(case.content.replace(b"\r\n.", b"\r\n..").removesuffix(b"\r\n") + b"\r\n."))
            got.extend(without_ids(one) for one in backend.messages)
            self.assertTrue(gateway.until(lambda: len(gateway.told(told.TransactionEnded)) == len(got)))
            found.extend(one.transaction.findings for one in gateway.told(told.TransactionEnded))

        return self.talk(text, script, backend_tls="optional").addCallback(lambda _: (heard, got, found))

    @inlineCallbacks
    def test_over_a_corpus(self) -> Any:
        """One rule of each action and all that rules may speak of: nothing that anybody hears or gets is different."""
        heard, got, found = yield self._all("")
        again, got_again, found_again = yield self._all(rules())
        self.assertGreater(len(got), 300)
        self.assertEqual([re.sub(rb"[0-9A-V]{26}\.\d+", b"ID", one) for one in again],
                         [re.sub(rb"[0-9A-V]{26}\.\d+", b"ID", one) for one in heard])  # fmt: skip
        self.assertEqual(got_again, got)
        self.assertEqual([len(one) for one in found], [0] * len(got))
        for one in found_again:
            self.assertEqual({finding.is_shadow for finding in one}, {True})
            reasons = {finding.reason for finding in one}
            self.assertLessEqual({f"r{number}" for number, name in enumerate(ACTIONS) if name != "accept"}, reasons)
