"""The tables of the configuration file that say what becomes of which mail; see `schema`."""

from __future__ import annotations

from typing import Literal

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import Reason, Words

Mode = Literal["enforce", "shadow", "off"]


class RuleTable(Table):
    """One rule: what becomes of mail that a condition is true of. They are judged in the order of the file."""

    name: Reason = key(REQUIRED, "Its name in log and pages.", example='"no-programs"')
    when: str = key("true", "Condition that must be true; docs/policy.md has the language.", example='"size > 1000000"')
    unless: str = key("false", "Condition that must not be true.", example="\"user == 'ann@example.net'\"")
    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["mx"]')
    direction: Literal["in", "out"] | None = key(
        None, "in: listeners of role mx; out: those of role submission.", shown="both", example='"out"'
    )
    action: Literal[
        "note",
        "accept",
        "tag",
        "defer",
        "reject",
        "banner",
        "disclaimer",
        "strip",
        "replace",
        "headers",
    ] = key(
        REQUIRED,
        "note: it is recorded; accept: no rule behind it is judged; tag: subject_tag and headers are put on it; defer: "
        "the client is to come again; reject. The others change mail: docs/edits.md.",
        example='"reject"',
    )
    reply: str = key(
        "",
        "What the client hears where it is refused: code and enhanced code where they are unusual, and text.",
        shown="Refused by policy",
        example='"550 5.7.1 Programs are not accepted by mail"',
    )
    subject_tag: str = key("", "Words that are put before the subject.", example='"[EXTERNAL]"')
    headers: dict[str, str] = key(
        {},
        "Fields that are added, with names that begin with X-. What comes with such a field loses it.",
        example='{ "X-Origin" = "outside" }',
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
    keep: bool = key(False, "The message is to be kept as it came.")
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
    owner: str = key("", "Who answers for it, for people.", example='"security@example.net"')
    note: str = key("", "Why it is there, for people.", example='"decision of 3 March"')
