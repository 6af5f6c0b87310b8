"""The sample plugin and the page that explains it, run from the docs folder as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate import plugins
from smtpgate.filters.base import STAGES
from smtpgate.interfaces import IServices
from smtpgate.plugins import find_factories
from smtpgate.policy.verdict import ACTIONS
from smtpgate.proxy.use import Use
from smtpgate.testing import Client as KitClient
from smtpgate.testing import Gateway, use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import REFERENCE, Backend, Client

DOCS = Path(__file__).resolve().parent.parent / "docs"
EXAMPLES = DOCS / "examples"
PAGE = (DOCS / "plugins.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
WAIT = rb"^451 4\.7\.1 Mail is taken from 00:00 on, time zone UTC " + REFERENCE[1:]


def factory() -> Any:
    """The sample's factory, found as any other."""
    plugins.__path__.append(str(EXAMPLES))
    try:
        return find_factories()[0]["quiet-hours"]
    finally:
        plugins.__path__.remove(str(EXAMPLES))
        for name in ("quiet_hours", "test_quiet_hours"):
            sys.modules.pop(f"{plugins.__name__}.{name}", None)
            vars(plugins).pop(name, None)


def blocks(language: str) -> list[str]:
    """The pieces of code on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class PageTests(SynchronousTestCase):
    """docs/plugins.md is in step with the code."""

    def test_every_piece_of_code_is_a_piece_of_a_file(self) -> None:
        """Nobody learns from what does not run."""
        files = "\n".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py"))
        pieces = blocks("python")
        self.assertGreater(len(pieces), 4)
        for piece in pieces:
            self.assertIn(piece, files)
        configuration = (EXAMPLES / "quiet_hours.toml").read_text(encoding="utf-8")
        for piece in blocks("toml"):
            self.assertIn(piece, configuration)

    def test_every_stage_and_action_is_explained(self) -> None:
        """And no other."""
        for stage in STAGES:
            self.assertRegex(PAGE, rf"(?m)^\| (session|transaction) \| `{stage}\(")
        rows = re.findall(r"^\| `([a-z]+)` \| ", PAGE, re.MULTILINE)
        self.assertEqual(set(ACTIONS) - set(rows), set())

    def test_every_service_is_named(self) -> None:
        """What a filter may use."""
        for name in IServices.names():
            self.assertIn(f"`services.{name}", PAGE)

    def test_what_the_kit_has_is_there(self) -> None:
        """Every method and attribute that the page's table names."""
        table = PAGE.partition("| `Gateway(")[2].partition("\n\n")[0]
        gateway = Gateway()
        for owner, thing in (("gateway", gateway), ("client", gateway.connect())):
            for name in re.findall(rf"{owner}\.([a-z_]+)", table):
                self.assertTrue(hasattr(type(thing), name) or hasattr(thing, name), f"{owner}.{name}")
        for name in re.findall(r"`([a-z]+)\([a-z_]*\)`", table):
            self.assertTrue(hasattr(KitClient, name), name)

    def test_a_reader_s_first_fifteen_minutes(self) -> None:
        """The commands of the page, in a fresh folder: tests pass, the configuration is good."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        shutil.copytree(EXAMPLES, folder / "docs" / "examples")
        (commands,) = blocks("sh")
        environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        ended = subprocess.run(
            ["sh", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertRegex(ended.stdout, r"PASSED \(successes=[1-9]")
        self.assertIn("quiet_hours.toml: no problems", ended.stdout)


class SampleTests(SynchronousTestCase):
    """What the sample's own tests leave out."""

    def greeted(self, options: str, now: str) -> KitClient:
        """A client at a time of day."""
        client = Gateway(use(factory(), options), now=now).connect()
        client.helo()
        return client

    def test_hours_over_midnight_and_other_zones(self) -> None:
        """A night shop; Berlin is an hour ahead in winter and two in summer."""
        for options, now, code in (
            ('opens = "22:00"\ncloses = "06:00"', "2026-01-07 23:00", "250"),
            ('opens = "22:00"\ncloses = "06:00"', "2026-01-07 05:59", "250"),
            ('opens = "22:00"\ncloses = "06:00"', "2026-01-07 06:00", "451"),
            ('zone = "Europe/Berlin"', "2026-01-07 05:59", "451"),
            ('zone = "Europe/Berlin"', "2026-01-07 06:00", "250"),
            ('zone = "Europe/Berlin"', "2026-07-07 05:00", "250"),
        ):
            self.assertEqual(self.greeted(options, now).message()[:3], code, (options, now))

    def test_milder_actions(self) -> None:
        """Mail is taken, and what was found is recorded."""
        for action in ("note", "tag"):
            client = self.greeted(f'action = "{action}"', "2026-01-07 03:00")
            self.assertEqual(client.message(), "250 2.0.0 Ok")
            self.assertEqual([found.action for found in client.findings], [action])


class RunningTests(GatewayCase):
    """The sample in a running gateway, with sockets."""

    def uses(self, options: str) -> list[Use]:
        """The filter as `tap` uses it."""
        made = factory()
        built = made.build(made.options.model_validate_json(options), None)
        return [Use(made.name, built, made.stages, made.roles, "enforce", made.on_error)]

    def test_mail_waits_and_urgent_mail_does_not(self) -> Deferred[Any]:
        """Quiet all day long but for one minute that has just gone: the backend sees the urgent one alone."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<alice@example.org>")
                self.assertRegex(client.say(b"RCPT TO:<bob@example.net>"), WAIT)
                self.assertRegex(client.say(b"RCPT TO:<oncall@example.net>"), rb"^250 ")
                self.assertRegex(client.say(b"DATA"), rb"^354 ")
                self.assertRegex(client.say(b"Subject: x\r\n\r\nhi\r\n."), rb"^250 ")
            self.assertEqual(backend.seen(b"^RCPT"), [b"RCPT TO:<oncall@example.net>"])
            self.assertEqual(len(backend.messages), 1)

        hours = '{"opens": "00:00", "closes": "00:00:00.000001", "urgent": ["oncall@example.net"]}'
        return self.drive(script, uses=self.uses(hours))

    def test_mail_is_taken_by_day(self) -> Deferred[Any]:
        """Open all day long."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                self.assertRegex(client.message(), rb"^250 ")

        return self.drive(script, uses=self.uses('{"opens": "00:00", "closes": "23:59:59.999999"}'))
