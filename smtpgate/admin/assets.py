"""Files that pages load: our style and scripts, and the libraries copied from their packages.

Each has its digest in its address, so browsers may keep it for ever and a new release is never mixed with an
old one. `assets/SHA256SUMS` is the hash list; a file that does not match it is not served.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from pathlib import Path

import attrs

from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Refusal

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
#: What the login page needs; all else is for those who are logged in.
PUBLIC = frozenset({"app.css", "pico.min.css", "logo.svg", "onward.js"})


@attrs.frozen
class Asset:
    """One file."""

    name: str
    digest: str
    content: bytes
    packed: bytes
    content_type: str


class Assets:
    """All of them, read once."""

    def __init__(self) -> None:
        folder = resources.files("smtpgate.admin") / "assets"
        sums = (folder / "SHA256SUMS").read_text("ascii").splitlines()
        self._files: dict[str, Asset] = {}
        for digest, name in (line.split() for line in sums):
            kind = name.rpartition(".")[2]
            if kind not in _TYPES:
                continue
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise RuntimeError(f"asset {name} is not what SHA256SUMS says")
            packed = gzip.compress(content, mtime=0)
            self._files[name] = Asset(name, digest[:16], content, packed, _TYPES[kind])

    def place(self, name: str) -> str:
        """The address of a file."""
        return f"/assets/{self._files[name].digest}/{name}"

    def serve(self, digest: str, name: str, is_public: bool, is_packed: bool) -> Answer:
        """The file; raises Refusal for what there is not.

        :param is_packed: as gzip packs it. Pages are not packed: they have secrets beside what strangers wrote, and
            their length would tell of them (BREACH).
        """
        asset = self._files.get(name)
        if asset is None or asset.digest != digest:
            raise Refusal("not-found", 404, "there is nothing here")
        scope = "public" if is_public else "private"
        headers = {"Cache-Control": f"{scope}, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
        if not is_packed:
            return Answer(asset.content, 200, asset.content_type, headers)
        return Answer(asset.packed, 200, asset.content_type, {**headers, "Content-Encoding": "gzip"})


def write_sums() -> None:
    """Write the hash list anew, after a file was changed."""
    folder = Path(__file__).with_name("assets")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.removeprefix(".") in _TYPES)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), "ascii")


if __name__ == "__main__":
    write_sums()
