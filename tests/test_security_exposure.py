"""The security checklist, exposure: who can come to the pages at all, over a real socket.

More of each item is in the tests that bear its number elsewhere; `make checklist` lists them.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.site import ROUTES
from smtpgate.config.endpoint import parse_listen
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.policy.held import Addressee
from tests.admin_kit import CONFIG, PASSWORD, Desk, make_session
from tests.test_admin_entry import FORM, Browser
from tests.test_admin_matrix import WANTED, place
from tests.test_admin_quarantine import QuarantineCase
from tests.web_kit import OfficeOnPort, over_tcp

UNSAFE = [route for route in ROUTES if route.method != "GET" and "web" in route.doors]
#: Pages without anything to fill into their path, but for those whose answer is no page of its own.
PAGES = [route.path for route in ROUTES if route.kind == "page" and route.method == "GET" and "<" not in route.path]


def foreign() -> list[dict[str, str]]:
    """What a browser says of a form that another site's page sends."""
    return [
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:8080.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"},
    ]


class BindTests(SynchronousTestCase):
    """Where the pages listen."""

    def test_S_01_loopback_unless_told_otherwise(self) -> None:
        """Without a key it is this machine only; an open network is no configuration, but for the switch."""
        listen = loads(CONFIG, "/nowhere/gate.toml").admin.listen
        assert listen is not None
        self.assertTrue(parse_listen(listen).is_local)
        for address in ("tcp:8080", "tcp:8080:interface=0.0.0.0", "tcp:8080:interface=192.0.2.1"):
            open_one = CONFIG.replace("[admin]\n", f'[admin]\nlisten = "{address}"\n')
            with self.assertRaises(ConfigErrors) as wrong:
                loads(open_one, "/nowhere/gate.toml")
            self.assertIn("admin.listen", str(wrong.exception))
            loads(open_one.replace("[admin]\n", "[admin]\ninsecure = true\n"), "/nowhere/gate.toml")

    def test_S_01_every_page_says_that_the_network_is_open(self) -> None:
        """Those of strangers too, and errors; and none says so where it is not."""
        words = "without TLS (<code>admin.insecure</code>)"
        for text, is_said in ((CONFIG, False), (CONFIG.replace("[admin]\n", "[admin]\ninsecure = true\n"), True)):
            desk = Desk(text)
            desk.users.add_user("ann", "owner", PASSWORD)
            owner = desk.token("owner")
            seen = 0
            for path in (*PAGES, "/sessions/nothing", "/nothing"):
                for token in (owner, ""):
                    answer = desk.ask("GET", path, token=token)
                    if answer.header("content-type").startswith("text/html") and answer.body:
                        self.assertEqual(words in answer.text, is_said, path)
                        seen += 1
            self.assertGreater(seen, 25)


