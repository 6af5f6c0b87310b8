"""A gateway with something on every page, for tests of pages: mail of all kinds, held mail with a content, hooks,
tasks, revisions, tickets, bans, people, two days of numbers; and the same gateway on its first day.

Everything is what the gateway itself has, over one SQLite file; only sockets and processes are not there.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred, fail, maybeDeferred, succeed

from smtpgate import boot
from smtpgate.admin.hooks import Webhooks
from smtpgate.admin.links import Link
from smtpgate.control.bench_world import make_world
from smtpgate.control.views import Actor
from smtpgate.filters.replay import Replay
from smtpgate.interfaces import StoreFailed
from smtpgate.observe.journal import Journal
from smtpgate.observe.metrics import Metrics
from smtpgate.observe.recorder import Recorder
from smtpgate.observe.talkers import Talkers
from smtpgate.policy import event as told
from smtpgate.policy.asked import Asked, Step
from smtpgate.policy.held import Addressee, Held, Letter
from smtpgate.policy.ticket import Ticket
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.memory_vault import NoOutbox
from smtpgate.proxy.services import Examination, Services
from smtpgate.smtp.reply import Reply
from smtpgate.state.bodies import Bodies
from smtpgate.state.case_store import CaseStore
from smtpgate.state.database import Database
from smtpgate.state.hook_store import HookStore
from smtpgate.state.job_store import JobStore
from smtpgate.state.offline import DATABASE
from smtpgate.state.people import People
from smtpgate.state.revision_store import RevisionStore
from smtpgate.state.ticket_store import TicketStore
from smtpgate.state.users import InlineDatabase
from smtpgate.state.vault import Vault
from smtpgate.testing.ports import Children, Table
from tests.admin_kit import PASSWORD, make_session
from tests.bench_kit import CONFIG, BenchDesk, whole
from tests.browser_kit import BrowserCase, listen, need_browser
from tests.test_admin_quarantine import Inline
from tests.test_admin_stats import MemorySeries
from tests.test_admin_viewer import MAIL
from tests.test_browser_stats import two_days
from tests.test_observe_talkers import MemoryTalkers

MORE = """
[[rules]]
name = "plan"
when = "subject == 'secret plan'"
action = "reject"
reply = "550 5.7.1 No plans"
[[rules]]
name = "to-carl"
when = "recipient == 'carl@example.net'"
action = "quarantine"
mode = "shadow"
[scores]
tag = 5
quarantine = 8
reject = 15
[quarantine.classes.dlp]
reason = true
[webhooks.ops]
url = "https://hooks.example.com/a?key=hidden"
secret = "{folder}/hook.secret"
events = ["message", "admin.server.*"]
"""
BEGUN = 1_790_000_000.0
HOUR = 3600.0
ANN = Actor("user", "ann")
SUBJECTS = ("Invoice 4711", "Re: lunch on Friday?", "Your parcel waits", "Minutes of the board, with a table",
            "Grüße aus Köln", "You have won", "secret plan", "Fwd: Fwd: Fwd: contract, signed")  # fmt: skip
#: Of what pages are about, by a word.
Ids = dict[str, str]


class House:
    """The gateway of one test.

    :ivar ids: of what pages are about, by a word
    """

    def __init__(self, case: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-house-"))
        case.addCleanup(shutil.rmtree, self.folder, True)
        (self.folder / "var").mkdir()
        secret = self.folder / "hook.secret"
        secret.write_bytes(b"0123456789abcdef-secret\n")
        secret.chmod(0o600)
        text = CONFIG.replace("[admin]\n", '[admin]\nconfig = "managed"\n') + MORE
        self.text = whole(text.replace("{folder}", str(self.folder)), self.folder)
        self.desk = BenchDesk(self.text, self.folder)
        self.ids: Ids = {}
        self.database = Database(self.folder / "var" / DATABASE)
        self.database.open()
        case.addCleanup(self.database.close)
        self.inline = Inline(self.database)
        self._attach(case)

    def _attach(self, case: Any) -> None:
        desk, control, wall = self.desk, self.desk.control, self.desk.office.wall
        engine, inline = control.engine, self.inline
        engine.in_thread = maybeDeferred
        inner: Any = inline
        self.vault = engine.vault = Vault(inner, Bodies(self.folder), maybeDeferred, wall)
        engine.outbox = NoOutbox()
        desk.users.now = BEGUN
        desk.users.persons = desk.people = control.people.store = People(inner, wall)
        control.tickets.store = self.tickets = TicketStore(inner, b"secret", wall)
        control.jobs.store = JobStore(inner)
        control.replays.make, control.cases.store = Replay, CaseStore(inner)
        control.mutes.table = Table(desk.clock.seconds)
        control.fleet.opener = lambda backend: None
        steps = (Step("open", 220, "mail.example.net ESMTP", 3.0, True), Step("mail", 250, "2.1.0 Ok", 1.0, True),
                 Step("rcpt", 550, "5.1.1 No such user", 2.0, False))  # fmt: skip
        control.fleet._ask = lambda *_: succeed(Asked(steps, "mail.example.net", ("SIZE 100",), "TLSv1.3"))
        self.file = self.folder / "gate.toml"
        self.file.write_text(self.text)
        start = boot.choose(self.file, desk.factories, {})
        revisions = RevisionStore(InlineDatabase(self.database))
        revisions.now = self.database.now  # type: ignore[method-assign]
        ruling, pointer, _ = boot.take(revisions, start, BEGUN)
        control.path = self.file
        books = control.configuration
        books.started_with, books.store, books.active, books.pointer = start.settings, revisions, ruling, pointer
        desk.office.hooks = self.hooks = Webhooks(control, HookStore(inner), lambda hook: self, desk.clock)
        self.hooks.open()
        case.addCleanup(self.hooks.close)
        self.series = MemorySeries()
        self.metrics = Metrics("1.0")
        self.metrics.expect({"mx": "mx"}, [("mail", "127.0.0.1:2600")])
        recorder = Recorder(self.metrics, desk.clock, wall, self.series, lambda event: None)
        control.statistics.store, control.statistics.recorder = self.series, recorder
        self.talkers = Talkers(desk.clock, wall, MemoryTalkers(), lambda event: None)
        control.top.talkers = self.talkers
        self.journal = Journal("json", "info", str(self.folder / "log"), wall=wall)
        case.addCleanup(self.journal.close)
        control.logs.journal = self.journal
        self._furnish()

    def _furnish(self) -> None:
        """What a configuration is made of for a try is what it is made of at work."""
        control = self.desk.control
        assert control.bench.build is not None and control.revision is not None
        made = control.bench.build(control.settings, make_world(control.engine))
        control.revision.doors = made.doors
        services = control.revision.services = object.__new__(Services)
        services._children, services._examination = Children(), Examination({"limits": {}}, 5.0)

    def break_stores(self) -> None:
        """Nothing that is kept can be read or written any more."""

        def broken(*_: Any, **__: Any) -> Any:
            return fail(StoreFailed("the disk is gone"))

        self.inline.is_closed = self.series.is_broken = True
        self.desk.control.configuration.store = RevisionStore(self.inline)
        for name in ("search", "count", "without", "find", "recent", "begun_since", "edge"):
            setattr(self.desk.history, name, broken)
        self.desk.users.database.run = self.desk.users.database.read = broken  # type: ignore[method-assign]

    def request(self, *_: Any) -> Any:
        """What is called by a webhook: it never answers well."""
        from smtpgate.net.http import Response

        return succeed(Response(500, {}, b""))

    def live_in(self) -> None:
        """As after some days."""
        self._mail()
        self._held()
        self._rest()

    def keep(self, number: int, at: float, outcome: str = "delivered", **more: Any) -> str:
        """A session that is over; its id."""
        id = f"01J9UK7Q0000000000000{number:05d}"
        bad = (
            Reply(550, "5.7.1", ("No plans",)) if outcome == "refused" else Reply(250, "2.0.0", ("Ok: queued as 4F1",))
        )
        found: tuple[Finding, ...] = (
            Finding("points", "note", detail="2 links", score=1.5, filter="links", seconds=0.012),
        )
        if outcome == "refused":
            found += (Finding("no-programs", "reject", public="No plans", detail="plan.exe", filter="rules", score=7.0,
                              seconds=0.0031),)  # fmt: skip
        facts = make_session(
            id, sender=f"user{number}@mail.example.org", subject=SUBJECTS[number % len(SUBJECTS)], outcome=outcome,
            recipients=("bob@example.net", "carl@example.net")[: 1 + number % 2], reply=bad, findings=found, started=at,
            **more,
        )  # fmt: skip
        facts.client_ip = facts.peer_ip = f"192.0.2.{number % 200}"
        facts.revision = self.desk.control.current().id
        self.desk.history.keep(facts)
        event = told.TransactionEnded(facts.transactions[0])
        self.desk.control.hear(event)
        self.journal.hear(event)
        self.talkers.hear(event)
        return id

    def _mail(self) -> None:
        for number in reversed(range(30)):
            outcome = "refused" if number % 5 == 0 else "aborted" if number % 11 == 3 else "delivered"
            id = self.keep(number, BEGUN - number * HOUR, outcome)
            self.ids.setdefault(outcome, id)
        store: Any = self.series
        two_days(store)
        for number in range(3):
            facts = make_session(f"01J9UK7Q1{number:017d}", started=BEGUN - number)
            facts.ended, facts.client_ip = 0.0, f"198.51.100.{number}"
            self.desk.control.hear(told.SessionOpened(facts))
            self.desk.control.live._ran(facts.id, "content", "mail", ("pass", "tag", "reject")[number], 0.0042, False)

    def hold(self, mail: bytes = MAIL, held_as: str = "spam", **more: Any) -> str:
        """A held message; its id."""
        self.desk.clock.advance(1)
        found: list[Any] = []
        self.vault.begin().addCallback(found.append)
        body = found[0]
        body.write(mail)
        body.finish()
        now = self.desk.office.wall()
        values = {
            "id": self.vault.fresh_id(), "at": now, "expires": now + 7 * 86400, "held_as": held_as, "listener": "mx",
            "message": f"{self.ids.get('delivered', '01J9UK7Q000000000000000001')}.1", "direction": "in",
            "client_ip": "192.0.2.7", "sender": "ann@example.org", "author": "Ann <ann@example.org>",
            "recipients": (Addressee("bob@example.net"), Addressee("ann@example.net")), "subject": "Your parcel waits",
            "filter": "rules", "reason": "plan", "octets": len(mail), "body": body.name, "score": 9.5, **more,
        }  # fmt: skip
        self.vault.keep([Held(**values)], [])
        return str(values["id"])

    def _held(self) -> None:
        self.ids["secret"] = self.hold(held_as="dlp", subject="Minutes of the board, with a table of what was sent")
        self.ids["phish"] = self.hold(held_as="phishing", subject="Grüße aus Köln")
        self.ids["held"] = self.hold()
        now = self.desk.office.wall()
        letter = Letter("m1", "notice", now - 60, now + 86400, "x", 1200, "gate@example.net",
                        (Addressee("bob@example.net", state="waiting"),), backend="mail", due=now + 240, tries=2,
                        told="450 4.2.1 try again")  # fmt: skip
        self.vault.keep([], [letter])
        for state, text in (("asked", "It is a plan of the party."), ("open", "")):
            one = Ticket(self.tickets.fresh_id(), state, "plan", "approval", now, now + 1e6, f"{self.ids['refused']}.1",
                         "ann@example.org", ("bob@example.net",), "secret plan", state=state, reason=text)  # fmt: skip
            self.tickets.put(one)
            self.ids["ticket"] = one.id

    def _rest(self) -> None:
        control, desk = self.desk.control, self.desk
        self.ids["case"] = "plan"
        pool = control.current().pools["mail"]
        for number, state in enumerate(("up", "down", "up", "ejected", "up")):
            pool.servers[0].state = state
            control.fleet.ribbons.look()
            desk.clock.advance(3000 + 2000 * number)
        pool.servers[0].last_reply = "250 2.0.0 Ok"
        for words in ("no room is left", "a server went away"):
            control.engine.tell(told.Happened("spool.full", "error", words))
        self.journal.hear(
            told.Happened("engine.down", "error", "the engine of content is down", (("reason", "signal 9"),))
        )
        owner = desk.token("owner")

        def post(path: str, value: Any) -> Any:
            answer = desk.post_json(f"/api/v1{path}", value, token=owner)
            assert answer.status < 400, (path, answer.status, answer.text)
            return answer.json()

        post("/bans", {"key": "203.0.113.9", "reason": "noise", "minutes": 600})
        post("/users", {"name": "bob", "role": "auditor", "password": PASSWORD})
        post("/tokens", {"name": "backup", "role": "auditor", "days": 30})
        post("/lists", {"kind": "block-sender", "entry": "eve@example.org", "reason": "asked for by bob"})

        async def work(run: Any) -> str:
            return '{"a":1}'

        ensureDeferred(control.jobs.start("Count", ANN, "test:run", work))
        envelope = {"recipients": ["bob@example.net"]}
        post("/test/cases", {"name": "plan", "message": "Subject: secret plan\n\nx\n", "envelope": envelope})
        head = {"Prefer": "respond-async"}
        answer = desk.post_json("/api/v1/test/replay", {"last": 20}, token=owner, headers=head)
        self.ids["replay"] = answer.header("location").rpartition("/")[2]
        desk.clock.pump([0.05] * 200)
        link = Link("release", self.ids["held"], "bob@example.net", int(desk.office.wall() + 7 * 86400))
        self.ids["link"] = desk.office.links.token(link)
        books = control.configuration
        text = self.text + '\n[log]\nlevel = "info"\n'

        async def apply() -> None:
            plan = await books.plan(text, "what the night shift asked for", books.active.number, 0)
            await books.apply(plan, ANN)

        control.engine.start(apply())
        desk.clock.pump([0.05] * 20)
        self._furnish()

    def pages(self) -> list[str]:
        """Of all that a page may be about, one of each."""
        ids = self.ids
        return [
            *(f"/sessions/{ids[one]}" for one in ("delivered", "aborted")),
            *(f"/sessions/{ids[one]}.1" for one in ("delivered", "refused")),
            "/messages?q=from%3Anobody", "/messages?q=verdict%3Arefused", "/messages?q=nonsense%3A",
            f"/quarantine/{ids['held']}", f"/quarantine/{ids['held']}/view", f"/quarantine/{ids['held']}/frame/2",
            f"/quarantine/{ids['secret']}/view", "/quarantine?held_as=malware",
            "/backends/mail", "/config/tables/backends/mail", "/config/1", "/config/2", "/config?before=2",
            "/rules/edit/plan", "/access/users/bob",
            "/webhooks/ops", f"/test/replay/{ids['replay']}", "/test?form=session", "/test?sample=clean",
            "/routes?listener=mx&recipient=bob%40example.net", "/senders?asked=192.0.2.7", "/problems/unavailable",
            f"/held/{ids['link']}", f"/why/{ids['ticket']}", "/sessions/nothing",
        ]  # fmt: skip


class HouseCase(BrowserCase):
    """A gateway that is lived in; `is_new`: on its first day."""

    is_new = False

    def setUp(self) -> None:
        need_browser()
        self.house = House(self)
        self.desk = self.house.desk
        self.desk.users.add_user("ann", "owner", PASSWORD)
        if not self.is_new:
            self.house.live_in()
        self.fill()
        self.base = listen(self, self.desk)
