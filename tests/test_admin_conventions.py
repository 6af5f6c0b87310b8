"""What holds for every call of the API: entity tags, versions of what is changed, dry runs, the same order twice."""

from __future__ import annotations

import dis
import inspect
import json
import re
from html import escape
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import smtpgate.admin
from smtpgate.admin import site, versions
from smtpgate.admin.answer import Answer as Answered
from smtpgate.admin.answer import as_json
from smtpgate.admin.cursors import Cursors
from smtpgate.admin.guard import Refusal
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Ask, Order, Route
from smtpgate.admin.site import ROUTES
from tests.admin_kit import PASSWORD, Answer, ApiCase, Desk

BAN = "/api/v1/bans"
SERVER = "/api/v1/backends/mail/servers/127.0.0.1:2600"


class TagTests(ApiCase):
    """ETag, If-None-Match, If-Match."""

    def ask(self, method: str, path: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.desk.ask(method, path, token=self.owner, headers=named)

    def test_what_is_the_same_is_not_sent_again(self) -> None:
        """304 for the tag of an answer, with nothing in it; 200 where it is another by now."""
        first = self.ask("GET", "/api/v1/users")
        tag = first.header("etag")
        self.assertRegex(tag, r'^"[0-9a-f]{32}"$')
        for header in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            same = self.ask("GET", "/api/v1/users", If_None_Match=header)
            self.assertEqual((same.status, same.body, same.header("etag")), (304, b"", tag))
        self.desk.users.add_user("bea", "helpdesk", PASSWORD)
        other = self.ask("GET", "/api/v1/users", If_None_Match=tag)
        self.assertEqual(other.status, 200)
        self.assertNotEqual(other.header("etag"), tag)

    def test_a_change_names_its_version(self) -> None:
        """428 without a version, 412 and what is there for an old one; fields that change by themselves are none."""
        current = as_json({"items": [{"name": "a", "last_used": 1}]})
        tag = versions.tag_of(current, {"last_used"})
        later = as_json({"items": [{"name": "a", "last_used": 2}]})
        self.assertEqual(versions.tag_of(later, {"last_used"}), tag)
        self.assertNotEqual(versions.tag_of(later), versions.tag_of(current))
        for header in (tag, "*", f'"b", {tag}'):
            versions.check(header, tag, current)
        with self.assertRaises(Refusal) as none:
            versions.check(" ", tag, current)
        self.assertEqual((none.exception.slug, none.exception.status), ("precondition-required", 428))
        with self.assertRaises(Refusal) as old:
            versions.check('"old"', tag, current)
        self.assertEqual((old.exception.status, old.exception.headers["ETag"]), (412, tag))
        self.assertEqual(old.exception.more["current"], {"items": [{"name": "a", "last_used": 1}]})


class Thing(Order):
    """What a test changes."""

    words: str


class VersionedTests(SynchronousTestCase):
    """A thing that a GET shows and a PUT changes, bound as all routes are."""

    def setUp(self) -> None:
        self.words = "first"

        async def look(ask: Ask) -> Answered:
            return as_json({"words": self.words})

        async def put(ask: Ask) -> Answered:
            await ask.change("thing.put", ask.body.words)
            self.words = ask.body.words
            return as_json({})

        path = "/api/v1/thing"
        routes = (Route("GET", path, "self", look), Route("PUT", path, "self", put, body=Thing))
        self.patch(site, "ROUTES", (*site.ROUTES, *routes))
        self.patch(site, "_LOOKS", {**site._LOOKS, path: routes[0]})
        self.desk = Desk()
        self.owner = self.desk.token("owner")

    def put(self, words: str, tag: str = "", more: str = "") -> Answer:
        headers = {"Content-Type": "application/json", **({"If-Match": tag} if tag else {})}
        body = json.dumps({"words": words}).encode()
        return self.desk.ask("PUT", f"/api/v1/thing{more}", body=body, headers=headers, token=self.owner)

    def test_two_who_change_it(self) -> None:
        """Who looked before the other changed it is told so, with what is there now; nothing is lost."""
        tag = self.desk.ask("GET", "/api/v1/thing", token=self.owner).header("etag")
        self.assertEqual(self.put("ann's").status, 428)
        self.assertEqual(self.put("ann's", tag).status, 200)
        late = self.put("bea's", tag)
        self.assertEqual((late.status, late.json()["current"]), (412, {"words": "ann's"}))
        self.assertEqual(self.words, "ann's")
        self.assertEqual(self.put("bea's", late.header("etag"), "?dry_run=1").json()["would"]["action"], "thing.put")
        self.assertEqual(self.words, "ann's")
        self.assertEqual(self.put("bea's", late.header("etag")).status, 200)
        self.assertEqual(self.words, "bea's")
        self.assertEqual(self.put("carl's", "*").status, 200)


class DryRunTests(ApiCase):
    """`?dry_run=1` on every verb."""

    def state(self) -> list[Any]:
        control = self.desk.control
        return [
            list(self.desk.users.rows),
            [(view.name, view.is_drained) for view in control.servers()],
            control.traffic.bans(50),
            control.reception.is_draining,
            control.revision_at,
        ]

    def test_it_checks_and_does_nothing(self) -> None:
        """What would be done is told; nothing is done, and nothing is in the audit."""
        orders = [
            ("POST", f"{SERVER}/drain", {"reason": "new kernel"}, "server.drain"),
            ("POST", BAN, {"key": "192.0.2.9", "minutes": 5, "reason": "rude"}, "ban.set"),
            ("POST", "/api/v1/users", {"name": "bea", "role": "helpdesk", "password": PASSWORD}, "user.add"),
            ("POST", "/api/v1/tokens", {"name": "t", "role": "helpdesk"}, "token.add"),
            ("POST", "/api/v1/system/stop", {}, "stop"),
            ("DELETE", "/api/v1/users/bob", None, "user.remove"),
        ]
        self.desk.users.add_user("bob", "helpdesk", PASSWORD)
        before = self.state()
        for method, path, body, action in orders:
            octets = b"" if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            answer = self.desk.ask(method, f"{path}?dry_run=1", body=octets, headers=headers, token=self.owner)
            self.assertEqual(answer.status, 200, answer.text)
            said = answer.json()
            self.assertEqual((said["is_dry_run"], said["would"]["action"]), (True, action))
        self.assertEqual(self.state(), before)

    def test_it_refuses_what_the_change_would_refuse(self) -> None:
        """The same checks come first."""
        for path, body, status in (
            (f"{SERVER}x/drain", {}, 404),
            ("/api/v1/users", {"name": "bea", "role": "emperor", "password": PASSWORD}, 422),
            ("/api/v1/users", {"name": "ann", "role": "helpdesk", "password": PASSWORD}, 409),
        ):
            answer = self.desk.post_json(f"/api/v1{path}"[len("/api/v1") :] + "?dry_run=1", body, token=self.owner)
            self.assertEqual(answer.status, status, answer.text)

    def test_every_verb_takes_it_and_questions_do_not(self) -> None:
        """It is in the parameters of all that changes something."""
        for route in ROUTES:
            self.assertEqual("dry_run" in route.parameters, route.changes, route.path)
        answer = self.desk.ask("GET", "/api/v1/users?dry_run=1", token=self.owner)
        self.assertEqual(answer.status, 400)

    def test_every_verb_comes_by_the_place_where_a_dry_run_ends(self) -> None:
        """By itself or by what it calls: one that does not would act in a dry run, and be in no audit."""

        def comes_by(function: Any) -> bool:
            steps = list(dis.get_instructions(function))
            if {"change", "guarded_change"} & {
                one.argval for one in steps if one.opname in ("LOAD_ATTR", "LOAD_METHOD")
            }:
                return True
            called = [function.__globals__.get(one.argval) for one in steps if one.opname == "LOAD_GLOBAL"]
            return any(inspect.iscoroutinefunction(one) and comes_by(one) for one in called)

        verbs = [route.serve for route in ROUTES if route.changes]
        self.assertGreater(len(verbs), 20)
        self.assertEqual([serve.__name__ for serve in verbs if not comes_by(serve)], [])
        others = [route.serve for route in ROUTES if route.kind == "api" and not route.changes]
        self.assertEqual([serve.__name__ for serve in others if comes_by(serve)], [])


class RepeatTests(ApiCase):
    """Idempotency-Key."""

    def order(self, value: Any, key: str, path: str = BAN, token: str = "") -> Answer:
        return self.desk.post_json(path, value, token=token or self.owner, headers={"Idempotency-Key": key})

    def test_the_second_does_nothing_and_gets_the_first_answer(self) -> None:
        """The same status and body, marked as repeated; one change, one line of audit."""
        ban = {"key": "192.0.2.9", "minutes": 5, "reason": "rude"}
        first, second = self.order(ban, "k1"), self.order(ban, "k1")
        self.assertEqual((second.status, second.body), (first.status, first.body))
        self.assertEqual((first.header("idempotency-replayed"), second.header("idempotency-replayed")), ("", "true"))
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["ban.set"])

    def test_a_key_is_of_one_caller_one_path_and_one_request(self) -> None:
        """Another body under it is refused; another caller's is another."""
        ban = {"key": "192.0.2.9", "minutes": 5, "reason": "rude"}
        self.order(ban, "k1")
        other = self.order({**ban, "minutes": 6}, "k1")
        self.assertEqual((other.status, other.json()["type"]), (422, "/problems/idempotency"))
        self.assertEqual(self.order(ban, "k1", token=self.desk.token("operator")).header("idempotency-replayed"), "")
        self.assertEqual(self.order({"reason": ""}, "k1", f"{SERVER}/drain").status, 200)
        self.assertEqual(self.order(ban, "k" * 201).status, 400)

    def test_it_holds_a_day(self) -> None:
        """Then the key is free."""
        ban = {"key": "192.0.2.9", "minutes": 5, "reason": "rude"}
        self.order(ban, "k1")
        self.desk.clock.advance(86401)
        self.assertEqual(self.order(ban, "k1").header("idempotency-replayed"), "")

    def test_secrets_are_not_kept(self) -> None:
        """A token is shown once: the second is told that it was made."""
        first = self.order({"name": "t", "role": "helpdesk"}, "k1", "/api/v1/tokens")
        second = self.order({"name": "t", "role": "helpdesk"}, "k1", "/api/v1/tokens")
        self.assertEqual((first.status, second.status), (201, 409))
        rows = json.dumps(self.desk.office.repeats.table.rows)
        self.assertNotIn(first.json()["token"].rpartition("_")[2], rows)

    def test_what_was_refused_is_refused_again(self) -> None:
        """A refusal did nothing: it is not kept, and the right request may follow under the same key."""
        self.assertEqual(self.order({"minutes": 5}, "k1").status, 422)
        self.assertEqual(self.order({"key": "192.0.2.9", "minutes": 5, "reason": "rude"}, "k1").status, 201)


