"""`make flood`: three kinds of trouble, and what the mail beside them sees of it.

*Flood*: thousands of strangers offer ten times what the backend takes. *Slow backend*: one of two becomes slow, dies,
and comes back cold. *Hanging filter*: an engine takes connections and never answers. Each prints its figures and
whether its bounds hold; ends with 1 where one does not. Everything is on loopback, bounded in number and in time;
clients and servers live in one process beside the gateway, so both share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import attrs

from tests.real_kit import Gateway, free_port, small_message

MIB = 2**20
#: No two messages are the same: filters remember what they have seen.
NUMBERS = count()
#: Addresses of each class; strangers have thousands.
NETWORKS = {"trusted": "198.51.100", "known": "203.0.113"}
CLASSES = """
[classes.trusted]
client = ["198.51.100.0/24"]
[classes.known]
client = ["203.0.113.0/24"]
"""


class Sink:
    """A mail server that thinks for a while before it answers the end of data, or before each reply.

    :ivar most: connections at a time since `most` was set to 0
    :ivar opened: times at which connections came
    """

    def __init__(self, dot_s: float = 0.0, reply_s: float = 0.0) -> None:
        self.port = free_port()
        self.dot_s = dot_s
        self.reply_s = reply_s
        self.open = 0
        self.most = 0
        self.taken = 0
        self.opened: list[float] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=500)

    async def die(self) -> None:
        """Gone, with all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most = max(self.most, self.open)
        self.opened.append(time.monotonic())
        try:
            writer.write(b"220 sink.example.net ESMTP\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb not in (b"EHLO", b"QUIT") and self.reply_s:
                    await asyncio.sleep(self.reply_s)
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self.dot_s or self.reply_s)
                    self.taken += 1
                    writer.write(b"250 2.0.0 taken\r\n")
                elif verb == b"EHLO":
                    writer.write(b"250-sink.example.net\r\n250 PIPELINING\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 2.0.0 bye\r\n")
                    break
                else:
                    writer.write(b"250 2.0.0 ok\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()


@attrs.define
class Heard:
    """What became of one session.

    :ivar code: of the reply that ended it, with the command that it answered
    :ivar rcpt_s: until the reply to RCPT; `seconds`: until the last reply
    """

    name: str
    code: str = ""
    rcpt_s: float = 0.0
    seconds: float = 0.0
    at: float = 0.0


async def reply(reader: asyncio.StreamReader) -> str:
    """The last line of the next reply."""
    while True:
        line = (await asyncio.wait_for(reader.readline(), 60)).decode("latin-1")
        if not line:
            raise EOFError
        if line[3:4] != "-":
            return line


async def session(port: int, name: str, address: str, domain: str = "example.net") -> Heard:
    """One message of a client behind a load balancer."""
    heard = Heard(name, at=time.monotonic())
    stage = "connect"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        heard.code = "connect lost"
        return heard
    try:
        if address:
            writer.write(f"PROXY TCP4 {address} 192.0.2.25 40000 25\r\n".encode())
        steps = (
            ("greeting", b""),
            ("EHLO", b"EHLO client.example\r\n"),
            ("MAIL", b"MAIL FROM:<a@example.org>\r\n"),
            ("RCPT", f"RCPT TO:<b@{domain}>\r\n".encode()),
            ("DATA", b"DATA\r\n"),
            ("dot", small_message(next(NUMBERS))),
        )
        for stage, line in steps:
            writer.write(line)
            said = await reply(reader)
            if stage == "RCPT":
                heard.rcpt_s = time.monotonic() - heard.at
            heard.code = f"{said[:3]} {stage}"
            if said[0] not in "23":
                break
        writer.write(b"QUIT\r\n")
    except (OSError, EOFError, TimeoutError):
        heard.code = f"{stage} lost"
    finally:
        heard.seconds = time.monotonic() - heard.at
        writer.close()
    return heard


class Load:
    """Sessions that begin at a steady rate, whatever becomes of those before."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[Heard] = []
        self._running: set[asyncio.Task[None]] = set()
        self._number = 0

    def address(self, name: str) -> str:
        """The next client of a class."""
        self._number += 1
        if name in NETWORKS:
            return f"{NETWORKS[name]}.{self._number % 200 + 1}"
        return f"10.{self._number >> 16 & 127}.{self._number >> 8 & 255}.{self._number & 255}"

    async def run(self, name: str, rate: float, seconds: float, domain: str = "example.net") -> None:
        """So many a second, for so long."""
        end, due = time.monotonic() + seconds, time.monotonic()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(name, domain))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            due += 1 / rate

    async def _one(self, name: str, domain: str) -> None:
        address = self.address(name) if name != "plain" else ""
        self.heard.append(await session(self.port, name, address, domain))

    async def done(self, seconds: float = 60.0) -> None:
        """Until all are over."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)


def p99(values: list[float]) -> float:
    """99 of 100 are no larger."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))] if values else 0.0


def resident(pid: int) -> int:
    """Memory of a process, octets."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0


class Table:
    """The figures, and whether the bounds hold."""

    def __init__(self) -> None:
        self.failed = 0

    def row(self, what: str, figure: str, holds: bool | None = None) -> None:
        """One figure."""
        mark = "" if holds is None else "ok" if holds else "NOT MET"
        self.failed += holds is False
        print(f"{what:62} {figure:>34}  {mark}", flush=True)


def times(heard: list[Heard], name: str, code: str = "250 dot") -> list[float]:
    """How long the sessions of a class took that ended so."""
    return [one.seconds for one in heard if one.name == name and one.code == code]


async def flood(folder: Path, table: Table) -> None:
    """Strangers offer ten times what the backend takes."""
    slots, dot_s = 10, 0.3
    capacity = slots / dot_s
    sink = Sink(dot_s)
    await sink.start()
    gate = Gateway(
        folder,
        f"""
local_domains = ["example.net"]
[limits]
connections = 1000
[listeners.front]
listen = "tcp:0:interface=127.0.0.1"
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{sink.port}"]
tls = "off"
max_connections = {slots}
client_info = "off"
[[routes]]
backend = "mail"
{CLASSES}""",
    )
    try:
        await asyncio.to_thread(gate.ready)
        port = gate.port()
        idle = Load(port)
        await asyncio.gather(idle.run("trusted", 4, 8), idle.run("known", 4, 8))
        await idle.done()
        base = {name: p99(times(idle.heard, name)) for name in NETWORKS}
        before, most = resident(gate.pid), 0
        load = Load(port)
        seconds = 20.0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, resident(gate.pid))
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        await asyncio.gather(
            load.run("unknown", 10 * capacity, seconds),
            load.run("trusted", 4, seconds),
            load.run("known", 4, seconds),
        )
        ended = time.monotonic()
        await load.done()
        watching.cancel()
        calm = Load(port)
        recovered = 60.0
        while time.monotonic() - ended < 60:
            one = await session(port, "unknown", calm.address("unknown"))
            if one.code == "250 dot" and one.seconds < 3 * base["known"] + 2.5:
                recovered = time.monotonic() - ended
                break
        offered = sum(1 for one in load.heard if one.name == "unknown")
        table.row("flood: strangers offered, a second (the backend takes)", f"{offered / seconds:.0f} ({capacity:.0f})")
        for name in NETWORKS:
            of_class = [one for one in load.heard if one.name == name]
            refused = [one.code for one in of_class if one.code != "250 dot"]
            table.row(f"flood: {name}: refused of {len(of_class)}", f"{dict(Counter(refused))}", not refused)
            now = p99(times(load.heard, name))
            figure = f"{base[name] * 1000:.0f} / {now * 1000:.0f} ms ({now / base[name]:.2f})"
            table.row(f"flood: {name}: p99 of a session, idle / flood (at most 2)", figure, now <= 2 * base[name])
        codes = Counter(one.code for one in load.heard if one.name == "unknown")
        unclear = sum(count for code, count in codes.items() if code[0] not in "24")
        table.row("flood: strangers heard", f"{dict(codes.most_common(5))}", not unclear)
        table.row(
            "flood: memory of the gateway over rest", f"{(most - before) / MIB:.1f} MiB", most - before < 64 * MIB
        )
        table.row("flood: a stranger is served again after", f"{recovered:.1f} s", recovered < 60)
        table.row("flood: most connections at the backend", f"{sink.most}", sink.most <= slots + 1)
    finally:
        gate.stop()
        await sink.die()


