"""Traffic for its managers, through API and pages: classes, pressure, limits, bans, senders, and dry runs."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.pressure import Reading
from tests.admin_kit import CONFIG, HOSTILE, PASSWORD, ApiCase, Desk, make_session
from tests.test_admin_pages import Reader

LIMITS = """
[[rate_limits]]
name = "per-network"
count = "messages"
by = ["network"]
rate = "2/1h"
pace = "0s"
classes = ["unknown", "suspect"]
[[concurrency_limits]]
name = "per-client"
count = "sessions"
by = ["client"]
most = 2
"""
TRIAL = '[[rate_limits]]\nname = "tried"\ncount = "messages"\nby = ["sender_domain"]\nrate = "2/1h"\npace = "0s"\n'


class TrafficCase(ApiCase):
    """A desk whose gateway has limits."""

    def setUp(self) -> None:
        self.desk = Desk(CONFIG + LIMITS)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")
        self.control = self.desk.control

    def send(self, client: str = "192.0.2.7", sender: str = "a@example.org") -> Any:
        """A message that asks the limits; what they say."""
        facts = make_session(sender=sender)
        facts.client_ip, facts.traffic_class = client, "unknown"
        limits = self.control.revision.limits  # type: ignore[union-attr]
        limits.connect(facts)
        return limits.mail(Transaction("x.1", facts, facts.transactions[0].sender, {}))

    def page(self, path: str, status: int = 200) -> str:
        answer = self.desk.ask("GET", path, token=self.owner)
        self.assertEqual(answer.status, status, answer.text)
        return answer.text

    def delete(self, path: str, status: int = 200) -> None:
        answer = self.desk.ask("DELETE", f"/api/v1{path}", token=self.owner)
        self.assertEqual(answer.status, status, answer.text)

    def actions(self) -> list[str]:
        """What the audit has."""
        return [row["action"] for row in self.desk.users.rows]


class ClassTests(TrafficCase):
    """Whose mail goes first."""

    def test_what_each_class_has(self) -> None:
        """Sessions, slots of the backend, memory; in use and promised."""
        self.control.reception.shares.take("known")
        pool = self.control.revision.pools["mail"]  # type: ignore[union-attr]
        pool.slots.shares.take("unknown")
        found = self.get("/traffic")
        places = {(one["kind"], one["name"]): one for one in found["resources"]}
        self.assertEqual(set(places), {("sessions", ""), ("backend", "mail"), ("memory", "")})
        self.assertEqual(places["sessions", ""]["used"]["known"], 1)
        self.assertEqual(places["sessions", ""]["promised"]["trusted"], 4000)
        self.assertEqual(places["backend", "mail"]["used"]["unknown"], 1)
        self.assertEqual(places["memory", ""]["capacity"], self.control.settings.limits.body_memory_octets)
        page = self.page("/traffic")
        self.assertIn("1 <small>of 3000</small>", page)
        self.assertIn("Nothing is shed", page)

    def test_pressure_and_what_it_sheds(self) -> None:
        """The level, the reason, and of whom what is shed; in shadow nothing is."""
        admission = self.control.reception.admission
        admission.reading = Reading(memory=0.95)
        admission.pressure.feel(admission.reading, 1.0)
        found = self.get("/traffic")["pressure"]
        self.assertEqual((found["name"], found["reason"], found["memory"]), ("severe", "memory", 0.95))
        self.assertEqual(found["sheds"], {"unknown": ["delay", "fewer"], "suspect": ["banner"]})
        self.assertEqual(set(found["table"]), {"normal", "busy", "high", "severe", "critical"})
        self.assertIn("unknown: greeting waits, only its part of the sessions", self.page("/traffic"))
        desk = Desk(CONFIG + '[pressure]\nmode = "shadow"\n')
        desk.control.reception.admission.pressure.feel(Reading(memory=0.95), 1.0)
        found = desk.ask("GET", "/api/v1/traffic", role="operator").json()["pressure"]
        self.assertEqual((found["level"], found["sheds"]), (3, {}))


class LimitTests(TrafficCase):
    """Limits, and the keys that are near."""

    def test_they_are_shown_with_their_fullest_keys(self) -> None:
        """Level, room, and how often each was met."""
        for client in ("192.0.2.7", "192.0.2.8", "192.0.2.9", "198.51.100.1"):
            self.send(client)
        rate, concurrency = self.get("/limits")["items"]
        self.assertEqual((rate["name"], rate["kind"], rate["allows"]), ("per-network", "rate", "2/1h, 2 at once"))
        self.assertEqual((rate["about"], rate["keys"]), ("class suspect, unknown", 2))
        self.assertEqual(rate["met"], {"refused": 1})
        full, half = rate["fullest"]
        self.assertEqual((full["key"], full["level"], full["part"]), ("192.0.2.0/24", 2.0, 1.0))
        self.assertAlmostEqual(full["wait_s"], 1800.0)
        self.assertEqual((half["key"], half["level"], half["wait_s"]), ("198.51.100.0/24", 1.0, 0.0))
        self.assertEqual(
            (concurrency["kind"], concurrency["allows"], concurrency["keys"]), ("concurrency", "2 at a time", 4)
        )
        page = self.page("/limits")
        self.assertIn("1 told to come back", page)
        self.assertIn("192.0.2.0/24", page)

    def test_a_key_is_freed(self) -> None:
        """It may send at once; what is not there is said to be unknown, and is not in the audit."""
        for _ in range(2):
            self.send()
        self.assertIsNotNone(self.send())
        for name, key, status in (("none", "x", 404), ("per-network", "203.0.113.0/24", 404), ("per-client", "x", 409)):
            self.post(f"/limits/{name}/free", {"key": key}, status)
        self.assertEqual(self.actions(), [])
        self.post("/limits/per-network/free", {"key": "192.0.2.0/24"})
        self.assertIsNone(self.send())
        self.assertEqual(self.actions(), ["limit.free"])

    def test_what_was_met_outlives_a_reload(self) -> None:
        """The counts are those since the start."""
        for _ in range(3):
            self.send()
        self.control.revision = self.control._build(self.control.settings, None)
        self.assertEqual(self.get("/limits")["items"][0]["met"], {"refused": 1})


class BanTests(TrafficCase):
    """Who may not come in."""

    def test_set_seen_and_lifted(self) -> None:
        """An address and a network; with reason, end and who did it."""
        self.post("/bans", {"key": "192.0.2.7", "reason": "noise", "minutes": 30}, 201)
        self.post("/bans", {"key": "198.51.0.0/16"}, 201)
        for wanted, keys in (
            ("noise", ["192.0.2.7"]),
            ("NOISE", ["192.0.2.7"]),
            ("198.51.100.9", ["198.51.0.0/16"]),
            ("198.51.100.0/24", ["198.51.0.0/16"]),
            ("192.0.0.0/8", []),
            ("2001:db8::1", []),
            ("nobody", []),
        ):
            found = self.get(f"/bans?q={quote(wanted, safe='')}")
            self.assertEqual(([one["key"] for one in found["items"]], found["total"]), (keys, len(keys)), wanted)
            page = self.desk.ask("GET", f"/limits?q={quote(wanted, safe='')}", token=self.owner)
            self.assertEqual((page.status, "No ban matches" in page.text), (200, not keys))
        found = {one["key"]: one for one in self.get("/bans")["items"]}
        self.assertEqual(found["192.0.2.7"]["reason"], "noise")
        self.assertEqual(found["192.0.2.7"]["by"], "owner")
        self.assertTrue(found["198.51.0.0/16"]["is_held"])
        for address, is_banned in (("192.0.2.7", True), ("198.51.100.9", True), ("192.0.2.8", False)):
            self.assertEqual(self.control.reception.warden.find(address) is not None, is_banned, address)
        self.assertIn("noise", self.page("/limits"))
        self.delete(f"/bans/{quote('198.51.0.0/16', safe='')}")
        self.assertIsNone(self.control.reception.warden.find("198.51.100.9"))
        self.delete("/bans/203.0.113.1", 404)
        self.assertEqual(self.actions(), ["ban.set", "ban.set", "ban.lift"])

    def test_what_cannot_be_banned(self) -> None:
        """No address, too wide, with bits of a host, of the house, too long."""
        for body, status in (
            ({"key": "nobody"}, 422),
            ({"key": "0.0.0.0/0"}, 422),
            ({"key": "192.0.2.0/27"}, 422),
            ({"key": "192.0.2.1/24"}, 422),
            ({"key": "2001:db8::/60"}, 422),
            ({"key": "127.0.0.1"}, 409),
            ({"key": "::ffff:127.0.0.1"}, 409),
            ({"key": "127.0.0.0/24"}, 409),
            ({"key": "2001:db8:aaaa::%1/64"}, 422),
            ({"key": "fe80::1%eth0"}, 422),
            ({"key": "192.0.2.7", "minutes": 0}, 422),
            ({"key": "192.0.2.7", "minutes": 525_601}, 422),
        ):
            self.post("/bans", body, status)
        self.assertEqual(self.get("/bans")["total"], 0)

    def test_under_whatever_words(self) -> None:
        """One address is one address, however it is written; and it is lifted under the words that banned it."""
        for written, key, client in (
            ("2001:DB8:7::1", "2001:db8:7::1", "2001:db8:7::1"),
            ("192.0.2.51/32", "192.0.2.51", "192.0.2.51"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9/128", "203.0.113.9", "203.0.113.9"),
            ("0:0:0:0:0:FFFF:203.0.113.9", "203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24", "203.0.113.9"),
        ):
            self.post("/bans", {"key": written}, 201)
            self.assertEqual([one["key"] for one in self.get("/bans")["items"]], [key])
            self.assertIsNotNone(self.control.reception.warden.find(client), written)
            self.assertEqual([one["key"] for one in self.asked_bans(written)], [key])
            self.delete(f"/bans/{quote(written, safe='')}")
            self.assertIsNone(self.control.reception.warden.find(client), written)

    def asked_bans(self, who: str) -> Any:
        return self.get(f"/senders/known?asked={quote(who, safe='')}")["bans"]

    def test_a_network_in_a_banned_one(self) -> None:
        """Who asks for it sees the ban that holds there."""
        self.post("/bans", {"key": "198.51.0.0/16"}, 201)
        for who, is_seen in (("198.51.100.0/24", True), ("198.51.100.1/32", True), ("198.50.0.0/15", False)):
            self.assertEqual(bool(self.asked_bans(who)), is_seen, who)

    def test_what_is_refused_is_not_in_the_audit(self) -> None:
        """It was not done; what was done stands there with its length."""
        for key in ("127.0.0.1", "nobody", "127.0.0.0/24"):
            self.post("/bans", {"key": key}, 422 if key == "nobody" else 409)
        self.assertEqual(self.actions(), [])
        self.post("/bans", {"key": "192.0.2.7", "reason": "noise", "minutes": 5}, 201)
        self.assertEqual(self.actions(), ["ban.set"])
        self.assertIn("noise; for 5 minutes", str(self.desk.users.rows[-1]))

    def test_a_shorter_word_holds_too(self) -> None:
        """What was said last."""
        for minutes in (1440, 5):
            self.post("/bans", {"key": "192.0.2.7", "minutes": minutes}, 201)
        self.desk.clock.advance(301)
        self.assertEqual(self.get("/bans")["total"], 0)

    def test_by_a_form(self) -> None:
        """The same; what is wrong stands on the page."""
        self.assertEqual(self.form("/bans/set", key="192.0.2.7", minutes="60", reason="x").status, 303)
        answer = self.form("/bans/set", key="nobody", minutes="60", reason="")
        self.assertEqual(answer.status, 409)
        self.assertIn("no address", answer.text)
        self.assertEqual(self.form("/bans/set", key="192.0.2.7", minutes="7", reason="").status, 400)
        self.assertEqual(self.form("/bans/lift", key="192.0.2.7").status, 303)
        self.assertEqual(self.form("/bans/lift", key="192.0.2.7").status, 404)
        self.assertEqual(self.get("/bans")["total"], 0)

    def form(self, path: str, **fields: str) -> Any:
        """A form of a page."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, body=urlencode(fields).encode(), headers=headers, token=self.owner)

    def test_the_page_of_a_session_says_so(self) -> None:
        """Who asks why mail of that client does not come sees that it is banned now, and why."""
        facts = make_session()
        self.desk.history.keep(facts)
        self.assertNotIn("banned now", self.page(f"/sessions/{facts.id}"))
        self.control.reception.warden.ban("192.0.2.0/24", "too many errors", "session X")
        page = self.page(f"/sessions/{facts.id}")
        self.assertIn("banned now", page)
        self.assertIn("too many errors", page)
        self.assertIn('href="/senders?asked=192.0.2.7"', page)

    def test_bans_in_shadow_keep_nobody_out(self) -> None:
        """And are shown so."""
        desk = Desk(CONFIG + '[bans]\nmode = "shadow"\n')
        desk.control.reception.warden.ban("192.0.2.7", "too many errors", "session X")
        found = desk.ask("GET", "/api/v1/bans", role="operator").json()["items"]
        self.assertEqual([one["is_held"] for one in found], [False])


