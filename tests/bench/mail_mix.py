"""The mail of the filter benchmark: a mix of sizes and forms, the same for each seed, every message DKIM-signed.

`filters` makes it once before anything is measured. Sizes are drawn evenly on a logarithmic scale within four classes,
so that most messages are small and most octets are in few large ones, as in real mail. Small ones are text or HTML
with links, middle ones newsletters, large ones carry a PDF, a Word document or a ZIP archive that programs can open.
Each sender's domain has SPF, a DKIM key and a DMARC policy of reject in `ZONES`, so every message passes all of them.

Beside the mix there are the probes: messages that one check each must refuse. They show that a server under test does
the work at all.
"""

from __future__ import annotations

import base64
import io
import math
import random
import zipfile
import zlib
from email.message import EmailMessage
from email.policy import SMTP

import attrs
import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from PIL import Image

from tests.files_kit import numbered

RECIPIENT = "user@inbox.test"
DOMAINS = 20
#: Share of the messages, and from how many octets to how many.
CLASSES = ((0.4, 2_000, 5_000), (0.3, 10_000, 50_000), (0.2, 100_000, 300_000), (0.1, 1_000_000, 1_050_000))
#: Nothing is sent to these; Haraka looks no address up that documents or private networks use.
LISTED_CLIENT, FORGING_CLIENT, LISTED_HOST = "28.200.113.66", "28.51.100.9", "listed.example.com"
BLOCK_LISTS = ("one.dnsbl.test", "two.dnsbl.test", "three.dnsbl.test")

_SIGNED = (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type")
_WORDS = (
    "meeting order invoice delivery report customer project schedule number question answer morning office table "
    "window account service update summary budget contract travel ticket hotel garden weather music paper school "
    "team result change release server network system letter please thanks regards tomorrow friday week month year "
    "about after again before between could every first found great house large later little never other people "
    "place right small sound still their there these think three under water where which while world would write"
).split()


@attrs.frozen
class Mail:
    """One message with its envelope.

    :ivar client: the address in the PROXY header before it
    """

    client: str
    helo: str
    sender: str
    content: bytes


@attrs.frozen
class Mix:
    """Everything that is sent, and what the DNS says of it.

    :ivar probes: by the check that must refuse each; "good" must pass
    :ivar zones: records as text by name and type
    """

    warm: list[Mail]
    mails: list[Mail]
    probes: dict[str, Mail]
    zones: dict[tuple[str, str], list[str]]


def make(count: int, warm: int, seed: int) -> Mix:
    """The mix: `count` messages to measure, `warm` others before them."""
    rng = random.Random(seed)
    # Boundaries of parts are drawn from the one that all share.
    random.seed(seed)
    key = rsa.generate_private_key(65537, 2048)
    sizes = [_size(rng, at / count) for at in range(count)]
    rng.shuffle(sizes)
    warm_sizes = [_size(rng, at / max(warm, 1)) for at in range(warm)]
    rng.shuffle(warm_sizes)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    mails = [_mail(rng, number, size, pem) for number, size in enumerate([*warm_sizes, *sizes])]
    return Mix(mails[:warm], mails[warm:], _probes(rng, pem), _zones(key))


def _size(rng: random.Random, place: float) -> int:
    """Octets of a message whose place in the row of sizes is between 0 and 1."""
    for share, least, most in CLASSES:
        if place < share:
            return round(math.exp(rng.uniform(math.log(least), math.log(most))))
        place -= share
    return CLASSES[-1][1]


def _mail(rng: random.Random, number: int, size: int, pem: bytes) -> Mail:
    domain = rng.randrange(DOMAINS)
    message = _head(rng, domain, number)
    if size < 6_000 and number % 2:
        message.set_content(_text(rng, size - 1_300), cte="7bit")
    else:
        attached = size > 90_000
        room = (rng.randrange(3_000, 12_000) if attached else size - 1_500) * 0.93
        message.set_content(_text(rng, min(round(room / 4), 4_000)), cte="7bit")
        message.add_alternative(_page(rng, domain, round(room * 0.75)), subtype="html", cte="quoted-printable")
        if attached:
            _attach(rng, message, number, round((size - room - 2_000) * 0.73))
    return Mail(f"28.200.113.{domain + 1}", f"mail.d{domain}bench.com", _address(domain), _signed(message, domain, pem))


def _address(domain: int) -> str:
    return f"news@d{domain}bench.com"


def _head(rng: random.Random, domain: int, number: int) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Received"] = (
        f"from app{rng.randrange(9)}.d{domain}bench.com (app [10.0.0.5]) by mail.d{domain}bench.com; "
        "Wed, 25 Nov 2026 10:00:00 +0000"
    )
    message["From"] = f"{rng.choice(_WORDS).title()} Team <{_address(domain)}>"
    message["To"] = f"User <{RECIPIENT}>"
    message["Subject"] = " ".join(rng.choices(_WORDS, k=6))
    message["Date"] = "Wed, 25 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = f"<{number}.{rng.randrange(1 << 32):08x}@d{domain}bench.com>"
    return message


