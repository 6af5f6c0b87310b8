"""Rules tried without effect: on a message, on a held one, on the history; what cannot be judged is said so."""

from __future__ import annotations

import base64
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.model_policy import RULES
from smtpgate.control.rule_trials import settings_of
from smtpgate.control.views import Invalid
from smtpgate.examine.facts import Facts, File
from smtpgate.filters.rule_trial import Trial
from smtpgate.interfaces import ChildFailed
from smtpgate.policy.held import Addressee, Held
from smtpgate.policy.transaction import Recipient
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.reply import Reply
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk, make_session
from tests.test_filters_rules import Services, path

MAIL = "From: Ann <ann@example.org>\nSubject: secret plan\nX-Kind: a\n\nhello\n"


def rule(name: str, when: str, action: str = "reject", more: str = "") -> str:
    """One rule."""
    return f'[[rules]]\nname = "{name}"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'


class TextTests(SynchronousTestCase):
    """A text of rules, as whoever tries it writes it."""

    def setUp(self) -> None:
        self.at_work = loads(CONFIG, "/nowhere/gate.toml")

    def test_it_may_name_what_is_at_work(self) -> None:
        """Listeners, backends and classes of the quarantine."""
        text = rule("a", "true", "quarantine", 'held_as = "dlp"\nlistener = ["mx"]')
        text += rule("b", "sender == ''", "route", 'backend = "mail"')
        text += rule("c", "size > 1", "require-tls", 'tls_level = "verified"')
        self.assertEqual([one.name for one in settings_of(text, self.at_work).rules], ["a", "b", "c"])

    def test_it_may_name_groups(self) -> None:
        """Those at work, with all who are in them; no others."""
        at_work = loads(CONFIG + '[groups.board]\naddresses = ["ann@example.org", "<>"]\n', "/nowhere/gate.toml")
        settings = settings_of(rule("a", "'board' in sender_groups"), at_work)
        self.assertEqual(settings.groups, at_work.groups)
        self.assertRaises(ConfigErrors, settings_of, rule("a", "'bard' in sender_groups"), at_work)

    def test_it_may_search_for_what_is_at_work(self) -> None:
        """Detectors and dictionaries of the configuration, whether a rule there asks for them or not; those of the text
        stand in place of those of the same name."""
        own = "[[detectors]]\nname = 'number'\npatterns = ['N-[0-9]{8}']\n"
        own += "[[dictionaries]]\nname = 'plans'\nterms = { falcon = 5, heron = 1 }\n"
        at_work = loads(CONFIG + own, "/nowhere/gate.toml")
        self.assertEqual(at_work.search.names, ())
        asks = rule("a", "matches.exists(m, m.detector == 'number' || m.detector == 'plans')")
        search = settings_of(asks, at_work).search
        self.assertEqual(set(search.names), {"number", "plans"})
        self.assertEqual([one["name"] for one in search.own["detectors"]], ["number"])
        mine = "[[dictionaries]]\nname = 'plans'\nterms = { owl = 1 }\n"
        search = settings_of(mine + asks, at_work).search
        self.assertEqual([one["terms"] for one in search.own["dictionaries"]], [[("owl", 1.0)]])
        errors = self.assertRaises(
            ConfigErrors, settings_of, rule("a", "matches.exists(m, m.detector == 'nummer')"), at_work
        )
        self.assertIn("nummer", errors.problems[0].message)

    def test_what_is_wrong_is_told_with_its_place(self) -> None:
        """In the text, wherever it stands; what is not closed too."""
        for text, line in ((rule("a", "siz > 1"), 3), ('[[rules]]\nname = "a', 2)):
            errors = self.assertRaises(ConfigErrors, settings_of, text, self.at_work)
            self.assertEqual(errors.problems[0].line, line)
        errors = self.assertRaises(ConfigErrors, settings_of, rule("a", "true", more='listener = ["m"]'), self.at_work)
        self.assertIn("no listener", errors.problems[0].message)

    def test_nothing_else_is_taken(self) -> None:
        """No key that could look at a file, and no text without a rule."""
        lists = '[[dictionaries]]\nname = "x"\nfile = "/etc/passwd"\n'
        for text in ("[listeners.x]\n", 'state_dir = "/x"\n', lists + rule("a", "true"), "", rule("a", "true") * 51):
            self.assertRaises((Invalid, ConfigErrors), settings_of, text, self.at_work)


