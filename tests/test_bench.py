"""Mail tried without effect: the real chain, with all that it would change left as it was."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control.bench import AT_WORK, DRAFT, Arrival, differences
from smtpgate.control.bench_client import PIECE, Client, faults, stuffed
from smtpgate.control.bench_world import Turns
from smtpgate.control.views import Invalid, Refused
from smtpgate.proxy.inmemory import Front
from smtpgate.smtp.server import WireRules
from tests.bench_kit import CONFIG, MAIL, RULE, BenchCase

TO = Arrival("ann@example.org", ("bob@example.net",))
GREYLIST = '[[filters]]\nuse = "greylist"\nmode = "enforce"\n'
HOLDS = '[[rules]]\nname = "held"\nwhen = "size > 0"\naction = "quarantine"\nheld_as = "policy"\n'
TLS = '[[tls_policies]]\nrecipient = ["example.net"]\nlevel = "verified"\nleg = "backend"\n'


class MessageTests(BenchCase):
    """One message on what is at work."""

    def one(self, text: str = MAIL, arrival: Arrival = TO) -> Any:
        """What became of it."""
        (found,) = self.tried(self.bench.message(text.encode(), arrival))
        self.assertEqual(self.desk.built, self.desk.closed)
        return found

    def test_one_that_is_taken(self) -> None:
        """From greeting to reply, over TLS as most come, with its dots; nothing of it reaches anybody."""
        one = self.one()
        self.assertEqual((one.of, one.outcome, one.failures), (AT_WORK, "delivered", ()))
        said = [line.text.split(" ")[0] for line in one.dialogue if line.who == "C"]
        self.assertEqual(said, ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "(a", "QUIT"])
        self.assertEqual((one.record["tls"]["version"], one.message["subject"]), ("TLSv1.3", "secret plan"))
        self.assertEqual(one.message["size_octets"], len(MAIL.replace("\n", "\r\n")))
        control = self.desk.control
        self.assertEqual((len(control.reception.sessions), control.reception.total), (0, 0))
        self.assertEqual((self.desk.history.records, dict(control.outcomes.total)), ([], {}))

    def test_a_rule_refuses(self) -> None:
        """The reply is the rule's, and its hits are those of real mail."""
        self.use(CONFIG + RULE)
        one = self.one()
        self.assertEqual((one.outcome, one.message["reply"]["text"]), ("refused", "No plans"))
        self.assertEqual(one.message["verdict"]["decided_by"]["reason"], "plan")
        self.assertEqual([rule.hits for rule in self.desk.control.policy.rules()], [0])
        # The reference of a session that is nowhere is not shown.
        self.assertIn("550 5.7.1 No plans", [line.text for line in one.dialogue])

    def test_what_would_be_held(self) -> None:
        """It is told and not held: the engine at work has no vault here at all."""
        self.use(CONFIG + HOLDS)
        one = self.one()
        self.assertEqual((one.outcome, one.keeps), ("held", (("policy", ("bob@example.net",)),)))
        self.assertIsNone(self.desk.control.engine.vault)

    def test_what_a_filter_remembers(self) -> None:
        """It reads what is remembered, and what it learns is forgotten: each try is the first."""
        self.use(CONFIG + GREYLIST)
        for _ in range(2):
            one = self.one(arrival=Arrival("ann@example.org", ("bob@example.net",), client_ip="203.0.113.9"))
            self.assertEqual(one.outcome, "deferred")
        self.assertEqual({name: table.rows for name, table in self.desk.tables.items() if table.rows}, {})

    def test_a_filter_that_fails(self) -> None:
        """It is told what failed, and the message has what the failure policy says; nobody else hears it."""
        before = len(self.desk.control.events)  # type: ignore[attr-defined]
        self.desk.provisions.children.fails = "crashed"
        one = self.one()
        self.assertEqual([failed[0] for failed in one.failures], ["attachments"])
        self.assertEqual(one.outcome, "deferred")
        self.assertEqual(len(self.desk.control.events), before)  # type: ignore[attr-defined]

    def test_limits_count_nothing(self) -> None:
        """Those of a try begin empty, and those at work stay as they are."""
        limit = '[[rate_limits]]\nname = "one"\nby = ["client"]\ncount = "messages"\nrate = "1/h"\n'
        self.use(CONFIG + limit)
        for _ in range(3):
            self.assertEqual(self.one().outcome, "delivered")

    def test_what_is_asked_of_the_leg_is_met(self) -> None:
        """A message that needs TLS to the backend is not refused for a server that is not there."""
        self.use(CONFIG + TLS)
        self.assertEqual(self.one().outcome, "delivered")

    def test_a_login(self) -> None:
        """Who sends is who it says, whatever the password is; the dialogue has none."""
        one = self.one(arrival=Arrival("ann@example.net", ("bob@example.org",), user="ann", listener="out"))
        self.assertEqual((one.outcome, one.record["user"]), ("delivered", "ann"))
        self.assertNotIn("AGFubgB", str(one.dialogue))

    def test_the_time_that_it_comes_at(self) -> None:
        """Its session began then."""
        one = self.one(arrival=Arrival("ann@example.org", ("bob@example.net",), at=1_600_000_000.0))
        self.assertAlmostEqual(one.record["started"], 1_600_000_000.0, delta=2.0)
        self.assertEqual(one.outcome, "delivered")

    def test_arrivals_that_cannot_be(self) -> None:
        """They are refused before anything is made."""
        for wrong in (
            Arrival("ann@@example.org", ("bob@example.net",)),
            Arrival("ann@example.org", ("bob@example.net",), listener="nix"),
            Arrival("ann@example.org", ("bob@example.net",), user="ann"),
            Arrival("ann@example.org", ("bob@example.net",), tls="SSLv3"),
            Arrival("ann@example.org", ("bob@example.net",) * 101),
            Arrival("ann@example.org", ("bob@example.net",), helo="a\r\nMAIL FROM:<x>"),
            Arrival("ann@example.org", ("bob@example.net",), client_ip="nobody"),
        ):
            failed = self.assertRaises(Invalid, self.desk.done, self.bench.message(MAIL.encode(), wrong))
            self.assertTrue(str(failed))
        self.assertEqual(self.desk.built, [])

    def test_a_large_message(self) -> None:
        """It comes whole, in pieces."""
        text = "Subject: a\n\n" + ("y" * 70 + "\n") * 30_000
        one = self.one(text)
        self.assertEqual((one.outcome, one.message["size_octets"]), ("delivered", len(text) + text.count("\n")))

    def test_too_many_at_once(self) -> None:
        """Two are tried; the third is told to wait, and may come when they are over."""
        never: Deferred[Any] = Deferred()
        real, self.bench._engine.in_thread = self.bench._engine.in_thread, lambda call, *args: call(*args) and never
        waiting = [ensureDeferred(self.bench.alone(lambda: self._wait(never))) for _ in range(2)]
        self.bench._engine.in_thread = real
        self.assertRaises(Refused, self.desk.done, self.bench.message(MAIL.encode(), TO))
        never.callback(None)
        self.assertEqual(len(waiting), 2)
        self.assertEqual(self.one().outcome, "delivered")

    async def _wait(self, never: Deferred[Any]) -> None:
        await never

    def test_other_ways_in_and_out(self) -> None:
        """LMTP with a reply for each, TLS from the first octet, two backends at once, servers that the DNS names."""
        both = Arrival("ann@example.org", ("bob@example.net", "eve@other.example"))
        text = CONFIG.replace('local_domains = ["example.net"]', 'local_domains = ["example.net", "other.example"]')
        mail = '[[routes]]\nbackend = "mail"\n'
        fan = text.replace(
            mail,
            '[backends.other]\nservers = ["192.0.2.9:25"]\ntls = "off"\n'
            f'[[routes]]\nlistener = "mx"\nrecipient = ["other.example"]\nbackend = "other"\n{mail}',
        )
        named = CONFIG.replace(
            mail, f'[backends.world]\nkind = "mx"\n[[routes]]\nlistener = "out"\nbackend = "world"\n{mail}'
        )
        for way, arrival in (
            (text.replace('tls = "optional"\nproxy', 'protocol = "lmtp"\ntls = "optional"\nproxy'), both),
            (text.replace('tls = "optional"\nproxy', 'tls = "implicit"\nproxy'), both),
            (text.replace('tls = "optional"\nproxy', 'tls = "required"\nproxy'), both),
            (fan, both),
            (named, attrs.evolve(both, listener="out", user="ann")),
        ):
            self.use(way)
            one = self.one(arrival=arrival)
            self.assertEqual((one.outcome, one.failures), ("delivered", ()), one.dialogue)
            self.assertEqual([to["state"] for to in one.message["recipients"]], ["delivered"] * 2, way)

    def test_one_that_hangs_is_ended(self) -> None:
        """A filter that never answers ends with its budget; a backend that is silent with the try."""
        build = self.bench.build
        assert build is not None

        def silent(settings: Any, world: Any) -> Any:
            world.backend.answers["DATA"] = ""
            return build(settings, world)

        self.bench.build = silent
        self.assertRaises(Refused, self.desk.done, self.bench.message(MAIL.encode(), TO))
        self.assertEqual(self.desk.built, self.desk.closed)
        self.bench.build = build
        self.assertEqual(self.one().outcome, "delivered")


