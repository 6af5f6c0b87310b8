"""What is known of one sender from the mail that it sent before."""

from __future__ import annotations

import attrs


@attrs.frozen
class SenderRecord:
    """One sender.

    :ivar kind: address, network, name (the house of a host), sender (a domain that SPF proves), dkim; `name`: which one
    :ivar standing: known, suspect, or "" where the sample says nothing
    :ivar words: bad points of all, and what for
    """

    kind: str
    name: str
    standing: str
    sample: float
    bad: float
    words: str
