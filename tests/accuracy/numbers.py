"""How exact detectors are: true values in the texts that people write, and numbers that only look like one.

`python -m tests.accuracy --numbers` prints for each detector how many of its made values were found at high confidence
(recall), and how many of its finds at high confidence were true (precision) over all texts: those of other detectors,
made look-alikes, and what else is given. Everything is drawn from a seed. Labels are written here and not taken from
the tables of evidence, where a language has others than the table's first.
"""

from __future__ import annotations

import base64
import random
import string
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from smtpgate.examine.dlp.catalogue import CATALOGUE
from smtpgate.examine.dlp.detector import Detector
from smtpgate.examine.dlp.scan import Searcher
from smtpgate.examine.dlp.tally import Tally
from tests.accuracy.numbers_made import make

#: What people call it, by detector; others are called by words of evidence.
LABELS: Final = {
    "card": ("My credit card is", "Bitte belasten Sie meine Kreditkarte", "Kartennummer", "n° de carte bancaire",
             "Mi tarjeta de crédito es la", "Numero della carta di credito:", "номер карты", "カード番号", "Visa",
             "Please charge the card", "numer karty", "Creditcardnummer"),
    "iban": ("IBAN", "Bitte überweisen an", "Kontoverbindung", "Compte", "please pay to", "rekening", ""),
    "us-ssn": ("SSN", "My social is, social security number", "Social Security #", "SS#", "for your W-2:"),
    "ch-ahv": ("AHV-Nr.", "No AVS"), "br-cpf": ("CPF", "CPF nº"), "be-nn": ("Rijksregisternummer", "NISS"),
    "it-codice-fiscale": ("Codice fiscale", "C.F.", ""), "fr-nir": ("Numéro de sécurité sociale", "NIR",
    "n° sécu : NIR"),
    "de-idnr": ("Steuer-ID", "Steueridentifikationsnummer", "Meine IdNr. lautet"),
    "de-svnr": ("Sozialversicherungsnummer", "SV-Nummer / Rentenversicherungsnummer", "RVNR"),
    "nl-bsn": ("BSN", "burgerservicenummer is"), "pl-pesel": ("PESEL", "numer PESEL:", "PESEL klienta"),
    "gb-nino": ("NI number", "National Insurance no.", "NINO"), "gb-nhs": ("NHS number", "patient, NHS no."),
    "se-personnummer": ("personnummer", "Personnr"), "dk-cpr": ("CPR-nr.", "CPR"), "no-fnr": ("fødselsnummer", "fnr."),
    "fi-hetu": ("henkilötunnus", "hetu"), "in-aadhaar": ("Aadhaar number", "my Aadhaar is"),
    "es-dni": ("DNI", "con DNI número"), "pt-nif": ("NIF", "contribuinte n.º"), "cz-rc": ("rodné číslo", "r.č. / RC:"),
    "ca-sin": ("SIN", "Social Insurance Number"), "passport": ("passport no.", "Reisepass Nr.", "numéro de passeport"),
}  # fmt: skip
_PROSE: Final = (
    "Thank you for your call this morning. As discussed I am sending what you asked for.",
    "Please let me know if you need anything else before Friday, 17 May 2024 at 10:30.",
    "vielen Dank für das Gespräch gestern. Anbei die gewünschten Angaben, wie besprochen.",
    "Bitte bestätigen Sie den Eingang bis zum 12.06.2024, 14:00 Uhr. Mit freundlichen Grüßen",
    "Suite à notre échange, voici les éléments demandés. Cordialement, Marie",
    "Le envío los datos que me pidió. Un saludo, José",
    "Zgodnie z rozmową przesyłam dane. Pozdrawiam, Anna",
    "The meeting moved to room 204, floor 3; the door code changed and parking is 12 EUR a day.",
    "Our office: 221B Baker Street, London NW1 6XE. Open 9:00-17:30.",
    "Version 2.14.3 went out on 2024-03-11 with 1,204 changes and 99.98 % uptime.",
)


@attrs.frozen
class Made:
    """A text, and which detector's value is in it; "" for none."""

    detector: str
    text: str


def true_texts(many: int, seed: int = 7, names: Iterable[str] = tuple(CATALOGUE)) -> Iterator[Made]:
    """So many texts for each detector, with one true value each."""
    for name in names:
        source = random.Random(f"{seed}-{name}")
        detector = CATALOGUE[name]
        for _ in range(many):
            yield Made(name, _text(detector, make(detector, source), source))


def _label(detector: Detector, source: random.Random) -> str:
    label = source.choice(LABELS.get(detector.name) or detector.evidence or ("",))
    return source.choice((label, label, label.upper(), label.capitalize()))


