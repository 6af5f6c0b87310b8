"""What proves a candidate: check digits, dates, ranges. Most are python-stdnum's, loaded when they are first needed.

`check_of` gives a function from the characters of a candidate without its separators, letters in capitals, to whether
it holds. Such a function never raises.

ISO/IEC 7812 (cards), ISO 13616 (IBAN), ISO 9362 (BIC), ICAO Doc 9303 (machine readable documents).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Final

Check = Callable[[str], bool]

#: First digits and lengths of the card schemes, most exact first.
SCHEMES: Final = (
    ("amex", re.compile(r"3[47]"), (15,)),
    ("visa", re.compile(r"4"), (13, 16, 19)),
    ("mastercard", re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    ("discover", re.compile(r"6011|65|64[4-9]"), (16, 17, 18, 19)),
    ("unionpay", re.compile(r"62"), (16, 17, 18, 19)),
    ("jcb", re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    ("diners", re.compile(r"3(?:0[0-5]|095|[689])"), (14, 16, 19)),
    ("mir", re.compile(r"220[0-4]"), (16, 17, 18, 19)),
    ("maestro", re.compile(r"50|5[6-9]|6[0-9]"), (12, 13, 14, 15, 16, 17, 18, 19)),
)
#: Lengths of IBANs by country (SWIFT's IBAN registry).
IBAN_LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        found[:2]: int(found[2:])
        for found in re.findall(
            r"[A-Z0-9]+",
            "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
            "EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 "
            "JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 "
            "NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 "
            "TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30",
        )
    }
)
_NUMBERS: Final = {ord("A") + place: str(10 + place) for place in range(26)}
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")
#: Products in the group of the turns and flips of a pentagon, and what Verhoeff does to a digit by its place.
_PRODUCTS: Final = tuple(
    tuple((one + other) % 5 if one < 5 and other < 5 else (one + other) % 5 + 5 if one < 5
          else (one - other) % 5 + (5 if other < 5 else 0) for other in range(10)) for one in range(10)
)  # fmt: skip


def _turns() -> tuple[tuple[int, ...], ...]:
    first = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    rows = [tuple(range(10))]
    while len(rows) < 8:
        rows.append(tuple(rows[-1][first[digit]] for digit in range(10)))
    return tuple(rows)


_TURNS: Final = _turns()
#: Characters of VAT numbers behind the country.
_VAT_LENGTHS: Final = {
    "AT": (9,), "BE": (10,), "BG": (9, 10), "CY": (9,), "CZ": (8, 9, 10), "DE": (9,), "DK": (8,), "EE": (9,),
    "EL": (9,), "ES": (9,), "FI": (8,), "FR": (11,), "HR": (11,), "HU": (8,), "IE": (8, 9), "IT": (11,), "LT": (9,
    12),
    "LU": (8,), "LV": (11,), "MT": (8,), "NL": (12,), "PL": (10,), "PT": (9,), "RO": tuple(range(2, 11)), "SE": (12,),
    "SI": (8,), "SK": (10,),
}  # fmt: skip
_COUNTRIES: Final = frozenset(
    re.findall(
        r"[A-Z0-9]+",
        "AD AE AF AG AI AL AM AO AR AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA "
        "CD CF CG CH CI CK CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ER ES ET FI FJ FK FM FO "
        "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT "
        "JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH "
        "MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NG NI NL NO NP NR NU NZ OM PA PE PF PG PH "
        "PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SK SL SM SN SO SR SS ST SV SX SY "
        "SZ TC TD TG TH TJ TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA "
        "ZM ZW",
    )
)


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1, Annex B."""
    digits = value.encode("ascii")
    total = sum(digits[::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - 48 * len(digits)
    return total % 10 == 0


def scheme_of(digits: str) -> str:
    """The card scheme that numbers of that length and beginning belong to; "" for none."""
    for name, first, lengths in SCHEMES:
        if len(digits) in lengths and first.match(digits):
            return name
    return ""


def card(value: str) -> bool:
    """A number that a scheme gives out, and that is no row of one digit."""
    return luhn(value) and len(set(value)) > 1 and scheme_of(value) != ""


def iban(value: str) -> bool:
    """Length of the country, its own structure, and 97-10."""
    if len(value) != IBAN_LENGTHS.get(value[:2], 0) or not value[2:4].isdigit():
        return False
    if int((value[4:] + value[:4]).translate(_NUMBERS)) % 97 != 1:
        return False
    held = _stdnum("iban")
    return held is None or held(value)


def eu_vat(value: str) -> bool:
    """As long as those of its country, and right by its rules."""
    if len(value) - 2 not in _VAT_LENGTHS.get(value[:2], ()):
        return False
    held = _stdnum("eu.vat")
    return held is not None and held(value)


def bic(value: str) -> bool:
    """Four letters of the bank, a country, and two of the place."""
    return value[:4].isalpha() and value[4:6] in _COUNTRIES and value[6] not in "01" and value[7] != "O"


def aba(value: str) -> bool:
    """US routing number: its district, and 3-7-1."""
    first = int(value[:2])
    if not (1 <= first <= 12 or 21 <= first <= 32 or 61 <= first <= 72 or first == 80):
        return False
    return sum(int(one) * by for one, by in zip(value, (3, 7, 1) * 3, strict=True)) % 10 == 0


def ssn(value: str) -> bool:
    """US social security number: areas, groups and serials that are given out, and none known from advertising."""
    if value in ("078051120", "219099999", "457555462", "123456789", "987654321") or len(set(value)) == 1:
        return False
    area, group, serial = value[:3], value[3:5], value[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def itin(value: str) -> bool:
    """US taxpayer number of people without a social security number."""
    group = int(value[3:5])
    return value[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def ein(value: str) -> bool:
    """US number of an employer: prefixes that are given out."""
    never = ("00", "07", "08", "09", "17", "18", "19", "28", "29", "49", "69", "70", "78", "79", "89", "96", "97")
    return value[:2] not in never and len(set(value)) > 2


def npi(value: str) -> bool:
    """US provider of health care: Luhn with the prefix of the country and of health."""
    return value[0] in "12" and luhn("80840" + value)


def dea(value: str) -> bool:
    """US registration to prescribe: two letters, seven digits, the last of which checks."""
    digits = [int(one) for one in value[2:]]
    total = digits[0] + digits[2] + digits[4] + 2 * (digits[1] + digits[3] + digits[5])
    return value[0] in "ABCDEFGHJKLMPRSTUX" and total % 10 == digits[6]


def mbi(value: str) -> bool:
    """US Medicare number: which places are letters and which digits, and letters that could be mistaken are out."""
    return re.fullmatch(r"[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d"
                        r"[AC-HJKMNP-RT-Y]{2}\d\d", value) is not None  # fmt: skip


def nino(value: str) -> bool:
    """UK national insurance number: prefixes that are given out."""
    never = ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
    return re.fullmatch(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]", value) is not None and value[:2] not in never


def svnr(value: str) -> bool:
    """German pension insurance number: a day of birth, a letter, and a check digit."""
    if not (1 <= int(value[2:4]) <= 81 and 1 <= int(value[4:6]) <= 12):
        return False
    digits = value[:8] + f"{ord(value[8]) - 64:02}" + value[9:11]
    factors = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    total = sum(sum(divmod(int(one) * by, 10)) for one, by in zip(digits, factors, strict=True))
    return total % 10 == int(value[11])


def hetu(value: str) -> bool:
    """Finnish identity code; its middle sign, which is no letter in the last century, says in which one."""
    held = _stdnum("fi.hetu")
    return held is not None and held(value if len(value) == 11 else f"{value[:6]}-{value[6:]}")


def hu_anum(value: str) -> bool:
    """Hungarian tax number: eight digits that check, and behind them a kind and an area where all is written."""
    held = _stdnum("hu.anum")
    return held is not None and held(value[:8]) and (len(value) == 8 or value[8] in "12345")


def _mrz_digit(text: str) -> int:
    values = (int(one, 36) if one != "<" else 0 for one in text)
    return sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10


def de_card(value: str) -> bool:
    """German identity card or passport: nine characters without vowels, and a check digit."""
    return re.fullmatch(r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d", value) is not None and _mrz_digit(
        value[:9]
    ) == int(value[9])


def mrz(value: str) -> bool:
    """The second line of a passport: number, birth and end, each with its check digit, and one over all."""
    line = value.upper()
    places = ((0, 9), (13, 19), (21, 27))
    if any(not line[end].isdigit() or _mrz_digit(line[start:end]) != int(line[end]) for start, end in places):
        return False
    whole = line[0:10] + line[13:20] + line[21:43]
    return line[43].isdigit() and _mrz_digit(whole) == int(line[43])


def gb_account(value: str) -> bool:
    """Sort code and account number: no row of one digit."""
    return len(set(value)) > 3


def aadhaar(value: str) -> bool:
    """Indian Aadhaar: no 0 or 1 first, the same from behind as from before never, and Verhoeff's digit."""
    if value[0] in "01" or value == value[::-1] or len(set(value)) <= 2:
        return False
    held = 0
    for place, digit in enumerate(reversed(value)):
        held = _PRODUCTS[held][_TURNS[place & 7][ord(digit) - 48]]
    return held == 0


def pan_in(value: str) -> bool:
    """Indian PAN: the fourth letter says what kind of holder."""
    return re.fullmatch(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", value) is not None and value[5:9] != "0000"


def passport(value: str) -> bool:
    """Digits enough, and not all alike."""
    return sum(one.isdigit() for one in value) >= 6 and len(set(value)) > 3


def phone(value: str) -> bool:
    """ITU-T E.164: 8 to 15 digits, a country code that there is, and not all alike."""
    return 8 <= len(value) <= 15 and value[0] != "0" and len(set(value)) > 2


_PLACEHOLDER: Final = re.compile(
    r"example|sample|placeholder|your[_-]?|xxxx|\*\*\*|\.\.\.|<|>|changeme|redacted|dummy|1234567890|abcdefgh|0{8}",
    re.IGNORECASE,
)


def random(value: str) -> bool:
    """As a machine makes secrets: many different characters, and none of the words that stand in for one."""
    if _PLACEHOLDER.search(value) is not None:
        return False
    tail = value[-32:]
    counts = Counter(tail)
    entropy = -sum(count / len(tail) * math.log2(count / len(tail)) for count in counts.values())
    return entropy >= 2.8


def password(value: str) -> bool:
    """What stands behind "password=" and is none of the words that stand in for one."""
    said = re.split(r"[:=]\s*", value, maxsplit=1)[-1].strip("\"' ")
    never = ("password", "passwort", "none", "null", "true", "false", "secret", "string", "required", "undefined")
    is_word = said.isalpha() and said.islower()
    return (
        len(said) >= 6
        and _PLACEHOLDER.search(said) is None
        and said.lower() not in never
        and not is_word
        and said[:1] not in "${[(%&?"
    )


def userinfo(value: str) -> bool:
    """A URL with a password in it that is no placeholder."""
    found = re.match(r"[^:]+://[^:@/]+:([^@/]+)@", value)
    said = found[1] if found is not None else ""
    never = ("password", "pass", "pwd", "user", "token", "secret", "x-oauth-basic")
    return len(said) >= 4 and _PLACEHOLDER.search(said) is None and said.lower() not in never and said[0] not in "${[%"


def jwt(value: str) -> bool:
    """A header that says how it is signed (RFC 7519 section 5)."""
    head = value.partition(".")[0]
    try:
        plain = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(plain, dict) and isinstance(plain.get("alg"), str) and plain["alg"].lower() != "none"


def private_key(value: str) -> bool:
    """Not only the first line, as manuals have it."""
    return len(re.sub(r"-----[^-]+-----|\s", "", value)) >= 40 and "..." not in value


_OWN: Final[Mapping[str, Check]] = MappingProxyType(
    {
        one.__name__: one
        for one in (luhn, card, iban, bic, hetu, hu_anum, eu_vat, aba, ssn, itin, ein, npi, dea, mbi, nino, svnr,
        de_card,
        mrz, gb_account,
                    pan_in, aadhaar, passport, phone, random, password, userinfo, jwt, private_key)
    }
)  # fmt: skip
#: Checks that are over digits alone.
OF_DIGITS: Final = frozenset({"luhn", "verhoeff", "mod11-10"})
#: Checks that detectors of the configuration may use besides those of the detectors that there are.
VALIDATORS: Final = ("luhn", "iban", "mod97", "verhoeff", "mod11-10", "random")
_STDNUM: Final = {"mod97": "iso7064.mod_97_10", "verhoeff": "verhoeff", "mod11-10": "iso7064.mod_11_10"}


@cache
def check_of(name: str) -> Check:
    """The check of that name. Raises LookupError where there is none, ImportError where python-stdnum is missing."""
    if not name:
        return _anything
    if name in _OWN:
        return _OWN[name]
    found = _stdnum(_STDNUM.get(name, name))
    if found is None:
        raise LookupError(name)
    return found


def guarded(check: Check) -> Check:
    """A check for whatever a pattern of the configuration finds: what is of another form does not hold."""

    def hold(value: str) -> bool:
        try:
            return check(value)
        except (ValueError, LookupError, TypeError):
            return False

    return hold


def _anything(value: str) -> bool:
    return True


@cache
def _stdnum(name: str) -> Check | None:
    try:
        is_valid: Check = import_module(f"stdnum.{name}").is_valid
    except ModuleNotFoundError as error:
        if error.name == "stdnum":
            raise
        return None

    def check(value: str) -> bool:
        # A row of one digit passes many checks, and is none that was given out.
        try:
            return len(set(value)) > 2 and bool(is_valid(value))
        except Exception:
            # Some of its modules meet odd digits with errors of their own.
            return False

    return check
