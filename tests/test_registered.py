"""What is registered, from the command line to a child process: kept as hashes, listed, found, removed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.examine.apart import Died, apart
from smtpgate.examine.registered import Fingerprint, Registered, RowMatch, of_answer
from smtpgate.interfaces import ChildFailed, IRegister, ServiceFailed, StoreFailed
from smtpgate.net.children import Children
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.proxy.services import REGISTERED_S, Examination, FilterSettings, Ports, Services
from smtpgate.proxy.shared import Memory
from smtpgate.smtp.address import Path as MailPath
from smtpgate.state.folder import StateFolder
from smtpgate.state.register_store import FILES, REGISTERED, RegisterStore
from tests.admin_kit import ApiCase, Desk
from tests.files_kit import docx
from tests.reading_kit import mail, runs, word
from tests.test_cli import Place, run
from tests.test_examine_known import prose

TABLE = "first,last,account\r\nAnna,Fernandez,4111111111111111\r\nBob,Smith,5500000000000004\r\n"


class StoreTests(SynchronousTestCase):
    """`RegisterStore`."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.store = RegisterStore(self.folder, bytes(32))

    def test_the_contract(self) -> None:
        """It is what the port says."""
        verifyObject(IRegister, self.store)

    def test_put_list_remove(self) -> None:
        """Of two kinds one name is two; the later file of a name takes the place of the first."""
        self.assertEqual(self.store.listed(), [])
        self.assertEqual(self.store.request(), {"key": "00" * 32, "fingerprints": [], "tables": []})
        for kind, name, files in (("table", "b", 1), ("fingerprint", "b", 2), ("fingerprint", "a", 3)):
            self.store.put(kind, name, b'{"files": %d}\nxyz' % files)
        self.store.put("fingerprint", "a", b'{"files": 4}\n')
        listed = [(one["kind"], one["name"], one["files"], one["octets"]) for one in self.store.listed()]
        self.assertEqual(listed, [("fingerprint", "a", 4, 13), ("fingerprint", "b", 2, 16), ("table", "b", 1, 16)])
        asked = self.store.request()
        self.assertEqual([Path(one).name for one in asked["fingerprints"]], ["a.fingerprint", "b.fingerprint"])
        self.assertTrue(all(Path(one).is_file() for one in (*asked["fingerprints"], *asked["tables"])))
        self.assertTrue(self.store.remove("fingerprint", "b"))
        self.assertFalse(self.store.remove("fingerprint", "b"))
        self.assertEqual(len(self.store.listed()), 2)

    def test_only_the_owner_reads(self) -> None:
        """Folder and files."""
        self.store.put("table", "a", b"{}\n")
        folder = self.folder / REGISTERED
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual((folder / "a.table").stat().st_mode & 0o777, 0o600)

    def test_names_and_kinds(self) -> None:
        """A name is no path."""
        for name in ("", "../a", "a/b", ".a", "A", "a b", "x" * 65, "a\n"):
            self.assertRaises(StoreFailed, self.store.put, "table", name, b"{}\n")
            self.assertRaises(StoreFailed, self.store.remove, "table", name)
        self.assertRaises(StoreFailed, self.store.put, "../table", "a", b"{}\n")

    def test_so_many(self) -> None:
        """No more are taken than a child opens; one that is there can be replaced."""
        (self.folder / REGISTERED).mkdir()
        for number in range(FILES):
            (self.folder / REGISTERED / f"n{number}.table").write_bytes(b"{}\n")
        self.assertRaises(StoreFailed, self.store.put, "table", "more", b"{}\n")
        self.store.put("table", "n1", b"{}\n")

    def test_a_damaged_file(self) -> None:
        """It is told, not passed over."""
        self.store.put("table", "a", b"no json\n")
        self.assertRaises(StoreFailed, self.store.listed)


