"""Text that is more than text: scripts, shortcuts, markup, settings, mail, told apart by what they say.

`kinds` asks `text_kinds` for every file that has no binary mark. What begins a file is trusted most, since it decides
what a program makes of it; words in the middle only count together, and for a file that opens in an editor
(`readme.txt`) they do not count at all. So a manual that shows a command is text, and a script without an ending is a
script.

Looked at are the first 64 KiB, in UTF-8, UTF-16 or as Latin-1. All patterns are linear.

WHATWG MIME Sniffing section 7.1 (what browsers take for HTML); RFC 5322 section 2.2; RFC 5545; RFC 6350.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Octets that are looked at: script hosts run from the first, so what matters stands early.
SAMPLE: Final = 1 << 16
_HTML_ROOTS: Final = (
    "html head body script iframe h1 div font table a style title b br p form meta img center frameset base link input"
    " button object embed video audio span h2 h3 ul ol hr noscript template"
)
#: Root elements of HTML that browsers sniff, and a few that mail programs open too.
_HTML: Final = frozenset(_HTML_ROOTS.split())
#: Root elements of XML that are more than data.
_ROOTS: Final = {
    "svg": ("svg", "svg"),
    "svg:svg": ("svg", "svg"),
    "job": ("script", "wsf"),
    "package": ("script", "wsf"),
    "component": ("script", "sct"),
    "scriptlet": ("script", "sct"),
    "mmc_consolefile": ("script", "msc"),
    "hta:application": ("script", "hta"),
    "librarydescription": ("shortcut", "library-ms"),
    "searchconnectordescription": ("shortcut", "searchconnector-ms"),
    "persistedquery": ("shortcut", "search-ms"),
    "pcsettings": ("shortcut", "settingcontent-ms"),
    "jnlp": ("shortcut", "jnlp"),
    "w:worddocument": ("office-legacy", "word-xml"),
    "pkg:package": ("office-legacy", "flat-opc"),
    "office:document": ("office", "flat-odf"),
}
#: Root elements that need a word with them: without it they are data.
_ROOTS_WITH: Final = {
    "package": ("<script",),
    "component": ("<registration", "<public"),
    "job": ("<script",),
    "xsl:stylesheet": ("msxsl:script", "ms:script", "urn:schemas-microsoft-com:xslt"),
    "stylesheet": ("msxsl:script", "ms:script", "urn:schemas-microsoft-com:xslt"),
    # Ant and Maven have projects too, whose commands are written otherwise.
    "project": ("<usingtask", "<exec command", "inlinetask", "codetaskfactory"),
    "workbook": ("urn:schemas-microsoft-com:office:spreadsheet",),
    "assembly": ("<deployment", "entrypoint"),
    "asmv1:assembly": ("<deployment", "entrypoint"),
}
_MORE: Final = {
    "xsl:stylesheet": ("script", "xsl"),
    "stylesheet": ("script", "xsl"),
    "project": ("script", "msbuild"),
    "workbook": ("office-legacy", "excel-xml"),
    "assembly": ("executable", "clickonce"),
    "asmv1:assembly": ("executable", "clickonce"),
}
#: First words of a file, lower case, that say all.
_FIRST: Final = (
    ("windows registry editor version", "script", "reg"),
    ("regedit4", "script", "reg"),
    ("begin:vcalendar", "calendar", "ics"),
    ("begin:vcard", "contact", "vcf"),
    ("id;p", "office-legacy", "slk"),
    ("%!ps", "image", "postscript"),
    ("@echo off", "script", "batch"),
    ("@echo  off", "script", "batch"),
    ("@setlocal", "script", "batch"),
    ("<?php", "script", "php"),
    ("on error resume next", "script", "vbs"),
    ("option explicit", "script", "vbs"),
    ("#@~^", "script", "encoded"),
    ("tell application", "script", "applescript"),
)
#: Sections of settings files that start programs or lead elsewhere.
_SECTIONS: Final = (
    ("[internetshortcut", "shortcut", "url"),
    ("[desktop entry]", "shortcut", "desktop"),
    ("[connection to", "shortcut", "ica"),
)
#: Words of scripts in lower case, between bars: (language, weight, words). Together they must weigh `_ENOUGH`, one of
#: them 3.
_WORDS: Final = (
    ("js", 3, 'new activexobject(|wscript.createobject(|wscript.shell|wscript.scriptfullname|getobject("winmgmts'),
    ("js", 1, "function(|function (|eval(|.charcodeat(|string.fromcharcode(|unescape(|var |];|};"),
    ("vbs", 3, 'createobject("wscript|createobject("scripting.|createobject("shell.|createobject("msxml2'),
    ("vbs", 3, 'createobject("adodb.|executeglobal |executeglobal(|getobject("winmgmts'),
    (
        "vbs",
        1,
        "createobject(|on error resume next|\ndim |\nsub |end sub|end function|chrw(|chr(|execute(|wscript.sleep",
    ),
    ("powershell", 3, "invoke-expression|frombase64string(|new-object net.webclient|new-object system.net.webclient"),
    ("powershell", 3, ".downloadstring(|.downloadfile(|-encodedcommand|start-bitstransfer|[reflection.assembly]"),
    ("powershell", 3, "invoke-webrequest|invoke-restmethod|set-executionpolicy|iex(|iex ("),
    ("powershell", 1, "$env:|write-host|start-process|param(|param (|foreach-object|-executionpolicy|new-object "),
    ("powershell", 1, "get-item|out-file|$true|[system."),
    ("batch", 3, "@echo off|%~dp0|%~f0|cmd /c |cmd.exe /c |powershell -|powershell.exe -|mshta http|certutil -"),
    ("batch", 3, "bitsadmin /|schtasks /|regsvr32 /|rundll32 "),
    ("batch", 1, "setlocal|goto |\nset |echo off|%temp%|%appdata%|if exist |errorlevel|\nstart |\ncopy |\ndel |%%"),
)
_ENOUGH: Final = 4
#: The first record of a table in SYLK: the program that wrote it, and two letters. A table may begin with "ID;Price".
_SYLK: Final = re.compile(r"ID;P\w{0,10}(?:;[NE])*\s*(?:[\r\n]|$)", re.IGNORECASE)
_FIELD: Final = re.compile(r"[!-9;-~]{1,76}:")
_FIELDS: Final = (
    "return-path delivered-to received from to cc subject date message-id mime-version content-type reply-to sender"
    " dkim-signature x-mailer x-originating-ip x-spam-status arc-seal authentication-results"
)
#: Fields that begin mail; two of them make a message.
_MAIL: Final = frozenset(_FIELDS.split())
_DDE: Final = re.compile(r"(?:^|[,;\t\"\n])[=+@-][^,;\t\"\n|]{0,64}\|'[^'\n]{0,2048}'!")
_SHELLS: Final = (
    ("python", "python"),
    ("perl", "perl"),
    ("ruby", "ruby"),
    ("node", "js"),
    ("php", "php"),
    ("pwsh", "powershell"),
)

#: Octets that text does not have: C0 without tab, line ends, form feed, escape.
_ODD: Final = bytes(octet for octet in range(32) if octet not in (9, 10, 12, 13, 27)) + b"\x7f"


def as_text(content: bytes) -> str:
    """The first octets as text; "" where they are none."""
    sample = content[:SAMPLE]
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return sample.decode("utf-16", "replace")
    if sample.startswith(b"\xef\xbb\xbf"):
        sample = sample[3:]
    nuls = sample.count(0)
    if nuls:
        # UTF-16 without a mark: every other octet of Latin text is NUL.
        for codec, first in (("utf-16-le", 1), ("utf-16-be", 0)):
            high, low = sample[first::2], sample[1 - first :: 2]
            if len(sample) > 3 and high.count(0) * 2 > len(high) and not low.count(0):
                return sample.decode(codec, "replace")
        return ""
    odd = len(sample) - len(sample.translate(None, _ODD))
    if odd * 20 > len(sample):
        return ""
    try:
        return sample.decode("utf-8")
    except UnicodeDecodeError:
        return sample.decode("latin-1")


def text_kinds(text: str, is_prose: bool) -> Iterator[tuple[str, str]]:
    """(kind, detail) of what a text is besides text; `is_prose` where its name says that it opens in an editor."""
    head = text.lstrip(" \t\r\n\f\ufeff")
    lower = head.lower()
    if head.startswith("#!") and "/" in head[:80]:
        yield "script", _interpreter(lower[:120])
    for word, kind, detail in _FIRST:
        if lower.startswith(word) and (detail != "slk" or _SYLK.match(head) is not None):
            yield kind, detail
    yield from _settings(lower)
    if head.startswith("<"):
        yield from _markup(lower)
    elif not is_prose and ("<html" in lower[:4096] or "<script" in lower[:4096]) and not _is_mail(head):
        yield "html", "html"
    if "<hta:application" in lower:
        yield "script", "hta"
    if _is_mail(head):
        yield "message", "mhtml" if "multipart/related" in lower[:2048] else "eml"
    elif not is_prose and not head.startswith("<") and (language := _language(lower)):
        yield "script", language


def has_dde(text: str) -> bool:
    """True for a table whose cell runs a command when a spreadsheet opens it: `=cmd|'/c calc'!A0`."""
    return "|'" in text and _DDE.search(text) is not None


def _interpreter(line: str) -> str:
    line = line.partition("\n")[0]
    return next((detail for word, detail in _SHELLS if word in line), "shell")


def _settings(lower: str) -> Iterator[tuple[str, str]]:
    """Files of sections and keys."""
    head = lower[:4096]
    for section, kind, detail in _SECTIONS:
        at = head.find(section)
        if at == 0 or at > 0 and head[at - 1] in "\r\n":
            yield kind, detail
    if head.startswith("[shell]") and ("command=" in head or "iconfile=" in head):
        yield "shortcut", "scf"
    if "[version]" in head and "signature" in head and ("$windows" in head or "$chicago" in head):
        yield "script", "inf"
    if head.startswith(("web\r\n1\r\n", "web\n1\n")):
        yield "script", "iqy"
    if "full address:s:" in head or "remoteapplicationprogram:s:" in head:
        yield "shortcut", "rdp"


def _markup(lower: str) -> Iterator[tuple[str, str]]:
    """By the first element, as browsers and script hosts do."""
    root, is_html = _root(lower)
    if root.endswith(":package") and "office/2006/xmlpackage" in lower[:4096]:
        root = "pkg:package"
    if root in _ROOTS_WITH:
        if any(word in lower for word in _ROOTS_WITH[root]):
            yield _ROOTS[root] if root in _ROOTS else _MORE[root]
        else:
            yield "xml", "xml"
    elif root in _ROOTS:
        yield _ROOTS[root]
    elif is_html or root in _HTML:
        yield "html", "html"
    elif lower.startswith("<?xml") or root and (f"</{root}" in lower or "xmlns" in lower):
        yield "xml", "xml"
    if "<script" in lower and not is_html and root not in _HTML and root not in _ROOTS and root not in _ROOTS_WITH:
        # Foreign XML is shown by browsers with the scripts of the XHTML and SVG names in it.
        yield "html", "xml-script"
    if root != "svg" and "<svg" in lower[:4096] and not is_html and root not in _HTML:
        yield "svg", "svg"


def _root(lower: str) -> tuple[str, bool]:
    """Name of the first element, and whether the document type says HTML."""
    at, is_html = 0, False
    for _ in range(200):
        at = lower.find("<", at)
        if at < 0:
            return "", is_html
        if lower.startswith("<!--", at):
            end = lower.find("-->", at + 4)
            step = 3
        elif lower.startswith("<?", at):
            end = lower.find("?>", at + 2)
            step = 2
        elif lower.startswith("<!", at):
            is_html |= lower.startswith("<!doctype html", at)
            end = lower.find(">", at)
            step = 1
        else:
            end = at + 1
            while end < len(lower) and end - at < 64 and (lower[end].isalnum() or lower[end] in ":_-."):
                end += 1
            return lower[at + 1 : end], is_html
        if end < 0:
            return "", is_html
        at = end + step
    return "", is_html


def _is_mail(head: str) -> bool:
    """Header fields from the first line on, two of them those of mail."""
    seen = set()
    for number, line in enumerate(head[:8192].split("\n")):
        line = line.rstrip("\r")
        if number == 0 and line.startswith(("From ", ">From ")):
            continue
        if line[:1] in (" ", "\t") and number:
            continue
        found = _FIELD.match(line)
        if found is None:
            break
        seen.add(found.group()[:-1].lower())
    return len(seen & _MAIL) >= 2


def _language(lower: str) -> str:
    """The language whose words stand in it together; "" where none has enough."""
    scores: dict[str, int] = {}
    strong = set()
    padded = "\n" + lower
    for language, weight, words in _WORDS:
        for word in words.split("|"):
            if word in padded:
                scores[language] = scores.get(language, 0) + weight
                if weight > 1:
                    strong.add(language)
    best = max(sorted(strong), key=lambda language: scores[language], default="")
    return best if best and scores[best] >= _ENOUGH else ""
