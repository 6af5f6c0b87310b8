"""Item 29 of the security checklist, and what 14 says of logs: secrets are planted wherever one can be, the gateway
works with them, and all that it shows is searched for them.

29, secrets are write-only:
  never in GET, diff, HTML, metrics, events -> `test_S_29_no_output_holds_a_planted_secret` (walk over all GET routes)
  never in an export without secrets, a bundle -> the same walk, and the command line's own
  never in a log, in either format, at level debug -> the same test (S_14 and S_29)
  never in an error: problem+json, check-config -> `test_S_29_no_mistake_beside_a_secret_shows_it`
  every secret of the schema is planted -> `test_S_29_every_secret_of_the_schema_is_planted`
14, tokens are never logged -> `test_S_29_no_output_holds_a_planted_secret`
"""

from __future__ import annotations

import base64
import contextlib
import html
import http.client
import io
import json
import re
import secrets
import socket
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, quote_plus

from pydantic import BaseModel
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import totp
from smtpgate.admin.links import Link, Links
from smtpgate.cli import main
from smtpgate.config.hiding import hide, restore
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.masking import is_secret_name
from smtpgate.config.schema import File
from smtpgate.config.values import Kind
from smtpgate.plugins import find_factories
from tests.admin_kit import CONFIG
from tests.real_kit import PATIENCE_S, Authority, FastServer, FastSink, Gateway, RealCase, free_port, run, until
from tests.revisions_kit import MANAGED, OfficeCase
from tests.script_kit import Client
from tests.test_admin_config import FACTORY
from tests.walk_kit import gets, paths

#: Keys that name a file with a secret in it, as the model has them; the test plants each.
PLANTED = {
    "listeners.certificates",
    "listeners.password_file",
    "backends.tls_certificate",
    "backends.credentials",
    "webhooks.secret",
    "sso.client_secret",
    "dkim_keys.file",
    "smime_keys.key",
    "filters[hook].secret_file",
    "filters[dnsbl].lists.zone",
    "filters[blocklists].lists.zone",
}
#: Keys that name a file or a folder without one.
OPEN = {
    "state_dir",
    "smime_certificates",
    "log.file",
    "listeners.client_ca",
    "backends.tls_ca",
    "groups.file",
    "dictionaries.file",
    "smime_keys.certificate",
}


class Marks:
    """What was planted, and how it would look in an output."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}
        self.names: list[str] = []

    def new(self, name: str, letters: str = "'&<+/=\"") -> str:
        """A secret of chance that looks another way in each coding."""
        return self.add(name, f"{secrets.token_hex(8)}{letters}{secrets.token_hex(8)}")

    def add(self, name: str, text: str | bytes) -> Any:
        """One that somebody else made."""
        octets = text.encode() if isinstance(text, str) else text
        self.names.append(name)
        half = len(octets) // 2
        for form in (*self._of(octets), octets[:half], octets[half:]):
            if len(form) >= 8:
                self._forms.setdefault(form, name)
        return text

    def _of(self, one: bytes) -> Iterator[bytes]:
        yield from (one, one.hex().encode(), one.hex().upper().encode())
        yield from (base64.b32encode(one)[: len(one) * 8 // 5], repr(one)[2:-1].encode())
        for shift in range(3):
            # Whatever stands before it: what a whole group of the coding holds is the same.
            coded = base64.b64encode(b"\0" * shift + one)[4 if shift else 0 : (shift + len(one)) // 3 * 4]
            yield from (coded, coded.replace(b"+", b"-").replace(b"/", b"_"))
        with contextlib.suppress(UnicodeDecodeError):
            text = one.decode()
            for other in (quote(text, safe=""), quote_plus(text), html.escape(text), html.escape(text, quote=False)):
                yield other.encode()
            yield json.dumps(text)[1:-1].encode()
            yield text.replace("'", "&#39;").encode()

    def found(self, octets: bytes) -> set[str]:
        """The names of those that are in an output."""
        return {name for form, name in self._forms.items() if form in octets}


def _kinds(annotation: Any) -> Iterator[str]:
    for one in getattr(annotation, "__metadata__", ()):
        if isinstance(one, Kind):
            yield one.word
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def secret_keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Keys whose type says that they name a file, and those that are secrets by their name."""
    for name, field in model.model_fields.items():
        words = {*_kinds(field.annotation), *(one.word for one in field.metadata if isinstance(one, Kind))}
        is_key = is_secret_name(name) or is_secret_name(name.removesuffix("_file")) or name == "zone"
        if words & {"path", "list of paths"} or is_key:
            yield f"{before}{name}"
        for inner in _models(field.annotation):
            yield from secret_keys(inner, f"{before}{name}.")


