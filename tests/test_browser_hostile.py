"""Texts that would hurt, sent by SMTP into every field that a stranger fills, and every page walked in a real browser:
no script runs, no window opens, nothing is asked for elsewhere.

23, each clause:
  HELO, addresses, subject, header names, file names come by SMTP -> `HostileTests.send`
  PTR: names of a server of the DNS that says anything -> `Namer`; reply text: a backend that does -> `HostileSink`
  rule options: notes, owners, texts of refusals -> RULES; plugin output: a filter's findings -> PLUGIN
  what people write: reasons, messages, names -> `HostileTests.by_people`
  every page: all routes of pages with what there is for each variable (`walk_kit`), and what they link to
  CSV -> test_security_output `test_S_23_no_cell_is_a_formula`

Needs what `browser_kit` needs, and runs the gateway as a process.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.admin_kit import HOSTILE, PASSWORD
from tests.browser_kit import chromium, log_in, need_browser
from tests.real_kit import PATIENCE_S, FastServer, FastSink, RealCase, free_port, run, small_id, until
from tests.test_real_process import ADMIN, config
from tests.walk_kit import gets, paths

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
RULES = f"""
[[rules]]
name = "held"
when = "'hold' in header('x-way')"
action = "quarantine"
held_as = "phishing"
owner = {json.dumps(HOSTILE[0])}
note = {json.dumps(HOSTILE[1])}
[[rules]]
name = "refused"
when = "'refuse' in header('x-way') && subject != '<script>window.hurt=1</script> never'"
action = "reject"
reply = {json.dumps("550 5.7.1 " + HOSTILE[6])}
note = {json.dumps(CORPUS[17])}
[[rules]]
name = "tagged"
when = "'go' in header('x-way')"
action = "tag"
subject_tag = {json.dumps(HOSTILE[0])}
[[filters]]
use = "says-markup"
name = "says-markup"
[[filters]]
use = "iprev"
[webhooks.ops]
url = "http://127.0.0.1:1/x?'><script>window.hurt=1</script>"
secret = "hook.secret"
events = ["alert"]
networks = ["127.0.0.0/8"]
"""
PLUGIN = f"""
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.verdict import Finding

CORPUS = {CORPUS!a}


class Words(Options):
    pass


class Said:
    def __init__(self, number):
        self.number = number

    def end(self, *args):
        text = CORPUS[self.number % len(CORPUS)].encode("utf-8", "ignore").decode()
        return Finding("says-markup", "note", public=text, detail=text, score=1.0)


class Saying(Filter):
    count = 0

    def __init__(self, options, services):
        pass

    def transaction(self, transaction):
        Saying.count += 1
        if Saying.count % 7 == 0:
            raise RuntimeError(CORPUS[Saying.count % len(CORPUS)])
        return Said(Saying.count)


factory = Factory("says-markup", Words, frozenset({{"end"}}), Saying, on_error="continue")
"""
#: Pages of one walk besides those of the routes; the rest of a kind is like the first ones.
PAGES = 100
#: Of pages of one kind.
OF_A_KIND = 3


class HostileSink(FastSink):
    """A backend whose words are as bad."""

    count = 0

    def bad(self) -> bytes:
        """The next words."""
        HostileSink.count += 1
        return octets(CORPUS[HostileSink.count % len(CORPUS)])

    def connection_made(self, transport: Any) -> None:
        """They begin with the greeting."""
        self.transport = transport
        self.server.connections.add(self)
        transport.write(b"220 " + self.bad() + b"\r\n")

    def command(self, verb: bytes) -> None:
        """Each reply has some."""
        if verb == b"EHLO":
            self.transport.write(
                b"250-" + self.bad() + b"\r\n250-X" + self.bad() + b"\r\n250-8BITMIME\r\n250 PIPELINING\r\n"
            )
        elif verb == b"RCPT" and HostileSink.count % 3 == 0:
            self.transport.write(b"550-5.1.1 " + self.bad() + b"\r\n550 5.1.1 " + self.bad() + b"\r\n")
        else:
            super().command(verb)

    def later(self, reply: bytes, stage: str) -> None:
        """Also those that come after a while."""
        super().later(reply[:10] + self.bad() + b"\r\n", stage)


class HostileServer(FastServer):
    """Listens for it."""

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: HostileSink(self), "127.0.0.1", self.port, backlog=200)

    def take(self, content: bytes) -> None:
        """Whatever it is."""


class Namer:
    """A server of the DNS: each address has a name that is markup, and each name is there."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                datagram, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(datagram)
            answer = dns.message.make_response(query)
            question = query.question[0]
            if question.rdtype == dns.rdatatype.PTR:
                self.asked += 1
                word = octets(CORPUS[self.asked % len(CORPUS)])[:60] or b"x"
                name = dns.name.Name([word, b"evil", b"example", b""])
                data = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.PTR, name.to_wire(), 0, len(name.to_wire()))
                answer.answer.append(dns.rrset.from_rdata(question.name, 60, data))
            elif question.rdtype == dns.rdatatype.A:
                answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "203.0.113.7"))
            self.sock.sendto(answer.to_wire(), peer)