class _Case(ApiCase):
    """A gateway with two rules at work."""

    def setUp(self) -> None:
        self.use(rule("plan", "subject == 'secret plan'") + rule("never", "sender == 'x@example.org'", "discard"))

    def use(self, rules: str, services: Any = None) -> None:
        """A gateway with these rules at work."""
        self.desk = Desk(CONFIG + rules)
        self.owner = self.desk.token("owner")
        self.services = services or Services()
        control = self.desk.control
        control.rule_trials.trial = Trial
        control.current().services = self.services


class TrialTests(_Case):
    """POST /api/v1/rules/try."""

    def said(self, **body: Any) -> dict[str, tuple[str, str]]:
        """Answer and reason of each rule."""
        envelope = {"sender": "ann@example.org", "recipients": ["b@example.net", "c@example.net"]}
        items = self.post("/rules/try", {"message": MAIL, "envelope": envelope, **body})["items"]
        return {one["rule"]: (one["answer"], one["why"]) for one in items}

    def test_the_rules_at_work(self) -> None:
        """Each with what it would do; nothing is counted."""
        items = self.post("/rules/try", {"message": MAIL})["items"]
        self.assertEqual([(one["rule"], one["answer"], one["step"]) for one in items],
                         [("plan", "true", "header"), ("never", "false", "mail")])  # fmt: skip
        self.assertIn("rule plan", items[0]["does"])
        self.assertEqual([one["hits"] for one in self.get("/rules")["items"]], [0, 0])
        encoded = base64.b64encode(MAIL.encode()).decode()
        self.assertEqual(self.post("/rules/try", {"message_base64": encoded})["items"], items)

    def test_a_large_message(self) -> None:
        """As large as a message may be here, in base64; one octet more is refused, and so is a body that cannot hold
        such a message."""
        self.use("[limits]\nmessage_size = '4 MiB'\n" + rule("size", "size == 4194304"))
        octets = b"Subject: a\r\n\r\n" + b"x" * (4 * 2**20 - 14)
        for more, status in ((b"", 200), (b"x", 413), (b"x" * 2**20, 413)):
            body = {"message_base64": base64.b64encode(octets + more).decode()}
            answer = self.post("/rules/try", body, status)
            if status == 200:
                self.assertEqual(answer["items"][0]["answer"], "true")

    def test_one_large_message_at_a_time(self) -> None:
        """The next hears so, and is taken when the first is done or its sender has gone; small ones are not held up."""
        body = json.dumps({"message": "Subject: a\n\n" + "x" * 2_000_000}).encode()
        head = f"POST /api/v1/rules/try HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.owner}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        headers = {"Content-Type": "application/json"}

        def ask() -> int:
            return self.desk.ask(
                "POST", "/api/v1/rules/try", body=body, headers=headers, token=self.owner
            ).status  # fmt: skip

        first, heard = self.desk.open()
        first.dataReceived(head.encode() + body[:1000])
        self.assertEqual(ask(), 503)
        self.post("/rules/try", {"message": MAIL})
        first.dataReceived(body[1000:])
        self.assertTrue(heard.value().startswith(b"HTTP/1.1 200"), heard.value()[:200])
        self.assertEqual(ask(), 200)
        second, _ = self.desk.open()
        second.dataReceived(head.encode() + body[:1000])
        self.assertEqual(ask(), 503)
        second.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(ask(), 200)

    def test_rules_of_a_text(self) -> None:
        """In place of those at work, at every step; the whole message is known."""
        text = rule("header", "header('x-kind').exists(h, h == 'a')") + rule("size", "size == 71")
        text += rule("rcpt", "recipient == 'c@example.net'") + rule("data", "recipients.size() == 2")
        items = self.post("/rules/try", {"message": MAIL, "rules": text, "envelope": {
            "sender": "a@example.org", "recipients": ["b@example.net", "c@example.net"]}})["items"]  # fmt: skip
        octets = len(MAIL.replace("\n", "\r\n"))
        self.assertEqual(octets, 71)
        self.assertEqual([(one["rule"], one["answer"]) for one in items],
                         [(name, "true") for name in ("header", "size", "rcpt", "data")])  # fmt: skip
        self.assertEqual(items[2]["recipients"], ["c@example.net"])

    def test_a_wrong_text(self) -> None:
        """Its fault stands where it is."""
        answer = self.post("/rules/try", {"message": MAIL, "rules": rule("a", "siz > 1")}, 422)
        self.assertIn("line 3", answer["errors"][0]["message"])
        self.assertEqual(answer["errors"][0]["pointer"], "/rules")

    def test_content_is_examined_once_and_failure_is_no_answer(self) -> None:
        """Of a rule whose content cannot be looked at it is said why."""
        text = rule("program", "attachments.exists(a, a.kind == 'executable')") + rule("many", "attachments.size() > 9")
        self.use("", Services(Facts(files=(File("run.exe", ("run.exe",), kind="executable"),))))
        self.assertEqual(self.said(rules=text), {"program": ("true", ""), "many": ("false", "")})
        self.assertEqual(self.services.asked, 1)
        self.services.answer = lambda: fail(ChildFailed("died", "killed"))
        said = self.said(rules=text + rule("size", "size > 1"))
        self.assertEqual([answer for answer, _ in said.values()], ["failed", "failed", "true"])
        self.assertIn("tempfail", said["many"][1])
        self.assertEqual(self.services.told, [])

    def test_findings_are_not_guessed(self) -> None:
        """No filter is asked, so what speaks of them is not judged; nor is one that is off and searches."""
        text = rule("score", "score < 5.0") + rule("off", "matches.size() == 0", more='mode = "off"')
        said = self.said(rules=text)
        self.assertEqual([answer for answer, _ in said.values()], ["unknown", "unknown"])
        self.assertIn("score", said["score"][1])

    def test_scopes_and_who_accepts(self) -> None:
        """A rule about other mail says so; one behind an accepting rule is judged all the same, with a word."""
        text = rule("out", "true", more='direction = "out"') + rule("ok", "sender == 'ann@example.org'", "accept")
        text += rule("late", "size > 1")
        envelope = {"sender": "ann@example.org", "recipients": []}
        items = self.post("/rules/try", {"message": MAIL, "rules": text, "envelope": envelope})["items"]
        self.assertEqual([(one["answer"], one["ended_by"]) for one in items],
                         [("not-about", ""), ("true", ""), ("true", "ok")])  # fmt: skip

    def test_for_whom_a_rule_is(self) -> None:
        """One about other recipients or another sender is not asked."""
        text = rule("for", "true", more='recipient = ["c@example.net"]')
        text += rule("nobody", "true", more='recipient = ["x@example.net"]')
        text += rule("by", "true", more='sender = ["example.com"]')
        said = {name: answer for name, (answer, _) in self.said(rules=text).items()}
        self.assertEqual(said, {"for": "true", "nobody": "not-about", "by": "not-about"})

    def test_what_is_asked_for(self) -> None:
        """One thing, with an envelope that makes sense."""
        self.post("/rules/try", {}, 422)
        self.post("/rules/try", {"message": MAIL, "last": 5}, 422)
        self.post("/rules/try", {"message_base64": "%"}, 422)
        for envelope in ({"sender": "a b"}, {"listener": "nosuch"}):
            self.assertIn(self.desk.post_json("/api/v1/rules/try", {"message": MAIL, "envelope": envelope},
                                              token=self.owner).status, (409, 422))  # fmt: skip

    def test_a_held_message(self) -> None:
        """Its envelope, its octets, and what filters had found of it."""
        octets = MAIL.replace("\n", "\r\n").encode()
        facts = make_session(findings=(Finding("spam", score=7.0, filter="x"), Finding("own", filter=RULES)))
        id = facts.transactions[0].id
        self.desk.history.keep(facts)
        held = Held("h1", 1.0, 2.0, "spam", id, "mx", "in", "192.0.2.9", "z@example.org",
                    (Addressee("b@example.net"),), octets=len(octets), body="f",
                    facts={"listener": "mx", "role": "mx", "client_ip": "192.0.2.9"})  # fmt: skip

        class Vault:
            """One message."""

            get = staticmethod(lambda id: succeed(held if id == "h1" else None))
            open = staticmethod(lambda body: succeed(io.BytesIO(octets)))

        self.desk.control.engine.vault = Vault()
        text = rule("score", "score == 7.0 && findings.size() == 1") + rule("ip", "client_ip == '192.0.2.9'")
        text += rule("whole", f"size == {len(octets)} && recipients == ['b@example.net']")
        items = self.post("/rules/try", {"held": "h1", "rules": text})["items"]
        self.assertEqual([one["answer"] for one in items], ["true"] * 3, items)
        self.post("/rules/try", {"held": "h2"}, 404)