class DraftTests(BenchCase):
    """The same on a draft beside what is at work."""

    def test_both_and_what_differs(self) -> None:
        """Result, reply, decision and finding; the draft is given up after."""
        draft = self.settings(CONFIG + RULE)
        before, after = self.tried(self.bench.message(MAIL.encode(), TO, draft))
        self.assertEqual((before.of, before.outcome, after.of, after.outcome), (AT_WORK, "delivered", DRAFT, "refused"))
        self.assertNotEqual(before.revision, after.revision)
        found = {one.what: (one.before, one.after) for one in differences(before, after)}
        self.assertEqual(found["result"], ("delivered", "refused"))
        self.assertEqual(found["reply"][1], "550 5.7.1 No plans")
        self.assertEqual(found["decided by"], ("", "rules: plan"))
        self.assertEqual(found["finding rules: plan"], ("", "reject"))
        self.assertEqual(len(self.desk.closed), 2)

    def test_nothing_differs(self) -> None:
        """The same text is no difference."""
        before, after = self.tried(self.bench.message(MAIL.encode(), TO, self.settings(CONFIG)))
        self.assertEqual(differences(before, after), [])

    def test_one_that_cannot_be_made(self) -> None:
        """It is refused with its reason, and what was made is given up."""
        build = self.bench.build
        assert build is not None

        def fails(settings: Any, world: Any) -> Any:
            if settings.rules:
                raise OSError("no such file")
            return build(settings, world)

        self.bench.build = fails
        said = self.assertRaises(
            Refused, self.desk.done, self.bench.message(MAIL.encode(), TO, self.settings(CONFIG + RULE))
        )
        self.assertIn("no such file", str(said))
        self.assertEqual(self.desk.built, self.desk.closed)


