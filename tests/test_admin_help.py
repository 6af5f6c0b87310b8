"""Help and the reference of the API: made from the registries, found by words."""

from __future__ import annotations

from smtpgate.admin.every import ROUTES
from smtpgate.admin.openapi import build
from smtpgate.admin.pages_help import glossary, groups
from smtpgate.smtp import status
from tests.admin_kit import HOSTILE, ApiCase


class HelpTests(ApiCase):
    """Pages for who wants to know."""

    def test_every_reply_is_in_it(self) -> None:
        """With its code and its words, each once."""
        found = [(one.code, one.text) for one in glossary()]
        self.assertEqual(len(found), len(set(found)))
        reply = status.SHUTTING_DOWN
        self.assertIn((f"{reply.code} {reply.enhanced}", reply.lines[0]), found)

    def test_it_is_found(self) -> None:
        """By code or by words, all of which must be there; what is not there is said."""
        for asked, is_there in (("4.3.2", True), ("SHUTTING%20down", True), ("shutting%20nothing", False)):
            page = self.desk.ask("GET", f"/help?q={asked}", token=self.owner).text
            self.assertEqual(status.SHUTTING_DOWN.lines[0] in page, is_there, asked)
            self.assertEqual("None has these words" in page, not is_there, asked)

    def test_what_somebody_wrote_is_only_text(self) -> None:
        """The words of the search come back escaped."""
        page = self.desk.ask("GET", "/help?q=%3Cscript%3Ewindow.hurt%3D1%3C/script%3E", token=self.owner).text
        self.assertNotIn(HOSTILE[0], page)

    def test_the_reference_has_every_operation(self) -> None:
        """Each once, with its permission; what changes something cannot be tried by a link."""
        document = build(ROUTES)
        rows = [row for _, found in groups(document) for row in found]
        wanted = sum(len(methods) for methods in document["paths"].values())
        self.assertEqual(len({(row["method"], row["path"]) for row in rows}), wanted)
        self.assertTrue(all(row["permission"] for row in rows))
        self.assertEqual({row["method"] for row in rows if row["is_tried"]}, {"get"})
        page = self.desk.ask("GET", "/api/docs", token=self.owner)
        self.assertEqual(page.status, 200)
        self.assertIn('<a href="/api/v1/overview">Try it</a>', page.text)
        self.assertNotIn("http://", page.text.replace("http://www.w3.org/", ""))
