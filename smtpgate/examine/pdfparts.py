"""What of a PDF file stands outside its pages, and what of a page is no text that is shown: looks of notes, patterns,
texts in the place of others, descriptions, scripts, and files that hang on something.

`pdftext` asks for each. All walks end by their own limits, and what is found twice is given once. ISO 32000-2 sections
8.7.3 (patterns), 12.5.5 (looks), 12.6.4.17 (scripts), 14.7 (structure), 14.9 (texts in the place of others), 14.13
(associated files).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

#: Looks of one note: three, each with its states.
_LOOKS: Final = 20
_PATTERNS: Final = 50
_ACTIONS: Final = 10
#: Elements of the structure of a file: a book has some tens of thousands.
_ELEMENTS: Final = 100_000
_FILES: Final = 100
_TOLD: Final = ("/Alt", "/ActualText", "/E", "/T")
#: What begins a part of a page that may have a text in its place.
_MARKED: Final = b"BDC"


def resolved(value: Any) -> Any:
    """What a reference leads to."""
    return value.get_object() if hasattr(value, "get_object") else value


def string(value: Any) -> str:
    """A string, or the text of a stream in the place of one."""
    value = resolved(value)
    if hasattr(value, "get_data"):
        value = bytes(value.get_data())
        if value[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return str(value.decode("utf-16", "replace"))
    if isinstance(value, bytes):
        return value.decode("utf-8-sig" if value.startswith(b"\xef\xbb\xbf") else "latin-1", "replace")
    return str(value) if value is not None else ""


def looks(note: Any) -> Iterator[Any]:
    """The streams that draw a note (12.5.5)."""
    kinds = resolved(note.get("/AP"))
    for look in list(kinds.values())[:3] if isinstance(kinds, dict) else ():
        look = resolved(look)
        if hasattr(look, "get_data"):
            yield look
        elif isinstance(look, dict):
            states = [resolved(state) for state in list(look.values())[:_LOOKS]]
            yield from (state for state in states if hasattr(state, "get_data"))


def patterns(page: Any) -> Iterator[Any]:
    """The streams of a page's patterns that are drawn with again and again."""
    resources = resolved(page.get("/Resources"))
    held = resolved(resources.get("/Pattern")) if isinstance(resources, dict) else None
    for pattern in list(held.values())[:_PATTERNS] if isinstance(held, dict) else ():
        pattern = resolved(pattern)
        if hasattr(pattern, "get_data"):
            yield pattern


def scripts(holder: Any) -> Iterator[str]:
    """Scripts of what may act: a file, a page, a note, a field."""
    acting = resolved(holder.get("/AA"))
    for action in (
        holder.get("/OpenAction"),
        holder.get("/A"),
        *(list(acting.values())[:_LOOKS] if isinstance(acting, dict) else ()),
    ):
        for _ in range(_ACTIONS):
            action = resolved(action)
            if not isinstance(action, dict):
                break
            if "/JS" in action:
                yield string(action["/JS"])
            following = resolved(action.get("/Next"))
            action = following[0] if isinstance(following, list) and following else following


def named_scripts(root: Any, check: Callable[[], None]) -> Iterator[str]:
    """Scripts of a file by their names (7.9.6)."""
    names = resolved(root.get("/Names"))
    queue = [names.get("/JavaScript") if isinstance(names, dict) else None]
    for _ in range(_ELEMENTS):
        if not queue:
            return
        check()
        node = resolved(queue.pop())
        if not isinstance(node, dict):
            continue
        kids, held = resolved(node.get("/Kids")), resolved(node.get("/Names"))
        queue += list(kids) if isinstance(kids, list) else ()
        for action in list(held)[1::2] if isinstance(held, list) else ():
            action = resolved(action)
            if isinstance(action, dict) and "/JS" in action:
                yield string(action["/JS"])


def described(root: Any, check: Callable[[], None]) -> Iterator[str]:
    """What the structure of a file says in the place of pictures and signs (14.7.2, 14.9)."""
    queue = [root.get("/StructTreeRoot")]
    seen: set[int] = set()
    for _ in range(_ELEMENTS):
        if not queue:
            return
        check()
        element = resolved(queue.pop())
        if isinstance(element, list):
            queue += reversed(element)
        elif isinstance(element, dict) and id(element) not in seen:
            seen.add(id(element))
            yield from (string(element[name]) for name in _TOLD if name in element)
            queue.append(element.get("/K"))


class Instead:
    """Texts in the place of what a page shows (14.9.4), while the page is read."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._said: list[str] = []

    def see(self, operator: Any, operands: Any) -> None:
        """One operation."""
        if operator != _MARKED or len(operands) < 2:
            return
        held = resolved(operands[1])
        if isinstance(held, str):
            resources = resolved(self._page.get("/Resources"))
            known = resolved(resources.get("/Properties")) if isinstance(resources, dict) else None
            held = resolved(known.get(held)) if isinstance(known, dict) else None
        if isinstance(held, dict):
            self._said += [string(held[name]) for name in _TOLD if name in held]

    def text(self) -> str:
        """What is said; that of single letters is one word."""
        return "".join(one if len(one) < 2 else f"\n{one}\n" for one in self._said).strip()


def hanging(holder: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Files that hang on a file, a page or a note: names and stream of each."""
    files = resolved(holder.get("/AF"))
    for spec in (
        holder.get("/FS"),
        *(list(files)[:_FILES] if isinstance(files, list) else () if files is None else (files,)),
    ):
        spec = resolved(spec)
        held = resolved(spec.get("/EF")) if isinstance(spec, dict) else None
        for stream in {id(one): one for one in map(resolved, held.values())}.values() if isinstance(held, dict) else ():
            if hasattr(stream, "get_data"):
                yield tuple(dict.fromkeys(filter(None, (string(spec.get("/UF")), string(spec.get("/F")))))), stream


__all__ = [
    "Instead", "described", "hanging", "looks", "named_scripts", "patterns", "resolved", "scripts", "string",
]  # fmt: skip