class SessionTests(BenchCase):
    """A dialogue as somebody wrote it."""

    def heard(self, script: str, arrival: Arrival = Arrival()) -> list[str]:
        """The first words of the replies."""
        (one,) = self.tried(self.bench.session(script.split("\n"), arrival))
        return [line.text[:9] for line in one.dialogue if line.who == "S"]

    def test_a_message(self) -> None:
        """Its content stands behind DATA, with a dot behind it."""
        script = f"EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.net>\nDATA\n{MAIL}.\nQUIT"
        self.assertEqual([one[:3] for one in self.heard(script)], ["220", "250", "250", "250", "354", "250", "221"])

    def test_what_is_refused_goes_on(self) -> None:
        """Relaying, a wrong order, a word that is none; content of a DATA that was refused is not said."""
        script = (
            "EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<b@other.example>\nDATA\nMAIL FROM:<x>\n.\nNIX\nQUIT"
        )
        self.assertEqual(self.heard(script)[3:], ["550 5.7.1", "554 5.5.1", "500 5.5.1", "221 2.0.0"])

    def test_starttls_and_a_login(self) -> None:
        """TLS is in memory; what stands for a password is not shown."""
        script = "EHLO a.example\nSTARTTLS\nEHLO a.example\nAUTH LOGIN\nYW5u\nc2VjcmV0\nQUIT"
        (one,) = self.tried(self.bench.session(script.split("\n"), Arrival(listener="out")))
        self.assertEqual(one.record["user"], "ann")
        self.assertNotIn("c2VjcmV0", str(one.dialogue))
        self.assertNotIn("YW5u", str(one.dialogue))

    def test_an_end_without_quit(self) -> None:
        """The client hangs up; where the gateway closes before, the rest is not said."""
        self.assertEqual(self.heard("EHLO a.example")[-1][:3], "250")
        self.assertEqual(self.heard("GET / HTTP/1.1\nEHLO a.example")[-1][:3], "421")

    def test_scripts_that_cannot_be_played(self) -> None:
        """Nothing, and BDAT."""
        for wrong in ([""], ["EHLO a", "BDAT 3 LAST"]):
            self.assertTrue(faults(wrong))
            self.assertRaises(Invalid, self.desk.done, self.bench.session(wrong, Arrival()))


class WireTests(SynchronousTestCase):
    """A message as it is said."""

    def test_dots_and_ends(self) -> None:
        """Each line that begins with a dot has one more, and the end is there once."""
        for octets, wired in (
            (b".a\n.\nb", b"..a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
            (b"a\r\nb\n.c\r\n", b"a\r\nb\n.c\r\n.\r\n"),
            (b"", b"\r\n.\r\n"),
        ):
            self.assertEqual(stuffed(octets), wired)

    def test_others_have_their_turn(self) -> None:
        """What is large is said piece by piece, each in a turn of its own."""
        clock = Clock()
        turns = Turns(clock)
        front = Front(WireRules(), ("192.0.2.1", 1))
        said: list[int] = []
        front.received = lambda octets: said.append(len(octets))  # type: ignore[method-assign]
        ensureDeferred(Client(front, turns).send(b"x" * (3 * PIECE + 1)))
        self.assertEqual(said, [PIECE])
        clock.pump([0.0] * 3)
        self.assertEqual(said, [PIECE, PIECE, PIECE, 1])
