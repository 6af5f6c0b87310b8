"""Tests of smtpgate.filters.sender.dnsbl, .dnsbl_list and .dnsbl_health: lists in the DNS."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.masking import shown_zone
from smtpgate.filters.sender.dnsbl import TIME_S, Counts, DnsblFilter, factory
from smtpgate.filters.sender.dnsbl_health import RETRY_S, SILENCES, TRIAL_S
from smtpgate.filters.sender.dnsbl_list import DnsList, ListOptions, parse_code
from smtpgate.policy.event import Happened
from smtpgate.testing import Client, Gateway, complaints
from tests.sender_kit import CLIENT, RELAY, deliver, gateway, only, reasons, relayed

ASKED = "7.2.0.192"
KEY = "abcdefghij0123456789klmnop"


def sound(zone: str, kind: str = "ip", **entries: Any) -> dict[str, Any]:
    """A list that is in order, with entries by the name below its zone."""
    test = "2.0.0.127" if kind == "ip" else "test"
    return {f"{test}.{zone}": {"A": "127.0.0.2"}} | {f"{name}.{zone}": what for name, what in entries.items()}


def one(zone: str = "bl.example.org", **keys: Any) -> str:
    """The options of a filter with one list."""
    return lists({"zone": zone, **keys})


def lists(*tables: dict[str, Any], **keys: Any) -> str:
    """The options of a filter with these lists."""

    def value(what: Any) -> str:
        if isinstance(what, bool):
            return str(what).lower()
        if isinstance(what, dict):
            return "{" + ", ".join(f'"{key}" = {score}' for key, score in what.items()) + "}"
        if isinstance(what, list):
            return "[" + ", ".join(map(value, what)) + "]"
        return f'"{what}"' if isinstance(what, str) else str(what)

    text = "".join(f"{key} = {value(what)}\n" for key, what in keys.items())
    for table in tables:
        text += "[[filters.options.lists]]\n" + "".join(f"{key} = {value(what)}\n" for key, what in table.items())
    return text


def dnsbl(made: Gateway) -> DnsblFilter:
    """The filter in a gateway."""
    found: DnsblFilter = made._uses[0].filter._filter
    return found


def told(made: Gateway) -> list[str]:
    """What was told of lists."""
    return [event.name for event in made.events if isinstance(event, Happened) and event.name.startswith("dnsbl")]


def entry(answer: str | list[str] = "127.0.0.2", reason: str = "") -> dict[str, Any]:
    """An entry of a list."""
    return {"A": answer, **({"TXT": reason} if reason else {})}


class ListTests(SynchronousTestCase):
    """`DnsList`: names and answers."""

    def make(self, **keys: Any) -> DnsList:
        """A list."""
        return DnsList(ListOptions.model_validate({"zone": "bl.example.org", **keys}))

    def test_questions(self) -> None:
        """Octets and nibbles from the back, domains as they are."""
        ip, domain = self.make(), self.make(kind="domain")
        six = ipaddress.ip_address("2001:db8::567:89ab")
        for made, what, name in (
            (ip, ipaddress.ip_address("192.0.2.7"), "7.2.0.192.bl.example.org"),
            (ip, six, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example.org"),
            (self.make(ipv6=False), six, ""),
            (ip, "spam.example", ""),
            (domain, "spam.example", "spam.example.bl.example.org"),
            (domain, six, ""),
        ):
            self.assertEqual(made.question(what), name)

    def test_test_entries(self) -> None:
        """Those of RFC 5782 section 5, or those of the table."""
        self.assertEqual(self.make().tests, ("2.0.0.127.bl.example.org", "1.0.0.127.bl.example.org"))
        self.assertEqual(self.make(kind="domain").tests, ("test.bl.example.org", "invalid.bl.example.org"))
        own = self.make(listed="127.0.0.9", unlisted="Clean.Example.")
        self.assertEqual(own.tests, ("9.0.0.127.bl.example.org", "clean.example.bl.example.org"))

    def test_answers(self) -> None:
        """Only the list's own codes count; what lies outside, or says no, is an error of the whole answer (B-142)."""
        table = {"127.0.0.2": 4.0, "127.0.0.[4-7]": 2.0, "127.0.0.[9,11]": -3.0, "127.0.1.*": 1.0, "127.0.0.8": 0.0}
        made, usual = self.make(answers=table), self.make(weight=1.5)
        for given_list, records, state, code, score in (
            (made, ["127.0.0.2"], "listed", "127.0.0.2", 4.0),
            (made, ["127.0.0.4"], "listed", "127.0.0.4", 2.0),
            (made, ["127.0.0.7", "127.0.0.2", "127.0.1.9"], "listed", "127.0.0.2", 4.0),
            (made, ["127.0.1.255"], "listed", "127.0.1.255", 1.0),
            (made, ["127.0.0.11"], "listed", "127.0.0.11", -3.0),
            (made, ["127.0.0.3"], "other", "127.0.0.3", 0.0),
            (made, ["127.0.0.8"], "other", "127.0.0.8", 0.0),
            (made, ["127.0.0.10"], "other", "127.0.0.10", 0.0),
            (made, ["127.255.255.254"], "error", "127.255.255.254", 0.0),
            (made, ["127.0.0.2", "127.255.255.252"], "error", "127.255.255.252", 0.0),
            (made, ["192.0.2.1"], "error", "192.0.2.1", 0.0),
            (made, ["127.0.0.2", "10.0.0.1"], "error", "10.0.0.1", 0.0),
            (made, [], "other", "", 0.0),
            (usual, ["127.0.0.2"], "listed", "127.0.0.2", 1.5),
            (usual, ["127.0.0.255"], "listed", "127.0.0.255", 1.5),
            (usual, ["127.0.0.1"], "other", "127.0.0.1", 0.0),
            (usual, ["127.0.1.2"], "other", "127.0.1.2", 0.0),
        ):
            found = given_list.read(records)
            self.assertEqual((found.state, found.code, found.score), (state, code, score), records)

    @given(st.text(alphabet="0123456789.*[],-x", max_size=24))
    @settings(max_examples=300, deadline=None)
    def test_patterns_are_read_or_refused(self, text: str) -> None:
        """With ValueError, and nothing else."""
        try:
            code = parse_code("127." + text)
        except ValueError:
            return
        self.assertTrue(all(part is None or part and max(part) <= 255 for part in code))

    def test_a_key_is_not_shown(self) -> None:
        """Neither by name nor in what the list itself says."""
        zone = f"{KEY}.zen.dq.example.org"
        made = self.make(zone=zone)
        self.assertEqual(made.name, "zen.dq.example.org")
        for text in (
            made.reply("192.0.2.7", made.hide(f"see https://{zone.upper()}/?k={KEY}")),
            made.hide(f"{KEY}{KEY} {zone}\r\n"),
        ):
            self.assertNotIn(KEY, text.lower())
            self.assertTrue(text.isprintable())
        self.assertEqual(shown_zone("bl.example.org"), "bl.example.org")
        self.assertEqual(shown_zone(f"{KEY}.example"), f"{KEY}.example")

    def test_replies(self) -> None:
        """The operator's words or ours; what the list says cannot bring in marks of its own."""
        plain, own = self.make(), self.make(name="our list", reply="{what}? {list}: {reason}. Call us")
        self.assertEqual(plain.reply("192.0.2.7", ""), "192.0.2.7 is listed by bl.example.org")
        self.assertEqual(plain.reply("192.0.2.7", "spam"), "192.0.2.7 is listed by bl.example.org: spam")
        self.assertEqual(own.reply("192.0.2.7", "{what}"), "192.0.2.7? our list: {what}. Call us")