def _text(detector: Detector, value: str, source: random.Random) -> str:
    label = _label(detector, source)
    form = source.randrange(7)
    if form == 0 and label and detector.group != "secret":
        other = source.choice(("id", "nr", "line"))
        rows = [f"{number};{source.choice(('Ann', 'Bob', 'Eve'))};;x" for number in range(source.randrange(3, 60))]
        rows.insert(source.randrange(len(rows)), f"99;Kim;{value};x")
        return f"{other};name;{label};note\n" + "\n".join(rows)
    line = source.choice(
        (f"{label}: {value}", f"{label} {value}", f"{label} {value}.", f"{label} = {value}", f"({label}) {value}")
    )
    if form == 1:
        return f"Name: Kim Keller\n{line}\nCity: Bern\n"
    if form == 2:
        return f"{source.choice(_PROSE)}\r\n\r\n{line}\r\n\r\n{source.choice(_PROSE)}"
    if form == 3:
        return f"> {source.choice(_PROSE)}\n> {line}\n\n{source.choice(_PROSE)}"
    if form == 4:
        return f"{source.choice(_PROSE)} {line} - {source.choice(_PROSE)}"
    if form == 5:
        return f"{label}:\n    {value}\n"
    return f"{line}, {source.choice(_PROSE)}"


def _digits(source: random.Random, many: int) -> str:
    return "".join(source.choice(string.digits) for _ in range(many))


def _grouped(digits: str, size: int, by: str) -> str:
    return by.join(digits[place : place + size] for place in range(0, len(digits), size))


def _isbn(source: random.Random) -> str:
    digits = "978" + _digits(source, 9)
    check = -sum(int(one) * (3 if place % 2 else 1) for place, one in enumerate(digits)) % 10
    return f"978-{digits[3]}-{digits[4:8]}-{digits[8:12]}-{check}"


def _luhn_good(source: random.Random, begin: str, length: int) -> str:
    from smtpgate.examine.dlp.checks import luhn

    body = begin + _digits(source, length - 1 - len(begin))
    return next(body + one for one in string.digits if luhn(body + one))


def look_alike(source: random.Random) -> str:
    """A line of numbers that is none of what is looked for."""
    r = source
    hexa = "".join(r.choice("0123456789abcdef") for _ in range(64))
    kinds = (
        lambda: f"Order number: {_luhn_good(r, '4', 16)}", lambda: f"Bestellnummer {_digits(r, 16)}",
        lambda: f"order 5{_digits(r, 15)} shipped", lambda: f"Your order {_grouped(_digits(r, 16), 4, '-')}",
        lambda: f"Invoice {_digits(r, 9)} of {r.randrange(1, 29)}.{r.randrange(1, 13)}.2024",
        lambda: f"Rechnung Nr. {_digits(r, 10)}", lambda: f"customer no. {_digits(r, 11)}",
        lambda: f"Tel. 0{_digits(r, 10)}", lambda: f"phone ({_digits(r, 3)}) {_digits(r, 3)}-{_digits(r, 4)}",
        lambda: f"call 1-800-{_digits(r, 3)}-{_digits(r, 4)}", lambda: f"Fax: 030 {_digits(r, 8)}",
        lambda: str(uuid.UUID(int=r.getrandbits(128))), lambda: f"commit {hexa[:40]}", lambda: f"md5 {hexa[:32]}",
        lambda: f"sha256:{hexa}", lambda: f"color: #{hexa[:6]}; margin: {r.randrange(99)}px; z-index: {_digits(r, 9)}",
        lambda: base64.b64encode(r.randbytes(200)).decode(), lambda: f"1Z{_digits(r, 3)}AA{_digits(r, 11)}",
        lambda: f"DHL tracking {_digits(r, 12)}", lambda: f"FedEx {_digits(r, 15)}", lambda: f"USPS 94{_digits(r, 20)}",
        lambda: f"Sendungsnummer 0034043{_digits(r, 13)}", lambda: f"ISBN {_isbn(r)}", lambda: f"EAN {_digits(r, 13)}",
        lambda: f"IMEI {_luhn_good(r, '35', 15)}", lambda: f"S/N {r.choice('ABC')}{_digits(r, 9)}",
        lambda: f"2024-05-{r.randrange(1, 29):02}T12:45:01.{_digits(r, 9)}Z INFO request id={_digits(r, 16)}",
        lambda: f"[{_digits(r, 10)}.{_digits(r, 6)}] kernel: eth0 {_digits(r, 9)} packets",
        lambda: f"v{r.randrange(9)}.{_digits(r, 2)}.{_digits(r, 5)}.{_digits(r, 4)}",
        lambda: f"10.0.{_digits(r, 5)}.{_digits(r, 4)}",
        lambda: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}", lambda: f"{r.random():.16f}",
        lambda: f"function a(b){{return b*{_digits(r, 9)}%{_digits(r, 10)}|0x{hexa[:8]}}};var c={_digits(r, 13)};",
        lambda: f"Send it to {_digits(r, 5)}-{_digits(r, 4)}",
        lambda: f"Flight {r.choice('AL')}{r.choice('HB')}{_digits(r, 4)} PNR {r.choice('AQZ')}BC{_digits(r, 3)}",
        lambda: f"ticket #{_digits(r, 8)}", lambda: f"Message-ID: <{_digits(r, 14)}.{hexa[:12]}@example.org>",
        lambda: f"https://shop.example/item/{_luhn_good(r, '4', 16)}?ref={_digits(r, 10)}",
        lambda: f"https://www.facebook.com/{_digits(r, 15)}/posts/{_digits(r, 16)}",
        lambda: f"mac 00:1b:{hexa[:2]}:{hexa[2:4]}:{hexa[4:6]}:7f",
        lambda: f"{_digits(r, 3)},{_digits(r, 3)},{_digits(r, 3)}.00 EUR", lambda: f"${_digits(r, 9)}.{_digits(r, 2)}",
        lambda: f"Part {r.choice('ABC')}{r.choice('DEF')}{_digits(r, 6)}{r.choice('XYZ')}",
        lambda: f"{_digits(r, 2)}-{_digits(r, 7)}",
        lambda: f"meeting id: {_digits(r, 3)} {_digits(r, 4)} {_digits(r, 4)}",
        lambda: f"Zoom {_digits(r, 3)} {_digits(r, 3)} {_digits(r, 3)}",
        lambda: f"gift card code {_grouped(base64.b32encode(r.randbytes(10)).decode(), 4, '-')}",
        lambda: f"key XXXXX-{_grouped(hexa[:20].upper(), 5, '-')}",
        lambda: f"api_key = YOUR_API_KEY, token = <token>, sk_live_{'x' * 24}",
        lambda: f"lottery {' '.join(str(r.randrange(1, 50)) for _ in range(7))}",
        lambda: f"{_digits(r, 6)}-{_digits(r, 4)}",
        lambda: f"table {' '.join(_digits(r, 4) for _ in range(6))}",
        lambda: f"ratio {_digits(r, 3)}-{_digits(r, 2)}-{_digits(r, 4)}".replace("ratio", "model"),
        lambda: f"password reset: https://example.org/r/{hexa[:40]}",
        lambda: f"Kundennummer: {_digits(r, 8)}, Vertrag {_digits(r, 10)}",
        lambda: f"GPS N{_digits(r, 8)} E{_digits(r, 9)}",
        lambda: f"unix {r.randrange(10**9, 2 * 10**9)} ms {r.randrange(10**12, 2 * 10**12)}",
        lambda: f"SKU-{_digits(r, 12)} x{r.randrange(1, 9)}",
        lambda: f"CAS {_digits(r, 5)}-{_digits(r, 2)}-{_digits(r, 1)}, DOI 10.1000/{_digits(r, 9)}",
    )  # fmt: skip
    return r.choice(kinds)()


