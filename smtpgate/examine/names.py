"""File names as the systems read them that get the file: real endings, and names that are made to mislead.

`files` and `kinds` ask `look_at_names` about all names that one file has. One name has several readings, since mail
programs and file systems disagree about NULs, streams, marks that cannot be seen, and trailing dots and blanks; an
ending that any reading has counts. Facts only: whether a shortcut is refused is the business of filters.

The classes of endings follow the lists that mail programs and browsers publish: what Outlook blocks, what Gmail
refuses, and what Chrome calls dangerous to download. Endings that documents share with programs (`com` of a host
name) stay in: the kind of the content is told apart from this.

RFC 2183 section 2.3 (a name is a suggestion); Unicode Standard Annex 9 (directional marks).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice
from types import MappingProxyType
from typing import Final

import attrs

_CLASSES: Final = {
    "program": "exe com scr pif cpl dll ocx sys drv ax bpl msstyles xll wll ppa mde ade accde mda accda"
    " gadget bgi jar class apk apks xapk aab ipa app appimage run elf so dylib xpi crx swf air"
    " pyz pyzw pyc pyo pyd vxd efi mui vsix snap flatpak xbap dex wasm prg ops ppkg",
    "installer": "msi msp mst msu msm appx appxbundle msix msixbundle appinstaller application appref-ms"
    " diagcab diagcfg diagpkg deb rpm pkg mpkg paf osd nupkg",
    "script": "js jse mjs cjs vb vbe vbs vbp ws wsb wsc wsf wsh sct bat cmd btm nt ps1 ps1xml ps2 ps2xml"
    " psc1 psc2 psd1 psdm1 psm1 cdxml pssc msh msh1 msh2 mshxml msh1xml msh2xml sh bash csh ksh"
    " zsh fish tcsh command tool workflow py pyw py3 pl plx plg php php3 php4 php5 phtml phar rb"
    " lua tcl awk scpt scptd applescript ahk au3 a3x jsx asp aspx asx hta htc bas kix shb shs",
    "settings": "reg inf ins isp its theme themepack deskthemepack msc xnk iqy rqy oqy dqy odc udl settingcontent-ms"
    " printerexport webpnp vsmacros mcf prf sln suo csproj vbproj grp pcd vsw cnt",
    "shortcut": "lnk url website desktop webloc inetloc fileloc scf library-ms search-ms"
    " searchconnector-ms desklink mapimail jnlp rdp ica appcontent-ms accountpicture-ms"
    " terminal mad maf mag mam maq mar mas mat mau mav maw",
    "help": "chm hlp hpj hxs",
    "macro": "docm dotm xlsm xltm xlam xlsb xlm pptm potm ppam ppsm sldm mdb mdt mdw mdz accdb adp mdn"
    " one onepkg onetoc2 slk sylk xla xlt dot pot wbk wiz xsn dochtml",
    "disk-image": "iso img udf vhd vhdx avhd avhdx vmdk vdi qcow qcow2 dmg smi sparseimage toast cue nrg"
    " mdf wim esd swm isz daa uif",
    "page": "htm html shtm shtml xhtm xhtml xht mht mhtm mhtml svg svgz stm",
    "archive": "zip zipx rar r00 7z gz tgz bz bz2 tbz tbz2 xz txz lzma tlz zst tzst lz lz4 z taz tar cab"
    " arj lzh lha ace alz egg arc zoo cpio ar xar sit sitx uue uu",
    "certificate": "cer crt der pem p12 pfx p7b p7s p7c p7m spc asc pgp gpg sig",
    "mail": "eml msg emlx oft pst ost tnef",
}
#: Classes whose endings run something when the file is opened: the flag `bad-name`.
RUNS: Final = frozenset({"program", "installer", "script", "settings", "shortcut", "help", "clsid"})
#: Classes whose endings are worth hiding behind a harmless one.
_HIDDEN: Final = RUNS | {"disk-image", "page"}
#: Ending (lower case, without dot) to its class.
ENDINGS: Final = MappingProxyType({ending: name for name, listed in _CLASSES.items() for ending in listed.split()})
_OPENED: Final = (
    "pdf doc docx xls xlsx ppt pptx odt ods odp rtf txt csv tsv log md xml json jpg jpeg jpe png gif bmp tif tiff webp"
    " heic ico mp3 mp4 m4a wav ogg flac avi mov mkv mpg mpeg wmv webm eml msg htm html ics vcf epub pages numbers xps"
    " dwg ps eps zip rar 7z"
)
#: Endings that people open without a thought.
HARMLESS: Final = frozenset(_OPENED.split())
#: Of these, the ones whose files are pages as often as not: a page beside them is no disguise.
_TEXTS: Final = frozenset(
    ["rtf", "txt", "csv", "tsv", "log", "md", "xml", "json", "eml", "msg", "htm", "html", "ics", "vcf", "epub"]
)
#: The short form that Windows makes of a long name; programs of old write both.
_SHORT: Final = re.compile(r"[^.]{1,6}~\d\.\w{1,3}")
#: Marks that turn the order of letters (overrides, embeddings, isolates). Marks that only hint (LRM, RLM, ALM) stand in
#: honest Arabic and Hebrew names and cannot turn Latin letters.
BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: Blank without being white space: Braille blank and Hangul fillers, seen before hidden endings in attacks of 2024.
_BLANKS: Final = "\u2800\u3164\u115f\u1160\uffa0\u180e"
#: So many blanks in a row push what follows out of the column that file dialogs show.
PADDING: Final = 10
#: Longer than any file system keeps (255 on NTFS and ext4, in letters or octets); a folder path may stand before it.
LETTERS: Final = 1024
#: Names that one file may have: two fields with two forms each, and what several readings make of them.
NAMES: Final = 50
#: Longest ending that is one: "settingcontent-ms" has 17.
_ENDING: Final = 24


@attrs.frozen
class Named:
    """What the names of one file say.

    :ivar endings: every ending that some reading has, lower case, without dot; the first is that of the first name
    :ivar classes: classes of these endings, see `ENDINGS`
    :ivar flags: of `facts.FLAGS`
    """

    endings: tuple[str, ...] = ()
    classes: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        """The ending that most programs would act on; "" where there is none."""
        return self.endings[0] if self.endings else ""


def look_at_names(names: Iterable[str]) -> Named:
    """All names of one file, with or without folders before them."""
    endings: dict[str, None] = {}
    flags: set[str] = set()
    notes: dict[str, None] = {}
    last: set[str] = set()
    names = [name[-LETTERS:] for name in islice(names, NAMES + 1)]
    if len(names) > NAMES:
        # What is not read may be what a program shows.
        flags.add("names-differ")
    for name in names:
        if _SHORT.fullmatch(base(name)) and any(_is_short_for(name, other) for other in names):
            continue
        found = _look(name)
        endings.update(dict.fromkeys(found.endings))
        notes.update(dict.fromkeys(found.notes))
        flags |= found.flags
        if found.endings:
            last.add(found.endings[0])
    if len(last) > 1:
        flags.add("names-differ")
    classes = {_class(ending) for ending in endings} - {""}
    return Named(tuple(endings), frozenset(classes), frozenset(flags), tuple(notes))


def _is_short_for(short: str, name: str) -> bool:
    """True for `RECHNU~1.DOC` beside `Rechnungen.docx`: the ending is that of the other, cut."""
    ending = _split(base(short))[1]
    return name != short and "~" not in name and _split(base(name))[1][:3] == ending


def base(name: str) -> str:
    """The name without the folders before it, in either writing."""
    return name.replace("\\", "/").rpartition("/")[2]


def _look(name: str) -> Named:
    flags: set[str] = set()
    notes = []
    endings: dict[str, None] = {}
    for reading in _readings(base(name)):
        stem, ending = _split(reading)
        if not ending:
            continue
        endings[ending] = None
        kind = _class(ending)
        if kind in RUNS:
            flags.add("bad-name")
        before = _split(stem)[1]
        if kind in _HIDDEN and before in HARMLESS and not (kind == "page" and before in _TEXTS):
            flags.add("double-extension")
            notes.append(f".{before} before .{ending}")
    if "\0" in name and len(endings) > 1:
        flags.add("names-differ")
    if not BIDI.isdisjoint(name):
        flags.add("bidi-name")
    if _is_padded(base(name)):
        flags.add("padded-name")
    classes = {_class(ending) for ending in endings} - {""}
    return Named(tuple(endings), frozenset(classes), frozenset(flags), tuple(dict.fromkeys(notes)))


def _readings(name: str) -> Iterator[str]:
    """The name as different programs would store it; what NTFS does comes first."""
    plain = name.replace("\0", "")
    yield _end(plain.partition(":")[0] if _has_stream(plain) else plain)
    if "\0" in name:
        yield _end(name.partition("\0")[0])
    if ":" in plain:
        yield _end(plain)
    visible = "".join(letter for letter in plain if unicodedata.category(letter) not in ("Cf", "Cc"))
    if visible != plain:
        yield _end(visible)
    if not plain.isascii():
        # Older programs store the nearest letter of their code page: a wide full stop becomes a dot.
        yield _end(unicodedata.normalize("NFKC", visible))


def _has_stream(name: str) -> bool:
    """`run.exe::$DATA` is `run.exe`, and `run.exe:x` a stream of it; a colon elsewhere is only a letter."""
    before, _, after = name.partition(":")
    return "." in before and (after.upper().startswith(":$") or "." not in after)


def _end(name: str) -> str:
    """Without what Windows drops from the end: dots and blanks. Mail programs drop other white space too."""
    while True:
        short = name.rstrip().rstrip("." + _BLANKS)
        if short == name:
            return name
        name = short


def _split(name: str) -> tuple[str, str]:
    """What stands before the ending, and the ending in lower case."""
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > _ENDING and not _is_clsid(ending):
        return name, ""
    return _end(stem), ending.strip().lower()


def _is_clsid(ending: str) -> bool:
    """`{3050f4d8-98b5-11cf-bb82-00aa00bdce0b}`: Windows hides it and opens the file with that class."""
    return len(ending) == 38 and ending[0] == "{" and ending[-1] == "}" and ending.count("-") == 4


def _class(ending: str) -> str:
    """The class of an ending; "" where it has none."""
    return "clsid" if _is_clsid(ending) else ENDINGS.get(ending, "")


def _is_padded(name: str) -> bool:
    """Many blanks in a row with something behind them."""
    run = 0
    for letter in _end(name):
        run = run + 1 if letter.isspace() or letter in _BLANKS else 0
        if run >= PADDING:
            return True
    return False
