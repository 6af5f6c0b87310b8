"""The configuration over HTTP: revisions, what differs, texts put to work, confirmed and taken back; two at once."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel
from twisted.internet.defer import fail

from smtpgate.interfaces import StoreFailed
from tests.admin_kit import CONFIG
from tests.revisions_kit import MANAGED, OfficeCase

LOUD = '[log]\nlevel = "debug"\n'
SECRET = '[[filters]]\nuse = "nowhere"\nmode = "off"\noptions = { api_key = "the-planted-secret" }\n'


class Options(BaseModel):
    """Of a filter that asks somebody elsewhere."""

    api_key: str


#: A filter that has a secret in its options.
FACTORY = SimpleNamespace(
    name="nowhere", options=Options, category="spam", roles=frozenset({"mx", "submission"}), on_error="continue"
)


def named(text: str, host: str) -> str:
    """The text with another name of the gateway."""
    return text.replace("gate.example.com", host)


class LookTests(OfficeCase):
    """What is shown."""

    def test_lists_and_texts(self) -> None:
        """The newest first, by pages; each with its text; what differs between two."""
        for number in (2, 3):
            self.send("/config/apply", {"text": named(MANAGED, f"g{number}.example.com"), "base": number - 1,
                                        "message": f"change {number}"})  # fmt: skip
        found = self.get("/config/revisions?limit=2")
        self.assertEqual([(one["number"], one["state"]) for one in found["items"]], [(3, "active"), (2, "former")])
        self.assertTrue(found["has_more"])
        rest = self.get(f"/config/revisions?cursor={found['next_cursor']}")
        self.assertEqual([(one["number"], one["way"], one["text"]) for one in rest["items"]], [(1, "seed", "")])
        self.assertEqual((found["mode"], found["active"], found["is_drifted"]), ("managed", 3, False))
        self.assertEqual(self.get("/config/revisions/1")["text"], MANAGED)
        self.assertEqual(self.get("/config/revisions/2")["message"], "change 2")
        diff = self.get("/config/diff?a=1&b=3")["diff"]
        self.assertIn('-hostname = "gate.example.com"\n+hostname = "g3.example.com"\n', diff)
        for number in ("9", "x", "99999999999", "-1"):
            self.get(f"/config/revisions/{number}", 404)
        self.assertEqual(self.get("/config")["number"], 3)


class ApplyTests(OfficeCase):
    """Putting a text to work."""

    def order(self, text: str, **more: Any) -> dict[str, Any]:
        return {"text": text, "message": "why", **more}

    def test_it_says_what_it_was_made_of(self) -> None:
        """Neither base nor If-Match: 428. The tag of /config will do alone; an old one is 412 with what is there."""
        mine = named(MANAGED, "two.example.com")
        self.assertEqual(self.send("/config/apply", self.order(mine), 428).json()["type"],
                         "/problems/precondition-required")  # fmt: skip
        tag = self.desk.ask("GET", "/api/v1/config", token=self.ann).header("etag")
        self.send("/config/apply", self.order(mine), If_Match=tag)
        self.assertEqual(self.desk.control.settings.hostname, "two.example.com")
        late = self.send("/config/apply", self.order(named(MANAGED, "three.example.com")), 412, If_Match=tag)
        self.assertEqual(late.json()["current"]["number"], 2)
        fresh = self.desk.ask("GET", "/api/v1/config", token=self.ann).header("etag")
        self.assertEqual(late.header("etag"), fresh)
        # A tag that is old and a base that is not cannot both be meant.
        self.send("/config/apply", self.order(mine, base=2), 412, If_Match=tag)
        self.assertEqual(self.books.active.number, 2)

    def test_two_administrators_whose_changes_are_apart(self) -> None:
        """The second is refused with both changes in one text, which can be put to work; nothing is lost."""
        self.send("/config/apply", self.order(MANAGED + LOUD, base=1))
        mine = named(MANAGED, "two.example.com")
        late = self.send("/config/apply", self.order(mine, base=1), 412, token=self.bea).json()
        self.assertEqual((late["current"], late["is_clean"], late["clashes"]), (2, True, []))
        self.assertIn('+level = "debug"', late["diff"])
        self.assertEqual(late["merged"], mine + LOUD)
        self.send("/config/apply", self.order(late["merged"], base=2), token=self.bea)
        settings = self.desk.control.settings
        self.assertEqual((settings.hostname, settings.log.level), ("two.example.com", "debug"))

    def test_two_administrators_who_change_the_same_line(self) -> None:
        """Both are shown; the merged text cannot be put to work by mistake; the second one's draft is kept."""
        self.send("/config/apply", self.order(named(MANAGED, "ann.example.com"), base=1))
        mine = named(MANAGED, "bea.example.com")
        late = self.send("/config/apply", self.order(mine, base=1), 412, token=self.bea).json()
        self.assertFalse(late["is_clean"])
        (clash,) = late["clashes"]
        self.assertEqual(
            [clash[side].strip() for side in ("base", "mine", "theirs")],
            [f'hostname = "{name}.example.com"' for name in ("gate", "bea", "ann")],
        )
        self.assertIn("<<<<<<<", late["merged"])
        self.send("/config/apply", self.order(late["merged"], base=2), 422, token=self.bea)
        self.assertEqual(self.desk.control.settings.hostname, "ann.example.com")
        self.send("/config/apply", self.order(mine, base=2), token=self.bea)
        self.assertEqual(self.desk.control.settings.hostname, "bea.example.com")

    def test_a_bad_draft(self) -> None:
        """422 with each problem and its line; what runs is as it was, and the draft is kept for its author."""
        bad = MANAGED.replace("hostname", "hostnam")
        refused = self.send("/config/apply", self.order(bad, base=1), 422).json()
        self.assertIn("did you mean", str(refused["errors"]))
        self.assertIn("line 2", refused["errors"][0]["message"])
        self.assertEqual(self.books.active.number, 1)
        self.send("/config/apply", self.order("x = [", base=1), 422)
        self.assertEqual(self.desk.control.settings.hostname, "gate.example.com")

    def test_a_dry_run_does_all_but_the_change(self) -> None:
        """It says what would be done, refuses what the order would, and keeps no draft."""
        mine = named(MANAGED, "two.example.com")
        said = self.send("/config/apply?dry_run=1", self.order(mine, base=1)).json()
        self.assertEqual(said["would"]["action"], "config.apply")
        self.send("/config/apply?dry_run=1", self.order("x = [", base=1), 422)
        self.assertEqual((self.books.active.number, self.desk.users.rows), (1, []))

    def test_words_that_an_order_wants(self) -> None:
        """A message without control characters, minutes to 60, a revision that was there."""
        for wrong in ({"message": ""}, {"message": "a\nb"}, {"confirm_within": 61}, {"base": 0}):
            self.send("/config/apply", {**self.order(MANAGED, base=1), **wrong}, 422)
        self.send("/config/apply", self.order(MANAGED, base=77), 404)
        self.send("/config/apply", self.order(MANAGED, base=1, message="   "), 409)

    def test_it_is_in_the_audit_and_in_the_log(self) -> None:
        """Who, from what, why."""
        self.send("/config/apply", self.order(MANAGED + LOUD, base=1))
        (row,) = self.desk.users.rows
        self.assertEqual((row["action"], row["target"], row["detail"]), ("config.apply", "from revision 1", "why"))
        told = [event.name for event in self.desk.control.events if hasattr(event, "name")]  # type: ignore[attr-defined]
        self.assertEqual(told.count("admin.config.apply"), 1)

    def test_when_it_was_put_to_work(self) -> None:
        """Each time, also a reload, also the way back: marks for charts."""
        self.send("/config/apply", self.order(MANAGED + LOUD, base=1, confirm_within=2))
        self.desk.clock.advance(120)
        self.send("/config/reload", {})
        found = self.get("/config/applied")["items"]
        self.assertEqual([one["number"] for one in found], [2, 1, 1])
        self.assertEqual(found[0]["author"], "token owner")
        self.assertLess(found[0]["time"], found[1]["time"])

    def test_where_it_cannot_be_written(self) -> None:
        """503, and everything as it was."""
        self.store.add = lambda *args: fail(StoreFailed("full"))  # type: ignore[method-assign]
        self.send("/config/apply", self.order(MANAGED + LOUD, base=1), 503)
        self.assertEqual((self.books.active.number, self.desk.control.settings.log.level), (1, "info"))

    def test_S_29_secrets_stay_out_and_come_back(self) -> None:
        """In no answer; and *** that is sent keeps the one that is there."""
        text = MANAGED + SECRET
        self.books._factories = {"nowhere": FACTORY}
        self.send("/config/apply", self.order(text, base=1))
        shown = self.get("/config/revisions/2")["text"]
        self.assertIn('api_key = "***"', shown)
        self.send("/config/apply", self.order(shown + LOUD, base=2))
        self.assertIn("the-planted-secret", self.books.active.text)
        self.send("/config/apply", self.order(MANAGED, base=3))
        late = self.send("/config/apply", self.order(named(shown, "x.example.com"), base=3), 412)
        for answer in (late.text, *(str(self.get(path)) for path in ("/config", "/config/diff?a=1&b=2",
                       "/config/revisions", "/config/revisions/2", "/config/revisions/3"))):  # fmt: skip
            self.assertNotIn("the-planted-secret", answer)

    def test_S_29_stars_of_a_text_are_those_at_work(self) -> None:
        """Not those of a draft that its author once typed and never put to work; the page's are the draft's."""
        self.books._factories = {"nowhere": FACTORY}
        text = MANAGED + SECRET
        self.send("/config/apply", self.order(text, base=1))
        typed = text.replace("the-planted-secret", "typed")
        self.send("/config/apply", self.order(typed + "x = [", base=2), 422)
        draft = self.get("/config/draft")["text"]
        self.assertNotIn("typed", draft)
        self.send("/config/apply", self.order(self.shown() + LOUD, base=2))
        self.assertIn("the-planted-secret", self.books.active.text)
        self.assertNotIn("typed", self.books.active.text)

    def test_a_secret_that_is_changed_is_not_lost_when_overtaken(self) -> None:
        """The merged text has what its author sent, and *** for what others wrote."""
        self.books._factories = {"nowhere": FACTORY}
        text = MANAGED + SECRET
        self.send("/config/apply", self.order(text, base=1))
        other = SECRET.replace('"nowhere"', '"nowhere"\nname = "other"').replace("planted", "other")
        theirs = self.shown().replace("[listeners.mx]", f"{other}[listeners.mx]")
        self.send("/config/apply", self.order(theirs, base=2), token=self.bea)
        mine = named(text.replace("planted", "fresh"), "two.example.com")
        late = self.send("/config/apply", self.order(mine, base=2), 412).json()
        self.assertIn("the-fresh-secret", late["merged"])
        self.assertNotIn("the-other-secret", str(late))
        self.assertTrue(late["is_clean"])
        self.send("/config/apply", self.order(late["merged"], base=3))
        self.assertIn("the-fresh-secret", self.books.active.text)
        self.assertIn("the-other-secret", self.books.active.text)

    def shown(self) -> str:
        return str(self.get(f"/config/revisions/{self.books.active.number}")["text"])


