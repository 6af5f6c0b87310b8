"""`make screenshots`: each page of the side bar, large and small, light and dark, over a demo with mail in it.

Written below var/screenshots, or where --folder says. Needs Chromium and Playwright, as the tests of pages do.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from smtpgate.admin.places import GROUPS
from tests.admin_kit import PASSWORD
from tests.browser_kit import chromium, shoot
from tests.real_kit import free_port, run

SMTPGATE = Path(sys.executable).with_name("smtpgate")
#: Pages that have no place in the side bar.
MORE = ("/account", "/first/server", "/first/rule", "/api/docs")


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/screenshots"))
    folder = parser.parse_args().folder.absolute()
    os.environ["SMTPGATE_SHOTS"] = str(folder)
    ports = ("--port", str(free_port()), "--admin-port", str(free_port()))
    demo = subprocess.Popen([SMTPGATE, "demo", *ports], stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        lines = [demo.stdout.readline().strip() for _ in range(3)]
        _shoot(lines[0].split()[-1], shlex.split(lines[2].removeprefix("next").strip())[2])
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


def _shoot(setup: str, config: str) -> None:
    base = setup.partition("/setup")[0]
    for words in ((), ("--bad",), ()):
        run(SMTPGATE, "--config", config, "send-test", "--to", "bob@example.net", *words)
    with chromium() as browser:
        page = browser.new_page()
        page.goto(setup)
        for name, value in (("name", "ann"), ("password", PASSWORD), ("again", PASSWORD)):
            page.fill(f"[name={name}]", value)
        page.click("main button")
        page.wait_for_url(f"{base}/")
        places = [place.path for _, group in GROUPS for place in group]
        for path in (*places, *MORE):
            page.goto(base + path, wait_until="domcontentloaded")
            shoot(page, path.strip("/").replace("/", "-") or "overview")
        page.goto(f"{base}/messages")
        page.goto(base + str(page.get_attribute("main a[href^='/sessions/']", "href")), wait_until="domcontentloaded")
        shoot(page, "session")


if __name__ == "__main__":
    main()
