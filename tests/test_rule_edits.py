"""Rules edited in a draft: over the API and on the pages; what is at work stays until the draft is put to work."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.rule_order import shadowed_by
from smtpgate.control.rule_edits import TEMPLATES
from smtpgate.control.rule_trials import settings_of
from smtpgate.observe.talkers import Talkers
from smtpgate.policy.verdict import Finding
from tests.admin_kit import CONFIG, HOSTILE, make_session
from tests.revisions_kit import MANAGED, OfficeCase
from tests.test_admin_config_pages import PageCase


def rule(name: str, more: str = "", when: str = "true", action: str = "note") -> str:
    """One rule."""
    return f'[[rules]]\nname = "{name}"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'


RULES = MANAGED + "\n# the first\n" + rule("one") + rule("two", 'mode = "shadow"\n')


class EditCase(OfficeCase):
    """A managed gateway with two rules."""

    text = RULES

    def call(self, method: str, path: str, value: Any = None, status: int = 200, **headers: str) -> Any:
        """The API, as ann."""
        head = {"Content-Type": "application/json", "If-Match": "*", **headers}
        body = json.dumps(value).encode() if value is not None else b""
        answer = self.desk.ask(method, f"/api/v1{path}", body=body, headers=head, token=self.ann)
        self.assertEqual(answer.status, status, answer.text[:1500])
        return (
            answer.json()
            if answer.header("content-type").startswith("application/") and answer.body[:1] == b"{"
            else answer.text
        )

    def names(self) -> list[str]:
        """Of the rules of the draft."""
        text = self.call("GET", "/config/draft")["text"]
        return [one.name for one in loads(text, self.file).rules]


class ApiTests(EditCase):
    """/api/v1/rules."""

    def test_add_and_put_to_work(self) -> None:
        """It is in the draft with what that changes, and rules only when the draft does."""
        made = self.call("POST", "/rules", {"text": rule("three"), "before": "two"})
        self.assertEqual((made["is_valid"], made["is_audited"]), (True, True))
        self.assertIn('+name = "three"', made["diff"])
        self.assertEqual(self.names(), ["one", "three", "two"])
        self.assertEqual([one["name"] for one in self.call("GET", "/rules")["items"]], ["one", "two"])
        draft = self.call("GET", "/config/draft")
        self.call("POST", "/config/apply", {"text": draft["text"], "base": draft["base"], "message": "three"})
        self.assertEqual([one["name"] for one in self.call("GET", "/rules")["items"]], ["one", "three", "two"])

    def test_what_is_wrong_has_its_place(self) -> None:
        """In the text of the rule; nothing is kept then."""
        answer = self.call("POST", "/rules", {"text": rule("x", when="siz > 1")}, 422)
        self.assertIn("line 3", answer["errors"][0]["message"])
        for text in ("", "[[rules]]\n", "x =", '[log]\nlevel = "info"\n', rule("a") + rule("a")):
            self.assertIn(self.desk.post_json("/api/v1/rules", {"text": text}, token=self.ann).status, (409, 422))
        self.call("POST", "/rules", {"text": rule("one")}, 409)
        self.call("POST", "/rules", {"text": rule("x"), "before": "nix"}, 409)
        self.assertEqual(self.call("GET", "/config/draft")["time"], None)

    def test_change_one(self) -> None:
        """Its text, its mode; the tag of what was looked at is wanted."""
        found = self.call("GET", "/rules/named/one")
        self.assertEqual((found["is_draft"], found["text"].splitlines()[0]), (False, "# the first"))
        self.call("PUT", "/rules/named/one", {"text": rule("one", action="defer")}, 428, **{"If-Match": ""})
        self.call("PUT", "/rules/named/one", {"text": rule("other")}, 422)
        self.call("PUT", "/rules/named/one", {"text": rule("one", action="defer")})
        self.call("PATCH", "/rules/named/two", {"mode": "enforce"})
        self.call("PATCH", "/rules/named/two", {"mode": "sometimes"}, 422)
        text = self.call("GET", "/config/draft")["text"]
        rules = {one.name: one for one in loads(text, self.file).rules}
        self.assertEqual((rules["one"].action, rules["two"].mode), ("defer", "enforce"))
        self.call("GET", "/rules/named/nix", status=404)
        self.call("PATCH", "/rules/named/nix", {"mode": "off"}, 404)

    def test_order_and_removal(self) -> None:
        """Both in the draft."""
        self.call("POST", "/rules/reorder", {"names": ["two", "one"]})
        self.assertEqual(self.names(), ["two", "one"])
        self.call("POST", "/rules/reorder", {"names": ["two"]}, 409)
        self.call("DELETE", "/rules/named/two")
        self.assertEqual(self.names(), ["one"])
        self.call("DELETE", "/rules/named/two", status=404)

    def test_take_away_and_in(self) -> None:
        """What is taken away can be taken in again, and takes the place of what has its name."""
        text = self.call("GET", "/rules/export")
        self.assertIn("# the first", text)
        self.call("POST", "/rules/import", {"text": text.replace('"note"', '"defer"') + rule("three")})
        self.assertEqual(self.names(), ["one", "two", "three"])

    def test_a_dry_run(self) -> None:
        """All checks, and no draft."""
        self.call("POST", "/rules?dry_run=1", {"text": rule("three")})
        self.assertEqual(self.names(), ["one", "two"])
        self.call("POST", "/rules?dry_run=1", {"text": rule("x", when="siz > 1")}, 422)

    def test_who_may_not(self) -> None:
        """An operator reads rules and edits none."""
        self.assertEqual(self.desk.post_json("/api/v1/rules", {"text": rule("x")}, role="operator").status, 403)

    def test_templates(self) -> None:
        """Each can be put to work as it is."""
        for one in self.call("GET", "/rules/templates")["items"]:
            self.assertEqual(len(settings_of(one["text"], loads(CONFIG, "/nowhere/gate.toml")).rules), 1)
        self.assertGreater(len(TEMPLATES), 3)

    def test_hits(self) -> None:
        """Messages that it was true of, and how many in the last day."""
        for number, found in enumerate(((), (Finding("one", "note", filter="rules"),))):
            self.desk.history.keep(make_session(f"01J9UK7Q0000000000000000A{number}", findings=found))
        self.assertEqual([one["id"][-4:] for one in self.call("GET", "/rules/named/one/hits")["items"]], ["A1.1"])
        self.assertEqual(self.call("GET", "/rules")["items"][0]["day_hits"], None)
        control = self.desk.control
        control.top.talkers = Talkers(self.desk.clock, self.desk.office.wall, None, lambda event: None)
        self.assertEqual(self.call("GET", "/rules")["items"][0]["day_hits"], 0)


class PageTests(PageCase):
    """/rules and the forms on it."""

    text = RULES

    def test_write_one(self) -> None:
        """From a template into the draft; what is wrong stands beside the form."""
        self.assertIn("/rules/edit/no-programs?template=1", self.page("/rules"))
        page = self.page("/rules/edit/large?template=1")
        self.assertIn("size &gt; 20000000", page)
        answer = self.form("/rules/edit/large", text=rule("large"), before="two")
        self.assertEqual((answer.status, answer.header("location")), (303, "/config#text"))
        self.assertIn("large", self.page("/config"))
        answer = self.form("/rules/edit/x", text=rule("x", when="siz > 1"))
        self.assertEqual(answer.status, 422)
        self.assertIn("siz is no fact", answer.text)
        self.assertIn("# the first", self.page("/rules/edit/one"))
        self.page("/rules/edit/nix", 404)

    def test_change_one(self) -> None:
        """Mode, place, removal."""
        for verb in ("shadow", "down", "remove"):
            self.assertEqual(self.form("/rules/change/one", verb=verb).status, 303, verb)
        answer = self.form("/rules/change/one", verb="up")
        self.assertIn(answer.status, (404, 409))
        self.assertEqual(self.form("/rules/change/two", verb="dance").status, 409)

    def test_strangers_texts_do_nothing(self) -> None:
        """What somebody wrote as a rule stands there as text."""
        for text in (one for one in HOSTILE if "<" in one):
            self.assertNotIn(text, self.form("/rules/edit/x", text=text).text)


class OrderTests(SynchronousTestCase):
    """Rules that nothing reaches."""

    def shadowed(self, *rules: str) -> dict[str, str]:
        return shadowed_by(loads(CONFIG + "".join(rules), "/nowhere/gate.toml").rules)

    def test_what_is_shadowed(self) -> None:
        """The same condition, or one that is always true, before it, about all of the same mail."""
        first = rule("a", when="sender == 'x@example.org'", action="reject")
        second = rule("b", when=" sender == 'x@example.org' ", action="tag", more='subject_tag = "x"')
        self.assertEqual(self.shadowed(first, second), {"b": "a"})
        self.assertEqual(self.shadowed(second, first), {})
        self.assertEqual(self.shadowed(rule("a", action="accept"), rule("b", action="reject")), {"b": "a"})
        self.assertEqual(self.shadowed(rule("a", action="defer"), rule("b", action="reject")), {})

    def test_what_is_not(self) -> None:
        """A rule in shadow, about other mail, judged later, or that decides nothing, shadows none."""
        other = rule("b", action="reject")
        for more in ('mode = "shadow"', 'direction = "out"', 'listener = ["mx"]', 'sender = ["example.org"]'):
            self.assertEqual(self.shadowed(rule("a", more, action="reject"), other), {}, more)
        self.assertEqual(self.shadowed(rule("a", action="note"), other), {})
        one, other = (
            rule(name, when=f"subject == '{text}'", action="reject") for name, text in (("a", "x  y"), ("b", "x y"))
        )
        self.assertEqual(self.shadowed(one, other), {})
        late = rule("a", when="size > 1 || size <= 1", action="reject")
        self.assertEqual(self.shadowed(late, rule("b", when="sender == ''", action="reject")), {})
