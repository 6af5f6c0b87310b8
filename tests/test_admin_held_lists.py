"""From a held message onto a list for all."""

from __future__ import annotations

from tests.admin_kit import PASSWORD
from tests.test_admin_entry import Browser
from tests.test_admin_quarantine import QuarantineCase


class HeldListTests(QuarantineCase):
    """Who sent it."""

    def entries(self) -> list[tuple[str, str]]:
        """What is on the lists."""
        return [(one["kind"], one["entry"]) for one in self.get("/lists")["items"]]

    def test_sender_and_client(self) -> None:
        """As the message has them; the reason says which, and a dry run does nothing."""
        id = self.hold("b")
        self.post(f"/quarantine/{id}/list?dry_run=1", {"kind": "block-sender"})
        self.assertEqual(self.entries(), [])
        self.post(f"/quarantine/{id}/list", {"kind": "block-sender"}, 201)
        self.post(f"/quarantine/{id}/list", {"kind": "allow-client", "minutes": 60}, 201)
        self.assertEqual(set(self.entries()), {("block-sender", "ann@example.org"), ("allow-client", "192.0.2.7")})
        self.assertIn(id, self.get("/lists")["items"][0]["reason"])

    def test_what_has_none(self) -> None:
        """A bounce has no sender, and what is not held is nobody's."""
        id = self.hold("b", sender="")
        self.post(f"/quarantine/{id}/list", {"kind": "block-sender"}, 422)
        self.post("/quarantine/nothing/list", {"kind": "block-sender"}, 404)
        self.post(f"/quarantine/{id}/list", {"kind": "else"}, 422)
        self.assertEqual(self.entries(), [])

    def test_by_a_button(self) -> None:
        """For who may; not for one who is limited to domains, since lists are for all mail."""
        id = self.hold("b")
        for name, role in (("eve", "owner"), ("quin", "quarantine-manager"), ("helen", "helpdesk")):
            self.desk.users.add_user(name, role, PASSWORD)
        self.desk.users.add_user("dora", "quarantine-manager", PASSWORD, ["example.net"])
        for name, status, shown in (("quin", 303, True), ("dora", 403, False), ("helen", 403, False)):
            browser = Browser(self.desk)
            browser.log_in(name)
            self.assertEqual("From now on" in browser.get(f"/quarantine/{id}").text, shown, name)
            answer = browser.form(f"/quarantine/{id}", f"/quarantine/{id}/list", {"kind": "block-sender"})
            self.assertEqual(answer.status, status, name)
        self.assertEqual(self.entries(), [("block-sender", "ann@example.org")])
