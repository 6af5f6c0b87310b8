"""The filters that `filter_set = "default"` puts to work: what a newcomer can switch on without knowing any of them.

They need no engine and no list in the network. Only programs, what is made to deceive and whom somebody put on a list
are refused; spam is marked;
what the DNS says of senders is recorded, without effect on the decision (shadow), and written into the message for its
reader's programs (`authres`). A table of `[[filters]]` with the same name takes the
place of its entry here.
"""

from __future__ import annotations

from typing import Final, Literal

#: Name and mode, in the order in which they run.
DEFAULT_SET: Final[tuple[tuple[str, Literal["enforce", "shadow"]], ...]] = (
    ("lists", "enforce"),
    ("helo", "shadow"),
    ("iprev", "shadow"),
    ("helo-dns", "shadow"),
    ("spf", "shadow"),
    ("dkim", "shadow"),
    ("arc", "shadow"),
    ("dmarc", "shadow"),
    ("reputation", "enforce"),
    ("authres", "enforce"),
    ("structure", "enforce"),
    ("attachments", "enforce"),
    ("links", "enforce"),
    ("people", "enforce"),
    ("wording", "enforce"),
)