class OptionTests(SynchronousTestCase):
    """What check-config says."""

    def test_what_makes_no_sense_is_refused(self) -> None:
        """With the key that is wrong."""
        for options, key in (
            (one("no zone"), "lists[0].zone"),
            (one("*.example.org"), "lists[0].zone"),
            (one("[192.0.2.1]"), "lists[0].zone"),
            (one("org"), "lists[0].zone"),
            (one(answers={"10.0.0.1": 1.0}), "lists[0].answers"),
            (one(answers={"127.0.0": 1.0}), "lists[0].answers"),
            (one(answers={"127.0.0.[7-4]": 1.0}), "lists[0].answers"),
            (one(answers={"127.0.0.256": 1.0}), "lists[0].answers"),
            (one(answers={"127.0.0.2": 1.0}, weight=2.0), "lists[0]"),
            (one(asks=["helo"]), "lists[0]"),
            (one(kind="domain", ipv6=False), "lists[0]"),
            (one(kind="url"), "lists[0].kind"),
            (lists({"zone": "a.example"}, {"zone": "A.example."}), ""),
            (lists({"zone": "a.example"}, reject_at=0.0), "reject_at"),
        ):
            found = complaints(factory, options)
            self.assertTrue(found and found[0].startswith(key), (options, found))
        self.assertEqual(complaints(factory, one(answers={"127.0.0.2": 4, "127.0.[0,2].*": -1.5})), [])


