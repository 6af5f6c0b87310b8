"""Detectors of cards, bank accounts and what leads to them.

ISO/IEC 7812, ISO 13616, ISO 9362; ABA routing numbers; base58check and bech32 (bitcoin).
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.dlp.checks import IBAN_LENGTHS
from smtpgate.examine.dlp.detector import Detector, words

CARD_WORDS: Final = words(
    "card|credit|debit|visa|mastercard|amex|american express|maestro|diners|discover|jcb|unionpay|cvv|cvc|cc no|cc#"
    "|ccn|expiry|expires|exp date|exp.|valid thru|cardholder|name on card|kreditkart|kartennummer|karteninhaber"
    "|kartennr|karte|gultig bis|prufnummer|carte|numero de carte|carte bancaire|carte bleue|titulaire|date d'expiration"
    "|tarjeta|numero de tarjeta|caducidad|titular|carta di credito|numero carta|scadenza|intestatario|creditcard"
    "|kaartnummer|kaart|vervaldatum|cartao|validade|karta|karty|karcie|numer karty|wazna do|karty kredytowej"
    "|kortnummer|kreditkort|luottokort|korttinumero|bankkartya|kreditni|kartice|карта|карты|номер карты|кредитн"
    "|信用卡|卡号|卡號|クレジットカード|カード番号|신용카드|카드번호|kart numar|kredi kart|card number|πιστωτικ|κάρτα"
)
#: Words by which a long number is something else.
NOT_MONEY: Final = words(
    "order|invoice|tracking|shipment|parcel|isbn|issn|ean|upc|gtin|sku|serial|imei|imsi|meid|ticket|case|ref|reference"
    "|phone|tel|fax|mobile|build|version|commit|uuid|guid|sha|md5|hash|checksum|timestamp|session|request|trace|message-id"
    "|bestell|rechnung|auftrag|sendung|paket|seriennummer|telefon|handy|commande|facture|colis|suivi|telephone|pedido"
    "|factura|envio|seguimiento|telefono|ordine|fattura|spedizione|bestelling|factuur|zamowien|faktura|przesylk|ordre"
    "|item|article|artikel|product|produkt|part no|model|batch|lot|barcode|id="
    "|transaction|transaktion|authorization|authorisation|approval"
)
BANK_WORDS: Final = words(
    "iban|bank|account|konto|kontonummer|bankverbindung|compte|cuenta|conto|rekening|conta|rachun|swift|bic|transfer"
    "|uberweis|virement|transferencia|bonifico|overboek|przelew|payment|zahlung|paiement|pago"
)
_BIC_WORDS: Final = words("bic|swift|bank identifier|bankleitzahl|swift-code|swift/bic|iban")
_COUNTRIES: Final = "|".join(sorted(IBAN_LENGTHS))

PAYMENT: Final = (
    Detector(
        "card",
        "payment",
        "payment card number: Visa, Mastercard, American Express, Discover, JCB, UnionPay, Diners, Maestro, Mir",
        forms={
            "9999 9999 9999 9999": "medium",
            "9999-9999-9999-9999": "medium",
            "9999.9999.9999.9999": "medium",
            "9999 999999 99999": "medium",
            "9999-999999-99999": "medium",
            "9999 999999 9999": "medium",
            "9999-999999-9999": "medium",
            "9999 9999 9999 9999 999": "medium",
            "9999-9999-9999-9999-999": "medium",
            "9999 9999 9999 99": "medium",
            "9999 9999 9999": "",
            "999999999999": "",
            "9999999999999": "",
            "99999999999999": "low",
            "999999999999999": "medium",
            "9999999999999999": "medium",
            "99999999999999999": "",
            "999999999999999999": "",
            "9999999999999999999": "low",
        },
        check="card",
        evidence=CARD_WORDS,
        labels=words("pan|kort|cid"),
        against=NOT_MONEY,
        shown=(4, 4),
        weight=4,
        good=("card 4111 1111 1111 1111", "Kreditkarte 5555-5555-5555-4444", "amex 378282246310005 exp 12/29"),
        bad=("order 77004111111111111111882319", "card 4111 1111 1111 1112", "card 9111111111111111"),
    ),
    Detector(
        "iban",
        "bank",
        "bank account number (IBAN)",
        pattern=rf"(?i)\b(?:{_COUNTRIES})(?:0[2-9]|[1-8][0-9]|9[0-8])(?:[ -]?[A-Z0-9]){{11,30}}",
        level="high",
        check="iban",
        evidence=BANK_WORDS,
        shown=(4, 4),
        weight=6,
        good=("DE89 3704 0044 0532 0130 00 BANK", "GB82-WEST-1234-5698-7654-32", "iban: nl91abna0417164300"),
        bad=("DE89 3704 0044 0532 0130 01", "0089 3704 0044 0532 0130 00", "XX89370400440532013000"),
    ),
    Detector(
        "bic",
        "bank",
        "bank identifier (BIC, SWIFT), with words of banking near",
        pattern=r"\b[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b",
        check="bic",
        evidence=_BIC_WORDS,
        window=60,
        near="medium",
        shown=(4, 0),
        good=("BIC: COBADEFFXXX", "SWIFT code DEUTDEFF500"),
        bad=("COBADEFFXXX", "BIC: INTERNATIONAL"),
    ),
    Detector(
        "us-aba",
        "bank",
        "US bank routing number (ABA)",
        "US",
        {"999999999": "", "9999-9999-9": ""},
        check="aba",
        evidence=words("routing|transit number|wire transfer|bank transit"),
        labels=words("aba|ach|rtn"),
        against=NOT_MONEY,
        weight=2,
        good=("routing number 111000025", "ABA: 021000021"),
        bad=("111000025", "routing number 111000026"),
    ),
    Detector(
        "gb-account",
        "bank",
        "UK sort code with an account number",
        "GB",
        pattern=r"(?i)\b(?:sort[ -]?code|s/c)\W{0,12}[0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{2}\b[^0-9]{1,60}\b[0-9]{8}\b",
        level="high",
        check="gb_account",
        evidence=words("sort code|account"),
        good=("sort code 20-00-00 account 55779911", "Sort Code: 12 34 56, Account No: 12345678"),
        bad=("20-00-00 55779911", "sort code 20-00-00"),
    ),
    Detector(
        "es-ccc",
        "bank",
        "Spanish bank account number (CCC)",
        "ES",
        {"9999-9999-99-9999999999": "medium", "9999 9999 99 9999999999": "medium", "99999999999999999999": ""},
        check="es.ccc",
        evidence=words("cuenta|ccc|banco|iban|domiciliacion|transferencia"),
        weight=4,
        good=("cuenta 1234-1234-16-1234567890",),
        bad=("cuenta 1234-1234-17-1234567890",),
    ),
    Detector(
        "nz-account",
        "bank",
        "New Zealand bank account number",
        "NZ",
        {"99-9999-9999999-99": "medium", "99-9999-9999999-999": "medium"},
        check="nz.bankaccount",
        evidence=words("bank|account|payment|deposit"),
        weight=3,
        good=("account 01-0902-0068389-00",),
        bad=("account 01-0902-0068388-00",),
    ),
    Detector(
        "bitcoin",
        "bank",
        "Bitcoin address",
        pattern=r"\b(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71})\b",
        level="high",
        check="bitcoin",
        evidence=words("btc|bitcoin|wallet"),
        shown=(4, 4),
        weight=6,
        good=("1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD",),
        bad=("1NEDqZPvTWRaoho48qXuLLsrYomMXPABfE",),
    ),
)
