"""Registries below countries: domains of two labels, such as co.uk, under which everybody can have a domain.

Taken from the ICANN part of Mozilla's Public Suffix List (https://publicsuffix.org/list/, state of February 2023):
the countries where most names are registered one level down, and their kinds of holders. It is meant to catch a slip
in `local_domains` and no more: states and cities (k12.ca.us, kawasaki.jp), small countries and what companies let
others register (github.io) are not in it, and it need not follow every change of the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SECOND_LEVEL = {
    "ae": "ac co gov mil net org sch",
    "ar": "com edu gob gov int mil net org tur",
    "au": "asn com edu gov id net org",
    "bd": "ac com edu gov mil net org",
    "br": "adv art com edu eng gov ind inf jus leg mil net org",
    "cn": "ac com edu gov mil net org",
    "co": "com edu gov mil net nom org",
    "cr": "ac co ed fi go or sa",
    "cy": "ac com gov net org",
    "do": "com edu gob gov net org",
    "ec": "com edu fin gob gov info net org",
    "eg": "com edu eun gov mil net org sci",
    "fj": "ac com gov net org",
    "gh": "com edu gov mil org",
    "gr": "com edu gov net org",
    "gt": "com edu gob ind mil net org",
    "hk": "com edu gov idv net org",
    "hu": "co org",
    "id": "ac biz co desa go mil my net or sch web",
    "il": "ac co gov idf k12 muni net org",
    "in": "ac co edu firm gen gov ind mil net nic org res",
    "jm": "com edu gov net org",
    "jp": "ac ad co ed go gr lg ne or",
    "ke": "ac co go info me mobi ne or sc",
    "kh": "com edu gov net org",
    "kr": "ac co es go hs kg mil ms ne or pe re sc",
    "lb": "com edu gov net org",
    "lk": "ac com edu gov ltd net org",
    "ma": "ac co gov net org press",
    "mm": "com edu gov net org",
    "mt": "com edu net org",
    "mx": "com edu gob net org",
    "my": "com edu gov mil name net org",
    "ng": "com edu gov mil mobi name net org sch",
    "ni": "ac co com edu gob net nom org",
    "np": "com edu gov mil net org",
    "nz": "ac co cri geek gen govt health iwi kiwi maori mil net org parliament school",
    "pe": "com edu gob mil net nom org",
    "pg": "ac com gov net org",
    "ph": "com edu gov mil net ngo org",
    "pk": "com edu fam gob gov net org web",
    "pl": "biz com edu gov info mil net org",
    "pt": "com edu gov net org",
    "py": "com coop edu gov mil net org",
    "ro": "com org info nom store",
    "rs": "ac co edu gov in org",
    "sa": "com edu gov med net org pub sch",
    "sg": "com edu gov net org per",
    "sv": "com edu gob org red",
    "th": "ac co go in mi net or",
    "tr": "av bel biz com dr edu gen gov info k12 mil name net org pol tel tv web",
    "tw": "club com ebiz edu game gov idv mil net org",
    "tz": "ac co go hotel info me mil mobi ne or sc tv",
    "ua": "com edu gov in net org",
    "ug": "ac co com go ne or org sc",
    "uk": "ac co gov ltd me net nhs org plc police sch",
    "uy": "com edu gub mil net org",
    "uz": "co com net org",
    "ve": "co com edu gob gov info mil net org web",
    "vn": "ac biz com edu gov health info name net org pro",
    "za": "ac co edu gov law mil net nom org school web",
    "zm": "ac co com edu gov net org",
    "zw": "ac co gov mil org",
}

#: Top-level domain to the second labels that are registries.
SECOND_LEVEL: Mapping[str, frozenset[str]] = MappingProxyType(
    {top: frozenset(labels.split()) for top, labels in _SECOND_LEVEL.items()}
)


def is_registry(domain: str) -> bool:
    """True for a domain of two labels (in normal form) that is a registry."""
    label, _, top = domain.partition(".")
    return label in SECOND_LEVEL.get(top, ())
