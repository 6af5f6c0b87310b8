"""QR codes in pictures: the addresses that a person scans with a phone, where no filter sees the click.

`files` calls `read_codes` for pictures in the formats that mail programs show. The size is read from the head before
a pixel is unpacked, so a picture that would unpack to gigabytes costs nothing. Large pictures are shrunk: a code that
a phone can read from a screen survives that. zxing-cpp decodes, Pillow opens; where one is absent nothing is read and
nothing is flagged: codes are an extra witness.

At most `PIXELS` pixels, `_FRAMES` frames and `_CODES` codes a picture. Nothing raises.

ISO/IEC 18004.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, Final

from smtpgate.examine.budget import Budget, hush

#: Formats of Pillow that may be opened, by the detail of the kind: no other parser is ever started.
FORMATS: Final = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP"}
#: A fifth of what Pillow itself warns about (89 million); scans of a page at 300 dpi have 9 million.
PIXELS: Final = 18_000_000
#: Longest side that is searched; larger pictures are shrunk to it.
_SIDE: Final = 2000
#: Smaller than the smallest code with a pixel a module.
_SMALLEST: Final = 21
_FRAMES: Final = 2
_CODES: Final = 10
_LETTERS: Final = 4096
#: The head of a frame of 8 bits a sample: marker, length, depth (ITU-T T.81 B.2.2).
_FRAME: Final = re.compile(rb"\xff[\xc0-\xc2\xc9\xca]\x00[\x0b\x0e\x11\x14]\x08")


def read_codes(content: bytes, detail: str, budget: Budget) -> tuple[str, ...]:
    """Texts of the QR codes in one picture of a format in `FORMATS`; () where there is none or it cannot be read."""
    if detail not in FORMATS or budget.is_late():
        return ()
    if detail == "jpeg" and _FRAME.search(content) is None:
        # Pillow looks for it octet by octet; no reader shows a picture without one.
        return ()
    hush("PIL")
    try:
        import zxingcpp
        from PIL import Image

        wanted = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.MicroQRCode])
        found: dict[str, None] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=[FORMATS[detail]]) as picture:
                width, height = picture.size
                if width * height > PIXELS or min(width, height) < _SMALLEST:
                    return ()
                for frame in range(min(getattr(picture, "n_frames", 1), _FRAMES)):
                    if not budget.spend_pixels(width * height) or budget.is_late():
                        break
                    if frame:
                        picture.seek(frame)
                    for code in zxingcpp.read_barcodes(_gray(picture), formats=wanted):
                        found[str(code.text)[:_LETTERS]] = None
        return tuple(text for text in found if text)[:_CODES]
    except Exception:  # absent libraries, and whatever Pillow raises for hostile octets: there is no code to be read
        return ()


def _gray(picture: Any) -> Any:
    """The picture in grey on white, not larger than `_SIDE`."""
    is_large = max(picture.size) > _SIDE
    # A JPEG is unpacked as it is wanted: without colours, and not larger.
    picture.draft("L", (_SIDE, _SIDE) if is_large else picture.size)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        from PIL import Image

        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        white.alpha_composite(layer)
        gray = white.convert("L")
    else:
        gray = picture.convert("L")
    if is_large:
        gray.thumbnail((_SIDE, _SIDE))
    return gray