class SchemaTests(SynchronousTestCase):
    """What can hold one."""

    def test_S_29_every_secret_of_the_schema_is_planted(self) -> None:
        """Keys that name files, keys with a secret's name, and zones of lists, of our tables and of each filter: a new
        one is planted by `GatewayTests`, or is said to hold none."""
        found = set(secret_keys(File))
        for name, factory in find_factories()[0].items():
            if factory.options is not None:
                found |= set(secret_keys(factory.options, f"filters[{name}]."))
        self.assertEqual(found, PLANTED | OPEN)
        for name in PLANTED:
            self.assertIn(f"# {name}\n", TEXT, "it stands in the configuration of the test")


MARK = "PLANTED0123456789abcdef"
_OPTIONS = '[[filters]]\nuse = "nowhere"\nmode = "off"\n[filters.options]\n'
#: Lines of a filter's options with a secret in them, and most of them with a mistake.
BESIDE = (
    f'api_key = "{MARK}"',
    f'api_key = "{MARK}',
    f"api_key = {MARK}",
    f'api_key = ["{MARK}"]',
    f'api_key = {{ x = "{MARK}" }}',
    f'api_key = "{MARK}"\nother = 5',
    f"api_key = '{MARK}\n",
    f'api_key = """{MARK}\n',
    f'api_key = """\n{MARK}\n"""\nx =',
    f'api_key "{MARK}"',
    f'api_key: "{MARK}"',
    f'api_key = "{MARK}" x',
    f'"api_key = "{MARK}"',
    f'api_key = "{MARK}"\napi_key = "{MARK}"',
    f'api-key = "{MARK}"',
    f'ApiKey = "{MARK}"',
    f'apikey = "\\q{MARK}"',
    f'pass = "{MARK}"',
    f'api_key = b"{MARK}"',
    f'api_key.deep = "{MARK}',
    f'api_key = [\n"{MARK}",\n',
    f'api_key =\n"{MARK}"',
    f'x = {{ password = "{MARK}" y }}',
    f"password = 5{MARK}",
    f'api_key = "a\n{MARK}"',
    f'api_key = "x"\n# the old password = "{MARK}"',
    f'api_key = "x"\n# api_key: {MARK}\ny = [',
    f'api_key = "x"\nserver = "https://me:{MARK}@x.example/"',
    f'api_key = "x"\nserver = "https://x.example/?k={MARK}"',
    f'api_key = "x"\nserver = "https://x.example/hooks/{MARK}/"',
    f'api_key = "x"\nzone = "{MARK.lower()}.zen.example"',
    f'api_key = "x"\npem = """-----BEGIN EC PRIVATE KEY-----\n{MARK}\n-----END EC PRIVATE KEY-----"""',
    f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----",
)
#: Lines of our own tables: what is no key of them, and secrets in the place of the file that has one.
ELSEWHERE = (
    ("[admin]", f'password = "{MARK}"'),
    ("[admin]", f'api_token = "{MARK}"'),
    ("[backends.mail]", f'password = "{MARK}"'),
    ("[backends.mail]", f'credentials = {{ user = "x", password = "{MARK}" }}'),
    ("[backends.mail]", f'credentials = ["{MARK}"]'),
    ("[backends.mail]", f'credentials = "user:{MARK}"'),
    ("[backends.mail]", f'credentials = "{MARK}"'),
    ("[admin]", f'[webhooks.x]\nsecret = "{MARK}"\nurl = "https://x.example/"\nevents = ["alert"]'),
    ("[admin]", f'[webhooks.x]\nsecret = "s.key"\nurl = "ftp://x.example/{MARK}"\nevents = ["alert"]'),
    ("[admin]", f'[webhooks.x]\nsecret = "s.key"\nurl = "https://me:{MARK}@x.example/"\nevents = ["alert"]'),
    ("[admin]", f'[webhooks.x]\nsecret = "s.key"\nurl = "https://x.example/{MARK}"\nevents = ["alert"]'),
)


