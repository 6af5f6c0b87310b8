"""One question to one DNS server: the octets of it, and what the octets that come back say.

`question` and `read` are pure, `fits` says whether octets answer a question at all. The resolver loads this module, and
dnspython with it, when it is first asked something (`dns_exchange` carries the octets).

dnspython reads names and record data. Its message class is not used: it keeps records in sets by their canonical form,
which takes four milliseconds for a name of 125 labels, and so a second for an answer of 4 kB that a sender has written.
Promised: time in proportion to the octets, and few records. Refused (`Broken`): what does not follow its own rules.

RFC 1035 section 4; RFC 2181 section 8 (times); RFC 2308 (negative answers); RFC 5452 section 9.1 (what fits);
RFC 6604 (aliases and their codes); RFC 6840 section 5.7 (AD asks for AD); RFC 6891 (EDNS).
"""

from __future__ import annotations

import os
import struct
from typing import Any, Final

import attrs
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire

from smtpgate.net.dns_cache import TTL_CEILING_S
from smtpgate.net.records import host, record, tlsa

#: Largest answer that we take by UDP: it crosses every path without fragments (DNS flag day 2020; Unbound, BIND).
UDP_OCTETS: Final = 1232
#: Records of all sections that are read. BIND gives out 100 of one type (max-records-per-type), a datagram holds 75.
RECORDS: Final = 256
#: Aliases in one answer; BIND and dnspython: 16.
CHAIN: Final = 16

_HEADER: Final = struct.Struct("!HHHHHH")
_QR, _OPCODE, _AA, _TC, _RD, _RA, _AD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020
_NOERROR, _FORMERR, _SERVFAIL, _NXDOMAIN, _NOTIMP, _REFUSED, _BADVERS = 0, 1, 2, 3, 4, 5, 16
#: Codes that may come without the question, from servers that did not read it.
_UNREAD: Final = frozenset({_FORMERR, _SERVFAIL, _NOTIMP, _REFUSED})
#: What a server says that knows no EDNS (RFC 6891 section 7), or not ours.
_NO_EDNS: Final = frozenset({_FORMERR, _NOTIMP, _BADVERS})
_OPT: Final = b"\x00" + struct.pack("!HHIH", 41, UDP_OCTETS, 0, 0)
_IN, _CNAME, _SOA, _OPT_NUMBER, _NS, _TLSA = 1, 5, 6, 41, 2, 52


class Broken(Exception):
    """A server's answer cannot be used."""


@attrs.frozen
class Question:
    """One question.

    :ivar asked: name, type and class as they stand in the message
    """

    octets: bytes
    asked: bytes
    id: int
    kind: str
    number: int


@attrs.frozen
class Reading:
    """What an answer says.

    :ivar status: as in `policy.names.Answer`, or "elsewhere": an alias whose target was not looked up; "no-edns": to be
        asked again without; "truncated": to be asked again by TCP
    :ivar target: of "elsewhere": the name to go on with
    :ivar ttl: seconds as the server gave them
    """

    status: str
    records: tuple[Any, ...] = ()
    ttl: int = 0
    is_authentic: bool = False
    target: str = ""


FAILED: Final = Reading("failed")
_AGAIN: Final = Reading("no-edns")
_TRUNCATED: Final = Reading("truncated")


def kind_number(kind: str) -> int:
    """The number of a record type; raises ValueError for what is none, or asks for more than records."""
    try:
        number = dns.rdatatype.RdataType.make(kind)
    except (ValueError, dns.exception.DNSException):
        raise ValueError(f"{kind!r} is no kind of record") from None
    if dns.rdatatype.is_metatype(number):
        raise ValueError(f"{kind} asks for more than records")
    return number


def question(name: str, kind: str, has_edns: bool = True) -> Question:
    """A question with a random id, for a name as `records.plain_name` makes it."""
    labels = name.encode("ascii").split(b".") if name else []
    number = kind_number(kind)
    asked = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00" + struct.pack("!HH", number, _IN)
    random = int.from_bytes(os.urandom(2), "big")
    header = _HEADER.pack(random, _RD | _AD, 1, 0, 0, int(has_edns))
    return Question(header + asked + (_OPT if has_edns else b""), asked, random, kind, number)


def fits(octets: bytes, query: Question) -> bool:
    """Whether octets are an answer to the question, whatever it says."""
    if len(octets) < _HEADER.size:
        return False
    id, flags, questions, *_ = _HEADER.unpack_from(octets)
    if id != query.id or not flags & _QR or flags & _OPCODE:
        return False
    if not questions:
        return flags & 15 in _UNREAD
    asked = octets[_HEADER.size : _HEADER.size + len(query.asked)]
    return questions == 1 and asked[:-4].lower() == query.asked[:-4] and asked[-4:] == query.asked[-4:]