class PastTests(_Case):
    """The newest of the history."""

    def keep(self, number: int, **more: Any) -> str:
        """One message of it."""
        facts = make_session(id=f"s{number}", **more)
        facts.started += number
        self.desk.history.keep(facts)
        return facts.transactions[0].id

    def tallies(self, text: str, last: int = 100) -> dict[str, Any]:
        """Of each rule."""
        self.answer = self.post("/rules/try", {"last": last, "rules": text})
        return {one["rule"]: one for one in self.answer["tallies"]}

    def test_counts_and_examples(self) -> None:
        """How often, of which mail, and how much of it somebody wanted."""
        ids = [self.keep(number) for number in range(14)]
        sender = str(self.desk.history.facts[0].transactions[0].sender).lower()
        found = self.tallies(rule("all", f"sender == '{sender}'") + rule("none", "sender == 'x'"))
        self.assertEqual(self.answer["messages"], 14)
        self.assertEqual(found["all"]["counts"]["true"], 14)
        self.assertEqual(found["all"]["examples"], ids[:10])
        self.assertEqual(found["none"]["counts"]["false"], 14)
        outcome = self.desk.history.facts[0].transactions[0].outcome
        self.assertEqual(found["all"]["delivered"], 14 if outcome == "delivered" else 0)
        self.assertEqual(self.tallies(rule("all", "true"), 5)["all"]["counts"]["true"], 5)
        self.assertEqual(self.answer["messages"], 5)

    def test_a_subject_is_decoded(self) -> None:
        """As rules know it while mail comes, whatever code it came in."""
        for number, subject in enumerate(("=?utf-8?q?=C3=84rger?=", "=?iso-8859-1?B?xHJnZXI=?=", "\u00c4rger", "rger")):
            self.keep(number, subject=subject)
        found = self.tallies(rule("a", "subject.contains('\u00c4rger')") + rule("b", "subject.contains('=?')"))
        self.assertEqual([found[name]["counts"]["true"] for name in "ab"], [3, 0])

    def test_what_is_not_kept(self) -> None:
        """It is said so, and never counted as not true; in `unless` too."""
        text = rule("files", "attachments.size() == 0") + rule("from", "authors.size() == 0")
        text += rule("like", "lookalike_of.size() == 0") + rule("seen", "visible_recipients == 0")
        text += rule("field", "header('x').size() == 0") + rule("not", "size >= 0", more='unless = "links.size() > 0"')
        self.keep(1)
        for one in self.tallies(text).values():
            self.assertEqual((one["counts"], one["examples"]), ({}, []))
            self.assertIn("the history does not keep", one["why"])

    def test_how_far_a_message_came(self) -> None:
        """One that ended at RCPT was never asked for its size."""
        facts = make_session(id="early")
        transaction = facts.transactions[0]
        transaction.data_at = transaction.end_at = 0.0
        refused = Recipient(path("no@example.net"), {})
        refused.state, refused.reply = "refused", Reply(550, "5.1.1", ("no",))
        transaction.recipients[:] = [refused]
        self.desk.history.keep(facts)
        found = self.tallies(rule("size", "size < 0 || true") + rule("rcpt", "recipient == 'no@example.net'"))
        self.assertEqual(found["size"]["counts"]["not-reached"], 1)
        self.assertEqual(found["rcpt"]["counts"]["true"], 1)

    def test_no_history(self) -> None:
        """Nothing is counted, and nothing breaks."""
        self.assertEqual(self.tallies(rule("a", "true"))["a"]["counts"]["true"], 0)
        self.assertEqual(self.answer["since"], None)