class SenderTests(TrafficCase):
    """What is known of a sender."""

    def setUp(self) -> None:
        super().setUp()
        self.reputation = self.control.reception.admission.reputation
        self.now = self.control.engine.wall()

    def know(self, key: str, reason: str, points: float) -> None:
        """Points for somebody."""
        self.reputation.records.add(key, reason, points, self.now)

    def asked(self, who: str) -> Any:
        return self.get(f"/senders/known?asked={quote(who, safe='')}")

    def test_an_address(self) -> None:
        """Its class and why, its records, its bans, its limits."""
        self.know("address 192.0.2.7", "spam: bulk", 5.0)
        self.know("network 192.0.2.0/24", "spam: bulk", 5.0)
        self.control.reception.warden.ban("192.0.2.0/24", "guessing passwords", "12 of them")
        self.send("192.0.2.7")
        found = self.asked(" 192.0.2.7 ")
        self.assertEqual(found["traffic_class"], "suspect")
        self.assertIn("spam: bulk 5.0", found["class_reason"])
        self.assertEqual([one["key"] for one in found["records"]], ["address 192.0.2.7", "network 192.0.2.0/24"])
        self.assertEqual([one["key"] for one in found["bans"]], ["192.0.2.0/24"])
        self.assertEqual([one["limit"] for one in found["limits"]], ["per-network", "per-client"])
        self.assertFalse(found["is_exempt"])
        self.assertTrue(self.asked("127.0.0.1")["is_exempt"])
        page = self.page("/senders?asked=192.0.2.7")
        self.assertIn("is of class <b>suspect</b>", page)
        self.assertIn("guessing passwords", page)

    def test_a_domain_and_a_mailbox(self) -> None:
        """By what is proved: SPF, DKIM, the name's house; and whom our users write to."""
        self.know("sender example.org", "delivered", 9.0)
        self.know("dkim example.org", "delivered", 9.0)
        self.reputation.correspondents.learn("ann", "example.org", self.now)
        for who in ("example.org", "Ann@Example.Org"):
            found = self.asked(who)
            self.assertEqual([one["key"] for one in found["records"]], ["sender example.org", "dkim example.org"], who)
            self.assertEqual([one["standing"] for one in found["records"]], ["known", "known"])
            self.assertTrue(found["is_correspondent"])
        self.know("name example.org", "spam: bulk", 4.0)
        self.assertIn("name example.org", [one["key"] for one in self.asked("mx1.example.org")["records"]])
        self.assertEqual(self.asked("elsewhere.example")["records"], [])
        self.assertIn("Nothing is known", self.page("/senders?asked=elsewhere.example"))

    def test_the_worst_first(self) -> None:
        """With their points; forgotten where somebody says so."""
        self.know("address 192.0.2.7", "spam: bulk", 5.0)
        self.know("address 192.0.2.8", "malware: eicar", 9.0)
        found = [one["key"] for one in self.get("/senders?limit=1")["items"]]
        self.assertEqual(found, ["address 192.0.2.8"])
        self.post("/senders/forget", {"key": "address 192.0.2.9"}, 404)
        self.post("/senders/forget", {"key": "address 192.0.2.8"})
        self.assertEqual([one["key"] for one in self.get("/senders")["items"]], ["address 192.0.2.7"])
        self.assertEqual(self.actions(), ["sender.forget"])