def _signed(message: EmailMessage, domain: int, pem: bytes) -> bytes:
    content = message.as_bytes()
    head: bytes = dkim.sign(
        content, b"s1", f"d{domain}bench.com".encode(), pem, canonicalize=(b"relaxed", b"relaxed"),
        include_headers=list(_SIGNED),
    )  # fmt: skip
    return head + content


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randrange(8, 14))).capitalize() + "."


def _text(rng: random.Random, size: int) -> str:
    lines: list[str] = []
    left = size
    while left > 0:
        lines.append(_sentence(rng)[:78])
        left -= len(lines[-1]) + 2
    return "\n".join(lines) + "\n"


def _page(rng: random.Random, domain: int, size: int) -> str:
    rows: list[str] = []
    # Quoted-printable makes it a little longer.
    left = size * 0.92 - 300
    while left > 0:
        way = "/".join(rng.choices(_WORDS, k=3))
        rows.append(
            '<tr><td style="font-family:Arial,sans-serif;font-size:14px;color:#333333;padding:8px 16px">\n'
            f"<h2>{' '.join(rng.choices(_WORDS, k=3))}</h2><p>{_sentence(rng)} {_sentence(rng)}</p>\n"
            f'<p><a href="https://www{rng.randrange(4)}.d{domain}bench.com/{way}?u={rng.randrange(1 << 40):x}&amp;c=7">'
            f'{" ".join(rng.choices(_WORDS, k=2))}</a> <img src="https://img.d{domain}bench.com/{way}.png" '
            'width="120" height="60" alt=""></p></td></tr>\n'
        )
        left -= len(rows[-1])
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>News</title><style>body{margin:0;padding:0}'
        'a{color:#0645ad}</style></head>\n<body><table width="600" cellpadding="0" cellspacing="0">\n'
        f"{''.join(rows)}</table></body></html>\n"
    )


# Attachments


def _attach(rng: random.Random, message: EmailMessage, number: int, size: int) -> None:
    kind = ("pdf", "docx", "zip")[number % 3]
    maintype, subtype = "application", kind
    if kind == "pdf":
        octets = _pdf(rng, size)
    elif kind == "docx":
        subtype = "vnd.openxmlformats-officedocument.wordprocessingml.document"
        octets = _docx(rng, size)
    else:
        octets = _zip(rng, size)
    message.add_attachment(octets, maintype, subtype, filename=f"{rng.choice(_WORDS)}-{number}.{kind}")


def _picture(rng: random.Random, size: int) -> bytes:
    """A photograph of about that size: large shapes and some noise; two bits for each pixel, as cameras have it."""
    width = max(32, round(math.sqrt(size * 4 * 4 / 3)))
    height = width * 3 // 4
    shapes = Image.frombytes("RGB", (16, 12), rng.randbytes(16 * 12 * 3))
    noise = Image.frombytes("L", (width, height), rng.randbytes(width * height)).convert("RGB")
    made = io.BytesIO()
    whole = Image.blend(shapes.resize((width, height), Image.Resampling.BICUBIC), noise, 0.12)
    whole.save(made, "JPEG", quality=80)
    return made.getvalue()


def _pdf(rng: random.Random, size: int) -> bytes:
    """Pages of text, and a picture that takes the most of it."""
    pages = 3 + size // 100_000
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (pages, b" ".join(b"%d 0 R" % (5 + 2 * page) for page in range(pages))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _stream(
            b"/Type /XObject /Subtype /Image /Width 800 /Height 600 /ColorSpace /DeviceRGB /BitsPerComponent 8 "
            b"/Filter /DCTDecode",
            _picture(rng, size - pages * 1_500),
        ),
    ]
    for page in range(pages):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> "
            b"/XObject << /I1 4 0 R >> >> /Contents %d 0 R >>" % (6 + 2 * page)
        )
        lines = "".join(f"({_sentence(rng)}) Tj T* " for _ in range(30))
        objects.append(_stream(b"/Filter /FlateDecode", zlib.compress(f"BT /F1 10 Tf 12 TL {lines}ET".encode())))
    return numbered(objects)


