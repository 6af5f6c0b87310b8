"""`make hostile`: each message made to hurt is sent through a gateway with its default filters, others' mail beside it.

A row for each: what was answered and after how long, the most memory of the gateway and of its child processes above
where they were, the longest time in which the reactor answered nobody (a session that says NOOP all the while), and the
longest small message of somebody else. Ends with 1 where a bound does not hold.
"""

from __future__ import annotations

import argparse
import smtplib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.hostile.samples import samples
from tests.real_kit import Background, FastServer, Gateway, small_message, smtp

#: The whole look at a message, with the wait for the verdict.
SECONDS = 20.0
#: Memory over what it was: of the gateway, and of all its children.
GATEWAY_MIB, CHILDREN_MIB = 64, 2 * 800
#: Nobody else waits longer for the reactor.
HELD_MS = 50.0

CONFIG = """
local_domains = ["example.net"]
filter_set = "default"
[limits]
header_size = "4 MiB"
line_length = "16 MiB"
junk = 1000000
[listeners.front]
listen = "tcp:0:interface=127.0.0.1"
[backends.mail]
servers = "127.0.0.1:{port}"
tls = "off"
client_info = "off"
[[routes]]
backend = "mail"
[resolver]
servers = ["127.0.0.1:{dead}"]
timeout = "100ms"
"""


@attrs.define
class Row:
    """What one message did."""

    name: str
    octets: int
    reply: str
    seconds: float
    gateway_mib: float
    children_mib: float
    held_ms: float
    others_ms: float

    def broken(self) -> str:
        """The bound that does not hold, if any."""
        if not self.reply.startswith(("2", "4", "5")):
            return "no reply"
        if self.seconds > SECONDS:
            return "too slow"
        if self.gateway_mib > GATEWAY_MIB or self.children_mib > CHILDREN_MIB:
            return "too much memory"
        return "reactor held" if self.held_ms > HELD_MS else ""


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages / 256


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, task.read_text().split())
        except OSError:
            continue


class Watch:
    """Looks at memory and at how others fare while something goes on."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid, self._port = pid, port
        self._is_over = threading.Event()
        self.gateway_mib = self.children_mib = 0.0
        self.noops: list[float] = []
        self.messages: list[float] = []
        self._threads = [threading.Thread(target=work) for work in (self._memory, self._noop, self._mail)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _memory(self) -> None:
        while not self._is_over.wait(0.01):
            self.gateway_mib = max(self.gateway_mib, _resident_mib(self._pid))
            self.children_mib = max(self.children_mib, sum(map(_resident_mib, _children(self._pid))))

    def _noop(self) -> None:
        with smtp(self._port, "127.0.0.2") as client:
            client.ehlo()
            while True:
                began = time.monotonic()
                client.noop()
                self.noops.append(time.monotonic() - began)
                if self._is_over.wait(0.004):
                    return

    def _mail(self) -> None:
        with smtp(self._port, "127.0.0.3") as client:
            client.ehlo()
            for number in range(1_000_000):
                began = time.monotonic()
                client.sendmail("c@example.org", ["d@example.net"], small_message(number)[:-5])
                self.messages.append(time.monotonic() - began)
                if self._is_over.wait(0.05):
                    return


def send(port: int, content: bytes) -> str:
    """One message; the reply."""
    client = smtp(port)
    try:
        client.sendmail("a@example.org", ["b@example.net"], content, ["BODY=8BITMIME"])
        return "250"
    except smtplib.SMTPDataError as error:
        return f"{error.smtp_code} {bytes(error.smtp_error).decode('ascii', 'replace')}"
    except (smtplib.SMTPException, OSError) as error:
        return f"broken: {error!r}"
    finally:
        client.close()


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser("python -m tests.hostile")
    parser.add_argument("only", nargs="*", help="names of messages")
    wanted = parser.parse_args().only
    background = Background()
    server = FastServer()
    background.do(server.start())
    rows = []
    with tempfile.TemporaryDirectory(prefix="smtpgate-hostile-") as folder:
        gateway = Gateway(Path(folder), CONFIG.format(port=server.port, dead=9))
        try:
            gateway.ready()
            port = gateway.port()
            send(port, small_message(0)[:-5])
            with Watch(gateway.pid, port) as calm:
                time.sleep(1)
            base, base_children = _resident_mib(gateway.pid), sum(map(_resident_mib, _children(gateway.pid)))
            print(
                f"idle: gateway {base:.0f}, children {base_children:.0f} MiB; at most {_ms(calm.noops):.1f} ms for a "
                f"command, {_ms(calm.messages):.1f} ms for a small message\n"
            )
            print(
                f"{'message':22}{'KiB':>7}{'s':>7}{'gateway':>9}{'children':>9}{'held ms':>9}{'others ms':>10}  reply"
            )
            for name, content in samples():
                if wanted and name not in wanted:
                    continue
                with Watch(gateway.pid, port) as watch:
                    began = time.monotonic()
                    reply = send(port, content)
                    took = time.monotonic() - began
                rows.append(
                    Row(
                        name,
                        len(content),
                        reply,
                        took,
                        watch.gateway_mib - base,
                        watch.children_mib - base_children,
                        _ms(watch.noops),
                        _ms(watch.messages),
                    )
                )
                row = rows[-1]
                print(
                    f"{name:22}{row.octets / 1024:7.0f}{took:7.2f}{row.gateway_mib:+9.0f}{row.children_mib:+9.0f}"
                    f"{row.held_ms:9.1f}{row.others_ms:10.1f}  {reply[:70]} {row.broken().upper()}",
                    flush=True,
                )
            crashed = gateway.crashed()
        finally:
            gateway.stop()
            background.do(_close(server))
            background.close()
    bad = [row for row in rows if row.broken()]
    print(
        f"\n{len(rows)} messages, {len(bad)} over a bound, {len(crashed)} faults in the log; median time "
        f"{statistics.median(row.seconds for row in rows):.2f} s, longest {max(row.seconds for row in rows):.2f} s, "
        f"reactor held {max(row.held_ms for row in rows):.0f} ms at most"
    )
    return 1 if bad or crashed else 0


async def _close(server: FastServer) -> None:
    server.close()


def _ms(times: list[float]) -> float:
    return max(times, default=0.0) * 1000


if __name__ == "__main__":
    sys.exit(main())