async def slow_backend(folder: Path, table: Table) -> None:
    """One of two backends becomes slow, dies, and is back cold."""
    slots = 20
    bad, good = Sink(reply_s=0.005), Sink(reply_s=0.005)
    for sink in (bad, good):
        await sink.start()
    parts = "".join(
        f"""
[backends.{name}]
servers = ["127.0.0.1:{sink.port}"]
tls = "off"
max_connections = {slots}
slow_start = "10s"
probe = "1s"
[[routes]]
recipient = ["{name}.example"]
backend = "{name}"
"""
        for name, sink in (("bad", bad), ("good", good))
    )
    gate = Gateway(
        folder,
        f"""
local_domains = ["bad.example", "good.example"]
[listeners.front]
listen = "tcp:0:interface=127.0.0.1"
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
{parts}{CLASSES}""",
    )
    try:
        await asyncio.to_thread(gate.ready)
        port = gate.port()
        phases: dict[str, Load] = {}
        for phase, seconds in (("healthy", 8.0), ("slow", 20.0), ("dead", 8.0), ("back", 14.0)):
            if phase == "slow":
                bad.reply_s = 5.0
            elif phase == "dead":
                await bad.die()
            elif phase == "back":
                bad.reply_s = 0.005
                bad.most, bad.opened = 0, []
                returned = time.monotonic()
                await bad.start()
            load = phases[phase] = Load(port)
            await asyncio.gather(
                load.run("known", 20, seconds, "bad.example"), load.run("trusted", 20, seconds, "good.example")
            )
            if phase != "slow":
                await load.done()
        await phases["slow"].done()
        healthy = statistics.median(times(phases["healthy"].heard, "trusted"))
        for phase in ("slow", "dead", "back"):
            heard = phases[phase].heard
            now = statistics.median(times(heard, "trusted"))
            lost = [one.code for one in heard if one.name == "trusted" and one.code != "250 dot"]
            figure = f"{healthy * 1000:.1f} / {now * 1000:.1f} ms ({now / healthy:.2f})"
            holds = now <= 1.1 * healthy + 0.002 and not lost
            table.row(f"slow backend, {phase}: other backend's p50, before / now", figure, holds)
            # What the server itself makes of MAIL and RCPT comes on top of the wait for its slot.
            waits = [one.rcpt_s for one in heard if one.name == "known" and one.code == "451 RCPT"]
            figure = f"{max(waits, default=0.0):.1f} s of {len(waits)}"
            table.row(f"slow backend, {phase}: longest until 451 at RCPT", figure, max(waits, default=0.0) < 6.5)
            codes = Counter(one.code for one in heard if one.name == "known")
            table.row(f"slow backend, {phase}: its own sessions heard", f"{dict(codes.most_common(4))}")
        first = sum(1 for at in bad.opened if at - returned < 1.0)
        table.row("slow backend, back: connections in its first second", f"{first}", first <= 30)
        table.row("slow backend, back: most at a time", f"{bad.most} of {slots}", bad.most <= slots)
        tail = [one for one in phases["back"].heard if one.name == "known"][-40:]
        works = sum(one.code == "250 dot" for one in tail)
        table.row("slow backend, back: delivered of its last 40", f"{works}", works == len(tail))
    finally:
        gate.stop()
        await bad.die()
        await good.die()


