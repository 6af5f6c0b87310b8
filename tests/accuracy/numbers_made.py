"""True values of every detector, made: each holds before its check, and none is anybody's but by chance.

`make` gives one in a form that people write. Forms with check digits are drawn until they hold; where that would take
long, dates and areas are drawn right from the start.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Callable
from typing import Final

from smtpgate.examine.dlp.checks import IBAN_LENGTHS, SCHEMES, check_of
from smtpgate.examine.dlp.detector import Detector
from smtpgate.examine.dlp.wanted import compiled

Random = random.Random
_UPPER: Final = string.ascii_uppercase
_TRIES: Final = 400_000


def _date(source: Random, form: str) -> str:
    year, month, day = source.randrange(1935, 2005), source.randrange(1, 13), source.randrange(1, 29)
    return form.format(y=year % 100, Y=year, m=month, d=day)


#: What stands at the beginning of a value, where drawing it at random would hardly ever hold.
_BEGINS: Final[dict[str, Callable[[Random], str]]] = {
    "ro-cnp": lambda r: f"{r.choice('12')}{_date(r, '{y:02}{m:02}{d:02}')}{r.randrange(1, 47):02}",
    "si-emso": lambda r: f"{r.randrange(1, 29):02}{r.randrange(1, 13):02}{r.randrange(935, 999)}50",
    "cn-ric": lambda r: f"{r.choice(('110105', '310104', '440305', '360426'))}{_date(r, '{Y}{m:02}{d:02}')}",
    "kr-rrn": lambda r: f"{_date(r, '{y:02}{m:02}{d:02}')}{r.choice('1256')}",
    "ch-ahv": lambda r: "756",
    "fr-nir": lambda r: f"{r.choice('12')}{r.randrange(100):02}{r.randrange(1, 13):02}{r.randrange(1, 90):02}",
    "it-codice-fiscale": lambda r: "".join(r.choice("BCDFGLMNPRST") for _ in range(6))
    + f"{r.randrange(100):02}{r.choice('ABCDEHLMPRST')}{r.randrange(1, 29):02}{r.choice('ABCDEFGHIL')}"
    f"{r.randrange(100, 999)}",
    "mx-curp": lambda r: f"{r.choice('BCGL')}{r.choice('AEOU')}{r.choice('BCDF')}{r.choice('BCDF')}"
    f"{_date(r, '{y:02}{m:02}{d:02}')}{r.choice('HM')}{r.choice(('DF', 'NL', 'OC'))}",
    "mx-rfc": lambda r: f"{''.join(r.choice('BCDFGHLM') for _ in range(4))}{_date(r, '{y:02}{m:02}{d:02}')}",
    "my-nric": lambda r: f"{_date(r, '{y:02}{m:02}{d:02}')}{r.choice(('01', '02', '10', '14'))}",
    "za-id": lambda r: f"{_date(r, '{y:02}{m:02}{d:02}')}{r.randrange(10000):04}0",
    "pt-cc": lambda r: "".join(r.choice(string.digits) for _ in range(9)),
    "us-mbi": lambda r: "".join(r.choice(one) for one in ("123456789", "ACDEFGHJ", "KMNPRTUVWXY")),
    "de-id-card": lambda r: r.choice("CFGHJKLM")
    + "".join(r.choice("CFGHJKLMNPRTVWXYZ0123456789") for _ in range(8)),
    "es-nie": lambda r: r.choice("XYZ"),
    "fi-hetu": lambda r: _date(r, "{d:02}{m:02}{y:02}"),
    "se-personnummer": lambda r: "",
    "bg-egn": lambda r: _date(r, "{y:02}{m:02}{d:02}"),
    "fr-nif": lambda r: r.choice("0123"),
    "card": lambda r: r.choice(("4", "51", "55", "2221", "34", "37", "6011", "65", "62", "3528", "36", "50", "67")),
}  # fmt: skip
#: The forms that are mostly written; others are for what programs write.
_FORMS: Final = {
    "card": ("9999 9999 9999 9999", "9999-9999-9999-9999", "9999999999999999", "9999 999999 99999", "999999999999999"),
    "se-personnummer": ("999999-9999", "99999999-9999"),
    "passport": ("A99999999", "AA9999999", "999999999"),
}


def _filled(detector: Detector, mask: str, source: Random) -> str:
    begin = list(_BEGINS.get(detector.name, lambda r: "")(source)) if detector.name != "se-personnummer" else []
    if detector.name == "se-personnummer":
        begin = list(_date(source, "{Y}{m:02}{d:02}" if mask.startswith("99999999") else "{y:02}{m:02}{d:02}"))
    out = []
    for one in mask:
        if one in "9AX":
            pool = {"9": string.digits, "A": _UPPER, "X": string.digits + _UPPER}[one]
            out.append(begin.pop(0) if begin and begin[0] in pool else source.choice(pool))
        else:
            out.append(one)
    return "".join(out)


def _by_form(detector: Detector, source: Random) -> str:
    check = check_of(detector.check)
    forms = _FORMS.get(detector.name) or tuple(detector.forms)
    mask = source.choice(forms)
    for _ in range(_TRIES):
        shown = _filled(detector, mask, source)
        value = "".join(one for one in shown if one.isalnum())
        if check(value) and (detector.name != "card" or _is_whole(value)):
            return shown
    raise AssertionError(f"{detector.name}: nothing of the form {mask} holds")


def _is_whole(value: str) -> bool:
    return any(first.match(value) and len(value) in lengths for _, first, lengths in SCHEMES)


def _iban(source: Random) -> str:
    country = source.choice(
        ("DE", "AT", "CH", "FR", "NL", "GB", "ES", "IT", "PL", "SE", "DK", "PT", "IE", "LU", "CZ", "BE")
    )
    while True:
        digits = IBAN_LENGTHS[country] - 4
        letters = {"GB": 4, "NL": 4, "IE": 4}.get(country, 0)
        bban = "".join(source.choice(_UPPER) for _ in range(letters))
        if country == "IT":
            bban = source.choice(_UPPER)
        bban += "".join(source.choice(string.digits) for _ in range(digits - len(bban)))
        number = int("".join(str(int(one, 36)) for one in bban + country + "00"))
        value = f"{country}{98 - number % 97:02}{bban}"
        if check_of("iban")(value):
            break
    groups = [value[place : place + 4] for place in range(0, len(value), 4)]
    return source.choice((value, " ".join(groups), " ".join(groups), "-".join(groups), value.lower()))


def _mrz(source: Random) -> str:
    def digit(text: str) -> str:
        values = (int(one, 36) if one != "<" else 0 for one in text)
        return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)

    number = source.choice("CFGHJKL") + "".join(source.choice(string.digits + "CFGH") for _ in range(8))
    born, ends, own = _date(source, "{y:02}{m:02}{d:02}"), _date(source, "{y:02}{m:02}{d:02}"), "<" * 14
    line = (
        f"{number}{digit(number)}{source.choice(('D<<', 'FRA', 'USA', 'GBR'))}{born}{digit(born)}{source.choice('MF<')}"
    )
    line += f"{ends}{digit(ends)}{own}{source.choice('<0')}"
    return line + digit(line[0:10] + line[13:20] + line[21:43])


def _bitcoin(source: Random) -> str:
    letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    payload = bytes([0]) + source.randbytes(20)
    number = int.from_bytes(payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4], "big")
    out = ""
    while number:
        number, place = divmod(number, 58)
        out = letters[place] + out
    return "1" + out


def _vat(source: Random) -> str:
    digits = {"DE": 9, "FI": 8, "DK": 8, "IT": 11, "PL": 10, "BE": 10, "PT": 9, "SI": 8, "LU": 8, "FR": 11, "HU": 8}
    country = source.choice(sorted(digits))
    while True:
        value = "".join(source.choice(string.digits) for _ in range(digits[country]))
        if check_of("eu_vat")(country + value):
            return f"{country}{source.choice(('', ' '))}{value}"


def _gb_vat(source: Random) -> str:
    while True:
        value = "".join(source.choice(string.digits) for _ in range(9))
        if check_of("gb.vat")("GB" + value):
            return f"GB {value[:3]} {value[3:7]} {value[7:]}"


def _gb_account(source: Random) -> str:
    digits = "".join(source.choice(string.digits) for _ in range(14))
    return f"sort code {digits[:2]}-{digits[2:4]}-{digits[4:6]} account {digits[6:]}"


def _bic(source: Random) -> str:
    bank = "".join(source.choice(_UPPER) for _ in range(4))
    return (
        f"{bank}{source.choice(('DE', 'FR', 'GB', 'NL'))}{source.choice('ABCFLM')}{source.choice('LMKZ23')}"
        + source.choice(("", "XXX"))
    )


def _phone(source: Random) -> str:
    digits = "".join(source.choice(string.digits) for _ in range(10))
    return f"+{source.choice(('49', '33', '44', '1', '420'))} {digits[:3]} {digits[3:]}"


_SPECIAL: Final[dict[str, Callable[[Random], str]]] = {
    "iban": _iban, "mrz": _mrz, "bitcoin": _bitcoin, "eu-vat": _vat, "gb-vat": _gb_vat, "gb-account": _gb_account,
    "bic": _bic, "phone": _phone,
}  # fmt: skip
#: How much of the vector of a secret stays as it is.
_KEPT: Final = {"jwt": 37, "aws-secret-key": 24, "url-password": 15, "gcp-service-account": 47, "private-key": 32,
"putty-key": 99,
                "password": 11, "telegram-token": 13, "discord-webhook": 54, "slack-webhook": 54, "pypi-token": 19,
                "twilio-key": 9, "mailgun-key": 12, "slack-token": 32, "azure-client-secret": 6,
                "azure-storage-key": 11,
                "age-key": 16, "anthropic-key": 13, "openai-key": 8, "atlassian-token": 6, "gcp-api-key": 6,
                "mailchimp-key": 0, "github-token": 4, "npm-token": 4,
                "authorization": 22, "private-key-value": 18}  # fmt: skip


def _secret(detector: Detector, source: Random) -> str:
    """The vector with other letters in the part that is drawn."""
    pattern = compiled(detector.pattern)
    check = check_of(detector.check)
    vector = detector.good[0]
    kept = _KEPT.get(detector.name, detector.shown[0] or 4)
    for _ in range(_TRIES):
        made = vector[:kept] + "".join(_other(one, vector[kept:], source) for one in vector[kept:])
        found = pattern.search(made.encode())
        if found is not None and check(found[0].decode()):
            return made
    raise AssertionError(detector.name)


def _other(one: str, tail: str, source: Random) -> str:
    if re.fullmatch(r"[0-9a-f\W]+(?:-us[0-9]+)?", tail) is not None and one in "0123456789abcdef":
        return source.choice("0123456789abcdef")
    for pool in (string.digits, string.ascii_lowercase, string.ascii_uppercase):
        if one in pool:
            return source.choice(pool)
    return one


def make(detector: Detector, source: Random) -> str:
    """A true value as people write it."""
    if detector.name in _SPECIAL:
        return _SPECIAL[detector.name](source)
    return _secret(detector, source) if detector.group == "secret" else _by_form(detector, source)
