"""The fuzzer against a whole gateway: bent sessions on one side, a server that answers at random on the other.

Both legs are real sockets. After each dialogue: the gateway has answered and closed, it has crashed nowhere, what it
said are replies, what it called delivered the server has taken, and no message holds what another reader could take
for its end. Time and threads have a say here, so a seed gives the same input but not always the same run.
"""

from __future__ import annotations

import random
import socket
import time
import traceback
from typing import Any

from smtpgate.policy.event import Happened, TransactionEnded
from tests.fuzz import Broken, hold, is_reply_stream, lax_ends, spelled
from tests.fuzz_input import REPLIES, Turns, bent, cut, headers, session
from tests.gateway_kit import TestGateway
from tests.script_kit import DROP, EHLO, RESET, Action, Backend, Connection

#: A reply is waited for so long before the next turn is sent all the same: many turns get none.
TURN_S = 0.03
#: No dialogue may last longer; the gateway's own times are a second.
DIALOGUE_S = 20.0
LISTENERS = {
    "mx": "",
    "spool": 'body = "spool"\nstrict_sync = false',
    "loose": 'command_bare_lf = "accept"\nrequire_brackets = false\nstrict_sync = false',
    "xclient": 'xclient_from = ["127.0.0.0/8"]',
    "strict": 'bare_newline = "reject"\nstrict_paths = true\nchunking = false',
    "lmtp": 'protocol = "lmtp"\nstrict_sync = false',
    "store": "strict_sync = false",
    "proxy": 'proxy_protocol_from = ["127.0.0.0/8"]',
    "relay": 'role = "submission"\nauth = "relay"\nauth_requires_tls = false',
}


class Moody(Backend):
    """A server that now and then says anything.

    :ivar by_data: messages that came by DATA, to their end
    """

    def __init__(self, chance: random.Random, **given: Any) -> None:
        self.chance = chance
        self.by_data: list[bytes] = []
        super().__init__(ehlo=(*EHLO, "AUTH PLAIN LOGIN", "BINARYMIME", "REQUIRETLS"), **given)

    def mood(self) -> Action | None:
        """What it says in place of what it should; mostly None."""
        if self.chance.randrange(16):
            return None
        if not self.chance.randrange(4):
            return self.chance.choice((DROP, RESET))
        said = self.chance.choice(REPLIES)
        return bent(self.chance, said) if not self.chance.randrange(3) else said

    def _rule(self, line: bytes) -> Action | None:
        return self.mood()

    def _act(self, connection: Connection, action: Action) -> bool:
        if connection.commands or self.chance.randrange(8):
            return super()._act(connection, action)
        return super()._act(connection, self.mood() or action)

    def _chunk(self, connection: Connection, line: bytes, rule: Action | None) -> bool:
        # A chunk that is acknowledged is taken, whatever the mood.
        is_good = isinstance(rule, bytes) and rule.startswith(b"2")
        return super()._chunk(connection, line, None if is_good else rule)

    def _ended(self, connection: Connection, content: bytes) -> bool:
        if not hasattr(connection, "chunks"):
            self.by_data.append(content)
        return super()._ended(connection, content)


def config(mail: int, store: int) -> str:
    """A gateway with a listener of each kind."""
    text = 'hostname = "gate.example.com"\nlocal_domains = ["example.net", "*.example.org"]\n'
    text += "[limits]\nconnections_per_client = 1000\nerrors = 30\n"
    text += "[timeouts]\ngreeting = 1\nbackend = 1\ndata_init = 1\ndata_block = 1\ndata_done = 1\n"
    for name, more in LISTENERS.items():
        text += f'[listeners.{name}]\nlisten = "tcp:0:interface=127.0.0.1"\ntls = "off"\n{more}\n'
    text += f'[backends.mail]\nservers = ["127.0.0.1:{mail}"]\ntls = "off"\nauth_requires_tls = false\n'
    text += f'[backends.store]\nservers = ["127.0.0.1:{store}"]\ntls = "off"\nprotocol = "lmtp"\n'
    text += '[[routes]]\nlistener = "store"\nbackend = "store"\n'
    return text + '[[routes]]\nbackend = "mail"\n'


class GatewayFuzz:
    """A gateway, its servers, and what was thrown at it."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.count = 0
        self.delivered = 0
        chance = random.Random(f"servers {seed}")
        self.mail = Moody(chance)
        self.store = Moody(chance, lmtp=True)
        self.gateway = TestGateway(config(self.mail.port, self.store.port))

    async def start(self) -> None:
        """Listen."""
        await self.gateway.start()

    async def stop(self) -> None:
        """End everything."""
        await self.gateway.stop()
        for backend in (self.mail, self.store):
            backend.close()

    def over(self, seconds: float) -> str:
        """From a thread: dialogues until the time is up or one breaks something; "" or the report."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number = f"{self.seed}:{self.count}"
            chance = random.Random(f"gateway {number}")
            name = chance.choice(list(LISTENERS))
            turns = session(chance)
            if name == "proxy":
                turns = headers(chance)[:1] + turns
            if name in ("lmtp",):
                turns = [turn.replace(b"EHLO", b"LHLO") for turn in turns]
            self.count += 1
            try:
                self.dialogue(chance, name, turns)
            except Exception:
                thrown = ", ".join(map(spelled, turns))
                told = traceback.format_exc()
                return f"seed {number} of target gateway, listener {name}\n{told}\n[{thrown}]\n"
        return ""

    def links(self) -> int:
        """How many links the pools believe to have."""
        revision = self.gateway.control.revision
        assert revision is not None
        return sum(server.links for pool in revision.pools.values() for server in pool.servers)

    def dialogue(self, chance: random.Random, name: str, turns: Turns) -> None:
        """One client's life."""
        gateway = self.gateway
        gateway.events.clear()
        taken = len(self.mail.messages) + len(self.store.messages)
        out = b""
        with socket.create_connection(("127.0.0.1", gateway.port(name)), DIALOGUE_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for turn in turns:
                    for part in cut(chance, turn):
                        sock.sendall(part)
                    out += self.heard(sock)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(DIALOGUE_S)
                while data := sock.recv(65536):
                    out += data
            except TimeoutError:
                raise Broken(f"no end of the dialogue: {out!r}") from None
            except OSError:
                # Closed under our hands, which it may: what came is whole but for its end.
                out = out[: out.rfind(b"\r\n") + 2] if b"\r\n" in out else b""
        is_reply_stream(out)
        hold(gateway.idle(), "the session stays", out)
        hold(gateway.until(lambda: not self.links()), "a link stays", out)
        bad = [event for event in gateway.told(Happened) if event.level == "error"]
        hold(not bad, "something crashed", bad)
        ended = [event.transaction for event in gateway.told(TransactionEnded)]
        delivered = [one for one in ended if one.outcome == "delivered" and "known_from_ledger" not in one.notes]
        self.delivered += len(delivered)
        came = len(self.mail.messages) + len(self.store.messages) - taken
        hold(len(delivered) <= came, "called delivered, and no server has it", out, ended)
        for backend in (self.mail, self.store):
            for message in backend.by_data:
                hold(lax_ends(message) == 0, "an end of data inside", message)
            backend.by_data.clear()
            backend.commands.clear()

    @staticmethod
    def heard(sock: socket.socket) -> bytes:
        """What comes now: the first reply, where there is one, and what follows it closely."""
        out = b""
        sock.settimeout(TURN_S)
        try:
            while data := sock.recv(65536):
                out += data
                sock.settimeout(0.003)
        except TimeoutError:
            pass
        finally:
            sock.settimeout(DIALOGUE_S)
        return out
