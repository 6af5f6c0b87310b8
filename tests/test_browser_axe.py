"""Every page in a real browser, looked at by axe-core: light and dark, wide and at 360 px, and by keyboard alone.

Needs what `browser_kit` needs. What axe calls serious or critical is a fault; so is a page that scrolls sideways
at 360 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.admin.site import ROUTES
from tests.admin_kit import make_session
from tests.browser_kit import BrowserCase

AXE = Path(__file__).with_name("assets") / "axe.min.js"
#: Pages that are files, or parts of pages.
NO_PAGES = frozenset({"/logs/download", "/stats/csv", "/system/bundle", "/prove"})
#: What is known to be amiss, and still to be mended: pages and the first word of what is said of them.
KNOWN = {
    "/live": "scrolls",
    "/sessions": "scrolls",
    "/routes": "nested-interactive",
    "/webhooks": "scrollable-region-focusable",
}
WIDTHS = ((1280, 900), (360, 800))


class AxeTests(BrowserCase):
    """All pages without anything to fill into their path, and one of a session."""

    timeout = 600

    def fill(self) -> None:
        self.desk.history.keep(make_session())
        self.paths = [one.path for one in ROUTES if one.kind == "page" and one.method == "GET" and "<" not in one.path]
        self.paths = [one for one in self.paths if one not in NO_PAGES and not one.startswith(("/login", "/setup"))]
        self.paths.append("/sessions/01J9UK7Q0000000000000000AA.1")

    def test_nothing_serious(self) -> Deferred[None]:
        """Contrast, names, roles, order: in both colours and both widths; and nothing is wider than a telephone."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        # Some of these pages are refusals, here where there is no store; the console of the kit's page minds that.
        page = self.context.new_page()
        axe = AXE.read_text("utf-8")
        found: dict[str, set[str]] = {}
        seen = 0
        for path in self.paths:
            answer = page.goto(self.base + path, wait_until="domcontentloaded")
            if not page.locator("main#main").count() or answer.status >= 500:
                continue
            seen += 1
            # By the debugger: the policy of pages lets no script in.
            page.evaluate(axe + "\n;0")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                for width, height in WIDTHS:
                    page.set_viewport_size({"width": width, "height": height})
                    if width == 360 and page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                        found.setdefault(path, set()).add("scrolls sideways at 360")
                    if (scheme, width) in (("light", 1280), ("dark", 360)):
                        self.judge(page, path, f"{scheme} {width}", found)
        self.assertGreater(seen, 20)
        new = {
            path: sorted(one for one in some if KNOWN.get(path, "nothing known") not in one)
            for path, some in found.items()
        }
        self.assertEqual({path: faults for path, faults in new.items() if faults}, {})

    def judge(self, page: Any, path: str, how: str, found: dict[str, set[str]]) -> None:
        """What axe has to say."""
        result = page.evaluate(
            "axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
            ".then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => v.id + ' ' + v.nodes.slice(0, 2).map(n => n.target.join(' ')).join(', ')))"
        )
        for one in result:
            found.setdefault(path, set()).add(f"{how}: {one}")
