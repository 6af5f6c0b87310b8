"""Samples for the tests of examine: archives, documents and pictures, made as they are needed and harmless."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

from smtpgate.examine.budget import Budget

#: Two magic numbers and nothing to run.
PROGRAM = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(200)


def budget(seconds: float = 1000.0, **limits: int) -> Budget:
    """A budget on a clock that stands."""
    return Budget(lambda: 0.0, seconds, **limits)


def packed(members: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 10, 0, 0)), content, how)
    return out.getvalue()


def central(archive: bytes) -> list[int]:
    """Where the records of a ZIP file's central directory begin."""
    end = archive.rindex(b"PK\5\6")
    count, _, at = struct.unpack_from("<HII", archive, end + 10)
    found = []
    for _ in range(count):
        found.append(at)
        at += 46 + sum(struct.unpack_from("<HHH", archive, at + 28))
    return found


def overlapping(archive: bytes, times: int) -> bytes:
    """The first member named again and again in the central directory."""
    first, end = central(archive)[0], archive.rindex(b"PK\5\6")
    record = archive[first : first + 46 + struct.unpack_from("<H", archive, first + 28)[0]]
    tail = bytearray(archive[end:])
    struct.pack_into("<HHI", tail, 8, times, times, len(record) * times)
    return archive[:first] + record * times + bytes(tail)


def marked_encrypted(archive: bytes, which: int = 0) -> bytes:
    """The encryption bit of one member set in both directories."""
    buffer, at = bytearray(archive), central(archive)[which]
    local = struct.unpack_from("<I", archive, at + 42)[0]
    buffer[at + 8] |= 1
    buffer[local + 6] |= 1
    return bytes(buffer)


