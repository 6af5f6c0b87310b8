"""What a flood on the admin side costs the mail: `python -m tests.bench.admin_flood [--rounds N] [--seconds S]`.

Clients send mail as fast as the gateway takes it. In every second round strangers and programs besiege its admin door:
a thousand requests a second are offered, over kept and over new connections (pages, searches, exports, files,
nonsense), a hundred readers ask for the stream of events, and passwords are guessed. In the rounds between, the same
flood goes to a small server beside it, so the machine is as busy in all of them.

Then the same at a rate that leaves the gateway time: a third of what it took, or `--part` of it.

The gateway has the first half of the processors, and all else the other half.

Figures, of the rounds with the flood against those without: messages a second; CPU seconds of the gateway for a
thousand messages (with all its threads and children); the lag of the reactor at the 99th percentile, from the
gateway's own histogram; and how long a client waits for the reply to a message. Everything is on loopback, and bounded
in number and in time. Ends with 1 where the first is under 0.95 of what it is without, or the lag at the rate over
20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import mmap
import os
import random
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import attrs

from tests.bench.processes import Forked, Tree, free_ports
from tests.real_kit import FastServer, reply_of

RATE = 1000
READERS = 100
CONNECTIONS = 400
#: A token may have six streams: so many tokens read.
TOKENS = 17
MAIL_CLIENTS = 16
#: At a rate there are so many, so that the rate does not hang on how soon each is answered.
PACED_CLIENTS = 64
WARM_UP = 2000
HEARD = ("offered", "sent", "answered", "shed", "cut", "events")
#: Seconds from the end of a message to its reply.
EDGES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, float("inf"))
LEAST_PART = 0.95
MOST_LAG_MS = 20.0

CONFIG = """
hostname = "gate.example.com"
state_dir = "{state}"
local_domains = ["example.net"]
[admin]
listen = "tcp:{admin}:interface=127.0.0.1"
[listeners.mx]
listen = ["tcp:{mx}:interface=127.0.0.1"]
[backends.sink]
servers = ["127.0.0.1:{sink}"]
tls = "off"
[[routes]]
backend = "sink"
"""

HEAD = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: no. %d\r\nMessage-ID: <%d@b>\r\n\r\n"
BODY = b"a line of a message of two kilobytes, as most mail between people has it\r\n" * 26


class Counted:
    """Numbers that processes share."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._map = mmap.mmap(-1, 8 * len(names))

    def add(self, name: str, more: int = 1) -> None:
        """So many more; one process writes each number."""
        at = 8 * self._names.index(name)
        self._map[at : at + 8] = (self[name] + more).to_bytes(8, "little")

    def __getitem__(self, name: str) -> int:
        at = 8 * self._names.index(name)
        return int.from_bytes(self._map[at : at + 8], "little")


class Setting(Counted):
    """One number that one process sets for the others."""

    def set(self, name: str, value: int) -> None:
        """From now on."""
        self.add(name, value - self[name])


class Switch(Setting):
    """Where the flood goes: 0 nowhere, 1 to the gateway, 2 to the stand-in."""

    def __init__(self) -> None:
        super().__init__("place")

    @property
    def place(self) -> int:
        """Where it goes now."""
        return self["place"]


def _loop(work: Any) -> Any:
    def run() -> None:
        asyncio.run(work())

    return run


# The mail


def sink(server: FastServer) -> Any:
    """A mail server that takes everything at once."""

    async def work() -> None:
        server.take = lambda content: None  # type: ignore[method-assign]
        await server.start()
        await asyncio.Event().wait()

    return _loop(work)