class HostileTests(TrafficCase):
    """What strangers chose: greetings and addresses become keys, and stand on pages."""

    def test_nothing_runs(self) -> None:
        """On each of these pages."""
        rules = self.control.revision.limits.rules  # type: ignore[union-attr]
        for number, bad in enumerate(HOSTILE):
            rules[0].stamps.put(bad, 9000.0 + number, 0.0)
            rules[1].counts[bad] = number + 1
            self.control.reception.admission.reputation.records.add(
                f"sender {bad}", bad, 5.0, self.control.engine.wall()
            )
            self.control.reception.warden.ban(f"192.0.2.{number}", bad, bad, by=bad)
        for place in ("/traffic", "/limits", "/senders", f"/senders?asked={quote(HOSTILE[0])}"):
            page = self.page(place)
            reader = Reader()
            reader.feed(page)
            self.assertEqual(reader.wrong, [], place)
            self.assertTrue(all(one.startswith("/assets/") for one in reader.scripts), place)
            self.assertEqual(len(reader.ids), len(set(reader.ids)), place)
            self.assertEqual(re.findall("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", page), [], place)


class TrialTests(TrafficCase):
    """What a limit would have done to the last day."""

    def setUp(self) -> None:
        super().setUp()
        now = self.control.engine.wall()
        for number in range(6):
            domain = "example.org" if number < 4 else "example.com"
            facts = make_session(
                f"01J9UK7Q0000000000000000A{number}", sender=f"u{number}@{domain}", started=now - 3600 + number
            )
            self.desk.history.keep(facts)

    def test_a_new_limit(self) -> None:
        """Who would have been told to come back, and that it was mail that somebody wanted."""
        found = self.post("/limits/simulate", {"text": TRIAL})
        self.assertEqual((found["sessions"], found["messages"], found["is_cut"]), (6, 6, False))
        self.assertEqual((found["held"], found["held_delivered"]), (2, 2))
        self.assertEqual(found["keys"], [{"key": "example.org", "held": 2, "paced": 0}])
        self.assertEqual(found["by_class"], {"unknown": 2})
        self.assertEqual(found["examples"], ["01J9UK7Q0000000000000000A2.1", "01J9UK7Q0000000000000000A3.1"])
        self.assertEqual(self.get("/limits")["items"][0]["keys"], 0, "nothing was changed")

    def test_one_of_the_configuration(self) -> None:
        """By its name, on as many hours as are asked for."""
        self.assertEqual(self.post("/limits/simulate", {"name": "per-network"})["held"], 4)
        self.desk.clock.advance(7200)
        self.assertEqual(self.post("/limits/simulate", {"name": "per-network", "hours": 1})["sessions"], 0)

    def test_what_is_no_limit(self) -> None:
        """Each fault with its line; neither or both; none or two; an unknown name."""
        answer = self.desk.post_json(
            "/api/v1/limits/simulate", {"text": TRIAL.replace("2/1h", "many")}, token=self.owner
        )
        self.assertEqual(answer.status, 422)
        self.assertIn("line 5", answer.json()["errors"][0]["message"])
        for body, status in (
            ({}, 422),
            ({"name": "x", "text": TRIAL}, 422),
            ({"text": "# nothing"}, 422),
            ({"text": TRIAL + '[bans]\nmode = "off"\n'}, 422),
            ({"text": 'certificates = ["/etc/shadow"]\n' + TRIAL}, 422),
            ({"text": TRIAL + '[listeners.zz]\nlisten = ["tcp:1"]\npassword_file = "/etc/shadow"\n'}, 422),
            ({"text": TRIAL + TRIAL.replace("tried", "other")}, 422),
            ({"text": "[[rate_limits"}, 422),
            ({"text": "a = " + "[" * 9000}, 422),
            ({"text": TRIAL.replace("2/1h", "1" + "0" * 400 + "/1h")}, 422),
            ({"text": TRIAL + "burst = 1" + "0" * 400}, 422),
            ({"text": TRIAL + "burst = " + "1" * 5000}, 422),
            ({"name": "none"}, 404),
            ({"text": TRIAL, "hours": 169}, 422),
        ):
            self.post("/limits/simulate", body, status)

    def test_a_fault_stands_in_the_text(self) -> None:
        """Also where what does not end shows behind it only."""
        for text in (TRIAL + 'x = "', TRIAL + "[[", TRIAL.replace('["sender_domain"]', '["sender_domain"')):
            answer = self.desk.post_json("/api/v1/limits/simulate", {"text": text}, token=self.owner)
            self.assertEqual(answer.status, 422)
            (line,) = re.findall(r"line (\d+)", answer.json()["errors"][0]["message"])[:1]
            self.assertLessEqual(int(line), len(text.splitlines()), text)

    def test_a_limit_on_connections_says_what_is_left_out(self) -> None:
        """The history has none that did nothing."""
        text = TRIAL.replace("messages", "connections").replace("sender_domain", "client")
        self.assertTrue(self.post("/limits/simulate", {"text": text})["leaves_out"])
        self.assertFalse(self.post("/limits/simulate", {"text": TRIAL})["leaves_out"])

    def test_only_what_it_is_about_is_asked(self) -> None:
        """Connections and recipients are not counted as asked of a limit on messages; nor is other mail."""
        self.assertEqual(self.post("/limits/simulate", {"text": TRIAL})["asked"], 6)
        text = TRIAL + 'recipient = ["nobody@example.net"]\n'
        found = self.post("/limits/simulate", {"text": text.replace("sender_domain", "recipient")})
        self.assertEqual((found["asked"], found["held"]), (0, 0))

    def test_on_the_page(self) -> None:
        """By the button of a limit, and by a text; a fault stands with its line, and the text stays."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}

        def form(**fields: str) -> Any:
            body = urlencode(fields).encode()
            return self.desk.ask("POST", "/limits/simulate", body=body, headers=headers, token=self.owner)

        answer = form(name="per-network")
        self.assertIn("What “per-network” would have done", answer.text)
        self.assertIn('href="/sessions/01J9UK7Q0000000000000000A2.1"', answer.text)
        self.assertIn("What “tried” would have done", form(text=TRIAL.replace("\n", "\r\n")).text)
        answer = form(text=TRIAL.replace("2/1h", "many"))
        self.assertEqual(answer.status, 422)
        self.assertIn("line 5", answer.text)
        self.assertIn("&#34;many&#34;", answer.text)
        self.assertEqual(form().status, 422)


class RecipientsTests(TrafficCase):
    """Dry runs of limits about recipients and outcomes."""

    def run_trial(self, text: str) -> Any:
        return self.post("/limits/simulate", {"text": text})

    def test_deferred_mail_costs_nothing_and_refused_recipients_count(self) -> None:
        """As at work."""
        now = self.control.engine.wall()
        for number in range(5):
            outcome = "deferred" if number < 3 else "delivered"
            facts = make_session(f"01J9UK7Q0000000000000000A{number}", outcome=outcome, started=now - 100 + number)
            if number == 4:
                one = Recipient(facts.transactions[0].sender, {})
                one.reply, one.state, one.backend = Reply(550, "5.1.1", ("no",)), "refused", "mail"
                facts.transactions[0].recipients.append(one)
            self.desk.history.keep(facts)
        rate = '[[rate_limits]]\nname = "x"\ncount = "{}"\nby = ["{}"]\nrate = "1/1d"\npace = "0s"\n'
        self.assertEqual(self.run_trial(rate.format("recipients", "client"))["held"], 2)
        self.assertEqual(self.run_trial(rate.format("recipients", "recipient"))["held"], 1)
        found = self.run_trial(rate.format("refused_recipients", "client"))
        self.assertEqual((found["held"], found["messages"]), (0, 5))

    def test_whom_the_gateway_refused_is_not_asked_about(self) -> None:
        """Their recipients never came before a limit."""
        facts = make_session(recipients=("a@example.net", "b@example.net"), started=self.control.engine.wall() - 100)
        for one in range(5):
            path = facts.transactions[0].recipients[0].path
            denied = Recipient(path, {})
            denied.reply, denied.state = Reply(550, "5.7.1", (f"denied {one}",)), "refused"
            facts.transactions[0].recipients.append(denied)
        self.desk.history.keep(facts)
        text = '[[rate_limits]]\nname = "x"\ncount = "recipients"\nby = ["client"]\nrate = "2/1h"\npace = "0s"\n'
        found = self.run_trial(text)
        self.assertEqual((found["asked"], found["held"]), (2, 0))

    def test_refused_recipients_are_asked_about_as_at_work(self) -> None:
        """At MAIL; at RCPT only where one of the message was refused before."""
        names = tuple(f"u{number}@example.net" for number in range(9))
        self.desk.history.keep(make_session(recipients=names, started=self.control.engine.wall() - 100))
        text = (
            '[[rate_limits]]\nname = "x"\ncount = "refused_recipients"\nby = ["client"]\nrate = "9/1d"\npace = "0s"\n'
        )
        self.assertEqual(self.run_trial(text)["asked"], 1)

    def test_a_reply_is_not_paced_for_ever(self) -> None:
        """Of one message 20 seconds in all, as at work."""
        names = tuple(f"u{number}@example.net" for number in range(9))
        self.desk.history.keep(make_session(recipients=names, started=self.control.engine.wall() - 100))
        text = '[[rate_limits]]\nname = "x"\ncount = "recipients"\nby = ["client"]\nrate = "1/8s"\npace = "20s"\n'
        found = self.run_trial(text)
        self.assertEqual((found["paced"], found["held"]), (1, 7))

    def test_sessions_at_a_time(self) -> None:
        """A session holds its place until its end."""
        now = self.control.engine.wall()
        for number in range(4):
            facts = make_session(f"01J9UK7Q0000000000000000A{number}", started=now - 100 + (0 if number < 2 else 50))
            self.desk.history.keep(facts)
        text = '[[concurrency_limits]]\nname = "x"\ncount = "sessions"\nby = ["client"]\nmost = 1\n'
        self.assertEqual(self.run_trial(text)["held"], 2)

    def test_who_was_deferred_at_the_end_cost_nothing(self) -> None:
        """Where each recipient has a reply of its own: the other is still counted."""
        for number in range(3):
            names = ("b@example.net", f"{number}@example.org")
            started = self.control.engine.wall() - 100 + number
            facts = make_session(f"01J9UK7Q0000000000000000A{number}", recipients=names, started=started)
            facts.transactions[0].recipients[0].state = "deferred"
            self.desk.history.keep(facts)
        text = '[[rate_limits]]\nname = "x"\ncount = "recipients"\nby = ["{}"]\nrate = "{}/1d"\npace = "0s"\n'
        self.assertEqual(self.run_trial(text.format("recipient", 1))["held"], 0)
        self.assertEqual(self.run_trial(text.format("client", 2))["held"], 2)

    def test_too_many_of_one_message_are_not_asked_about(self) -> None:
        """452 is the gateway's own word, before any limit; 450 is that of a limit."""
        facts = make_session(recipients=("a@example.net",), started=self.control.engine.wall() - 100)
        for code in (452, 450):
            put_off = Recipient(facts.transactions[0].recipients[0].path, {})
            put_off.reply, put_off.state = Reply(code, "4.5.3", ("later",)), "deferred"
            facts.transactions[0].recipients.append(put_off)
        self.desk.history.keep(facts)
        text = '[[rate_limits]]\nname = "x"\ncount = "recipients"\nby = ["client"]\nrate = "9/1d"\npace = "0s"\n'
        self.assertEqual(self.run_trial(text)["asked"], 2)


