"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

`parse` is called with all octets received so far until it gives an answer; it never asks for more than the longest
header. Written out by `version1` and `version2` where a backend wants to know the client.

HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.
"""

from __future__ import annotations

import ipaddress
import re
import struct

import attrs

from smtpgate.smtp.address import plain_ip

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
#: Longest version 1 line, CRLF included.
V1_OCTETS = 107
#: Longest version 2 header taken: addresses and TLVs of real senders stay far below; the field itself allows 65535.
V2_OCTETS = 16 + 4096

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_CRC32C_TYPE = 0x03


@attrs.frozen
class Origin:
    """Where a connection came from.

    :ivar ip: the client's address; "" when the header names none (UNKNOWN, LOCAL): the real peer counts
    :ivar is_local: a health probe of the load balancer itself
    :ivar octets: length of the header
    """

    ip: str = ""
    port: int = 0
    destination_ip: str = ""
    destination_port: int = 0
    is_local: bool = False
    octets: int = 0


@attrs.frozen
class BadHeader:
    """No PROXY header, or a broken one: the connection is closed without a word."""

    reason: str


def parse(data: bytes) -> Origin | BadHeader | None:
    """The header at the start of `data`; None while it is incomplete."""
    if data[:12] == SIGNATURE[: len(data[:12])] and data[:1] != b"P":
        return _parse_v2(data)
    if data[:6] == b"PROXY "[: len(data[:6])]:
        return _parse_v1(data)
    return BadHeader("no PROXY header")


def _parse_v1(data: bytes) -> Origin | BadHeader | None:
    end = data.find(b"\n", 0, V1_OCTETS)
    if end < 0:
        return None if len(data) < V1_OCTETS else BadHeader("version 1 header too long")
    if data[end - 1 : end] != b"\r":
        return BadHeader("version 1 header not ended by CRLF")
    line = data[: end - 1]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Origin(octets=end + 1)
    match = _V1.fullmatch(line)
    if match is None:
        return BadHeader("malformed version 1 header")
    kind, *given, port, destination_port = match.groups()
    version = 4 if kind == b"TCP4" else 6
    try:
        addresses = [ipaddress.ip_address(text.decode("ascii")) for text in given]
    except ValueError:
        return BadHeader("malformed address")
    if any(address.version != version for address in addresses) or max(int(port), int(destination_port)) > 65535:
        return BadHeader("address or port does not fit")
    source, destination = (plain_ip(str(address)) for address in addresses)
    return Origin(source, int(port), destination, int(destination_port), octets=end + 1)


def _parse_v2(data: bytes) -> Origin | BadHeader | None:
    if len(data) < 16:
        return None
    version, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if version >> 4 != 2 or version & 0xF > 1:
        return BadHeader("unknown version or command")
    if family >> 4 > 3 or family & 0xF > 2:
        return BadHeader("unknown family or transport")
    if 16 + length > V2_OCTETS:
        return BadHeader("version 2 header too long")
    if len(data) < 16 + length:
        return None
    block = data[16 : 16 + length]
    needed = {1: 12, 2: 36, 3: 216}.get(family >> 4, 0)
    is_local = version & 0xF == 0
    if is_local or not family >> 4:
        # What stands behind them is skipped by its length alone.
        return Origin(is_local=is_local, octets=16 + length)
    if length < needed:
        return BadHeader("version 2 header shorter than its addresses")
    bad = _check_tlvs(data[: 16 + length], needed)
    if bad is not None:
        return bad
    if family == 0x11:
        source, destination, port, destination_port = struct.unpack("!4s4sHH", block[:12])
    elif family == 0x21:
        source, destination, port, destination_port = struct.unpack("!16s16sHH", block[:36])
    else:
        return Origin(octets=16 + length)
    return Origin(
        plain_ip(str(ipaddress.ip_address(source))),
        port,
        plain_ip(str(ipaddress.ip_address(destination))),
        destination_port,
        octets=16 + length,
    )


def _check_tlvs(header: bytes, needed: int) -> BadHeader | None:
    position = 16 + needed
    while position < len(header):
        if position + 3 > len(header):
            return BadHeader("TLV cut short")
        kind = header[position]
        size = int.from_bytes(header[position + 1 : position + 3], "big")
        if position + 3 + size > len(header):
            return BadHeader("TLV runs past the header")
        if kind == _CRC32C_TYPE:
            if size != 4:
                return BadHeader("checksum of a wrong length")
            value = header[position + 3 : position + 7]
            zeroed = header[: position + 3] + bytes(4) + header[position + 7 :]
            if crc32c(zeroed) != int.from_bytes(value, "big"):
                return BadHeader("checksum does not fit")
        position += 3 + size
    return None


def _table() -> tuple[int, ...]:
    out = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        out.append(value)
    return tuple(out)


_TABLE = _table()


def crc32c(octets: bytes) -> int:
    """CRC-32C (RFC 4960 appendix B), over a header of at most a few hundred octets."""
    value = 0xFFFFFFFF
    for octet in octets:
        value = value >> 8 ^ _TABLE[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF


def version1(source: str, port: int, destination: str, destination_port: int) -> bytes:
    """A version 1 line; UNKNOWN where the two addresses are not of one family."""
    if _family(source) == _family(destination) != 0:
        return f"PROXY TCP{_family(source)} {source} {destination} {port} {destination_port}\r\n".encode("ascii")
    return b"PROXY UNKNOWN\r\n"


def version2(source: str, port: int, destination: str, destination_port: int) -> bytes:
    """A version 2 header; LOCAL where there is no client behind us (probes)."""
    if _family(source) != _family(destination) or not _family(source):
        return SIGNATURE + b"\x20\x00\x00\x00"
    block = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    block += struct.pack("!HH", port, destination_port)
    family = 0x11 if _family(source) == 4 else 0x21
    return SIGNATURE + b"\x21" + bytes([family]) + struct.pack("!H", len(block)) + block


def _family(address: str) -> int:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0
