"""smtpgate.smtp.proxyline: PROXY headers, both versions, for every split."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp.proxyline import SIGNATURE, V1_OCTETS, BadHeader, Origin, crc32c, parse, version1, version2


def v2(
    command: int = 0x21,
    family: int = 0x11,
    block: bytes = b"\xc0\0\x02\x0a\xc6\x33\x64\x05\x9c\x40\0\x19",
    tlvs: bytes = b"",
) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block) + len(tlvs)) + block + tlvs


class Version1Tests(SynchronousTestCase):
    """The line."""

    def test_good(self) -> None:
        """The carried address is the client; UNKNOWN is the real peer (P-260, P-261)."""
        line = b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n"
        self.assertEqual(parse(line + b"EHLO"), Origin("198.51.100.7", 4711, "203.0.113.1", 25, octets=len(line)))
        self.assertEqual(
            parse(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"), Origin("2001:db8::1", 1, "2001:db8::2", 2, octets=40)
        )
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN junk junk\r\n"):
            self.assertEqual(parse(line), Origin(octets=len(line)))

    def test_incomplete_at_every_octet(self) -> None:
        """Nothing is decided before the line is whole."""
        line = b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n"
        for cut in range(len(line)):
            self.assertIsNone(parse(line[:cut]), cut)

    def test_bad(self) -> None:
        """Each deviation of the specification closes (P-262, P-263)."""
        for line in (
            b"proxy TCP4 198.51.100.7 203.0.113.1 4711 25\r\n",
            b"PROXY  TCP4 198.51.100.7 203.0.113.1 4711 25\r\n",
            b"PROXY TCP4 198.51.100.7 203.0.113.1 04711 25\r\n",
            b"PROXY TCP4 198.51.100.7 203.0.113.1 65536 25\r\n",
            b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\n",
            b"PROXY TCP4 198.51.100.7 203.0.113.1 4711\r\n",
            b"PROXY TCP4 2001:db8::1 203.0.113.1 4711 25\r\n",
            b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25 x\r\n",
            b"PROXY TCP4 198.51.100.700 203.0.113.1 4711 25\r\n",
            b"EHLO x\r\n",
            b"PROXY " + b"A" * V1_OCTETS,
        ):
            self.assertIsInstance(parse(line), BadHeader, line)


class Version2Tests(SynchronousTestCase):
    """The binary header."""

    def test_good(self) -> None:
        """INET and INET6 carry the client; UNIX, UNSPEC and LOCAL are the real peer (P-265)."""
        self.assertEqual(parse(v2()), Origin("192.0.2.10", 40000, "198.51.100.5", 25, octets=28))
        block = bytes(15) + b"\1" + bytes(15) + b"\2" + b"\0\1\0\2"
        self.assertEqual(parse(v2(family=0x21, block=block)), Origin("::1", 1, "::2", 2, octets=52))
        self.assertEqual(parse(v2(family=0x31, block=bytes(216))), Origin(octets=232))
        self.assertEqual(parse(v2(family=0x00, block=b"what ever")), Origin(octets=25))
        self.assertEqual(parse(v2(command=0x20, family=0x00, block=b"")), Origin(is_local=True, octets=16))
        self.assertEqual(parse(v2(command=0x20)), Origin(is_local=True, octets=28))

    def test_bad(self) -> None:
        """Versions, commands, families and lengths that do not fit (P-266)."""
        for header in (
            v2(command=0x11),
            v2(command=0x31),
            v2(command=0x22),
            v2(family=0x41),
            v2(block=b"short"),
            SIGNATURE[:-1] + b"X" + v2()[12:],
            SIGNATURE + b"\x21\x11\xff\xff" + bytes(100),
        ):
            self.assertIsInstance(parse(header), BadHeader, header)

    def test_tlvs(self) -> None:
        """Unknown ones are skipped, an overrun and a wrong checksum close, a right one passes (P-267)."""
        good = (
            b"\x04\0\2hi",
            b"\xee\0\0",
            b"\x05" + struct.pack("!H", 128) + bytes(128),
            b"\x20\0\x08\x01\0\0\0\0\x21\0\0",
        )
        for tlvs in good:
            self.assertIsInstance(parse(v2(tlvs=tlvs)), Origin, tlvs)
        for tlvs in (b"\x04\0\5hi", b"\x04\0", b"\x03\0\4\0\0\0\0", b"\x03\0\2\0\0"):
            self.assertIsInstance(parse(v2(tlvs=tlvs)), BadHeader, tlvs)
        blank = v2(tlvs=b"\x03\0\4\0\0\0\0")
        self.assertIsInstance(parse(blank[:-4] + struct.pack("!I", crc32c(blank))), Origin)

    @given(st.binary(max_size=80))
    @settings(max_examples=200, deadline=None)
    def test_no_input_raises(self, octets: bytes) -> None:
        """Random octets behind each beginning give an answer or ask for more."""
        for start in (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"):
            parse(start + octets)

    def test_what_is_written_is_read(self) -> None:
        """Both versions, both families, and what has no family in common."""
        for write in (version1, version2):
            for a, b in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
                origin = parse(write(a, 1, b, 25))
                assert isinstance(origin, Origin)
                self.assertEqual(
                    (origin.ip, origin.port, origin.destination_ip, origin.destination_port), (a, 1, b, 25)
                )
            origin = parse(write("192.0.2.1", 1, "::1", 25))
            assert isinstance(origin, Origin)
            self.assertEqual(origin.ip, "")
