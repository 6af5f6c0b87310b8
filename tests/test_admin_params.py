"""The parameters of the API's queries: what is refused, in which words, and what the document says of it."""

from __future__ import annotations

from smtpgate.admin.openapi import build
from smtpgate.admin.site import ROUTES
from tests.admin_kit import ApiCase

SERVER = "/api/v1/backends/mail/servers/127.0.0.1:2600"


class ParameterTests(ApiCase):
    """What a query may say."""

    def faults(self, path: str) -> dict[str, str]:
        """The parameters that are refused, and why."""
        answer = self.desk.ask("GET", f"/api/v1{path}", token=self.owner)
        self.assertEqual(answer.status, 400, f"{path}: {answer.text}")
        self.assertEqual(answer.header("content-type"), "application/problem+json")
        self.assertEqual(answer.json()["type"], "/problems/parameter")
        return {one["parameter"]: one["message"] for one in answer.json()["errors"]}

    def test_numbers(self) -> None:
        """What is no number, or out of bounds, is refused with what would be right, and never bent into shape."""
        for text in ("-1", "0", "501", "1e2", "+5", "5.0", "%20", "x", "", "%D9%A1", "9" * 5000):
            self.assertIn("give a whole number from 1 to 500", self.faults(f"/messages?limit={text}")["limit"], text)
        self.assertIn("-7 will not do", self.faults("/sessions?limit=-7")["limit"])
        self.assertIn("from 1 to 2880", self.faults("/series?minutes=2881")["minutes"])
        self.assertIn("from 1 to", self.faults("/audit?cursor=0")["cursor"])
        for path in ("/messages?limit=500", "/sessions?limit=1", "/series?minutes=2880", "/audit?limit=007"):
            self.get(path)

    def test_words(self) -> None:
        """Only those of the list; none is all of them."""
        self.assertIn("delivered, refused", self.faults("/messages?outcome=eaten")["outcome"])
        self.assertEqual(self.get("/messages?outcome=&q=")["items"], [])

    def test_unknown_and_repeated_names(self) -> None:
        """All faults at once; a route without parameters says so."""
        found = self.faults("/messages?state=up&limit=0&q=a&q=b")
        self.assertEqual(set(found), {"state", "limit", "q"})
        self.assertIn("this takes limit, cursor, q", found["state"])
        self.assertIn("give it once", found["q"])
        self.assertIn("this takes none", self.faults("/backends?limit=5")["limit"])
        answer = self.desk.post_json(f"{SERVER}/drain?reason=update", {}, token=self.owner)
        self.assertEqual(answer.status, 400)
        self.assertFalse(self.desk.control.servers()[0].is_drained)

    def test_names_cannot_hide_anything(self) -> None:
        """What is quoted is escaped and short."""
        (name,) = self.faults(f"/backends?%E2%80%AE{'x' * 3000}=1")
        self.assertLess(len(name), 100)
        self.assertNotIn("\u202e", name)

    def test_strangers_hear_nothing_of_parameters(self) -> None:
        """Who asks comes first."""
        self.assertEqual(self.desk.ask("GET", "/api/v1/messages?limit=x").status, 401)
        self.assertEqual(self.desk.ask("GET", "/api/v1/audit?limit=x", role="helpdesk").status, 403)

    def test_pages_take_what_comes(self) -> None:
        """A link with something hung on it by whoever passed it on still opens."""
        self.assertEqual(self.desk.ask("GET", "/messages?utm=x", token=self.owner).status, 200)

    def test_the_document_says_the_same(self) -> None:
        """Bounds, words and lists are those that are checked."""
        paths = build(ROUTES)["paths"]
        found = {one["name"]: one for one in paths["/api/v1/messages"]["get"]["parameters"]}
        self.assertEqual(found["limit"]["schema"], {"type": "integer", "minimum": 1, "maximum": 500, "default": 50})
        self.assertIn("deferred", found["outcome"]["description"])
        topics = next(one for one in paths["/api/v1/events"]["get"]["parameters"] if one["name"] == "topics")
        self.assertEqual((topics["schema"]["type"], topics["explode"]), ("array", False))
        for operations in paths.values():
            for operation in operations.values():
                self.assertIn("400", operation["responses"])
