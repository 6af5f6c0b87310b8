"""Macros of Office documents: that they are there, whether they run by themselves, and what they could do.

`office` and `compound` call `look_at_vba` with a compound document (a `.doc`, a `vbaProject.bin`) only after a cheap
look at its octets has shown that it may hold macros: oletools takes a tenth of a second to import. olevba unpacks the
source; its list of events names what runs by itself. What starts programs or loads from the network is our own short
list, since olevba's holds words that honest macros are full of.

[MS-OVBA] sections 2.3 and 2.4; [MS-XLS] sections 2.4.28 and 2.4.150 (sheets and names of Excel 4 macros).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from smtpgate.examine.budget import Budget, hush, note

#: Octets of one compound document that olevba is given, and letters of source that are searched. Larger projects exist;
#: what runs by itself stands in the first modules.
_OCTETS: Final = 20 << 20
_LETTERS: Final = 512 << 10
#: Octets that olevba may copy: two hundred modules in a document of 10 MB.
_COPIED: Final = 2 << 30
#: Words, lower case, of what starts programs, reaches the network, or runs octets.
_HARMFUL: Final = (
    "wscript.shell|shell.application|shellexecute|createprocess|win32_process|winmgmts:|powershell|cmd.exe|cmd /c|mshta"
    "|rundll32|regsvr32|wscript.exe|cscript|bitsadmin|certutil|schtasks|urldownloadtofile|xmlhttp|winhttp|net.webclient"
    "|internetexplorer.application|adodb.stream|downloadfile|downloadstring|virtualalloc|rtlmovememory|createthread"
    '|createremotethread|executeexcel4macro|getobject("new:|macscript|applescripttask'
)
_WORDS: Final = tuple(_HARMFUL.split("|"))
#: A call of VBA's own Shell: as a statement, a function, or a value.
_SHELL: Final = ("shell ", "shell(", 'shell"', "vba.shell")
_STRING: Final = re.compile(r'"[^"\n]*"')
_JOINED: Final = ('" & "', '"&"', '" + "', '"+"', '" &"', '"& "')


def may_hold_vba(content: bytes) -> bool:
    """A cheap look: True where octets of a VBA project stand in a compound document."""
    return any(mark in content for mark in _MARKS)


#: Names of storages as a directory has them, and what begins each module ("Attribut" before compression breaks it).
_MARKS: Final = (
    "_VBA_PROJECT".encode("utf-16-le"),
    "VBA\0".encode("utf-16-le"),
    b"\0Attribut",
    # VbaInfoAtom of a presentation, with macros ([MS-PPT] section 2.4.11).
    b"\2\0\0\4\x0c\0\0\0",
)


def look_at_vba(content: bytes, budget: Budget) -> tuple[set[str], list[str]]:
    """Flags and notes about the VBA project of a compound document. Raises nothing."""
    if len(content) > _OCTETS:
        return {"macro", "too-big"}, ["too large for a look at its macros"]
    if budget.is_late():
        return {"not-examined"}, []
    if not budget.take_project():
        return {"macro", "too-many"}, ["too many macro projects in one message"]
    hush("olevba", "oletools", "olefile", "pcodedmp")
    try:
        if not _is_affordable(content):
            return {"macro", "too-many"}, ["too many streams or modules for a look at its macros"]
        from oletools.olevba import VBA_Parser, detect_autoexec

        parser = VBA_Parser("document", data=content, disable_pcode=True)
        if not parser.detect_vba_macros():
            return set(), []
        pieces: list[str] = []
        left = _LETTERS
        for _, _, _, code in parser.extract_macros():
            pieces.append(str(code)[:left])
            left -= len(pieces[-1])
            if left <= 0 or budget.is_late():
                break
        source = "\n".join(pieces)
        events = [str(word) for word, _ in detect_autoexec(source)]
    except ImportError:
        return {"macro", "unopened"}, ["oletools is not installed"]
    except Exception as error:  # oletools raises whatever its many parsers raise; a project was seen all the same
        return {"macro", "broken"}, [note(str(error))]
    flags, notes = judge_source(source, events)
    return flags | {"macro"}, notes


def _is_affordable(content: bytes) -> bool:
    """False where olevba would copy the same octets again and again: it reads all streams, and all that follows a
    module."""
    import olefile

    table = olefile.OleFileIO(content).directory_fp.getvalue()
    entries = (table[at : at + 128] for at in range(0, len(table), 128))
    total = sum(int.from_bytes(entry[120:124], "little") for entry in entries if entry[66:67] == b"\2")
    return total <= 4 * len(content) and content.count(b"\0Attribut") * len(content) <= _COPIED


def judge_source(source: str, events: Iterable[str]) -> tuple[set[str], list[str]]:
    """Flags and notes about macro source, whose events run by themselves."""
    flags: set[str] = set()
    notes: list[str] = []
    events = list(dict.fromkeys(events))
    if events:
        flags.add("macro-autorun")
        notes.append(note(", ".join(events[:8])))
    lines = (line for line in source.lower().split("\n") if not line.lstrip().startswith(("'", "rem ")))
    lower = "\n".join(lines)
    for joined in _JOINED:
        lower = lower.replace(joined, "")
    found = [word for word in _WORDS if word in lower]
    code = _STRING.sub('""', lower)
    if any(_calls(code, word) for word in _SHELL):
        found.insert(0, "Shell")
    if found:
        flags.add("macro-suspicious")
        notes.append(note(", ".join(found[:8])))
    return flags, notes


def _calls(lower: str, word: str) -> bool:
    """True where the word stands by itself, not as the end of another."""
    at = lower.find(word)
    while at >= 0:
        before = lower[at - 1] if at else "\n"
        if not (before.isalnum() or before in "_."):
            return True
        at = lower.find(word, at + 1)
    return False


def look_at_workbook(stream: bytes) -> tuple[set[str], list[str]]:
    """Excel 4 macros, locks and commands in the records of a workbook stream (BIFF)."""
    flags: set[str] = set()
    notes: list[str] = []
    at = count = 0
    while at + 4 <= len(stream) and count < _RECORDS:
        number = int.from_bytes(stream[at : at + 2], "little")
        length = int.from_bytes(stream[at + 2 : at + 4], "little")
        body = stream[at + 4 : at + 4 + length]
        at += 4 + length
        count += 1
        if number == 0x0A:
            break
        if number == 0x2F:
            flags.add("encrypted")
        elif number == 0x85 and len(body) > 5 and body[5] == 1:
            flags.add("macro")
            notes.append("Excel 4 macro sheet" + (", hidden" if body[4] & 3 else ""))
        elif number == 0x18 and len(body) > 15:
            is_builtin = body[0] & 0x20
            if is_builtin and body[14:16] in (b"\0\1", b"\0\2") or b"auto_open" in body.lower().replace(b"\0", b""):
                flags.add("macro-autorun")
        elif number == 0x1AE and len(body) > 8 and body[:2] == b"\0\0" and b"\3" in body[4:]:
            flags.add("dde")
            notes.append(note(body[5:].replace(b"\3", b"|").replace(b"\0", b"").decode("latin-1")))
    if "macro-autorun" in flags and "macro" not in flags:
        flags.discard("macro-autorun")
    return flags, notes


#: Records before the first sheet; workbooks of hundreds of styles and sheets have some thousands.
_RECORDS: Final = 20_000
