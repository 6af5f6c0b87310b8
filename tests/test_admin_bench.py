"""The API that tries mail, and its page."""

from __future__ import annotations

import base64
import html
import re
from typing import Any
from urllib.parse import urlencode

from smtpgate.policy.held import Addressee, Held
from tests.admin_kit import HOSTILE, make_session
from tests.bench_kit import CONFIG, MAIL, RULE, BenchCase

TO = {"sender": "ann@example.org", "recipients": ["bob@example.net"]}
HELD = Held(
    "h1", 1_790_000_000.0, 1_890_000_000.0, "policy", "01J9UK7Q0000000000000000AA.1", "mx", "in", "192.0.2.7",
    "ann@example.org", (Addressee("bob@example.net"),), facts={"helo": "mail.example.org", "client_ip": "192.0.2.7"},
    octets=len(MAIL), body="b1",
)  # fmt: skip


class StandIn:
    """One held message."""

    def __init__(self, desk: Any) -> None:
        self.reads = 0
        self._desk = desk

    async def message(self, id: str) -> Held:
        from smtpgate.control.views import Unknown

        if id != "h1":
            raise Unknown(f"no held message {id}")
        return HELD

    async def content(self, id: str) -> bytes:
        self.reads += 1
        return MAIL.encode()


class MessageTests(BenchCase):
    """POST /api/v1/test/message."""

    def test_a_message(self) -> None:
        """All that its page would say, and what was taken for granted."""
        found = self.post("/test/message", {"message": MAIL, "envelope": TO})
        (one,) = found["items"]
        self.assertEqual(
            (one["of"], one["outcome"], one["code"], one["verdict"]), ("at work", "delivered", 250, "accepted")
        )
        self.assertEqual(one["session"]["messages"][0]["subject"], "secret plan")
        self.assertEqual(len(found["assumed"]), 4)
        encoded = base64.b64encode(MAIL.encode()).decode()
        again = self.post("/test/message", {"message_base64": encoded, "envelope": TO})
        self.assertEqual(again["items"][0]["outcome"], "delivered")

    def test_beside_a_draft(self) -> None:
        """Both, and what differs. Secrets of what is at work may stand there as ***."""
        found = self.post("/test/message", {"message": MAIL, "envelope": TO, "draft": self.whole(CONFIG) + RULE})
        self.assertEqual([one["outcome"] for one in found["items"]], ["delivered", "refused"])
        self.assertIn({"what": "result", "before": "delivered", "after": "refused"}, found["differences"])

    def test_a_wrong_draft(self) -> None:
        """Each mistake with its line; nothing is made."""
        answer = self.post("/test/message", {"message": MAIL, "draft": "hostnam = 'x'\n"}, 422)
        self.assertTrue(any("line 1" in one["message"] for one in answer["errors"]))
        self.assertEqual(self.desk.built, [])

    def test_a_draft_is_for_those_who_may_change_it(self) -> None:
        """It may name any file and host."""
        body = {"message": MAIL, "envelope": TO}
        for more, status in (({}, 200), ({"draft": self.whole(CONFIG)}, 403)):
            answer = self.desk.post_json("/api/v1/test/message", {**body, **more}, role="operator")
            self.assertEqual(answer.status, status, answer.text)

    def test_samples(self) -> None:
        """Each can be tried by its name."""
        for sample in self.get("/test/samples")["items"]:
            found = self.post("/test/message", {"sample": sample["name"], "envelope": TO})
            self.assertEqual(found["items"][0]["outcome"], "delivered")
        self.post("/test/message", {"sample": "nix"}, 422)

    def test_it_is_in_the_audit(self) -> None:
        """Who tried what, before it was."""
        self.post("/test/message", {"message": MAIL, "envelope": TO})
        row = self.desk.users.rows[-1]
        self.assertEqual((row["action"], row["detail"]), ("test.run", f"{len(MAIL)} octets"))

    def test_wrong_bodies(self) -> None:
        """Two messages, none, an address that is none, a time that is none; a message that is too large."""
        for body in (
            {},
            {"message": MAIL, "sample": "clean"},
            {"message": MAIL, "envelope": {"sender": "a@@b"}},
            {"message": MAIL, "envelope": {"time": "yesterday"}},
            {"message": MAIL, "envelope": {"time": "2026-01-07T12:00:00"}},
            {"message": MAIL, "envelope": {"helo": "a\r\nQUIT"}},
            {"message_base64": "%"},
        ):
            answer = self.desk.post_json("/api/v1/test/message", body, token=self.owner)
            self.assertIn(answer.status, (409, 422), answer.text)
        self.use("limits = { message_size = '4 KiB' }\n" + CONFIG)
        self.post("/test/message", {"message": MAIL + "x" * 5000, "envelope": TO}, 413)