class CommandTests(SynchronousTestCase):
    """The commands while no gateway runs, and that what they kept is found."""

    def setUp(self) -> None:
        self.place = Place(self)
        self.words = prose(11, 400)
        self.document = self.place.folder / "plan.docx"
        self.document.write_bytes(word(" ".join(self.words)))
        self.table = self.place.folder / "customers.csv"
        self.table.write_text(TABLE)

    def run_it(self, *words: str) -> tuple[int, str, str]:
        return run(*self.place.config, *words)

    def find(self, content: bytes) -> Registered:
        from smtpgate.examine.known import find

        state = self.place.folder / "var"
        return of_answer(find(content, RegisterStore(state, StateFolder(state).secret(REGISTERED)).request()))

    def test_documents(self) -> None:
        """Added from a document, listed, found in mail, removed."""
        code, out, err = self.run_it("fingerprint", "add", "plan", str(self.document))
        self.assertEqual((code, err), (0, ""))
        self.assertIn("fingerprint plan registered", out)
        self.assertIn("plan", self.run_it("fingerprint", "list")[1])
        self.assertEqual(self.run_it("table", "list")[1], "none\n")
        found = self.find(mail(("a.docx", docx(body=runs(" ".join(self.words[:200]))))))
        self.assertEqual([one.name for one in found.fingerprints], ["plan"])
        self.assertTrue(0.4 < found.fingerprints[0].share < 0.6)
        footer = self.place.folder / "footer.txt"
        footer.write_text(" ".join(self.words[:200]))
        self.assertEqual(self.run_it("fingerprint", "add", "plan", str(self.document), "--without", str(footer))[0], 0)
        self.assertEqual(self.find(mail(text=" ".join(self.words[:200]))), Registered())
        (whole,) = self.find(mail(text=" ".join(self.words[200:]))).fingerprints
        self.assertGreater(whole.share, 0.9)
        self.assertIn(
            "gone.txt: cannot be read",
            self.run_it(
                "fingerprint", "add", "plan", str(self.document), "--without", str(self.place.folder / "gone.txt")
            )[2],
        )
        self.assertEqual(self.run_it("fingerprint", "remove", "plan")[0], 0)
        self.assertEqual(self.run_it("fingerprint", "remove", "plan")[0], 1)
        self.assertEqual(self.find(mail(text=" ".join(self.words))), Registered())

    def test_tables(self) -> None:
        """Added with some columns, listed with how they are looked for, found."""
        code, _, err = self.run_it("table", "add", "customers", str(self.table), "--columns", "last,account")
        self.assertEqual((code, err), (0, ""))
        out = self.run_it("table", "list")[1]
        for wanted in ("customers", "last,account", "300"):
            self.assertIn(wanted, out)
        found = self.find(mail(text="Fernandez 4111-1111-1111-1111, Anna Smith"))
        self.assertEqual(found.rows, (RowMatch("customers", 1, ("last", "account")),))

    def test_what_cannot_be_registered(self) -> None:
        """Each mistake is told with what would be right."""
        short = self.place.folder / "short.txt"
        short.write_text("too short")
        latin = self.place.folder / "latin.csv"
        latin.write_bytes("name\r\nJos\xe9\r\n".encode("latin-1"))
        for words, said in (
            (("fingerprint", "add", "Plan", str(self.document)), "is no name"),
            (("fingerprint", "add", "plan", str(short)), "fewer than 40 words"),
            (("fingerprint", "add", "plan", "/nowhere/x.pdf"), "cannot be read"),
            (("table", "add", "c", str(self.table), "--columns", "lst,last"), "no column 'lst' in its first line"),
            (("table", "add", "c", str(self.table), "--columns", "last", "--least", "2"), "2 columns are to stand"),
            (("table", "add", "c", str(self.table), "--columns", ","), "name the columns"),
            (("table", "add", "c", str(latin), "--columns", "name", "--least", "1"), "not in UTF-8"),
            (("table", "add", "c", str(self.table), "--columns", "last", "--delimiter", "ab"), "one sign"),
        ):
            code, _, err = self.run_it(*words)
            self.assertEqual(code, 1, words)
            self.assertIn(said, err)
        self.assertEqual(self.run_it("table", "list")[1], "none\n")


class ApartTests(SynchronousTestCase):
    """A process of its own for what may be hostile."""

    def test_what_it_gives_back(self) -> None:
        """Octets, a reason, or that it died."""
        self.assertEqual(apart(lambda: b"x" * 1_000_000), b"x" * 1_000_000)
        with self.assertRaisesRegex(ValueError, "so it is"):
            apart(lambda: _raise(ValueError("so it is")))
        self.assertRaises(Died, apart, lambda: _raise(KeyError("x")))
        self.assertRaises(Died, apart, lambda: os.abort())

    def test_it_may_not_write_files(self) -> None:
        """It is limited as a child of the gateway is."""
        place = self.mktemp()

        def write() -> bytes:
            Path(place).write_bytes(b"x" * 10)
            return b""

        self.assertRaises(Died, apart, write)
        self.assertFalse(os.path.exists(place) and os.path.getsize(place))


def _raise(error: Exception) -> bytes:
    raise error


class RegisteredApiTests(ApiCase):
    """GET and DELETE /api/v1/registered."""

    def setUp(self) -> None:
        self.desk = Desk()
        self.owner = self.desk.token("owner")
        folder = Path(self.mktemp())
        folder.mkdir()
        self.store = RegisterStore(folder, bytes(32))
        self.desk.control.policy.register = self.store
        self.desk.control.policy.in_thread = maybeDeferred

    def test_list_and_forget(self) -> None:
        """What it is, and never what was in it; removal is in the audit."""
        self.store.put("table", "customers", b'{"rows": 3, "columns": ["a"], "least": 1, "window": 300}\n')
        one = self.get("/registered")["items"][0]
        self.assertEqual((one["kind"], one["name"], one["rows"], one["columns"]), ("table", "customers", 3, ["a"]))
        self.post("/registered/table/custom", {}, 404)
        self.post("/registered/table/customers", {})
        self.assertEqual(self.desk.users.rows[-1]["action"], "registered.add")
        send = lambda path: self.desk.ask("DELETE", f"/api/v1/registered/{path}", token=self.owner)  # noqa: E731
        self.assertEqual(send("fingerprint/customers").status, 404)
        self.assertEqual(send("table/customers").status, 200)
        self.assertEqual(self.store.listed(), [])
        self.assertEqual(self.desk.users.rows[-1]["action"], "registered.forget")


