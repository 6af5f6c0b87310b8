"""What who knows another language first would write in a condition, and what stands for it here: for `hints`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: What a text and a list have.
FUNCTIONS: Final = (
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "exists",
    "all",
    "exists_one",
    "filter",
    "map",
)
TEXT_HAS: Final = "a text has .contains('x'), .startsWith('x'), .endsWith('x'), .matches('pattern') and .size()"
HAVE: Final = f"{TEXT_HAS}; a list has .exists(x, ...), .all(x, ...), .filter(x, ...) and .size()"
_CASE: Final = (
    "nothing is made small or large; write .matches('(?i)x') for a word in any case. "
    "Addresses, domains and names of attachments are in lower case already"
)
PATTERN: Final = "write .matches('x'), and .matches('(?i)x') for any case"
ENTRY: Final = "write recipients.exists(r, r == 'x')"
COUNT: Final = "write .size(), as recipients.size() > 10"
EMPTY: Final = "what is not there is empty: write subject == '' for a text, recipients.size() == 0 for a list"
_CHANGED: Final = "a text is looked at as it is and not changed; write .matches('pattern')"
CLIENT: Final = "the client's address is client_ip, a text: client_ip == '192.0.2.1' or client_ip.startsWith('10.')"
_BODY: Final = (
    "words of the text are found by [[dictionaries]] and [[detectors]]: matches.exists(m, m.detector == 'name'); "
    "see docs/dlp.md"
)
_CLOCK: Final = "rules know no time of day and no date"
_PROVED: Final = "filters find that: findings.exists(f, f.filter == 'dmarc' && f.reason == '...'); see docs/filters.md"
_MEMBER: Final = "write 'board' in sender_groups, user_groups or groups_of_recipients"
OF_HEADER: Final = "write header('X-Mailer').exists(h, h.contains('x')); there may be several fields of a name"
OCTETS: Final = "a size is a whole number of octets, without unit and quotes: size > 10000000"


def _each(hint: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), hint)


#: Words of other languages, in lower case and without `_`, and what stands for them here.
WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **_each(
            _CASE, "lower tolower lowerascii tolowercase lcase casefold upper toupper upperascii touppercase icase"
        ),
        **_each("write .startsWith('x')", "startswith beginswith hasprefix prefix starts begins"),
        **_each("write .endsWith('x')", "endswith hassuffix suffix ends"),
        **_each(
            "write .matches('a|b') for a part of a text, or x in ['a', 'b']",
            "containsany containsall anyof oneof includesany inlist isin",
        ),
        **_each("write .contains('x')", "includes include has indexof find substringof strpos instr"),
        **_each(PATTERN, "match search regex regexp rlike like ilike test pcre matchesregex glob fnmatch findall"),
        **_each(COUNT, "count length len cardinality"),
        **_each("write .exists(x, ...), as recipients.exists(r, r == 'x')", "any some anymatch existsany"),
        **_each("write .all(x, ...), as recipients.all(r, r == 'x')", "every each allmatch"),
        **_each(EMPTY, "isempty empty isnull none null nil undefined exists isset defined isblank notempty"),
        **_each(
            _CHANGED, "trim strip replace split substring substr slice join reverse concat charat sub gsub left right"
        ),
        **_each("write it small: true", "true yes"),
        **_each("write it small: false", "false no"),
        **_each(
            CLIENT,
            "ip clientip remoteip sourceip srcip remoteaddr clientaddr peer cidr inipairange iniprange inrange "
            "innetwork insubnet ipinrange client remote",
        ),
        **_each(_BODY, "body text content html plain bodytext message"),
        **_each(_CLOCK, "hour time now date today weekday dayofweek day timestamp gettime"),
        **_each(_PROVED, "spf dkim dmarc arc"),
        **_each("there is no such fact; findings has what filters found", "country geo geoip asn virus isspam spam"),
        **_each(_MEMBER, "ismember memberof ismemberof group groups member ingroup recipientgroup sendergroup"),
        **_each(OF_HEADER, "headers header getheader headervalue fields"),
        **_each(
            "write sender for the envelope, authors for the field From: authors.exists(a, a == 'x')",
            "from mailfrom envelopefrom envfrom returnpath author fromaddress senderaddress",
        ),
        **_each("write sender_domain for the envelope, author_domains for the field From", "fromdomain authordomain"),
        **_each(
            "write recipients.exists(r, r == 'x') for the envelope, header('To') for the field",
            "to rcpt rcptto cc bcc envelopeto toaddress",
        ),
        **_each("write recipient_domains.exists(d, d == 'x'), or sender_domain", "domain todomain rcptdomain"),
        **_each("write attachments.exists(a, a.name.endsWith('.x'))", "attachment filename filenames files file"),
        **_each("write links.exists(l, l.host == 'x')", "url urls link uri uris"),
        **_each("write 'card' as a detector: matches.exists(m, m.detector == 'card')", "detector detect dictionary"),
        **_each("write tls != ''", "istls secure encrypted isencrypted"),
        **_each("write user != ''", "authenticated isauthenticated auth loggedin username"),
        **_each("write direction == 'in' or direction == 'out'", "inbound outbound incoming outgoing"),
    }
)
#: Between two values.
INFIX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "=~": PATTERN,
        "~": PATTERN,
        "!~": "write !subject.matches('x')",
        "=": "write == to compare",
        "<>": "write !=",
        "and": "write && for and",
        "or": "write || for or",
        "xor": "write != between two that are true or false",
        "not": "write ! for not, as !subject.contains('x') and !(sender in ['x'])",
        "is": "write ==; " + EMPTY,
        "eq": "write ==",
        "equals": "write ==",
        "ne": "write !=",
        "gt": "write >",
        "ge": "write >=",
        "lt": "write <",
        "le": "write <=",
        "contains": "write .contains('x'), as subject.contains('x')",
        "includes": "write .contains('x'), as subject.contains('x')",
        "startswith": "write .startsWith('x'), as subject.startsWith('x')",
        "endswith": "write .endsWith('x'), as subject.endsWith('x')",
        "matches": PATTERN,
        "like": PATTERN,
        "ilike": PATTERN,
        "regex": PATTERN,
        "if": "here stands the condition alone; action says what becomes of the mail",
        "then": "here stands the condition alone; action says what becomes of the mail",
        ";": "leave it out: a condition has no end sign",
        "#": "a comment begins with //",
        "$": "write names without signs before them",
        "@": "write names without signs before them, and texts in quotes",
        "%": "write names without signs before them",
        "`": "a text stands in ' or \"",
        "&": "write && for and",
        "|": "write || for or",
        ")": "there is one ) too many",
        "]": "there is one ] too many",
        "}": "of several write ['a', 'b']",
        ",": "of several write ['a', 'b'], in square brackets",
    }
)
UNITS: Final = re.compile(r"[kKmMgG](?:i?[bB])?|[bB]ytes?|octets", re.ASCII)
WORD_QUOTES: Final = "“”„‟«»‘’‚‛"
#: Fields as others call them.
FIELDS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Attachment": {
            **_each("octets is its size", "size length bytes"),
            **_each("name is its name, in lower case", "filename file title"),
            **_each("write a.name.endsWith('.exe'), or ask what it really is: a.kind == 'executable'", "extension ext"),
            **_each("kind is what it really is, media_type what the message says", "type mime mimetype contenttype"),
            **_each("digest is SHA-256 in hex", "hash sha256 md5 checksum"),
            **_each(
                "flags has that: 'encrypted' in a.flags, 'macro' in a.flags", "encrypted isencrypted macro hasmacro"
            ),
        },
        "Link": {
            **_each("url is the whole, host its host", "href uri address hostname target"),
            **_each("shown is what is seen in its place", "text label"),
        },
        "Match": {
            **_each("detector is its name", "name type"),
            **_each("samples has some, masked", "value text values"),
            **_each("write m.confidence == 'high'", "level certainty"),
            **_each("count is how often, distinct how many different ones", "hits number total"),
        },
        "Finding": {
            **_each("filter is who found it", "name source"),
            **_each("reason is what was found", "code rule type"),
        },
        "Fingerprint": _each("share is how much of it is there, from 0.0 to 1.0", "part percent similarity score"),
    }
)
