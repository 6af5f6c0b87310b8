"""Searching a million messages while mail comes in: `python -m tests.bench.history [--messages N] [--folder F]`.

A state folder is filled with sessions of realistic kinds (`history_mail`), once: it is used again as long as it is
there. Over it the real gateway runs, is asked through its API and for its pages, and takes mail from a loader beside
that. Then come steps of retention, taken back again. What the index costs is timed in the same run: the words of a
message, their way into the table where they wait, and from there into the index, as a part of the CPU time that the
whole gateway takes for a message of 2 KB, one a connection. Only ratios carry over to another machine.

Exit code: 1 where something is not as promised.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from twisted.internet.defer import Deferred, maybeDeferred

from smtpgate.policy.found import Kept
from smtpgate.policy.record import SESSION_AT, compact
from smtpgate.state import history_rows as rows
from smtpgate.state.database import Database
from smtpgate.state.history_record import made as searched
from smtpgate.state.history_store import SLICE, HistoryStore
from smtpgate.state.history_words import FORM, of_message, of_session, subject_of
from smtpgate.state.offline import DATABASE
from tests.bench.history_mail import BEGUN, OURS, STRANGERS, domain, made, ours, stranger, word
from tests.bench.mail_mix import Mail
from tests.bench.processes import Tree, free_ports
from tests.bench.wire import Backend, send_all

MESSAGES: Final = 1_000_000
BATCH: Final = 2000
ROUNDS: Final = 40
#: Messages of each load, and sessions at a time.
LOAD, SESSIONS = 4000, 20
#: Most milliseconds of a search and of a page, p95; most of a message's CPU that the index may take; most of the
#: throughput that is lost while two ask as fast as they can.
SEARCH_MS, PAGE_MS, SHARE, LOST = 300.0, 1000.0, 0.05, 0.5
_TWISTD: Final = Path(sys.executable).with_name("twistd")
_CONFIG: Final = """
hostname = "gate.example.com"
state_dir = "state"
local_domains = ["example.net", "inbox.test"]
[admin]
listen = "tcp:{aux}:interface=127.0.0.1"
[history]
keep = "3650d"
messages = 100_000_000
[listeners.mx]
listen = ["tcp:{port}:interface=127.0.0.1"]
tls = "off"
[backends.sink]
servers = ["127.0.0.1:{sink}"]
tls = "off"
[[routes]]
backend = "sink"
"""


class _Direct:
    """A database whose calls are done at once, in this thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Write."""
        return maybeDeferred(self._database.now, function, *args)

    def read(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Read."""
        return maybeDeferred(self._database.look_now, function, *args)


def _store(database: Database) -> HistoryStore:
    return HistoryStore(_Direct(database), lambda: BEGUN, lambda: Kept(30 * 86400.0, 2 * MESSAGES))  # type: ignore[arg-type]


def fill(folder: Path, count: int) -> None:
    """A state folder with so many messages, if it is not there."""
    mark = folder / "filled.json"
    wanted = {"messages": count, "form": FORM, "file": 2}
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        print(f"uses {folder}")
        return
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "state").mkdir(parents=True, mode=0o700)
    database = Database(folder / "state" / DATABASE)
    database.open()
    store = _store(database)
    there = number = 0
    spent, began = 0.0, time.monotonic()
    while there < count:
        batch = [made(one) for one in range(number, number + BATCH)]
        number += BATCH
        there += sum(len(one.transactions) for one in batch)
        before = time.thread_time()
        store.write(batch).addErrback(_raise)
        spent += time.thread_time() - before
        if number % 100_000 == 0:
            print(f"  {there:,} messages, {time.monotonic() - began:.0f} s", flush=True)
    database.close()
    print(
        f"filled with {there:,} messages in {time.monotonic() - began:.0f} s; {spent / there * 1e6:.0f} us of CPU each"
    )
    mark.write_text(json.dumps(wanted))


def _raise(failure: Any) -> None:
    failure.raiseException()


# What is asked


