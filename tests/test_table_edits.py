"""Named tables as edits of a draft: the text around them stays as it is, and nothing is at work before the draft is."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.position import read
from smtpgate.config.table_texts import KINDS, find, names, of_text, put, remove, tables
from smtpgate.config.text_blocks import NotSo
from tests.revisions_kit import MANAGED, OfficeCase

TEXT = """\
# The whole.
hostname = "gate.example.com"

# The inner servers.
[backends.inner]
servers = ["192.0.2.1:25"]   # one
# a remark within

[backends.inner.retry]
tries = 3

# Of the outer.
[backends.outer]
servers = ["192.0.2.2:25"]

[[routes]]
backend = "inner"
"""
FRESH = '# New.\n[backends.new]\nservers = ["192.0.2.3:25"]\n'


class TextTests(SynchronousTestCase):
    """Lines of a text."""

    def test_what_there_is(self) -> None:
        """Each with its comments and with what is within it."""
        found = tables(TEXT)
        self.assertEqual([(one.kind, one.name) for one in found], [("backends", "inner"), ("backends", "outer")])
        self.assertTrue(found[0].text.startswith("# The inner servers.\n[backends.inner]"))
        self.assertTrue(found[0].text.endswith("[backends.inner.retry]\ntries = 3\n"))
        self.assertEqual(found[1].text, '# Of the outer.\n[backends.outer]\nservers = ["192.0.2.2:25"]\n')

    def test_another_text_for_one(self) -> None:
        """In its place; the rest is as it was."""
        text = '[backends.inner]\nservers = ["192.0.2.9:25"]\n'
        made = put(TEXT, text)
        before, _, after = TEXT.partition(find(TEXT, "backends", "inner").text)
        self.assertEqual(made, before + text + after)

    def test_a_new_one(self) -> None:
        """Behind the last of its kind; the first of a kind behind all."""
        made = put(TEXT, FRESH)
        self.assertLess(made.index("[backends.outer]"), made.index("# New."))
        self.assertLess(made.index("# New."), made.index("[[routes]]"))
        self.assertEqual(remove(made, "backends", "new"), TEXT)
        hook = '[webhooks.one]\nurl = "https://hooks.example.org/"\n'
        self.assertTrue(put(TEXT, hook).endswith(f"\n\n{hook}"))
        self.assertEqual(put("", hook), hook)

    def test_what_cannot_be(self) -> None:
        """Each with its reason; a table in two places is not guessed at."""
        for text in ("", "[backends]\n", "hostname = 'x'\n", "[[routes]]\nbackend = 'x'\n", "[backends.x\n", "x = 1\n"):
            self.assertRaises(NotSo, of_text, text)
        inline = 'backends = { a = { servers = ["192.0.2.1"] } }\n'
        self.assertEqual(names(inline), [("backends", "a")])
        self.assertRaises(NotSo, find, inline, "backends", "a")
        dotted = "[backends]\na.servers = []\n"
        self.assertRaises(NotSo, remove, dotted, "backends", "a")
        split = "[backends.a]\nservers = []\n[limits]\nconnections = 1\n[backends.a.retry]\ntries = 1\n"
        self.assertRaises(NotSo, put, split, "[backends.a]\nservers = []\n")
        self.assertRaises(NotSo, find, TEXT, "backends", "third")

    @given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from("abcd")), unique=True), st.data())
    def test_each_edit_is_that_and_no_other(self, held: list[tuple[str, str]], data: Any) -> None:
        """The tree of the text after an edit is the tree before it with that one change."""
        text = "hostname = 'x'\n" + "".join(f"\n# of {name}\n[{kind}.{name}]\nn = 1\n" for kind, name in held)
        kind = data.draw(st.sampled_from(sorted(KINDS)))
        name = data.draw(st.sampled_from("abcde"))
        made = put(text, f"[{kind}.{name}]\nn = 2\n")
        wanted = read(text).tree
        wanted.setdefault(kind, {})[name] = {"n": 2}
        self.assertEqual(read(made).tree, wanted)
        gone = remove(made, kind, name)
        del wanted[kind][name]
        self.assertEqual({key: value for key, value in read(gone).tree.items() if value != {}},
                         {key: value for key, value in wanted.items() if value != {}})  # fmt: skip
        for other in held:
            if other != (kind, name):
                self.assertEqual(find(gone, *other).text, find(text, *other).text)


class DraftTests(OfficeCase):
    """/api/v1/config/tables, and its page."""

    text = MANAGED

    def call(self, method: str, path: str, value: Any = None, status: int = 200) -> Any:
        """The API, as ann, with whichever version is there."""
        head = {"Content-Type": "application/json", "If-Match": "*"}
        body = json.dumps(value).encode() if value is not None else b""
        answer = self.desk.ask(method, f"/api/v1{path}", body=body, headers=head, token=self.ann)
        self.assertEqual(answer.status, status, answer.text[:1500])
        return answer.json()

    def page(self, path: str, status: int = 200, **form: str) -> str:
        """A page, or what its form does."""
        if form:
            head = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self.desk.ask("POST", path, token=self.ann, body=urlencode(form).encode(), headers=head)
        else:
            answer = self.desk.ask("GET", path, token=self.ann)
        self.assertEqual(answer.status, status, path)
        return answer.text

    def test_there_and_back(self) -> None:
        """Added, changed, taken out: each says what the draft changes, and the gateway is as it was."""
        revision = self.desk.control.revision.id
        done = self.call("POST", "/config/tables", {"text": FRESH})
        self.assertIn('+servers = ["192.0.2.3:25"]', done["diff"])
        self.assertTrue(done["is_valid"])
        self.call("POST", "/config/tables", {"text": FRESH}, 409)
        found = self.call("GET", "/config/tables/backends/new")
        self.assertEqual((found["text"], found["is_draft"]), (FRESH, True))
        self.assertIn({"kind": "backends", "name": "new"}, self.call("GET", "/config/tables")["items"])
        done = self.call("PUT", "/config/tables/backends/new", {"text": FRESH.replace("2.3", "2.4")})
        self.assertIn("192.0.2.4", done["diff"])
        self.call("PUT", "/config/tables/backends/new", {"text": FRESH.replace("new", "other")}, 422)
        self.assertNotIn("192.0.2.4", self.call("DELETE", "/config/tables/backends/new")["diff"])
        self.call("GET", "/config/tables/backends/new", status=404)
        self.assertEqual(self.desk.control.revision.id, revision)
        rows = [row["target"] for row in self.desk.users.rows if row["action"] == "config.draft"]
        self.assertEqual(rows, ["backends.new", "backends.new", "backends.new: removed"])

    def test_what_is_wrong_is_said(self) -> None:
        """A draft with errors is kept, and says them."""
        done = self.call("POST", "/config/tables", {"text": "[backends.new]\nservres = []\n"})
        self.assertFalse(done["is_valid"])
        self.assertTrue(any("servres" in one["message"] + one["key"] for one in done["problems"]))
        self.call("POST", "/config/tables", {"text": "hostname = 'x'\n"}, 409)

    def test_the_page(self) -> None:
        """One that is there, a new one with what it needs, what its keys mean; and into the draft."""
        pool = next(iter(self.desk.control.settings.backends))
        page = self.page(f"/config/tables/backends/{pool}")
        self.assertIn(f"[backends.{pool}]", page)
        self.assertIn("Take it out of the draft", page)
        fresh = self.page("/config/tables/webhooks/tickets")
        self.assertIn("[webhooks.tickets]\nurl = ", fresh)
        self.assertNotIn("Take it out of the draft", fresh)
        self.page("/config/tables/backends/A%20b", 422)
        self.page("/config/tables/nix/a", 404)
        for text, status in ((FRESH, 303), ("[backends.two]\n", 422), ("[", 422)):
            self.page("/config/tables/backends/new", status, text=text)
        self.assertIn('href="/config/tables/backends/new"', self.page("/config"))
        self.page("/config/tables/backends/new", 303, verb="remove")
        self.assertNotIn("backends/new", self.page("/config"))

    def test_what_somebody_else_put_to_work_meanwhile_stays(self) -> None:
        """Between the look and the keeping of an edit: it is refused, and the draft is not one that takes that back."""
        note = self.desk.office.accounts.note

        async def noted(*args: Any, **more: Any) -> Any:
            self.desk.office.accounts.note = note
            text = self.books.active.text.replace("gate.example.com", "mx.example.com")
            body = json.dumps({"text": text, "base": self.books.active.number, "message": "another name"}).encode()
            head = {"Content-Type": "application/json"}
            other = self.desk.ask("POST", "/api/v1/config/apply", body=body, headers=head, token=self.bea)
            self.assertEqual(other.status, 200, other.text)
            return await note(*args, **more)

        self.desk.office.accounts.note = noted  # type: ignore[method-assign]
        answer = self.call("POST", "/config/tables", {"text": FRESH}, 409)
        self.assertIn("changed meanwhile", answer["detail"])
        self.call("POST", "/config/tables", {"text": FRESH})
        self.assertIn("mx.example.com", self.call("GET", "/config/draft")["text"])
