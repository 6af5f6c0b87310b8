"""The text of RTF files, as a word processor shows it.

`reading` calls `read_rtf`; embedded objects come from `richtext`. One pass over control words, braces and letters:
letters by their number in the code page that the file names or a font has, letters of Unicode, and what stands behind
these for old readers dropped. Tables of fonts, colours and styles and pictures are passed; what else stands in a group
of its own (notes, fields, properties, unknown ones) is written aside, since it cuts the line that it stands in.

Rich Text Format 1.9.1, "Formal Syntax", "Unicode RTF", "Document Text"."""

from __future__ import annotations

import re
from typing import Final

from smtpgate.examine.gathering import Draft
from smtpgate.message.words import codec

_TOKEN: Final = re.compile(
    rb"\\'([0-9a-fA-F]{2})|\\([a-zA-Z]{1,32})(-?[0-9]{1,10})? ?|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)|[\r\n]+"
)
_CODE, _WORD, _NUMBER, _SIGN, _BRACE, _LETTERS = range(1, 7)
#: Groups that hold nothing which a person wrote.
_PASSED_WORDS: Final = (
    "fonttbl colortbl stylesheet listtable listoverridetable rsidtbl generator themedata colorschememapping"
    " pict datastore latentstyles objdata blipuid xmlnstbl mmathpr pgdsctbl datafield revtbl filetbl panose"
    " falt listpicture picprop shppict nonshppict objclass objname levelnumbers leveltext listname"
    " passwordhash background"
)
_PASSED: Final = frozenset(_PASSED_WORDS.split())
#: Groups beside the line that they stand in.
_BESIDE_WORDS: Final = (
    "footnote annotation atnid atnauthor fldinst info title subject author keywords comment doccomm company"
    " manager operator category hlinkbase header headerl headerr headerf footer footerl footerr footerf shptxt"
    " docvar userprops bkmkstart bkmkend shpinst dptxbxtext ud"
)
_BESIDE: Final = frozenset(_BESIDE_WORDS.split())
_LINES: Final = frozenset({"par", "line", "sect", "page", "row", "nestrow", "softline", "column"})
_CELLS: Final = frozenset({"cell", "nestcell", "tab"})
_SIGNS: Final = {
    "emdash": "\u2014", "endash": "\u2013", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c",
    "rdblquote": "\u201d", "bullet": "\u2022", "emspace": " ", "enspace": " ", "qmspace": " ",
}  # fmt: skip
_SETTING: Final = frozenset({"uc", "ansicpg", "mac", "pc", "pca", "f", "fcharset"})
_KNOWN: Final = _PASSED | _BESIDE | _LINES | _CELLS | _SETTING | frozenset(_SIGNS)
#: Code pages by the character set of a font.
_CHARSETS: Final = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gb18030", 136: "big5hkscs", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 255: "cp437",
}  # fmt: skip
#: Groups in groups; Word itself stops at some hundred.
_DEEP: Final = 2000
_FONTS: Final = 10_000


class _State:
    """What a group inherits."""

    __slots__ = ("is_beside", "is_font_table", "is_passed", "font", "skip")

    def __init__(self, above: _State | None = None) -> None:
        self.is_passed: bool = above.is_passed if above else False
        self.is_font_table: bool = above.is_font_table if above else False
        self.font: str = above.font if above else ""
        self.skip: int = above.skip if above else 1
        self.is_beside = False


def read_rtf(content: bytes, draft: Draft) -> None:
    """Write the text. Raises Enough."""
    _Text(draft).run(content)


