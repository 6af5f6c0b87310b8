"""Detectors of numbers that name a person, in Europe: national identity, insurance and passports.

Each is checked by the rules of its country (python-stdnum, or `checks`); where the digits alone would be anything,
words of the country's languages, or English ones, must stand near.
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.dlp.detector import Detector, words
from smtpgate.examine.dlp.payment import NOT_MONEY

_ID: Final = "personal id|national id|identity number|identification number|id number|id no|id card|citizen"

EUROPE: Final = (
    Detector(
        "de-svnr", "identity", "German pension insurance number", "DE",
        {"99 999999 A 999": "medium", "99999999A999": "medium", "99 99 99 99 A 999": "medium"},
        check="svnr", weight=4,
        evidence=words("rentenversicherung|sozialversicherung|versicherungsnummer|sv-nr|svnr|rvnr|social security"),
        against=NOT_MONEY, good=("Sozialversicherungsnummer 65 170839 J 003",),
        bad=("Sozialversicherungsnummer 65 170839 J 004",),
    ),
    Detector(
        "de-id-card", "identity", "German identity card or passport number with its check digit", "DE",
        {"AXXXXXXXX9": ""}, check="de_card", weight=3,
        evidence=words("personalausweis|ausweisnummer|ausweis|reisepass|passnummer|identity card|passport"),
        good=("Personalausweis L01X00T471",), bad=("Personalausweis L01X00T472", "L01X00T471"),
    ),
    Detector(
        "de-idnr", "tax", "German tax identification number", "DE",
        {"99 999 999 999": "medium", "99999999999": ""}, check="de.idnr", weight=4,
        evidence=words("steuer-id|steueridentifikation|steuerid|idnr|steuer-identifikation|steuerliche|tax id"),
        labels=words("tin"),
        against=NOT_MONEY, good=("Steuer-ID: 36 574 261 809", "IdNr 36574261809"), bad=("Steuer-ID: 36 574 261 890",),
    ),
    Detector(
        "fr-nir", "identity", "French social security number (NIR)", "FR",
        {"9 99 99 99 999 999 99": "high", "999999999999999": "medium", "9999999999999 99": "medium"},
        check="fr.nir", weight=6,
        evidence=words("securite sociale|numero de securite|nir|insee|carte vitale|assure|social security"),
        against=NOT_MONEY, good=("NIR 2 95 10 99 126 111 93",), bad=("NIR 2 95 10 99 126 111 94",),
    ),
    Detector(
        "fr-nif", "tax", "French tax number", "FR",
        {"99 99 999 999 999": "medium", "9999999999999": ""}, check="fr.nif", weight=4,
        evidence=words("fiscal|impots|spi|numero fiscal|tax"), against=NOT_MONEY,
        good=("numéro fiscal 30 23 217 600 053",), bad=("numéro fiscal 30 23 217 600 054",),
    ),
    Detector(
        "it-codice-fiscale", "identity", "Italian tax code (codice fiscale)", "IT",
        {"AAAAAA99A99A999A": "high", "AAA AAA 99A99 A999A": "high", "AAA AAA 99A99A999A": "high"},
        check="it.codicefiscale", weight=6, evidence=words("codice fiscale|c.f.|cf:|tessera sanitaria"),
        good=("CF: RCCMNL83S18D969H",), bad=("CF: RCCMNL83S18D969X",),
    ),
    Detector(
        "es-dni", "identity", "Spanish identity number (DNI)", "ES",
        {"99999999A": "medium", "99999999-A": "medium", "99.999.999-A": "medium", "99.999.999A": "medium"},
        check="es.dni", weight=3, evidence=words("dni|nif|documento nacional|identidad|identificacion|d.n.i"),
        against=NOT_MONEY, good=("DNI 54362315K", "DNI: 54362315-K"), bad=("DNI 54362315Z",),
    ),
    Detector(
        "es-nie", "identity", "Spanish identity number of foreigners (NIE)", "ES",
        {"A9999999A": "medium", "A-9999999-A": "medium", "A-9999999A": "medium", "A9999999-A": "medium"},
        check="es.nie", weight=3, evidence=words("extranjero|identidad|identificacion|n.i.e"), labels=words("nie"),
        against=NOT_MONEY, good=("NIE X-2482300W",), bad=("NIE X-2482300A",),
    ),
    Detector(
        "pt-nif", "tax", "Portuguese tax number (NIF)", "PT",
        {"999 999 999": "", "999999999": ""}, check="pt.nif", weight=2,
        evidence=words("nif|contribuinte|nipc"), labels=words("fiscal"), against=NOT_MONEY,
        good=("NIF 501 964 843",), bad=("NIF 501 964 844", "501964843"),
    ),
    Detector(
        "pt-cc", "identity", "Portuguese identity card number", "PT",
        {"99999999 9 AA9": "medium", "999999999AA9": "medium"}, check="pt.cc", weight=4,
        evidence=words("cartao de cidadao|cartao do cidadao|cidadao|identificacao"),
        good=("Cartão de Cidadão 00000000 0 ZZ4",), bad=("Cartão de Cidadão 00000000 0 ZZ5",),
    ),
    Detector(
        "nl-bsn", "identity", "Dutch citizen service number (BSN)", "NL",
        {"999999999": "", "9999.99.999": "", "9999 99 999": ""}, check="nl.bsn", weight=2,
        evidence=words("bsn|burgerservice|sofi|sofinummer|citizen service"), against=NOT_MONEY,
        good=("BSN 111222333", "burgerservicenummer: 1112.22.333"), bad=("BSN 111252333", "111222333"),
    ),
    Detector(
        "be-nn", "identity", "Belgian national register number", "BE",
        {"99.99.99-999.99": "high", "99.99.99-999-99": "high", "99.99.99-999 99": "high", "99999999999": ""},
        check="be.nn", weight=5,
        evidence=words("rijksregister|registre national|numero national|insz|niss|nationalregister|national register"),
        against=NOT_MONEY, good=("85.07.30-033.28", "rijksregisternummer 85073003328"),
        bad=("85.07.30-033.29", "85073003328"),
    ),
    Detector(
        "at-svnr", "identity", "Austrian social insurance number", "AT",
        {"9999 999999": "", "9999999999": "", "9999-999999": ""}, check="at.vnr", weight=3,
        evidence=words("sozialversicherung|svnr|sv-nr|versicherungsnummer|e-card"), against=NOT_MONEY,
        good=("SVNR 1237 010180",), bad=("SVNR 2237 010180", "1237 010180"),
    ),
    Detector(
        "ch-ahv", "identity", "Swiss social insurance number (AHV)", "CH",
        {"999.9999.9999.99": "high", "999 9999 9999 99": "medium", "9999999999999": ""}, check="ch.ssn", weight=6,
        evidence=words("ahv|avs|sozialversicherung|assurance sociale|navs|oasi"),
        good=("756.9217.0769.85", "AHV 7569217076985"), bad=("756.9217.0769.84",),
    ),
    Detector(
        "pl-pesel", "identity", "Polish identity number (PESEL)", "PL",
        {"99999999999": ""}, check="pl.pesel", weight=4, evidence=words(f"pesel|dowod|{_ID}"), against=NOT_MONEY,
        good=("PESEL: 44051401359",), bad=("PESEL: 44051401358", "44051401359"),
    ),
    Detector(
        "pl-nip", "tax", "Polish tax number (NIP)", "PL",
        {"999-999-99-99": "medium", "999-99-99-999": "medium", "9999999999": ""}, check="pl.nip", weight=3,
        evidence=words("podatkow|identyfikacji podatkowej|vat"), labels=words("nip"), against=NOT_MONEY,
        good=("NIP 856-734-62-15",), bad=("NIP 856-734-62-16",),
    ),
    Detector(
        "cz-rc", "identity", "Czech or Slovak birth number", "CZ",
        {"999999/9999": "high", "9999999999": ""}, check="cz.rc", weight=4,
        evidence=words("rodne cislo|rodneho cisla|rodnym cislom|r.c.|rc:|birth number"), against=NOT_MONEY,
        good=("rodné číslo 710319/2745",), bad=("rodné číslo 710319/2746",),
    ),
    Detector(
        "ro-cnp", "identity", "Romanian personal code (CNP)", "RO",
        {"9999999999999": "low"}, check="ro.cnp", weight=5,
        evidence=words("cnp|cod numeric|buletin|carte de identitate"),
        against=NOT_MONEY, good=("CNP 1630615123457",), bad=("CNP 1630615123458",),
    ),
    Detector(
        "bg-egn", "identity", "Bulgarian personal number (EGN)", "BG",
        {"9999999999": "", "999999 999 9": ""}, check="bg.egn", weight=4,
        evidence=words("егн|egn|единен граждански|лична карта"), against=NOT_MONEY,
        good=("ЕГН 7523169263",), bad=("ЕГН 7523169264", "7523169263"),
    ),
    Detector(
        "hr-oib", "identity", "Croatian identification number (OIB)", "HR",
        {"99999999999": ""}, check="hr.oib", weight=3, evidence=words("oib|osobni identifikacijski"),
        against=NOT_MONEY,
        good=("OIB: 33392005961",), bad=("OIB: 33392005962", "33392005961"),
    ),
    Detector(
        "si-emso", "identity", "Slovenian identity number (EMŠO), and those of the lands around", "SI",
        {"9999999999999": "low"}, check="si.emso", weight=5,
        evidence=words("emso|jmbg|maticni broj|maticna stevilka"),
        against=NOT_MONEY, good=("EMŠO 0101006500006",), bad=("EMŠO 0101006500007",),
    ),
    Detector(
        "lt-asmens", "identity", "Lithuanian personal code", "LT",
        {"99999999999": ""}, check="lt.asmens", weight=4, evidence=words("asmens kod|asmens|a.k."), against=NOT_MONEY,
        good=("asmens kodas 33309240064",), bad=("asmens kodas 33309240164", "33309240064"),
    ),
    Detector(
        "lv-pk", "identity", "Latvian personal code", "LV",
        {"999999-99999": "medium", "99999999999": ""}, check="lv.pvn", weight=3, evidence=words("personas kod|p.k."),
        against=NOT_MONEY, good=("personas kods 161175-19997",), bad=("personas kods 161175-19998",),
    ),
    Detector(
        "ee-ik", "identity", "Estonian personal code", "EE",
        {"99999999999": ""}, check="ee.ik", weight=4, evidence=words("isikukood|isikukoodi|i.k."), against=NOT_MONEY,
        good=("isikukood 36805280109",), bad=("isikukood 36805280108", "36805280109"),
    ),
    Detector(
        "fi-hetu", "identity", "Finnish identity code", "FI",
        {"999999-999X": "high", "999999A999X": "medium"}, check="hetu", weight=5,
        evidence=words("hetu|henkilotunnus|personbeteckning|identity code"), against=NOT_MONEY,
        good=("hetu 131052-308T",), bad=("hetu 131052-308U",),
    ),
    Detector(
        "se-personnummer", "identity", "Swedish identity number", "SE",
        {"999999-9999": "medium", "99999999-9999": "high", "9999999999": "", "999999999999": ""},
        check="se.personnummer", weight=4,
        evidence=words("personnummer|personnr|personal number|samordningsnummer"),
        against=NOT_MONEY, good=("personnummer 880320-0016",), bad=("personnummer 880320-0018",),
    ),
    Detector(
        "dk-cpr", "identity", "Danish identity number (CPR)", "DK",
        {"999999-9999": "low", "9999999999": ""}, check="dk.cpr", weight=3,
        evidence=words("cpr|personnummer|cpr-nummer|cpr-nr|cprnr"), against=NOT_MONEY,
        good=("CPR 211062-5629",), bad=("CPR 511062-5629",),
    ),
    Detector(
        "no-fnr", "identity", "Norwegian identity number", "NO",
        {"999999 99999": "medium", "99999999999": ""}, check="no.fodselsnummer", weight=5,
        evidence=words("fodselsnummer|fnr|personnummer|fodselsnr|d-nummer"), against=NOT_MONEY,
        good=("fødselsnummer 151086 95088",), bad=("fødselsnummer 151086 95077",),
    ),
    Detector(
        "is-kennitala", "identity", "Icelandic identity number", "IS",
        {"999999-9999": "low", "9999999999": ""}, check="is_.kennitala", weight=3,
        evidence=words("kennitala|kt.|kt:"),
        against=NOT_MONEY, good=("kennitala 120174-3399",), bad=("kennitala 120174-3389",),
    ),
    Detector(
        "gr-amka", "identity", "Greek social security number (AMKA)", "GR",
        {"99999999999": ""}, check="gr.amka", weight=4, evidence=words("αμκα|amka|κοινωνικής ασφάλισης"),
        against=NOT_MONEY, good=("ΑΜΚΑ 01013099997",), bad=("ΑΜΚΑ 01013099999", "01013099997"),
    ),
    Detector(
        "ie-pps", "identity", "Irish personal public service number", "IE",
        {"9999999A": "low", "9999999AA": "low"}, check="ie.pps", weight=3,
        evidence=words("pps|ppsn|pps no|personal public service"), against=NOT_MONEY,
        good=("PPS No 6433435F",), bad=("PPS No 6433435E",),
    ),
    Detector(
        "hu-anum", "tax", "Hungarian tax number", "HU",
        {"99999999-9-99": "medium", "99999999": ""}, check="hu_anum", weight=1,
        evidence=words("adoszam|hungarian tax"), against=NOT_MONEY,
        good=("adószám 12892312",), bad=("adószám 12892313", "12892312"),
    ),
    Detector(
        "eu-vat", "tax", "VAT number of a member of the EU, or of Northern Ireland", "EU",
        pattern=r"(?i)\b(?:(?:AT ?U|BE|BG|CY|CZ|DE|DK|EE|EL|FI|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK) ?[0-9]"
        r"(?:[ .-]?[0-9A-Z]){6,11}|ES ?[A-Z0-9][ -]?[0-9]{7}[ -]?[0-9A-Z]|FR ?[0-9A-Z]{2}(?: ?[0-9]{3}){3})\b",
        level="low", check="eu_vat", weight=2, shown=(2, 3),
        evidence=words("vat|ust-id|ust.id|ustid|umsatzsteuer|mwst|tva|iva|btw|nip|moms|alv|afm|dph|pvn|pvm|ddv|pdv|tax"),
        against=NOT_MONEY, good=("VAT DE 136,695 976".replace(",", ""), "TVA FR40303265045"), bad=("VAT DE136695978",
        ),
    ),
    Detector(
        "gb-nino", "identity", "UK national insurance number", "GB",
        {"AA999999A": "medium", "AA 99 99 99 A": "high", "AA-99-99-99-A": "high", "AA 999999 A": "medium"},
        check="nino", weight=4, evidence=words("national insurance|nino|ni number|ni no|n.i.|insurance no"),
        against=NOT_MONEY, good=("NI number AB123456C", "AB 12 34 56 C"), bad=("NI number GB123456C",),
    ),
    Detector(
        "gb-nhs", "health", "UK NHS number", "GB",
        {"999 999 9999": "low", "999-999-9999": "low", "9999999999": ""}, check="gb.nhs", weight=3,
        evidence=words("nhs|health service|hospital number"), labels=words("patient"), against=NOT_MONEY,
        good=("NHS number 943 476 5870",), bad=("NHS number 943 476 5871",),
    ),
    Detector(
        "gb-utr", "tax", "UK unique taxpayer reference", "GB",
        {"9999999999": "", "99999 99999": ""}, check="gb.utr", weight=2,
        evidence=words("utr|unique taxpayer|taxpayer reference|hmrc|self assessment"), against=(),
        good=("UTR 1955839661",), bad=("UTR 2955839661",),
    ),
    Detector(
        "gb-vat", "tax", "UK VAT number", "GB",
        pattern=r"(?i)\bGB ?[0-9]{3} ?[0-9]{4} ?[0-9]{2}\b", level="medium", check="gb.vat", weight=3, shown=(2, 3),
        evidence=words("vat|tax"), good=("VAT GB 980 7806 84",), bad=("VAT GB 802 3116 79",),
    ),
)  # fmt: skip