class ProblemTests(ApiCase):
    """Kinds of refusals."""

    def test_each_kind_has_its_page(self) -> None:
        """Whatever the office refuses is of a kind that has a page and its status; an unknown kind has none."""
        used = set()
        for path in Path(smtpgate.admin.__file__).parent.glob("*.py"):
            used |= set(re.findall(r'Refusal\(\s*"([a-z-]+)",\s*(\d{3})', path.read_text("utf-8")))
            used |= {(two, one) for one, two in re.findall(r'_refuse\((\d{3}), "([a-z-]+)"', path.read_text("utf-8"))}
        self.assertGreater(len(used), 15)
        self.assertEqual(used, {(slug, str(problem.status)) for slug, problem in PROBLEMS.items()})
        for slug, problem in PROBLEMS.items():
            page = self.desk.ask("GET", f"/problems/{slug}", role="helpdesk")
            self.assertEqual(page.status, 200)
            self.assertIn(escape(problem.title), page.text)
        self.assertEqual(self.desk.ask("GET", "/problems/x", role="helpdesk").status, 404)


class CursorTests(SynchronousTestCase):
    """Places of pages."""

    def test_they_open_for_their_list_only(self) -> None:
        """Changed, cut, of another list, of another gateway: refused."""
        cursors = Cursors(b"s" * 32)
        sealed = cursors.seal("messages from:a", [1.5, "x"])
        self.assertEqual(cursors.open("messages from:a", sealed), [1.5, "x"])
        for of, text in (
            ("messages from:b", sealed),
            ("messages from:a", sealed[:-1]),
            ("messages from:a", "A" + sealed[1:]),
            ("messages from:a", ""),
            ("messages from:a", "é"),
            ("messages from:a", Cursors(b"t" * 32).seal("messages from:a", 1)),
        ):
            self.assertRaises(Refusal, cursors.open, of, text)
