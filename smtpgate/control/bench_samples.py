"""Messages to try first: a clean one, one that each spam filter knows, and one that data loss prevention should find.

Nothing in them is anybody's: the card number is the one that card companies give for tests, and the addresses are
reserved (RFC 2606).
"""

from __future__ import annotations

from typing import Final

import attrs

_GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@attrs.frozen
class Sample:
    """A message to try.

    :ivar words: what it is
    :ivar direction: in or out: on which kind of listener it makes sense
    """

    name: str
    words: str
    direction: str
    text: str


def _message(subject: str, body: str) -> str:
    return (
        "From: Ann <ann@example.org>\n"
        "To: Bob <bob@example.net>\n"
        f"Subject: {subject}\n"
        "Date: Wed, 07 Jan 2026 12:00:00 +0000\n"
        "Message-ID: <sample@example.org>\n"
        "MIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\n"
        f"\n{body}\n"
    )


SAMPLES: Final = (
    Sample(
        "clean",
        "a short note that nothing should mind",
        "in",
        _message("Lunch on Thursday", "Hello Bob,\n\nshall we have lunch on Thursday at noon?\n\nAnn"),
    ),
    Sample(
        "spam",
        "the text by which spam filters are tested (GTUBE)",
        "in",
        _message("You have won", f"This is a test of spam filters.\n\n{_GTUBE}"),
    ),
    Sample(
        "dlp",
        "a card number for tests, and the word for it",
        "out",
        _message(
            "Payment", "Please charge my credit card 4111 1111 1111 1111,\nvalid until 12/29, security code 123.\n\nAnn"
        ),
    ),
)
BY_NAME: Final = {one.name: one for one in SAMPLES}
