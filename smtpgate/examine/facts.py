"""What an examination finds: values that filters read and that travel from the child process as JSON.

Every text in them was written by a stranger. Numbers are octets and seconds; digests are SHA-256 in hex; names of kinds
and flags are lower-case words with dashes, listed in `KINDS` and `FLAGS`, and never change their meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin, get_type_hints

import attrs

from smtpgate.message.anomaly import Anomaly
from smtpgate.message.mailbox import Mailbox

#: What a file really is, told by its octets first and its name second. `content` families, not media types.
KINDS: Final = frozenset(
    {
        "executable",  # PE, ELF, Mach-O, COM, MSI, Java class, APK, JAR
        "script",  # JS, VBS, WSF, HTA, PowerShell, batch, shell, Python, registry and settings files
        "shortcut",  # LNK, URL, desktop, SCF, library-ms
        "disk-image",  # ISO, UDF, VHD, VHDX, IMG, DMG
        "archive",  # zip, rar, 7z, tar, gz, bz2, xz, cab, arj, ace, lzh, zst
        "office",  # OOXML and ODF documents
        "office-legacy",  # OLE2 compound documents, RTF too
        "onenote",
        "help",  # CHM, HLP
        "pdf",
        "html",
        "svg",
        "xml",
        "image",
        "audio",
        "video",
        "font",
        "calendar",
        "contact",
        "message",
        "tnef",
        "certificate",  # keys and signatures too
        "text",
        "empty",
        "unknown",
    }
)

#: What is odd or dangerous about a file; each with what a person needs to know of it.
FLAGS: Final = MappingProxyType(
    {
        "encrypted": "locked by a password; its content could not be looked at",
        "password-in-text": "locked by a password that stood in the message",
        "bad-name": "an ending that programs and scripts have",
        "double-extension": "a harmless ending before a dangerous one",
        "bidi-name": "a mark in the name turns letters round, so that the ending looks other than it is",
        "padded-name": "so many blanks in the name that its ending is out of sight",
        "names-differ": "it is named differently in two places",
        "type-mismatch": "the content is of another kind than name and label say",
        "polyglot": "the content is of two kinds at once, one of them to be seen and one to be run",
        "hidden-member": "an archive with members that some programs see and others do not",
        "path-escape": "a member whose path or link leads out of the folder that it is unpacked to",
        "macro": "an Office document with macros",
        "macro-autorun": "macros that run by themselves",
        "macro-suspicious": "macros that start programs or load from the network",
        "external-template": "an Office document that loads a template or object from elsewhere",
        "dde": "a field that runs commands",
        "embedded-object": "an object embedded in a document",
        "old-equation": "an object of the old formula editor, which was switched off for what attackers did with it",
        "embedded-program": "a program inside a document",
        "pdf-javascript": "JavaScript in a PDF",
        "pdf-launch": "a PDF that starts programs",
        "pdf-open-action": "a PDF that acts when opened",
        "pdf-embedded": "files inside a PDF",
        "html-script": "an HTML attachment with script",
        "html-smuggling": "script that builds a file in the browser",
        "html-form": "a form that sends what is typed elsewhere",
        "html-password": "a form that asks for a password",
        "html-redirect": "a page that leads elsewhere by itself",
        "svg-script": "an image with script in it",
        "bomb": "it would unpack to more than any honest archive",
        "too-deep": "packed in more layers than are looked at",
        "too-many": "more members than are looked at",
        "too-big": "larger than is looked at",
        "broken": "it could not be read",
        "unopened": "of a format that is not looked into",
        "not-examined": "no time was left to look at it",
    }
)


@attrs.frozen
class File:
    """An attachment, an inline part that is no text, or a member of an archive or document.

    :ivar path: names from the outermost in, joined by "/", as "report.zip/run.exe"; a nameless one is "part-1.2"
    :ivar names: every name that some program would give it, decoded; the first is what most would show
    :ivar part: number of the MIME part that it is in
    :ivar depth: 0 for a part of the message itself
    :ivar claimed: media type that the message says; "" inside archives
    :ivar kind: one of `KINDS`
    :ivar detail: a word on the kind, as "PE", "zip", "7z", "docm"
    :ivar flags: of `FLAGS`
    :ivar notes: what was seen, for a person, as "AutoOpen, Shell"
    """

    path: str
    names: tuple[str, ...] = ()
    part: str = ""
    depth: int = 0
    claimed: str = ""
    kind: str = "unknown"
    detail: str = ""
    octets: int = 0
    digest: str = ""
    is_inline: bool = False
    flags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@attrs.frozen
class Link:
    """A URL, wherever it stood.

    :ivar url: normalised as browsers do (WHATWG), at most 2,048 characters
    :ivar raw: as it stood, at most 2,048 characters
    :ivar scheme: lower case: http, https, ftp, mailto, data, javascript, file...
    :ivar host: lower case, ASCII (A-labels), address literals in their usual form; "" where there is none
    :ivar domain: registrable domain of the host (public suffix list), or the address; "" where there is none
    :ivar shown: text that a person sees in its place; "" where the URL itself is shown
    :ivar source: text, html, header, pdf, qr, svg, calendar, office
    :ivar tag: of HTML: a, area, form, img, iframe, script, meta, base...
    :ivar part: number of the part or path of the file that it stood in
    :ivar has_user: a user part stands before the host
    """

    url: str
    raw: str = ""
    scheme: str = ""
    host: str = ""
    domain: str = ""
    shown: str = ""
    source: str = "text"
    tag: str = ""
    part: str = ""
    has_user: bool = False


@attrs.frozen
class Text:
    """One readable text of the message.

    :ivar source: subject, plain, html, attachment
    :ivar text: decoded, at most what the limits allow; of HTML only what a person would see
    :ivar hidden: of HTML what a person would not see
    :ivar charset: what was declared
    """

    source: str
    text: str
    part: str = ""
    hidden: str = ""
    charset: str = ""
    is_cut: bool = False


@attrs.frozen
class Part:
    """One MIME entity.

    :ivar number: position as IMAP counts it: "1", "1.2"; "" for the message itself where it is a multipart
    :ivar reading: 0 for the usual reading, higher where another program would see another tree
    """

    number: str
    media_type: str = "text/plain"
    charset: str = ""
    encoding: str = ""
    disposition: str = ""
    names: tuple[str, ...] = ()
    octets: int = 0
    depth: int = 0
    reading: int = 0


@attrs.frozen
class Facts:
    """All that one examination found.

    :ivar digest: of the whole content
    :ivar is_complete: False where a limit ended the look: `limits` says which
    :ivar limits: names of the limits that were reached: depth, parts, header, text, links, files, octets, time, ratio
    :ivar authors: mailboxes of every From field; `senders` of Sender, `replies` of Reply-To, `recipients` of To and Cc
    :ivar counts: features of wording and form, by name, for whoever weighs them
    """

    digest: str = ""
    octets: int = 0
    seconds: float = 0.0
    is_complete: bool = True
    limits: tuple[str, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    parts: tuple[Part, ...] = ()
    files: tuple[File, ...] = ()
    links: tuple[Link, ...] = ()
    texts: tuple[Text, ...] = ()
    authors: tuple[Mailbox, ...] = ()
    senders: tuple[Mailbox, ...] = ()
    replies: tuple[Mailbox, ...] = ()
    recipients: tuple[Mailbox, ...] = ()
    subject: str = ""
    counts: dict[str, float] = attrs.field(factory=dict)


def to_plain(value: Any) -> Any:
    """A value of this module as JSON takes it. Fields that hold their default are left out."""
    if attrs.has(type(value)):
        plain = {}
        for field in attrs.fields(type(value)):
            held = getattr(value, field.name)
            default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
            if held != default:
                plain[field.name] = to_plain(held)
        return plain
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [to_plain(one) for one in value]
    return value


def from_plain(plain: Any, kind: Any = Facts) -> Any:
    """The other way. Raises ValueError where it is not what `to_plain` writes: a child that lies has failed."""
    try:
        return _builder(kind)(plain)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no {getattr(kind, '__name__', kind)}: {error}") from None


Build = Callable[[Any], Any]


@cache
def _builder(kind: Any) -> Build:
    """What makes a value of a type out of a plain one; made once for each type, since hints are slow to read."""
    if attrs.has(kind):
        return _of_class(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (tuple, frozenset):
        return _of_list(origin, _builder(inner[0]))
    if origin is dict:
        return _of_table(_builder(inner[0]), _builder(inner[1]))
    return _of_scalar(kind)


def _of_class(kind: Any) -> Build:
    fields = {name: _builder(hint) for name, hint in get_type_hints(kind).items()}

    def build(plain: Any) -> Any:
        if type(plain) is not dict:
            raise ValueError(f"{type(plain).__name__} in place of {kind.__name__}")
        return kind(**{name: fields[name](held) for name, held in plain.items()})

    return build


def _of_list(origin: Any, one: Build) -> Build:
    def build(plain: Any) -> Any:
        if type(plain) is not list:
            raise ValueError(f"{type(plain).__name__} in place of a list")
        return origin(map(one, plain))

    return build


def _of_table(key: Build, value: Build) -> Build:
    def build(plain: Any) -> Any:
        if type(plain) is not dict:
            raise ValueError("no table")
        return {key(name): value(held) for name, held in plain.items()}

    return build


def _of_scalar(kind: Any) -> Build:
    def build(plain: Any) -> Any:
        if type(plain) is kind:
            return plain
        if kind is float and type(plain) is int:
            return float(plain)
        raise ValueError(f"{type(plain).__name__} in place of {kind.__name__}")

    return build
