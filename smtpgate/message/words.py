"""Octets of a header field or body to text: charsets by their labels, encoded words, raw 8-bit.

`params`, `mailbox` and whoever shows or searches a text call it. It never raises and never refuses: what cannot be
decoded is shown with replacement characters. Only charsets of a closed table are looked up, since a label comes from
a stranger: the codec registry would try to import a module for each unknown name and remember it for ever, and it
knows codecs that are no charsets. Labels mean what browsers and mail programs take them for (latin-1 is windows-1252).

`decode` gives text for people: control characters become blanks, so that a line feed in an encoded word starts no
line. Marks that turn letters round stay: whoever judges wants to see them.

RFC 2047, RFC 2231 section 5 (language), RFC 6532; WHATWG Encoding Standard (what labels mean in practice).
"""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases
from typing import Final

#: Codecs of the library that are no charsets, or that take quadratic time (punycode, idna).
_NO_CHARSETS: Final = frozenset(
    [
        "base64_codec",
        "bz2_codec",
        "hex_codec",
        "quopri_codec",
        "rot_13",
        "uu_codec",
        "zlib_codec",
        "mbcs",
        "oem",
        "punycode",
        "idna",
        "unicode_escape",
        "raw_unicode_escape",
        "undefined",
    ]
)
#: Codecs that the alias table does not name as targets.
_MORE: Final = [
    "cp720",
    "cp737",
    "cp856",
    "cp874",
    "cp875",
    "cp949",
    "cp950",
    "cp1006",
    "cp1140",
    "koi8_r",
    "koi8_t",
    "koi8_u",
    "kz1048",
    "mac_arabic",
    "mac_croatian",
    "mac_farsi",
    "mac_romanian",
    "utf_8_sig",
    "utf_16",
    "utf_16_le",
    "utf_16_be",
    "utf_32",
    "utf_32_le",
    "utf_32_be",
    "utf_7",
    "shift_jis_2004",
    "shift_jisx0213",
]
#: Codecs that browsers read as a larger one, since that is what is sent under their label.
_LARGER: Final = {
    "ascii": "",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "utf_8": "utf_8",
    "utf_8_sig": "utf_8_sig",
}
_LABELS: Final = {
    **{name: name for name in _MORE},
    **{name: name for name in aliases.values() if name not in _NO_CHARSETS},
    **{label: name for label, name in aliases.items() if name not in _NO_CHARSETS},
    "windows_874": "cp874",
    "windows_31j": "cp932",
    "windows_949": "cp949",
    "windows_950": "cp950",
    "x_sjis": "cp932",
    "x_gbk": "gb18030",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "unicode_1_1_utf_7": "utf_7",
    "x_unicode_2_0_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "unicode_1_1_utf_8": "utf_8",
    "ansi_x3_110_1983": "latin_1",
    "iso_10646_ucs_2": "utf_16_be",
}
#: Codecs whose result may hold halves of surrogate pairs, which no UTF-8 output takes.
_HALVES: Final = frozenset({"utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"})
#: Longest label that is looked at: the longest registered one has 45 letters.
_LABEL: Final = 60
_NO_LETTERS: Final = re.compile(r"[^a-z0-9]+")
_CONTROLS: Final = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


def codec(label: str) -> str:
    """The codec for a charset label; "" where it is not known, or says no more than "plain text" (us-ascii)."""
    key = _NO_LETTERS.sub("_", label[:_LABEL].lower()).strip("_")
    name = _LABELS.get(key, "")
    return _LARGER.get(name, name)


def to_text(octets: bytes, charset: str = "") -> str:
    """Text of a body: by the declared charset where it is known, else as `raw_text` does. Keeps control characters."""
    name = codec(charset)
    if not name:
        return raw_text(octets)
    try:
        text = octets.decode(name, "replace")
    except UnicodeError:
        return raw_text(octets)
    return text.encode("utf-8", "replace").decode("utf-8") if name in _HALVES else text


def raw_text(octets: bytes, charset: str = "") -> str:
    """Text of undeclared octets: UTF-8 where they are, else in that charset, else windows-1252."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        name = codec(charset)
    if name and name != "utf_8":
        return to_text(octets, charset)
    return octets.decode("cp1252", "replace")


def clean(text: str) -> str:
    """Text for a person: control characters and line separators become blanks, outer blanks go."""
    return text.translate(_CONTROLS).strip()


def lenient_base64(octets: bytes) -> bytes:
    """Base64 without padding inside: foreign characters are skipped, what is missing at the end is made up for."""
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        pass
    try:
        return binascii.a2b_base64(octets + b"===")
    except binascii.Error:
        # One character is left over. It holds no whole octet; three more make a group that is cut off again.
        return binascii.a2b_base64(octets.replace(b"=", b"") + b"AAA")[:-3]


def decode(value: bytes, charset: str = "") -> str:
    """A field's unfolded value as a person reads it: encoded words decoded, the rest as `raw_text`, cleaned.

    :param charset: of raw octets that are not UTF-8
    """
    if b"=?" not in value:
        return clean(raw_text(value, charset))
    return clean("".join(_pieces(value, charset)))


def _pieces(value: bytes, charset: str) -> list[str]:
    pieces: list[str] = []
    held: list[bytes] = []  # Octets of adjacent words of one charset: a letter may be cut in two by them.
    label = ""
    position = at = 0
    end = -1
    while True:
        at = value.find(b"=?", at)
        if at < 0:
            break
        start = _start(value, at)
        if start and end < start:
            end = value.find(b"?=", start)
            if end < 0:
                break
        if not start or value.find(b"=?", start, end) >= 0:
            at += 2
            continue
        gap = value[position:at]
        if gap and (gap.strip(b" \t\r\n") or not held):
            pieces += _flush(held, label)
            pieces.append(raw_text(gap, charset))
        name = value[at + 2 : start - 3].partition(b"*")[0].decode("ascii", "replace")
        if held and name.lower() != label.lower():
            pieces += _flush(held, label)
        label = name
        word = value[start:end]
        if value[start - 2 : start - 1] in b"Bb":
            held.append(lenient_base64(word))
        else:
            held.append(binascii.a2b_qp(word.replace(b"=\r", b"=3D\r").replace(b"=\n", b"=3D\n"), header=True))
        position = at = end + 2
    pieces += _flush(held, label)
    pieces.append(raw_text(value[position:], charset))
    return pieces


def _start(value: bytes, at: int) -> int:
    """Where the text of the encoded word begins whose "=?" is there; 0 where there is none."""
    mark = value.find(b"?", at + 2, at + 2 + _LABEL)
    if (
        mark <= at + 2
        or value[mark + 2 : mark + 3] != b"?"
        or value[mark + 1 : mark + 2] not in (b"B", b"b", b"Q", b"q")
    ):
        return 0
    return mark + 3


def _flush(held: list[bytes], label: str) -> list[str]:
    if not held:
        return []
    text = to_text(b"".join(held), label)
    held.clear()
    return [text]