def questions(dice: random.Random, sample: Sequence[dict[str, Any]]) -> dict[str, Callable[[], str]]:
    """By name: a query of that kind, another one each time."""

    def known() -> dict[str, Any]:
        return dice.choice(sample)

    def queue_id() -> str:
        return next(one["queue"] for one in iter(known, None) if one["queue"])

    return {
        "the newest": lambda: "",
        "reference id": lambda: known()["id"],
        "Message-ID": lambda: known()["message_id"],
        "queue id of a backend": queue_id,
        "address, anywhere": lambda: known()["sender"].strip("<>"),
        "one sender": lambda: f"from:{stranger(dice.randrange(STRANGERS))}",
        "one recipient": lambda: f"to:{ours(int(OURS * dice.random() ** 2))}",
        "domain of most recipients, refused": lambda: "domain:example.net verdict:refused",
        "domain of strangers": lambda: f"domain:{domain(dice.randrange(2000))}",
        "beginning of an address": lambda: f"from:{word(dice.randrange(3000))[:3]}*",
        "address of a client": lambda: f"ip:{known()['ip']}",
        "network /16": lambda: f"cidr:{11 + dice.randrange(180)}.{dice.randrange(256)}.0.0/16",
        "two words of a subject": lambda: f'subject:"{known()["subject"][:2]}" subject:{word(dice.randrange(40))}',
        "what was not delivered": lambda: "-verdict:delivered",
        "one rule and a score": lambda: "rule:no-macros score:>12",
        "a day three weeks ago": lambda: _day(dice, sample),
        "large ones": lambda: "size:>15M",
        "all but a domain": lambda: f"-domain:{domain(dice.randrange(20))} direction:in tls:none",
        "part of a common word": lambda: f"subject:*{word(dice.randrange(50))[:2]}*",
        "part that none has": lambda: f"from:*zzq{dice.randrange(1000)}zz*",
        "word that none has": lambda: f"nosuchword{dice.randrange(1000)}",
        "of few, behind what most have": lambda: f"verdict:delivered backend:mail to:{ours(OURS - 1)}",
    }


def _day(dice: random.Random, sample: Sequence[dict[str, Any]]) -> str:
    first, last = (min(one["at"] for one in sample), max(one["at"] for one in sample))
    at = first + (last - first) * dice.uniform(0.2, 0.3)
    after, before = (time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(when)) for when in (at, at + 86400))
    return f"after:{after} before:{before} to:{ours(3)}"


def _sample(database: Database, count: int) -> list[dict[str, Any]]:
    def read(connection: Any) -> list[dict[str, Any]]:
        span = connection.exec_driver_sql("SELECT min(n), max(n) FROM messages").one()
        dice = random.Random(3)
        found = []
        for _ in range(count):
            sql = (
                "SELECT id, n, client_ip, sender, message_id, subject FROM messages WHERE n >= ? AND message_id <> '' "
            )
            row = connection.exec_driver_sql(f"{sql} ORDER BY n LIMIT 1", (dice.randrange(*span),)).fetchone()
            if row is None:
                continue
            id, n, ip, sender, message_id, subject = row
            found.append(
                {"id": id, "at": n / 1e6, "ip": ip, "sender": sender, "message_id": message_id, "queue": ""}
                | {"subject": [*subject.split(), "x", "y"]}
            )
            facts = made(int(id.partition(".")[0]))
            said = facts.transactions[int(id.rpartition(".")[2]) - 1].reply
            match = re.search(r"queued as (\w+)", said.text if said is not None else "")
            found[-1]["queue"] = match[1] if match else ""
        return found

    return database.look_now(read)


class Asker:
    """One connection to the admin side."""

    def __init__(self, port: int, token: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> tuple[float, bytes]:
        """Milliseconds, and the answer."""
        began = time.perf_counter()
        self._http.request("GET", path, headers=self._headers)
        answer = self._http.getresponse()
        body = answer.read()
        taken = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:300]!r}")
        return taken, body


