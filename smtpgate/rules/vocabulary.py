"""The facts that conditions speak of, with their types, and the step of a message at which each is known.

A step knows what the steps before it know, but for `recipient`: there is one at a time, and later there are all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

#: In the order of a message; the names are those of the stages at which filters are asked.
STEPS: Final = ("mail", "rcpt", "data", "header", "end")


@attrs.frozen
class Fact:
    """One thing that is known.

    :ivar kind: string, int, double, bool, a record of `RECORDS`, or list(...) of one
    :ivar about: for the documents
    :ivar step: from when on it is known; "rcpt" means at that step only
    """

    name: str
    kind: str
    about: str
    step: str


def _facts(step: str, *rows: tuple[str, str, str]) -> tuple[Fact, ...]:
    return tuple(Fact(name, kind, about, step) for name, kind, about in rows)


FACTS: Final = (
    *_facts(
        "mail",
        ("direction", "string", "in for listeners of role mx, out for those of role submission"),
        ("listener", "string", "name of the listener"),
        ("client_ip", "string", "address of the client"),
        ("helo", "string", "what the client calls itself"),
        ("tls", "string", "TLS version of the client's connection, as TLSv1.3; empty where it is in clear"),
        ("tls_cipher", "string", "its cipher, as TLS_AES_256_GCM_SHA384"),
        ("tls_client_name", "string", "name in the client's certificate, where that was verified; else empty"),
        ("user", "string", "who logged in; empty where nobody did"),
        ("traffic_class", "string", "trusted, known, unknown or suspect"),
        ("sender", "string", "address of the envelope, in lower case; empty for the null sender"),
        ("sender_domain", "string", "its domain"),
        ("sender_groups", "list(string)", "names of the groups that the sender is in"),
        ("user_groups", "list(string)", "names of the groups that the user is in"),
    ),
    *_facts(
        "rcpt",
        ("recipient", "string", "the recipient that is asked about, in lower case"),
        ("recipient_domain", "string", "its domain"),
        ("recipient_groups", "list(string)", "names of the groups that it is in"),
    ),
    *_facts(
        "data",
        ("recipients", "list(string)", "recipients that were accepted, in lower case"),
        ("recipient_domains", "list(string)", "their domains, each once"),
        ("outside_domains", "list(string)", "those of these domains that are not in local_domains"),
        ("is_mixed", "bool", "true where some recipients are in local_domains and some are not"),
        ("lookalike_of", "list(string)", "domains that our users write to, of which a recipient's is a look-alike"),
        ("groups_of_recipients", "list(string)", "names of the groups that one of them is in, each once"),
    ),
    *_facts(
        "header",
        ("subject", "string", "the subject, decoded"),
        ("authors", "list(string)", "addresses in From, in lower case"),
        ("author_domains", "list(string)", "their domains, each once"),
        ("visible_recipients", "int", "addresses in To and Cc, each once"),
    ),
    *_facts(
        "end",
        ("size", "int", "octets of the message"),
        ("attachments", "list(Attachment)", "files, those in archives too"),
        ("links", "list(Link)", "where the message leads to"),
        ("fingerprints", "list(Fingerprint)", "registered documents of which some is in the message"),
        ("rows", "list(RowMatch)", "registered tables of which rows are in the message"),
        ("findings", "list(Finding)", "what filters before have found, those in shadow left out"),
        ("score", "double", "sum of the scores of these"),
        ("is_inspected", "bool", "false where a limit or a lock kept something from being looked at"),
        ("matches", "list(Match)", "what detectors and dictionaries found in its texts; see dlp.md"),
        ("unread", "list(Unread)", "what could not be read, so that it was not searched"),
        ("is_read", "bool", "true where nothing was left unread"),
    ),
)

#: Facts that name groups of the configuration.
GROUPED: Final = frozenset({"sender_groups", "user_groups", "recipient_groups", "groups_of_recipients"})

#: Facts that are looked up in the memory of whom our users write to.
REMEMBERED: Final = frozenset({"lookalike_of"})

#: Facts that are there once the content was examined.
EXAMINED: Final = frozenset({"attachments", "links", "is_inspected"})

#: Facts that are there once what is registered was looked for in the content.
REGISTERED: Final = frozenset({"fingerprints", "rows"})
#: Facts that are there once its texts were searched.
SEARCHED: Final = frozenset({"matches", "unread", "is_read"})

#: A function that gives the values of a header field, from the top, unfolded; none where there is no such field.
HEADER: Final = Fact("header", "list(string)", "values of the field of that name, as header('X-Mailer')", "header")

#: Fields of each record, by name: kind and what it is.
RECORDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = MappingProxyType(
    {
        "Attachment": MappingProxyType(
            {
                "name": ("string", "its name, in lower case; empty where it has none"),
                "kind": ("string", "what it really is, as executable, script, archive, office, pdf, image"),
                "detail": ("string", "a word on the kind, as PE, zip, docm"),
                "media_type": ("string", "what the message says that it is"),
                "flags": ("list(string)", "what is odd about it, as encrypted, macro, double-extension"),
                "octets": ("int", "its size"),
                "digest": ("string", "SHA-256 in hex"),
                "depth": ("int", "0 for a part of the message, 1 for what is in an archive there, and so on"),
                "is_inline": ("bool", "it is shown in the text"),
            }
        ),
        "Link": MappingProxyType(
            {
                "url": ("string", "as a browser reads it"),
                "scheme": ("string", "as https"),
                "host": ("string", "its host"),
                "domain": ("string", "registered domain of the host"),
                "shown": ("string", "text that is seen in its place"),
                "source": ("string", "where it stood: text, html, header, pdf, qr, ..."),
            }
        ),
        "Fingerprint": MappingProxyType(
            {
                "name": ("string", "name that it was registered under"),
                "share": ("double", "how much of it is in the message, from 0.0 to 1.0"),
                "longest": ("int", "words of the longest part that stands there in one go, about"),
            }
        ),
        "RowMatch": MappingProxyType(
            {
                "table": ("string", "name that it was registered under"),
                "rows": ("int", "how many of its rows, up to 10,000"),
                "columns": ("list(string)", "names of the columns whose values stood there"),
            }
        ),
        "Match": MappingProxyType(
            {
                "detector": ("string", "name of the detector or dictionary"),
                "group": ("string", "payment, bank, identity, tax, health, contact, secret, custom or dictionary"),
                "country": ("string", "as DE or US; EU; empty where there is none"),
                "confidence": ("string", "low, medium or high: there is a match for each, of what is at least so sure"),
                "count": ("int", "how often something was found"),
                "distinct": ("int", "how many different ones"),
                "score": ("double", "of a dictionary the sum of weights"),
                "paths": ("list(string)", "parts and files that it was found in"),
                "samples": ("list(string)", "some of them, masked; of dictionaries terms"),
            }
        ),
        "Unread": MappingProxyType(
            {
                "path": ("string", "part or file; empty for the message as a whole"),
                "why": ("string", "encrypted, unsupported, broken, too-big, too-deep, too-many, late, empty-scan"),
            }
        ),
        "Finding": MappingProxyType(
            {
                "filter": ("string", "who found it"),
                "reason": ("string", "what, as a stable word"),
                "action": ("string", "what it proposes"),
                "category": ("string", "spam, sender, malware, policy or protocol"),
                "score": ("double", "its weight"),
            }
        ),
    }
)


def known_at(step: str) -> tuple[Fact, ...]:
    """What conditions may speak of at a step."""
    last = STEPS.index(step)
    return tuple(
        fact for fact in FACTS if (fact.step == step if fact.step == "rcpt" else STEPS.index(fact.step) <= last)
    )
