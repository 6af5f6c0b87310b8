"""Restarts and reloads under steady load, with a service manager that holds the sockets.

`Holder` does what systemd does for a service with socket units: it listens, hands the sockets over (LISTEN_FDS), waits
for READY, and has the gateway stopped and started anew. `Steady` is mail at a steady rate by clients that come again.
`trial` is the whole: so many restarts, so many reloads, and what was seen of them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import attrs

from tests.real_kit import GATE, Background, FastServer, Gateway, Load, Process, small_id, until

#: A start, a drain and a reload have so long; each is a matter of seconds on a machine that is free.
PATIENCE_S = 120.0
#: What stands between the manager's fork and the gateway: descriptors from 3 on, and whose they are.
_HAND_OVER = """
import os, sys
count = int(sys.argv[1])
given = [os.dup(int(text)) for text in sys.argv[2:2 + count]]
high = [os.dup2(fd, 100 + at) for at, fd in enumerate(given)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at)
os.closerange(3 + count, 256)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(count)
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


class Holder:
    """A service manager with one service, which is a gateway.

    :ivar sockets: by the name that each is handed over under
    """

    def __init__(self, folder: Path, config: str, sockets: dict[str, socket.socket]) -> None:
        """
        :param config: as for `real_kit.Gateway`
        """
        self.folder = folder
        self.sockets = sockets
        self.config = folder / "gate.toml"
        self.write(config)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.place = str(folder / "notify")
        self.notify.bind(self.place)
        self.notify.setblocking(False)
        self._heard: list[str] = []
        self.process: Process | None = None

    def write(self, config: str) -> None:
        """Write the configuration file."""
        self.config.write_text(
            f'hostname = "{GATE}"\nstate_dir = "{self.folder / "var"}"\n{config}\n[admin]\nlisten = "off"\n'
        )

    def start(self) -> float:
        """Start the gateway, and wait until it is ready; seconds that it took."""
        began = time.monotonic()
        numbers = [sock.fileno() for sock in self.sockets.values()]
        twistd = (Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "smtpgate", "--config", self.config)
        self._hear()
        self._heard.clear()
        self.process = Process(
            self.folder,
            "gateway",
            *(sys.executable, "-S", "-c", _HAND_OVER, len(numbers), *numbers, *twistd),
            env={"LISTEN_FDNAMES": ":".join(self.sockets), "NOTIFY_SOCKET": self.place},
            pass_fds=numbers,
        )
        self._await("READY=1")
        return time.monotonic() - began

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._heard += self.notify.recv(4096).decode().split("\n")

    def _await(self, word: str) -> None:
        def said() -> bool:
            assert self.process is not None
            self._hear()
            if word not in self._heard and self.process.popen.poll() is not None:
                raise AssertionError(f"it ended with {self.process.popen.returncode}:\n{self.process.text()[-3000:]}")
            return word in self._heard

        until(said, word, PATIENCE_S)

    def stop(self) -> float:
        """Stop it as systemd does, and wait for its end; seconds that it took. AssertionError unless it ends with 0."""
        assert self.process is not None
        began = time.monotonic()
        self.process.signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"it ended with {code}:\n{self.process.text()[-3000:]}"
        return time.monotonic() - began

    def reload(self) -> float:
        """Have it read its file anew; seconds until it says that it did."""
        assert self.process is not None
        self._hear()
        self._heard.clear()
        began = time.monotonic()
        self.process.signal(signal.SIGHUP)
        self._await("READY=1")
        assert "RELOADING=1" in self._heard, self._heard
        return time.monotonic() - began

    def close(self) -> None:
        """End all of it."""
        if self.process is not None:
            self.process.stop()
        self.notify.close()
        for sock in self.sockets.values():
            sock.close()


class Steady(Load):
    """Mail at a steady rate until `finish`.

    :ivar connects_refused: connects that the kernel refused
    :ivar longest_s: the longest pause between two acknowledgements
    """

    def __init__(self, port: int, per_second: float) -> None:
        super().__init__(port, 0)
        # One that is never sent: the clients go on until `finish`.
        self.open = 1
        self.count = 0
        self.connects_refused = 0
        self.longest_s = 0.0
        self._last = 0.0
        self._per_second = per_second
        self._is_over = False
        self.on_ack = self._acknowledged

    def _acknowledged(self, _: int) -> None:
        now = time.monotonic()
        if self._last:
            self.longest_s = max(self.longest_s, now - self._last)
        self._last = now

    async def feed(self) -> None:
        """Give out work at the rate; what was missed in a busy moment is made up for."""
        began = time.monotonic()
        while not self._is_over:
            while self.count < (time.monotonic() - began) * self._per_second:
                self.queue.append(self.count)
                self.open += 1
                self.count += 1
            await asyncio.sleep(0.01)
        self.open -= 1

    def finish(self) -> None:
        """No more is given out; `run` ends when all is acknowledged."""
        self._is_over = True

    async def run(self, connections: int) -> None:
        """All of it."""
        await asyncio.gather(self.feed(), super().run(connections))

    async def client(self, is_pipelining: bool) -> None:
        """As `Load`'s; a refused connect is counted, and tried again."""
        while self.open:
            try:
                await super().client(is_pipelining)
            except ConnectionRefusedError:
                self.connects_refused += 1
                await asyncio.sleep(0.01)