class FilterTests(SynchronousTestCase):
    """What is found."""

    def test_an_entry_scores(self) -> None:
        """With the list, its answer and its reason for the administrator; nothing is refused unless that is wanted."""
        zones = sound("bl.example.org", **{ASKED: entry("127.0.0.4", "https://bl.example.org/?192.0.2.7")})
        made = gateway(factory, one(answers={"127.0.0.2": 4.0, "127.0.0.[4-7]": 2.0}), zones)
        client = deliver(made)
        found = only(client)
        self.assertEqual((found.reason, found.action, found.score), ("dnsbl-listed", "note", 2.0))
        self.assertEqual(
            found.detail, "bl.example.org has 192.0.2.7 as 127.0.0.4, 2 (https://bl.example.org/?192.0.2.7)"
        )
        self.assertEqual((client.greeting, made.failures), ("250 2.0.0 Ok", []))

    def test_no_entry_is_nothing(self) -> None:
        """And no reason is asked for."""
        made = gateway(factory, one(), sound("bl.example.org"))
        self.assertEqual(deliver(made).findings, [])
        self.assertEqual([kind for _, kind in made.resolver.asked], ["A"] * 3)

    def test_thresholds(self) -> None:
        """From which sum on what becomes of a message; the reply comes before the content."""
        zones = {
            **sound("a.example.org", **{ASKED: entry()}),
            **sound("b.example.org", **{ASKED: entry(reason="spam")}),
        }
        both = ({"zone": "a.example.org", "weight": 1.0}, {"zone": "b.example.org", "weight": 2.0})
        for keys, action, reply in (
            ({}, "note", "250 2.0.0 Ok"),
            ({"tag_at": 3.0}, "tag", "250 2.0.0 Ok"),
            ({"tag_at": 3.5}, "note", "250 2.0.0 Ok"),
            ({"tag_at": 1.0, "defer_at": 2.0}, "defer", "451 4.7.1 192.0.2.7 is listed by b.example.org: spam"),
            ({"defer_at": 2.0, "reject_at": 3.0}, "reject", "550 5.7.1 192.0.2.7 is listed by b.example.org: spam"),
            ({"defer_at": 2.0, "reject_at": 3.1}, "defer", "451 4.7.1 192.0.2.7 is listed by b.example.org: spam"),
        ):
            client = deliver(gateway(factory, lists(*both, **keys), zones))
            self.assertEqual((only(client).action, only(client).score, client.greeting), (action, 3.0, reply), keys)

    def test_lists_of_good_senders_subtract(self) -> None:
        """Alone they speak for a message."""
        zones = {**sound("bad.example.org", **{ASKED: entry()}), **sound("good.example.org", **{ASKED: entry()})}
        bad, good = {"zone": "bad.example.org", "weight": 2.0}, {"zone": "good.example.org", "weight": -3.0}
        for tables, reason, score in (
            ((bad, good), "dnsbl-allowed", -1.0),
            ((good,), "dnsbl-allowed", -3.0),
            ((bad,), "dnsbl-listed", 2.0),
        ):
            found = only(deliver(gateway(factory, lists(*tables, reject_at=1.5 if tables != (bad,) else 9.0), zones)))
            self.assertEqual((found.reason, found.action, found.score), (reason, "note", score))
        made = gateway(factory, lists(good), zones)
        deliver(made)
        self.assertNotIn("TXT", [kind for _, kind in made.resolver.asked])

    def test_postmaster_can_be_reached(self) -> None:
        """A guess does not keep mail from who must be reachable."""
        zones = sound("bl.example.org", **{ASKED: entry()})
        made = gateway(factory, lists({"zone": "bl.example.org", "weight": 9.0}, reject_at=5.0), zones)
        self.assertEqual(deliver(made, recipients=["postmaster@example.net"]).greeting, "250 2.0.0 Ok")

    def test_domains(self) -> None:
        """Of sender and greeting; a list speaks once; our own domains and what is no name are not asked."""
        zones = sound("dbl.example.org", "domain", **{"spam.example": entry(), "helo.example": entry("127.0.0.3")})
        table = {"zone": "dbl.example.org", "kind": "domain", "answers": {"127.0.0.2": 3.0, "127.0.0.3": 1.0}}
        for sender, helo, asks, score in (
            ("a@spam.example", "mail.example.org", None, 3.0),
            ("a@good.example", "helo.example", None, 1.0),
            ("a@spam.example", "helo.example", None, 3.0),
            ("", "helo.example", None, 1.0),
            ("a@spam.example", "helo.example", ["helo"], 1.0),
        ):
            keys = table | ({"asks": asks} if asks else {})
            found = only(deliver(gateway(factory, lists(keys), zones), helo=helo, sender=sender))
            self.assertEqual(found.score, score, (sender, helo))
        made = gateway(factory, lists(table), {**zones, "odd.example.dbl.example.org": entry("127.255.255.254")})
        self.assertEqual(deliver(made, helo="odd.example", sender="a@spam.example").findings, [])
        made = gateway(factory, lists(table), zones)
        self.assertEqual(deliver(made, helo="[192.0.2.7]", sender="bob@example.net").findings, [])
        self.assertEqual(made.resolver.asked, [])

    def test_who_is_not_asked_for(self) -> None:
        """Addresses of a house, relays, clients that logged in."""
        for ip in ("127.0.0.1", "192.168.1.1", "::1", "fe80::1", "fd00::1", "100.64.0.1"):
            made = gateway(factory, one(), sound("bl.example.org"))
            deliver(made, ip)
            self.assertEqual(made.resolver.asked, [], ip)
        made = gateway(factory, one(), sound("bl.example.org"))
        client = made.connect(CLIENT)
        client.helo()
        client.session.is_trusted = True
        client.message()
        self.assertEqual(made.resolver.asked, [])

    def test_behind_a_relay_it_is_the_stranger_who_is_looked_up(self) -> None:
        """At the end of the message."""
        zones = sound("bl.example.org", **{ASKED: entry()})
        made = gateway(factory, lists({"zone": "bl.example.org", "weight": 6.0}, reject_at=5.0), zones)
        client = deliver(made, RELAY, content=relayed())
        self.assertEqual(client.greeting, "550 5.7.1 192.0.2.7 is listed by bl.example.org")
        self.assertFalse(any("1.0.0.10" in name for name, _ in made.resolver.asked))

    def test_ipv6(self) -> None:
        """By nibbles."""
        name = ipaddress.ip_address("2001:db8::7").reverse_pointer.removesuffix(".ip6.arpa")
        made = gateway(factory, one(), sound("bl.example.org", **{name: entry()}))
        self.assertEqual(only(deliver(made, "2001:db8::7")).score, 1.0)

    def test_counters_tell_what_a_list_is_good_for(self) -> None:
        """How often it had an entry, alone or with which others."""
        other = "8.2.0.192"
        zones = {
            **sound("a.example.org", **{ASKED: entry(), other: entry()}),
            **sound("b.example.org", **{ASKED: entry()}),
            **sound("c.example.org", **{ASKED: entry("127.0.9.9"), other: "servfail"}),
        }
        made = gateway(factory, lists(*({"zone": f"{name}.example.org"} for name in "abc")), zones)
        for ip in (CLIENT, "192.0.2.8", "192.0.2.9"):
            deliver(made, ip)
        counts = dnsbl(made).counts
        self.assertEqual(counts["a.example.org"], Counts(asked=3, hits=2, alone=1))
        self.assertEqual(counts["b.example.org"], Counts(asked=3, hits=1))
        self.assertEqual(counts["c.example.org"], Counts(asked=3, others=1, silences=1))
        self.assertEqual(dict(dnsbl(made).overlap), {("a.example.org", "b.example.org"): 1})


