"""Detectors of numbers that name a person, outside of Europe, of travel documents and telephones.

As in `identity`, each is checked by the rules of its country, and what digits alone could be needs words near.
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.dlp.detector import Detector, words
from smtpgate.examine.dlp.payment import NOT_MONEY

WORLD: Final = (
    Detector(
        "us-ssn", "identity", "US social security number", "US",
        {"999-99-9999": "medium", "999 99 9999": "medium", "999999999": ""}, check="ssn", weight=3,
        evidence=words("ssn|social security|soc sec|ss#|ss number|s.s.n|w-2|seguro social"),
        against=NOT_MONEY, good=("SSN 536-90-4399", "social security: 536904399"),
        bad=("Send it to 12345-6789", "Invoice 100234567", "000-12-3456", "912-12-3456"),
    ),
    Detector(
        "us-itin", "tax", "US individual taxpayer number", "US",
        {"999-99-9999": "medium", "999 99 9999": "medium", "999999999": ""}, check="itin", weight=2,
        evidence=words("itin|individual taxpayer|w-7"), against=NOT_MONEY,
        good=("ITIN 912-90-3456",), bad=("ITIN 912-93-3456", "ITIN 812-90-3456"),
    ),
    Detector(
        "us-ein", "tax", "US employer number", "US",
        {"99-9999999": "", "999999999": ""}, check="ein", weight=1,
        evidence=words("employer identification|federal tax id"), labels=words("ein|fein"), against=NOT_MONEY,
        good=("EIN 91-1144442",), bad=("EIN 07-1144442", "91-1144442"),
    ),
    Detector(
        "us-npi", "health", "US health provider number (NPI)", "US",
        {"9999999999": ""}, check="npi", weight=3,
        evidence=words("npi|provider identifier|prescriber|national provider"),
        against=NOT_MONEY, good=("NPI: 1234567893",), bad=("NPI: 1234567894", "1234567893"),
    ),
    Detector(
        "us-dea", "health", "US registration to prescribe (DEA)", "US",
        {"AA9999999": "low"}, check="dea", weight=3, evidence=words("dea|prescriber|registration"), against=NOT_MONEY,
        good=("DEA AB1234563",), bad=("DEA AB1234564",),
    ),
    Detector(
        "us-mbi", "health", "US Medicare number (MBI)", "US",
        {"9AX9-AX9-AA99": "high", "9AX9AX9AA99": "medium"}, check="mbi", weight=4,
        evidence=words("medicare|mbi|beneficiary"), good=("Medicare 1EG4-TE5-MK73",), bad=("Medicare 1SG4-TE5-MK73",),
    ),
    Detector(
        "ca-sin", "identity", "Canadian social insurance number", "CA",
        {"999-999-999": "low", "999 999 999": "low", "999999999": ""}, check="ca.sin", weight=2,
        evidence=words("social insurance|assurance sociale|sin#"), labels=words("sin|nas"), against=NOT_MONEY,
        good=("SIN 123-456-782",), bad=("SIN 123-456-783",),
    ),
    Detector(
        "au-tfn", "tax", "Australian tax file number", "AU",
        {"999 999 999": "", "999-999-999": "", "999999999": ""}, check="au.tfn", weight=2,
        evidence=words("tfn|tax file"), against=NOT_MONEY, good=("TFN 123 456 782",), bad=("TFN 999 999 999",),
    ),
    Detector(
        "au-abn", "tax", "Australian business number", "AU",
        {"99 999 999 999": "low", "99999999999": ""}, check="au.abn", weight=2,
        evidence=words("abn|business number"), against=NOT_MONEY,
        good=("ABN 83 914 571 673",), bad=("ABN 99 999 999 999",),
    ),
    Detector(
        "nz-ird", "tax", "New Zealand tax number", "NZ",
        {"99-999-999": "low", "999-999-999": "", "99999999": "", "999999999": ""}, check="nz.ird", weight=2,
        evidence=words("ird|inland revenue"), against=NOT_MONEY,
        good=("IRD 49-091-850",), bad=("IRD 49-091-851",),
    ),
    Detector(
        "in-aadhaar", "identity", "Indian identity number (Aadhaar)", "IN",
        {"9999 9999 9999": "low", "9999-9999-9999": "low", "999999999999": ""}, check="aadhaar", weight=3,
        evidence=words("aadhaar|aadhar|adhar|uidai|uid no|आधार"), against=NOT_MONEY,
        good=("Aadhaar 2341 2341 2346",), bad=("Aadhaar 2341 2341 2347",),
    ),
    Detector(
        "in-pan", "tax", "Indian tax number (PAN)", "IN",
        {"AAAAA9999A": "low"}, check="pan_in", weight=2,
        evidence=words("permanent account|pan card|pan no|pan number|income tax"), labels=words("pan"),
        against=NOT_MONEY,
        good=("PAN: ACUPA7085R",), bad=("PAN: ACUQA7085R",),
    ),
    Detector(
        "br-cpf", "identity", "Brazilian taxpayer number of a person (CPF)", "BR",
        {"999.999.999-99": "high", "99999999999": ""}, check="br.cpf", weight=5,
        evidence=words("cpf|cadastro de pessoas|contribuinte"), against=NOT_MONEY,
        good=("390.533.447-05", "CPF 39053344705"), bad=("390.533.447-06", "39053344705"),
    ),
    Detector(
        "br-cnpj", "tax", "Brazilian taxpayer number of a company (CNPJ)", "BR",
        {"99.999.999/9999-99": "high", "99999999999999": ""}, check="br.cnpj", weight=5,
        evidence=words("cnpj|cadastro nacional"), good=("16.727.230/0001-97",), bad=("16.727.230/0001-98",),
    ),
    Detector(
        "ar-cuit", "tax", "Argentinian tax number (CUIT)", "AR",
        {"99-99999999-9": "medium", "99999999999": ""}, check="ar.cuit", weight=4, evidence=words("cuit|cuil|afip"),
        against=NOT_MONEY, good=("CUIT 20-05536168-2",), bad=("CUIT 20-05536168-3",),
    ),
    Detector(
        "cl-rut", "tax", "Chilean tax number (RUT)", "CL",
        {"99.999.999-X": "medium", "9.999.999-X": "medium", "99999999-X": "low"}, check="cl.rut", weight=3,
        evidence=words("rol unico"), labels=words("rut|run"),
        against=NOT_MONEY, good=("RUT 12.531.909-2",), bad=("RUT 12.531.909-3",),
    ),
    Detector(
        "mx-curp", "identity", "Mexican population code (CURP)", "MX",
        {"AAAA999999AAAAAAX9": "high"}, check="mx.curp", weight=6, evidence=words("curp|registro de poblacion"),
        good=("BOXW310820HNERXN09",), bad=("BOXW310820HNERXN08",),
    ),
    Detector(
        "mx-rfc", "tax", "Mexican tax number (RFC)", "MX",
        {"AAAA999999XXX": "medium", "AAAA 999999 XXX": "medium", "AAA999999XXX": ""}, check="mx.rfc", weight=3,
        evidence=words("rfc|contribuyente"), labels=words("sat"), against=NOT_MONEY,
        good=("RFC GODE561231GR8",), bad=("RFC GODE561331GR8",),
    ),
    Detector(
        "za-id", "identity", "South African identity number", "ZA",
        {"9999999999999": "low", "999999 9999 999": "medium", "999999 9999 99 9": "medium"}, check="za.idnr",
        weight=4,
        evidence=words("identity number|south african id|rsa id"),
        labels=words("id number|id no|said"), against=NOT_MONEY,
        good=("ID number 7503305044089",), bad=("ID number 7503305044088",),
    ),
    Detector(
        "tr-kimlik", "identity", "Turkish identity number", "TR",
        {"99999999999": ""}, check="tr.tckimlik", weight=4, evidence=words("kimlik|tckn|t.c.|tc no|vatandaslik"),
        against=NOT_MONEY, good=("TC Kimlik No 17291716060",), bad=("TC Kimlik No 17291716050", "17291716060"),
    ),
    Detector(
        "il-id", "identity", "Israeli identity number", "IL",
        {"999999999": "", "9-9999999-9": ""}, check="il.idnr", weight=2,
        evidence=words("teudat|zehut|תעודת זהות|מספר זהות|israeli id|ת.ז"), labels=words("id number"),
        against=NOT_MONEY,
        good=("Teudat Zehut 039337423",), bad=("Teudat Zehut 039337422", "039337423"),
    ),
    Detector(
        "kr-rrn", "identity", "Korean resident number", "KR",
        {"999999-9999999": "high"}, check="kr.rrn", weight=4,
        evidence=words("주민등록번호|주민번호|resident registration|rrn"),
        against=NOT_MONEY, good=("주민등록번호 971013-9019902",), bad=("주민등록번호 971013-9019903",),
    ),
    Detector(
        "cn-ric", "identity", "Chinese identity number", "CN",
        {"99999999999999999X": "high"}, check="cn.ric", weight=6,
        evidence=words("身份证|身份證|公民身份|resident identity|shenfenzheng"),
        good=("360426199101010071",), bad=("360426199101010072",),
    ),
    Detector(
        "my-nric", "identity", "Malaysian identity number", "MY",
        {"999999-99-9999": "medium"}, check="my.nric", weight=3,
        evidence=words("nric|mykad|kad pengenalan|ic no|ic number"),
        against=NOT_MONEY, good=("MyKad 770305-02-1234",), bad=("MyKad 771305-02-1234",),
    ),
    Detector(
        "th-pin", "identity", "Thai identity number", "TH",
        {"9-9999-99999-99-9": "high", "9999999999999": ""}, check="th.pin", weight=5,
        evidence=words("บัตรประชาชน|เลขประจำตัวประชาชน|thai id|citizen id|national id"), against=NOT_MONEY,
        good=("1-2345-45678-78-1",), bad=("1-2345-45678-78-9",),
    ),
    Detector(
        "jp-my-number", "identity", "Japanese individual number (My Number)", "JP",
        {"9999 9999 9999": "", "9999-9999-9999": "", "999999999999": ""}, check="jp.in_", weight=3,
        evidence=words("マイナンバー|個人番号|my number|individual number"), against=NOT_MONEY,
        good=("マイナンバー 6214 9832 0257",), bad=("マイナンバー 6214 9832 0258", "6214 9832 0257"),
    ),
    Detector(
        "ua-rntrc", "tax", "Ukrainian taxpayer number", "UA",
        {"9999999999": ""}, check="ua.rntrc", weight=3, evidence=words("рнокпп|іпн|rnokpp|податк"), against=NOT_MONEY,
        good=("РНОКПП 1759013776",), bad=("РНОКПП 1759013770", "1759013776"),
    ),
    Detector(
        "ru-inn", "tax", "Russian taxpayer number (INN)", "RU",
        {"9999999999": "", "999999999999": ""}, check="ru.inn", weight=3, evidence=words("инн|inn|налогоплательщик"),
        against=NOT_MONEY, good=("ИНН 123456789047",), bad=("ИНН 123456789037", "123456789047"),
    ),
    Detector(
        "passport", "identity", "passport number, with words near",
        forms={"A99999999": "", "A9999999": "", "AA9999999": "", "999999999": "", "99AA99999": "", "AA999999": ""},
        check="passport", weight=0, near="medium", window=60,
        evidence=words("passport|reisepass|passeport|pasaporte|passaporto|paspoort|passaporte|paszport|pas nr|паспорт"
                       "|护照|パスポート|여권"),
        against=NOT_MONEY, good=("passport no C01234567", "Passeport: 12AB34567"), bad=("C01234567",
        "passport no 12345"),
    ),
    Detector(
        "mrz", "identity", "machine readable line of a passport",
        pattern=r"\b[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{6}[0-9][MFX<][0-9]{6}[0-9][A-Z0-9<]{14}[0-9<][0-9]",
        level="high", check="mrz", weight=9, evidence=words("passport"),
        good=("L898902C36UTO7408122F1204159ZE184226B<<<<<10",), bad=("L898902C36UTO7408122F1204159ZE184226B<<<<<11",),
    ),
    Detector(
        "phone", "contact", "telephone number in international form",
        pattern=r"\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}\b",
        level="high", check="phone", weight=0, evidence=words("phone|tel|mobile|call|telefon"),
        good=("+49 30 1234567", "+1 (212) 555-0147"), bad=("030 1234567", "+1 111 111 1111"),
    ),
)  # fmt: skip
