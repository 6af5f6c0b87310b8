"""Where in HTML something is put so that people see it first or last, and what a text says without its marks.

A short scanner of tags, comments and elements whose content is no markup; no tree is made and nothing is mended, since
no octet but ours may change. At the top is behind the tag of `body`, or before the first thing that a browser shows;
at the bottom is before the last end of `body` or of `html`, or at the end, but before whatever was begun and never
ended, as a comment or a style sheet, in which nothing would be seen.

It takes linear time, and knows ASCII only: it may be given octets as Latin-1.

WHATWG HTML, sections 13.2.5 (tokens) and 13.2.6.4 (what begins the body).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

#: Their content is no markup up to their end tag.
_RAW: Final = frozenset({"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "template"})
#: What stands in a head, and shows nothing.
_HEAD: Final = frozenset(
    {"html", "head", "meta", "title", "style", "link", "base", "script", "noscript", "template", "basefont", "bgsound"}
)
#: Any other "<" is a letter of the text.
_MARK: Final = re.compile(r"<(?=[A-Za-z/!?])")
_TAG: Final = re.compile(r"</?([A-Za-z][^\s/>]{0,40})")
#: The attributes of a tag and its end. A value whose quote nothing ends reaches to the end of the text.
_REST: Final = re.compile(r"""(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+'|(?!["'])))*+>""")
_COMMENT_END: Final = re.compile(r"--!?>|(?<=<!)-->")
_ENDS: Final = {name: re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE) for name in _RAW}
_LETTERS: Final = re.compile(r"[\W_]+")

#: Kind (text, comment, start, end, open), name, start and end of a token. "open" is one that nothing ends.
Token = tuple[str, str, int, int]


def tokens(markup: str) -> Iterator[Token]:
    """The tokens of a text, with the content of raw elements as a comment."""
    at, end = 0, len(markup)
    while at < end:
        mark = _MARK.search(markup, at)
        if mark is None:
            yield "text", "", at, end
            return
        if mark.start() > at:
            yield "text", "", at, mark.start()
        at = mark.start()
        if markup.startswith("<!--", at):
            # "<!-->" and "<!--->" end at once.
            close = _COMMENT_END.search(markup, at + 2)
            if close is None:
                yield "open", "", at, end
                return
            yield "comment", "", at, close.end()
            at = close.end()
            continue
        found = _TAG.match(markup, at)
        if found is None:
            stop = markup.find(">", at) + 1
            if not stop:
                yield "open", "", at, end
                return
            yield "comment", "", at, stop
            at = stop
            continue
        rest = _REST.match(markup, found.end())
        name = found[1].lower()
        if rest is None or name == "plaintext":
            yield "open", "", at, end
            return
        stop = rest.end()
        is_end = markup[at + 1] == "/"
        yield "end" if is_end else "start", name, at, stop
        begun, at = at, stop
        if name in _RAW and not is_end:
            close_tag = _ENDS[name].search(markup, at)
            if close_tag is None:
                yield "open", name, begun, end
                return
            if close_tag.start() > at:
                yield "comment", "", at, close_tag.start()
            at = close_tag.start()


def top(markup: str) -> int:
    """Where people begin to read."""
    for kind, name, start, end in tokens(markup):
        if kind == "start" and name == "body":
            return end
        if _is_shown(kind, name, markup[start:end]):
            return start
    return len(markup)


def _is_shown(kind: str, name: str, octets: str) -> bool:
    if kind == "text":
        return bool(octets.strip())
    return kind == "open" or kind in ("start", "end") and name not in _HEAD


def bottom(markup: str) -> int:
    """Where people end to read."""
    body = whole = last = -1
    for kind, name, start, _ in tokens(markup):
        if kind == "end" and name == "body":
            body = start
        elif kind == "end" and name == "html":
            whole = start
        elif kind == "open":
            last = start
    return next((one for one in (body, whole, last) if one >= 0), len(markup))


def words(markup: str) -> str:
    """What people read of it, in one line; hidden texts too."""
    return html.unescape(" ".join(markup[start:end] for kind, _, start, end in tokens(markup) if kind == "text"))


def letters(text: str) -> str:
    """Letters and digits alone: what is left of a text however it was folded, quoted and marked."""
    return _LETTERS.sub("", text).casefold()