def drafts() -> Iterator[str]:
    """Texts with the secret beside a mistake."""
    for line in BESIDE:
        yield f"{MANAGED}{_OPTIONS}{line}\n"
    for table, line in ELSEWHERE:
        # A table that is begun within another one goes before it.
        yield MANAGED.replace(table, f"{line}\n{table}" if line.startswith("[") else f"{table}\n{line}")


class DraftTests(OfficeCase):
    """Texts with mistakes."""

    def test_S_29_no_mistake_beside_a_secret_shows_it(self) -> None:
        """Neither what is wrong with a text, nor the draft that is kept, nor what it differs in, on API and pages; nor
        the command line's words, for they are the same. Upper and lower case are the same to the search."""
        self.books._factories = {"nowhere": FACTORY}
        walked = 0
        for text in drafts():
            with contextlib.suppress(ConfigErrors):
                loads(text, self.file, {"nowhere": FACTORY})
            try:
                words = [str(one) for one in loads(text, self.file, {"nowhere": FACTORY}).warnings]
            except ConfigErrors as errors:
                words = [str(one) for one in errors.problems]
            self.unseen("\n".join(words), text)
            for path, order in (
                ("/config/validate", {"text": text}),
                ("/config/apply?dry_run=1", {"text": text, "base": 1, "message": "why"}),
            ):
                answer = self.desk.post_json(f"/api/v1{path}", order, token=self.ann)
                self.assertIn(answer.status, (200, 422), text)
                self.unseen(answer.text, text)
            head = {"Content-Type": "application/json", "If-Match": "*"}
            body = json.dumps({"text": text, "base": 1}).encode()
            kept = self.desk.ask("PUT", "/api/v1/config/draft", body=body, headers=head, token=self.ann)
            self.assertEqual(kept.status, 200, kept.text)
            for path in ("/api/v1/config/draft", "/config"):
                shown = self.desk.ask("GET", path, token=self.ann)
                self.assertEqual(shown.status, 200, text)
                self.unseen(shown.text, text)
            walked += 1
        self.assertEqual(walked, len(BESIDE) + len(ELSEWHERE))

    def unseen(self, output: str, text: str) -> None:
        """The mark is not in it, nor half of it."""
        for part in (MARK, MARK[: len(MARK) // 2], MARK[len(MARK) // 2 :]):
            self.assertNotIn(part.lower(), output.lower(), text)

    def test_S_29_what_is_hidden_comes_back(self) -> None:
        """Also a key in a zone and in an address; what is no secret stays to be read."""
        lines = (
            f'api_key = "{MARK}"',
            f'zone = "{MARK.lower()}.zen.example"',
            f'server = "https://me:{MARK}@x.example/a/{MARK}/b?x={MARK}"',
        )
        text = CONFIG + _OPTIONS + "\n".join(lines) + "\n"
        hidden = hide(text)
        self.unseen(hidden, text)
        self.assertIn('zone = "***.zen.example"', hidden)
        self.assertIn('server = "https://***@x.example/a/***/b?***"', hidden)
        self.assertEqual(restore(hidden, text), text)
        plain = CONFIG + '[webhooks.x]\nurl = "https://hooks.example.com/smtpgate"\nsecret = "hook.secret"\n'
        self.assertEqual(hide(plain), plain)


TEXT = """
local_domains = ["example.net"]
[log]
level = "debug"
format = "{format}"
[admin]
config = "managed"
listen = "tcp:{admin}:interface=127.0.0.1"
public_url = "http://127.0.0.1:{admin}"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "optional"
# listeners.certificates
certificates = ["gate.pem"]
[listeners.own]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
auth = "local"
auth_requires_tls = false
tls = "off"
# listeners.password_file
password_file = "passwords"
[listeners.relay]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
auth = "relay"
auth_requires_tls = false
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{backend}"]
tls = "off"
[backends.ours]
servers = ["127.0.0.1:{backend}"]
tls = "optional"
# backends.tls_certificate
tls_certificate = "client.pem"
# backends.credentials
credentials = "login.toml"
[[routes]]
listener = "own"
backend = "ours"
[[routes]]
backend = "mail"
[[dkim_keys]]
domain = "example.net"
selector = "s"
# dkim_keys.file
file = "dkim.pem"
[[smime_keys]]
address = ["ann@example.net"]
certificate = "ann.crt"
# smime_keys.key
key = "ann.pem"
[webhooks.ops]
url = "http://127.0.0.1:{hook}/hooks/{hook_key}?key={hook_question}"
# webhooks.secret
secret = "hook.secret"
events = ["alert", "admin.server.*"]
networks = ["127.0.0.0/8"]
[sso.corp]
issuer = "http://127.0.0.1:{hook}/staff"
client_id = "smtpgate"
# sso.client_secret
client_secret = "sso.secret"
networks = ["127.0.0.0/8"]
[[sso.corp.groups]]
name = "mail-admins"
role = "admin"
[[filters]]
use = "hook"
mode = "off"
[filters.options]
servers = "http://127.0.0.1:{hook}/"
# filters[hook].secret_file
secret_file = "request.secret"
[[filters]]
use = "dnsbl"
mode = "off"
[filters.options]
# filters[dnsbl].lists.zone
lists = [ {{ zone = "{zone}.zen.example" }} ]
[[filters]]
use = "blocklists"
mode = "off"
[filters.options]
# filters[blocklists].lists.zone
lists = [ {{ zone = "{zone2}.dbl.example" }} ]
[[filters]]
use = "asks-elsewhere"
[filters.options]
api_key = "{api_key}"
deep = {{ access_token = "{access_token}" }}
[[rules]]
name = "held"
when = "'hold' in header('x-way')"
action = "quarantine"
held_as = "phishing"
"""
PLUGIN = """
from smtpgate.filters.base import Factory, Filter, Options


class Deep(Options):
    access_token: str = ""


class Elsewhere(Options):
    api_key: str
    deep: Deep = Deep()


class Asking(Filter):
    def begin(self, session):
        raise RuntimeError("asks elsewhere in vain")


factory = Factory("asks-elsewhere", Elsewhere, frozenset({"connect"}), lambda options, services: Asking(),
                  on_error="continue")
"""


class LoginSink(FastSink):
    """Takes logins: PLAIN and LOGIN, with one password."""

    def command(self, verb: bytes) -> None:
        """AUTH comes in one line or in three."""
        if verb == b"EHLO":
            self.transport.write(b"250-fast.example.net\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n")
        else:
            super().command(verb)

    def go_on(self) -> None:
        """Lines of logins are looked at here."""
        while self.timer is None and not self.is_content and b"\r\n" in self.buffer:
            line, _, rest = self.buffer.partition(b"\r\n")
            asked = getattr(self, "asked", 0)
            if not asked and not line.upper().startswith(b"AUTH "):
                break
            self.buffer = rest
            words = line.split()
            if asked == 2 or line.upper().startswith(b"AUTH LOGIN") and len(words) == 2:
                self.asked = (asked or 3) - 1
                self.transport.write(b"334 VXNlcm5hbWU6\r\n" if not asked else b"334 UGFzc3dvcmQ6\r\n")
                continue
            self.asked = 0
            said = base64.b64decode(words[-1]) if words else b""
            is_right = said.rpartition(b"\0")[2] in self.server.passwords  # type: ignore[attr-defined]
            self.transport.write(b"235 2.7.0 ok\r\n" if is_right else b"535 5.7.8 no\r\n")
        super().go_on()


class LoginServer(FastServer):
    """A backend with logins."""

    passwords: set[bytes] = set()

    async def start(self) -> None:
        """Listen."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: LoginSink(self), "127.0.0.1", self.port, backlog=200)

    def take(self, content: bytes) -> None:
        """Whatever it is."""


class Person:
    """A browser's session over HTTP."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    def ask(self, method: str, path: str, body: bytes = b"", **more: str) -> tuple[int, bytes]:
        """Status and body, with the head before it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **more}
        if self.csrf:
            headers["X-CSRF-Token"] = self.csrf
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        octets = answer.read()
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders() if name != "Set-Cookie")
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        connection.close()
        return answer.status, head.encode() + octets

    def form(self, page: str, path: str, **fields: str) -> tuple[int, bytes]:
        """Fill a form."""
        status, octets = self.ask("GET", page)
        token = re.search(rb'name="csrf" value="([^"]+)"', octets)
        assert token is not None, (status, octets[:2000])
        body = "&".join(f"{name}={quote_plus(value)}" for name, value in {"csrf": token[1].decode(), **fields}.items())
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, body.encode(), **kind)

    def json(self, method: str, path: str, value: Any = None, **more: str) -> Any:
        """A call of the API."""
        body = b"" if value is None else json.dumps(value).encode()
        status, octets = self.ask(method, f"/api/v1{path}", body, **{"Content-Type": "application/json", **more})
        return status, json.loads(octets[octets.index(b"{") :]) if b"{" in octets else {}


class GatewayTests(RealCase):
    """The real thing."""

    def test_S_29_no_output_holds_a_planted_secret(self) -> None:
        """S-14 and S-29: passwords, tokens, session ids, one-time secrets, recovery codes, invitations, keys of links
        and of the ledger, keys of TLS, DKIM and S/MIME, secrets of webhooks and filters, logins by SMTP: right and
        wrong ones."""
        self.marks = Marks()
        self.outputs: dict[str, bytes] = {}
        server = LoginServer()
        self.background_of_test = self.background()
        self.background_of_test.do(server.start())
        self.addCleanup(self.background_of_test.loop.call_soon_threadsafe, server.close)
        self.admin = free_port()
        gate = self.begin(server, "json")
        person = self.log_in(gate)
        stream = self.stream(person)
        self.by_smtp(gate, server)
        self.by_http(gate, person)
        self.by_cli(gate)
        self.walk(gate, person)
        self.outputs["events"] = stream()
        gate.signal(15)
        self.assertEqual(gate.wait(), 0)
        self.outputs["log, json"] = gate.output.read_bytes()
        self.in_text(server)
        for name in ("PLAIN right", "LOGIN wrong", "session", "token", "recovery code", "secret of links", "gate.pem"):
            self.assertIn(name, self.marks.names)
        seen = {name: found for name, octets in self.outputs.items() if (found := self.marks.found(octets))}
        self.assertEqual(seen, {})
        self.assertEqual(self.marks.found(base64.b64encode(f"x{self.password}".encode())), {"password of an owner"})
        self.assertGreater(sum(map(len, self.outputs.values())), 1_000_000)
        self.figures(f"{len(self.marks.names)} secrets in {len(self.outputs)} outputs")

    def begin(self, server: LoginServer, format: str) -> Gateway:
        """A gateway whose files all have a mark."""
        marks = self.marks
        authority = Authority(self.folder)
        plugins = self.folder / "plugins" / "smtpgate" / "plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        (plugins / "asks_elsewhere.py").write_text(PLUGIN)
        self.user_password = marks.new("password of a mail user", "")
        login = marks.new("password of credentials", "&<+")
        server.passwords = {login.encode(), self.user_password.encode()}
        hashed = run(Path(sys.executable).with_name("smtpgate"), "hash-password", input=self.user_password)
        self.assertEqual(hashed.returncode, 0, hashed.stderr)
        files = {
            "passwords": f"ann:{hashed.stdout.strip()}\n",
            "login.toml": f'user = "gate"\npassword = "{login}"\n',
            "hook.secret": marks.new("secret of a webhook"),
            "sso.secret": marks.new("secret of a client"),
            "request.secret": marks.new("secret of the filter hook"),
        }
        marks.add("hash of a mail user", hashed.stdout.strip().rpartition("$")[2])
        for name in ("gate", "client", "ann"):
            text = authority.issue(f"{name}.example.net").read_text()
            files[f"{name}.pem"] = text
            self.mark_key(f"{name}.pem", text)
        files["ann.crt"] = re.sub(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END[^\n]*\n", "", files["ann.pem"])
        smtpgate = Path(sys.executable).with_name("smtpgate")
        made = run(smtpgate, "dkim-key", "new", "--kind", "ed25519", "example.net", "s", self.folder / "dkim.pem")
        self.assertEqual(made.returncode, 0, made.stderr)
        files["dkim.pem"] = (self.folder / "dkim.pem").read_text()
        self.mark_key("dkim.pem", files["dkim.pem"])
        text = TEXT.format(
            format=format, admin=self.admin, backend=server.port, hook=free_port(),
            hook_key=marks.new("key in the path of a webhook", ""), hook_question=marks.new("its question", ""),
            zone=marks.new("key of a list", ""), zone2=marks.new("key of another list", ""),
            api_key=marks.new("key of a plugin", "&<+"), access_token=marks.new("another of it", "&<+"),
        )  # fmt: skip
        environment = {"PYTHONPATH": ":".join((str(self.folder / "plugins"), *(one for one in sys.path if one)))}
        original = Gateway.write

        def write(made: Gateway, config: str) -> None:
            original(made, config)
            for name, content in files.items():
                path = made.folder / name
                path.touch(0o600)
                path.write_text(content)

        self.patch(Gateway, "write", write)
        gate = self.gateway(text, env=environment)
        self.patch(Gateway, "write", original)
        for path in sorted((gate.folder / "var").glob("*.key")):
            marks.add(f"secret of {path.stem}", path.read_bytes())
        return gate

    def mark_key(self, name: str, pem: str) -> None:
        """What of a key no other has: the first letters of all are the same."""
        body = re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", pem, re.DOTALL)
        assert body is not None
        der = base64.b64decode("".join(body[1].split()))
        self.marks.add(name, der[36:68] if len(der) > 68 else der[-32:])

    def log_in(self, gate: Gateway) -> Person:
        """An owner with one-time codes."""
        marks = self.marks
        self.password = marks.new("password of an owner")
        file = self.folder / "password"
        file.write_text(self.password)
        said = self.said(gate, "user", "add", "ann", "--role", "owner", "--password-file", str(file))
        self.assertEqual(said[0], 0, said)
        person = Person(self.admin)
        for wrong in ("wrong password", "another wrong password"):
            status, self.outputs[wrong] = person.form("/login", "/login", name="ann", password=marks.new(wrong))
            self.assertEqual(status, 401)
        status, _ = person.form("/login", "/login", name="ann", password=self.password)
        self.assertEqual(status, 303)
        marks.add("session before the code", person.cookies["sg-local"])
        status, octets = person.ask("GET", "/account")
        found = re.search(rb'name="csrf" value="([^"]+)"', octets)
        assert found is not None
        person.csrf = found[1].decode()
        status, begun = person.json("POST", "/auth/totp", {})
        self.assertEqual(status, 200, begun)
        secret = base64.b32decode(begun["key"].replace(" ", ""))
        marks.add("one-time secret", secret)
        status, recovery = person.json(
            "POST", "/auth/totp/confirm", {"code": totp.code_at(secret, int(time.time() // 30))}
        )
        self.assertEqual(status, 200, recovery)
        for code in recovery["recovery_codes"]:
            marks.add("recovery code", code)
        marks.add("session", person.cookies["sg-local"])
        _, octets = person.ask("GET", "/account")
        found = re.search(rb'name="csrf" value="([^"]+)"', octets)
        assert found is not None
        person.csrf = found[1].decode()
        # A second session that stops half way.
        half = Person(self.admin)
        half.form("/login", "/login", name="ann", password=self.password)
        marks.add("half of a session", half.cookies["sg-half"])
        return person

    def stream(self, person: Person) -> Callable[[], bytes]:
        """All events from now on; what is returned gives those that came."""
        sock = socket.create_connection(("127.0.0.1", self.admin), PATIENCE_S)
        self.addCleanup(sock.close)
        topics = "session,message,backend,config,log"
        sock.sendall(
            f"GET /api/v1/events?topics={topics} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: "
            f"sg-local={person.cookies['sg-local']}\r\n\r\n".encode()
        )
        held = bytearray(sock.recv(65536))
        self.assertIn(b" 200 ", held)

        def read() -> None:
            with contextlib.suppress(OSError):
                while octets := sock.recv(65536):
                    held.extend(octets)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()

        def end() -> bytes:
            until(lambda: b"event:" in held, "events came")
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
            return bytes(held)

        return end

    def by_smtp(self, gate: Gateway, server: LoginServer) -> None:
        """Logins, and mail."""
        marks = self.marks
        for listener in ("own", "relay", "front"):
            for kind in ("PLAIN", "LOGIN"):
                for is_right in (True, False):
                    password = self.user_password if is_right else marks.new(f"{kind} wrong")
                    if is_right:
                        marks.add(f"{kind} right", f"\0ann\0{password}")
                    replies = self.auth(gate.port(listener), kind, password)
                    if listener != "front":
                        self.assertEqual(replies[-1][:3], b"235" if is_right else b"535", replies)
                    self.outputs[f"{listener} {kind} {is_right}"] = b"".join(replies)
            odd = base64.b64encode(marks.new("odd login").encode())
            with Client(gate.port(listener)) as client:
                client.hello()
                lines = (b"AUTH  PLAIN " + odd, b"AUTHPLAIN " + odd, b"AUTH " + odd, b"AUTH PLAIN =" + odd, odd,
                         b"AUTH CRAM-MD5 " + odd, b"NOOP " + odd)  # fmt: skip
                self.outputs[f"{listener} odd"] = b"".join(client.say(line) for line in lines)
        with Client(gate.port()) as client:
            client.hello()
            for way in (b"go", b"hold"):
                content = b"X-Way: " + way + b"\r\nSubject: x\r\nMessage-ID: <" + way + b"@x.example>\r\n\r\nhi\r\n"
                self.assertTrue(client.message(content).startswith(b"250"))

    def auth(self, port: int, kind: str, password: str) -> list[bytes]:
        """One login; the replies."""
        with Client(port) as client:
            replies = [client.hello()]
            if kind == "PLAIN":
                return [*replies, client.say(b"AUTH PLAIN " + base64.b64encode(f"\0ann\0{password}".encode()))]
            replies.append(client.say(b"AUTH LOGIN"))
            for word in ("ann", password):
                replies.append(client.say(base64.b64encode(word.encode())))
            return replies

    def by_http(self, gate: Gateway, person: Person) -> None:
        """Users, tokens, invitations, another password, drafts, and links."""
        marks = self.marks
        status, made = person.json("POST", "/tokens", {"name": "t", "role": "auditor"})
        self.assertEqual(status, 201, made)
        self.token = made["token"]
        marks.add("token", self.token.rpartition("_")[2])
        order = {"name": "bea", "role": "helpdesk", "password": marks.new("password of another")}
        self.assertEqual(person.json("POST", "/users", order)[0], 201)
        status, made = person.json("POST", "/users/bea/invitation", {})
        self.assertEqual(status, 201, made)
        self.invitation = marks.add("invitation", made["link"].rpartition("/")[2])
        for path, order, wanted in (
            ("/users", {"name": "a b", "role": "x", "password": marks.new("refused password")}, 422),
            ("/users/bea/password", {"password": marks.new("refused password"), "x": 1}, 422),
            ("/auth/reauth", {"password": marks.new("wrong proof")}, 403),
            ("/auth/password", {"current": marks.new("wrong current"), "password": marks.new("wanted")}, 403),
            ("/auth/totp", {"secret": marks.new("unknown key")}, 422),
        ):
            status, said = person.json("POST", path, order)
            self.assertIn(status, (wanted, 401), said)
            self.outputs[f"{path} {status}"] = json.dumps(said).encode()
        for header in (f"Bearer sgt_00000000_{marks.new('wrong token', '')}", f"Basic {marks.new('basic', '')}"):
            connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE_S)
            connection.request("GET", "/api/v1/me", headers={"Authorization": header})
            self.outputs[header[:6]] = connection.getresponse().read()
        shown = person.json("GET", "/config/draft")[1]["text"]
        key, new = 'mode = "off"', marks.new("key of a draft", "")
        extra = (
            f'[[filters]]\nuse = "asks-elsewhere"\nname = "two"\nmode = "off"\n[filters.options]\napi_key = "{new}"\n'
        )
        self.assertIn(key, shown)
        for base, end, status in ((1, "", 200), (2, "x = [", 422)):
            order = {"text": f"{shown}\n{extra}{end}", "base": base, "message": "why"}
            said = person.json("POST", "/config/apply", order)
            self.assertEqual(said[0], status, said)
            self.outputs[f"apply {status}"] = json.dumps(said[1]).encode()
        typed = marks.new("key that was typed", "")
        said = person.json("PUT", "/config/draft", {"text": extra.replace(new, typed), "base": 2}, **{"If-Match": "*"})
        self.assertEqual(said[0], 200, said)
        held = person.json("GET", "/quarantine")[1]["items"][0]
        links = Links((gate.folder / "var" / "links.key").read_bytes())
        link = Link("release", held["id"], "b@example.net", int(time.time()) + 3600)
        self.link = marks.add("link of a digest", links.token(link))
        person.json("POST", "/searches", {"name": "s", "query": "x"})
        person.json("POST", "/backends/mail/servers/127.0.0.1:1/drain", {})
        person.json("POST", "/webhooks/ops/test", {})
        person.json("POST", "/sso/corp/test", {})

    def by_cli(self, gate: Gateway) -> None:
        """What the command line says."""
        bundle = self.folder / "bundle.tgz"
        bad = gate.folder / "bad.toml"
        bad.write_text(gate.config.read_text().replace("api_key", "api_kee") + "x = 5\n")
        for words in (
            ("config", "show"), ("config", "show", "1"), ("config", "export"), ("config", "diff"),
            ("config", "history"), ("doctor",), ("--json", "doctor"), ("check-config", str(gate.config)),
            ("check-config", str(bad)), ("--json", "check-config", str(bad)), ("--json", "config", "show"),
            ("audit", "export"), ("audit", "list"), ("user", "list"), ("token", "list"), ("session", "list"),
            ("--json", "filters"), ("--json", "system"), ("bundle", str(bundle)), ("--json", "backends"),
        ):  # fmt: skip
            code, self.outputs[f"smtpgate {' '.join(words)}"] = self.said(gate, *words)
            self.assertIn(code, (0, 1, 3), words)
        self.outputs["bundle"] = self.unpacked(bundle.read_bytes())

    @staticmethod
    def said(gate: Gateway, *words: str) -> tuple[int, bytes]:
        """Code and words of a command."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main(["--config", str(gate.config), *words])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, out.getvalue().encode()

    @staticmethod
    def unpacked(octets: bytes) -> bytes:
        """All that is in an archive."""
        found = b""
        with tarfile.open(fileobj=io.BytesIO(octets), mode="r:gz") as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                found += member.name.encode() + b"\n" + (file.read() if file is not None else b"")
        assert len(found) > 1000
        return found

    def walk(self, gate: Gateway, person: Person) -> None:
        """All GET routes, as the owner in a browser, as a program, and as a stranger."""
        more = {
            "/held/<token>": lambda get: [{"token": self.link}],
            "/welcome/<token>": lambda get: [{"token": self.invitation}],
            "/why/<token>": lambda get: [{"token": "nothing"}],
        }
        # What stands in the address of a page of a link is there for whoever has the link.
        own = {"/held/": {"link of a digest"}, "/welcome/": {"invitation"}}
        asked = set()
        for route in gets():
            programs = ("program",) if route.kind == "word" or "/logs" in route.path or "/audit" in route.path else ()
            for path in paths(route, lambda where: person.json("GET", where.removeprefix("/api/v1"))[1], more):
                for who in ("person", *(("stranger",) if route.permission in ("public", "near") else ()), *programs):
                    if who == "person":
                        status, octets = person.ask("GET", path)
                    else:
                        head = {"Authorization": f"Bearer {self.token}"} if who == "program" else {}
                        status, octets = Person(self.admin).ask("GET", path, **head)
                    self.assertLess(status, 500, f"{path}: {octets[:500]!r}")
                    if octets[-200000:].startswith(b"\x1f\x8b") or b"\r\n\x1f\x8b" in octets[:4000]:
                        octets += self.unpacked(octets[octets.index(b"\x1f\x8b") :])
                    for start, names in own.items():
                        if path.startswith(start):
                            self.assertLessEqual(self.marks.found(octets), names, path)
                            octets = b""
                    self.outputs[f"{who} {path}"] = octets
                    if status == 200:
                        asked.add(route.path)
        self.assertGreater(len(asked), 130, sorted({one.path for one in gets()} - asked))

    def in_text(self, server: LoginServer) -> None:
        """The log for people to read, of another gateway that hears the same."""
        gate = self.text_gateway(server)
        person = Person(self.admin)
        password, wrong = self.marks.new("password in text"), self.marks.new("wrong in text")
        file = self.folder / "password"
        file.write_text(password)
        self.assertEqual(self.said(gate, "user", "add", "ann", "--role", "owner", "--password-file", str(file))[0], 0)
        for one in (wrong, password):
            person.form("/login", "/login", name="ann", password=one)
        self.marks.add("session in text", person.cookies["sg-local"])
        ports = {name: int(port) for name, port in re.findall(r"(own|relay|front) \S*?:(\d+)", gate.text())}
        for listener in ("own", "relay"):
            for kind in ("PLAIN", "LOGIN"):
                for one in (self.user_password, self.marks.new(f"{kind} wrong")):
                    self.auth(ports[listener], kind, one)
        gate.signal(15)
        self.assertEqual(gate.wait(), 0)
        octets = gate.output.read_bytes()
        self.assertGreater(octets.count(b"\n"), 20)
        self.outputs["log, text"] = octets

    def text_gateway(self, server: LoginServer) -> Gateway:
        """It has started when it says so."""
        started: Callable[[Gateway], bool] = lambda made: "gateway.started" in made.text()  # noqa: E731
        self.patch(Gateway, "_has_started", started)
        self.admin = free_port()
        (self.folder / "dkim.pem").unlink()
        return self.begin(server, "text")