class LoginsTests(TrafficCase):
    """Dry runs of limits about logins."""

    def keep(self, number: int, at: float, failures: int, user: str = "") -> None:
        """A session with failed logins, a second each, then perhaps a good one."""
        facts = make_session(f"01J9UK7Q0000000000000000A{number}", started=self.control.engine.wall() - 1000 + at)
        facts.user = user
        for second in range(failures):
            facts.note(101.0 + second, "backend", "AUTH refused", "535")
        facts.note(101.0 + failures, "client", "AUTH refused", "cancelled")
        if user:
            facts.note(102.0 + failures, "client", "AUTH", "PLAIN")
        facts.transactions[0].begun = 103.0 + failures
        facts.ended = 110.0 + failures
        self.desk.history.keep(facts)

    def run_trial(self, rate: str) -> Any:
        text = f'[[rate_limits]]\nname = "x"\ncount = "auth_failures"\nby = ["client"]\nrate = "{rate}"\npace = "0s"\n'
        return self.post("/limits/simulate", {"text": text})

    def test_a_login_that_succeeded_is_asked_too(self) -> None:
        """Its client had failed too often: it is not let log in, and sends nothing."""
        self.keep(0, 0.0, 2)
        self.keep(1, 50.0, 0, "ann")
        found = self.run_trial("2/1h")
        self.assertEqual((found["asked"], found["held"], found["held_delivered"]), (3, 1, 1))
        self.assertEqual(found["examples"], ["01J9UK7Q0000000000000000A1"])

    def test_what_is_held_does_not_count_on(self) -> None:
        """No server hears that secret: who goes on trying is let in again as soon as one who waits."""
        self.keep(0, 0.0, 9)
        self.keep(1, 70.0, 0, "ann")
        found = self.run_trial("1/60s")
        self.assertEqual((found["asked"], found["held"], found["held_delivered"]), (10, 8, 0))

    def test_what_the_client_broke_off_is_no_failure(self) -> None:
        """As at work."""
        self.keep(0, 0.0, 0)
        self.keep(1, 50.0, 0, "ann")
        self.assertEqual(self.run_trial("1/1d")["held"], 0)
