"""Tasks: in slices, one after the other, ended by somebody, kept over a restart; over the API and on the page."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.control.jobs import PAUSE_S, RESULT_CHARACTERS, STOP_S, WAITING, Result
from smtpgate.control.views import Actor, Refused, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.state import job_store
from smtpgate.state.job_store import KEPT, JobStore
from tests.test_admin_quarantine import QuarantineCase

ANN = Actor("user", "ann")


class JobCase(QuarantineCase):
    """Tasks over a real store."""

    def setUp(self) -> None:
        super().setUp()
        self.jobs = self.desk.control.jobs
        self.store = self.jobs.store = JobStore(self.inline)
        self.addCleanup(self.settle)

    def settle(self) -> None:
        """Nothing is left at work."""
        self.stop()
        self.turn()

    def stop(self) -> Deferred[None]:
        """As the gateway stops; what is at work may go on."""
        return self.desk.control.engine.start(self.jobs.close())

    def do(self, coroutine: Any) -> Any:
        return self.successResultOf(self.desk.control.engine.start(coroutine))

    def start(self, work: Any, permission: str = "test:run") -> Any:
        return self.do(self.jobs.start("Count", ANN, permission, work))

    def turn(self, times: int = 5) -> None:
        self.desk.clock.pump([PAUSE_S] * times)


class RunTests(JobCase):
    """What is done, and when."""

    def test_slices_and_result(self) -> None:
        """Everything else has its turn between two; progress and result can be seen, and are kept."""
        seen: list[Any] = []
        self.jobs.watch(lambda job: seen.append((job.state, job.done)))

        async def work(run: Any) -> str:
            for number in range(3):
                assert await run.step(number, 3)
            return '{"a":1}'

        job = self.start(work)
        self.assertEqual(self.do(self.jobs.get(job.id)).state, "running")
        self.turn()
        self.assertEqual(seen, [("running", 0), ("running", 0), ("running", 1), ("running", 2), ("done", 2)])
        self.jobs._known.clear()
        kept = self.do(self.jobs.get(job.id))
        self.assertEqual((kept.state, kept.result, kept.who), ("done", '{"a":1}', "user ann"))
        self.assertEqual([one.result for one in self.do(self.jobs.recent(10))], [""])

    def test_one_after_the_other(self) -> None:
        """And only so many wait."""
        gates: list[Deferred[None]] = []

        async def work(run: Any) -> str:
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            await gate
            return "{}"

        first, second = self.start(work), self.start(work)
        self.assertEqual((len(gates), self.do(self.jobs.get(second.id)).state), (1, "waiting"))
        for _ in range(WAITING - 1):
            self.start(work)
        self.failureResultOf(self.desk.control.engine.start(self.jobs.start("x", ANN, "test:run", work)), Refused)
        gates[0].callback(None)
        self.assertEqual((len(gates), self.do(self.jobs.get(first.id)).state), (2, "done"))
        self.stop()
        gates[1].callback(None)

    def test_ended_by_somebody(self) -> None:
        """After the slice that runs, with what there is; one that waits never begins; one that is over is over."""

        async def work(run: Any) -> str:
            done = 0
            while await run.step(done, 100):
                done += 1
            return json.dumps({"done": done})

        first, second = self.start(work), self.start(work)
        self.turn(3)
        for job in (second, first):
            self.do(self.jobs.cancel(job.id))
        self.turn()
        self.assertEqual(self.do(self.jobs.get(second.id)).state, "canceled")
        over = self.do(self.jobs.get(first.id))
        self.assertEqual((over.state, json.loads(over.result)["done"] < 100), ("canceled", True))
        self.failureResultOf(self.desk.control.engine.start(self.jobs.cancel(first.id)), Refused)
        self.failureResultOf(self.desk.control.engine.start(self.jobs.get("none")), Unknown)

    def test_faults(self) -> None:
        """Refusals are told, our own faults go to the log, what is too long is not kept; the next one runs."""

        async def refused(run: Any) -> str:
            raise Refused("there is nothing to count")

        async def broken(run: Any) -> str:
            raise KeyError("secret")

        async def long(run: Any) -> str:
            return "x" * (RESULT_CHARACTERS + 1)

        details = [self.do(self.jobs.get(self.start(work).id)).detail for work in (refused, broken, long)]
        self.assertEqual(details[0], "there is nothing to count")
        self.assertNotIn("secret", details[1])
        self.assertIn("too long", details[2])
        events = [event.name for event in self.desk.control.events if hasattr(event, "name")]  # type: ignore[attr-defined]
        self.assertEqual(events.count("task.failed"), 1)

    def test_what_cannot_be_written_down_is_not_begun(self) -> None:
        """What runs already is done all the same."""

        async def work(run: Any) -> str:
            self.store.put = broken  # type: ignore[method-assign]
            return "{}"

        async def broken(job: Any) -> None:
            raise StoreFailed("disk full")

        self.start(work)
        ran: list[int] = []

        async def other(run: Any) -> str:
            ran.append(1)
            return "{}"

        self.failureResultOf(self.desk.control.engine.start(self.jobs.start("x", ANN, "test:run", other)), Refused)
        self.assertEqual(ran, [])


class StoreTests(JobCase):
    """What is on the disk."""

    def test_a_restart_interrupts(self) -> None:
        """What ran, and what waited; what was over stays."""
        gate: Deferred[None] = Deferred()

        async def quick(run: Any) -> str:
            return "{}"

        async def slow(run: Any) -> str:
            await gate
            return "{}"

        ids = [self.start(work).id for work in (quick, slow, quick)]
        JobStore(self.database).begin(self.desk.office.wall())
        states = [self.successResultOf(self.store.get(id)).state for id in ids]
        self.assertEqual(states, ["done", "interrupted", "interrupted"])
        gate.callback(None)

    def test_a_stop_waits_for_the_slice(self) -> None:
        """It ends with what it has; what waited is not begun; nothing is taken any more."""
        gate: Deferred[None] = Deferred()

        async def work(run: Any) -> str:
            await gate
            return json.dumps(await run.step(1, 2))

        first, second = self.start(work), self.start(work)
        stopped = self.stop()
        self.assertNoResult(stopped)
        gate.callback(None)
        self.turn(1)
        self.successResultOf(stopped)
        kept = self.do(self.jobs.get(first.id))
        self.assertEqual((kept.state, kept.result), ("interrupted", "false"))
        self.assertEqual(self.do(self.jobs.get(second.id)).state, "waiting")
        self.failureResultOf(self.desk.control.engine.start(self.jobs.start("x", ANN, "test:run", work)), Refused)

    def test_a_stop_does_not_wait_for_ever(self) -> None:
        """Where a slice hangs."""

        gate: Deferred[None] = Deferred()
        self.addCleanup(gate.callback, None)

        async def work(run: Any) -> str:
            await gate
            return ""

        self.start(work)
        stopped = self.stop()
        self.desk.clock.advance(STOP_S)
        self.successResultOf(stopped)

    def test_old_results_make_room(self) -> None:
        """All together are bounded; the newest stays, and so do the tasks."""

        async def work(run: Any) -> Result:
            return Result("x" * 60, "text/csv")

        self.patch(job_store, "KEPT_CHARACTERS", 100)
        ids = []
        for _ in range(3):
            self.desk.clock.advance(1)
            ids.append(self.start(work).id)
        found = [self.do(self.jobs.get(id)) for id in ids]
        self.assertEqual([len(job.result) for job in found], [0, 0, 60])
        self.assertEqual({(job.state, job.media) for job in found}, {("done", "text/csv")})

    def test_bounded(self) -> None:
        """In number, and in time."""

        async def quick(run: Any) -> str:
            return "{}"

        for _ in range(KEPT + 5):
            self.start(quick)
            self.desk.clock.advance(1)
        self.assertEqual(len(self.do(self.jobs.recent(500))), KEPT)
        last = self.start(quick)
        self.desk.clock.advance(8 * 86400)
        self.failureResultOf(self.desk.control.engine.start(self.jobs.get(last.id)), Unknown)
        self.start(quick)
        self.assertEqual(len(self.do(self.jobs.recent(500))), 1)


class ApiTests(JobCase):
    """202, and what follows."""

    def order(self, ids: list[str], action: str = "delete", **headers: str) -> Any:
        body = {"action": action, "ids": ids}
        headers = {"Prefer": "respond-async", **headers}
        return self.desk.post_json("/api/v1/quarantine", body, token=self.owner, headers=headers)

    def test_many_are_deleted_in_slices(self) -> None:
        """Answered before it is done; the result is what the call would have answered; the audit has it once."""
        ids = [self.hold() for _ in range(45)]
        answer = self.order(ids)
        self.assertEqual(answer.status, 202)
        place = answer.header("location")
        self.turn(10)
        task = self.desk.ask("GET", place, token=self.owner).json()
        self.assertEqual((task["state"], task["done"], task["total"]), ("done", 45, 45))
        result = self.desk.ask("GET", f"{place}/result", token=self.owner).json()
        self.assertEqual([one["id"] for one in result["items"] if one["done"]], ids)
        self.assertEqual([row["target"] for row in self.desk.users.rows], ["45 messages"])
        page = self.desk.ask("GET", "/tasks", token=self.owner).text
        self.assertIn(f'href="/tasks/{task["id"]}/result"', page)

    def test_ended_in_the_middle(self) -> None:
        """What was done stands in the result, and the rest is as it was."""
        ids = [self.hold() for _ in range(45)]
        place = self.order(ids).header("location")
        self.turn(1)
        tag = self.desk.ask("GET", place, token=self.owner).header("etag")
        answer = self.desk.ask("DELETE", place, token=self.owner, headers={"If-Match": tag})
        self.assertEqual(answer.status, 200, answer.text)
        self.turn(10)
        result = self.desk.ask("GET", f"{place}/result", token=self.owner).json()
        self.assertTrue(0 < len(result["items"]) < 45, len(result["items"]))
        left = self.desk.ask("GET", "/api/v1/quarantine?limit=500", token=self.owner).json()
        self.assertEqual(len(left["items"]) + len(result["items"]), 45)

    def test_a_refusal_is_the_result(self) -> None:
        """The order is taken, and the task says why it was not done."""
        body = {"text": "[[rate_limits]]\nname = 1\n", "hours": 1}
        headers = {"Prefer": "respond-async"}
        answer = self.desk.post_json("/api/v1/limits/simulate", body, token=self.owner, headers=headers)
        self.assertEqual(answer.status, 202, answer.text)
        place = answer.header("location")
        self.turn()
        task = self.desk.ask("GET", place, token=self.owner).json()
        self.assertEqual((task["state"], "no limit" in task["detail"]), ("failed", True))
        self.assertEqual(self.desk.ask("GET", f"{place}/result", token=self.owner).status, 409)

    def test_who_could_not_order_it_does_not_get_it(self) -> None:
        """Seen by all who may look, its result and its end only by those who could have ordered it."""
        place = self.order([self.hold()]).header("location")
        self.turn()
        self.assertEqual(self.desk.ask("GET", place, role="helpdesk").status, 200)
        self.assertEqual(self.desk.ask("GET", f"{place}/result", role="helpdesk").status, 403)
        id = place.rpartition("/")[2]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for role, status in (("helpdesk", 403), ("owner", 409)):
            answer = self.desk.ask("POST", f"/tasks/{id}/cancel", role=role, body=b"x=", headers=headers)
            self.assertEqual(answer.status, status)

    def test_limited_to_domains(self) -> None:
        """They see what they ordered, and of others not even that it is there."""
        other = self.order([self.hold()]).header("location")
        body = {"action": "delete", "ids": [self.hold()]}
        made = self.desk.users.add_token("limited", "quarantine-manager", 0.0, domains=("example.net",))
        limited = self.successResultOf(made)
        headers = {"Prefer": "respond-async"}
        own = self.desk.post_json("/api/v1/quarantine", body, token=limited, headers=headers).header("location")
        self.turn(10)
        self.assertEqual(self.desk.ask("GET", f"{own}/result", token=limited).status, 200)
        for path in (other, f"{other}/result"):
            self.assertEqual(self.desk.ask("GET", path, token=limited).status, 404)
        # Another token may have the same name.
        made = self.desk.users.add_token("limited", "quarantine-manager", 0.0, domains=("example.com",))
        for path in (own, f"{own}/result"):
            self.assertEqual(self.desk.ask("GET", path, token=self.successResultOf(made)).status, 404)
            made = self.desk.users.add_token("limited", "quarantine-manager", 0.0, domains=("example.com",))
        listed = self.desk.ask("GET", "/api/v1/tasks", token=limited).json()["items"]
        self.assertEqual([f"/api/v1/tasks/{one['id']}" for one in listed], [own])

    def test_results_are_files(self) -> None:
        """Of the type that they have."""

        async def work(run: Any) -> Result:
            return Result("a,b\r\n", "text/csv")

        job = self.start(work)
        answer = self.desk.ask("GET", f"/api/v1/tasks/{job.id}/result", token=self.owner)
        self.assertEqual((answer.text, answer.header("content-type")), ("a,b\r\n", "text/csv"))
        self.assertIn(f"task-{job.id}.csv", answer.header("content-disposition"))

    def test_the_same_order_twice(self) -> None:
        """Is one task; and without the header nothing is one."""
        ids = [self.hold()]
        first, second = (self.order(ids, **{"Idempotency-Key": "k"}) for _ in range(2))
        self.assertEqual(first.header("location"), second.json() and f"/api/v1/tasks/{second.json()['id']}")
        answer = self.desk.post_json("/api/v1/quarantine", {"action": "delete", "ids": ids}, token=self.owner)
        self.assertEqual((answer.status, answer.header("location")), (200, ""))