class ConfirmTests(OfficeCase):
    """Apply with confirm, and back."""

    def apply(self, minutes: int = 5) -> None:
        order = {"text": named(MANAGED, "two.example.com"), "base": 1, "message": "why", "confirm_within": minutes}
        self.send("/config/apply", order)

    def test_confirmed(self) -> None:
        """It says how long; another number confirms nothing; then it stays."""
        self.apply()
        found = self.get("/config/revisions")
        self.assertEqual((found["items"][0]["state"], found["pending_seconds"]), ("pending", 300.0))
        self.send("/config/confirm", {"revision": 1}, 409)
        self.send("/config/confirm?dry_run=1", {"revision": 2})
        self.assertIsNotNone(self.books.pending)
        self.send("/config/confirm", {"revision": 2}, token=self.bea)
        self.desk.clock.advance(9999)
        self.assertEqual(self.desk.control.settings.hostname, "two.example.com")
        self.send("/config/confirm", {"revision": 2}, 409)

    def test_nobody_confirms(self) -> None:
        """The former one rules again at the deadline."""
        self.apply()
        self.desk.clock.advance(300)
        self.assertEqual(self.desk.control.settings.hostname, "gate.example.com")
        self.assertEqual(self.get("/config/revisions")["items"][0]["state"], "unconfirmed")
        self.send("/config/confirm", {"revision": 2}, 409)

    def test_while_it_waits_nothing_else_is_put_to_work(self) -> None:
        """409 for another text and for other revisions; the former one can be had back at once."""
        self.apply()
        self.send("/config/apply", {"text": MANAGED + LOUD, "base": 2, "message": "why"}, 409)
        self.send("/config/rollback", {"revision": 1})
        self.assertEqual((self.desk.control.settings.hostname, self.books.active.number), ("gate.example.com", 1))

    def test_back(self) -> None:
        """An older text is a new revision; one that is not kept is 404."""
        self.apply(0)
        self.send("/config/rollback?dry_run=1", {"revision": 1})
        self.assertEqual(self.books.active.number, 2)
        self.send("/config/rollback", {"revision": 1, "message": "it was better"})
        top = self.get("/config/revisions")["items"][0]
        self.assertEqual((top["number"], top["way"], top["message"]), (3, "rollback", "it was better"))
        self.send("/config/rollback", {"revision": 9}, 404)


