"""The first five minutes: somebody who knows only the README gets to an explained refusal, offline.

Commands are taken from the README's own lines, addresses from what they print. Nothing outside of loopback is asked.
"""

from __future__ import annotations

import html
import http.cookiejar
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tests.real_kit import RealCase, free_port, run, say, until

ROOT = Path(__file__).resolve().parent.parent
SMTPGATE = Path(sys.executable).with_name("smtpgate")
PASSWORD = "a phrase for the first visit"
#: A machine of tests that is shared is slow to start a process; the way itself takes seconds.
START_S = 120.0


def commands() -> list[str]:
    """The commands of the README's section, in their order."""
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## The first five minutes\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^    (smtpgate .*)$", section)


class Browser:
    """A browser without scripts: cookies, forms, redirects."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
        self.place = ""

    def submit(self, origin: str, page: str, fields: dict[str, str], action: str = "", to: str = "") -> str:
        """Fill in the first form of an action, and send it, there or to where another of its buttons leads."""
        forms = re.findall(r"(?s)<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", page)
        found = [
            (place, inner) for place, inner in forms if (place == action if action else place.startswith("/first"))
        ]
        assert found, (action, [place for place, _ in forms])
        place, inner = found[0]
        given = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', inner))
        for name, text in re.findall(r'(?s)<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', inner):
            given[name] = text.removeprefix("\n")
        button = re.search(r'<button name="([^"]+)" value="([^"]*)"', inner)
        if button is not None and not to:
            given[button[1]] = button[2]
        given = {name: html.unescape(value) for name, value in given.items()} | fields
        return self.get(origin + (to or place), given)

    def get(self, url: str, fields: dict[str, str] | None = None) -> str:
        data = urllib.parse.urlencode(fields).encode() if fields is not None else None
        request = urllib.request.Request(url, data)
        if data is not None:
            request.add_header("Origin", "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url)))
        with self.opener.open(request, timeout=30) as answer:
            self.place = answer.url
            return str(answer.read().decode("utf-8"))


class FirstMinutesTests(RealCase):
    """What the README promises of `smtpgate demo`."""

    def demo(self, *more: str) -> subprocess.Popen[str]:
        words = shlex.split(commands()[0])
        child = subprocess.Popen(
            [SMTPGATE, *words[1:], *more],
            cwd=self.folder,
            env={"TMPDIR": str(self.folder), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.stop, child)
        return child

    def stop(self, child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        child.communicate(timeout=START_S)

    def test_from_nothing_to_an_explained_refusal(self) -> None:
        """Three lines, an owner, a message, a refusal, its page; then nothing is left."""
        began = time.monotonic()
        ports = (str(free_port()), str(free_port()))
        demo = self.demo("--port", ports[0], "--admin-port", ports[1])
        assert demo.stdout is not None
        lines = [demo.stdout.readline().rstrip() for _ in range(3)]
        up = time.monotonic()
        self.assertRegex(lines[0], rf"^admin page +http://127\.0\.0\.1:{ports[1]}/setup\?code=[A-Za-z0-9_-]{{32}}$")
        self.assertRegex(lines[1], rf"^mail +127\.0\.0\.1:{ports[0]}$")

        browser = Browser()
        page = browser.get(lines[0].split()[-1])
        fields = dict(re.findall(r'name="(csrf|code)" (?:[a-z]+="[^"]*" )*?value="([^"]*)"', page))
        answers = {"name": "ann", "password": PASSWORD, "again": PASSWORD}
        origin = f"http://127.0.0.1:{ports[1]}"
        self.assertIn("Overview", browser.get(f"{origin}/setup", {**fields, **answers}))

        following = lines[2].removeprefix("next").strip()
        config = shlex.split(following)[2]
        _, first, bad, show, init = [line.replace("FILE", config) for line in commands()]
        self.assertEqual(following, first)
        good = run(SMTPGATE, *shlex.split(first)[1:])
        self.assertEqual(good.returncode, 0, good.stdout + good.stderr)
        self.assertIn("delivered", good.stdout)
        refused = run(SMTPGATE, *shlex.split(bad)[1:])
        self.assertEqual(refused.returncode, 0, refused.stdout + refused.stderr)
        (bounce,) = re.findall(r"(?m)^S: (550 .*)$", refused.stdout)

        found = browser.get(f"{origin}/search?" + urllib.parse.urlencode({"q": f"The server said: {bounce}"}))
        self.assertIn("/sessions/", browser.place)
        self.assertIn("attachment-double-extension", found)
        reference = bounce.split()[-1]
        shown = run(SMTPGATE, *shlex.split(show.replace("REFERENCE", reference))[1:])
        self.assertIn("attachment-double-extension", shown.stdout)
        done = time.monotonic()
        say(
            f"first minutes: {up - began:.1f} s until the three lines, {done - began:.1f} s until the explained refusal"
        )
        self.assertLess(done - began, 120, "step 1:45 of the first five minutes")

        self.own_server_and_rule(browser, origin)
        say(f"first minutes: {time.monotonic() - began:.1f} s until a rule is enforced before an own server")
        self.assertLess(time.monotonic() - began, 300, "step five of the first five minutes")
        ready = self.folder / "own.toml"
        words = [word.replace("/etc/smtpgate.toml", str(ready)) for word in shlex.split(init)[1:]]
        words = [word.replace("smtpgate.service", str(self.folder / "own.service")) for word in words]
        made = run(SMTPGATE, *words, "--state-dir", self.folder / "var")
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        self.assertIn("no-programs", ready.read_text())
        self.assertEqual(run(SMTPGATE, "check-config", ready).returncode, 0)
        told = run(SMTPGATE, "--config", config, "doctor")
        self.assertRegex(told.stdout, r"(?m)^warn +tls ")
        self.assertIn("backends", told.stdout)

        with self.assertRaises(urllib.error.HTTPError) as gone:
            Browser().get(f"{origin}/setup")
        self.assertEqual(gone.exception.code, 404)
        gone.exception.close()
        folder = Path(config).parent
        self.assertEqual((folder.stat().st_mode & 0o777, folder.parent), (0o700, self.folder))
        demo.send_signal(signal.SIGINT)
        rest, complaints = demo.communicate(timeout=60)
        self.assertEqual((demo.returncode, rest, complaints), (0, "", ""))
        self.assertEqual(list(self.folder.glob("smtpgate-demo-*")), [])

    def own_server_and_rule(self, browser: Browser, origin: str) -> None:
        """The card's links: a server is looked at, put to work and confirmed; a rule goes from shadow to live."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        page = browser.get(f"{origin}/")
        card = page.partition('id="first-steps"')[2].partition("</section>")[0]
        self.assertEqual(card.count("✓ done"), 2, card)
        links = {words: link for link, words in re.findall(r'<a href="([^"]*)">([^<]*)</a>', card)}
        place = f"127.0.0.1:{server.port}"
        asked = {"address": place, "recipient": "bob@own.example"}
        seen = browser.submit(origin, browser.get(origin + links["Point the gateway at your server"]), asked)
        for words in ("fast.example.net ESMTP", "none offered", "PIPELINING", "250"):
            self.assertIn(words, seen)
        checked = browser.submit(origin, seen, {}, "/config/draft")
        self.assertIn("It can be put to work", checked)
        self.assertIn(place, checked)
        waits = browser.submit(origin, checked, {"minutes": "5"}, "/config/draft", "/config/apply")
        browser.submit(origin, waits, {}, "/config/confirm")
        self.assertEqual(server.taken, {})

        templates = browser.get(origin + links["Add a rule"])
        drafted = browser.submit(origin, templates, {}, "/config/draft")
        browser.submit(origin, drafted, {"minutes": "0"}, "/config/draft", "/config/apply")
        rules = browser.get(f"{origin}/rules")
        self.assertIn("shadow", rules)
        replayed = browser.submit(origin, rules, {"text": "", "on": "history"}, "/rules/try")
        self.assertIn("of the history", replayed)
        shadow = browser.get(origin + links["Add a rule"])
        drafted = browser.submit(origin, shadow, {}, "/config/draft")
        browser.submit(origin, drafted, {"minutes": "0"}, "/config/draft", "/config/apply")
        browser.submit(origin, browser.get(f"{origin}/"), {"to": "bob@own.example", "kind": ""}, "/test/send")
        self.assertEqual(sum(server.taken.values()), 1)
        card = browser.get(f"{origin}/").partition('id="first-steps"')[2]
        self.assertEqual(card, "", "all five are done")

    def test_a_port_that_is_taken(self) -> None:
        """It says which, and what would help; nothing is left."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            demo = self.demo("--port", port, "--admin-port", str(free_port()))
            out, complaints = demo.communicate(timeout=START_S)
        self.assertEqual((demo.returncode, out), (1, ""))
        self.assertIn(f"tcp:{port}", complaints)
        self.assertIn("--port and --admin-port take others", complaints)
        self.assertEqual(list(self.folder.glob("smtpgate-demo-*")), [])

    def test_a_demo_that_is_killed_leaves_no_gateway(self) -> None:
        """Where nobody can clean up the gateway at least ends, and its ports are free."""
        port = free_port()
        demo = self.demo("--json", "--port", str(port), "--admin-port", str(free_port()))
        assert demo.stdout is not None
        self.assertEqual(demo.stdout.readline().strip(), "{")
        demo.kill()
        demo.communicate(timeout=60)
        until(lambda: _refuses(port), "the gateway is gone")


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False
