"""HTML and SVG as a person's program shows them: what is seen, what is hidden, where links lead, what runs.

The tree is a browser's (the `justhtml` library, bounded by letters); one pass over it without recursion gives visible
and hidden text apart, links with the text that stands for them, and flags for forms, scripts and files that are built
in the browser. What lies beyond the bound is searched for links in a cheap way, so that padding hides none.

HTML living standard (parsing); CSS is read only where it hides text.
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

#: Octets of one document that become a tree: newsletters have up to some 200 KB, Gmail cuts at 102 KB.
TREE_LETTERS: Final = 262_144
#: Of what lies behind, so much is searched for links.
REST_LETTERS: Final = 4 << 20
#: Links of one document.
LINKS: Final = 2000
_SHOWN_LETTERS: Final = 500

_BLOCKS: Final = frozenset(
    (
        "address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt", "fieldset", "footer",
        "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
        "section", "table", "td", "th", "tr", "ul",
    )
)  # fmt: skip
_UNSHOWN: Final = frozenset({"script", "style", "title", "head", "template", "noscript", "textarea", "object"})
#: Attributes that lead somewhere, by element.
_LEADS: Final = {
    "a": ("href", "xlink:href"),
    "area": ("href",),
    "form": ("action",),
    "button": ("formaction",),
    "input": ("formaction",),
    "img": ("src",),
    "iframe": ("src", "srcdoc"),
    "frame": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "script": ("src",),
    "link": ("href",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
    "foreignobject": (),
    "base": ("href",),
}
_RAW_LINK: Final = re.compile(r"""(?:href|src|action)\s{0,20}=\s{0,20}["']?([^"'\s>]{4,2048})""", re.IGNORECASE)
_REFRESH: Final = re.compile(r"url\s{0,10}=\s{0,10}['\"]?([^'\"\s>]{3,2048})", re.IGNORECASE)
_HIDING: Final = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0(?:\.0+)?\s*(?:;|$|!)|font-size\s*:\s*(?:0|1(?:\.\d+)?px|0\.\d+(?:px|pt|em)?)\s*(?:px|pt|%|em)?\s*(?:;|$|!)"
    r"|(?:max-)?height\s*:\s*0(?:px)?\s*(?:;|$|!)|text-indent\s*:\s*-\d{3,}|mso-hide\s*:\s*all"
)
_COLOUR: Final = re.compile(r"(?:^|;)\s*color\s*:\s*([#\w(),. ]{1,40})")
_GROUND: Final = re.compile(r"background(?:-color)?\s*:\s*([#\w(),. ]{1,40})")
#: Characters that are not seen; some languages need the joiners, so few of them say nothing.
ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u2061\u2062\u2063\u2064"
_NO_ZERO: Final = dict.fromkeys(map(ord, ZERO_WIDTH))

_DECODES: Final = re.compile(r"atob\s*\(|unescape\s*\(|fromCharCode|decodeURIComponent\s*\(|charCodeAt|parseInt\s*\(")
_BUILDS: Final = re.compile(
    r"createObjectURL|msSaveOrOpenBlob|msSaveBlob|new\s+Blob|new\s+File\b|data:application|\.download\s*=|setAttribute\(\s*['\"]download"
)
_WRITES: Final = re.compile(r"document\s*\.\s*write|innerHTML|eval\s*\(|new\s+Function|\.srcdoc|insertAdjacentHTML")
_GOES: Final = re.compile(r"location(?:\.href|\.replace|\.assign)?\s*[=(]|window\.open\s*\(|\.submit\s*\(")
_LONG_LITERAL: Final = re.compile(r"[A-Za-z0-9+/=%\\x,]{4000}")


@attrs.define
class Found:
    """One place that leads somewhere.

    :ivar shown: the text that stands for it
    """

    raw: str
    shown: str = ""
    tag: str = ""


@attrs.define
class Markup:
    """What is in a document.

    :ivar text: what a person sees; `hidden`: what is there and not seen
    :ivar base: what relative links are relative to
    :ivar flags: of `facts.FLAGS`
    :ivar counts: elements and signs by name
    """

    text: str = ""
    hidden: str = ""
    base: str = ""
    links: list[Found] = attrs.field(factory=list)
    flags: set[str] = attrs.field(factory=set)
    counts: dict[str, float] = attrs.field(factory=dict)
    is_cut: bool = False


def look_at_markup(text: str) -> Markup:
    """Read a document. Never raises for what is in it."""
    from justhtml import JustHTML

    out = Markup()
    tree = JustHTML(text[:TREE_LETTERS], sanitize=False)
    _Walk(out).run(tree.root)
    rest = text[TREE_LETTERS:]
    if rest:
        out.is_cut = True
        for found in _RAW_LINK.finditer(rest[:REST_LETTERS]):
            if len(out.links) >= LINKS:
                break
            out.links.append(Found(found[1], "", "rest"))
        _scripts(out, rest[:REST_LETTERS], is_sure=False)
    return out


@attrs.define
class _State:
    """What holds for an element and all in it."""

    is_hidden: bool = False
    ground: str = ""
    link: Found | None = None
    is_unshown: bool = False