class HeldTests(BenchCase):
    """Held mail, and the history's."""

    def setUp(self) -> None:
        super().setUp()
        self.quarantine = self.desk.control.quarantine = StandIn(self.desk)  # type: ignore[assignment]

    def test_as_it_came(self) -> None:
        """Client, name and time are those that it came by; what is said otherwise is otherwise."""
        (one,) = self.post("/test/message", {"held": "h1"})["items"]
        self.assertEqual((one["session"]["client_ip"], one["session"]["helo"]), ("192.0.2.7", "mail.example.org"))
        self.assertAlmostEqual(one["session"]["started"], HELD.at, delta=2)
        (one,) = self.post("/test/message", {"held": "h1", "envelope": {"client_ip": "198.51.100.1"}})["items"]
        self.assertEqual(one["session"]["client_ip"], "198.51.100.1")
        self.post("/test/message", {"held": "h2"}, 404)

    def test_who_reads_is_in_the_audit(self) -> None:
        """Before it is read; who may not read does not try it either."""
        self.post("/test/message", {"held": "h1"})
        self.assertIn(("content.read", "h1"), [(row["action"], row["target"]) for row in self.desk.users.rows])
        self.assertEqual(self.desk.post_json("/api/v1/test/message", {"held": "h1"}, role="operator").status, 403)
        self.desk.users.fails_audit = True
        self.desk.post_json("/api/v1/test/message", {"held": "h1"}, token=self.owner)
        self.assertEqual(self.quarantine.reads, 1)

    def test_one_of_the_history(self) -> None:
        """Where it was held its content is there; else the answer says so."""
        facts = make_session()
        self.desk.history.keep(facts)
        id = facts.transactions[0].id
        answer = self.post("/test/message", {"stored": id}, 409)
        self.assertIn("not kept", answer["detail"])
        held = make_session("01J9UK7Q0000000000000000AB")
        held.transactions[0].note("held:h1")
        self.desk.history.keep(held)
        self.assertEqual(len(self.post("/test/message", {"stored": held.transactions[0].id})["items"]), 1)


class SessionTests(BenchCase):
    """POST /api/v1/test/session."""

    def test_a_dialogue(self) -> None:
        """Replies as they would be, and the same on a draft."""
        script = f"EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.net>\nDATA\n{MAIL}.\nQUIT\n"
        found = self.post("/test/session", {"script": script, "draft": self.whole(CONFIG) + RULE})
        self.assertEqual([one["outcome"] for one in found["items"]], ["delivered", "refused"])
        self.assertEqual(found["items"][0]["dialogue"][0]["text"][:3], "220")

    def test_scripts_that_cannot_be_played(self) -> None:
        """They are refused in words."""
        for script, word in (("", "nothing"), ("BDAT 3", "BDAT"), ("NOOP\n" * 2001, "2000")):
            answer = self.desk.post_json("/api/v1/test/session", {"script": script}, token=self.owner)
            self.assertIn(answer.status, (409, 422))
            self.assertIn(word, answer.text)


class PageTests(BenchCase):
    """/test."""

    def page(self, path: str) -> str:
        """A page."""
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, 200, answer.text[:2000])
        return answer.text

    def send(self, fields: Any) -> Any:
        """What the page answers to a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", "/test", body=urlencode(fields).encode(), headers=headers, token=self.owner)

    def form(self, status: int = 200, **fields: Any) -> str:
        """The page after a form."""
        given = {"sender": "ann@example.org", "recipients": "bob@example.net", "message": MAIL, **fields}
        answer = self.send(given)
        self.assertEqual(answer.status, status, answer.text[:2000])
        return answer.text

    def test_what_it_offers(self) -> None:
        """The empty form, with the samples; one of them filled in; fields out of the address."""
        page = self.page("/test")
        self.assertIn("/test?sample=spam", page)
        self.assertIn("GTUBE-STANDARD", self.page("/test?sample=spam"))
        self.assertIn('value="203.0.113.9"', self.page("/test?client_ip=203.0.113.9"))
        self.assertIn("EHLO client.example.org", self.page("/test?form=session"))

    def test_a_message(self) -> None:
        """Result, reply, recipients, dialogue; the form keeps what was said."""
        page = self.form()
        for words in ("At work:", "accepted", "250", "&lt;bob@example.net&gt;", "Taken for granted", "secret plan"):
            self.assertIn(words, page)
        self.use(CONFIG + RULE)
        self.assertIn("No plans", self.form())

    def test_from_the_page_of_a_message(self) -> None:
        """It leads here, with how the message came, or its id where it is held; whatever strangers say."""
        self.desk.history.keep(make_session(helo='"><script>'))
        page = self.page("/sessions/01J9UK7Q0000000000000000AA")
        link = html.unescape(re.search(r'href="(/test[^"]+)"', page)[1])  # type: ignore[index]
        here = self.page(link)
        for field in ("ann@example.org", "bob@example.net", "192.0.2.7", "&#34;&gt;&lt;script&gt;"):
            self.assertIn(f'value="{field}"', here)
        self.desk.history.keep(make_session("01J9UK7Q0000000000000000AB", outcome="held"))
        self.assertIn("/test?stored=01J9UK7Q0000000000000000AB.1", self.page("/sessions/01J9UK7Q0000000000000000AB"))

    def test_a_dialogue(self) -> None:
        """What the gateway says to it."""
        page = self.form(
            form="session", script="EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<x@other.test>\nQUIT"
        )
        self.assertIn("550 5.7.1", page)

    def test_what_is_wrong_is_said_beside_the_form(self) -> None:
        """An address, two messages, none, a held one that is not there, a listener without logins."""
        for fields, word in (
            ({"sender": "a@@b"}, "trouble"),
            ({"message": ""}, "one of these"),
            ({"held": "h1"}, "one of these"),
            ({"user": "ann"}, "nobody logs in"),
            ({"time": "noon"}, "RFC 3339"),
        ):
            answer = self.send({"sender": "", "recipients": "bob@example.net", "message": MAIL, **fields})
            self.assertIn(answer.status, (409, 422))
            self.assertIn(word, answer.text)

    def test_strangers_texts_do_nothing(self) -> None:
        """What a message or a script says stands there as text."""
        for text in (one for one in HOSTILE if "<" in one):
            page = self.form(message=f"Subject: {text}\n\nx")
            self.assertNotIn(text, page)
            answer = self.send({"form": "session", "script": f"EHLO a\n{text}\nQUIT"})
            self.assertNotIn(text, answer.text)