def read(octets: bytes, query: Question) -> Reading:
    """What an answer says that fits. Raises Broken."""
    _, flags, questions, answers, authorities, others = _HEADER.unpack_from(octets)
    if flags & _TC:
        return _TRUNCATED
    if flags & 15 in _NO_EDNS:
        return _AGAIN
    if answers + authorities + others > RECORDS:
        raise Broken(f"{answers + authorities + others} records")
    if flags & 15 not in (_NOERROR, _NXDOMAIN) or not questions:
        return FAILED
    try:
        parser = dns.wire.Parser(octets, _HEADER.size)
        name = parser.get_name(decompress=True)
        parser.get_struct("!HH")
        message = _Message(parser, query)
        message.read_answers(answers)
        message.read_authorities(authorities)
        extended = message.read_others(others)
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise Broken(repr(error)) from error
    if extended:
        return _AGAIN if extended << 4 == _BADVERS else FAILED
    return message.follow(name, flags)


class _Message:
    """The records of an answer that matter."""

    def __init__(self, parser: dns.wire.Parser, query: Question) -> None:
        self._parser = parser
        self._query = query
        self._values: dict[dns.name.Name, list[Any]] = {}
        self._aliases: dict[dns.name.Name, dns.name.Name] = {}
        self._ttls: dict[dns.name.Name, int] = {}
        self._end: tuple[dns.name.Name, int] | None = None
        self._is_referral = False

    def _head(self) -> tuple[dns.name.Name, int, int, int, int]:
        name = self._parser.get_name(decompress=True)
        number, rdclass, ttl, size = self._parser.get_struct("!HHIH")
        return name, number, rdclass, ttl if ttl < 1 << 31 else 0, size

    def _data(self, number: int, size: int) -> dns.rdata.Rdata:
        with self._parser.restrict_to(size):
            return dns.rdata.from_wire_parser(dns.rdataclass.IN, dns.rdatatype.RdataType.make(number), self._parser)

    def read_answers(self, count: int) -> None:
        for _ in range(count):
            name, number, rdclass, ttl, size = self._head()
            if rdclass != _IN or number not in (self._query.number, _CNAME):
                self._parser.get_bytes(size)
                continue
            if number == _TLSA == self._query.number:
                self._values.setdefault(name, []).append(tlsa(self._parser.get_bytes(size)))
                self._ttls[name] = min(ttl, self._ttls.get(name, TTL_CEILING_S))
                continue
            rdata: Any = self._data(number, size)
            if number == self._query.number:
                self._values.setdefault(name, []).append(record(self._query.kind, rdata))
            else:
                self._aliases.setdefault(name, rdata.target)
            self._ttls[name] = min(ttl, self._ttls.get(name, TTL_CEILING_S))

    def read_authorities(self, count: int) -> None:
        for _ in range(count):
            name, number, rdclass, ttl, size = self._head()
            if rdclass == _IN and number == _SOA and self._end is None:
                soa: Any = self._data(number, size)
                self._end = name, min(ttl, soa.minimum)
                continue
            self._is_referral = self._is_referral or number == _NS
            self._parser.get_bytes(size)

    def read_others(self, count: int) -> int:
        """The upper bits of the code, which stand where other records have their time to live."""
        extended = 0
        for _ in range(count):
            self._parser.get_name(decompress=True)
            number, _, ttl, size = self._parser.get_struct("!HHIH")
            if number == _OPT_NUMBER:
                extended = ttl >> 24
            self._parser.get_bytes(size)
        return extended

    def follow(self, name: dns.name.Name, flags: int) -> Reading:
        """From the name that was asked over its aliases to what there is."""
        ttl = TTL_CEILING_S
        is_authentic, is_alias = bool(flags & _AD), False
        for _ in range(CHAIN):
            values = self._values.get(name)
            if values is not None:
                if flags & 15 == _NXDOMAIN:
                    raise Broken("records of a name that does not exist")
                return Reading("ok", tuple(dict.fromkeys(values)), min(ttl, self._ttls[name]), is_authentic)
            target = self._aliases.get(name)
            if target is None:
                break
            ttl, name, is_alias = min(ttl, self._ttls[name]), target, True
        else:
            raise Broken("an alias without end")
        status = "nxdomain" if flags & 15 == _NXDOMAIN else "nodata"
        if self._end is not None and name.is_subdomain(self._end[0]):
            return Reading(status, (), min(ttl, self._end[1]), is_authentic)
        if status == "nodata" and is_alias:
            return Reading("elsewhere", (), ttl, is_authentic, host(name))
        if status == "nodata" and self._is_referral and not flags & (_RA | _AA):
            # The server does not look names up for us, and has not said that there is nothing.
            return FAILED
        # Without an SOA it may be believed for the shortest time (RFC 2308 section 5).
        return Reading(status, (), 0, is_authentic)
