"""A real gateway that is killed at each step of putting a configuration to work: the next start is never without one
that was whole, the old or the new, and what was answered as done is done."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from smtpgate.cli.gateway import Gateway as Door
from smtpgate.cli.terminal import Failed
from tests.real_kit import Gateway, RealCase

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
local_domains = ["d0.example"]
[admin]
config = "managed"
listen = "off"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:9"]
tls = "off"
[[routes]]
backend = "mail"
"""
#: Where it is killed, and whether the new one rules after that.
STEPS = (
    ("before add", False),
    ("within add", False),
    ("after add", False),
    ("before put_to_work", False),
    ("after put_to_work", False),
    ("before point", False),
    ("within point", False),
    ("after point", True),
)


class KilledTests(RealCase):
    """Each step."""

    def run_gateway(self, step: str) -> Gateway:
        """A start in the folder of the one before."""
        if not hasattr(self, "program"):
            self.program = self.folder / "twistd"
            self.program.write_text(
                f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                "from tests.killed_gateway import main\nmain()\n"
            )
            self.program.chmod(0o755)
            self.gate = Gateway(self.folder, CONFIG, twistd=self.program, env={"KILL_AT": step})
            return self.start(self.gate)  # type: ignore[no-any-return]
        again = object.__new__(Gateway)
        again.folder, again.config = self.gate.folder, self.gate.config
        command = (self.program, "-n", "--pidfile=", "smtpgate", "--config", again.config)
        super(Gateway, again).__init__(again.folder, f"gateway-{step}", *command, env={"KILL_AT": step})
        return self.start(again)  # type: ignore[no-any-return]

    def domains(self, door: Door) -> Any:
        """What is at work, and the number of its revision."""
        found = door.ask("GET", "/config")
        return found["settings"]["local_domains"], found["number"]

    def test_each_step(self) -> None:
        """Killed there, started anew: the old one where it was not written yet, the new one where it was."""
        ruling, number, steps = "d0.example", 1, iter((*STEPS, ("", True)))
        step, _ = next(steps)
        gate = self.run_gateway(step)
        for at, is_new in STEPS:
            door = Door(gate.config)
            self.assertEqual(self.domains(door), ([ruling], number), at)
            fresh = f"{at.replace(' ', '-').replace('_', '-')}.example"
            text = door.ask("GET", f"/config/revisions/{number}")["text"].replace(ruling, fresh)
            order = {"text": text, "base": number, "message": at}
            with self.assertRaises(Failed, msg=at):
                door.ask("POST", "/config/apply", order)
            self.assertEqual(gate.wait(), -signal.SIGKILL, at)
            step, _ = next(steps)
            gate = self.run_gateway(step)
            found = Door(gate.config).ask("GET", "/config/revisions")
            if is_new:
                ruling, number = fresh, found["items"][0]["number"]
            # What was begun and never ruled is kept, and said to have failed; nothing has a half of it.
            for one in found["items"]:
                self.assertIn(one["state"], ("active", "former", "failed"), at)
            self.assertEqual([one["number"] for one in found["items"] if one["state"] == "active"], [number], at)
        door = Door(gate.config)
        self.assertEqual(self.domains(door), ([ruling], number))
        door.ask(
            "POST", "/config/apply", {"text": text.replace(ruling, "last.example"), "base": number, "message": "x"}
        )
        self.assertEqual(self.domains(door)[0], ["last.example"])
        self.assertEqual(gate.crashed(), [])
