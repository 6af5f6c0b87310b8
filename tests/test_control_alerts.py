"""What is wrong now: seen, told by events, ended by others, and how much mail goes through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control.alerts import FILTER_S, HOLDS_S, MOST
from smtpgate.control.certificates import read
from smtpgate.observe.names import EVENTS
from smtpgate.policy import event as told
from tests.admin_kit import CONFIG, make_control, make_session


def certificate(path: Path, days: int) -> None:
    """A self-signed certificate that is good for so many days from the clock of tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate.example.com")])
    begin = datetime.fromtimestamp(1_790_000_000, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin - timedelta(days=60))
        .not_valid_after(begin + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    path.write_bytes(made.public_bytes(Encoding.PEM))


class AlertTests(SynchronousTestCase):
    """A control without sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.control = make_control(self.clock)
        self.alerts = self.control.alerts
        # No probes: servers are what the tests say.
        self.control.current().close_pools()

    def tell(self, name: str, level: str = "error", **fields: Any) -> None:
        self.control.hear(told.Happened(name, level, f"{name} happened", tuple(fields.items())))

    def ids(self) -> list[str]:
        return [alert.id for alert in self.alerts.now()]

    def test_what_one_event_begins_another_ends(self) -> None:
        """Each of its own kind; time alone does not end it, and it is told since when."""
        self.tell("engine.down", filter="clamav", server="tcp:a")
        self.clock.advance(10)
        self.tell("engine.down", filter="clamav", server="tcp:b")
        self.tell("engine.down", filter="clamav", server="tcp:b")
        self.clock.advance(10 * HOLDS_S)
        self.assertEqual(self.ids(), ["engine.down:clamav:tcp:a", "engine.down:clamav:tcp:b"])
        first, second = self.alerts.now()
        self.assertEqual((first.since, second.since - first.since, second.count), (1_790_000_000.0, 10.0, 2))
        self.tell("engine.up", "info", filter="clamav", server="tcp:a")
        self.assertEqual(self.ids(), ["engine.down:clamav:tcp:b"])

    def test_another_configuration_forgets_what_filters_said(self) -> None:
        """Its filters begin anew, and nobody would end it; what is about the gateway stays."""
        self.tell("engine.down", filter="clamav", server="tcp:a")
        self.tell("history.failed")
        self.control.hear(told.FilterFailed("names", "mail", "raised", "x", "continue", ""))
        self.tell("config.applied", "info")
        self.assertEqual(self.ids(), ["history.failed"])

    def test_what_has_no_end_is_over_after_a_while(self) -> None:
        """Counted from the last time."""
        self.tell("quarantine.failed")
        self.clock.advance(HOLDS_S - 1)
        self.tell("quarantine.failed")
        self.clock.advance(HOLDS_S - 1)
        (alert,) = self.alerts.now()
        self.assertEqual((alert.count, alert.link), (2, "/quarantine"))
        self.clock.advance(1)
        self.assertEqual(self.ids(), [])

    def test_names_are_those_of_the_list(self) -> None:
        """A name that nothing tells would begin or end nothing."""
        from smtpgate.control.alerts import ENDED_BY

        known = {name: row.fields for name, row in EVENTS.items()}
        for begin, (end, keys, _) in ENDED_BY.items():
            self.assertIn(begin, known)
            self.assertIn(end, known)
            for key in keys:
                self.assertIn(key, known[begin])
                self.assertIn(key, known[end])

    def test_bounded(self) -> None:
        """However many things fail."""
        for number in range(MOST + 50):
            self.tell("engine.down", filter=f"f{number}", server="tcp:a")
        self.assertEqual(len(self.ids()), MOST)

    def test_filters(self) -> None:
        """What becomes of the mail decides how bad it is; errors are counted for an hour."""
        self.control.hear(told.FilterFailed("names", "mail", "raised", "x", "continue", ""))
        self.control.hear(told.FilterFailed("virus", "data", "timeout", "x", "tempfail", ""))
        first, second = self.alerts.now()
        self.assertEqual((first.level, second.level), ("bad", "wait"))
        self.assertIn("mail is deferred", first.text)
        self.assertIn("unchecked", second.text)
        self.assertEqual(self.alerts.pulse().errors, 1)
        self.clock.advance(FILTER_S)
        self.assertEqual(self.ids(), [])
        self.clock.advance(3600)
        self.assertEqual(self.alerts.pulse().errors, 0)

    def test_servers(self) -> None:
        """One of two, then both, then none; since is kept while it lasts."""
        first, second = self.control.current().pools["mail"].servers
        first.state = "down"
        self.assertEqual(self.ids(), [f"server:mail/{first.name}"])
        since = self.alerts.now()[0].since
        self.clock.advance(60)
        self.assertEqual(self.alerts.now()[0].since, since)
        self.assertEqual(self.control.overview().state, "degraded")
        second.state = "down"
        self.assertEqual([(one.id, one.level) for one in self.alerts.now()], [("backend:mail", "bad")])
        first.state = second.state = "up"
        self.assertEqual((self.ids(), self.control.overview().state), ([], "accepting"))

    def test_certificates(self) -> None:
        """Soon is a warning, later is none, and a file that is gone is told as such."""
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate(folder / "soon.pem", 10)
        certificate(folder / "later.pem", 80)
        found = read([(folder / name, ("mx",)) for name in ("later.pem", "none.pem", "soon.pem")])
        self.assertEqual([Path(one.path).name for one in found], ["soon.pem", "later.pem", "none.pem"])
        self.assertTrue(found[2].problem)
        self.control.certificates.known = found
        gone, soon = sorted(self.alerts.now(), key=lambda one: one.text.endswith("days"))
        self.assertIn("none.pem cannot be read", gone.text)
        self.assertIn("soon.pem expires in 10 days", soon.text)
        self.clock.advance(8 * 86400)
        self.assertEqual([one.level for one in self.alerts.now()], ["bad", "wait"])
        self.assertEqual(self.control.overview().state, "degraded")

    def test_certificates_are_read_now_and_then(self) -> None:
        """And when another configuration is at work."""
        calls: list[Any] = []
        known = self.control.certificates

        async def thread(function: Any, files: Any) -> Any:
            calls.append(files)
            return ()

        known._in_thread = thread
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate(folder / "one.pem", 10)
        from smtpgate.config.loader import loads

        text = CONFIG.replace('tls = "off"\n[backends', 'tls = "optional"\n[backends')
        settings = loads(text, "/nowhere/gate.toml")
        import attrs

        listener = attrs.evolve(settings.listeners["mx"], certificates=(folder / "one.pem",))
        settings = attrs.evolve(settings, listeners={"mx": listener})
        known._settings = lambda: settings
        for _ in range(3):
            self.successResultOf(ensureDeferred(known.look()))
        self.assertEqual(calls, [[(folder / "one.pem", ("mx",))]])
        self.clock.advance(601)
        self.successResultOf(ensureDeferred(known.look()))
        self.assertEqual(len(calls), 2)


class PulseTests(SynchronousTestCase):
    """How much mail goes through."""

    def test_rates(self) -> None:
        """A second that runs still is not counted; parts are of five minutes."""
        clock = Clock()
        control = make_control(clock)
        self.assertEqual((control.alerts.pulse().per_s, control.alerts.pulse().refused), (0.0, None))
        for outcome in ["delivered"] * 15 + ["refused"] * 4 + ["deferred"]:
            facts = make_session(outcome=outcome)
            control.hear(told.TransactionEnded(facts.transactions[0]))
        self.assertEqual(control.alerts.pulse().per_s, 0.0)
        clock.advance(2)
        pulse = control.alerts.pulse()
        self.assertEqual((pulse.per_s, pulse.messages, pulse.refused, pulse.deferred), (2.0, 20, 0.2, 0.05))
        clock.advance(300)
        self.assertEqual(control.alerts.pulse().messages, 0)
