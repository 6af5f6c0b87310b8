"""`make bench-filters`: what the checks of senders, attachments and links cost, beside Haraka and Postfix with rspamd.

Every server gets the same mail (`mail_mix`), DNS (`name_server`) and backend, one server at a time and in turns: a
warm-up, then all messages one after another, each over a session of its own (latency), then again several sessions at
a time (CPU). Before that the probes show that it checks at all. Latency is the time from connect to the last reply,
less that of the same message straight to the backend. CPU is user and system time of all processes of a server, gone
ones included; that of DNS server, loader and backend is not in it. Ratios within one run count: a machine with two
cores is busy with loader and backend too, and `others` says what strangers took.

Exit code: 1 where a server is not there, does not start, lets a probe pass, or refuses mail of the mix.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.bench.filter_peers import PEERS, Peer, Setup
from tests.bench.mail_mix import Mix, make
from tests.bench.name_server import NameServer
from tests.bench.processes import Tree, busy_s, free_ports
from tests.bench.wire import Backend, Sent, send, send_all

#: No pass begins that would end after that, as far as the one before it tells.
TIME_S = 560.0
_START_S = 30.0


@attrs.define
class Pass:
    """One server once measured.

    :ivar latencies_s: by message
    :ivar cpu: seconds for 1000 messages, one at a time and several
    """

    latencies_s: list[float]
    cpu: tuple[float, float]
    per_second: float
    questions: float
    others: float
    failed: int
    first_failure: str


@attrs.define
class World:
    """What is around the servers."""

    mix: Mix
    dns: NameServer
    backend: Backend
    folder: Path
    sessions: int
    haraka: Path
    profile: str = ""

    def setup(self, peer: Peer) -> Setup:
        home = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=self.folder))
        home.chmod(0o755)
        port, aux = free_ports(2)
        resolv = self.folder / "resolv.conf"
        resolv.write_text(f"nameserver {self.dns.address}\n")
        address, dns_port = self.dns.address, self.dns.port
        return Setup(home, port, aux, self.backend.port, address, dns_port, resolv, self.haraka, self.profile)


class Failure(Exception):
    """A server cannot be measured."""


def _wait(world: World, port: int, trees: Sequence[Tree]) -> None:
    """Until it takes mail: a message that passes is there where all parts of it are."""
    deadline = time.monotonic() + _START_S
    reply = ""
    while time.monotonic() < deadline and all(tree.is_alive() for tree in trees):
        reply = send(world.mix.probes["good"], port, True).reply
        if reply.startswith("250"):
            return
        time.sleep(0.2)
    said = "; ".join(tree.log.read_text(errors="replace")[-3000:] for tree in trees)
    raise Failure(f"does not take mail: {reply} {said}")


def measure(world: World, peer: Peer) -> tuple[Pass, dict[str, str]]:
    """Start a server, measure it, end it; also what it said to the probes."""
    setup = world.setup(peer)
    environment = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    trees: list[Tree] = []
    try:
        for command in peer.start(setup):
            trees.append(Tree(command, setup.folder, environment))
        _wait(world, setup.port, trees)
        told = {name: send(mail, setup.port, True).reply for name, mail in world.mix.probes.items()}
        send_all(world.mix.warm, setup.port, True, world.sessions)
        return _load(world, setup.port, trees, peer.is_queue), told
    finally:
        for tree in trees:
            tree.stop()


def _load(world: World, port: int, trees: Sequence[Tree], is_queue: bool, has_proxy: bool = True) -> Pass:
    mails = world.mix.mails
    sent: list[Sent] = []
    cpu: list[float] = []
    asked, busy, began = world.dns.asked, busy_s(), time.monotonic()
    seconds = 0.0
    for sessions in (1, world.sessions):
        _drain(world.backend, is_queue)
        before, had, start = sum(tree.cpu_s() for tree in trees), world.backend.messages, time.monotonic()
        sent += send_all(mails, port, has_proxy, sessions)
        seconds = time.monotonic() - start
        taken = sum(one.reply.startswith("250") for one in sent[-len(mails) :])
        _drain(world.backend, is_queue, had + taken)
        cpu.append((sum(tree.cpu_s() for tree in trees) - before) * 1000 / len(mails))
    failed = [one.reply for one in sent if not one.reply.startswith("250")]
    wall = time.monotonic() - began
    return Pass(
        [one.seconds for one in sent[: len(mails)]],
        (cpu[0], cpu[1]),
        len(mails) / seconds,
        (world.dns.asked - asked) / 2 / len(mails),
        (busy_s() - busy) / wall,
        len(failed),
        failed[0] if failed else "",
    )


def _drain(backend: Backend, is_queue: bool, expected: int | None = None) -> None:
    """Wait until what was taken has arrived."""
    deadline = time.monotonic() + 20
    last, still = -1, 0
    while time.monotonic() < deadline:
        now = backend.messages
        if expected is not None and now >= expected or expected is None and still >= (4 if is_queue else 1):
            break
        still = still + 1 if now == last else 0
        last = now
        time.sleep(0.05)
    # The last ticks of whoever is at its end.
    time.sleep(0.1)


# Figures


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _share(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(passes: Sequence[Pass], base_s: Sequence[float]) -> dict[str, float]:
    """The medians of several passes; latencies in ms over `base_s`, the same message without a server."""
    added = [[(one - base) * 1000 for one, base in zip(each.latencies_s, base_s)] for each in passes]
    return {
        "p50_ms": _median([_share(one, 0.5) for one in added]),
        "p99_ms": _median([_share(one, 0.99) for one in added]),
        "cpu_s_sequential": _median([one.cpu[0] for one in passes]),
        "cpu_s": _median([one.cpu[1] for one in passes]),
        "per_second": _median([one.per_second for one in passes]),
        "questions": _median([one.questions for one in passes]),
        "passes": len(passes),
        "failed": sum(one.failed for one in passes),
    }


def _show(rows: dict[str, dict[str, float]], probes: dict[str, dict[str, str]], sessions: int) -> None:
    print(f"\n{'':10}{'added p50':>11}{'added p99':>11}{'CPU s/1000':>12}{f'at {sessions}':>8}"
          f"{'msg/s':>8}{'DNS/msg':>9}{'passes':>8}  refuses")  # fmt: skip
    for name, row in rows.items():
        refused = [
            probe for probe, reply in probes.get(name, {}).items() if probe != "good" and reply[:1] in ("4", "5")
        ]
        print(f"{name:10}{row['p50_ms']:8.2f} ms{row['p99_ms']:8.2f} ms{row['cpu_s_sequential']:12.2f}"
              f"{row['cpu_s']:8.2f}{row['per_second']:8.1f}"
              f"{row['questions']:9.1f}{row['passes']:8}  {', '.join(refused)}")  # fmt: skip
    ours = rows.get("smtpgate")
    for name, row in rows.items():
        if ours and name not in ("direct", "smtpgate"):
            ratios = [f"{ours[key] / row[key]:.2f}" for key in ("p50_ms", "p99_ms", "cpu_s_sequential", "cpu_s")]
            print(f"smtpgate as a multiple of {name}: p50 {ratios[0]}, p99 {ratios[1]}, CPU {ratios[2]}, "
                  f"at {sessions} {ratios[3]}")  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench.filters", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
    parser.add_argument("--count", type=int, default=300, help="messages of a phase")
    parser.add_argument("--warm", type=int, default=50, help="messages before it")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=10, help="sessions at a time in the second phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--haraka", type=Path, default=Path("var/haraka"), help="folder of its npm modules")
    parser.add_argument("--json", type=Path, default=Path("var/bench-filters.json"))
    parser.add_argument("--profile", default="", help="write cProfile statistics of smtpgate there; one pass, slow")
    return parser.parse_args()


def main() -> int:
    """Print the table, and write it as JSON."""
    args = _arguments()
    began = time.monotonic()
    bad: list[str] = []
    peers = [PEERS[name] for name in args.peers.split(",")]
    for peer in list(peers):
        missing = peer.missing(args.haraka)
        if missing:
            bad.append(f"{peer.name} is skipped: {missing}")
            print(bad[-1])
            peers.remove(peer)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    print(f"making {args.count + args.warm} signed messages", flush=True)
    mix = make(args.count, args.warm, args.seed)
    with tempfile.TemporaryDirectory(prefix="bench-filters-", dir=memory, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        dns = NameServer(mix.zones)
        backend = Backend()
        world = World(mix, dns, backend, Path(folder), args.sessions, args.haraka, args.profile)
        try:
            passes, probes = _passes(world, peers, args.passes, began, bad)
        finally:
            backend.stop()
            dns.stop()
    base_s = [_median(each) for each in zip(*(one.latencies_s for one in passes["direct"]))]
    rows = {name: figures(found, base_s) for name, found in passes.items() if found}
    rows["direct"] |= {"p50_ms": _share(base_s, 0.5) * 1000, "p99_ms": _share(base_s, 0.99) * 1000}
    sizes = [len(mail.content) for mail in mix.mails]
    print(f"\n{args.count} messages, {sum(sizes) / len(sizes) / 1024:.0f} KiB on average; direct: its own latency")
    _show(rows, probes, args.sessions)
    others = {name: [round(one.others, 2) for one in found] for name, found in passes.items()}
    report: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "messages": {"count": args.count, "octets": sum(sizes), "seed": args.seed, "sessions": args.sessions},
        "rows": rows, "probes": probes, "busy_cores": others, "wrong": bad,
        "passes": {name: [attrs.asdict(one) for one in found] for name, found in passes.items()},
    }  # fmt: skip
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(report))
    for line in bad:
        print(line)
    print(f"{time.monotonic() - began:.0f} s; {args.json}")
    return 1 if bad else 0


def _passes(
    world: World, peers: Sequence[Peer], count: int, began: float, bad: list[str]
) -> tuple[dict[str, list[Pass]], dict[str, dict[str, str]]]:
    passes: dict[str, list[Pass]] = {"direct": []} | {peer.name: [] for peer in peers}
    probes: dict[str, dict[str, str]] = {}
    took = 0.0
    for at in range(count):
        start = time.monotonic()
        if start - began + took > TIME_S:
            print(f"no time for pass {at + 1}")
            break
        send_all(world.mix.warm, world.backend.port, False, 1)
        passes["direct"].append(_load(world, world.backend.port, (), False, False))
        # Each goes first in its turn, so that none always comes behind the same.
        for peer in [*peers[at % len(peers) :], *peers[: at % len(peers)]] if peers else ():
            try:
                found, told = measure(world, peer)
            except (Failure, OSError) as error:
                bad.append(f"{peer.name}: {error}")
                print(bad[-1], flush=True)
                continue
            print(f"pass {at + 1} {peer.name:10} CPU s/1000 {found.cpu[0]:7.2f} {found.cpu[1]:7.2f}, "
                  f"median {_median(found.latencies_s) * 1000:7.2f} ms, {found.per_second:6.1f}/s",
                  flush=True)  # fmt: skip
            passes[peer.name].append(found)
            probes[peer.name] = told
            passed = [name for name in peer.refuses if told[name][:1] not in ("4", "5")]
            if passed:
                bad.append(f"{peer.name} lets the probe {', '.join(passed)} pass")
            if found.failed:
                bad.append(f"{peer.name}: {found.failed} messages were not taken: {found.first_failure}")
        took = time.monotonic() - start
    return passes, probes


if __name__ == "__main__":
    sys.exit(main())
