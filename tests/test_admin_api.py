"""The API: answers, refusals, changes with their audit, the event stream, and the document."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import models, models_backends, shown
from smtpgate.admin.openapi import build
from smtpgate.admin.routes import Order
from smtpgate.admin.site import ROUTES
from smtpgate.config.model import Credentials, Secret
from smtpgate.policy import event as told
from tests.admin_kit import ApiCase, Desk, make_session

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SERVER = "/api/v1/backends/mail/servers/127.0.0.1:2600"


class LookTests(ApiCase):
    """Questions."""

    def test_overview(self) -> None:
        """State, counters, times in RFC 3339."""
        found = self.get("/overview")
        self.assertEqual((found["state"], found["sessions"], found["servers"]), ("accepting", 0, 2))
        self.assertRegex(found["started"], RFC3339)
        self.assertEqual(found["warnings"][0]["key"], "backends.mail.client_info")

    def test_live_session(self) -> None:
        """A session that runs is found by its id, as it stands."""
        facts = make_session()
        facts.ended, facts.transaction = 0.0, facts.transactions.pop()
        facts.transaction.outcome = ""
        self.desk.control.session = lambda id: (facts, 200.0) if id == facts.id else None  # type: ignore[assignment, method-assign]
        found = self.get(f"/sessions/{facts.id}")
        self.assertTrue(found["is_live"])
        self.assertEqual(found["duration_ms"], 100_000)
        self.assertEqual(found["messages"][0]["outcome"], "")
        self.assertIn("on its way", self.get(f"/messages/{facts.id}.1")["explanation"])

    def test_ended_session_and_message(self) -> None:
        """By the session's id, and by the message's."""
        facts = make_session()
        self.desk.history.keep(facts)
        record = self.get(f"/sessions/{facts.id}.1")
        self.assertEqual(record["id"], facts.id)
        self.assertEqual([step["who"] for step in record["timeline"]][-1], "us")
        found = self.get(f"/messages/{facts.id}.1")
        self.assertEqual(found["verdict"], "accepted")
        self.assertEqual(found["message"]["recipients"][0]["state"], "delivered")

    def test_search(self) -> None:
        """By reference inside a bounce, by address, by outcome."""
        for number in range(3):
            facts = make_session(f"01J9UK7Q0000000000000000A{number}", sender=f"user{number}@example.org")
            self.desk.history.keep(facts)
        bounce = "550%205.7.1%20no%2001J9UK7Q0000000000000000A1.1%20(in%20reply)"
        for query, ids in (
            ("", 3),
            (f"?q={bounce}", 1),
            ("?q=USER2", 1),
            ("?q=zzz", 0),
            ("?outcome=refused", 0),
            ("?limit=2", 2),
        ):
            self.assertEqual(len(self.get(f"/messages{query}")["items"]), ids, query)

    def test_backends(self) -> None:
        """All, one, and none of that name."""
        self.assertEqual(
            [one["name"] for one in self.get("/backends")["items"]], ["127.0.0.1:2600", "unix:/run/mail.sock"]
        )
        self.assertEqual(len(self.get("/backends/mail")["items"]), 2)
        self.assertEqual(self.desk.ask("GET", "/api/v1/backends/none", token=self.owner).status, 404)

    def test_S_29_config_hides_secrets(self) -> None:
        """No secret is in the answer, wherever it stands in the tree."""
        self.assertEqual(shown.plain(Credentials("relay", Secret("planted-one")))["password"], "***")
        self.assertEqual(
            shown.plain({"api_key": "planted-two", "deep": [{"Token": "planted-three", "key_file": "/x"}]}),
            {"api_key": "***", "deep": [{"Token": "***", "key_file": "/x"}]},
        )
        found = self.get("/config")
        self.assertEqual(found["settings"]["listeners"]["mx"]["role"], "mx")
        self.assertNotIn("planted", json.dumps(found))

    def test_me(self) -> None:
        """Who asks."""
        self.assertEqual(self.get("/me")["role"], "owner")
        local = self.desk.ask("GET", "/api/v1/me", door="local", host="anything").json()
        self.assertEqual((local["kind"], local["role"]), ("cli", "owner"))


class DoTests(ApiCase):
    """Changes."""

    def test_drain_and_ready(self) -> None:
        """Also for a server whose name holds a slash; each leaves an audit record and an event."""
        for path, index in ((SERVER, 0), ("/api/v1/backends/mail/servers/unix:%2Frun%2Fmail.sock", 1)):
            self.assertEqual(self.desk.post_json(f"{path}/drain", {"reason": "update"}, token=self.owner).status, 200)
            self.assertTrue(self.desk.control.servers()[index].is_drained)
            self.assertEqual(self.desk.post_json(f"{path}/ready", {}, token=self.owner).status, 200)
            self.assertFalse(self.desk.control.servers()[index].is_drained)
        self.assertEqual(
            [(row["action"], row["target"], row["detail"]) for row in self.desk.users.rows][:2],
            [("server.drain", "mail/127.0.0.1:2600", "update"), ("server.ready", "mail/127.0.0.1:2600", "")],
        )
        happened = [event.name for event in self.desk.control.events if type(event) is told.Happened]  # type: ignore[attr-defined]
        self.assertIn("admin.server.drain", happened)

    def test_unknown_things_leave_no_record(self) -> None:
        """404, and nothing in the audit."""
        for path in ("/api/v1/backends/mail/servers/nowhere:1/drain", "/api/v1/sessions/NONE/kill"):
            self.assertEqual(self.desk.post_json(path, {}, token=self.owner).status, 404)
        self.assertEqual(self.desk.users.rows, [])

    def test_unknown_fields_are_refused(self) -> None:
        """With a pointer to each fault."""
        answer = self.desk.post_json(f"{SERVER}/drain", {"reason": 3, "force": True}, token=self.owner)
        self.assertEqual(answer.status, 422)
        self.assertEqual(answer.header("content-type"), "application/problem+json")
        self.assertEqual({one["pointer"] for one in answer.json()["errors"]}, {"/reason", "/force"})
        self.assertEqual(answer.json()["request_id"], answer.header("x-request-id"))

    def test_bodies_that_are_no_json(self) -> None:
        """Broken, of another shape, or with what does not belong into a line."""
        headers = {"Content-Type": "application/json"}
        for body, status in (
            (b"{", 400),
            (b"[]", 422),
            (b'"x"', 422),
            (b'{"reason": "a\\nb"}', 422),
            (b"\xff", 400),
            (b"", 200),
        ):
            answer = self.desk.ask("POST", f"{SERVER}/drain", body=body, headers=headers, token=self.owner)
            self.assertEqual(answer.status, status, body)

    def test_every_body_is_strict(self) -> None:
        """No request model takes unknown fields or guesses types."""
        for route in ROUTES:
            if route.body is not None:
                self.assertTrue(issubclass(route.body, Order), route.path)
                self.assertEqual(route.body.model_config.get("extra"), "forbid")
                self.assertTrue(route.body.model_config.get("strict"))

    def test_users(self) -> None:
        """Added, listed, removed; the last owner stays."""
        self.post("/users", {"name": "bob", "role": "operator", "password": "a long enough phrase"}, 201)
        self.assertEqual([one["name"] for one in self.get("/users")["items"]], ["ann", "bob"])
        self.post("/users", {"name": "bob", "role": "emperor", "password": "a long enough phrase"}, 422)
        self.post("/users", {"name": "eve", "role": "owner", "password": "short"}, 422)
        self.assertEqual(self.remove("/users/ann"), 409)
        self.assertEqual(self.remove("/users/bob"), 200)
        self.assertEqual(self.remove("/users/bob"), 404)
        self.assertNotIn("phrase", json.dumps(self.desk.users.rows))

    def test_tokens(self) -> None:
        """Shown once, good at once, dead at once."""
        text = self.post("/tokens", {"name": "ci", "role": "auditor"}, 201)["token"]
        self.assertRegex(text, r"^sgt_[0-9a-zA-Z]+_[\w-]{43}$")
        self.assertEqual(self.desk.ask("GET", "/api/v1/audit", token=text).status, 200)
        listed = self.get("/tokens")
        self.assertNotIn(text, json.dumps(listed))
        id = next(one["id"] for one in listed["items"] if one["name"] == "ci")
        self.assertEqual(self.desk.ask("DELETE", f"/api/v1/tokens/{id}", token=self.owner).status, 200)
        self.assertEqual(self.desk.ask("GET", "/api/v1/audit", token=text).status, 401)
        self.assertNotIn(text, json.dumps(self.desk.users.rows))

    def test_audit(self) -> None:
        """Pages of it, newest first."""
        for _ in range(5):
            self.desk.post_json(f"{SERVER}/probe", {}, token=self.owner)
        first = self.get("/audit?limit=2")
        self.assertEqual([one["seq"] for one in first["items"]], [5, 4])
        self.assertTrue(first["has_more"])
        second = self.get(f"/audit?limit=2&cursor={first['next_cursor']}")
        self.assertEqual([one["seq"] for one in second["items"]], [3, 2])
        self.assertTrue(self.get("/audit/verify")["is_intact"])

    def test_stop(self) -> None:
        """Answered first, done after."""
        stopped: list[int] = []
        self.desk.control.stop = lambda: stopped.append(1)
        self.post("/system/stop", {}, 202)
        self.assertEqual(stopped, [])
        self.desk.clock.advance(0.2)
        self.assertEqual(stopped, [1])

    def test_kill(self) -> None:
        """A live session is ended by name."""
        facts = make_session()
        killed: list[tuple[str, str]] = []
        self.desk.control.session = lambda id: (facts, 1.0)  # type: ignore[assignment, method-assign]
        self.desk.control.kill_session = lambda id, actor: killed.append((id, actor.name))  # type: ignore[method-assign]
        self.post(f"/sessions/{facts.id}/kill", {})
        self.assertEqual(killed, [(facts.id, "owner")])


class CheckTests(ApiCase):
    """Dry runs."""

    def test_validate(self) -> None:
        """All problems with their lines, and nothing changes."""
        before = self.desk.control.revision
        found = self.post("/config/validate", {"text": "# x\nhostname = 3\n"})
        self.assertFalse(found["is_valid"])
        self.assertIn(2, [one["line"] for one in found["problems"]])
        self.assertIs(self.desk.control.revision, before)

    def test_explain(self) -> None:
        """The way of a recipient, and why a strange one has none."""
        question = {"listener": "mx", "recipients": ["bob@example.net", "bob@elsewhere.example"]}
        near, far = self.post("/routes/trace", question)["items"]
        self.assertEqual((near["recipient"], near["answer"]), ("bob@example.net", "route 1: backend mail"))
        self.assertIn("relays for nobody", far["answer"])
        self.post("/routes/trace", {**question, "listener": "none"}, 404)

    def test_explain_takes_no_nonsense(self) -> None:
        """Each fault with its place and in words."""
        wrong = {"listener": "mx", "client": "x", "sender": "ann", "recipients": ["bob@example.net", "bob@@x", ""]}
        found = {one["pointer"]: one["message"] for one in self.post("/routes/trace", wrong, 422)["errors"]}
        self.assertEqual(set(found), {"/client", "/sender", "/recipients/1", "/recipients/2"})
        self.assertEqual(found["/client"], "x is no IP address")
        self.post("/routes/trace", {"listener": "mx", "recipients": []}, 422)


class DocumentTests(ApiCase):
    """The API document."""

    def test_it_describes_every_route(self) -> None:
        """Each with its permission, its path parameters, its bodies, and a good answer."""
        document = self.get("/openapi.json")
        self.assertEqual(document["openapi"], "3.1.0")
        told_routes = [route for route in ROUTES if route.kind == "api"]
        self.assertEqual(sum(len(path) for path in document["paths"].values()), len(told_routes))
        ids = []
        for path, operations in document["paths"].items():
            self.assertNotIn("<", path)
            for operation in operations.values():
                ids.append(operation["operationId"])
                self.assertTrue(operation["summary"] and operation["x-permission"])
                named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
                self.assertEqual(named, set(re.findall(r"{(\w+)}", path)))
                self.assertTrue(any(status.startswith("2") for status in operation["responses"]))
        self.assertEqual(len(ids), len(set(ids)))

    def test_references_lead_somewhere(self) -> None:
        """Every $ref has its schema."""
        document = build(ROUTES)
        names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
        self.assertLessEqual(names, set(document["components"]["schemas"]))
        self.assertIn("SessionRecord", names)

    def test_a_validator_accepts_it(self) -> None:
        """openapi-spec-validator, where it is installed."""
        try:
            from openapi_spec_validator import validate
        except ImportError:
            self.skipTest("missing: Python package openapi-spec-validator")
        validate(build(ROUTES))

    def test_answers_are_as_documented(self) -> None:
        """Models with the documented fields give the answers."""
        facts = make_session()
        self.desk.history.keep(facts)
        places = {
            "overview": models.OverviewModel,
            "backends": models_backends.ServerList,
            "messages": models.MessageList,
            "config": models.ConfigModel,
            f"messages/{facts.id}.1": models.MessageDetail,
        }
        for place, model in places.items():
            model.model_validate(self.get(f"/{place}"))


class ThreadTests(SynchronousTestCase):
    """What takes long is not done on the reactor."""

    def test_validation_goes_to_a_thread(self) -> None:
        """So do the file's checks."""
        desk = Desk()
        called: list[Any] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            called.append(function)
            return maybeDeferred(function, *args)

        desk.office.in_thread = in_thread
        desk.control.engine.in_thread = in_thread
        for body in ({"text": "x = 1"}, {}):
            self.assertEqual(desk.post_json("/api/v1/config/validate", body, role="owner").status, 200)
        self.assertEqual(len(called), 2)


