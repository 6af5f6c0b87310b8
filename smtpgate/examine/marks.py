"""What binary files begin with, or hold at a fixed place: the table of kinds that no name can hide.

`kinds` asks `binary_kinds` first. Libraries that tell file types miss programs that are cut off, disk images whose
mark stands at 32 KiB, OneNote files, and what is two things at once; here each kind is asked for by itself, so that
all that fit are found. Text has its own room, `sourcecode`; ZIP files are told apart in `zipkinds`.

The marks are those of the formats' own descriptions: PE/COFF, ELF, Mach-O, [MS-SHLLINK], [MS-ONESTORE], [MS-CFB],
ECMA-119 and ECMA-167 (disks), ISO 32000-2 section 7.5.2 with the 1,024 octets that readers grant before a PDF's head.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

#: (offset, octets, kind, detail); the first octets of most formats.
_MARKS: Final = (
    (0, b"\x7fELF", "executable", "ELF"),
    (0, b"\xfe\xed\xfa\xce", "executable", "Mach-O"),
    (0, b"\xfe\xed\xfa\xcf", "executable", "Mach-O"),
    (0, b"\xce\xfa\xed\xfe", "executable", "Mach-O"),
    (0, b"\xcf\xfa\xed\xfe", "executable", "Mach-O"),
    (0, b"dex\n03", "executable", "dex"),
    (0, b"\0asm\1\0\0\0", "executable", "wasm"),
    (0, b"\xed\xab\xee\xdb", "executable", "rpm"),
    (0, b"!<arch>\ndebian", "executable", "deb"),
    (0, b"Cr24", "executable", "crx"),
    (0, b"FWS", "executable", "swf"),
    (0, b"CWS", "executable", "swf"),
    (0, b"ZWS", "executable", "swf"),
    (0, b"#@~^", "script", "encoded"),
    (0, b"\xa3\x48\x4b\xbe\x98\x6c\x4a\xa9", "script", "autoit"),
    (0, b"L\0\0\0\1\x14\2\0\0\0\0\0\xc0\0\0\0\0\0\0F", "shortcut", "lnk"),
    (0, b"ITSF", "help", "chm"),
    (0, b"?_\3\0", "help", "hlp"),
    (0, b"vhdxfile", "disk-image", "vhdx"),
    (0, b"conectix", "disk-image", "vhd"),
    (0, b"KDMV", "disk-image", "vmdk"),
    (0, b"QFI\xfb", "disk-image", "qcow"),
    (0, b"MSWIM\0\0\0", "disk-image", "wim"),
    (64, b"\x7f\x10\xda\xbe", "disk-image", "vdi"),
    (0, b"\xe4R\\{\x8c\xd8\xa7M\xae\xb1Sx\xd0)\x96\xd3", "onenote", "one"),
    (0, b'\xa1/\xffC\xd9\xefvL\x9e\xe2\x10\xeaW"v_', "onenote", "onetoc2"),
    (0, b"Rar!\x1a\7", "archive", "rar"),
    (0, b"RE~^", "archive", "rar"),
    (0, b"7z\xbc\xaf'\x1c", "archive", "7z"),
    (0, b"\x1f\x8b\x08", "archive", "gz"),
    (0, b"BZh", "archive", "bz2"),
    (0, b"\xfd7zXZ\0", "archive", "xz"),
    (0, b"]\0\0", "archive", "lzma"),
    (0, b"LZIP\1", "archive", "lzip"),
    (0, b"\x28\xb5\x2f\xfd", "archive", "zst"),
    (0, b'\x04"M\x18', "archive", "lz4"),
    (0, b"\x1f\x9d", "archive", "compress"),
    (0, b"MSCF\0\0\0\0", "archive", "cab"),
    (0, b"ISc(", "archive", "installshield"),
    (0, b"\x60\xea", "archive", "arj"),
    (7, b"**ACE**", "archive", "ace"),
    (0, b"ALZ\1", "archive", "alz"),
    (0, b"EGGA", "archive", "egg"),
    (20, b"\xdc\xa7\xc4\xfd", "archive", "zoo"),
    (0, b"xar!", "archive", "xar"),
    (0, b"!<arch>\n", "archive", "ar"),
    (0, b"070701", "archive", "cpio"),
    (0, b"070702", "archive", "cpio"),
    (0, b"070707", "archive", "cpio"),
    (0, b"\xc7\x71", "archive", "cpio"),
    (257, b"ustar", "archive", "tar"),
    (0, b"StuffIt ", "archive", "sit"),
    (0, b"SIT!", "archive", "sit"),
    (0, b"{\\rt", "office-legacy", "rtf"),
    (0, b"ActiveMime", "office-legacy", "activemime"),
    (0, b"\0\1\0\0Standard Jet DB", "office-legacy", "mdb"),
    (0, b"\0\1\0\0Standard ACE DB", "office-legacy", "accdb"),
    (0, b"\x78\x9f\x3e\x22", "tnef", "winmail"),
    (0, b"!BDN", "message", "pst"),
    (0, b"\x89PNG\r\n\x1a\n", "image", "png"),
    (0, b"\xff\xd8\xff", "image", "jpeg"),
    (0, b"GIF87a", "image", "gif"),
    (0, b"GIF89a", "image", "gif"),
    (0, b"II*\0", "image", "tiff"),
    (0, b"MM\0*", "image", "tiff"),
    (0, b"\0\0\1\0", "image", "ico"),
    (0, b"8BPS", "image", "psd"),
    (0, b"\xd7\xcd\xc6\x9a\0\0", "image", "wmf"),
    (0, b"%!PS-Adobe", "image", "postscript"),
    (0, b"ID3", "audio", "mp3"),
    (0, b"fLaC", "audio", "flac"),
    (0, b"OggS", "audio", "ogg"),
    (0, b"MThd\0\0\0\6", "audio", "midi"),
    (0, b"\x1aE\xdf\xa3", "video", "mkv"),
    (0, b"\0\0\1\xba", "video", "mpeg"),
    (0, b"FLV\1", "video", "flv"),
    (0, b"OTTO", "font", "otf"),
    (0, b"\0\1\0\0\0", "font", "ttf"),
    (0, b"ttcf", "font", "ttc"),
    (0, b"wOFF", "font", "woff"),
    (0, b"wOF2", "font", "woff2"),
    (0, b"-----BEGIN ", "certificate", "pem"),
)
#: Marks by their first octet, so that a file is held against few of them.
_BY_FIRST: Final = {
    first: tuple(mark for mark in _MARKS if not mark[0] and mark[1][0] == first) for first in range(256)
}
_ELSEWHERE: Final = tuple(mark for mark in _MARKS if mark[0])
#: Class of the root of an MSI and of an MSP in a compound document ([MS-CFB] section 2.6.4).
_MSI: Final = (
    bytes.fromhex("84100c0000000000c000000000000046"),
    bytes.fromhex("86100c0000000000c000000000000046"),
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: Names of streams, as they stand in a compound document's directory, with what they say of the file.
_STREAMS: Final = (
    ("__properties_version1.0", "message", "msg"),
    ("WordDocument", "office-legacy", "doc"),
    ("Workbook", "office-legacy", "xls"),
    ("PowerPoint Document", "office-legacy", "ppt"),
    ("EncryptedPackage", "office-legacy", "ooxml-encrypted"),
    ("VisioDocument", "office-legacy", "vsd"),
    ("Quill", "office-legacy", "pub"),
    ("_VBA_PROJECT", "office-legacy", "vba"),
)
#: OID 1.2.840.113549.1.7.2 to .3, signed and enveloped data, as DER has them near the beginning (RFC 5652).
_PKCS7: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
#: The higher octet of the number of each Python: 2.7, 3.0 to 3.13, and since.
_PYTHONS: Final = (b"\xf3", b"\x0b", b"\x0c", b"\x0d", b"\x0e")
#: Octets before a PDF's head, ISO 32000-2 annex I; before a RIFF or ISO media type there is none.
PDF_WITHIN: Final = 1024


def binary_kinds(content: bytes) -> Iterator[tuple[str, str]]:
    """(kind, detail) of everything that these octets are, without ZIP files and text."""
    if not content:
        return
    if _is_program(content):
        yield "executable", _program(content)
    if content.startswith(b"\xca\xfe\xba\xbe") and len(content) > 8:
        # A class file has its version there (45 and up), a Mach-O file for several machines their number.
        yield "executable", "Java class" if content[7] >= 45 or content[6] else "Mach-O"
    if content[2:4] == b"\r\n" and content[1:2] in _PYTHONS and len(content) > 16 and b"\0" in content[4:48]:
        # A number and a line end (importlib's MAGIC_NUMBER), which texts may begin with too; the numbers of lengths and
        # flags behind it have zeros in them.
        yield "executable", "pyc"
    for offset, mark, kind, detail in (*_BY_FIRST[content[0]], *_ELSEWHERE):
        if content.startswith(mark, offset) and _is_sure(content, detail):
            yield kind, detail
    if content[2:5] == b"-lh" and content[6:7] == b"-" or content[2:5] == b"-lz" and content[6:7] == b"-":
        yield "archive", "lha"
    if content.startswith(_OLE):
        yield _compound(content)
    if (at := content.find(b"%PDF-", 0, PDF_WITHIN + 5)) >= 0:
        yield "pdf", "pdf" if not at else "pdf-late"
    yield from _disks(content)
    yield from _media(content)
    if content[:1] == b"\x30" and content[1:2] in (b"\x80", b"\x82", b"\x83", b"\x84", b"\x81"):
        if _PKCS7 in content[:32] or content.startswith(b"\x30\x82", 4) or content[4:7] == b"\x02\x01\x03":
            yield "certificate", "der"


def _is_program(content: bytes) -> bool:
    """MZ and what cannot be text behind it; a file that is cut off after its first octets counts."""
    if content[:2] not in (b"MZ", b"ZM"):
        return False
    head = content[2:64]
    return not head or any(octet < 9 or octet > 126 for octet in head)


def _program(content: bytes) -> str:
    if len(content) >= 64:
        at = struct.unpack_from("<I", content, 60)[0]
        if content.startswith(b"PE\0\0", at):
            return "PE"
        if content.startswith((b"NE", b"LE", b"LX"), at):
            return "NE"
        if at < len(content):
            return "DOS"
    return "PE"


def _is_sure(content: bytes, detail: str) -> bool:
    """Marks of a few octets that other files can have are held against a second place."""
    if detail == "bz2":
        return content[3:4].isdigit() and content[4:10] in (b"1AY&SY", b"\x17rE8P\x90") or len(content) < 10
    if detail == "lzma":
        return len(content) > 13 and (content[5:13] == b"\xff" * 8 or content[10:13] == b"\0\0\0")
    if detail == "arj":
        return len(content) > 10 and 30 <= content[4] <= 60 and content[2] + 256 * content[3] <= 2600
    if detail == "swf":
        return content[3:4] < b"\x40" and b"\0" in content[3:16]
    if detail == "ttf":
        return len(content) > 12 and content[5] < 64 and not content.startswith(b"Standard", 4)
    if detail == "ico":
        return len(content) > 22 and 0 < content[4] < 64 and not content[5] and not content[9]
    if detail == "gz":
        return len(content) < 4 or not content[3] & 0xE0
    if detail in ("cpio", "compress"):
        return len(content) > 16
    return True


def _compound(content: bytes) -> tuple[str, str]:
    """The kind of a compound document by the class of its root and the names of its streams."""
    if len(content) >= 512:
        size, first = 1 << min(content[30], 16), struct.unpack_from("<I", content, 48)[0]
        root = (first + 1) * size
        if content[root + 80 : root + 96] in _MSI:
            return "executable", "msi"
    for name, kind, detail in _STREAMS:
        if name.encode("utf-16-le") in content:
            return kind, detail
    return "office-legacy", "ole"


def _disks(content: bytes) -> Iterator[tuple[str, str]]:
    """Marks that stand far from the beginning: optical disks at sector 16, others in a foot of 512 octets."""
    for sector in range(16, 22):
        mark = content[sector * 2048 + 1 : sector * 2048 + 6]
        if mark == b"CD001":
            yield "disk-image", "iso"
            break
        if mark in (b"NSR02", b"NSR03"):
            yield "disk-image", "udf"
            break
    foot = content[-512:]
    if len(content) > 512 and foot.startswith(b"koly\0\0\0\4"):
        yield "disk-image", "dmg"
    if len(content) > 512 and foot.startswith(b"conectix"):
        yield "disk-image", "vhd"
    if content[510:512] == b"\x55\xaa" and (
        content[54:59] in (b"FAT12", b"FAT16") or content[82:87] == b"FAT32" or content[3:7] == b"NTFS"
    ):
        yield "disk-image", "img"
    if content[512:520] == b"EFI PART":
        yield "disk-image", "img"


def _media(content: bytes) -> Iterator[tuple[str, str]]:
    """Formats whose first octets are lengths, and pictures whose mark is short."""
    if content.startswith(b"RIFF"):
        form = content[8:12]
        if form == b"WEBP":
            yield "image", "webp"
        elif form == b"AVI ":
            yield "video", "avi"
        elif form == b"WAVE":
            yield "audio", "wav"
        elif form == b"ACON":
            yield "image", "ani"
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        if brand in (b"heic", b"heix", b"mif1", b"avif", b"msf1"):
            yield "image", "heif"
        elif brand.startswith(b"M4A"):
            yield "audio", "m4a"
        else:
            yield "video", "mp4"
    if (
        content.startswith(b"BM")
        and len(content) > 26
        and content[6:10] == b"\0\0\0\0"
        and content[14] in (12, 40, 64, 108, 124)
    ):
        yield "image", "bmp"
    if content.startswith(b"\1\0\0\0") and content[40:44] == b" EMF":
        yield "image", "emf"
    if content[:1] == b"\xff" and content[1:2] in (b"\xfb", b"\xf3", b"\xf2") and len(content) > 64:
        yield "audio", "mp3"
