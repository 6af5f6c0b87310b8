"""What 500 rules cost a message: `python -m tests.bench.rules [rules]`.

Rules of all kinds in equal parts, about sender, recipients, header fields, size, files and findings; few hold. Each
message goes through all its steps in memory, the facts about its content known, as they are once a child gave them.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock

from smtpgate.config.loader import loads
from smtpgate.examine.facts import Facts, File, Link
from smtpgate.filters.rules import Rules
from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import EditList
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import Path, parse_path
from tests.limits_kit import FILE

RULES = 500
MESSAGES = 300
GOAL_MS = 3.0
KINDS = (
    "sender_domain == 'example{n}.org'",
    "sender.endsWith('@mail{n}.example.org') && helo != 'mail{n}.example.org'",
    "recipients.exists(r, r.startsWith('user{n}@'))",
    "subject.contains('offer {n}')",
    "header('x-kind').exists(v, v == 'kind-{n}')",
    "subject.matches('(?i)invoice[ -]{n}[0-9]{{3}}')",
    "size > 10000{n} && direction == 'in'",
    "attachments.exists(a, a.name.endsWith('.{n}') && a.kind != 'pdf')",
    "links.exists(u, u.host == 'link{n}.example.com')",
    "findings.exists(f, f.filter == 'dnsbl' && f.score > {n}.0)",
)
HEAD = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: minutes of the meeting\r\n"
    b"Date: Wed, 7 Jan 2026 11:59:00 +0000\r\nMessage-ID: <1@example.org>\r\nX-Kind: letter\r\n\r\n"
)


class Services:
    """What rules use of the gateway."""

    def __init__(self) -> None:
        self.clock = Clock()
        files = tuple(
            File(name, (name,), kind=kind, octets=1000)
            for name, kind in (("plan.pdf", "pdf"), ("a.docx", "office"), ("b.png", "image"))
        )
        links = tuple(Link(f"https://www{n}.example.org/a", host=f"www{n}.example.org") for n in range(10))
        self._facts = Facts(files=files, links=links)

    def tell(self, event: object) -> None:
        """Nobody listens."""

    def edits(self, transaction: Transaction) -> EditList:
        """Those of the transaction."""
        return transaction.edits

    def examine(self, transaction: Transaction) -> Deferred[Facts]:
        """What is known of the content."""
        return succeed(self._facts)


def path(text: str) -> Path:
    """An address as the session has it."""
    found, _ = parse_path(f"<{text}>".encode(), utf8=True)
    assert isinstance(found, Path)
    return found


def run(rules: Rules, session: Session, found: tuple[Finding, ...]) -> None:
    """One message."""
    transaction = Transaction("id.1", session, path("ann@example.org"), {})
    made = rules.transaction(transaction)
    assert made is not None
    made.mail(found)
    for name in ("b@example.net", "c@example.net"):
        recipient = Recipient(path(name), {})
        made.rcpt(found, recipient)
        recipient.state = "accepted"
        transaction.recipients.append(recipient)
    made.data(found)
    made.header(found, HeaderSection(HEAD))
    transaction.octets = 20_000
    ended = ensureDeferred(made.end(found))
    assert ended.called


def main() -> int:
    """The median, and whether it is below the goal."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else RULES
    text = "".join(
        f'[[rules]]\nname = "r{n}"\naction = "tag"\nsubject_tag = "[X]"\n'
        f'when = """{KINDS[n % len(KINDS)].format(n=n)}"""\n'
        for n in range(count)
    )
    began = time.process_time()
    settings = loads(FILE + text, "/nowhere/gate.toml")
    rules = Rules(settings.rules, "enforce", Services())
    print(f"{count} rules read, checked and compiled in {time.process_time() - began:.2f} s")
    session = Session("id", "mx", "mx")
    session.client_ip, session.helo = "192.0.2.7", "mail.example.org"
    found = tuple(Finding(f"list-{n}", score=1.0, filter="dnsbl") for n in range(5))
    for _ in range(20):
        run(rules, session, found)
    gc.collect()
    times = []
    for _ in range(MESSAGES):
        at = time.process_time()
        run(rules, session, found)
        times.append((time.process_time() - at) * 1000)
    median = statistics.median(times)
    slowest = statistics.quantiles(times, n=100)[98]
    print(f"a message: median {median:.2f} ms of CPU, p99 {slowest:.2f} ms; goal {GOAL_MS:.0f}")
    return int(median > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
