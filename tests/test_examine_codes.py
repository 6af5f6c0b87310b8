"""smtpgate.examine.codes: QR codes in pictures, and pictures that burst."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.codes import PIXELS, read_codes
from tests.files_kit import budget

try:
    import zxingcpp
    from PIL import Image
except ImportError:
    HAS_LIBRARIES = False
else:
    HAS_LIBRARIES = True

URL = "https://evil.example.org/login"


def code(text: str = URL, side: int = 200) -> Any:
    """A picture with a code on white."""
    made = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode)
    picture = Image.fromarray(zxingcpp.write_barcode_to_image(made, scale=4))
    white = Image.new("L", (side, side), 255)
    white.paste(picture, (10, 10))
    return white


def saved(picture: Any, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """A picture that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


class CodeTests(SynchronousTestCase):
    """What is read."""

    if not HAS_LIBRARIES:
        skip = "needs zxing-cpp and Pillow"

    def test_each_format(self) -> None:
        """The text comes out of every format that mail programs show."""
        for form, detail in (("PNG", "png"), ("JPEG", "jpeg"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")):
            self.assertEqual(read_codes(saved(code(), form), detail, budget()), (URL,), form)

    def test_other_looks(self) -> None:
        """White on black, dark on nothing, turned, in a large photograph, in the second frame."""
        plain = code()
        clear = Image.new("LA", plain.size, (0, 0))
        clear.putalpha(plain.point(lambda value: 255 - value))
        large = Image.new("L", (4000, 3000), 255)
        large.paste(plain.resize((1200, 1200)), (1500, 900))
        frames = saved(Image.new("L", plain.size, 255), "GIF", save_all=True, append_images=[plain])
        for content, detail in (
            (saved(plain.point(lambda value: 255 - value), "PNG"), "png"),
            (saved(clear, "PNG"), "png"),
            (saved(plain.rotate(90), "PNG"), "png"),
            (saved(large, "JPEG"), "jpeg"),
            (frames, "gif"),
        ):
            self.assertEqual(read_codes(content, detail, budget()), (URL,))

    def test_no_code(self) -> None:
        """A picture without one, and one too small for any."""
        self.assertEqual(read_codes(saved(Image.new("L", (300, 300), 255), "PNG"), "png", budget()), ())
        self.assertEqual(read_codes(saved(Image.new("L", (9, 9), 255), "PNG"), "png", budget()), ())

    def test_only_the_format_of_the_octets_is_opened(self) -> None:
        """A label that lies starts no other reader."""
        self.assertEqual(read_codes(saved(code(), "PNG"), "jpeg", budget()), ())
        self.assertEqual(read_codes(saved(code(), "TIFF"), "tiff", budget()), ())

    def test_a_picture_that_bursts(self) -> None:
        """The head alone decides; nothing of it is unpacked or taken from the budget."""
        limits = budget()
        self.assertEqual(read_codes(empty_png(30_000, 30_000), "png", limits), ())
        self.assertGreater(30_000 * 30_000, PIXELS)
        self.assertEqual(limits.octets, budget().octets)

    def test_limits(self) -> None:
        """No octets left, no time left."""
        content = saved(code(), "PNG")
        self.assertEqual(read_codes(content, "png", budget(pixels=10)), ())
        self.assertEqual(read_codes(content, "png", budget(seconds=-1.0)), ())

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=8)), max_size=4), st.integers(0, 3000))
    def test_nothing_raises(self, changes: list[tuple[int, bytes]], cut: int) -> None:
        """Octets changed or cut off."""
        for form, detail in (("PNG", "png"), ("GIF", "gif"), ("JPEG", "jpeg")):
            content = bytearray(saved(code(), form))
            for at, piece in changes:
                content[at % len(content) : at % len(content) + len(piece)] = piece
            self.assertLess(len(read_codes(bytes(content[: cut or None]), detail, budget())), 3)


class AbsentTests(SynchronousTestCase):
    """Without the libraries."""

    def test_nothing_is_read(self) -> None:
        """Codes are an extra witness: their absence is no fault."""
        with patch.dict(sys.modules, {"zxingcpp": None}):
            self.assertEqual(read_codes(empty_png(50, 50), "png", budget()), ())
