"""The history decided again: from what is kept, and held mail whole; the matrix, its API, pages and command."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.filters.replay import _BUILT_IN, Replay
from smtpgate.plugins import find_factories
from smtpgate.policy.record import plain
from smtpgate.policy.verdict import FILTER_FAILED, Finding, merge
from smtpgate.proxy.limit_rules import CONCURRENCY, RATES
from smtpgate.smtp.reply import Reply
from tests import admin_kit
from tests.admin_kit import HOSTILE, make_session
from tests.bench_kit import CONFIG, MAIL, RULE, BenchCase
from tests.test_admin_bench import HELD, StandIn

REFUSED = {"outcome": "refused", "reply": Reply(550, "5.7.1", ("No",))}
SCORES = "[scores]\nreject = 5.0\ntag = 3.0\n"
FILTERS = '[[filters]]\nuse = "links"\nname = "links"\nmode = "{mode}"\n'
POINTS = Finding("odd-link", "note", score=4.0, filter="links", category="spam")


def rule(when: str, action: str = "reject", more: str = "") -> str:
    """One rule."""
    return f'[[rules]]\nname = "one"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'


class DecideTests(SynchronousTestCase):
    """One message, decided by settings."""

    base = admin_kit.CONFIG

    def setUp(self) -> None:
        self.factories = find_factories()[0]
        self.at_work = self.settings("")

    def settings(self, more: str) -> Any:
        return loads(self.base + more, "/nowhere/gate.toml", self.factories)

    def decide(self, more: str, at_work: str | None = None, revision: str = "", **facts: Any) -> tuple[str, str, str]:
        """What was decided, what would be, and why."""
        session = make_session(**facts)
        record = plain(session, session.ended)
        settings = self.settings(more)
        before = settings if at_work is None else self.settings(at_work)
        row = Replay(settings, before, revision).row(record, record["messages"][0])
        return row.old, row.new, row.why

    def test_a_rule_on_what_is_kept(self) -> None:
        """Sender, subject, size, recipients; one in shadow decides nothing."""
        self.assertEqual(self.decide(rule("subject == 'Hello'"))[:2], ("accept", "reject"))
        self.assertEqual(self.decide(rule("subject == 'Hello'", more='mode = "shadow"'))[:2], ("accept", "accept"))
        self.assertEqual(self.decide(rule("size < 10"))[:2], ("accept", "accept"))
        held = rule("recipient == 'bob@example.net'", "quarantine", 'held_as = "policy"')
        self.assertEqual(self.decide(held)[:2], ("accept", "quarantine"))

    def test_a_rule_for_one_of_several(self) -> None:
        """It decides nothing over the message."""
        facts = {"recipients": ("bob@example.net", "eve@example.net")}
        self.assertEqual(self.decide(rule("recipient == 'bob@example.net'"), **facts)[1], "accept")
        self.assertEqual(self.decide(rule("recipient_domain == 'example.net'"), **facts)[1], "reject")

    def test_what_cannot_be_asked(self) -> None:
        """A rule about content: unknown, unless it is the same as then, or something as strong decides."""
        content = rule("links.size() > 0")
        old, new, why = self.decide(content)
        self.assertEqual((old, new), ("accept", "unknown"))
        self.assertIn("links", why)
        known = {"revision": "abcdef012345"}
        self.assertEqual(self.decide(content, **known)[1], "accept")
        found = Finding("one", "reject", filter="rules")
        self.assertEqual(self.decide(content, findings=(found,), **REFUSED, **known)[:2], ("reject", "reject"))
        self.assertEqual(self.decide(content + rule("size > 0").replace('"one"', '"two"'))[1], "reject")
        self.assertEqual(self.decide(rule("links.size() > 0", "tag", "subject_tag = 'x'"))[1], "unknown")
        # A rule of that name that was otherwise says nothing.
        self.assertEqual(self.decide(content, rule("links.size() > 1"), **known)[1], "unknown")

    def test_points_are_weighed_anew(self) -> None:
        """By the thresholds, and the modes of filters, of the configuration that decides."""
        links = FILTERS.format(mode="enforce")
        self.assertEqual(self.decide(links, findings=(POINTS,))[1], "accept")
        self.assertEqual(self.decide(SCORES + links, findings=(POINTS,))[1], "tag")
        self.assertEqual(self.decide(SCORES.replace("5.0", "4.0") + links, findings=(POINTS,))[1], "reject")
        for off in ("", FILTERS.format(mode="shadow"), FILTERS.format(mode="off")):
            self.assertEqual(self.decide(SCORES + off, findings=(POINTS,))[1], "accept")

    def test_a_failure_follows_its_policy(self) -> None:
        """Of the configuration that decides."""
        failed = Finding(FILTER_FAILED, "note", filter="links")
        more = FILTERS.format(mode="enforce") + 'on_error = "reject"\n'
        self.assertEqual(self.decide(more, findings=(failed,))[1], "reject")

    def test_mercy(self) -> None:
        """Mail for postmaster is tagged at most for guesses."""
        more = SCORES.replace("5.0", "4.0") + FILTERS.format(mode="enforce")
        self.assertEqual(self.decide(more, findings=(POINTS,), recipients=("postmaster@example.net",))[1], "tag")

    def test_what_nobody_decided(self) -> None:
        """It ended before its end: it stays so, unless a rule refuses before that."""
        session = make_session(outcome="aborted", reply=None)
        session.transactions[0].end_at = session.transactions[0].verdict_at = session.transactions[0].committed_at = 0.0
        session.transactions[0].verdict = None
        record = plain(session, session.ended)
        for more, new in (("", "none"), (rule("size > 0"), "none"), (rule("sender == 'ann@example.org'"), "reject")):
            settings = self.settings(more)
            row = Replay(settings, settings, "").row(record, record["messages"][0])
            self.assertEqual((row.old, row.new), ("none", new))

    def test_what_is_at_work_is_the_check(self) -> None:
        """Where it would not decide as it did, something is not kept, and a draft is not judged by it."""
        session = make_session(outcome="refused", reply=REFUSED["reply"])  # type: ignore[arg-type]
        session.transactions[0].verdict = merge([Finding("secret", "reject", filter="gone")])
        record = plain(session, session.ended)
        settings = self.settings("")
        row = Replay(settings, settings, "abcdef012345").row(record, record["messages"][0])
        self.assertEqual((row.old, row.new), ("reject", "unknown"))
        self.assertIn("not kept", row.why)

    def test_what_is_left_out(self) -> None:
        """Filters that are new or otherwise, limits and routes."""
        limit = '[[rate_limits]]\nname = "one"\nby = ["client"]\ncount = "messages"\nrate = "1/h"\n'
        made = Replay(self.settings(FILTERS.format(mode="enforce") + limit), self.at_work, "")
        self.assertEqual(
            made.left_out, ("filter links is new: it was not asked", "other rate limits: they are not asked")
        )

    def test_limits_are_no_filters(self) -> None:
        """What they said counts, whatever filters there are."""
        self.assertLess({RATES, CONCURRENCY}, _BUILT_IN)


class ReplayCase(BenchCase):
    """A gateway with some history."""

    def setUp(self) -> None:
        super().setUp()
        self.desk.control.replays.make = Replay
        for number in range(5):
            subject = "secret plan" if number % 2 else "Hello"
            self.desk.history.keep(
                make_session(f"01J9UK7Q0000000000000000A{number}", subject=subject, started=1_790_000_000.0 + number)
            )

    def cells(self, found: Any) -> dict[tuple[str, str], int]:
        """Counts by old and new decision."""
        return {(one["old"], one["new"]): one["count"] for one in found["cells"]}


class ApiTests(ReplayCase):
    """POST /api/v1/test/replay."""

    def test_by_what_is_at_work_and_by_a_draft(self) -> None:
        """Counts, and each message that is decided otherwise."""
        found = self.post("/test/replay", {"last": 100})
        self.assertEqual((found["messages"], self.cells(found), found["changes"]), (5, {("accept", "accept"): 5}, 0))
        found = self.post("/test/replay", {"last": 100, "draft": self.whole(CONFIG) + RULE})
        self.assertEqual(self.cells(found), {("accept", "accept"): 3, ("accept", "reject"): 2})
        self.assertEqual([one["why"] for one in found["changed"]], ["rules: plan"] * 2)
        self.assertEqual(found["changes"], 2)
        self.assertEqual(self.desk.users.rows[-1]["action"], "test.run")

    def test_the_newest(self) -> None:
        """No more than were asked for."""
        found = self.post("/test/replay", {"last": 2, "draft": self.whole(CONFIG) + RULE})
        self.assertEqual((found["messages"], found["changes"]), (2, 1))
        self.assertEqual(found["until"][:19], "2026-09-21T14:13:24")

    def test_held_mail_whole(self) -> None:
        """Its content is tried on the real chain; each reading is in the audit, and wants the right to read."""
        session = make_session("01J9UK7Q0000000000000000B1", outcome="held", started=1_790_000_100.0)
        session.transactions[0].note("held:h1")
        self.desk.history.keep(session)
        self.desk.control.replays._quarantine = StandIn(self.desk)  # type: ignore[assignment]
        body = {"last": 10, "draft": self.whole(CONFIG) + RULE}
        self.assertEqual(self.post("/test/replay", body)["whole"], 0)
        found = self.post("/test/replay", {**body, "whole": True})
        self.assertEqual((found["whole"], found["changes"]), (1, 3))
        self.assertIn(("content.read", HELD.id), [(one["action"], one["target"]) for one in self.desk.users.rows])
        answer = self.desk.post_json("/api/v1/test/replay", {"last": 10, "whole": True}, role="operator")
        self.assertEqual(answer.status, 403)

    def test_as_a_task(self) -> None:
        """Ordered, and its result fetched."""
        headers = {"Prefer": "respond-async"}
        answer = self.desk.post_json("/api/v1/test/replay", {"last": 100}, token=self.owner, headers=headers)
        self.assertEqual(answer.status, 202)
        self.desk.clock.pump([0.05] * 50)
        place = answer.header("location").removeprefix("/api/v1")
        self.assertEqual(self.get(f"{place}/result")["messages"], 5)

    def test_wrong_orders(self) -> None:
        """None, too many, a draft that is none, or by who may not change the configuration."""
        for body in ({"last": 0}, {"last": 10_001}, {"draft": "x"}):
            self.post("/test/replay", body, 422)
        self.assertEqual(self.desk.post_json("/api/v1/test/replay", {"draft": "x"}, role="operator").status, 403)


class PageTests(ReplayCase):
    """/test/replay."""

    def page(self, path: str, status: int = 200) -> str:
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, status, answer.text[:1500])
        return answer.text

    def order(self, **fields: Any) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        return self.desk.ask("POST", "/test/replay", body=body, headers=headers, token=self.owner)

    def test_order_and_look(self) -> None:
        """Progress, then the matrix, whose numbers open lists."""
        self.use(CONFIG + RULE)
        self.setUpHistory()
        answer = self.order(last="1000")
        self.assertEqual(answer.status, 303)
        place = answer.header("location")
        self.page(place)
        self.desk.clock.pump([0.05] * 50)
        page = self.page(place)
        self.assertIn(f"{place}?old=accept&amp;new=reject", page)
        cell = self.page(f"{place}?old=accept&new=reject")
        self.assertIn("rules: plan", cell)
        self.assertNotIn("<script>window.hurt", cell)
        self.page(f"{place}?old=tag&new=defer", 404)
        self.assertIn(place, self.page("/test/replay"))
        self.page("/test/replay/0000000000000000", 404)

    def setUpHistory(self) -> None:
        self.desk.control.replays.make = Replay
        for number, text in enumerate(one for one in HOSTILE if "<" in one):
            subject = text.replace("\r", "").replace("\n", "")
            self.desk.history.keep(make_session(f"01J9UK7Q0000000000000000C{number}", subject=subject))
        self.desk.history.keep(make_session("01J9UK7Q0000000000000000D0", subject="secret plan", helo=MAIL[:4]))

    def test_wrong_orders(self) -> None:
        """In words beside the form."""
        self.assertEqual(self.order(last="many").status, 422)
        self.assertIn("Choose how many", self.order(last="").text)


class ScoreTests(ReplayCase):
    """How sums are spread, and what other thresholds would do."""

    def setUp(self) -> None:
        super().setUp()
        self.use(CONFIG + SCORES + FILTERS.format(mode="enforce"))
        self.desk.control.replays.make = Replay
        for number, points in enumerate((0.5, 3.5, 4.5, 4.9, 5.0, 99.0)):
            found = Finding("odd-link", "note", score=points, filter="links", category="spam")
            self.desk.history.keep(make_session(f"01J9UK7Q0000000000000000E{number}", findings=(found,)))

    def counts(self, found: Any) -> dict[str, tuple[int, int]]:
        return {one["action"]: (one["now"], one["then"]) for one in found["counts"]}

    def test_as_it_is(self) -> None:
        """One bar for each point, the last for all above."""
        found = self.post("/rules/scores", {"last": 100})
        self.assertEqual(self.counts(found), {"accept": (1, 1), "tag": (3, 3), "reject": (2, 2)})
        bars = {one["begin"]: one["count"] for one in found["bars"] if one["count"]}
        self.assertEqual(bars, {0.0: 1, 3.0: 1, 4.0: 2, 5.0: 1, 30.0: 1})

    def test_other_thresholds(self) -> None:
        """Each message decided by both; one that is none leaves it out."""
        found = self.post("/rules/scores", {"last": 100, "reject": 4.5})
        self.assertEqual(self.counts(found)["reject"], (2, 4))
        self.assertEqual(found["moved"], [{"now": "tag", "then": "reject", "count": 2}])
        found = self.post("/rules/scores", {"last": 100, "reject": None})
        self.assertEqual(self.counts(found)["reject"], (2, 0))
        self.assertEqual(self.desk.control.settings.scale.reject, 5.0)

    def test_the_page(self) -> None:
        """In words, as a picture and as a table; what is wrong is said."""
        answer = self.desk.ask("GET", "/rules/scores?reject=4.5", token=self.owner)
        self.assertIn("reject from 4.5 instead of 5: 2 of 6 more refused", answer.text)
        self.assertIn("<svg", answer.text)
        for query in ("reject=many", "last=0", "reject=nan", "tag=1e9"):
            self.assertEqual(self.desk.ask("GET", f"/rules/scores?{query}", token=self.owner).status, 422, query)
        self.assertEqual(self.desk.ask("GET", "/rules/scores?reject=-", token=self.owner).status, 200)