class NumberTests(ApiCase):
    """Counts by the minute, and what Prometheus reads."""

    def test_series(self) -> None:
        """Outcomes fall into the minute in which they were told; quiet minutes are there too."""
        for outcome, wait in (
            ("delivered", 0),
            ("unacked", 0),
            ("refused", 60),
            ("deferred", 120),
            ("aborted", 0),
        ):
            self.desk.clock.advance(wait)
            facts = make_session(outcome=outcome)
            self.desk.control.hear(told.TransactionEnded(facts.transactions[0]))
        points = self.get("/series?minutes=10")["points"]
        self.assertEqual(
            [(p["accepted"], p["refused"], p["deferred"]) for p in points[-4:]],
            [(2, 0, 0), (0, 1, 0), (0, 0, 0), (0, 0, 1)],
        )
        self.assertTrue(all(RFC3339.fullmatch(p["time"]) for p in points))
        self.assertEqual(len(self.get("/series?minutes=2")["points"]), 2)

    def test_exposition(self) -> None:
        """The collector's families, in the form that was asked for."""
        from prometheus_client.core import CounterMetricFamily

        class Collector:
            def collect(self) -> Any:
                yield CounterMetricFamily("smtpgate_messages", "x", value=3)

        self.desk.office.numbers._metrics = mock_metrics = type("Metrics", (), {})()
        mock_metrics.snapshot = Collector
        answer = self.desk.ask("GET", "/metrics")
        self.assertIn("smtpgate_messages_total 3.0", answer.text)
        self.assertIn("text/plain", answer.header("content-type"))
        answer = self.desk.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
        self.assertIn("# EOF", answer.text)
