"""What is odd about a message: the value, and one sentence for a person about each kind.

`mime` and `mailbox` report with it, whoever judges a message reads it, and the explain page shows the sentences. An
anomaly is a fact and no verdict: many honest programs write one or two of them. Most kinds name a place where two
programs would read two different things; those readings are then parts of their own (`mime.Part.reading`).

Kinds are stable words and never change their meaning: rules and lists use them.

RFC 2045 to 2047, RFC 2231, RFC 5322 (what is regular).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


@attrs.frozen
class Anomaly:
    """Something about the structure that two programs could read differently, or that no program writes.

    :ivar kind: one of `ANOMALIES`
    :ivar where: number of the part, as "1.2"; "" for the message
    :ivar detail: what was seen, at most 200 characters
    """

    kind: str
    where: str = ""
    detail: str = ""


#: Every kind, with what a person needs to know of it.
ANOMALIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Lines and octets
        "bare-cr": "a carriage return stands alone; some programs end a line there and see other parts",
        "bare-lf": "some lines end in CRLF and some in LF alone; some programs do not end a line there",
        "nul": "NUL octets, which some programs leave out and others stop at",
        # Header sections
        "broken-header-line": "a line of a header is no field; some programs skip it, some end the header there",
        "blank-header-line": "a line of blanks in a header section; some programs take it for the end of the header",
        "no-header-end": "the empty line after a header section is missing, so that text may count as header",
        "duplicate-field": "a field stands twice that may stand once; programs show one or the other",
        "no-mime-version": "parts are declared without MIME-Version, which some programs ask for",
        # Content-Type and its like
        "duplicate-content-type": "two Content-Type fields that differ; programs follow one or the other",
        "duplicate-encoding": "two transfer encodings; programs decode by one or the other",
        "duplicate-disposition": "two Content-Disposition fields that differ",
        "bad-content-type": "the media type is malformed; some programs mend it, some take it for plain text",
        "duplicate-parameter": "a parameter is given twice with different values",
        "broken-parameter": "a parameter is malformed, so that programs read different values",
        "too-many-parameters": "more parameters than are looked at",
        # Multiparts
        "no-boundary": "a multipart without a boundary",
        "duplicate-boundary": "the boundary can be read in two ways, and both occur in the body",
        "long-boundary": "a boundary longer than the standard allows",
        "boundary-reused": "a multipart has the boundary of one around it",
        "boundary-junk": "a line begins with a boundary and goes on; some programs begin a part there",
        "no-parts": "a multipart whose boundary does not occur",
        "no-close": "the closing line of a multipart is missing",
        "parts-after-close": "parts follow after the closing line of their multipart",
        "hidden-preamble": "what looks like a part or file stands before the first part, where few programs look",
        "hidden-epilogue": "what looks like a part or file stands after the last part, where few programs look",
        "encoded-multipart": "a multipart with a transfer encoding, which the standard forbids",
        # Messages in messages
        "encoded-message": "an attached message with a transfer encoding; some programs decode it and some do not",
        "part-in-report": "a delivery report or the like with fields of a part in it, which some read as a message",
        "external-body": "the content is to be fetched from elsewhere",
        "partial-message": "one piece of a message that the reader's program puts together",
        # Transfer encodings
        "unknown-encoding": "a transfer encoding that is not known; programs guess",
        "base64-padding": "padding in the middle of base64; some programs stop there and some go on",
        "base64-foreign": "characters that are not base64; some programs skip them and some stop",
        "base64-unpadded": "base64 that ends in the middle of a group",
        "quoted-printable-broken": "quoted-printable with escapes that are none",
        "uuencode-in-text": "a uuencoded file in the text; some programs show it as an attachment",
        "yenc-in-text": "a yEnc file in the text; some programs show it as an attachment",
        # Addresses
        "duplicate-address-field": "From, Sender, Reply-To, To or Cc stands twice; programs show one or the other",
        "two-addresses": "one mailbox with two addresses; programs take one or the other",
        "broken-address": "an address that breaks the grammar, so that programs read different addresses",
        "several-at-signs": "an address with more than one @ outside quotes",
        "encoded-address": "an address in an encoded word; some programs decode before they look for it",
        "control-in-address": "a control character in an address",
        "group-of-authors": "an author field with a group of addresses, which few programs read",
        "too-many-addresses": "more addresses than are looked at",
    }
)