async def hanging_filter(folder: Path, table: Table) -> None:
    """An engine that works, and then takes connections and never answers; the same mail in both times."""
    sink = Sink()
    await sink.start()
    port = free_port()
    hangs = False

    async def scan(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            end = b""
            while chunk := await reader.read(65536):
                end = (end + chunk)[-4:]
                if end == bytes(4) and not hangs:
                    writer.write(b"stream: OK\0")
                    await writer.drain()
        writer.close()

    engine = await asyncio.start_server(scan, "127.0.0.1", port, backlog=200)
    gate = Gateway(
        folder,
        f"""
local_domains = ["example.net"]
[limits]
connections_per_client = 5000
[listeners.front]
listen = "tcp:0:interface=127.0.0.1"
tls = "off"
proxy_protocol_from = ["127.0.0.1"]
[listeners.out]
listen = "tcp:0:interface=127.0.0.1"
tls = "off"
role = "submission"
relay_from = ["127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{sink.port}"]
tls = "off"
[[routes]]
backend = "mail"
[[filters]]
use = "clamd"
roles = ["mx"]
slots = 10
on_error = "tempfail"
options = {{ servers = ["127.0.0.1:{port}"] }}
{CLASSES}""",
    )
    try:
        await asyncio.to_thread(gate.ready)
        medians: list[float] = []
        for hangs in (False, True):
            busy, beside = Load(gate.port()), Load(gate.port("out"))
            await asyncio.gather(busy.run("known", 10, 15), beside.run("plain", 20, 15))
            await busy.done(90)
            await beside.done()
            codes = Counter(one.code for one in busy.heard)
            state, word = ("hanging", "451 dot") if hangs else ("working", "250 dot")
            table.row(f"{state} filter: its messages heard", f"{dict(codes.most_common(4))}", set(codes) == {word})
            longest = max(one.seconds for one in busy.heard)
            table.row(f"{state} filter: longest of these", f"{longest:.1f} s", longest < (46 if hangs else 5))
            lost = [one.code for one in beside.heard if one.code != "250 dot"]
            table.row(f"{state} filter: refused of {len(beside.heard)} beside it", f"{len(lost)}", not lost)
            medians.append(statistics.median(times(beside.heard, "plain")))
        before, now = medians
        figure = f"{before * 1000:.1f} / {now * 1000:.1f} ms ({now / before:.2f})"
        table.row("hanging filter: messages beside it, p50 before / now", figure, now <= 1.1 * before + 0.001)
    finally:
        gate.stop()
        engine.close()
        await sink.die()


SCENES: dict[str, Callable[[Path, Table], Awaitable[None]]] = {
    "flood": flood,
    "slow-backend": slow_backend,
    "hanging-filter": hanging_filter,
}


def main() -> int:
    """Play the scenes."""
    parser = argparse.ArgumentParser(prog="make flood", description=__doc__)
    parser.add_argument("scenes", nargs="*", default=list(SCENES), help="of " + ", ".join(SCENES))
    table = Table()
    for name in parser.parse_args().scenes:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(SCENES[name](Path(folder), table))
    print(f"{table.failed} bounds not met", flush=True)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
