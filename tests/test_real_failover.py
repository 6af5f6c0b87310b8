"""Three servers of one backend, lost one after the other under load: nothing lost, and no duplicate in silence.

10,000 messages over 40 connections, while servers go from one moment to the next and come back. A session that has not
yet been promised anything by a 2yz to RCPT goes to another server and its client hears nothing of it; the others hear
451 and come again.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import cycle

from tests.real_kit import Load, RealCase, small_id, until

MESSAGES = 10_000
CONNECTIONS = 40
#: Who is lost and who comes back, over and over, one step after each so many acknowledged messages. One always stays.
STEPS = ("-0", "+0", "-1", "-2", "+1", "+2", "-0", "-1", "+0", "+1", "-2", "+2")
STEP = 250


class FailoverTests(RealCase):
    """One gateway process; clients and servers in an asyncio loop of ours."""

    def test_servers_lost_one_by_one(self) -> None:
        """0 lost of 10,000, every duplicate told as delivery.unknown, failover before the promise silent."""
        background = self.background()
        servers = self.fast_servers(background, 3, 0.004)
        places = ", ".join(f'"127.0.0.1:{server.port}"' for server in servers)
        gate = self.gateway(f"""
local_domains = ["example.net"]
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = [{places}]
tls = "off"
probe = "1s"
[[routes]]
backend = "mail"
""")
        load = Load(gate.port(), MESSAGES)
        steps = cycle(STEPS)

        def acked(count: int) -> None:
            if count % STEP == 0:
                what, which = next(steps)
                server = servers[int(which)]
                background.loop.call_soon(server.kill if what == "-" else server.listen_soon)

        load.on_ack = acked
        began = time.monotonic()
        running = background.begin(load.run(CONNECTIONS))
        running.result(300)
        took = time.monotonic() - began
        # The log is written behind the replies.
        until(lambda: gate.text().count('"outcome":"delivered"') >= MESSAGES, "the log is written")

        unknown = Counter(line["header_message_id"] for line in gate.events("delivery.unknown"))
        taken: Counter[str] = sum((server.taken for server in servers), Counter())
        killed: Counter[str] = sum((server.killed for server in servers), Counter())
        lost = [number for number in range(MESSAGES) if small_id(number) not in taken]
        copies = {key: count - 1 for key, count in taken.items() if count > 1}
        silent = {key: count for key, count in copies.items() if count > unknown[key]}
        self.figures(
            f"{MESSAGES} messages in {took:.1f} s ({MESSAGES / took:.0f}/s); {sum(s.kills for s in servers)} times a "
            f"server was killed, with connections {dict(killed)}; refused {dict(load.refused)}; lost {len(lost)}, "
            f"duplicates {sum(copies.values())}, delivery.unknown {sum(unknown.values())}, duplicates not told of "
            f"{len(silent)}"
        )
        self.assertEqual(len(load.acked), MESSAGES)
        self.assertEqual(lost, [])
        self.assertEqual(silent, {})
        self.assertEqual(set(taken), {small_id(number) for number in range(MESSAGES)})
        # Before the promise the client hears nothing of it; after it 451, never anything else.
        self.assertEqual([pair for pair in load.refused if pair[0] not in ("DATA", "dot") or pair[1][:4] != "451 "], [])
        # Each of these did happen.
        for stage in ("rcpt", "promised", "dot"):
            self.assertGreater(killed[stage], 0, stage)
        self.assertGreaterEqual(sum(unknown.values()), killed["dot"])
        self.assertEqual(load.lost_connections, 0)
        self.assertEqual(gate.crashed(), [])
