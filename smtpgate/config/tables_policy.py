"""The tables of the configuration file that say what becomes of which mail; see `schema`."""

from __future__ import annotations

from typing import Literal

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import Addresses, FilePath, HeldClassName, Hosts, MailAddresses, Reason, Words

Mode = Literal["enforce", "shadow", "off"]
Action = Literal[
    "note",
    "accept",
    "tag",
    "banner",
    "disclaimer",
    "strip",
    "replace",
    "headers",
    "smime-sign",
    "smime-encrypt",
    "require-tls",
    "route",
    "copy",
    "bcc",
    "journal",
    "discard",
    "redirect",
    "quarantine",
    "defer",
    "reject",
]


class RuleTable(Table):
    """One rule: what becomes of mail that a condition is true of. They are judged in the order of the file."""

    name: Reason = key(REQUIRED, "Its name in log and pages.", example='"no-programs"')
    when: str = key("true", "Condition that must be true; docs/policy.md has the language.", example='"size > 1000000"')
    unless: str = key("false", "Condition that must not be true.", example="\"user == 'ann@example.net'\"")
    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["mx"]')
    direction: Literal["in", "out"] | None = key(
        None, "in: listeners of role mx; out: those of role submission.", shown="both", example='"out"'
    )
    sender: Addresses = key([], "Senders that it is about, written as in routes; none: all.", example='["example.net"]')
    recipient: Addresses = key(
        [],
        "Recipients that it is about, written as in routes, each by itself; none: all. The condition then speaks of "
        "client, sender and recipient only.",
        example='["ann@example.net"]',
    )
    action: Action = key(
        REQUIRED,
        "What becomes of the mail; docs/policy.md says what each does, and which keys it needs.",
        example='"reject"',
    )
    reply: str = key(
        "",
        "What the client hears where it is refused: code and enhanced code where they are unusual, and text.",
        shown="Refused by policy",
        example='"550 5.7.1 Programs are not accepted by mail"',
    )
    self_service: Literal["reason", "approval"] | None = key(
        None,
        "With reject: the reply has a link, where the sender says why it must go or asks for approval; then it passes "
        "once.",
        shown="no link",
        example='"reason"',
    )
    to: MailAddresses = key([], "Who gets it, with redirect, bcc and journal.", example='["audit@example.net"]')
    backend: str = key(
        "",
        "With route: where it goes. With redirect, bcc and journal: where the addresses in to are reached.",
        shown="where the routes say",
        example='"mail"',
    )
    held_as: HeldClassName | None = key(
        None, "Class in the quarantine, with quarantine and copy.", shown="policy, and copy", example='"dlp"'
    )
    strict: bool = key(
        True,
        "With copy, bcc and journal: mail whose copy cannot be kept is deferred; false: it goes on, and that is told.",
    )
    subject_tag: str = key("", "Words that are put before the subject.", example='"[EXTERNAL]"')
    headers: dict[str, str] = key(
        {},
        "Fields that are added, with names that begin with X-. What comes with such a field loses it.",
        example='{ "X-Origin" = "outside" }',
    )
    tls_level: Literal["encrypted", "verified", "dane"] | None = key(
        None,
        "For require-tls. encrypted: any TLS; verified: the certificate is right; dane: the DNS names it (DANE).",
        shown="none",
        example='"verified"',
    )
    leg: Literal["backend", "client", "both"] = key(
        "backend", "For require-tls: the connection that it is about; of a client, verified asks for its certificate."
    )
    mode: Mode = key("enforce", "enforce; shadow: what it would do is recorded and not done; off.")
    on_error: Literal["tempfail", "reject", "continue"] = key(
        "tempfail", "What happens to a message that a condition cannot be judged of, as by a division by nothing."
    )
    text: str = key(
        "",
        "What banner and disclaimer put into the text, and what stands in place of a part that strip or replace took "
        "out; with placeholders as {sender}.",
        example='"This came from outside: {sender}"',
    )
    html: str = key("", "The same for HTML; without it, it is made of text.", example='"<p>This came from outside</p>"')
    place: Literal["top", "bottom"] | None = key(
        None, "Where people read it first, or last.", shown="banner: top; disclaimer: bottom", example='"top"'
    )
    once: bool | None = key(
        None,
        "Not where a message of the thread has it already. Who knows the text can keep it out so.",
        shown="banner: false; disclaimer: true",
        example="true",
    )
    wrap: bool = key(
        False,
        "A message without a text that may be changed (none, signed, encrypted, an invitation) becomes a part "
        "beside one.",
    )
    invitations: bool = key(False, "Texts beside an invitation are changed too; the invitation is not.")
    parts: str = key(
        "",
        "Which parts strip and replace take out: a condition on `attachment`.",
        example="\"attachment.kind == 'executable'\"",
    )
    keep: bool = key(False, "A message that is changed is kept in the quarantine as it came.")
    on_signature: Literal["edit", "skip", "refuse"] | None = key(
        None,
        "Where a signature would break: edit: it does; skip: nothing is changed; refuse: the message is.",
        shown="banner and disclaimer: skip; all others: edit",
        example='"skip"',
    )
    headers_set: dict[str, str] = key(
        {}, "Fields that headers writes, in place of those of that name.", example='{ "Reply-To" = "desk@example.net" }'
    )
    headers_remove: Words = key([], "Names of the fields that headers takes out.", example='["X-Mailer"]')
    on_missing: Literal["refuse", "defer", "continue"] | None = key(
        None,
        "With smime-sign and smime-encrypt, where the author, or a recipient, has no certificate that is good. "
        "continue: it goes as it is, and that is told.",
        shown="refuse",
        example='"defer"',
    )
    owner: str = key("", "Who answers for it, for people.", example='"security@example.net"')
    note: str = key("", "Why it is there, for people.", example='"decision of 3 March"')


class GroupTable(Table):
    """Addresses under one name, for conditions: `'board' in sender_groups`."""

    addresses: Addresses = key(
        [], "Who is in it, written as in routes; a user without a domain as `ann@`.", example='["ann@example.net"]'
    )
    file: FilePath | None = key(
        None, "File of more (UTF-8), one a line; # is a comment. It is read at a reload.", example='"board.txt"'
    )


class TLSPolicyTable(Table):
    """What is asked of TLS, by listener, sender and recipient. All that match hold, the strictest level wins."""

    level: Literal["encrypted", "verified", "dane"] = key(
        REQUIRED,
        "encrypted: any TLS; verified: the certificate is right; dane: the DNS names it (DANE). Mail for which that "
        "cannot be had is refused with 550 5.7.10.",
        example='"verified"',
    )
    leg: Literal["backend", "client", "both"] = key(
        "backend", "The connection that it is about; of a client, verified asks for its certificate."
    )
    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["submission"]')
    sender: Addresses = key([], "Senders, written as in routes; none: all.", example='["example.net"]')
    recipient: Addresses = key([], "Recipients, written as in routes; none: all.", example='["bank.example"]')
    names: Hosts = key(
        [],
        "Names, one of which the server's certificate must have, in place of the server's own.",
        example='["mail.bank.example"]',
    )