def octets(text: str) -> bytes:
    """As a line of SMTP may hold it."""
    return text.encode("utf-8", "replace").translate(None, b"\0\r\n")


class HostileTests(RealCase):
    """From the wire to the screen."""

    def test_S_23_every_page(self) -> None:
        """All that is linked from the first page on, with all that can be opened on it."""
        need_browser()
        background = self.background()
        server = HostileServer()
        background.do(server.start())
        self.addCleanup(background.loop.call_soon_threadsafe, server.close)
        namer = Namer()
        self.addCleanup(namer.sock.close)
        admin = free_port()
        plugins = self.folder / "plugins" / "smtpgate" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "says_markup.py").write_text(PLUGIN)
        secret = self.folder / "hook.secret"
        secret.touch(0o600)
        secret.write_text("0123456789abcdef0123")
        text = config(server.port, more=ADMIN.format(port=admin).replace("[admin]", '[admin]\nconfig = "managed"'))
        text += RULES.replace("hook.secret", str(secret))
        text += f'[resolver]\nservers = ["127.0.0.1:{namer.port}"]\n'
        text = text.replace("[listeners.front]", '[listeners.front]\nproxy_protocol_from = ["127.0.0.0/8"]')
        environment = {"PYTHONPATH": ":".join((str(self.folder / "plugins"), *(one for one in sys.path if one)))}
        gate = self.gateway(text, env=environment)
        password = Path(self.folder, "password")
        password.write_text(PASSWORD)
        smtpgate = Path(sys.executable).with_name("smtpgate")
        for words in (("user", "add", "ann", "--role", "owner", "--password-file", password),):
            made = run(smtpgate, "--config", gate.config, *words)
            self.assertEqual(made.returncode, 0, made.stderr)
        made = run(smtpgate, "--config", gate.config, "--json", "token", "add", "t", "--role", "owner")
        self.token = json.loads(made.stdout)["token"]
        self.base = f"http://127.0.0.1:{admin}"
        port = gate.port()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda one: self.send(port, *one), enumerate(CORPUS)))
        for answer in answers:
            self.assertEqual(answer[1:], ["250", "550"])
        until(lambda: namer.asked > len(CORPUS) // 2, "names are asked for")
        self.by_people()
        with chromium() as browser:
            seen = self.walk(browser.new_context())
        self.assertEqual(gate.crashed(), [])
        kinds = {self.kind_of(path) for path in seen}
        for kind in ("/", "/messages", "/sessions/*", "/quarantine", "/quarantine/*", "/quarantine/*/view"):
            self.assertIn(kind, kinds)
        self.assertGreater(len(kinds), 60)
        self.figures(f"{len(seen)} pages of {len(kinds)} kinds")

    def call(self, method: str, path: str, value: Any = None, **more: str) -> tuple[int, Any]:
        """A call of the API."""
        body = None if value is None else json.dumps(value).encode()
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "If-Match": "*", **more}
        request = urllib.request.Request(f"{self.base}/api/v1{path}", body, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def by_people(self) -> None:
        """Texts that somebody writes who has logged in, each into each field; so many of them are taken."""
        server = self.call("GET", "/backends")[1]["items"][0]["name"].replace(":", "%3A")
        taken = 0
        text = self.call("GET", "/config/draft")[1]["text"]
        mail = base64.b64encode(self.message(9000, b"hold", octets(CORPUS[0]))).decode()
        for number, word in enumerate(CORPUS):
            bad = "".join(one for one in word if one.isprintable() and not "\ud800" <= one <= "\udfff")
            orders: list[tuple[str, str, Any]] = [
                ("POST", "/bans", {"key": f"198.51.100.{number}", "minutes": 60, "reason": bad}),
                ("POST", f"/backends/mail/servers/{server}/{'drain' if number % 2 else 'ready'}", {"reason": bad}),
                ("POST", "/lists", {"kind": "block-sender", "entry": f"x{number}.example", "reason": bad}),
                ("POST", "/searches", {"name": bad[:60], "query": "x"}),
                ("POST", "/tokens", {"name": f"t{number}", "role": "auditor", "networks": [bad]}),
                ("POST", "/alerts/mutes", {"id": bad, "minutes": 60, "reason": bad}),
                ("POST", "/routes/trace", {"recipients": [bad]}),
                ("POST", "/test/cases", {"name": bad[:60], "message_base64": mail}),
            ]
            if number < 4:
                changed = f"{text}# {bad}\n" if number % 2 else text
                base = self.call("GET", "/config/revisions")[1]["active"]
                orders.append(("POST", "/config/apply", {"text": changed, "base": base, "message": bad}))
                # The last is one that can be read.
                broken = "" if number % 2 else f"{bad} = ["
                orders.append(("PUT", "/config/draft", {"text": f"{changed}{broken}", "base": base}))
            for method, path, order in orders:
                status, said = self.call(method, path, order)
                self.assertLess(status, 500, (path, said))
                taken += status < 300
            self.call("POST", "/quarantine", {"action": "forward", "ids": ["x"], "reason": bad},
                      Prefer="respond-async")  # fmt: skip
        server_back = self.call("POST", f"/backends/mail/servers/{server}/drain", {"reason": HOSTILE[0]})
        self.assertEqual(server_back[0], 200)
        self.assertGreater(taken, 3 * len(CORPUS))

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

            sock.sendall(f"PROXY TCP4 203.0.113.{number + 1} 127.0.0.1 4000 25\r\n".encode())
            self.reply(replies)
            # Most of them are no names, and are refused: they are in the record all the same.
            say(b"HELO " + word)
            say(b"EHLO [127.0.0.1]")
            for place, way in enumerate((b"go", b"hold", b"refuse")):
                if say(b"MAIL FROM:<" + local + b"@example.org>") != "250":
                    say(b"MAIL FROM:<odd@example.org>")
                say(b"RCPT TO:<" + local + b"@example.net>")
                while say(b"RCPT TO:<bob@example.net>") != "250":
                    # Each third is refused behind us.
                    pass
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

    def pages(self) -> list[str]:
        """All routes of pages, as far as there is something for each variable; files to take away are none."""
        found = []
        more = {
            path: lambda get: [{"token": "x" * 43}] for path in ("/held/<token>", "/why/<token>", "/welcome/<token>")
        }
        for route in gets("page"):
            filled = list(paths(route, lambda path: self.call("GET", path.removeprefix("/api/v1"))[1], more))
            found += filled[:OF_A_KIND]
        return sorted(found)

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
        waiting, seen, kinds = self.pages(), [], dict[str, int]()
        known, first = set(waiting), set(waiting)
        while waiting and len(seen) < len(first) + PAGES:
            path = waiting.pop(0)
            kind = self.kind_of(path)
            if path not in first and kinds.get(kind, 0) >= OF_A_KIND:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            try:
                answer = page.goto(self.base + path, wait_until="load")
            except Exception as error:
                if "Download is starting" not in str(error):
                    raise
                # It is no page: a file that is taken away.
                continue
            self.assertLess(answer.status, 500, path)
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