class _Text:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._page = "cp1252"
        self._fonts: dict[str, str] = {}
        self._defined = ""
        self._stack: list[_State] = []
        self._state = _State()
        self._octets = bytearray()
        self._skip = 0
        self._high = 0

    def run(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            at = self._run(content, at)
        self._flush()

    def _run(self, content: bytes, at: int) -> int:
        """Tokens up to the end or the next octets that are no text; gives where to go on."""
        for count, found in enumerate(_TOKEN.finditer(content, at)):
            if count % 4096 == 0:
                self._draft.check()
            which = found.lastindex
            if which == _LETTERS:
                self._letter(found[_LETTERS])
            elif which == _BRACE:
                self._flush()
                self._skip = 0
                self._begin() if found[_BRACE] == b"{" else self._end()
            elif which == _CODE:
                self._letter(bytes((int(found[_CODE], 16),)))
            elif which == _SIGN:
                self._sign(found[_SIGN])
            elif which is not None:
                word = found[_WORD]
                number = int(found[_NUMBER]) if which == _NUMBER else 0
                if word == b"bin":
                    return found.end() + max(0, number)
                self._word(word.decode("ascii"), number)
        return len(content)

    def _begin(self) -> None:
        if len(self._stack) < _DEEP:
            self._stack.append(self._state)
            self._state = _State(self._state)

    def _end(self) -> None:
        if self._state.is_beside:
            self._draft.end_aside()
        if self._stack:
            self._state = self._stack.pop()

    def _beside(self) -> None:
        if not self._state.is_beside and not self._state.is_passed:
            self._state.is_beside = True
            self._draft.begin_aside()

    def _letter(self, octets: bytes) -> None:
        if self._skip:
            dropped = min(self._skip, len(octets))
            self._skip -= dropped
            octets = octets[dropped:]
        if octets and not self._state.is_passed:
            self._octets += octets

    def _flush(self) -> None:
        """Octets become letters once all of them are there, since one letter may have two."""
        if self._octets:
            name = self._fonts.get(self._state.font, "") or self._page
            self._draft.write(self._octets.decode(name, "replace"))
            self._octets.clear()

    def _say(self, text: str) -> None:
        self._flush()
        if not self._state.is_passed:
            self._draft.write(text)

    def _sign(self, sign: bytes) -> None:
        if sign == b"*":
            # Unknown to old readers; what it is the next word says.
            self._flush()
            self._beside()
        elif sign in b"\\{}":
            self._letter(sign)
        elif sign == b"~":
            self._say("\u00a0")
        elif sign == b"_":
            self._say("-")
        elif sign in b"\r\n":
            self._flush()
            self._draft.end_line()

    def _word(self, word: str, value: int) -> None:
        """One control word."""
        if word == "u":
            self._unicode(value)
            return
        if word not in _KNOWN:
            # As most, which say how letters look.
            return
        self._flush()
        state = self._state
        if word in _PASSED:
            state.is_font_table = state.is_font_table or word == "fonttbl"
            state.is_passed = True
        elif word in _BESIDE:
            self._beside()
        elif word == "uc":
            state.skip = max(0, min(value, 100))
        elif word == "ansicpg":
            self._page = codec(f"cp{value}") or codec(f"windows-{value}") or "cp1252"
        elif word == "mac":
            self._page = "mac_roman"
        elif word in ("pc", "pca"):
            self._page = "cp437" if word == "pc" else "cp850"
        elif word == "f":
            state.font = str(value)
            self._defined = state.font
        elif word == "fcharset":
            if state.is_font_table and len(self._fonts) < _FONTS and value in _CHARSETS and value:
                self._fonts[self._defined] = _CHARSETS[value]
        elif state.is_passed:
            return
        elif word in _LINES:
            self._draft.end_line()
        elif word in _CELLS:
            self._draft.end_cell() if word != "tab" else self._draft.write("\t")
        elif word in _SIGNS:
            self._draft.write(_SIGNS[word])

    def _unicode(self, value: int) -> None:
        self._flush()
        self._skip = self._state.skip
        code = value % 0x10000
        if 0xD800 <= code < 0xDC00:
            self._high = code
            return
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((self._high - 0xD800) << 10) + code - 0xDC00 if self._high else 0xFFFD
        self._high = 0
        if not self._state.is_passed:
            self._draft.write(chr(code))


#: What stands before the packed text of Outlook ([MS-OXRTFCP] section 3.1.2).
_PRELOADED: Final = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript"
    b" \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par"
    b" \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_WINDOW: Final = 4096


def unpacked(packed: bytes, most: int) -> bytes:
    """RTF as Outlook packs it in .msg files and winmail.dat; what could be unpacked of a broken one.

    [MS-OXRTFCP] section 3.1.3.
    """
    length, kind = int.from_bytes(packed[4:8], "little"), packed[8:12]
    if kind == b"MELA":
        return packed[16 : 16 + length]
    if kind != b"LZFu":
        return b""
    window = bytearray(_PRELOADED.ljust(_WINDOW, b"\0"))
    place = len(_PRELOADED)
    out = bytearray()
    at = 16
    while at < len(packed) and len(out) < min(length, most):
        control = packed[at]
        at += 1
        for bit in range(8):
            if at >= len(packed):
                break
            if control >> bit & 1:
                pair = int.from_bytes(packed[at : at + 2], "big")
                at += 2
                offset, count = pair >> 4, (pair & 15) + 2
                if offset == place:
                    return bytes(out)
                for _ in range(count):
                    octet = window[offset]
                    out.append(octet)
                    window[place] = octet
                    offset, place = (offset + 1) % _WINDOW, (place + 1) % _WINDOW
            else:
                out.append(packed[at])
                window[place] = packed[at]
                place = (place + 1) % _WINDOW
                at += 1
    return bytes(out)