class ServicesTests(TestCase):
    """`Services.known`: once for a message, in a child."""

    def make(self, children: Any, store: Any, clock: Any = None) -> tuple[Services, Transaction]:
        clock = clock or Clock()
        none: Any = None
        ports = Ports(
            clock, lambda event: None, maybeDeferred, none, children, none, none, none, Memory(clock), none, store
        )
        services = Services(ports, FilterSettings(), Examination({"limits": {"time_s": 15.0}}, 15.0))
        transaction = Transaction("id.1", Session("id", "mx", "mx"), MailPath(b"", "", ""), {})
        return services, transaction

    def content(self, octets: bytes) -> Any:
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(octets)
        file.flush()

        class Content:
            def descriptor(self) -> Any:
                return succeed(file.fileno())

        return Content()

    @inlineCallbacks
    def test_in_a_real_child(self) -> Any:
        """It maps the files where they lie, and answers names and numbers."""
        from smtpgate.examine.known import fingerprint_of, table_of

        folder = Path(self.mktemp())
        folder.mkdir()
        store = RegisterStore(folder.resolve(), bytes(32))
        words = prose(12, 500)
        store.put("fingerprint", "plan", fingerprint_of("plan", [("a.txt", " ".join(words).encode())], bytes(32)))
        rows = iter([("Smith", "5500000000000004")])
        store.put("table", "customers", table_of("customers", ("last", "card"), rows, bytes(32), 2, 300))
        children = Children(reactor, 1, 768 << 20, 30.0)
        self.addCleanup(children.close)
        services, transaction = self.make(children, store, reactor)
        text = f"Smith 5500 0000 0000 0004 {' '.join(words[:300])}"
        transaction.content = self.content(mail(("a.docx", word(text))))
        first, again = services.known(transaction), services.known(transaction)
        found = yield first
        self.assertEqual([one.name for one in found.fingerprints], ["plan"])
        self.assertTrue(0.5 < found.fingerprints[0].share < 0.65, found)
        self.assertEqual(found.rows, (RowMatch("customers", 1, ("last", "card")),))
        self.assertIs((yield again), found)
        (folder / REGISTERED / "plan.fingerprint").write_bytes(b"damaged")
        other, _ = self.make(children, store, reactor)
        transaction.shared = None
        failure = yield self.assertFailure(other.known(transaction), ChildFailed)
        self.assertIn("Damaged", str(failure))

    @inlineCallbacks
    def test_nothing_registered_asks_no_child(self) -> Any:
        """And what is registered is asked for anew after some seconds."""
        asked: list[str] = []

        class Register:
            tables: list[str] = []

            def request(self) -> dict[str, Any]:
                asked.append("x")
                return {"key": "", "fingerprints": [], "tables": self.tables}

        class OneChild:
            def run(self, job: str, *_: Any) -> Any:
                asked.append(job)
                return succeed({"fingerprints": [{"name": "a", "share": 0.5, "longest": 9}], "rows": []})

        clock, store = Clock(), Register()
        services, transaction = self.make(OneChild(), store, clock)
        transaction.content = self.content(b"x")
        self.assertEqual((yield services.known(transaction)), Registered())
        transaction.shared = None
        self.assertEqual((yield services.known(transaction)), Registered())
        self.assertEqual(asked, ["x"])
        store.tables = ["/a.table"]
        clock.advance(REGISTERED_S + 1)
        transaction.shared = None
        found = yield services.known(transaction)
        self.assertEqual(found.fingerprints, (Fingerprint("a", 0.5, 9),))
        self.assertEqual(asked, ["x", "x", "known"])

    @inlineCallbacks
    def test_failures_are_told(self) -> Any:
        """A folder that cannot be read, a child that answers something else."""

        class Bad:
            def request(self) -> dict[str, Any]:
                raise StoreFailed("no folder")

        services, transaction = self.make(None, Bad())
        yield self.assertFailure(services.known(transaction), ServiceFailed)

        class Good:
            def request(self) -> dict[str, Any]:
                return {"key": "", "fingerprints": ["/x"], "tables": []}

        class Liar:
            def run(self, *_: Any) -> Any:
                return succeed({"fingerprints": [{"name": 7}], "rows": []})

        services, transaction = self.make(Liar(), Good())
        transaction.content = self.content(b"x")
        failure = yield self.assertFailure(services.known(transaction), ChildFailed)
        self.assertEqual(failure.kind, "lied")
