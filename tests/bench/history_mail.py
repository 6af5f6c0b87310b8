"""Sessions of realistic kinds for the benchmark of the history, the same for each number.

Who writes to whom, which domains there are and which words stand in subjects follow a steep curve, as in real mail: a
few are in nearly all, most are in hardly any. Kinds: people, newsletters, notices of programs, spam that is refused at
RCPT or at the end of data, greylisted and deferred mail, outgoing mail of users, clients turned away before mail.
"""

from __future__ import annotations

import random
from typing import Final

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Recipient, Session, TLSFacts, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.smtp.address import Path
from smtpgate.smtp.reply import Reply

#: When the first of them came, seconds since the epoch; they come `EVERY_S` apart: a million in 28 days.
BEGUN: Final = 1_790_000_000.0
EVERY_S: Final = 2.42
DOMAINS: Final = 20_000
STRANGERS: Final = 300_000
OURS: Final = 3_000
WORDS: Final = 30_000
_LETTERS: Final = "aeiourstlnmdcpgbvfhkwyxzjq"
_RULES: Final = ("no-programs", "no-macros", "lottery", "list-unsubscribe", "big-files", "old-domains")
_OK: Final = Reply(250, "2.1.5", ("Ok",))
_NOBODY: Final = Reply(550, "5.1.1", ("No such user here",))
_LATER: Final = Reply(451, "4.7.1", ("Greylisted, come again in five minutes",))


def _steep(dice: random.Random, count: int) -> int:
    """A number below `count`, the smaller the likelier."""
    return int(count * dice.random() ** 4)


def word(number: int) -> str:
    """A word of so many; no two are the same."""
    made, left = "", number + 30
    while left:
        left, letter = divmod(left, len(_LETTERS))
        made += _LETTERS[letter]
    return made


def domain(number: int) -> str:
    """A domain of strangers, some below others."""
    return (
        f"{'mail.' if number % 5 == 0 else ''}{word(number * 7)}{number % 10}.{('com', 'org', 'de', 'net')[number % 4]}"
    )


def stranger(number: int) -> str:
    """An address of somebody outside."""
    return f"{word(number)}.{word(number % 997)}@{domain(number * 31 % DOMAINS if number > 500 else number % 40)}"


def ours(number: int) -> str:
    """An address of a recipient here."""
    return f"{word(number)}.{word(number * 13 % 5000)}@example.net"


def _path(text: str) -> Path:
    local, _, host = text.rpartition("@")
    return Path(text.encode("ascii"), local, host)


def made(number: int) -> Session:
    """The session of that number, ended, with one message; each twentieth with five, each thirtieth with none."""
    dice = random.Random(number)
    is_out = number % 6 == 0
    facts = Session(f"{number:026d}", "submission" if is_out else "mx", "submission" if is_out else "mx")
    facts.started = BEGUN + number * EVERY_S + dice.random()
    facts.begun, facts.ended = 1000.0, 1000.0 + dice.random()
    host = _steep(dice, 60_000)
    facts.client_ip = facts.peer_ip = f"{11 + host % 180}.{host // 180 % 256}.{host * 7 % 256}.{host * 3 % 250 + 1}"
    if host % 11 == 0:
        facts.client_ip = facts.peer_ip = f"2001:db8:{host % 65536:x}::{host % 977:x}"
    facts.client_port = facts.peer_port = 1024 + number % 60000
    facts.helo, facts.is_extended, facts.protocol = f"mx{host % 9}.{domain(host % DOMAINS)}", True, "ESMTP"
    facts.client_name = facts.helo
    facts.tls = TLSFacts("TLSv1.3" if host % 3 else "TLSv1.2", "TLS_AES_256_GCM_SHA384", 256) if host % 8 else None
    facts.user = ours(_steep(dice, OURS)) if is_out else ""
    facts.revision = "0123456789ab"
    facts.octets_in, facts.octets_out, facts.stage, facts.closed_by = 4000, 700, "idle", "quit"
    facts.note(1000.002, "client", "EHLO", facts.helo)
    if number % 30 == 7:
        facts.findings = [Finding("listed", "reject", filter="dnsbl", detail="zen.example", seconds=0.02)]
        return facts
    for _ in range(5 if number % 20 == 3 else 1):
        _add(facts, dice, is_out)
    return facts


def _add(facts: Session, dice: random.Random, is_out: bool) -> None:
    facts.messages += 1
    mine, theirs = ours(_steep(dice, OURS)), stranger(_steep(dice, STRANGERS))
    sender = facts.user if is_out else theirs
    message = Transaction(f"{facts.id}.{facts.messages}", facts, _path(sender), {})
    kind = dice.random()
    begun = 1000.0 + facts.messages * 0.05
    message.begun, message.data_at, message.end_at = begun, begun + 0.02, begun + 0.05
    message.verdict_at, message.committed_at, message.ended = begun + 0.06, begun + 0.16, begun + 0.17
    facts.note(begun, "client", "MAIL", message.sender)
    for place in range(dice.randrange(2, 6) if kind > 0.93 else 1):
        to = theirs if is_out else mine if not place else ours(_steep(dice, OURS))
        one = Recipient(_path(to), {})
        one.reply, one.state, one.backend, one.server = _OK, "accepted", "mail", f"192.0.2.{10 + dice.randrange(3)}:25"
        message.recipients.append(one)
        facts.note(begun + 0.01, "client", "RCPT", one)
    message.octets = int(2 ** dice.uniform(10.5, 15 if kind < 0.9 else 24))
    message.backend, message.server, message.backend_tls = "mail", message.recipients[0].server, "TLSv1.3"
    text = " ".join(word(_steep(dice, WORDS)) for _ in range(dice.randrange(2, 9)))
    host = sender.rpartition("@")[2]
    message.header = HeaderSection(
        f"From: {sender}\r\nSubject: {text}\r\nMessage-ID: <{dice.getrandbits(64):x}@{host}>\r\n\r\n".encode()
    )
    findings = [
        Finding("spf-pass" if kind < 0.8 else "spf-softfail", "note", filter="spf", seconds=0.004),
        Finding("dkim-pass" if kind < 0.7 else "dkim-none", "note", filter="dkim", seconds=0.001),
    ]
    message.outcome, message.reply = "delivered", Reply(250, "2.0.0", (f"Ok: queued as {dice.getrandbits(40):010X}",))
    if kind < 0.12 and not is_out:
        refused = kind < 0.08
        found = Finding(dice.choice(_RULES), "reject", filter="rules", score=dice.uniform(5, 20))
        message.outcome = "refused"
        message.reply = Reply(550, "5.7.1", (f"Refused by policy {facts.id}.{facts.messages}",)) if refused else _NOBODY
        if refused:
            findings.append(found)
            message.verdict = Verdict("reject", found, found.score)
    elif kind < 0.15 and not is_out:
        message.outcome, message.reply = "deferred", _LATER
        findings.append(Finding("greylisted", "defer", filter="greylist"))
        message.verdict = Verdict("defer", findings[-1], 0.0)
    else:
        score = dice.uniform(-1, 6)
        message.verdict = Verdict("accept", None, score)
    message.findings = findings
    message.accepted = len(message.recipients)
    facts.note(message.ended, "us", message.outcome, message.reply.text)
    facts.transactions.append(message)
