"""Keys that mail is signed with: what is told of their files and tables, and the commands that make and show them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.model import Settings
from smtpgate.signing.keys import new_key, read_key
from tests.test_smime_wire import certificate, pem

BASE = """
hostname = "gate.example.com"
[listeners.out]
listen = ["tcp:587"]
tls = "off"
role = "submission"
relay_from = ["192.0.2.0/24"]
[listeners.out2]
listen = ["tcp:588"]
tls = "off"
role = "submission"
relay_from = ["192.0.2.0/24"]
[backends.mail]
servers = ["192.0.2.10:25"]
client_info = "xclient"
[[routes]]
backend = "mail"
"""


class KeyCase(SynchronousTestCase):
    """A folder with a configuration."""

    def setUp(self) -> None:
        """The folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.good = new_key("ed25519").pem()

    def write(self, octets: bytes, mode: int = 0o600, name: str = "key.pem") -> Path:
        """A file."""
        path = self.folder / name
        path.write_bytes(octets)
        path.chmod(mode)
        return path

    def load(self, tables: str) -> Settings:
        """The settings; it may raise."""
        return loads(BASE + tables, self.folder / "gate.toml")

    def said(self, tables: str) -> list[str]:
        """What is wrong with a configuration."""
        error = self.assertRaises(ConfigErrors, self.load, tables)
        return [f"{one.key}: {one.message}".replace(f"{self.folder}/", "") for one in error.problems if one.is_error]


def table(**more: str) -> str:
    """A table of a key."""
    given = {"domain": '"example.net"', "selector": '"gate"', "file": '"key.pem"', **more}
    return "[[dkim_keys]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items())


class FileTests(KeyCase):
    """What a file must be."""

    def test_good_ones(self) -> None:
        """Both kinds; what the table says is there."""
        for kind in ("rsa", "ed25519"):
            self.write(new_key(kind).pem())  # type: ignore[arg-type]
            (key,) = self.load(table(domain='"Example.NET."', expire='"2d"', headers='["To", "from"]')).dkim_keys
            self.assertEqual(
                (key.domain, key.terms.expire_s, key.terms.headers), ("example.net", 172800, ("from", "to"))
            )
            self.assertEqual(key.terms.key.algorithm, f"{kind}-sha256")
            self.assertNotIn("PRIVATE", repr(key))

    def test_bad_ones(self) -> None:
        """Each is told with what is wrong, and nothing of what is in it."""
        forms: Any = (Encoding.PEM, PrivateFormat.PKCS8)
        small = rsa.generate_private_key(65537, 1024).private_bytes(*forms, NoEncryption())
        curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(*forms, NoEncryption())
        locked = rsa.generate_private_key(65537, 2048).private_bytes(*forms, BestAvailableEncryption(b"x"))
        for octets, mode, words in (
            (self.good, 0o640, "key.pem can be read by others (mode 0640)"),
            (small, 0o600, "key.pem has a key of 1024 bits; receivers take 2048 to 4096"),
            (curve, 0o600, "key.pem has a key that is neither RSA nor Ed25519"),
            (locked, 0o600, "key.pem has a key with a passphrase, and nobody could type it"),
            (b"hunter2", 0o600, "key.pem has no private key in it that can be read"),
        ):
            self.write(octets, mode)
            self.assertEqual(self.said(table()), [f"dkim_keys[0].file: {words}"])

    def test_tables_against_each_other(self) -> None:
        """A name twice, a listener that is not there, one of the other direction."""
        self.write(self.good)
        found = self.said(table() + table(selector='"GATE"') + table(selector='"b"', listener='["outt"]'))
        self.assertEqual(
            found,
            [
                'dkim_keys[1].selector: there is another key "gate" of example.net',
                'dkim_keys[2].listener[0]: no listener "outt"',
            ],
        )
        found = self.said(table(listener='["out2"]', direction='"in"'))
        self.assertEqual(found, ['dkim_keys[0].listener[0]: mail of listener "out2" never goes in'])
        (doubt,) = [one for one in self.load(table(direction='"in"')).warnings if one.key.startswith("dkim_keys")]
        self.assertIn("no listener takes mail that goes in", doubt.message)

    def test_whom_a_key_serves(self) -> None:
        """Direction and listeners."""
        self.write(self.good)
        (key,) = self.load(table(listener='["out2"]')).dkim_keys
        asked = [("out2", "out"), ("out", "out"), ("", "out"), ("out2", "in")]
        self.assertEqual([key.serves(*one) for one in asked], [True, False, True, False])