def share(values: Sequence[float], part: float) -> float:
    """The value that so large a part of them is not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def ask(asker: Asker, kinds: dict[str, Callable[[], str]], path: str, most: float) -> bool:
    """Each kind many times; whether all are quick enough."""
    good = True
    everything: list[float] = []
    print(f"{path:42}     p50      p95   found  partial")
    for name, query in kinds.items():
        taken, found, partial = [], 0, 0
        for _ in range(ROUNDS):
            ms, body = asker.get(f"{path}?q={quote(query())}")
            taken.append(ms)
            if body[:1] == b"{":
                answer = json.loads(body)
                found += len(answer.get("items", ()))
                partial += bool(answer.get("is_partial"))
        everything += taken
        p95 = share(taken, 0.95)
        good &= p95 <= most
        said = f"{found / ROUNDS:7.1f}  {partial / ROUNDS:5.0%}{'' if p95 <= most else '  TOO SLOW'}"
        print(
            f"  {name:40}{statistics.median(taken):7.1f}  {p95:7.1f} {said}{'' if p95 <= most else '  TOO SLOW'}",
            flush=True,
        )
    print(f"  {'all':40}{statistics.median(everything):7.1f}  {share(everything, 0.95):7.1f}")
    return good


# What it costs


def index_cost() -> float:
    """CPU seconds of one message in the index, without its row and its record, which were there before."""
    with tempfile.TemporaryDirectory(prefix="smtpgate-history-") as name:
        database = Database(Path(name) / DATABASE)
        database.open()
        sessions = [one for one in map(made, range(50_000, 56_000)) if len(one.transactions) == 1]
        records = [compact(one, one.ended) for one in sessions]
        texts = [next(iter(searched(one)))[2] for one in records]
        words = []
        for at in range(0, len(records), 250):
            before = time.thread_time()
            for record in records[at : at + 250]:
                message = record[SESSION_AT["messages"]][0]
                of_message(record, message, of_session(record), subject_of("Hello there"))
            words.append((time.thread_time() - before) / len(records[at : at + 250]))
        number = 0
        spent = 0.0

        def wait(connection: Any, some: Sequence[tuple[int, str]]) -> None:
            connection.exec_driver_sql("INSERT INTO history_waiting (n, words) VALUES (?, ?)", list(some))

        for at in range(0, len(texts), 250):
            some = [(number + place, text) for place, text in enumerate(texts[at : at + 250], 1)]
            number += len(some)
            before = time.thread_time()
            database.now(wait, some)
            if at // 250 % 8 == 7:
                database.now(rows.settle, 10**15, rows.PART_ROWS)
            spent += time.thread_time() - before
        database.close()
        return statistics.median(words) + spent / number


def load(port: int, tree: Tree, beside: Callable[[], None] | None) -> tuple[float, float]:
    """Messages a second, and CPU seconds of one."""
    content = b"Subject: Hello\r\n\r\n" + (b"y" * 70 + b"\r\n") * 27
    mail = Mail("192.0.2.7", "client.example.org", "a@example.org", content)
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            assert beside is not None
            beside()

    askers = [threading.Thread(target=again, daemon=True) for _ in range(1)] if beside is not None else []
    for one in askers:
        one.start()
    cpu, began = tree.cpu_s(), time.monotonic()
    sent = send_all([mail] * LOAD, port, False, SESSIONS)
    seconds = time.monotonic() - began
    stop.set()
    for one in askers:
        one.join()
    failed = [one.reply for one in sent if not one.reply.startswith("250")]
    if failed:
        raise SystemExit(f"{len(failed)} messages failed: {failed[0]}")
    # What waits to be written is written within a second or two; it is part of the cost.
    time.sleep(3.0)
    return LOAD / seconds, (tree.cpu_s() - cpu) / LOAD


class _TakenBack(Exception):
    """Nothing of it is to stay."""


def retention(database: Database) -> list[float]:
    """Seconds of steps that delete the oldest, taken back at the end."""
    store = _store(database)
    taken: list[float] = []

    def steps(connection: Any) -> None:
        now = connection.exec_driver_sql("SELECT max(started) FROM sessions").scalar() + 10**9
        for _ in range(10):
            began = time.perf_counter()
            gone = store._expire(connection, now + 1.0, SLICE)
            taken.append(time.perf_counter() - began)
            assert gone == SLICE
        raise _TakenBack

    try:
        database.now(steps)
    except _TakenBack:
        pass
    return taken


def main() -> int:
    """Fill, ask, load, print; 1 where it is not as promised."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=MESSAGES)
    options.add_argument("--folder", type=Path, default=Path("var/bench-history"))
    args = options.parse_args()
    folder = args.folder.absolute()
    fill(folder, args.messages)
    database = Database(folder / "state" / DATABASE)
    database.open()
    sample = _sample(database, 400)

    def sizes(connection: Any) -> tuple[int, int, int]:
        index = sum(
            connection.exec_driver_sql(f"SELECT sum(length(block)) FROM {rows.name_of(one.part)}_data").scalar()
            for one in rows.parts(connection)
        )
        count = connection.exec_driver_sql("SELECT count(*) FROM messages").scalar()
        return index, count, len(rows.parts(connection))

    index, count, there = database.look_now(sizes)
    database.close()
    size = (folder / "state" / DATABASE).stat().st_size
    print(f"{count:,} rows, {size / count:.0f} octets each, {index / count:.0f} of them in the index of {there} parts")
    backend = Backend()
    port, aux = free_ports(2)
    config = folder / "gate.toml"
    config.write_text(_CONFIG.format(port=port, aux=aux, sink=backend.port))
    smtpgate = [sys.executable, "-m", "smtpgate.cli", "--config", str(config)]
    token = subprocess.run(
        [*smtpgate, "token", "add", f"bench-{time.time_ns()}", "--role", "owner"], capture_output=True, text=True
    )
    found = re.search(r"sgt_\w+_[\w-]+", token.stdout)
    if found is None:
        raise SystemExit(f"no token: {token.stdout} {token.stderr}")
    tree = Tree([str(_TWISTD), "-n", "--pidfile=", "smtpgate", "--config", str(config)], folder, {})
    good = True
    try:
        asker = _ready(aux, found[0], tree)
        kinds = questions(random.Random(5), sample)
        good &= ask(asker, kinds, "/api/v1/messages", SEARCH_MS)
        pages = {name: kinds[name] for name in ("the newest", "one recipient", "what was not delivered")}
        good &= ask(asker, pages, "/messages", PAGE_MS)
        good &= ask(asker, {"of a message": lambda: ""}, f"/sessions/{sample[0]['id']}", PAGE_MS)
        load(port, tree, None)
        alone, whole = load(port, tree, None)
        names = ("one recipient", "what was not delivered", "domain of strangers", "the newest")
        turns = iter(lambda: random.choice(names), None)
        both, _ = load(port, tree, lambda: [asker.get(f"/api/v1/messages?q={quote(kinds[next(turns)]())}")] and None)
        _, metrics = asker.get("/metrics")
    finally:
        tree.stop()
        backend.stop()
    dropped = re.search(rb'store_dropped_total\{[^}]*"sessions"[^}]*\} (\d+)', metrics)
    missed = int(dropped[1]) if dropped else 0
    cost = index_cost()
    part = cost / whole
    print(f"load: {alone:.0f} messages a second, {both:.0f} while one asks without a pause; {missed} not kept")
    print(
        f"cost: {cost * 1e6:.0f} us of CPU in the index, of {whole * 1e6:.0f} for a message: {part:.1%} ({SHARE:.0%})"
    )
    database.open()
    steps = retention(database)
    database.close()
    step, longest = statistics.median(steps) * 1000, max(steps) * 1000
    print(f"retention: a step of {SLICE} sessions {step:.0f} ms, longest {longest:.0f}")
    good &= missed == 0 and part <= SHARE and both >= alone * LOST
    print("as promised" if good else "NOT AS PROMISED")
    return 0 if good else 1


def _ready(aux: int, token: str, tree: Tree) -> Asker:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and tree.is_alive():
        try:
            asker = Asker(aux, token)
            asker.get("/api/v1/messages?limit=1")
            return asker
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the gateway does not answer: {tree.log.read_text(errors='replace')[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