class SilenceTests(SynchronousTestCase):
    """Lists that say nothing (B-144)."""

    def test_a_silent_list_has_no_effect(self) -> None:
        """Neither refusal nor failure; the others count, and no more than the budget passes (B-144)."""
        zones = {**sound("a.example.org", **{ASKED: entry()}), **sound("mute.example.org", **{ASKED: "timeout"})}
        made = gateway(factory, lists({"zone": "a.example.org"}, {"zone": "mute.example.org"}), zones)
        client = deliver(made, wait_s=TIME_S)
        self.assertEqual((reasons(client), client.greeting, made.failures), (["dnsbl-listed"], "250 2.0.0 Ok", []))
        self.assertEqual(dnsbl(made).counts["mute.example.org"].silences, 1)

    def test_a_reason_that_does_not_come_leaves_the_entry(self) -> None:
        """It counts without."""
        zones = sound("bl.example.org", **{ASKED: {"A": "127.0.0.2", "faults": {"TXT": "timeout"}}})
        made = gateway(factory, one(), zones)
        self.assertEqual(only(deliver(made, wait_s=TIME_S)).detail, "bl.example.org has 192.0.2.7 as 127.0.0.2, 1")
        self.assertEqual(dnsbl(made).counts["bl.example.org"].silences, 0)

    def test_a_list_that_stays_silent_is_asked_no_more(self) -> None:
        """After some messages; a minute later it is tried again."""
        asked = {f"{number}.2.0.192": "timeout" for number in range(1, 40)}
        made = gateway(factory, one(), sound("bl.example.org", **asked))
        for number in range(1, SILENCES):
            deliver(made, f"192.0.2.{number}", wait_s=TIME_S)
        deliver(made, "192.0.2.99")
        for number in range(SILENCES, 2 * SILENCES - 1):
            deliver(made, f"192.0.2.{number}", wait_s=TIME_S)
        self.assertEqual(told(made), [])
        deliver(made, "192.0.2.20", wait_s=TIME_S)
        self.assertEqual(told(made), ["dnsbl.off"])
        before = len(made.resolver.asked)
        client = deliver(made, "192.0.2.30")
        self.assertEqual((client.greeting, len(made.resolver.asked)), ("250 2.0.0 Ok", before))
        made.advance(RETRY_S)
        made.resolver.add({"31.2.0.192.bl.example.org": entry()})
        self.assertEqual(reasons(deliver(made, "192.0.2.31")), ["dnsbl-listed"])
        self.assertEqual(told(made), ["dnsbl.off", "dnsbl.on"])

    def test_clients_that_leave_are_no_silence(self) -> None:
        """Else a stranger could switch lists off."""
        made = gateway(factory, one(), sound("bl.example.org", **{ASKED: {"A": "127.0.0.2", "delay": 1.0}}))
        deliver(made, "192.0.2.8")
        for _ in range(SILENCES + 2):
            client = made.connect(CLIENT)
            client.helo()
            client.mail()
            client.hang_up()
        self.assertEqual((dnsbl(made).counts["bl.example.org"].silences, told(made), made.failures), (0, [], []))
        self.assertEqual(made.resolver.waiting, 0)


