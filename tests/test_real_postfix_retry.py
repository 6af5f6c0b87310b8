"""A Postfix sends one message to forty recipients on three backends, and one of them is refused after the dot.

The gateway has no queue: recipients on another backend hear 452, a mix of LMTP answers is 451, and the sender's own
retries bring each recipient its message once. Only the refused one bounces.
"""

from __future__ import annotations

import time

from tests import real_kit
from tests.real_kit import Authority, Dovecot, Postfix, RealCase, split_trace, until

DOMAINS = ("one.example.net", "two.example.net", "lmtp.example.net")
CONTENT = (
    "From: alice@example.org\r\nTo: everybody:;\r\nSubject: one for forty\r\nDate: Tue, 25 Nov 2025 10:00:00 +0000\r\n"
    "Message-ID: <forty@example.org>\r\n\r\n" + "a line of the body\r\n" * 200
).encode()


class RetryTests(RealCase):
    """Sender, gateway, two Postfix and a Dovecot."""

    programs = ("postfix", "dovecot")

    def test_forty_recipients_on_three_backends(self) -> None:
        """39 delivered exactly once within a minute of the first retry, one bounce that names only the other."""
        users = {
            "one.example.net": [f"u{number}@one.example.net" for number in range(10)],
            "two.example.net": [f"u{number}@two.example.net" for number in range(10)],
            "lmtp.example.net": [f"u{number}@lmtp.example.net" for number in range(20)],
        }
        full = "u13@lmtp.example.net"
        one, two = (self.start(Postfix(self.folder, name, "", users[f"{name}.example.net"])) for name in ("one", "two"))
        certificate = Authority(self.folder).issue("lmtp.example.net")
        quotas = {user: "userdb_quota_rule=*:bytes=1000" if user == full else "" for user in users[DOMAINS[2]]}
        dovecot: Dovecot = self.start(Dovecot(self.folder, certificate, quotas))
        gate = self.gateway(f"""
local_domains = ["*.example.net"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
[backends.one]
servers = ["127.0.0.1:{one.port}"]
[backends.two]
servers = ["127.0.0.1:{two.port}"]
[backends.lmtp]
servers = ["127.0.0.1:{dovecot.port}"]
protocol = "lmtp"
tls = "required"
[[routes]]
recipient = ["one.example.net"]
backend = "one"
[[routes]]
recipient = ["two.example.net"]
backend = "two"
[[routes]]
backend = "lmtp"
""")
        main = f"""
relayhost = [127.0.0.1]:{gate.port()}
mynetworks = 127.0.0.0/8
minimal_backoff_time = 5s
maximal_backoff_time = 10s
queue_run_delay = 5s
"""
        sender: Postfix = self.start(Postfix(self.folder, "sender", main, ["alice@example.org"]))
        everybody = [user for domain in DOMAINS for user in users[domain]]
        with real_kit.smtp(sender.port) as client:
            self.assertEqual(client.sendmail("alice@example.org", everybody, CONTENT), {})

        def is_over() -> bool:
            return bool(sender.messages("alice@example.org")) and not sender.queued()

        until(lambda: sender.logged("status=deferred"), "the first try is over")
        first_try = time.monotonic()
        # The first retry comes within queue_run_delay and minimal_backoff_time.
        until(is_over, "all are delivered or bounced", 70)
        took = time.monotonic() - first_try
        # What a backend has taken it may still be putting into mailboxes.
        until(lambda: not one.queued() and not two.queued(), "the backends' queues are empty")

        counts = {user: len(server.messages(user)) for server in (one, two) for user in users[_domain(server)]}
        counts.update({user: len(dovecot.messages(user)) for user in users["lmtp.example.net"]})
        self.assertEqual(counts.pop(full), 0)
        self.assertEqual(len(counts), 39)
        self.assertEqual({user: count for user, count in counts.items() if count != 1}, {})
        for message in one.messages() + two.messages() + dovecot.messages():
            self.assertEqual(
                split_trace(message)[1].partition(b"\n\n")[2], CONTENT.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
            )
        (bounce,) = sender.messages("alice@example.org")
        failed = {
            line.partition(b";")[2].strip().decode() for line in bounce.split(b"\n") if line.startswith(b"Final-R")
        }
        self.assertEqual(failed, {full})
        self.assertIn(b"5.2.2", bounce)
        tries = len(sender.logged("status=deferred"))
        self.assertEqual(gate.events("delivery.unknown", "duplicate.possible"), [])
        self.assertEqual(gate.crashed(), [])
        self.figures(
            f"39 of 40 delivered once, 1 bounce, {tries} deferrals in the sender's log, "
            f"{len(gate.events('message.done'))} transactions, {took:.1f} s after the first try"
        )


def _domain(server: Postfix) -> str:
    return f"{server.base.name}.example.net"