class CertificateTests(KeyCase):
    """Certificates that sign, and the folder of those for whom is encrypted."""

    def table(self) -> str:
        """Of a key."""
        return '[[smime_keys]]\naddress = ["ann@example.net"]\ncertificate = "ann.pem"\nkey = "ann.key"\n'

    def test_good_and_bad_ones(self) -> None:
        """A key that fits and that nobody else reads; one that expired is warned of."""
        key, other = ec.generate_private_key(ec.SECP256R1()), new_key("ed25519")
        self.write(pem(key), name="ann.key")
        self.write(certificate("ann@example.net", key).public_bytes(Encoding.PEM) * 2, 0o644, name="ann.pem")
        (made,) = self.load(self.table()).smime_keys
        self.assertTrue(made.address.matches("ann", "example.net"))
        self.assertEqual(len(made.signer.chain), 1)
        self.assertNotIn("_key", repr(made))
        self.write(pem(key), 0o644, name="ann.key")
        self.assertEqual(self.said(self.table()), ["smime_keys[0].key: ann.key can be read by others (mode 0644)"])
        self.write(pem(ec.generate_private_key(ec.SECP256R1())), name="ann.key")
        wanted = "smime_keys[0].key: ann.key does not fit the first certificate of ann.pem"
        self.assertEqual(self.said(self.table()), [wanted])
        self.write(other.pem(), name="ann.key")
        wanted = "smime_keys[0].key: ann.key has a key that mail is not signed with"
        self.assertEqual(self.said(self.table()), [wanted])
        self.write(pem(key), name="ann.key")
        self.write(certificate("ann@example.net", key, -1).public_bytes(Encoding.PEM), name="ann.pem")
        (doubt,) = [one for one in self.load(self.table()).warnings if one.key.startswith("smime_keys")]
        self.assertIn('nothing will be signed for "ann@example.net": expired on ', doubt.message)
        self.write(certificate("ann@example.org", key).public_bytes(Encoding.PEM), name="ann.pem")
        for table, who in (
            (self.table(), "ann@example.net"),
            (self.table().replace("ann@example.net", "example.net"), ""),
        ):
            doubts = [one.message for one in self.load(table).warnings if one.key.startswith("smime_keys")]
            wanted = [f'nothing will be signed for "{who}": it is not for this address'] if who else []
            self.assertEqual(doubts, wanted)

    def test_the_folder(self) -> None:
        """It must be there, and be one."""
        top = 'smime_certificates = "there"\n'
        self.assertEqual(self.said_of_top(top), ["smime_certificates: there is no folder there"])
        (self.folder / "there").mkdir()
        settings = loads(top + BASE, self.folder / "gate.toml")
        self.assertEqual(settings.smime_certificates, self.folder / "there")

    def said_of_top(self, top: str) -> list[str]:
        """What is wrong with keys above the tables."""
        error = self.assertRaises(ConfigErrors, loads, top + BASE, self.folder / "gate.toml")
        return [f"{one.key}: {one.message}".replace(f"{self.folder}/", "") for one in error.problems if one.is_error]


class CommandTests(KeyCase):
    """`smtpgate dkim-key`."""

    def run_it(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output and complaints."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main(["dkim-key", *words])
        return code, out.getvalue(), errors.getvalue()

    def test_new_and_show(self) -> None:
        """The file is for its owner alone and never overwritten; the record is that of the key."""
        for kind, algorithm in (("rsa", "rsa-sha256"), ("ed25519", "ed25519-sha256")):
            path = self.folder / f"{kind}.pem"
            code, said, _ = self.run_it("new", "Example.NET", "gate", str(path), "--kind", kind)
            self.assertEqual((code, path.stat().st_mode & 0o777), (0, 0o600))
            key = read_key(path.read_bytes())
            self.assertEqual(key.algorithm, algorithm)
            self.assertTrue(said.startswith('gate._domainkey.example.net. IN TXT ( "v=DKIM1; '), said)
            self.assertEqual("".join(said.split('"')[1::2]), key.record())
            self.assertTrue(all(len(one) <= 255 for one in said.split('"')[1::2]))
            self.assertEqual(self.run_it("show", "example.net", "gate", str(path)), (0, said, ""))
            code, shown, _ = self.run_it("show", "example.net", "gate", str(path), "--json")
            self.assertEqual(json.loads(shown)["record"], key.record())
            octets = path.read_bytes()
            code, _, errors = self.run_it("new", "example.net", "gate", str(path))
            self.assertEqual((code, path.read_bytes()), (1, octets))
            self.assertIn("never overwritten", errors)

    def test_refused(self) -> None:
        """A folder that is not there, a file that holds no key, a name that is none; an open file is told."""
        for words in (
            ("new", "example.net", "gate", str(self.folder / "no" / "key.pem")),
            ("show", "example.net", "gate", str(self.folder / "none.pem")),
            ("show", "example.net", "gate", str(self.write(b"x"))),
            ("new", "example.net", 'a"b', str(self.folder / "q.pem")),
        ):
            self.assertEqual(self.run_it(*words)[:2], (1, ""), words)
        path = self.write(self.good, 0o644)
        code, _, errors = self.run_it("show", "example.net", "gate", str(path))
        self.assertEqual(code, 0)
        self.assertIn("chmod 600", errors)