class FirstTests(SynchronousTestCase):
    """Before there is anybody."""

    def test_S_02_nobody_comes_in_before_the_code_was_used(self) -> None:
        """No name, no password and no token of a guess opens anything; the code is of 128 bits at least."""
        desk = Desk()
        self.successResultOf(desk.office.open())
        (code,) = desk.said
        self.assertGreaterEqual(len(code) * 6, 128)
        for name, password in (("admin", "admin"), ("root", ""), ("", ""), ("owner", "smtpgate"), ("ann", code)):
            browser = Browser(desk)
            answer = browser.post("/login", {"name": name, "password": password})
            self.assertEqual(answer.status, 403)
            self.assertEqual(browser.get("/").header("location"), "/setup")
        for words in ("Bearer admin", f"Bearer {code}", "Basic YWRtaW46YWRtaW4=", "Bearer sgt_0_0", "Bearer"):
            self.assertEqual(desk.ask("GET", "/api/v1/me", headers={"Authorization": words}).status, 401)

    def test_S_02_two_who_have_the_code(self) -> None:
        """It is used up while the first one's password is hashed."""
        desk = Desk()
        self.successResultOf(desk.office.open())
        fields = {"code": desk.said[0], "password": PASSWORD, "again": PASSWORD}
        added: list[str] = []
        slow: Deferred[None] = Deferred()

        def add_user(name: str, *args: Any) -> Deferred[None]:
            added.append(name)
            return slow

        desk.users.add_user = add_user  # type: ignore[method-assign, assignment]
        one, two = Browser(desk), Browser(desk)
        token = one.token("/setup")
        channel, transport = desk.open()
        body = "&".join(f"{key}={value.replace(' ', '+')}" for key, value in {**fields, "name": "ann"}.items())
        body += f"&csrf={token}"
        head = "POST /setup HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        cookie = f"Cookie: sg-form={one.jar['sg-form']}\r\n"
        channel.dataReceived(f"{head}{cookie}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        self.assertEqual(transport.value(), b"")
        self.assertEqual(two.form("/setup", "/setup", {**fields, "name": "eve"}).status, 401)
        self.assertEqual(added, ["ann"])


class HostTests(OfficeOnPort):
    """For whom a request is, and who made it."""

    @over_tcp
    def test_S_03_hosts_on_the_wire(self) -> None:
        """No Host, two, an absolute target and another port's name: only ours is served."""
        for octets, statuses in (
            (b"GET /login HTTP/1.0\r\n\r\n", (421,)),
            (b"GET /login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", (421,)),
            (b"GET /login HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n", (421, 400)),
            (b"GET http://localhost/login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", (421, 400)),
            (b"GET /login HTTP/1.1\r\nHost: localhost@evil.example\r\nConnection: close\r\n\r\n", (421,)),
            (b"GET /login HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n", (200,)),
        ):
            answer = self.wire.send(octets)
            self.assertIn(int(answer.split(b" ")[1]), statuses, octets)
        answer = self.wire.ask("GET", "/api/v1/me", token=self.owner, host="evil.example")
        self.assertEqual((answer.status, answer.json()["type"]), (421, "/problems/misdirected"))

    @over_tcp
    def test_S_03_each_unsafe_route_refuses_foreign_pages(self) -> None:
        """With a session and its token; the refusal is that of CSRF, and comes before all else."""
        browser = Browser(self.wire)  # type: ignore[arg-type]
        browser.log_in()
        token = browser.token("/account")
        self.assertGreater(len(UNSAFE), 100)
        for number, route in enumerate(UNSAFE):
            sent = foreign()[number % 5] if route.path != "/logout" else foreign()[0]
            kind = FORM if route.kind == "page" else {"Content-Type": "application/json"}
            answer = self.wire.ask(
                route.method,
                place(route),
                body=f"csrf={token}".encode() if route.kind == "page" else b"{}",
                headers={**browser._headers({}), **kind, **sent, "X-CSRF-Token": token},
            )
            self.assertEqual(answer.status, 403, f"{route.method} {route.path} {sent}")
            self.assertIn("another site", answer.text)
        self.assertEqual(browser.get("/account").status, 200)
        self.assertEqual([row["action"] for row in self.desk.users.rows if row["action"] != "denied"], ["login"])

    @over_tcp
    def test_S_03_all_kinds_of_foreign_pages(self) -> None:
        """Each way on one form; and where a browser sends neither header the token is wanted still."""
        browser = Browser(self.wire)  # type: ignore[arg-type]
        browser.log_in()
        token = browser.token("/account")
        for sent in foreign():
            answer = browser.post("/theme", {"csrf": token}, **{k.replace("-", "_"): v for k, v in sent.items()})
            self.assertEqual(answer.status, 403, str(sent))
        self.assertEqual(browser.post("/theme", {}).status, 403)
        self.assertEqual(browser.post("/theme", {"csrf": "x" * 43}).status, 403)
        self.assertEqual(browser.post("/theme", {"csrf": token}).status, 303)


class RouteTests(OfficeOnPort):
    """Every route, by whatever method and spelling."""

    @over_tcp
    def test_S_04_other_methods_open_nothing(self) -> None:
        """To strangers each is like a path that does not exist; to others it is 405 at most."""
        for route in ROUTES:
            if route.permission in ("public", "near"):
                continue
            bound = {one.method for one in ROUTES if one.path == route.path}
            for method in ("OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "POST", "XYZZY"):
                if method in bound:
                    continue
                answer = self.wire.ask(method, place(route), headers={"X-HTTP-Method-Override": route.method})
                place_of = answer.header("location").partition("?")[0]
                said = (answer.status, place_of, answer.header("allow"))
                self.assertIn(said, ((401, "", ""), (303, "/login", "")), f"{method} {route.path}")

    @over_tcp
    def test_S_04_spellings_open_no_more_to_a_role(self) -> None:
        """A helpdesk that writes a path otherwise: encoded, with dots and slashes, in capitals, absolute."""
        token = self.desk.token("helpdesk")
        closed = [one for one in ROUTES if one.method == "GET" and one.permission in WANTED]
        closed = [one for one in closed if "helpdesk" not in WANTED[one.permission]]
        self.assertGreater(len(closed), 10)
        for route in closed:
            path = place(route)
            for written in (
                path,
                path + "/",
                "/" + path,
                f"/%{ord(path[1]):02x}{path[2:]}",
                path.replace("/", "/./", 1),
                f"/help/..{path}",
                path.upper(),
                f"http://localhost:8080{path}",
                path + "%00",
                path + ";x=1",
                path + "?access_token=" + self.owner,
            ):
                answer = self.wire.ask("GET", written, token=token)
                self.assertIn(answer.status, (400, 403, 404, 405), f"{written} of {route.path}")

    @over_tcp
    def test_S_04_a_token_in_the_address_opens_nothing(self) -> None:
        """Neither there nor in a cookie nor in a form."""
        for path in (f"/api/v1/me?token={self.owner}", f"/api/v1/me?access_token={self.owner}"):
            self.assertEqual(self.wire.ask("GET", path).status, 401)
        for name in ("sg-local", "__Host-sg", "Authorization"):
            self.assertEqual(self.wire.ask("GET", "/api/v1/me", headers={"Cookie": f"{name}={self.owner}"}).status, 401)


class ReachTests(QuarantineCase):
    """What is out of one's domains."""

    def test_S_05_what_is_out_of_reach_costs_what_is_missing_costs(self) -> None:
        """The same status, the same words, and as many looks into the stores: nobody can measure what there is."""
        facts = make_session("01J9UK7Q0000000000000000BB", recipients=("eve@example.com",))
        self.desk.history.keep(facts)
        held = self.hold(recipients=(Addressee("eve@example.com"),))
        no_held = held[:-1] + ("a" if held[-1] != "a" else "b")
        no_session = "01J9UK7Q0000000000000000CC"
        body = {"name": "t", "role": "quarantine-manager", "domains": ["example.net"]}
        limited = str(self.desk.post_json("/api/v1/tokens", body, token=self.owner).json()["token"])
        looks: list[str] = []
        self._count(self.inline, looks, "run", "read")
        self._count(self.desk.history, looks, "find")
        walked = 0
        for route in ROUTES:
            if not route.for_domains or "<id>" not in route.path or route.method != "GET":
                continue
            for there, missing in ((held, no_held), (facts.id, no_session), (f"{facts.id}.1", f"{no_session}.1")):
                said = []
                for id in (there, missing):
                    looks.clear()
                    path = re.sub(r"<(?:int:)?number>", "1", route.path.replace("<id>", id))
                    answer = self.desk.ask("GET", path, token=limited)
                    text = re.sub(r"[0-9a-f]{16}", "", answer.text.replace(id, "X"))
                    said.append((answer.status, answer.header("location").replace(id, "X"), text, list(looks)))
                self.assertEqual(said[0], said[1], route.path)
                self.assertIn(said[0][0], (404, 401), route.path)
                walked += 1
        self.assertGreater(walked, 20)

    def _count(self, thing: Any, looks: list[str], *names: str) -> None:
        for name in names:
            real = getattr(thing, name)

            def counted(function: Any, *args: Any, _real: Any = real, _name: str = name) -> Any:
                looks.append(f"{_name} {getattr(function, '__name__', '')}")
                return _real(function, *args)

            setattr(thing, name, counted)