class FileTests(OfficeCase):
    """Where the file rules."""

    text = CONFIG

    def test_the_file_rules(self) -> None:
        """There is a history, and nothing but the file changes it."""
        refused = self.send("/config/apply", {"text": CONFIG, "base": 1, "message": "why"}, 409).json()
        self.assertIn("the file rules", refused["detail"])
        self.send("/config/rollback", {"revision": 1}, 409)
        self.file.write_text(named(CONFIG, "two.example.com"))
        self.assertTrue(self.get("/config/revisions")["is_drifted"])
        self.send("/config/reload", {})
        found = self.get("/config/revisions")
        self.assertEqual([(one["number"], one["way"]) for one in found["items"]], [(2, "file"), (1, "file")])
        self.assertEqual((found["is_drifted"], found["mode"]), (False, "file"))


class DriftTests(OfficeCase):
    """A file that was changed beside the revisions."""

    def told(self) -> list[str]:
        return [event.message for event in self.desk.control.events  # type: ignore[attr-defined]
                if getattr(event, "name", "") == "config.drift"]  # fmt: skip

    def watch(self) -> None:
        self.successResultOf(self.desk.control.engine.start(self.books.watch_file()))

    def test_it_is_told_once_and_rules_nothing(self) -> None:
        """At the look that finds it, and not again; a reload keeps the revision."""
        self.watch()
        self.assertEqual(self.told(), [])
        self.file.write_text(named(MANAGED, "file.example.com"))
        self.watch()
        self.watch()
        self.assertEqual(len(self.told()), 1)
        self.send("/config/reload", {})
        self.assertEqual(self.desk.control.settings.hostname, "gate.example.com")
        self.assertTrue(self.get("/config/revisions")["is_drifted"])

    def test_a_file_that_is_gone(self) -> None:
        """Is told too, with why."""
        self.file.unlink()
        self.watch()
        self.assertIn("cannot be read", self.told()[0])

    def test_what_the_file_says_is_taken_over(self) -> None:
        """The text of the file, applied, is an import; then they agree."""
        self.file.write_text(named(MANAGED, "file.example.com"))
        self.watch()
        self.send("/config/apply", {"text": self.file.read_text(), "base": 1, "message": "the file was right"})
        found = self.get("/config/revisions")
        self.assertEqual((found["items"][0]["way"], found["is_drifted"]), ("import", False))


