"""HTML and SVG as a person's program shows them: what is seen, what is hidden, where links lead, what runs.

The tree is a browser's (the `justhtml` library, bounded by letters); one pass over it without recursion gives visible
and hidden text apart, links with the text that stands for them, and flags for forms, scripts and files that are built
in the browser. Of CSS only what hides text is read, in attributes and in plain rules of style sheets; rules for some
screens only are passed over. Pages inside the page (`srcdoc`, `data:`) are read like it, by the same bound. What lies
beyond the bound is searched for links and signs in a cheap way, so that padding hides none.

HTML living standard (parsing); CSS 2.2 sections 4.1 and 6 (escapes, what is inherited); RFC 2397 (data URLs).
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from smtpgate.examine.scripts import carried, script_flags
from smtpgate.examine.texts import ZERO_WIDTH, Sight, declarations, read_sheet, styled

#: Octets of one document that become a tree: newsletters have up to some 200 KB, Gmail cuts at 102 KB.
TREE_LETTERS: Final = 262_144
#: Of what lies behind, so much is searched for links.
REST_LETTERS: Final = 4 << 20
#: Links of one document.
LINKS: Final = 2000
#: Pages inside the page that are read: mail has none, saved pages have a few frames.
INNER: Final = 8
_SHOWN_LETTERS: Final = 500
_SHEET_LETTERS: Final = 65_536
STYLE_LETTERS: Final = 4096
_NO_STYLE: Final[Mapping[str, str]] = MappingProxyType({})

_BLOCKS: Final = frozenset(
    (
        "address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt", "fieldset", "footer",
        "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
        "section", "table", "td", "th", "tr", "ul",
    )
)  # fmt: skip
#: Stands on the stack behind all that is in a block: what follows it begins a line.
_BLOCK_END: Final = object()
#: Elements in which the ends of lines are shown, and styles that say so.
_PRE: Final = frozenset({"pre", "textarea", "listing", "xmp", "plaintext"})
_PRE_STYLE: Final = re.compile(r"white-space\s{0,9}:\s{0,9}(?:pre|break-spaces)", re.IGNORECASE)
_LINE_ENDS: Final = {10: " ", 13: " "}
_UNSHOWN: Final = frozenset({"script", "style", "title", "head", "template"})
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
    "base": ("href",),
}
#: Elements that say something without an attribute.
_SPECIAL: Final = frozenset(("script", "form", "input", "iframe", "frame", "embed", "object"))
#: Elements that are told by the last part of their name in XML, where a prefix says nothing by itself.
_BY_ANY_PREFIX: Final = frozenset({*_SPECIAL, *_LEADS, "svg", "set", "animate"})
#: Attributes that `styled` and style sheets look at.
_SIGHT: Final = ("style", "class", "id", "color", "bgcolor", "background", "hidden")
_RAW_LINK: Final = re.compile(
    r"""(?:href|src|action)\s{0,20}=\s{0,20}(?:"([^"]{4,2048})|'([^']{4,2048})|([^"'\s>]{4,2048}))""", re.IGNORECASE
)
_REFRESH: Final = re.compile(r"url\s{0,10}=\s{0,10}['\"]?([^'\"\s>]{3,2048})", re.IGNORECASE)
_NO_ZERO: Final = dict.fromkeys(map(ord, ZERO_WIDTH))

#: Kinds of content that a page hands over as a file.
_PROGRAM: Final = re.compile(
    r"data:application/(?:octet-stream|(?:x-)?zip|x-zip-compressed|x-msdownload|x-msdos-program|x-iso9660-image|hta|"
    r"x-rar-compressed|x-7z-compressed|vnd\.microsoft\.portable-executable|(?:x-)?javascript|java-archive)\b",
    re.IGNORECASE,
)
_PASSWORD_INPUT: Final = re.compile(r"<input[^<>]{0,500}type\s{0,20}=\s{0,20}[\"']?password", re.IGNORECASE)
_REFRESH_TAG: Final = re.compile(r"<meta[^<>]{0,500}http-equiv\s{0,20}=\s{0,20}[\"']?refresh", re.IGNORECASE)


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
    inner = [text[:TREE_LETTERS]]
    letters = TREE_LETTERS
    for number, page in enumerate(inner):
        if number > INNER or len(page) > letters:
            out.is_cut = True
            break
        letters -= len(page)
        inner += _Walk(out).run(JustHTML(page, sanitize=False, scripting_enabled=False).root)
    if len(text) > TREE_LETTERS:
        out.is_cut = True
        _rest(out, text[TREE_LETTERS : TREE_LETTERS + REST_LETTERS])
    return out


def _rest(out: Markup, rest: str) -> None:
    """Links and signs of what did not become a tree."""
    for raw in _raw_links(rest):
        if len(out.links) >= LINKS:
            break
        out.links.append(Found(raw, "", "rest"))
    out.flags |= script_flags(rest, is_sure=False)
    lower = rest.lower()
    if "<script" in lower:
        out.flags.add("html-script")
    if "<form" in lower:
        out.flags.add("html-form")
    if _PASSWORD_INPUT.search(lower) is not None:
        out.flags.add("html-password")
    if _REFRESH_TAG.search(lower) is not None:
        out.flags.add("html-redirect")


def _raw_links(text: str) -> list[str]:
    return [html.unescape(found[1] or found[2] or found[3]) for found in _RAW_LINK.finditer(text)]


@attrs.frozen
class _State:
    """What holds for an element and all in it."""

    sight: Sight = Sight()
    is_unshown: bool = False
    is_pre: bool = False
    link: Found | None = None


class _Walk:
    def __init__(self, out: Markup) -> None:
        self._out = out
        self._seen: list[str] = []
        self._hidden: list[str] = []
        self._zero = 0
        self._sheet: dict[str, dict[str, str]] = {}
        self._sights: dict[tuple[Any, ...], Sight] = {}
        self._inner: list[str] = []

    def run(self, root: Any) -> list[str]:
        """Take a tree in; the pages inside it are given back."""
        for node in _all_styles(root):
            read_sheet(_text_of(node)[:_SHEET_LETTERS], self._sheet)
        stack: list[tuple[Any, _State]] = [(root, _State())]
        while stack:
            node, state = stack.pop()
            if node is _BLOCK_END:
                (self._seen if state.sight.is_seen else self._hidden).append("\n")
                continue
            name = node.name
            if name == "#text":
                self._text(node.data or "", state)
                continue
            if name == "#comment":
                self._comment(node.data or "")
                continue
            if name[:1] != "#" and name[:1] != "!":
                name = name.lower()
                if ":" in name and name.rpartition(":")[2] in _BY_ANY_PREFIX:
                    name = name.rpartition(":")[2]
                state = self._element(node, name, state)
            children = getattr(node, "children", None)
            if children:
                if name in _BLOCKS:
                    stack.append((_BLOCK_END, state))
                stack += [(child, state) for child in reversed(children)]
        out = self._out
        out.text = "\n".join(filter(None, (out.text, _tidy("".join(self._seen)))))
        out.hidden = "\n".join(filter(None, (out.hidden, _tidy("".join(self._hidden)))))
        self._count("zero-width", self._zero)
        return self._inner

    def _count(self, name: str, more: float = 1) -> None:
        if more:
            self._out.counts[name] = self._out.counts.get(name, 0) + more

    # Text

    def _text(self, text: str, state: _State) -> None:
        if state.is_unshown:
            return
        plain = text.translate(_NO_ZERO)
        self._zero += len(text) - len(plain)
        if not state.is_pre:
            plain = plain.translate(_LINE_ENDS)
        if not state.sight.is_seen:
            self._hidden.append(plain)
            return
        self._seen.append(plain)
        if state.link is not None and len(state.link.shown) < _SHOWN_LETTERS:
            state.link.shown += plain

    def _comment(self, text: str) -> None:
        """Outlook shows what stands in its conditional comments."""
        if "</noscript" in text:
            # With scripts the comment ends the element, and what follows is a page.
            self._page(text.partition("</noscript")[2].partition(">")[2])
        if text.startswith("[if") and ("href" in text or "src" in text):
            for raw in _raw_links(text[:65536]):
                self._lead(raw, "", "comment")

    # Elements

    def _element(self, node: Any, name: str, state: _State) -> _State:
        given = {key.lower(): value or "" for key, value in (node.attrs or {}).items()}
        sight = state.sight
        if given or self._sheet:
            # Newsletters say the same of hundreds of elements.
            key = sight, name, *map(given.get, _SIGHT)
            sight = self._sights.get(key) or self._sights.setdefault(
                key, styled(sight, name, given, self._style(name, given))
            )
        is_pre = state.is_pre or name in _PRE or _PRE_STYLE.search(given.get("style", "")[:STYLE_LETTERS]) is not None
        if sight is not state.sight or name in _UNSHOWN or is_pre != state.is_pre:
            inner = _State(sight, state.is_unshown or name in _UNSHOWN, is_pre, state.link)
        else:
            inner = state
        if name in _BLOCKS:
            (self._seen if sight.is_seen else self._hidden).append("\n")
        if given or name in _SPECIAL:
            self._special(node, name, given, inner)
        link = self._leads(name, given, state) if name in _LEADS else None
        return inner if link is None else _State(sight, inner.is_unshown, inner.is_pre, link)

    def _style(self, name: str, given: dict[str, str]) -> Mapping[str, str]:
        """Declarations that hold for an element: those of its name, classes, id and own attribute, in this order."""
        own = declarations(given["style"][:STYLE_LETTERS]) if given.get("style") else _NO_STYLE
        if not self._sheet:
            return own
        keys = [name]
        for one in given.get("class", "")[:500].split():
            keys += [f".{one.lower()}", f"{name}.{one.lower()}"]
        keys += [f"#{given['id'].lower()}", f"{name}#{given['id'].lower()}"] if given.get("id") else []
        out: dict[str, str] = {}
        for key in keys:
            out |= self._sheet.get(key, {})
        return {**out, **own}

    def _leads(self, name: str, given: dict[str, str], state: _State) -> Found | None:
        found = None
        for attribute in _LEADS[name]:
            raw = given.get(attribute, "")
            if raw and attribute == "srcdoc":
                self._page(raw)
            elif raw:
                found = self._lead(raw, "", name)
                self._inline(raw.strip(), name)
        if name == "img":
            self._count("images")
            if state.link is not None:
                self._count("linked-images")
                if given.get("alt"):
                    state.link.shown += f" {given['alt']} "
            return None
        return found if name in ("a", "area") else None

    def _page(self, text: str) -> None:
        if len(self._inner) <= INNER:
            self._inner.append(text)

    def _inline(self, raw: str, name: str) -> None:
        """What a URL carries in itself: a page, a program, a script."""
        scheme = raw[:11].lower()
        if scheme.startswith("javascript:"):
            self._out.flags |= script_flags(raw)
        elif scheme.startswith("data:") and name == "script":
            self._out.flags |= script_flags(carried(raw))
        elif scheme.startswith("data:") and name in ("a", "area", "iframe", "frame", "embed", "object", "meta"):
            if _PROGRAM.match(raw) is not None:
                self._out.flags.add("html-smuggling")
            elif raw[:30].lower().startswith(("data:text/html", "data:image/svg", "data:application/xhtml")):
                self._page(carried(raw))

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

    def _special(self, node: Any, name: str, given: dict[str, str], state: _State) -> None:
        out = self._out
        if name == "script":
            self._count("scripts")
            out.flags.add("html-script")
            out.flags |= script_flags(_text_of(node))
        elif name == "form":
            self._count("forms")
            out.flags.add("html-form")
        elif name == "input":
            self._count("inputs")
            kind, label = given.get("type", "").lower(), (given.get("name", "") + given.get("placeholder", "")).lower()
            if kind == "password" or "passw" in label:
                self._count("password-inputs")
                out.flags.add("html-password")
            # What stands on a button or in an empty field is read like any text.
            if kind != "hidden":
                on_it = given.get("value" if kind in ("submit", "button", "reset") else "placeholder", "")
                self._text(f" {on_it[:_SHOWN_LETTERS]} ", state)
        elif name in ("iframe", "frame", "embed", "object"):
            self._count("frames")
        elif name == "meta" and given.get("http-equiv", "").lower() == "refresh":
            where = _REFRESH.search(given.get("content", ""))
            if where is not None:
                out.flags.add("html-redirect")
                self._lead(where[1], "", "meta")
                self._inline(where[1], "meta")
        elif name in ("set", "animate") and given.get("attributename", "").lower().endswith("href"):
            for raw in f"{given.get('to', '')};{given.get('values', '')}"[:STYLE_LETTERS].split(";"):
                self._lead(raw.strip(), "", name) if ":" in raw else None
        if name == "a" and "download" in given and given.get("href", "").lower().startswith(("data:", "blob:")):
            out.flags.add("html-smuggling")
        if any(key[:2] == "on" and len(key) < 20 and len(value) > 3 for key, value in given.items()):
            self._count("event-attributes")
            out.flags.add("html-script")
            out.flags |= script_flags(" ".join(value for key, value in given.items() if key.startswith("on")))


def _text_of(node: Any) -> str:
    return "".join(child.data or "" for child in node.children or () if child.name == "#text")


def _all_styles(root: Any) -> list[Any]:
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if node.name == "style":
            found.append(node)
        stack += getattr(node, "children", None) or ()
    return found


def _tidy(text: str) -> str:
    """Blanks as they are shown: lines without outer blanks, no empty ones."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