def _stream(entries: bytes, octets: bytes) -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(octets), entries, octets)


def _packed(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 25, 10, 0, 0)), octets, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _docx(rng: random.Random, size: int) -> bytes:
    paragraphs = "".join(f"<w:p><w:r><w:t>{_sentence(rng)}</w:t></w:r></w:p>" for _ in range(120))
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="jpeg" ContentType="image/jpeg"/>'
        f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{relation}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": "<Relationships "
        'xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{relation}/image" Target="media/image1.jpeg"/></Relationships>',
        "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        f"<w:body>{paragraphs}</w:body></w:document>",
    }
    members = {name: (head + text).encode() for name, text in parts.items()}
    return _packed(members | {"word/media/image1.jpeg": _picture(rng, size - 9_000)})


def _zip(rng: random.Random, size: int) -> bytes:
    members = {f"notes/{rng.choice(_WORDS)}-{at}.txt": _text(rng, 4_000).encode() for at in range(4)}
    table = "".join(f"{at},{rng.choice(_WORDS)},{rng.randrange(10_000)}\r\n" for at in range(400))
    pictures = {f"photos/{at}.jpg": _picture(rng, (size - 14_000) // 3) for at in range(3)}
    return _packed(members | {"table.csv": table.encode()} | pictures)


# Probes and zones


def _probes(rng: random.Random, pem: bytes) -> dict[str, Mail]:
    def one(client: str, fill: str = "", is_signed: bool = True) -> Mail:
        message = _head(rng, 0, rng.randrange(1 << 20))
        message.set_content("Hello,\n\nplease find it below.\n" + fill, cte="7bit")
        if fill.startswith("file"):
            program = b"MZ\x90\x00" + bytes(56) + b"\x40\x00\x00\x00PE\x00\x00\x4c\x01" + rng.randbytes(2_000)
            message.add_attachment(program, "application", "octet-stream", filename="setup.exe")
        content = _signed(message, 0, pem) if is_signed else message.as_bytes()
        return Mail(client, "mail.d0bench.com", _address(0), content)

    return {
        "good": one("28.200.113.1"),
        "attachment": one("28.200.113.1", "file below\n"),
        "dnsbl": one(LISTED_CLIENT),
        "dmarc": one(FORGING_CLIENT, is_signed=False),
        "url": one("28.200.113.1", f"See https://{LISTED_HOST}/offer now\n"),
    }


def _zones(key: rsa.RSAPrivateKey) -> dict[tuple[str, str], list[str]]:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found: dict[tuple[str, str], list[str]] = {}
    for at in range(DOMAINS):
        domain, address = f"d{at}bench.com", f"28.200.113.{at + 1}"
        found |= {
            (domain, "TXT"): [f"v=spf1 include:_spf.{domain} -all", "verification=abcdef0123456789"],
            (f"_spf.{domain}", "TXT"): ["v=spf1 ip4:192.0.2.0/24 ip4:28.200.113.0/24 ~all"],
            (f"mail.{domain}", "TXT"): ["v=spf1 a -all"],
            (f"mail.{domain}", "A"): [address],
            (f"{at + 1}.113.200.28.in-addr.arpa", "PTR"): [f"mail.{domain}"],
            (f"s1._domainkey.{domain}", "TXT"): ["v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()],
            (f"_dmarc.{domain}", "TXT"): ["v=DMARC1; p=reject"],
            (domain, "MX"): [f"10 mail.{domain}"],
            (domain, "A"): [address],
        }
    for zone in BLOCK_LISTS:
        found[f"2.0.0.127.{zone}", "A"] = ["127.0.0.2"]
    reverse = ".".join(reversed(LISTED_CLIENT.split(".")))
    found[f"{reverse}.{BLOCK_LISTS[0]}", "A"] = ["127.0.0.2"]
    found[f"{reverse}.{BLOCK_LISTS[0]}", "TXT"] = ["sends spam"]
    return found