@attrs.define
class Seen:
    """What became of it.

    :ivar acknowledged: messages; all were in the end
    :ivar lost: acknowledged and not at the server
    :ivar duplicated: more than once at the server
    :ivar refused: connects that were refused
    :ivar answers: replies that put a client off, by command and code
    :ivar ended: connections that the gateway ended, with 421 or without a word
    :ivar longest_s: the longest pause between two acknowledgements
    :ivar applied: configurations that were put to work
    """

    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    refused: int = 0
    ended: int = 0
    answers: dict[tuple[str, str], int] = attrs.field(factory=dict)
    stops_s: list[float] = attrs.field(factory=list)
    starts_s: list[float] = attrs.field(factory=list)
    reloads_s: list[float] = attrs.field(factory=list)
    longest_s: float = 0.0
    applied: int = 0
    faults: list[dict[str, object]] = attrs.field(factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing lost, twice or refused; each reload was put to work; no fault in the log."""
        bad = self.lost or self.duplicated or self.refused or self.faults
        return not bad and self.acknowledged > 0 and self.applied == len(self.reloads_s) + len(self.starts_s)

    def lines(self) -> Iterator[str]:
        """The figures, for whoever reads them."""
        yield (
            f"{self.acknowledged} messages acknowledged; {self.lost} lost, {self.duplicated} duplicated, "
            f"{self.refused} connects refused"
        )
        for what, times in (("stop", self.stops_s), ("start", self.starts_s), ("reload", self.reloads_s)):
            if times:
                median = sorted(times)[len(times) // 2]
                yield f"{len(times)} times {what}: median {median:.2f} s, longest {max(times):.2f} s"
        told = ", ".join(f"{code.strip()} to {verb}: {count}" for (verb, code), count in sorted(self.answers.items()))
        yield f"longest pause {self.longest_s:.2f} s; replies that put off: {told or 'none'}"
        yield f"{self.ended} connections ended; {self.applied} times put to work; {len(self.faults)} faults in the log"


def text(server: FastServer, recipients: int) -> str:
    """The configuration; `recipients` is what a reload changes."""
    return f"""
local_domains = ["example.net"]
[limits]
recipients = {recipients}
[listeners.front]
listen = ["systemd:domain=INET:name=front"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{server.port}"]
tls = "off"
[[routes]]
backend = "mail"
"""


@contextmanager
def _server() -> Iterator[tuple[Background, FastServer]]:
    with closing(Background()) as background:
        server = FastServer(0.004)
        background.do(server.start())
        try:
            yield background, server
        finally:
            background.loop.call_soon_threadsafe(server.close)


def trial(
    folder: Path,
    restarts: int,
    reloads: int,
    *,
    per_second: float,
    connections: int,
    told: Callable[[str], None] = lambda line: None,
) -> Seen:
    """So many of each, spread over each other, under load; what was seen."""
    seen = Seen()
    with _server() as (background, server):
        front = socket.create_server(("127.0.0.1", 0), backlog=1024)
        holder = Holder(folder, text(server, 500), {"front": front})
        with closing(holder):
            seen.starts_s.append(holder.start())
            load = Steady(front.getsockname()[1], per_second)
            running = background.begin(load.run(connections))
            done = 0
            for number in range(restarts + reloads):

                def goes_on(count: int = len(load.acked)) -> bool:
                    if running.done():
                        running.result()
                    return len(load.acked) >= count + 2 * connections

                until(goes_on, "mail goes on", PATIENCE_S)
                if (number + 1) * restarts // (restarts + reloads) > done:
                    done += 1
                    seen.stops_s.append(holder.stop())
                    seen.starts_s.append(holder.start())
                    told(f"restart {done}: {seen.stops_s[-1]:.2f} s to stop, {seen.starts_s[-1]:.2f} s to start")
                else:
                    holder.write(text(server, 501 + number))
                    seen.reloads_s.append(holder.reload())
            load.finish()
            running.result(PATIENCE_S)
            holder.stop()
            log = Gateway.__new__(Gateway)
            assert holder.process is not None
            log.output = holder.process.output
            seen.faults = [*log.crashed(), *log.events("config.reload_failed")]
            seen.applied = len(log.events("config.applied"))
        taken = dict(server.taken)
    seen.acknowledged = len(load.acked)
    seen.lost = sum(small_id(number) not in taken for number in load.acked)
    seen.duplicated = sum(count > 1 for count in taken.values())
    seen.refused = load.connects_refused
    seen.ended = load.lost_connections
    seen.answers = dict(load.refused)
    seen.longest_s = load.longest_s
    return seen