class HealthTests(SynchronousTestCase):
    """Lists that are dead, parked, or list everybody."""

    def see(self, zones: dict[str, Any], *ips: str, options: str = "") -> tuple[Gateway, Client]:
        """Messages through a gateway with one list."""
        made = gateway(factory, options or one(), zones)
        client = None
        for ip in ips or (CLIENT,):
            client = deliver(made, ip, wait_s=TIME_S)
        assert client is not None
        return made, client

    def test_a_list_that_fails_its_trial_has_no_effect(self) -> None:
        """Dead, parked, refusing us, listing everybody: told once, and asked no more for half an hour (B-142)."""
        zone = "bl.example.org"
        for zones in (
            {f"{ASKED}.{zone}": entry()},
            {f"*.{zone}": entry()},
            {f"*.{zone}": entry("192.0.2.80")},
            {f"*.{zone}": entry("127.255.255.254")},
            {**sound(zone, **{ASKED: entry()}), f"1.0.0.127.{zone}": entry("127.255.255.252")},
        ):
            made, client = self.see(zones, CLIENT, "192.0.2.8", "192.0.2.9")
            self.assertEqual((client.findings, client.greeting, made.failures), ([], "250 2.0.0 Ok", []), zones)
            self.assertEqual(told(made), ["dnsbl.off"], zones)
            self.assertEqual({name for name, _ in made.resolver.asked}, {f"2.0.0.127.{zone}", f"1.0.0.127.{zone}"})
            self.assertEqual(len(made.resolver.asked), 2)

    def test_what_refuses_a_question_counts_for_nobody(self) -> None:
        """Not for the first who is listed so, and nobody else is asked for; told once (B-142)."""
        for answer in ("127.255.255.254", "192.0.2.80", ["127.0.0.2", "127.255.255.255"]):
            zones = sound("bl.example.org", **{ASKED: entry(answer), "8.2.0.192": entry()})
            made, client = self.see(zones, CLIENT, CLIENT, "192.0.2.8")
            self.assertEqual((client.findings, told(made)), ([], ["dnsbl.off"]), answer)
            event = next(event for event in made.events if isinstance(event, Happened) and event.name == "dnsbl.off")
            self.assertEqual(event.level, "warning")
            self.assertIn("bl.example.org", event.message)
            self.assertEqual(dnsbl(made).counts["bl.example.org"].errors, 1)

    def test_it_comes_back_when_it_is_mended(self) -> None:
        """With the first message after half an hour; told once."""
        made, _ = self.see({}, CLIENT)
        made.advance(TRIAL_S)
        deliver(made)
        self.assertEqual(told(made), ["dnsbl.off"])
        made.resolver.add(sound("bl.example.org", **{ASKED: entry()}))
        made.advance(TRIAL_S - 60)
        self.assertEqual(deliver(made).findings, [])
        made.advance(60)
        self.assertEqual(reasons(deliver(made)), ["dnsbl-listed"])
        self.assertEqual(told(made), ["dnsbl.off", "dnsbl.on"])

    def test_a_sound_list_is_tried_again_every_half_hour(self) -> None:
        """And not with every message; a list that dies is switched off."""
        made, _ = self.see(sound("bl.example.org", **{ASKED: entry()}), CLIENT, CLIENT)
        trial = ("2.0.0.127.bl.example.org", "A")
        self.assertEqual(made.resolver.asked.count(trial), 1)
        made.resolver.add({"*.bl.example.org": entry("192.0.2.80"), "2.0.0.127.bl.example.org": entry("192.0.2.80")})
        made.advance(TRIAL_S)
        self.assertEqual(deliver(made).findings, [])
        self.assertEqual((made.resolver.asked.count(trial), told(made)), (2, ["dnsbl.off"]))

    def test_a_trial_without_an_answer_proves_nothing(self) -> None:
        """The list has no effect yet, and is tried again after a minute."""
        zones = {**sound("bl.example.org", **{ASKED: entry()}), "1.0.0.127.bl.example.org": "timeout"}
        made, client = self.see(zones)
        self.assertEqual((client.findings, told(made)), ([], []))
        self.assertEqual(dnsbl(made).counts["bl.example.org"], Counts())
        made.resolver.add({"1.0.0.127.bl.example.org": "nxdomain"})
        made.advance(RETRY_S)
        self.assertEqual(reasons(deliver(made)), ["dnsbl-listed"])
        self.assertEqual(told(made), [])

    def test_one_trial_for_all_who_wait(self) -> None:
        """Messages that come together wait for the same."""
        zones = sound("bl.example.org", **{ASKED: entry()})
        zones["2.0.0.127.bl.example.org"]["delay"] = 1.0
        made = gateway(factory, one(), zones)
        clients = [made.connect(CLIENT) for _ in range(3)]
        for client in clients:
            client.helo()
            client.mail()
            client.rcpt()
            self.assertEqual(client.data(), "")
        made.advance(1.0)
        self.assertEqual([client.read()[:3] for client in clients], ["354"] * 3)
        self.assertEqual(made.resolver.asked.count(("2.0.0.127.bl.example.org", "A")), 1)
        made.close()

    def test_one_silence_for_all_who_waited(self) -> None:
        """Many messages that waited for one trial do not make a dead list of it."""
        zones = {**sound("bl.example.org"), "2.0.0.127.bl.example.org": {"status": "servfail", "delay": 1.0}}
        made = gateway(factory, one(), zones)
        for _ in range(SILENCES + 1):
            client = made.connect(CLIENT)
            client.helo()
            client.mail()
        made.advance(1.0)
        self.assertEqual(told(made), [])
        made.close()

    def test_a_list_may_go_untried(self) -> None:
        """Where it has no such entries; its errors count all the same, and are forgiven after half an hour."""
        options = one(self_check=False)
        made, client = self.see({f"{ASKED}.bl.example.org": entry()}, options=options)
        self.assertEqual(reasons(client), ["dnsbl-listed"])
        made.resolver.add({"9.2.0.192.bl.example.org": entry("127.255.255.254")})
        deliver(made, "192.0.2.9")
        self.assertEqual(deliver(made).findings, [])
        made.advance(TRIAL_S)
        self.assertEqual(reasons(deliver(made)), ["dnsbl-listed"])
        self.assertEqual(told(made), ["dnsbl.off", "dnsbl.on"])

    def test_what_is_told_holds_no_key(self) -> None:
        """Neither log nor reply."""
        zone = f"{KEY}.zen.example.org"
        made, _ = self.see({}, options=one(zone))
        self.assertNotIn(KEY, repr(made.events))
        made, client = self.see(
            sound(zone, **{ASKED: entry(reason=f"https://{zone}/")}),
            options=lists({"zone": zone, "weight": 9.0}, reject_at=5.0),
        )
        self.assertEqual(client.greeting, "550 5.7.1 192.0.2.7 is listed by zen.example.org: https://zen.example.org/")
        self.assertNotIn(KEY, repr(client.findings))