def mail(port: int, taken: Counted, rate: Counted) -> Any:
    """Clients that send as fast as they are answered, or at a rate, ten messages a session."""
    chance = random.Random(1)

    async def session(numbers: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reply_of(reader)
            writer.write(b"EHLO client.example.org\r\n")
            await reply_of(reader)
            for _ in range(10):
                if rate["rate"]:
                    await asyncio.sleep(chance.expovariate(rate["rate"] / PACED_CLIENTS))
                number = next(numbers)
                writer.write(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
                replies = [await reply_of(reader) for _ in range(3)]
                if not replies[2].startswith("354"):
                    taken.add("refused")
                    return
                began = time.monotonic()
                writer.write(HEAD % (number, number) + BODY + b".\r\n")
                taken.add("sent" if (await reply_of(reader)).startswith("250") else "refused")
                took = time.monotonic() - began
                taken.add(f"under {next(edge for edge in EDGES if took <= edge)}")
            writer.write(b"QUIT\r\n")
            await reply_of(reader)
        finally:
            writer.close()

    async def client(numbers: Any, is_more: bool) -> None:
        while True:
            if is_more and not rate["rate"]:
                await asyncio.sleep(0.2)
                continue
            try:
                await session(numbers)
            except (OSError, asyncio.IncompleteReadError):
                taken.add("refused")
                await asyncio.sleep(0.05)

    async def work() -> None:
        numbers = count()
        await asyncio.gather(*(client(numbers, one >= MAIL_CLIENTS) for one in range(PACED_CLIENTS)))

    return _loop(work)


# The flood


def paths(token: str) -> Sequence[tuple[str, str, Mapping[str, str], bytes]]:
    """What is asked: method, path, headers, body."""
    bearer = {"Authorization": f"Bearer {token}"}
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://localhost"}
    return (
        ("GET", "/api/v1/overview", bearer, b""),
        ("GET", "/api/v1/messages?q=from:a@example.org%20-subject:nothing", bearer, b""),
        ("GET", "/api/v1/messages?q=*ample*&limit=500", bearer, b""),
        ("GET", "/api/v1/sessions", bearer, b""),
        ("GET", "/api/v1/stats/series", bearer, b""),
        ("GET", "/api/v1/backends", bearer, b""),
        ("GET", "/api/v1/audit?limit=500", bearer, b""),
        ("GET", "/metrics", bearer, b""),
        ("GET", "/api/v1/openapi.json", bearer, b""),
        ("GET", "/messages", {}, b""),
        ("GET", "/login", {}, b""),
        ("GET", "/nothing/here", {}, b""),
        ("GET", "/api/v1/messages", {"Authorization": "Bearer sgt_00000000_wrong"}, b""),
        ("POST", "/login", form, b"name=owner&password=guess"),
    )


def flood(switch: Switch, places: Mapping[int, int], tokens: Sequence[str], heard: Counted, only: str) -> Any:
    """A thousand requests a second are sent, over kept and over new connections, and a hundred readers.

    Those that keep their connection do not wait for an answer before they ask again, so a gateway that is slow to
    answer is not spared.
    """

    def octets_of(request: tuple[str, str, Mapping[str, str], bytes], close: bool) -> bytes:
        method, path, headers, body = request
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head += [f"Content-Length: {len(body)}"] if body else []
        head += ["Connection: close"] if close else []
        return "\r\n".join([*head, "", ""]).encode() + body

    async def answers(reader: asyncio.StreamReader, one: bool) -> None:
        """Read what comes back, until the connection ends."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            while True:
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                length = re.search(rb"(?i)content-length: *(\d+)", answer)
                if length:
                    await asyncio.wait_for(reader.readexactly(int(length[1])), 20)
                heard.add("answered")
                if answer.split(None, 2)[1] in (b"429", b"503"):
                    heard.add("shed")
                if one:
                    return
        heard.add("cut")

    async def connect(chance: random.Random) -> tuple[Any, Any]:
        source = f"127.0.{chance.randrange(3)}.{chance.randrange(2, 9)}"
        return await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", places[switch.place], local_addr=(source, 0)), 5
        )

    async def keeper(chance: random.Random, due: asyncio.Queue[int]) -> None:
        """One that keeps its connection and asks without waiting for answers, or makes a new one for each request."""
        keeps = chance.random() < 0.7
        pair: tuple[Any, Any] | None = None
        hearer: asyncio.Task[None] | None = None
        place = 0
        while True:
            await due.get()
            asked = [one for one in paths(chance.choice(tokens)) if only in one[1]]
            request = octets_of(chance.choice(asked), not keeps)
            try:
                if pair is None or place != switch.place or hearer is None or hearer.done():
                    if pair is not None:
                        pair[1].close()
                        pair = None
                    place = switch.place
                    if not place:
                        continue
                    pair = await connect(chance)
                    hearer = asyncio.create_task(answers(pair[0], not keeps))
                pair[1].write(request)
                heard.add("sent")
                if keeps:
                    await asyncio.wait_for(pair[1].drain(), 20)
                else:
                    await hearer
                    pair[1].close()
                    pair = None
            except (OSError, TimeoutError):
                heard.add("cut")
                if pair is not None:
                    pair[1].close()
                pair = None

    async def reader(number: int) -> None:
        """One that follows all events."""
        chance = random.Random(number)
        while True:
            if not switch.place:
                await asyncio.sleep(0.2)
                continue
            place, writer = switch.place, None
            try:
                reader, writer = await connect(chance)
                token = tokens[number % len(tokens)]
                head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
                writer.write(head.encode())
                while place == switch.place:
                    octets = await asyncio.wait_for(reader.read(65536), 20)
                    if not octets:
                        break
                    heard.add("events", octets.count(b"\nevent: "))
                    if b"HTTP/1.1 429" in octets:
                        await asyncio.sleep(1.0)
                        break
            except (OSError, TimeoutError):
                heard.add("cut")
            finally:
                if writer is not None:
                    writer.close()
            await asyncio.sleep(0.1)

    async def pace(due: asyncio.Queue[int]) -> None:
        """What is not taken in time is not offered again: a flood has no patience."""
        step = 0.02
        while True:
            await asyncio.sleep(step)
            for number in range(int(RATE * step)):
                if switch.place and not due.full():
                    due.put_nowait(number)
                    heard.add("offered")

    async def work() -> None:
        due: asyncio.Queue[int] = asyncio.Queue(int(RATE * 0.2))
        workers = [keeper(random.Random(number), due) for number in range(CONNECTIONS)]
        await asyncio.gather(pace(due), *workers, *(reader(number) for number in range(READERS)))

    return _loop(work)


def stand_in(port: int) -> Any:
    """A server that says 429 to all, and keeps the lines of readers."""
    refusal = b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"Content-Length: (\d+)", head)
                if length:
                    await reader.readexactly(int(length[1]))
                writer.write(refusal)
                if b"Connection: close" in head:
                    break
        writer.close()

    async def work() -> None:
        await asyncio.start_server(serve, "127.0.0.1", port, backlog=200)
        await asyncio.Event().wait()

    return _loop(work)


# What is measured


class Unix(http.client.HTTPConnection):
    """The local door, which no flood reaches."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


@attrs.frozen
class Reading:
    """The state of all counters at one time."""

    at: float
    sent: int
    refused: int
    cpu_s: float
    lag: Mapping[float, float]
    replies: Mapping[float, float]
    heard: Mapping[str, int]


def lag_of(socket_path: Path) -> Mapping[float, float]:
    """The gateway's histogram of its lag: how many looks were at most so late."""
    line = Unix(socket_path)
    line.request("GET", "/metrics")
    text = line.getresponse().read().decode()
    line.close()
    found = re.findall(r'smtpgate_reactor_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    return {float(edge): float(number) for edge, number in found}


def new_token(socket_path: Path, name: str) -> str:
    """Something to log in with."""
    line = Unix(socket_path)
    body = json.dumps({"name": name, "role": "owner"})
    line.request("POST", "/api/v1/tokens", body, {"Content-Type": "application/json"})
    answer = json.loads(line.getresponse().read())
    line.close()
    return str(answer["token"])


def percentile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float:
    """As Prometheus' histogram_quantile: linear within the bucket."""
    counts = {edge: after[edge] - before[edge] for edge in sorted(after)}
    total = counts[float("inf")]
    low_edge, low = 0.0, 0.0
    for edge, number in counts.items():
        if total and number >= part * total:
            if edge == float("inf"):
                return low_edge
            return low_edge + (edge - low_edge) * (part * total - low) / (number - low)
        low_edge, low = edge, number
    return 0.0


def _of_all(counts: Mapping[tuple[int, str, float], float], place: int, name: str) -> float:
    """The 99th percentile of all rounds together."""
    found = {edge: count for (where, what, edge), count in counts.items() if (where, what) == (place, name)}
    return percentile(dict.fromkeys(found, 0.0), found, 0.99)


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say by the exit code whether it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="rounds with the flood, and as many without")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round")
    parser.add_argument("--part", type=float, default=0.35, help="the paced mail's part of what the gateway takes")
    parser.add_argument("--only", default="", help="a part of the paths that are asked, as /login")
    parser.add_argument("--profile", help="write a profile of the gateway there (cProfile, twistd --profile)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sg-") as name, contextlib.ExitStack() as ends:
        return _run(Path(name), given, ends)


def _run(folder: Path, given: Any, ends: contextlib.ExitStack) -> int:
    admin, mx, other = free_ports(3)
    server = FastServer()
    config = folder / "gate.toml"
    config.write_text(CONFIG.format(state=folder / "var", admin=admin, mx=mx, sink=server.port))
    taken = Counted("sent", "refused", *(f"under {edge}" for edge in EDGES))
    heard = Counted(*HEARD)
    pace = Setting("rate")
    switch = Switch()
    program = Path(sys.executable).parent
    cpus = sorted(os.sched_getaffinity(0))

    def start(work: Any) -> None:
        """What is not the gateway gets the second half of the processors, so that it does not stand in its way."""

        def apart() -> None:
            os.sched_setaffinity(0, cpus[len(cpus) // 2 :])
            work()

        ends.callback(Forked(apart).stop)

    start(sink(server))
    profiled = ["--profile", given.profile, "--profiler", "cprofile", "--savestats"] if given.profile else []
    # It is not to be moved to and fro between what stands in its way and what does not.
    os.sched_setaffinity(0, cpus[: max(len(cpus) // 2, 1)])
    command = [str(program / "twistd"), *profiled, "-n", "--pidfile=", "smtpgate", "--config", str(config)]
    gateway = Tree(command, folder, {})
    ends.callback(gateway.stop)
    deadline = time.monotonic() + 60
    while "gateway.started" not in gateway.log.read_text():
        if not gateway.is_alive() or time.monotonic() > deadline:
            sys.exit(gateway.log.read_text()[-2000:])
        time.sleep(0.1)
    local = next((folder / "var").glob("*.sock"))
    tokens = [new_token(local, f"reader{one}") for one in range(TOKENS)]
    for work in (
        stand_in(other),
        flood(switch, {1: admin, 2: other}, tokens, heard, given.only),
        mail(mx, taken, pace),
    ):
        start(work)
    while taken["sent"] < WARM_UP:
        if time.monotonic() > deadline:
            sys.exit(gateway.log.read_text()[-2000:])
        time.sleep(0.1)

    def read() -> Reading:
        counts = {name: heard[name] for name in HEARD}
        replies = dict(zip(EDGES, accumulate(taken[f"under {edge}"] for edge in EDGES), strict=True))
        return Reading(
            time.monotonic(), taken["sent"], taken["refused"], gateway.cpu_s(), lag_of(local), replies, counts
        )

    row = "{:12} {:>8} {:>11} {:>11} {:>13}" + " {:>8}" * len(HEARD)
    print(row.format("", "mail/s", "CPU s/1000", "lag p99 ms", "reply p99 ms", *(f"{one}/s" for one in HEARD)))

    def rounds(word: str) -> Mapping[int, Mapping[str, float]]:
        """So many rounds with the flood, and as many without, in turn: the middle of each figure by place."""
        figures: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        all_of: dict[tuple[int, str, float], float] = {}
        for number in range(2 * given.rounds):
            place = 2 - number % 2
            switch.set("place", place)
            time.sleep(1.5)
            before = read()
            time.sleep(given.seconds)
            after = read()
            took, sent = after.at - before.at, after.sent - before.sent
            figure = {
                "rate": sent / took,
                "cpu": (after.cpu_s - before.cpu_s) / max(sent, 1) * 1000,
                "lag": percentile(before.lag, after.lag, 0.99) * 1000,
                "reply": percentile(before.replies, after.replies, 0.99) * 1000,
                "refused": after.refused - before.refused,
            }
            figures[place].append(figure)
            for name in ("lag", "reply"):
                told_of = {"lag": (before.lag, after.lag), "reply": (before.replies, after.replies)}[name]
                for edge in told_of[1]:
                    key = (place, name, edge)
                    all_of[key] = all_of.get(key, 0.0) + told_of[1][edge] - told_of[0][edge]
            told = (f"{(after.heard[one] - before.heard[one]) / took:.0f}" for one in HEARD)
            mail_s, cpu_s = f"{figure['rate']:.0f}", f"{figure['cpu']:.2f}"
            lag_ms, reply_ms = f"{figure['lag']:.1f}", f"{figure['reply']:.1f}"
            name = f"{word} {'flood' if place == 1 else 'quiet'}"
            print(row.format(name, mail_s, cpu_s, lag_ms, reply_ms, *told), flush=True)
        switch.set("place", 0)
        return {
            place: {name: statistics.median(one[name] for one in ones) for name in ("rate", "cpu")}
            | {"refused": sum(one["refused"] for one in ones)}
            | {name: 1000 * _of_all(all_of, place, name) for name in ("lag", "reply")}
            for place, ones in figures.items()
        }

    full = rounds("full")
    pace.set("rate", round(full[2]["rate"] * given.part))
    paced = rounds("paced")
    part = full[1]["rate"] / full[2]["rate"]
    print(f"messages a second, flood against quiet: {part:.3f}; at a rate of {pace['rate']}: ", end="")
    print(f"{paced[1]['rate'] / paced[2]['rate']:.3f}")
    for word, middle in (("as much as it takes", full), ("at the rate", paced)):
        print(f"{word}: CPU for a message {middle[1]['cpu'] / middle[2]['cpu']:.3f};", end=" ")
        for name, what in (("lag", "lag"), ("reply", "wait for a reply")):
            print(f"{what} p99 {middle[1][name]:.1f} ms in the flood, {middle[2][name]:.1f} ms without;", end=" ")
        print(f"mail refused or cut: {middle[1]['refused']:.0f} in the flood, {middle[2]['refused']:.0f} without")
    return int(part < LEAST_PART or paced[1]["lag"] > MOST_LAG_MS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