class _Walk:
    def __init__(self, out: Markup) -> None:
        self._out = out
        self._seen: list[str] = []
        self._hidden: list[str] = []
        self._zero = 0

    def run(self, root: Any) -> None:
        stack: list[tuple[Any, _State]] = [(root, _State())]
        while stack:
            node, state = stack.pop()
            name = node.name
            if name == "#text":
                self._text(node.data or "", state)
                continue
            if name == "#comment":
                self._comment(node.data or "")
                continue
            if name[:1] != "#" and name[:1] != "!":
                state = self._element(node, name.lower(), state)
            children = getattr(node, "children", None)
            if children:
                stack += [(child, state) for child in reversed(children)]
        out = self._out
        out.text = _tidy("".join(self._seen))
        out.hidden = _tidy("".join(self._hidden))
        self._count("zero-width", self._zero)

    def _count(self, name: str, more: float = 1) -> None:
        if more:
            self._out.counts[name] = self._out.counts.get(name, 0) + more

    # Text

    def _text(self, text: str, state: _State) -> None:
        if state.is_unshown:
            return
        plain = text.translate(_NO_ZERO)
        self._zero += len(text) - len(plain)
        if state.is_hidden:
            self._hidden.append(plain)
            return
        self._seen.append(plain)
        if state.link is not None and len(state.link.shown) < _SHOWN_LETTERS:
            state.link.shown += plain

    def _comment(self, text: str) -> None:
        """Outlook shows what stands in its conditional comments."""
        if text.startswith("[if") and ("href" in text or "src" in text):
            for found in _RAW_LINK.finditer(text[:65536]):
                self._lead(found[1], "", "comment")

    # Elements

    def _element(self, node: Any, name: str, state: _State) -> _State:
        given = {key.lower(): value or "" for key, value in (node.attrs or {}).items()}
        style = given.get("style", "")[:4096].lower()
        ground = _plain_colour(_first(_GROUND, style) or given.get("bgcolor", "")) or state.ground
        colour = _plain_colour(_first(_COLOUR, style) or (given.get("color", "") if name == "font" else ""))
        is_hidden = (
            state.is_hidden
            or "hidden" in given
            or (bool(style) and _HIDING.search(style) is not None)
            or (bool(colour) and colour == (ground or "#ffffff"))
        )
        if name in _BLOCKS:
            (self._hidden if is_hidden else self._seen).append("\n")
        link = self._special(node, name, given) or self._leads(name, given, state)
        return _State(is_hidden, ground, link or state.link, state.is_unshown or name in _UNSHOWN)

    def _leads(self, name: str, given: dict[str, str], state: _State) -> Found | None:
        found = None
        for attribute in _LEADS.get(name, ()):
            raw = given.get(attribute, "")
            if raw and attribute == "srcdoc":
                self._out.flags.add("html-script") if "<script" in raw.lower() else None
            elif raw:
                found = self._lead(raw, "", name)
        if name == "img":
            self._count("images")
            if state.link is not None:
                self._count("linked-images")
                if given.get("alt"):
                    state.link.shown += f" {given['alt']} "
            return None
        return found if name in ("a", "area") else None

    def _lead(self, raw: str, shown: str, tag: str) -> Found | None:
        out = self._out
        if tag == "base":
            out.base = out.base or raw
            return None
        if len(out.links) >= LINKS:
            out.is_cut = True
            return None
        found = Found(raw, shown, tag)
        out.links.append(found)
        return found

    def _special(self, node: Any, name: str, given: dict[str, str]) -> Found | None:
        out = self._out
        if name == "script":
            self._count("scripts")
            out.flags.add("html-script")
            _scripts(out, _text_of(node))
        elif name == "form":
            self._count("forms")
            out.flags.add("html-form")
        elif name == "input":
            self._count("inputs")
            kind, label = given.get("type", "").lower(), (given.get("name", "") + given.get("placeholder", "")).lower()
            if kind == "password" or "passw" in label:
                self._count("password-inputs")
                out.flags.add("html-password")
        elif name in ("iframe", "frame", "embed", "object"):
            self._count("frames")
        elif name == "foreignobject":
            out.flags.add("html-script")
        elif name == "meta" and given.get("http-equiv", "").lower() == "refresh":
            where = _REFRESH.search(given.get("content", ""))
            if where is not None:
                out.flags.add("html-redirect")
                self._lead(where[1], "", "meta")
        if name == "a" and "download" in given and given.get("href", "").lower().startswith(("data:", "blob:")):
            out.flags.add("html-smuggling")
        if any(key.startswith("on") and len(key) < 20 and len(value) > 3 for key, value in given.items()):
            self._count("event-attributes")
            out.flags.add("html-script")
            _scripts(out, " ".join(value for key, value in given.items() if key.startswith("on")))
        return None


def _scripts(out: Markup, text: str, is_sure: bool = True) -> None:
    """Signs of a script that builds a file or a page in the browser, or leads elsewhere."""
    text = text[: 1 << 20]
    builds = _BUILDS.search(text) is not None
    decodes = _DECODES.search(text) is not None
    is_long = _LONG_LITERAL.search(text) is not None
    if builds and (decodes or is_long) or is_sure and is_long and decodes and _WRITES.search(text) is not None:
        out.flags.add("html-smuggling")
    if is_sure and _GOES.search(text) is not None:
        out.flags.add("html-redirect")


def _text_of(node: Any) -> str:
    return "".join(child.data or "" for child in node.children or () if child.name == "#text")


def _first(pattern: re.Pattern[str], style: str) -> str:
    found = pattern.search(style) if style else None
    return found[1] if found is not None else ""


_NAMED: Final = {"white": "#ffffff", "black": "#000000", "#fff": "#ffffff", "#000": "#000000"}
_RGB: Final = re.compile(r"rgba?\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")


def _plain_colour(text: str) -> str:
    text = text.replace("!important", "").strip().lower()
    rgb = _RGB.match(text)
    if rgb is not None:
        return "#" + "".join(f"{min(int(part), 255):02x}" for part in rgb.groups())
    if len(text) == 4 and text[0] == "#":
        text = "#" + "".join(letter * 2 for letter in text[1:])
    return _NAMED.get(text, text if text[:1] == "#" else "")


def _tidy(text: str) -> str:
    """Blanks as they are shown: lines without outer blanks, no empty ones."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
