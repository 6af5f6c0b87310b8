"""Commands about the process, and what the DNS says of a domain."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.cli.dns import Unknown, look
from smtpgate.state.passwords import is_right

GOOD = {
    ("example.net", "MX"): ["20 b.example.net", "10 a.example.net"],
    ("a.example.net", "A"): ["192.0.2.1"],
    ("b.example.net", "AAAA"): ["2001:db8::1"],
    ("example.net", "TXT"): ["something else", "v=spf1 mx -all"],
    ("_dmarc.example.net", "TXT"): ["v=DMARC1; p=reject"],
    ("s1._domainkey.example.net", "TXT"): ["v=DKIM1; k=rsa; p=MIIB"],
    ("_mta-sts.example.net", "TXT"): ["v=STSv1; id=1;"],
    ("_smtp._tls.example.net", "TXT"): ["v=TLSRPTv1; rua=mailto:a@example.net"],
    ("_25._tcp.a.example.net", "TLSA"): ["3 1 1 00"],
    ("_25._tcp.b.example.net", "TLSA"): ["3 1 1 00"],
}


def said(*argv: str, feed: str = "") -> tuple[int, str]:
    """Exit code and output of a command."""
    out, before = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(feed)
    try:
        with contextlib.redirect_stdout(out):
            code = main(argv)
    finally:
        sys.stdin = before
    return code, out.getvalue()


class DNSTests(SynchronousTestCase):
    """Findings about one domain."""

    def states(self, changed: dict[tuple[str, str], Any]) -> dict[str, set[str]]:
        records = {**GOOD, **changed}

        def ask(name: str, kind: str) -> list[str]:
            found = records.get((name, kind), [])
            if found is None:
                raise Unknown(f"{name} {kind}: Timeout")
            return list(found)

        out: dict[str, set[str]] = {}
        for line in look("example.net", ["s1"], ask):
            out.setdefault(line.check, set()).add(line.state)
            self.assertEqual(bool(line.fix), line.state != "ok", line)
        return out

    def test_all_is_well(self) -> None:
        """Every check is there, and none complains."""
        found = self.states({})
        self.assertEqual(set(found), {"mx", "spf", "dmarc", "dkim", "mta-sts", "tls-rpt", "dane"})
        self.assertEqual(set.union(*found.values()), {"ok"})

    def test_each_fault(self) -> None:
        """What is missing, twice, or revoked; what nobody answers is no finding about the domain."""
        for changed, check, state in (
            ({("example.net", "MX"): []}, "mx", "fail"),
            ({("a.example.net", "A"): []}, "mx", "fail"),
            ({("example.net", "MX"): ["0 "]}, "mx", "ok"),
            ({("example.net", "TXT"): []}, "spf", "warn"),
            ({("example.net", "TXT"): ["v=spf1 -all", "v=spf1 mx"]}, "spf", "fail"),
            ({("example.net", "TXT"): ["v=spf10 mx"]}, "spf", "warn"),
            ({("_dmarc.example.net", "TXT"): []}, "dmarc", "warn"),
            ({("s1._domainkey.example.net", "TXT"): ["v=DKIM1; p="]}, "dkim", "fail"),
            ({("s1._domainkey.example.net", "TXT"): []}, "dkim", "fail"),
            ({("_25._tcp.a.example.net", "TLSA"): []}, "dane", "warn"),
            ({("example.net", "MX"): None}, "mx", "warn"),
            ({("s1._domainkey.example.net", "TXT"): None}, "dkim", "warn"),
        ):
            self.assertIn(state, self.states(changed)[check], (changed, check))


class AloneTests(SynchronousTestCase):
    """Commands that need no gateway."""

    def test_a_hash(self) -> None:
        """It fits the password, and only that; a short one is refused."""
        code, text = said("hash-password", feed="correct horse\nmore\n")
        self.assertEqual(code, 0)
        self.assertTrue(is_right(text.strip(), "correct horse"))
        self.assertFalse(is_right(text.strip(), "correct horse\nmore"))
        self.assertEqual(said("hash-password", feed="short\n")[0], 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "p")
            path.write_text("correct horse\r\n")
            path.chmod(stat.S_IRUSR)
            found = json.loads(said("hash-password", "--json", "--password-file", str(path))[1])
            self.assertTrue(is_right(found["hash"], "correct horse"))

    def test_versions(self) -> None:
        """Of the program, and of what it runs on."""
        code, text = said("version", "--json")
        self.assertEqual((code, set(json.loads(text))), (0, {"smtpgate", "python", "twisted"}))

    def test_drain_wants_both_or_none(self) -> None:
        """A backend without its server, or a time for the whole gateway, is wrong usage."""
        for words in (("drain", "mail"), ("drain", "--minutes", "5")):
            self.assertEqual(main(["--config", "/nowhere/gate.toml", *words]), 2)
