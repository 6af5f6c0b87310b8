"""The page and API of the process: what it says, no mail for a while, and a bundle that gives nothing away."""

from __future__ import annotations

import io
import tarfile
from types import SimpleNamespace
from urllib.parse import urlencode

from smtpgate.control.upkeep import Machine, Place, percentile
from smtpgate.control.views import Refused
from smtpgate.policy.meter import Histogram
from smtpgate.smtp import status
from tests.admin_kit import CONFIG, PASSWORD, ApiCase, Desk

#: As it might stand in the options of a filter, and in the log.
SECRET, CODE = "planted-secret-of-a-filter", "planted-code-of-the-first-visit"

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class SystemTests(ApiCase):
    """One gateway."""

    def test_what_it_says(self) -> None:
        """Process, listeners, folder; the page has the same."""
        upkeep = self.desk.control.upkeep
        upkeep.machine = lambda: Machine(4711, 70, 100, 50 * 2**20, 2**20, 2**30, 0.0, 0)
        upkeep.places = lambda: (Place("front", "tcp:25", "192.0.2.1:25"),)
        found = self.get("/system")
        self.assertEqual((found["pid"], found["descriptors"], found["descriptors_most"]), (4711, 70, 100))
        self.assertEqual((found["backup"], found["lag_p99_ms"], found["is_draining"]), (None, None, False))
        page = self.desk.ask("GET", "/system", token=self.owner).text
        for words in ("4711", "192.0.2.1:25", "50.0 MiB", "No backup was made yet"):
            self.assertIn(words, page)

    def test_no_mail_for_a_while(self) -> None:
        """Who comes hears 421, until somebody says otherwise; twice is refused, and a stop is not taken back."""
        reception, name = self.desk.control.reception, next(iter(self.desk.control.settings.listeners))
        self.post("/system/undrain", {}, 409)
        self.assertEqual(self.post("/system/drain?dry_run=1", {})["would"]["action"], "system.drain")
        self.assertIsNone(reception.refusal(name, "192.0.2.7"))
        self.post("/system/drain", {"reason": "new disk"})
        self.assertEqual(reception.refusal(name, "192.0.2.7"), status.SHUTTING_DOWN)
        self.assertFalse(self.desk.control.is_ready)
        self.post("/system/drain", {}, 409)
        self.post("/system/undrain", {})
        self.assertIsNone(reception.refusal(name, "192.0.2.7"))
        self.assertTrue(self.desk.control.is_ready)
        self.post("/system/drain", {})
        reception.on_idle = lambda: None
        self.post("/system/undrain", {}, 409)

    def test_by_the_page_it_is_typed(self) -> None:
        """Nothing happens without the words."""
        for sure, code, is_draining in (("", 422, False), ("yes", 422, False), ("stop taking mail", 303, True)):
            body = urlencode({"sure": sure}).encode()
            answer = self.desk.ask("POST", "/system/drain", token=self.owner, body=body, headers=FORM)
            self.assertEqual((answer.status, self.desk.control.reception.is_draining), (code, is_draining), sure)

    def test_logs_anew(self) -> None:
        """As the signal does."""
        opened: list[str] = []
        self.desk.control.reopen_logs = lambda: opened.append("anew")
        self.post("/system/reopen-logs", {})
        self.assertEqual(opened, ["anew"])

    def test_a_bundle_gives_nothing_away(self) -> None:
        """No secret of the configuration, no code of the first visit, no token, no password."""
        desk = Desk(CONFIG)
        desk.users.add_user("ann", "owner", PASSWORD)
        token = desk.token("owner")
        books = desk.control.configuration
        # The text alone counts for the bundle.
        books.active = type(books.active)(
            1, "d", f'{CONFIG}\n[[filters]]\nuse = "x"\noptions = {{ api_key = "{SECRET}" }}\n', 0, "a", 0.0, "m",
            "file", "applied",
        )  # fmt: skip
        lines = [(1, "info", '{"event":"gateway.started","msg":"serves"}\n'),
                 (2, "warning", f'{{"event":"admin.setup","msg":"code: {CODE}"}}\n')]  # fmt: skip
        desk.control.logs.journal = SimpleNamespace(ring=SimpleNamespace(lines=lambda: lines))
        answer = desk.ask("GET", "/api/v1/system/bundle", token=token)
        self.assertEqual(answer.status, 200)
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
            parts = {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
        whole = "\n".join(parts.values())
        self.assertIn("gateway.started", whole)
        self.assertIn('api_key = "***"', parts["smtpgate-bundle/smtpgate.toml"])
        for secret in (SECRET, CODE, token, PASSWORD):
            self.assertNotIn(secret, whole)

    def test_a_backup(self) -> None:
        """As a task, whose result says where it lies; what cannot be done is said before there is one."""
        upkeep = self.desk.control.upkeep
        self.post("/system/backup", {}, 409)
        made: list[str] = []

        def write() -> tuple[str, int]:
            made.append("one")
            if len(made) > 1:
                raise Refused("no space left")
            return "/state/backups/one", 4711

        upkeep.backup = write
        self.assertEqual(self.post("/system/backup?dry_run=1", {})["would"]["action"], "system.backup")
        self.assertEqual(made, [])
        task = self.post("/system/backup", {}, 202)
        self.assertEqual(self.get(f"/tasks/{task['id']}/result"), {"file": "/state/backups/one", "octets": 4711})
        answer = self.desk.ask("POST", "/system/backup", token=self.owner, body=b"", headers=FORM)
        self.assertEqual(answer.status, 303)
        failed = self.get(answer.header("location").replace("/tasks/", "/tasks/"))
        self.assertEqual((failed["state"], failed["detail"]), ("failed", "no space left"))
        rows = [row.get("result", "ok") for row in self.desk.users.rows if row["action"] == "system.backup"]
        self.assertEqual(rows, ["ok", "ok", "failed"])

    def test_a_percentile(self) -> None:
        """The bound of its bucket."""
        self.assertIsNone(percentile(Histogram((1.0, 2.0)), 0.99))
        histogram = Histogram((1.0, 2.0, 4.0))
        for value in (0.5,) * 98 + (1.5,) * 2:
            histogram.add(value)
        self.assertEqual((percentile(histogram, 0.5), percentile(histogram, 0.99)), (1.0, 2.0))