class DraftTests(OfficeCase):
    """What is not at work."""

    def put(self, value: Any, status: int = 200, token: str = "", tag: str = "") -> Any:
        body = json.dumps(value).encode()
        token = token or self.ann
        if not tag:
            tag = self.desk.ask("GET", "/api/v1/config/draft", token=token).header("etag")
        headers = {"Content-Type": "application/json", "If-Match": tag}
        answer = self.desk.ask("PUT", "/api/v1/config/draft", body=body, headers=headers, token=token)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()

    def test_everybody_has_one_of_their_own(self) -> None:
        """Kept with a version, whatever is in it; what is at work where there is none; forgotten."""
        first = self.get("/config/draft")
        self.assertEqual((first["base"], first["time"], first["text"]), (1, None, MANAGED))
        tag = self.desk.ask("GET", "/api/v1/config/draft", token=self.ann).header("etag")
        self.put({"text": "x = [", "base": 1}, tag=tag)
        self.assertEqual(self.get("/config/draft")["text"], "x = [")
        self.assertEqual(self.get("/config/draft", token=self.bea)["text"], MANAGED)
        self.put({"text": "y", "base": 1}, 412, tag=tag)
        self.put({"text": "y", "base": 9}, 404)
        answer = self.desk.ask("DELETE", "/api/v1/config/draft", token=self.ann, headers={"If-Match": "*"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.get("/config/draft")["text"], MANAGED)

    def test_a_draft_of_the_file(self) -> None:
        """It is made, and rules nothing; of a file that cannot be read there is none."""
        self.file.write_text(named(MANAGED, "file.example.com"))
        found = self.get("/config/drift")
        self.assertTrue(found["is_drifted"])
        self.assertIn('+hostname = "file.example.com"', found["diff"])
        self.send("/config/import?dry_run=1", {})
        self.assertIsNone(self.get("/config/draft")["time"])
        self.send("/config/import", {})
        self.assertEqual(self.get("/config/draft")["text"], self.file.read_text())
        self.assertEqual(self.books.active.number, 1)
        self.file.unlink()
        self.send("/config/import", {}, 409)
        self.assertIn("cannot be read", self.get("/config/drift")["problem"])

    def test_a_check_tells_what_would_be_another(self) -> None:
        """Difference, keys, and what waits for a restart."""
        text = MANAGED.replace("[admin]", '[log]\nformat = "text"\n[admin]')
        found = self.send("/config/validate", {"text": text}).json()
        self.assertEqual((found["is_valid"], found["restart"]), (True, ["log.format"]))
        self.assertEqual(found["changes"], [{"key": "log.format", "how": "added", "line": 5}])
        self.assertIn('+format = "text"', found["diff"])
        self.assertFalse(self.send("/config/validate", {"text": "x = ["}).json()["is_valid"])

    def test_texts_to_take_away(self) -> None:
        """What is at work or another, without secrets; who brought which line; the schema."""
        self.books._factories = {"nowhere": FACTORY}
        self.send("/config/apply", {"text": MANAGED + SECRET, "base": 1, "message": "why"})
        for path, words in (("/config/export", b'"***"'), ("/config/export?revision=1", MANAGED.encode())):
            answer = self.desk.ask("GET", f"/api/v1{path}", token=self.ann)
            self.assertEqual((answer.status, answer.header("content-type")), (200, "application/toml"))
            self.assertIn(words, answer.body)
            self.assertNotIn(b"planted", answer.body)
        lines = self.get("/config/revisions/2/blame")["items"]
        self.assertEqual([one["number"] for one in lines], [1] * MANAGED.count("\n") + [2] * SECRET.count("\n"))
        self.assertNotIn("planted", str(lines))
        self.assertIn("listeners", self.get("/config/schema")["properties"])


class AccessTests(OfficeCase):
    """Who may come in is not for administrators to say."""

    def test_S_13_providers_are_changed_by_who_gives_access(self) -> None:
        """Else an administrator would let themselves in as an owner: by a text, by a way back, and by taking it out."""
        secret = self.file.with_name("sso.secret")
        secret.write_text("a-secret")
        secret.chmod(0o600)
        table = (
            '[sso.corp]\nissuer = "https://id.example.com"\nclient_id = "x"\nclient_secret = "sso.secret"\n'
            '[[sso.corp.groups]]\nname = "everybody"\nrole = "owner"\n'
        )
        order = {"text": self.text + table, "message": "in", "base": 1}
        refused = self.send("/config/apply", order, 403, self.bea)
        self.assertIn("access:write", refused.text)
        self.assertEqual(self.desk.control.settings.sso, {})
        self.send("/config/apply", order)
        self.assertEqual(list(self.desk.control.settings.sso), ["corp"])
        self.send("/config/rollback", {"revision": 1, "message": "out"}, 403, self.bea)
        self.send("/config/apply", {"text": self.text, "message": "out", "base": 2}, 403, self.bea)
        other = self.text.replace("[admin]", 'trusted_relays = ["192.0.2.1"]\n[admin]') + table
        self.send("/config/apply", {"text": other, "message": "something else", "base": 2}, 200, self.bea)
        self.assertEqual(list(self.desk.control.settings.sso), ["corp"])
