"""Every page in a real browser, looked at by axe-core with something on it: light and dark, wide and at 360 px.

Needs what `browser_kit` needs. What axe calls serious or critical is a fault; so is a page that scrolls sideways.
SMTPGATE_SHOTS=FOLDER keeps a picture of each page in all four ways, and lets axe look at all four.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.admin.site import ROUTES
from tests.browser_kit import shoot
from tests.house_kit import HouseCase

AXE = Path(__file__).with_name("assets") / "axe.min.js"
#: Pages that are files, or parts of pages.
NO_PAGES = frozenset({"/logs/download", "/stats/csv", "/system/bundle", "/prove", "/messages/new", "/search"})
#: The last is 1280 at four times its size (WCAG 2.2, 1.4.10).
WIDTHS = ((1280, 900), (360, 800), (320, 256))
#: What axe looks at of each page; colours and places depend little on each other.
LOOKED = frozenset({("light", 1280), ("dark", 360)})


class AxeTests(HouseCase):
    """All pages: those of the side bar, and of each that is about one thing, one."""

    timeout = 900

    def fill(self) -> None:
        paths = [one.path for one in ROUTES if one.kind == "page" and one.method == "GET" and "<" not in one.path]
        paths = [one for one in paths if one not in NO_PAGES and not one.startswith(("/login", "/setup"))]
        self.paths = [*paths, *self.house.pages()]

    def test_nothing_serious(self) -> Deferred[None]:
        """Contrast, names, roles, order: in both colours and both widths; and nothing is wider than a telephone."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        # Some of these pages are refusals, on purpose; the console of the kit's page minds that.
        page = self.context.new_page()
        axe = AXE.read_text("utf-8")
        found: dict[str, set[str]] = {}
        page.set_default_timeout(20_000)
        for path in self.paths:
            answer = page.goto(self.base + path, wait_until="domcontentloaded")
            self.assertLess(answer.status, 500, path)
            self.assertTrue(page.inner_text("body").strip(), path)
            shoot(page, "page-" + (re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:60] or "overview"))
            if "/frame/" in path:
                # It runs no scripts, not axe either: its markup is looked at outside of its lock.
                markup = page.content()
                page.goto("about:blank")
                page.set_content(markup)
            # By the debugger: the policy of pages lets no script in.
            page.evaluate(axe + "\n;0")
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                for width, height in WIDTHS:
                    page.set_viewport_size({"width": width, "height": height})
                    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                        found.setdefault(path, set()).add(f"scrolls sideways at {width}")
                    if (scheme, width) in LOOKED or ("SMTPGATE_SHOTS" in os.environ and width > 320):
                        self.judge(page, path, f"{scheme} {width}", found)
        self.assertEqual({path: sorted(faults) for path, faults in found.items()}, {})

    def judge(self, page: Any, path: str, how: str, found: dict[str, set[str]]) -> None:
        """What axe has to say."""
        result = page.evaluate(
            "axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
            ".then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => v.id + ' ' + v.nodes.slice(0, 2).map(n => n.target.join(' ')).join(', ')))"
        )
        for one in result:
            found.setdefault(path, set()).add(f"{how}: {one}")
