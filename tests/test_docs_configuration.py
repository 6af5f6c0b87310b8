"""Every piece of configuration in the documents can be loaded, with the filters that it names."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.problem import ConfigErrors
from smtpgate.plugins import find_factories
from smtpgate.signing.keys import new_key
from tests.test_signing_wire import write
from tests.test_smime_wire import certificate, pem

DOCS = Path(__file__).parent.parent / "docs"
BASE = """
[listeners.mx]
listen = ["tcp:2525:interface=127.0.0.1"]
[listeners.out]
listen = ["tcp:2587:interface=127.0.0.1"]
role = "submission"
auth = "relay"
auth_requires_tls = false
[backends.mail]
servers = ["127.0.0.1:26"]
tls = "off"
[[routes]]
backend = "mail"
"""


class ExampleTests(SynchronousTestCase):
    """Blocks of TOML."""

    def test_each_can_be_loaded(self) -> None:
        """Files that they name are made here."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name in ("bad-urls.txt", "bad-hashes.txt"):
            (folder / name).touch()
        secret = folder / "hook.secret"
        secret.touch(0o600)
        secret.write_text("0123456789abcdef" * 2)
        key = folder / "dkim-gate2026.pem"
        key.touch(0o600)
        key.write_bytes(new_key("ed25519").pem())
        (folder / "certificates").mkdir()
        own = ec.generate_private_key(ec.SECP256R1())
        write(folder / "ann.key", pem(own))
        write(folder / "ann.pem", certificate("ann@example.net", own).public_bytes(Encoding.PEM))
        factories, _ = find_factories()
        count = 0
        for page in ("security.md", "hook.md", "dlp.md", "signing.md"):
            for block in re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
                text = block.replace("/var/lib/smtpgate", str(folder)).replace("/etc/smtpgate", str(folder))
                # Keys without a table stand above all tables.
                is_top = not block.lstrip().startswith("[")
                whole = 'hostname = "gate.example.net"\nlocal_domains = ["example.net"]\n'
                whole += (text + BASE) if is_top else (BASE + text)
                try:
                    loads(whole, folder / "gate.toml", factories)
                except ConfigErrors as errors:
                    self.fail(f"{page}: {block}\n{errors}")
                count += 1
        self.assertGreater(count, 8)
