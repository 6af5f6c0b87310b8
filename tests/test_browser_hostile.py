"""Texts that would hurt, sent by SMTP into every field that a stranger fills, and every page that shows them walked in
a real browser: no script runs, no window opens, nothing is asked for elsewhere.

Needs what `browser_kit` needs, and runs the gateway as a process.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.admin_kit import HOSTILE, PASSWORD
from tests.browser_kit import chromium, log_in, need_browser
from tests.real_kit import PATIENCE_S, RealCase, free_port, run, small_id
from tests.test_real_process import ADMIN, config

#: Words in quotes, markup in markup, links and styles, beside those of all other tests.
CORPUS = (
    *HOSTILE,
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hurt=1>",
    "<a href=javascript:window.hurt=1 autofocus onfocus=window.hurt=1>x</a>",
    "' onmouseover=window.hurt=1 autofocus tabindex=1 onfocus=window.hurt=1 x='",
    "--><script>window.hurt=1</script><!--",
    "]]><script>window.hurt=1</script>",
    "</script><script>window.hurt=1</script>",
    "<iframe srcdoc='<script>parent.hurt=1</script>'>",
    "<base href=//evil.example/><meta http-equiv=refresh content=0;url=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/s.css><style>@import '//evil.example/i'</style>",
    "<div hx-get=//evil.example/ hx-trigger=load hx-on:load=window.hurt=1>",
    "${window.hurt=1}#{7*7}<%= 7*7 %>",
    "+ADw-script+AD4-window.hurt=1+ADw-/script+AD4-",
    "=cmd|' /C calc'!A0",
)
RULES = """
[[rules]]
name = "held"
when = "'hold' in header('x-way')"
action = "quarantine"
held_as = "phishing"
[[rules]]
name = "refused"
when = "'refuse' in header('x-way')"
action = "reject"
"""
#: Pages of one walk; the rest of a kind is like the first ones.
PAGES = 140
#: Of pages of one kind.
OF_A_KIND = 8


def octets(text: str) -> bytes:
    """As a line of SMTP may hold it."""
    return text.encode("utf-8", "replace").translate(None, b"\0\r\n")


class HostileTests(RealCase):
    """From the wire to the screen."""

    def test_S_23_every_page(self) -> None:
        """All that is linked from the first page on, with all that can be opened on it."""
        need_browser()
        (server,) = self.fast_servers(self.background(), 1, 0)
        admin = free_port()
        gate = self.gateway(config(server.port, more=ADMIN.format(port=admin) + RULES))
        password = Path(self.folder, "password")
        password.write_text(PASSWORD)
        smtpgate = Path(sys.executable).with_name("smtpgate")
        made = run(
            smtpgate, "--config", gate.config, "user", "add", "ann", "--role", "owner", "--password-file", password
        )
        self.assertEqual(made.returncode, 0, made.stderr)
        answers = [self.send(gate.port(), number, text) for number, text in enumerate(CORPUS)]
        self.assertEqual([answer for answer in answers if answer != ["250", "250", "550"]], [])
        self.base = f"http://127.0.0.1:{admin}"
        with chromium() as browser:
            seen = self.walk(browser.new_context())
        self.assertEqual(gate.crashed(), [])
        kinds = {self.kind_of(path) for path in seen}
        for kind in ("/", "/messages", "/sessions/*", "/quarantine", "/quarantine/*", "/quarantine/*/view"):
            self.assertIn(kind, kinds)
        self.figures(f"{len(seen)} pages of {len(kinds)} kinds")

    def send(self, port: int, number: int, text: str) -> list[str]:
        """Three messages in one session: one goes its way, one is held, one is refused; the first words of the replies
        to their ends."""
        word = octets(text)
        local = b'"' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        if not local.isascii() or not local[1:-1].decode().isprintable() or len(local) > 60:
            local = b"odd"
        out = []
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock, sock.makefile("rb") as replies:

            def say(line: bytes) -> str:
                sock.sendall(line + b"\r\n")
                return self.reply(replies)

            self.reply(replies)
            # Most of them are no names, and are refused: they are in the record all the same.
            say(b"HELO " + word)
            say(b"EHLO [127.0.0.1]")
            for place, way in enumerate((b"go", b"hold", b"refuse")):
                if say(b"MAIL FROM:<" + local + b"@example.org>") != "250":
                    say(b"MAIL FROM:<odd@example.org>")
                say(b"RCPT TO:<" + local + b"@example.net>")
                say(b"RCPT TO:<bob@example.net>")
                say(b"DATA")
                out.append(say(self.message(3 * number + place, way, word)))
            say(b"QUIT")
        return out

    @staticmethod
    def reply(replies: Any) -> str:
        """The code of a reply."""
        while True:
            line = replies.readline()
            if line[3:4] != b"-":
                return str(line[:3].decode())

    @staticmethod
    def message(number: int, way: bytes, word: bytes) -> bytes:
        """In the fields of the header, their names, the names of files, the text and the markup."""
        quoted = word.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        name = bytes(one for one in word if 33 <= one < 127 and one != 58)[:40]
        return b"\r\n".join(
            (
                b"Received: from " + word + b" (" + word + b") by " + word + b"; Sat, 28 Nov 2026 05:00:00 +0000",
                b'From: "' + quoted + b'" <a@example.org>',
                b"Reply-To: " + word + b" <b@example.com>",
                b"To: " + word,
                b"Subject: " + word,
                b"Message-ID: " + small_id(number).encode(),
                b"X-Way: " + way,
                b"X-" + name + b": " + word,
                b"MIME-Version: 1.0",
                b"Content-Type: multipart/mixed; boundary=b",
                b"",
                b"--b",
                b"Content-Type: text/plain; charset=utf-8",
                b"",
                b"." + word,
                b"--b",
                b"Content-Type: text/html; charset=utf-8",
                b"",
                b'<p title="'
                + word
                + b'">'
                + word
                + b'<a href="http://evil.example/'
                + quoted
                + b'">'
                + word
                + b"</a>",
                b"<script>parent.hurt=1;top.hurt=1;alert(1)</script><img src=//evil.example/ onerror=parent.hurt=1>",
                b"--b",
                b'Content-Type: application/x; name="' + quoted + b'"',
                b'Content-Disposition: attachment; filename="' + quoted + b'"',
                b"",
                b"." + word,
                b"--b--",
                b".",
            )
        )

    @staticmethod
    def kind_of(path: str) -> str:
        """What stands for all pages of one kind."""
        words = urlsplit(path).path.split("/")
        return "/".join("*" if any(c.isdigit() for c in word) and len(word) > 8 else word for word in words)

    def walk(self, context: Any) -> list[str]:
        """Breadth first from the first page; the paths that were seen."""
        page = context.new_page()
        asked: list[str] = []
        trouble: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        context.on("page", lambda other: trouble.append(f"window {other.url}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => (window.broken = window.broken || []).push("
            "e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample))"
        )
        log_in(page, self.base)
        waiting, seen, kinds = ["/"], [], dict[str, int]()
        known = {"/"}
        while waiting and len(seen) < PAGES:
            path = waiting.pop(0)
            kind = self.kind_of(path)
            if kinds.get(kind, 0) >= OF_A_KIND:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            page.goto(self.base + path, wait_until="load")
            seen.append(path)
            page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
            if "/view" in path:
                # What is locked up in a frame is loaded when it is seen.
                for frame in page.locator("iframe").all():
                    frame.scroll_into_view_if_needed()
                page.wait_for_timeout(200)
            self.assertIsNone(page.evaluate("window.hurt ?? null"), path)
            self.assertEqual(page.evaluate("window.broken ?? []"), [], path)
            self.assertEqual(trouble, [], path)
            for link in page.evaluate(
                "[...document.querySelectorAll('a[href]:not([download])')]"
                ".map(one => new URL(one.getAttribute('href'), document.baseURI).href)"
            ):
                self.assertTrue(link.startswith(f"{self.base}/"), f"{path} leads to {link}")
                found = link.removeprefix(self.base).partition("#")[0]
                if found not in known and not found.startswith(("/api/", "/assets/", "/metrics")):
                    known.add(found)
                    waiting.append(found)
        self.assertEqual([url for url in asked if not url.startswith((f"{self.base}/", "data:"))], [])
        return seen
