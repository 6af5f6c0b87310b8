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
#: What stands in a head, and shows nothing. Not those that may hold a `body` that is none: a template may stand in
#: another one, and whether `noscript` is markup depends on who shows it.
_HEAD: Final = frozenset({"html", "head", "meta", "title", "style", "link", "base", "script", "basefont", "bgsound"})
#: Any other "<" is a letter of the text.
_MARK: Final = re.compile(r"<(?=[A-Za-z/!?])")
#: Blanks of HTML are these five and no others.
_TAG: Final = re.compile(r"</?([A-Za-z][^\t\n\f\r />]*+)")
#: The attributes of a tag and its end (13.2.5.32 to 39): a name may begin with "=", and a quote opens a value only
#: directly behind the "=" of a name. A value whose quote nothing ends reaches to the end of the text.
_REST: Final = re.compile(
    r"(?:[\t\n\f\r /]++|[^\t\n\f\r />][^\t\n\f\r />=]*+"
    r"""(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^\t\n\f\r >]*+)|(?![\t\n\f\r ]*+=)))*+>"""
)
_SHORT: Final = re.compile(r"<!---?(!)?>")
_COMMENT_END: Final = re.compile(r"--!?>")
_ENDS: Final = {name: re.compile(f"</{name}(?=[\\t\\n\\f\\r />])", re.IGNORECASE | re.ASCII) for name in _RAW}
_SCRIPT: Final = re.compile("<script", re.IGNORECASE | re.ASCII)
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
            # "<!-->" and "<!--->" end at once. "<!--!>" does not, and some parsers think that it does.
            short = _SHORT.match(markup, at)
            close = short or _COMMENT_END.search(markup, at + 4)
            if short is not None and short[1]:
                close = None
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
        is_end = markup[at + 1] == "/"
        if rest is None or name == "plaintext" and not is_end:
            yield "open", "", at, end
            return
        stop = rest.end()
        yield "end" if is_end else "start", name, at, stop
        begun, at = at, stop
        if name in _RAW and not is_end:
            close_tag = _ENDS[name].search(markup, at)
            if close_tag is None or name == "script" and _has_script(markup, at, close_tag.start()):
                yield "open", name, begun, end
                return
            if close_tag.start() > at:
                yield "comment", "", at, close_tag.start()
            at = close_tag.start()


def _has_script(markup: str, start: int, end: int) -> bool:
    """Whether a script begins in a comment of a script: its end tag is then that of the inner one (13.2.5.26)."""
    comment = markup.find("<!--", start, end)
    return comment >= 0 and _SCRIPT.search(markup, comment, end) is not None


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