def compound(streams: Mapping[str, bytes], class_id: bytes = bytes(16)) -> bytes:
    """A compound document ([MS-CFB]); names with slashes stand in storages. No stream is in the mini stream."""
    nodes: list[tuple[str, int, list[int], bytes]] = [("Root Entry", 5, [], b"")]
    folders: dict[str, int] = {"": 0}

    def folder(path: str) -> int:
        if path not in folders:
            above, _, name = path.rpartition("/")
            parent = folder(above)
            nodes.append((name, 1, [], b""))
            folders[path] = len(nodes) - 1
            nodes[parent][2].append(folders[path])
        return folders[path]

    for path, content in streams.items():
        above, _, name = path.rpartition("/")
        parent = folder(above)
        nodes.append((name, 2, [], content.ljust(4096, b"\0")))
        nodes[parent][2].append(len(nodes) - 1)
    fat: list[int] = []
    body = b""
    starts = []
    for _, kind, _, content in nodes:
        starts.append(len(fat) if kind == 2 else 0xFFFFFFFE)
        if kind == 2:
            sectors = -(-len(content) // 512)
            fat += [len(fat) + number + 1 for number in range(sectors - 1)] + [0xFFFFFFFE]
            body += content.ljust(sectors * 512, b"\0")
    directory = b""
    for number, (name, kind, children, content) in enumerate(nodes):
        right = 0xFFFFFFFF
        for _, _, siblings, _ in nodes:
            if number in siblings[:-1]:
                right = siblings[siblings.index(number) + 1]
        raw = name.encode("utf-16-le") + b"\0\0"
        directory += raw.ljust(64, b"\0") + struct.pack("<HBB", len(raw), kind, 1)
        directory += struct.pack("<III", 0xFFFFFFFF, right, children[0] if children else 0xFFFFFFFF)
        directory += (class_id if not number else bytes(16)) + bytes(20)
        directory += struct.pack("<IQ", starts[number], len(content) if kind == 2 else 0)
    sectors = -(-len(directory) // 512)
    first_directory = len(fat)
    fat += [len(fat) + number + 1 for number in range(sectors - 1)] + [0xFFFFFFFE]
    body += directory.ljust(sectors * 512, b"\0")
    tables = 1
    while len(fat) + tables > tables * 128:
        tables += 1
    places = [len(fat) + number for number in range(tables)]
    fat += [0xFFFFFFFD] * tables
    body += struct.pack(f"<{tables * 128}I", *fat, *([0xFFFFFFFF] * (tables * 128 - len(fat))))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, tables, first_directory, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<109I", *places, *([0xFFFFFFFF] * (109 - tables)))
    return head + body


def vba_packed(source: bytes) -> bytes:
    """A container of [MS-OVBA] section 2.4.1 with nothing but literal octets."""
    out = b"\1"
    for at in range(0, len(source), 3000):
        piece = source[at : at + 3000]
        chunk = b"".join(b"\0" + piece[place : place + 8] for place in range(0, len(piece), 8))
        out += struct.pack("<H", 0xB000 | (len(chunk) + 2 - 3)) + chunk
    return out


def macro_project(source: str, root: str = "") -> dict[str, bytes]:
    """Streams of a VBA project whose module is found by its compressed source."""
    # Long enough to stand outside the mini stream with its own length.
    filling = b"' nothing\r\n" * 400
    module = vba_packed(b'Attribute VB_Name = "Module1"\r\n' + source.encode() + filling)
    return {
        f"{root}VBA/dir": vba_packed(b"\1\0\4\0\0\0\1\0\0\0"),
        f"{root}VBA/_VBA_PROJECT": b"\xcc\x61",
        f"{root}VBA/Module1": module,
        f"{root}PROJECT": b"ID=x\r\n",
    }


def native(name: str, content: bytes) -> bytes:
    """An OLE native stream with a file."""
    raw = name.encode() + b"\0"
    path = b"C:\\tmp\\" + raw
    body = (
        b"\2\0" + raw + path + struct.pack("<HHI", 0, 3, len(path)) + path + struct.pack("<I", len(content)) + content
    )
    return struct.pack("<I", len(body)) + body


def docx(
    parts: Mapping[str, bytes] | None = None, main: str = "", body: str = "", macro_enabled: bool = False
) -> bytes:
    """A Word document."""
    main = main or (
        "application/vnd.ms-word.document.macroEnabled.main+xml"
        if macro_enabled
        else "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    )
    types = f'<Types><Override PartName="/word/document.xml" ContentType="{main}"/></Types>'
    return packed(
        {
            "[Content_Types].xml": types.encode(),
            "_rels/.rels": b"<Relationships/>",
            "word/document.xml": f"<w:document><w:body>{body}</w:body></w:document>".encode(),
            **(parts or {}),
        }
    )


def relations(*found: tuple[str, str]) -> bytes:
    """A relationships part with external targets: (last word of the type, target)."""
    rows = "".join(
        f'<Relationship Id="r{number}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}"'
        f' Target="{target}" TargetMode="External"/>'
        for number, (kind, target) in enumerate(found)
    )
    return f'<?xml version="1.0"?><Relationships xmlns="x">{rows}</Relationships>'.encode()


def _number(value: int) -> bytes:
    """A number as RAR 5 writes it."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def rar5(name: str, content: bytes, is_locked: bool = False) -> bytes:
    """A RAR 5 archive with one stored member."""

    def block(kind: int, flags: int, body: bytes, extra: bytes = b"", size: int = 0) -> bytes:
        fields = _number(kind) + _number(flags) + (_number(len(extra)) if flags & 1 else b"")
        fields += (_number(size) if flags & 2 else b"") + body + extra
        counted = _number(len(fields)) + fields
        return struct.pack("<I", zlib.crc32(counted)) + counted

    raw = name.encode()
    body = _number(4) + _number(len(content)) + _number(0o100644) + struct.pack("<I", zlib.crc32(content))
    body += _number(0) + _number(1) + _number(len(raw)) + raw
    lock = _number(1) + _number(0) + _number(0) + bytes([15]) + bytes(16) + bytes(16)
    extra = _number(len(lock)) + lock if is_locked else b""
    file = block(2, 2 | (1 if is_locked else 0), body, extra, len(content)) + content
    return b"Rar!\x1a\7\1\0" + block(1, 0, _number(0)) + file + block(5, 0, _number(0))


def rar4(name: str, content: bytes, is_locked: bool = False) -> bytes:
    """A RAR 4 archive with one stored member."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        counted = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(counted) & 0xFFFF) + counted

    raw = name.encode()
    body = struct.pack("<IIBIIBBHI", len(content), len(content), 2, zlib.crc32(content), 0, 29, 0x30, len(raw), 0x20)
    file = block(0x74, 0x8000 | (0x0404 if is_locked else 0), body + raw + (bytes(8) if is_locked else b""))
    return b"Rar!\x1a\7\0" + block(0x73, 0, bytes(6)) + file + content + block(0x7B, 0x4000, b"")


def cab(name: str, content: bytes) -> bytes:
    """A cabinet with one stored member."""
    raw = name.encode() + b"\0"
    file = struct.pack("<IIHHHH", len(content), 0, 0, 0x5842, 0x5000, 0x20) + raw
    data_at = 36 + 8 + len(file)
    data = struct.pack("<IHH", 0, len(content), len(content)) + content
    head = struct.pack("<4sIIIIIBBHHHHH", b"MSCF", 0, data_at + len(data), 0, 44, 0, 3, 1, 1, 1, 0, 0, 0)
    return head + struct.pack("<IHH", data_at, 1, 0) + file + data


def tnef(*attachments: tuple[bytes, bytes], properties: bytes = b"") -> bytes:
    """A winmail.dat: (title, content) of each attachment; properties go to the last one."""

    def attribute(level: int, number: int, value: bytes) -> bytes:
        return struct.pack("<BII", level, number, len(value)) + value + struct.pack("<H", sum(value) & 0xFFFF)

    out = struct.pack("<IH", 0x223E9F78, 1) + attribute(1, 0x00089006, struct.pack("<I", 0x00010000))
    for title, content in attachments:
        out += attribute(2, 0x00069002, struct.pack("<HIHHI", 1, 0xFFFFFFFF, 32, 32, 0))
        out += attribute(2, 0x00018010, title + b"\0")
        out += attribute(2, 0x0006800F, content)
    return out + (attribute(2, 0x00069005, properties) if properties else b"")


def mapi(*held: tuple[int, int, bytes]) -> bytes:
    """Properties as TNEF has them: (type, number, octets) of variable length."""
    out = struct.pack("<I", len(held))
    for kind, number, value in held:
        out += struct.pack("<HHII", kind, number, 1, len(value)) + value + bytes(-len(value) % 4)
    return out


def pdf(*objects: bytes, catalog: bytes = b"", end: bytes = b"%%EOF\n") -> bytes:
    """A PDF file with one page; `objects` are numbered from 4 on."""
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R " + catalog + b" >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        *(objects or [b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>"]),
    ]
    return numbered(bodies, end)


def numbered(bodies: Sequence[bytes], end: bytes = b"%%EOF\n") -> bytes:
    """A PDF file of objects from 1 on, the first of them its catalog."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    at = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n" % (len(bodies) + 1, at)
    return bytes(out) + end


def page(annotations: bytes = b"", more: bytes = b"") -> bytes:
    """The page object of `pdf`."""
    return b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Annots [" + annotations + b"] " + more + b" >>"


def stream(body: bytes, dictionary: bytes = b"", is_deflated: bool = True) -> bytes:
    """A stream object of a PDF file."""
    body = zlib.compress(body) if is_deflated else body
    how = b"/Filter /FlateDecode " if is_deflated else b""
    return b"<< /Length %d %s%s >>\nstream\n%s\nendstream" % (len(body), how, dictionary, body)


def flags_of(files: Sequence[object]) -> set[str]:
    """All flags of some files."""
    return set().union(*(getattr(one, "flags", frozenset()) for one in files))
