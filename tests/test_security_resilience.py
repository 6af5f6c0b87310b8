"""The security checklist, resilience: plugins, what fails, files, and what the package brings along.

More of each item is in the tests that bear its number elsewhere; `make checklist` lists them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smtpgate.admin
from smtpgate.admin.site import ROUTES
from smtpgate.policy.verdict import Finding
from tests.admin_kit import HOSTILE, PASSWORD, ApiCase, Desk, make_session

ROOT = Path(smtpgate.admin.__file__).parent


class PluginTests(ApiCase):
    """Code of others."""

    def test_S_33_routes_are_made_in_one_room(self) -> None:
        """All that is served is a value of one tuple of ours, which what is loaded later cannot add to or stand before;
        no other room makes a route or binds one."""
        self.assertIsInstance(ROUTES, tuple)
        makers = set()
        for path in ROOT.parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
                module = getattr(node, "module", "") or ""
                if "klein" in (*names, module) or module == "smtpgate.admin.routes":
                    makers.add(path.parent.name)
        self.assertEqual(makers, {"admin"})

    def test_S_33_what_a_plugin_says_is_text(self) -> None:
        """Its name, its finding, its words and its reply, on the pages that show them."""
        bad = "".join(one for one in HOSTILE if "\0" not in one)
        facts = make_session(findings=(Finding("odd", "tag", public=bad, detail=bad, filter=bad, score=1.0),))
        self.desk.history.keep(facts)
        for path in (f"/sessions/{facts.id}", f"/sessions/{facts.id}.1", "/messages", "/filters"):
            page = self.desk.ask("GET", path, token=self.owner)
            self.assertEqual(page.status, 200)
            for raw in ("<script>window", "<img src=x", "<svg/onload", "</title><script"):
                self.assertNotIn(raw, page.text)


class PackageTests(SynchronousTestCase):
    """What comes along, and what says what runs here."""

    def test_S_36_no_address_of_elsewhere_is_loaded(self) -> None:
        """Templates name files of ours only; our scripts and styles fetch nothing, and the libraries' neither."""
        for path in sorted((ROOT / "templates").iterdir()):
            text = path.read_text("utf-8")
            loads = re.findall(
                r'<(?:script|link|img|iframe|source|embed|object)\b[^>]*\b(?:src|href|data)="([^"]*)"', text
            )
            for one in loads:
                self.assertRegex(one, r"^(\{\{ asset\(|/quarantine/\{\{|\{\{)", f"{path.name}: {one}")
            if path.name == "away.html":
                # The way to a provider of identities, and nothing else.
                text = text.replace('<meta http-equiv="refresh" content="0; url={{ address }}">', "", 1)
            self.assertNotRegex(text, r"(?i)<(?:base|meta http-equiv)", path.name)
        for path in sorted((ROOT / "assets").iterdir()):
            if path.suffix == ".css":
                text = path.read_text("utf-8")
                self.assertNotRegex(text, r"@import|url\(['\"]?(?!['\"]?data:)", path.name)
            if path.suffix == ".js" and ".min." not in path.name:
                self.assertNotRegex(path.read_text("utf-8"), r"https?://(?!www\.w3\.org/)", path.name)

    def test_S_36_files_are_those_of_the_list(self) -> None:
        """Each is in the list with its sum and none besides, so that two builds have the same; licences are there."""
        lines = dict(reversed(line.split()) for line in (ROOT / "assets/SHA256SUMS").read_text("ascii").splitlines())
        there = {path.name: path for path in (ROOT / "assets").iterdir() if path.suffix in (".js", ".css", ".svg")}
        self.assertEqual(set(lines), set(there))
        for name, path in there.items():
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), lines[name], name)
        notice = (ROOT / "assets/NOTICE").read_text("utf-8")
        for library in ("htmx", "pico", "uPlot"):
            self.assertTrue((ROOT / f"assets/{library}.LICENSE").exists())
            self.assertIn(library.lower(), notice.lower())

    def test_S_36_an_asset_that_was_changed_is_not_served(self) -> None:
        """The start fails where a file is not what the list says."""
        from smtpgate.admin import assets

        real = assets.hashlib.sha256
        self.patch(assets.hashlib, "sha256", lambda octets: real(octets + b"x"))
        with self.assertRaises(RuntimeError) as wrong:
            assets.Assets()
        self.assertIn("SHA256SUMS", str(wrong.exception))

    def test_S_36_version_and_contact_are_for_those_who_are_in(self) -> None:
        """A stranger learns of neither, on no page and in no header; RFC 9116 for the others."""
        desk = Desk()
        desk.users.add_user("ann", "owner", PASSWORD)
        for route in ROUTES:
            if route.permission != "public" or route.method != "GET" or "assets" in route.path:
                continue
            answer = desk.ask("GET", re.sub(r"<\w+>", "x", route.path))
            self.assertNotIn(f"smtpgate {smtpgate.__version__}".encode(), answer.octets)
            self.assertEqual(answer.header("server"), "")
        place = "/.well-known/security.txt"
        self.assertEqual(desk.ask("GET", place).status, 401)
        answer = desk.ask("GET", place, role="helpdesk")
        self.assertEqual((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"))
        fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
        self.assertEqual(fields["Contact"], "mailto:postmaster@gate.example.com")
        self.assertRegex(fields["Expires"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIn(smtpgate.__version__, desk.ask("GET", "/help", role="helpdesk").text)
