"""Mail that the gateway has taken on itself: what is held back, and what it delivers later.

A held message and a letter are rows of the index in `state`; the octets of a message are a file beside it, which
several of them may share. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

#: What becomes of one recipient's copy: it waits for a word; it is on its way; it was delivered; the server refused it
#: for good, and it waits again; its server may have it or not, since the answer was lost; its recipient wants it
#: no more.
STATES: Final = ("held", "sending", "released", "refused", "unknown", "dropped")
DROPPED: Final = STATES[5]

#: What a message may be held for. Rules may name classes of the operator's own beside these.
SPAM, PHISHING, MALWARE, POLICY, DLP, DISCARDED, COPY, UNDELIVERED = CLASSES = (
    "spam",
    "phishing",
    "malware",
    "policy",
    "dlp",
    "discarded",
    "copy",
    "undelivered",
)
#: The class of what a filter holds, by the category of its finding.
BY_CATEGORY: Final = MappingProxyType(
    {"spam": SPAM, "sender": SPAM, "malware": MALWARE, "policy": POLICY, "protocol": POLICY}
)

#: Actions after which a message is the gateway's: the client hears 250, no backend hears of it now. With the state of a
#: recipient for whom it was taken, which is the outcome of a message that was taken for all.
TAKING: Final = MappingProxyType({"quarantine": "held", "discard": "discarded", "redirect": "redirected"})
#: Those states.
TAKEN: Final = frozenset(TAKING.values())

#: Why a letter is sent. A release has the envelope and the octets of the message as they came; the others are the
#: gateway's own mail (RFC 5321 section 4.5.5: null sender).
KINDS: Final = ("release", "redirect", "bcc", "journal", "forward", "digest", "notice", "tls-report")

#: By whom mail is held that came back; it was judged when it came, and is not judged again.
GATEWAY: Final = "gateway"
#: Of a row of the index that cannot be read whole: the state of a letter, and why a message is held.
DAMAGED: Final = "damaged"


@attrs.frozen
class Addressee:
    """One recipient of a held message or a letter.

    :ivar params: of its RCPT, as text; None for one without a value
    :ivar state: one of STATES; of a letter: waiting, sent, refused or unknown
    :ivar reply: what the server said last
    """

    address: str
    params: Mapping[str, str | None] = attrs.field(factory=dict)
    state: str = "held"
    reply: str = ""


@attrs.frozen
class Held:
    """One message that is held back, for some of its recipients or all.

    :ivar id: of the row: its time and some chance, so that ids in order are times in order
    :ivar message: reference id of the transaction that it came by
    :ivar held_as: its class
    :ivar filter: who decided: a filter, or `rules`; `reason` and `detail`: what it said, as in the record
    :ivar facts: of session and envelope, which its delivery needs again (`proxy.recall`)
    :ivar body: name of the file; `octets`: its size; `digest`: SHA-256 in hex
    :ivar key: tells a retry of the same message; "" where nothing does
    :ivar asked: when a recipient, or a first person, asked for it, 0.0 for never; `asked_by`: who
    :ivar proposed_by: the first of two persons who release it; "" for nobody
    """

    id: str
    at: float
    expires: float
    held_as: str
    message: str
    listener: str
    direction: str
    client_ip: str
    sender: str
    recipients: tuple[Addressee, ...]
    subject: str = ""
    author: str = ""
    message_id: str = ""
    filter: str = ""
    reason: str = ""
    detail: str = ""
    score: float = 0.0
    octets: int = 0
    digest: str = ""
    body: str = ""
    key: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    asked: float = 0.0
    asked_by: str = ""
    proposed_by: str = ""

    @property
    def is_damaged(self) -> bool:
        """Whether its row could not be read whole: nobody knows for whom it is."""
        return self.filter == GATEWAY and self.reason == DAMAGED

    @property
    def state(self) -> str:
        """What is to be said of all its recipients together: the state that most needs a look."""
        found = {one.state for one in self.recipients}
        return next(
            (state for state in ("unknown", "sending", "refused", "held", "released", "dropped") if state in found),
            "held",
        )


@attrs.frozen
class Letter:
    """One message on its way out.

    :ivar kind: one of KINDS
    :ivar held: id of the held message that it releases; "" for none
    :ivar state: pending: the message that it belongs to is not decided yet; waiting; committing: a server has been
        given the end of data; damaged: its row could not be read whole
    :ivar facts: of session and envelope (`proxy.recall`)
    :ivar params: of MAIL, as text
    :ivar backend: where all of it goes; "": where the routes say
    :ivar due: when it is tried next
    :ivar tries: how often it was tried
    :ivar told: what happened last, for people
    """

    id: str
    kind: str
    at: float
    expires: float
    body: str
    octets: int
    sender: str
    recipients: tuple[Addressee, ...]
    held: str = ""
    message: str = ""
    state: str = "waiting"
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    params: Mapping[str, str | None] = attrs.field(factory=dict)
    backend: str = ""
    due: float = 0.0
    tries: int = 0
    told: str = ""
