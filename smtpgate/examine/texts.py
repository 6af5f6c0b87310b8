"""Texts as a person reads them: octets to letters, lines joined again, and what of it is seen at all.

`markup` asks `styled` whether an element's text is seen; whoever has a text part asks `decoded`. The charset is that of
the mark at the beginning, else the declared one, else that of the page itself, else what the octets look like, as
browsers do it; where two programs would read two texts, both are given. Nothing is refused and nothing raises: what
cannot be decoded is shown with replacement characters. Of CSS only what takes text out of sight is read.

RFC 3676 (format=flowed); WHATWG Encoding standard and HTML section 13.2.3.2 (which charset); CSS 2.2 sections 4.1
(escapes) and 6.1 (what is inherited).
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import AnyStr, Final

import attrs

from smtpgate.message.words import clean, codec, raw_text, to_text

#: Letters of one text that are read: four octets each make 16 MiB, more than the usual limit of a message.
LETTERS: Final = 4 << 20
#: Plain rules of style sheets that are kept; newsletters have some hundreds.
RULES: Final = 2000
#: So far a page is searched for its charset; browsers look at 1,024 octets.
_HEAD_OCTETS: Final = 1024
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_META: Final = re.compile(rb"<meta[^<>]{0,300}charset\s{0,20}=\s{0,20}[\"']?([\w:.-]{2,60})", re.IGNORECASE)
#: Characters that are not seen; some languages need the joiners, so few of them say nothing.
ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u2061\u2062\u2063\u2064"
_NO_ZERO: Final = dict.fromkeys(map(ord, ZERO_WIDTH))
#: Marks that turn the order of letters: overrides, embeddings and isolates.
_TURNING: Final = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
_DISGUISE_LETTERS: Final = 65_536
#: Style properties that can hide text; others are not kept.
_HIDING: Final = frozenset(
    (
        "display", "visibility", "opacity", "font", "font-size", "color", "background", "background-color", "height",
        "max-height", "width", "max-width", "overflow", "overflow-y", "text-indent", "position", "left", "top", "clip",
        "transform", "margin-left", "margin-top",
    )
)  # fmt: skip
_LENGTH: Final = re.compile(r"(-?\d{0,6}\.?\d{0,6})\s?(px|pt|em|rem|ex|%|vw|vh|in|cm|mm)?$")
_SELECTOR: Final = re.compile(r"(?:[a-z][a-z0-9]{0,15})?(?:[.#][\w-]{1,80})?$")
_ESCAPE: Final = re.compile(r"\\([0-9a-f]{1,6})\s?|\\(.)")
#: Colours nearer than this in each of red, green and blue are one to the eye.
_NEAR: Final = 16


@attrs.frozen
class Decoded:
    """A text out of octets.

    :ivar charset: codec that it was read by; "" where it was guessed
    :ivar others: what other programs would read
    """

    text: str
    charset: str = ""
    others: tuple[str, ...] = ()
    is_cut: bool = False


def decoded(octets: bytes, charset: str = "", *, is_markup: bool = False, most: int = LETTERS) -> Decoded:
    """The text of a part or file.

    :param charset: as declared; may be unknown or a lie
    :param most: letters that are read
    """
    kept = octets[: 4 * most]
    told = codec(charset)
    for mark, name in _MARKS:
        if kept.startswith(mark):
            text = to_text(kept[len(mark) :], name)
            others = (
                () if not told or told.partition("_sig")[0] in name.replace("-", "_") else (to_text(kept, charset),)
            )
            return _bounded(text, name, others, most, len(kept) < len(octets))
    guessed = _sixteen(kept)
    if told == "utf_7":
        # No browser reads it any more, some mail programs do.
        return _bounded(raw_text(kept), "", (to_text(kept, charset),), most, len(kept) < len(octets))
    if told and not (told.startswith(("utf_16", "utf_32")) and not guessed and kept.isascii()):
        others = (to_text(kept, guessed),) if guessed and not told.startswith(("utf_16", "utf_32")) else ()
        return _bounded(to_text(kept, charset), told, others, most, len(kept) < len(octets))
    if told:
        # Called UTF-16, and plain letters in truth: programs differ in what they believe.
        return _bounded(raw_text(kept), "", (to_text(kept, charset),), most, len(kept) < len(octets))
    if guessed:
        return _bounded(to_text(kept, guessed), guessed, (), most, len(kept) < len(octets))
    found = _META.search(kept[:_HEAD_OCTETS]) if is_markup else None
    own = codec(found[1].decode("ascii", "replace")) if found is not None else ""
    if own.startswith(("utf_16", "utf_32", "utf_7")):
        own = ""  # It could be read, so that it is none of these.
    return _bounded(to_text(kept, own) if own else raw_text(kept), own, (), most, len(kept) < len(octets))


def _bounded(text: str, charset: str, others: tuple[str, ...], most: int, is_cut: bool) -> Decoded:
    other = tuple(one[:most] for one in others if one != text)
    return Decoded(text[:most], charset, other, is_cut or len(text) > most)


def _sixteen(octets: bytes) -> str:
    """UTF-16 without a mark, told by the zeros of Latin letters; "" where it is not."""
    head = octets[:512]
    if len(head) < 4 or b"\0" not in head:
        return ""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 * half and odd < 0.1 * half else ""


def flowed(text: str, *, is_spaceless: bool = False) -> str:
    """Text of format=flowed with its soft line ends undone: a phrase or URL is in one piece again.

    :param is_spaceless: DelSp=yes, the blank before a soft line end is none of the text
    """
    out: list[str] = []
    held: list[str] = []
    depth = 0
    for line in text.replace("\r\n", "\n").split("\n"):
        plain = line.lstrip(">")
        quotes = len(line) - len(plain)
        plain = plain.removeprefix(" ")
        if held and quotes != depth:
            out.append("".join(held))
            held = []
        if plain.endswith(" ") and plain != "-- ":
            held.append(plain[:-1] if is_spaceless else plain)
        else:
            out.append("".join([*held, plain]))
            held = []
        depth = quotes
    return "\n".join([*out, "".join(held)] if held else out)


def without_zero_width(text: str) -> str:
    """The text without characters that are not seen."""
    return text.translate(_NO_ZERO)


def for_display(text: str, most: int = 500) -> str:
    """A short text for a page or log: one line, without control characters and marks that turn it round."""
    plain = clean(" ".join(text[: 8 * most].split()))
    plain = "".join(letter for letter in plain if letter not in _TURNING and letter not in ZERO_WIDTH)
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def disguises(text: str) -> dict[str, float]:
    """How words are disguised, by name: only what is there. Bounded by the first 65,536 letters.

    `zero-width-words`: with unseen characters between Latin letters; `mixed-words`: with letters of two alphabets;
    `turned`: marks that turn letters round; `private-letters`: of no script, as fonts bring them along.
    """
    text = text[:_DISGUISE_LETTERS]
    if text.isascii():
        return {}
    counts = {"zero-width-words": 0, "mixed-words": 0, "turned": 0, "private-letters": 0}
    for word in text.split():
        if word.isascii():
            continue
        plain = word.strip(ZERO_WIDTH)
        bare = plain.translate(_NO_ZERO)
        latin = any("a" <= letter.lower() <= "z" for letter in bare)
        counts["zero-width-words"] += latin and bare != plain
        counts["mixed-words"] += latin and any(
            _alphabet(letter) in ("CYRILLIC", "GREEK", "CHEROKEE") for letter in bare
        )
        counts["turned"] += sum(letter in _TURNING for letter in word)
        counts["private-letters"] += sum("\ue000" <= letter <= "\uf8ff" for letter in word)
    return {name: float(count) for name, count in counts.items() if count}


def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter > "\u0370" else ""


# Sight: what of a page is seen

Colour = tuple[int, int, int]


@attrs.frozen
class Sight:
    """How text is seen at a place; None for a colour that is not known.

    :ivar is_hidden: out of sight for good; `is_invisible` and `is_tiny` can be taken back by an element inside
    """

    is_hidden: bool = False
    is_invisible: bool = False
    is_tiny: bool = False
    colour: Colour | None = (0, 0, 0)
    ground: Colour | None = (255, 255, 255)

    #: Whether a person could read it.
    is_seen: bool = attrs.field(init=False, eq=False)

    @is_seen.default
    def _seen(self) -> bool:
        if self.is_hidden or self.is_invisible or self.is_tiny:
            return False
        return self.colour is None or self.ground is None or not _is_near(self.colour, self.ground)


def read_sheet(sheet: str, rules: dict[str, dict[str, str]]) -> None:
    """Add the plain rules of a style sheet, by element, class or id; those in @media hold on some screens only."""
    depth = 0
    selector, body = "", ""
    for piece in re.split(r"([{}])", without_comments(sheet, "/*", "*/").lower()):
        if piece == "{":
            depth += 1
        elif piece == "}":
            if depth == 1 and selector and "@" not in selector:
                held = declarations(body)
                for one in selector.split(",") if held and len(rules) < RULES else ():
                    if _SELECTOR.match(one.strip()) is not None:
                        rules.setdefault(one.strip(), {}).update(held)
            depth = max(0, depth - 1)
            body = ""
        elif depth == 0:
            selector = piece.rpartition(";")[2].replace("<!--", "").strip()
        elif depth == 1:
            body = piece


def without_comments(text: AnyStr, begins: AnyStr, ends: AnyStr) -> AnyStr:
    """A text without what stands between two marks; one that does not end takes the rest. Linear."""
    pieces: list[AnyStr] = []
    at = 0
    while (begin := text.find(begins, at)) >= 0:
        pieces.append(text[at:begin])
        end = text.find(ends, begin + len(begins))
        at = len(text) if end < 0 else end + len(ends)
    pieces.append(text[at:])
    return text[:0].join(pieces)


@lru_cache(2000)
def declarations(style: str) -> Mapping[str, str]:
    """Properties that can hide text, by name; an important one stays."""
    style = without_comments(style.lower(), "/*", "*/")
    if "\\" in style:
        style = _ESCAPE.sub(lambda found: found[2] or chr(min(int(found[1], 16), 0x10FFFF)), style)
    out: dict[str, str] = {}
    important: set[str] = set()
    for one in style.split(";"):
        name, _, value = one.partition(":")
        name = name.strip()
        if name not in _HIDING or name in important and "!important" not in value:
            continue
        if "!" in value:
            important.add(name)
            value = value.partition("!")[0]
        out[name] = " ".join(value.split())
    return MappingProxyType(out)


def styled(sight: Sight, name: str, given: dict[str, str], style: Mapping[str, str]) -> Sight:
    """How text is seen inside an element.

    :param given: its attributes
    :param style: its declarations, as `declarations` gives them
    """
    colour, ground = sight.colour, sight.ground
    if name == "font" and given.get("color"):
        colour = _colour(given["color"].strip().lower())
    if given.get("bgcolor"):
        ground = _colour(given["bgcolor"].strip().lower())
    if given.get("background"):
        ground = None
    if not style:
        is_hidden = sight.is_hidden or "hidden" in given
        if (is_hidden, colour, ground) == (sight.is_hidden, sight.colour, sight.ground):
            return sight
        return attrs.evolve(sight, is_hidden=is_hidden, colour=colour, ground=ground)
    is_invisible, is_tiny = sight.is_invisible, sight.is_tiny
    is_hidden = sight.is_hidden or "hidden" in given and "display" not in style or _is_away(style)
    if "visibility" in style:
        is_invisible = style["visibility"] in ("hidden", "collapse")
    size = style.get("font-size") or next((one.partition("/")[0] for one in style.get("font", "").split()
                                           if one[:1].isdigit() and not one.isdigit() or one == "0"), "")  # fmt: skip
    if size:
        is_tiny = _is_tiny(size, is_tiny)
    if "color" in style and style["color"] not in ("inherit", "currentcolor"):
        is_hidden = is_hidden or style["color"] == "transparent" or _is_clear(style["color"])
        colour = _colour(style["color"])
    for value in (style.get("background", ""), style.get("background-color", "")):
        if value and value not in ("none", "transparent", "inherit", "initial", "unset"):
            ground = None if "url(" in value or "gradient" in value else _colour(value)
    return Sight(is_hidden, is_invisible, is_tiny, colour, ground)


def _is_away(style: Mapping[str, str]) -> bool:
    """Whether an element is taken out of sight with all in it, whatever that says of itself."""
    if style.get("display") == "none" or _number(style.get("opacity", "1")) <= 0.02:
        return True
    if {style.get("overflow", "")[:6], style.get("overflow-y", "")[:6]} & {"hidden", "clip"} and any(
        _number(style.get(name, "9")) <= 1 for name in ("height", "max-height", "width", "max-width")
    ):
        return True
    far = [_number(style.get(name, "0")) for name in ("text-indent", "left", "top", "margin-left", "margin-top")]
    is_placed = style.get("position") in ("absolute", "fixed", "relative")
    return (
        far[0] <= -100 or is_placed and min(far[1:3]) <= -500 or min(far[3:]) <= -1000
        or is_placed and style.get("clip", "").replace(" ", "").startswith(("rect(0,0,0,0", "rect(1px,1px,1px,1px"))
        or "scale(0)" in style.get("transform", "")
    )  # fmt: skip


def _number(value: str) -> float:
    """A length or number in pixels, roughly; a large one where it is none."""
    found = _LENGTH.match(value)
    if found is None or not found[1].strip("-."):
        return 9.0
    return float(found[1]) * {"em": 16, "rem": 16, "ex": 8, "pt": 1.33, "in": 96, "cm": 38, "mm": 3.8}.get(found[2], 1)


def _is_tiny(size: str, is_tiny: bool) -> bool:
    """Whether letters of that size are seen by nobody; a share of nothing is nothing."""
    if size.endswith("%"):
        return is_tiny or _number(size) <= 5
    if size.endswith("em") and not size.endswith("rem"):
        return is_tiny or _number(size) <= 1.5
    return _number(size) <= 1.5


_NAMED: Final = {
    "white": (255, 255, 255), "black": (0, 0, 0), "snow": (255, 250, 250), "ivory": (255, 255, 240),
    "ghostwhite": (248, 248, 255), "whitesmoke": (245, 245, 245), "floralwhite": (255, 250, 240),
    "mintcream": (245, 255, 250), "azure": (240, 255, 255), "canvas": (255, 255, 255), "window": (255, 255, 255),
}  # fmt: skip
_RGB: Final = re.compile(r"rgba?\(\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*[, ]\s*(\d{1,3})")
_CLEAR: Final = re.compile(r"rgba\([^)]{1,40}[,/]\s?(?:0|0?\.0\d?|0%)\s?\)$|#[0-9a-f]{6}00$|#[0-9a-f]{3}0$")


def _is_clear(text: str) -> bool:
    """Whether a colour lets all through."""
    return _CLEAR.match(text) is not None


def _colour(text: str) -> Colour | None:
    """Red, green and blue of a colour; None for one that is not read: it is another than the usual ones."""
    text = " ".join(text[:100].split())
    rgb = _RGB.match(text)
    if rgb is not None:
        return min(int(rgb[1]), 255), min(int(rgb[2]), 255), min(int(rgb[3]), 255)
    text = text.partition(" ")[0]
    digits = text.removeprefix("#")
    if len(digits) in (3, 4):
        digits = "".join(letter * 2 for letter in digits)
    if len(digits) in (6, 8) and not set(digits) - set("0123456789abcdef"):
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
    return _NAMED.get(text)


def _is_near(one: Colour, other: Colour) -> bool:
    return all(abs(a - b) <= _NEAR for a, b in zip(one, other))
