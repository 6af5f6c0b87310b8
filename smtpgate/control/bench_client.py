"""The client of mail that is tried: it says what it is told to a session in memory, and hears each reply."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control.bench_world import Turns
from smtpgate.proxy.inmemory import Front

#: Octets that are said at a time, so that nobody else waits long.
PIECE: Final = 65_536
_REPLY: Final = re.compile(rb"(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?\n")
#: What ends a reply: the reference of a session that nobody can look up.
_REFERENCE: Final = re.compile(r" [0-9A-V]{26}(?:\.[0-9]+)?(?=\r?\n|$)")
#: Letters of one line of a dialogue.
_SHOWN: Final = 2000


@attrs.frozen
class Line:
    """What one side said: C the client, S the gateway."""

    who: str
    text: str


class HungUp(Exception):
    """The gateway closed the connection."""


class Client:
    """One client.

    :ivar dialogue: what was said, passwords and content left out
    """

    def __init__(self, front: Front, turns: Turns) -> None:
        self.dialogue: list[Line] = []
        self._front = front
        self._turns = turns
        self._waiting: Deferred[None] | None = None
        front.on_said = self._heard

    def _heard(self) -> None:
        # The session is at work now; who hears it answers in another turn.
        self._turns.append(self._wake)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _turn(self) -> None:
        self._waiting = Deferred()
        self._turns.append(self._wake)
        await self._waiting

    async def hear(self) -> str:
        """The next reply, the lines of one that has several below each other. Raises HungUp."""
        while True:
            found = _REPLY.match(self._front.said)
            if found is not None:
                self._front.said = self._front.said[found.end() :]
                text = _REFERENCE.sub("", found[0].decode("ascii", "replace").replace("\r\n", "\n").rstrip("\n"))
                self.dialogue.append(Line("S", text[:_SHOWN]))
                return text
            if not self._front.is_open:
                raise HungUp
            self._waiting = Deferred()
            await self._waiting

    async def say(self, line: str, shown: str = "") -> str:
        """Say a line; the reply.

        :param shown: what stands in the dialogue in its place
        """
        self.dialogue.append(Line("C", (shown or line)[:_SHOWN]))
        await self.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self.hear()

    async def send(self, octets: bytes) -> None:
        """Say octets, piece by piece."""
        for at in range(0, len(octets), PIECE):
            if at:
                await self._turn()
            if not self._front.is_open:
                raise HungUp
            self._front.received(octets[at : at + PIECE])

    async def content(self, octets: bytes) -> str:
        """Say a message and its end; the reply.

        :param octets: as `stuffed` made them
        """
        self.dialogue.append(Line("C", f"(a message of {len(octets)} octets)"))
        await self.send(octets)
        return await self.hear()

    async def login(self, user: str) -> str:
        """Log in: each password is right."""
        secret = base64.b64encode(f"\0{user}\0tried".encode("utf-8", "replace")).decode("ascii")
        return await self.say(f"AUTH PLAIN {secret}", f"AUTH PLAIN (as {user})")

    def hang_up(self) -> None:
        """Be gone."""
        if self._front.is_open:
            self._front.hang_up()


def stuffed(octets: bytes) -> bytes:
    """A message as it stands on the wire, with its end (RFC 5321 section 4.5.2). Lone newlines stay, unless there are
    no others: then it is a file of Unix."""
    if b"\r\n" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    if octets[:1] == b".":
        octets = b"." + octets
    octets = octets.replace(b"\r\n.", b"\r\n..")
    return octets + (b".\r\n" if octets.endswith(b"\r\n") else b"\r\n.\r\n")


async def play(client: Client, script: Sequence[str]) -> None:
    """Say the lines of a script one after the other, each after the reply to the one before.

    What stands behind DATA up to a line with a dot alone is the message, where 354 was heard; else it is not said.
    """
    lines = iter(script)
    reply = await client.hear()
    for line in lines:
        is_secret = reply.startswith("334")
        verb = line.partition(" ")[0].upper()
        shown = "(not shown)" if is_secret else line
        if verb == "AUTH" and len(line.split(" ")) > 2:
            shown = " ".join(line.split(" ")[:2]) + " (not shown)"
        reply = await client.say(line, shown)
        if verb == "DATA" and not is_secret:
            message = []
            for one in lines:
                if one == ".":
                    break
                message.append(one)
            if reply.startswith("354"):
                octets = "".join(f"{one}\r\n" for one in message).encode("utf-8", "surrogateescape")
                reply = await client.content(stuffed(octets))
        if verb == "QUIT":
            return


def faults(script: Sequence[str]) -> str:
    """What keeps a script from being played; "" where nothing does."""
    if not any(line.strip() for line in script):
        return "the script says nothing"
    for number, line in enumerate(script, 1):
        if line.partition(" ")[0].upper() == "BDAT":
            return f"line {number}: a message is given with DATA here, not with BDAT"
    return ""
