"""Tests of searches that somebody keeps: over the API, on the page, and whose they are."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import quote

from smtpgate.state.search_store import MOST
from tests.admin_kit import ApiCase, make_session
from tests.test_admin_entry import Browser


class SearchesTests(ApiCase):
    """/api/v1/searches."""

    def add(self, name: str = "mine", query: str = "from:ann last:24h") -> Any:
        return self.post("/searches", {"name": name, "query": query}, 201)

    def put(self, id: str, value: str, tag: str) -> Any:
        head = {"If-Match": tag, "Content-Type": "application/json"}
        return self.desk.ask("PUT", f"/api/v1/searches/{id}", body=value.encode(), headers=head, token=self.owner)

    def test_kept_changed_removed(self) -> None:
        """Each by its version."""
        made = self.add()
        self.assertEqual(self.get("/searches")["items"], [made])
        answer = self.desk.ask("GET", f"/api/v1/searches/{made['id']}", token=self.owner)
        tag = answer.header("etag")
        changed = self.put(made["id"], '{"name": "other", "query": "to:bob"}', tag)
        self.assertEqual((changed.status, changed.json()["query"]), (200, "to:bob"))
        self.assertEqual(self.put(made["id"], '{"name": "third", "query": "to:bob"}', tag).status, 412)
        self.assertEqual(self.get("/searches")["items"][0]["name"], "other")
        self.assertEqual(self.remove(f"/searches/{made['id']}"), 200)
        self.assertEqual(self.get("/searches")["items"], [])
        self.assertEqual(self.remove(f"/searches/{made['id']}"), 404)
        actions = [row["action"] for row in self.desk.users.rows]
        self.assertEqual(actions, ["search.save", "search.change", "search.remove"])

    def test_others_are_not_seen(self) -> None:
        """Nor changed, nor removed."""
        made = self.add()
        other = self.desk.token("auditor")
        self.assertEqual(self.desk.ask("GET", "/api/v1/searches", token=other).json()["items"], [])
        self.assertEqual(self.desk.ask("GET", f"/api/v1/searches/{made['id']}", token=other).status, 404)
        self.assertEqual(self.remove(f"/searches/{made['id']}", other), 404)
        self.assertEqual(len(self.get("/searches")["items"]), 1)

    def test_mistakes(self) -> None:
        """What would find nothing, or has no name, is not kept; and no more than there is room for."""
        for name, query, pointer in (("x", "fro:x", "/query"), ("x", " ", "/query"), ("\u202e", "to:bob", "/name")):
            answer = self.post("/searches", {"name": name, "query": query}, 422)
            self.assertEqual([one["pointer"] for one in answer["errors"]], [pointer])
        dry = self.desk.post_json("/api/v1/searches?dry_run=1", {"name": "x", "query": "to:b"}, token=self.owner)
        self.assertEqual(dry.status, 200)
        self.assertEqual(self.get("/searches")["items"], [])
        for number in range(MOST):
            self.add(f"name {number}")
        self.post("/searches", {"name": "one more", "query": "to:bob"}, 409)


class PageTests(ApiCase):
    """On the page of messages."""

    def test_by_forms(self) -> None:
        """Kept, offered, forgotten; a name is shown as text."""
        self.desk.history.keep(make_session())
        browser = Browser(self.desk)
        browser.log_in()
        page = browser.get("/messages?q=to:bob").text
        self.assertIn("Keep this search", page)
        answer = browser.form("/messages", "/messages/searches", {"name": "<b>mine</b>", "q": "to:bob"})
        self.assertEqual(answer.status, 303)
        page = browser.get("/messages").text
        self.assertIn("&lt;b&gt;mine&lt;/b&gt;", page)
        (place,) = re.findall(r'<a href="([^"]*)"><bdi>&lt;b&gt;mine', page)
        page = browser.get(html.unescape(place)).text
        self.assertNotIn("Keep this search", page)
        (remove,) = re.findall(r'action="(/messages/searches/[^"]*/remove)"', page)
        browser.form("/messages", remove, {})
        self.assertNotIn("mine", browser.get(f"/messages?q={quote('to:bob')}").text)