class PageTests(_Case):
    """`/rules`."""

    def form(self, **fields: str) -> Any:
        """What the page answers."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        token = self.owner
        return self.desk.ask("POST", "/rules/try", body=urlencode(fields).encode(), headers=headers, token=token)

    def upload(self, file: bytes, body: bytes = b"", **fields: str) -> Any:
        """What the page answers to a form in parts, as browsers send it."""
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
        parts.append(b'name="file"; filename="a.eml"\r\nContent-Type: message/rfc822\r\n\r\n' + file)
        lines = [b"--XyZ\r\nContent-Disposition: form-data; " + one + b"\r\n" for one in parts]
        headers = {"Content-Type": "multipart/form-data; boundary=XyZ"}
        body = body or b"".join(lines) + b"--XyZ--\r\n"
        return self.desk.ask("POST", "/rules/try", body=body, headers=headers, token=self.owner)

    def test_a_file(self) -> None:
        """A message that is sent as one, octet for octet: any octets, and more of them than other forms may have."""
        octets = MAIL.replace("\n", "\r\n").encode() + b"\x00\xff--XyZ" + b"x" * 2_000_000 + b"\r\n"
        text = rule("size", f"size == {len(octets)}")
        page = self.upload(octets, on="message", text=text, message="", recipients="b@example.net")
        self.assertEqual(page.status, 200, page.text[:2000])
        self.assertIn("rule size", page.text)
        self.assertEqual(self.upload(octets, on="message", text="", message=MAIL).status, 422)
        self.assertEqual(self.upload(b"", on="message", text="", message="").status, 422)
        page = self.upload(b"", on="message", text="", message=MAIL.replace("\n", "\r\n"))
        self.assertIn("rule plan", page.text)

    def test_forms_in_parts_that_are_none(self) -> None:
        """Refused, whatever is missing, and for pages that take no file."""
        for body in (
            b"x",
            b"--XyZ\r\n",
            b"--XyZ--\r\n",
            b'--XyZ\r\nContent-Disposition: form-data; name="on"\r\n\r\nmessage\r\n',
            b"--XyZ\r\nContent-Type: x\r\n\r\nmessage\r\n--XyZ--\r\n",
            b'--XyZ\r\nContent-Disposition: form-data; name="on"\r\nmessage\r\n--XyZ--\r\n',
            b'--XyZ\r\nContent-Disposition: form-data; name="on"\r\n\r\n\xff\r\n--XyZ--\r\n',
            b'--XyZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 60 + b"--XyZ--\r\n",
        ):
            page = self.upload(b"", body)
            self.assertIn(page.status, (400, 422), body)
            self.assertNotIn("rule plan", page.text)
        headers = {"Content-Type": "multipart/form-data; boundary=XyZ"}
        self.assertEqual(
            self.desk.ask("POST", "/config/reload", body=b"--XyZ--", headers=headers, token=self.owner).status, 415
        )

    def test_all_rules(self) -> None:
        """With their conditions, and a form for those who may try."""
        page = self.desk.ask("GET", "/rules", token=self.owner)
        self.assertEqual(page.status, 200)
        self.assertIn("subject == &#39;secret plan&#39;", page.text)
        self.assertIn("/rules/try", page.text)
        auditor = self.desk.ask("GET", "/rules", role="auditor")
        self.assertEqual(auditor.status, 200)
        self.assertNotIn("/rules/try", auditor.text)

    def test_a_message_and_the_history(self) -> None:
        """The same as the API says; what was written is there again."""
        page = self.form(on="message", message=MAIL, text="", sender="ann@example.org", recipients="b@example.net")
        self.assertEqual(page.status, 200, page.text)
        self.assertIn("rule plan", page.text)
        self.assertIn("X-Kind: a", page.text)
        self.desk.history.keep(make_session())
        page = self.form(on="history", message="", text=rule("big", "size > 1") + rule("links", "links.size() > 0"))
        self.assertIn("01J9UK7Q0000000000000000AA.1", page.text)
        self.assertIn("the history does not keep: links", page.text)

    def test_mistakes(self) -> None:
        """In words, and not as a page of its own."""
        page = self.form(on="history", message="", text=rule("a", "siz > 1"))
        self.assertEqual(page.status, 422)
        self.assertIn("siz is no fact", page.text)
        self.assertLess(page.text.index("siz is no fact"), page.text.index("At work"))
        self.assertEqual(self.form(on="message", message=" ", text="").status, 422)
        self.assertEqual(self.form(on="message", message=MAIL, sender="a b").status, 409)

    def test_strangers_texts_do_nothing(self) -> None:
        """What is tried may say anything."""
        for text in (one for one in HOSTILE if "<" in one):
            page = self.form(on="message", message=f"Subject: {text}\n\nx", text="", sender=text)
            self.assertNotIn(text, page.text)


class CommandTests(SynchronousTestCase):
    """`smtpgate try-rules` where no gateway runs."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "gate.toml").write_text(CONFIG + rule("plan", "subject == 'secret plan'"))
        (self.folder / "mail.eml").write_text(MAIL)

    def run_it(self, *more: str) -> tuple[int, str, str]:
        """Exit code, and what was printed."""
        out, complaints = io.StringIO(), io.StringIO()
        config = str(self.folder / "gate.toml")
        with redirect_stdout(out), redirect_stderr(complaints):
            code = main(["--config", config, "try-rules", str(self.folder / "mail.eml"), *more])
        return code, out.getvalue(), complaints.getvalue()

    def test_the_rules_of_the_file(self) -> None:
        """On header and envelope; what needs the content is said not to be judged."""
        code, out, complaints = self.run_it()
        self.assertEqual((code, "true" in out), (0, True))
        self.assertIn("no gateway runs", complaints)

    def test_rules_of_another_file(self) -> None:
        """With an envelope; mistakes are told with their line."""
        rules = self.folder / "rules.toml"
        rules.write_text(rule("to", "recipient == 'b@example.net'") + rule("files", "attachments.size() == 0"))
        code, out, _ = self.run_it("--rules", str(rules), "--to", "b@example.net", "--json")
        said = {one["rule"]: one["answer"] for one in json.loads(out)["items"]}
        self.assertEqual((code, said), (0, {"to": "true", "files": "unknown"}))
        rules.write_text(rule("to", "recipien == ''"))
        code, _, complaints = self.run_it("--rules", str(rules))
        self.assertEqual(code, 1)
        self.assertIn("recipien is no fact", complaints)
        self.assertIn(":3:", complaints)
