"""The DNS of the filter benchmark: a table behind UDP port 53 of a loopback address, in a process of its own.

Every server under test asks it, by its own configuration or by a resolv.conf that only it sees. It answers at once, as
a resolver on the same machine does that knows the answer, and gives the negative answers the SOA with which they can
be kept. Answers come as the question asked, letter case included; all fit in a datagram with EDNS.

RFC 1035 section 4; RFC 2308 section 3; RFC 6891.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Mapping

import dns.rdata
import dns.rdataclass
import dns.rdatatype

from tests.bench.processes import Forked

_HEADER = struct.Struct("!HHHHHH")
_TAIL = struct.Struct("!HHIH")
_KINDS = {int(dns.rdatatype.from_text(kind)): kind for kind in ("A", "AAAA", "TXT", "PTR", "MX", "NS", "SOA", "CNAME")}
_TTL_S = 3600
_OPT = b"\x00" + _TAIL.pack(41, 1232, 0, 0)
_SOA = dns.rdata.from_text("IN", "SOA", "ns.example. root.example. 1 3600 600 86400 900").to_wire()


class NameServer:
    """The server, from its start to `stop`.

    :ivar address: where it listens
    :ivar port: 53, or another where that is not to be had
    """

    def __init__(self, zones: Mapping[tuple[str, str], list[str]]) -> None:
        self._socket, self.address, self.port = _bound()
        self._count = mmap.mmap(-1, 8)
        answers = {
            (name.lower().encode(), kind): [_rdata(kind, text) for text in texts]
            for (name, kind), texts in zones.items()
        }
        self._process = Forked(lambda: _serve(self._socket, answers, self._count))

    @property
    def asked(self) -> int:
        """Questions that were answered."""
        return int.from_bytes(self._count[:8], "little")

    def stop(self) -> None:
        """End it."""
        self._process.stop()
        self._socket.close()


def _bound() -> tuple[socket.socket, str, int]:
    for at in range(1, 20):
        for port in (53, 0) if at == 19 else (53,):
            found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                found.bind((f"127.53.0.{at}", port))
            except OSError:
                found.close()
                continue
            return found, f"127.53.0.{at}", found.getsockname()[1]
    raise RuntimeError("no address for a DNS server")


def _rdata(kind: str, text: str) -> bytes:
    if kind == "TXT":
        octets = text.encode()
        pieces = [octets[at : at + 255] for at in range(0, len(octets), 255)]
        return b"".join(bytes((len(piece),)) + piece for piece in pieces)
    if kind in ("PTR", "MX"):
        text += "."
    return dns.rdata.from_text("IN", kind, text).to_wire() or b""


def _serve(listening: socket.socket, answers: dict[tuple[bytes, str], list[bytes]], count: mmap.mmap) -> None:
    names = {name for name, _ in answers}
    # What lies between a name and the root exists too (RFC 8020).
    names |= {name.split(b".", at)[-1] for name, _ in answers for at in range(1, name.count(b".") + 1)}
    asked = 0
    while True:
        query, peer = listening.recvfrom(4096)
        answer = _answer(query, answers, names)
        if answer:
            listening.sendto(answer, peer)
            asked += 1
            count[:8] = asked.to_bytes(8, "little")


def _answer(query: bytes, answers: dict[tuple[bytes, str], list[bytes]], names: set[bytes]) -> bytes:
    """The octets that answer a query; none for what is no query."""
    if len(query) < 17:
        return b""
    number, flags, questions, _, _, others = _HEADER.unpack_from(query)
    if flags & 0xF800 or questions != 1:
        return b""
    at, labels, last = 12, [], 12
    while query[at]:
        last = at
        labels.append(query[at + 1 : at + 1 + query[at]].lower())
        at += 1 + query[at]
        if at >= len(query) - 4:
            return b""
    kind = _KINDS.get(int.from_bytes(query[at + 1 : at + 3], "big"), "")
    name = b".".join(labels)
    found = answers.get((name, kind), [])
    rcode = 0 if found or name in names else 3
    records = b"".join(
        b"\xc0\x0c" + query[at + 1 : at + 5] + struct.pack("!IH", _TTL_S, len(one)) + one for one in found
    )
    ends = b""
    if not found:
        ends = struct.pack("!H", 0xC000 | last) + _TAIL.pack(6, 1, _TTL_S, len(_SOA)) + _SOA
    head = _HEADER.pack(number, 0x8480 | flags & 0x0100 | rcode, 1, len(found), int(not found), int(bool(others)))
    return head + query[12 : at + 5] + records + ends + (_OPT if others else b"")