def false_texts(many: int, seed: int = 11) -> Iterator[Made]:
    """Texts with some lines that only look like something, and prose."""
    source = random.Random(seed)
    for _ in range(many):
        lines = [
            source.choice((look_alike, look_alike, lambda r: r.choice(_PROSE)))(source)
            for _ in range(source.randrange(1, 8))
        ]
        yield Made("", "\n".join(lines))


@attrs.define
class Figures:
    """Of one detector, at high confidence: true values, those found, finds that were none; and false ones at medium."""

    made: int = 0
    found: int = 0
    false: int = 0
    lower: int = 0

    @property
    def recall(self) -> float:
        return self.found / self.made if self.made else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 1.0


def measure(texts: Iterable[Made]) -> dict[str, Figures]:
    """The figures of each detector over texts."""
    searcher = Searcher(CATALOGUE.values())
    figures = {name: Figures() for name in CATALOGUE}
    for made in texts:
        tally = Tally()
        searcher.search(made.text, "1", tally)
        sure = Counter(one["detector"] for one in tally.matches() if one["confidence"] == "high")
        if made.detector:
            figures[made.detector].made += 1
            at = CATALOGUE[made.detector].near
            held = any(one["detector"] == made.detector and one["confidence"] == at for one in tally.matches())
            figures[made.detector].found += held
        for name in sure:
            if name != made.detector:
                figures[name].false += 1
        for one in tally.matches():
            if one["confidence"] == "medium" and one["detector"] != made.detector and not sure[one["detector"]]:
                figures[one["detector"]].lower += 1
    return figures


def table(figures: dict[str, Figures]) -> str:
    """For the documents."""
    rows = ["| detector | made | recall | precision | false at medium |", "|---|---|---|---|---|"]
    for name, one in figures.items():
        rows.append(f"| `{name}` | {one.made} | {one.recall:.1%} | {one.precision:.1%} | {one.lower} |")
    return "\n".join(rows)


def real_mail(contents: Iterable[tuple[str, bytes]]) -> str:
    """What is found in real mail, by group: messages, those with anything sure in them, and of what."""
    from smtpgate.examine.dlp.search import search

    request = {"names": [name for name in CATALOGUE if name not in ("phone", "password")]}
    messages: Counter[str] = Counter()
    held: Counter[str] = Counter()
    of_what: Counter[tuple[str, str]] = Counter()
    for group, content in contents:
        messages[group] += 1
        sure = {one["detector"] for one in search(content, request)["matches"] if one["confidence"] == "high"}
        held[group] += bool(sure)
        of_what.update((group, name) for name in sure)
    lines = [
        f"{group}: {held[group]} of {messages[group]} messages with something at high" for group in sorted(messages)
    ]
    return "\n".join([*lines, *(f"  {group} {name}: {many}" for (group, name), many in sorted(of_what.items()))])
