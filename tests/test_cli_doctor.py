"""`smtpgate doctor`: each check finds its fault, says what would mend it, and is content where all is well."""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import attrs
import trustme
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import doctor, probes
from smtpgate.config.loader import loads
from smtpgate.config.model import Settings
from smtpgate.plugins import find_factories
from tests.real_kit import RealCase, free_port
from tests.real_kit import run as run_program
from tests.test_first_minutes import SMTPGATE

NAME = "gate.example.com"


class Greeter:
    """A server that says what a script says, one line for each line that it hears."""

    def __init__(self, case: SynchronousTestCase, *replies: bytes, context: ssl.SSLContext | None = None) -> None:
        self.replies, self.context = replies, context
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        case.addCleanup(self.close)

    def serve(self) -> None:
        try:
            connection, _ = self.socket.accept()
        except OSError:
            return
        connection.settimeout(5)
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rwb", 0) as file:
            for reply in self.replies:
                try:
                    file.write(reply)
                    if not file.readline():
                        return
                except OSError:
                    # The client has heard enough.
                    return

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


class DoctorCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def settings(
        self, server: str = "127.0.0.1:9", listener: str = 'tls = "off"', backend: str = 'tls = "off"', more: str = ""
    ) -> Settings:
        text = f"""
hostname = "{NAME}"
local_domains = ["example.net"]
[listeners.mx]
listen = ["tcp:2525:interface=127.0.0.1"]
{listener}
[backends.mail]
servers = ["{server}"]
{backend}
[[routes]]
backend = "mail"
{more}
"""
        return loads(text, str(self.folder / "gate.toml"), *find_factories())

    def only(self, lines: Iterable[probes.Line]) -> probes.Line:
        """The one finding; whatever is not well has its remedy."""
        (line,) = lines
        self.assertEqual(bool(line.fix), line.state != "ok", line)
        return line


class PlaceTests(DoctorCase):
    """What is of this machine."""

    def test_ports(self) -> None:
        """Free, taken, and answering."""
        port = free_port()
        settings = self.settings(more='[admin]\nlisten = "off"\n')
        listener = attrs.evolve(settings.listeners["mx"], listen=(f"tcp:{port}:interface=127.0.0.1",))
        settings = attrs.evolve(settings, listeners={"mx": listener})
        self.assertEqual(self.only(doctor.ports(settings, False)).state, "ok")
        self.assertEqual(self.only(doctor.ports(settings, True)).state, "fail")
        with socket.create_server(("127.0.0.1", port)):
            taken = self.only(doctor.ports(settings, False))
            self.assertEqual((taken.state, taken.fix), ("fail", "stop what has it: ss -ltnp"))
            self.assertEqual(self.only(doctor.ports(settings, True)).state, "ok")

    def test_open_files(self) -> None:
        """Against twice the connections and 128 more."""
        settings = self.settings()
        for hard, state in ((20127, "warn"), (20128, "ok"), (resource.RLIM_INFINITY, "ok")):
            with mock.patch.object(resource, "getrlimit", lambda _, hard=hard: (1024, hard)):
                self.assertEqual(self.only(doctor.open_files(settings)).state, state, hard)

    def test_modes(self) -> None:
        """A file that others may write, a folder that others may read."""
        config, state = self.folder / "gate.toml", self.folder / "state"
        config.write_text("")
        config.chmod(0o644)
        self.assertEqual([one.state for one in doctor.modes(config, state)], ["ok", "ok"])
        state.mkdir(0o700)
        self.assertEqual([one.state for one in doctor.modes(config, state)], ["ok", "ok"])
        config.chmod(0o664)
        state.chmod(0o750)
        found = list(doctor.modes(config, state))
        self.assertEqual([one.state for one in found], ["fail", "fail"])
        self.assertEqual([one.fix for one in found], [f"chmod go-w {config}", f"chmod 0700 {state}"])

    def test_disk(self) -> None:
        """Where the folder will be, when it is not there yet."""
        for free, state in ((2**26 - 1, "fail"), (2**30 - 1, "warn"), (2**31, "ok")):
            with mock.patch("shutil.disk_usage", lambda place, free=free: mock.Mock(free=free, place=place)):
                line = self.only(doctor.disk(self.folder / "not" / "there"))
            self.assertEqual(line.state, state)
            self.assertIn(str(self.folder), line.text)

    def test_clock(self) -> None:
        """What the kernel of this machine says is one of the three."""
        self.assertIn(self.only(doctor.clock()).state, ("ok", "warn"))

    def test_certificates(self) -> None:
        """Self-made, good, nearly over, over."""
        self.assertEqual([one.state for one in doctor.certificates(self.settings())], [])
        self.assertEqual(self.only(doctor.certificates(self.settings(listener=""))).state, "warn")
        import datetime

        ca, now = trustme.CA(), datetime.datetime.now(datetime.UTC)
        for days, state in ((60, "ok"), (13, "warn"), (-1, "fail")):
            path = self.folder / f"{days}.pem"
            ends = now + datetime.timedelta(days=days, hours=1)
            issued = ca.issue_cert(NAME, not_before=now - datetime.timedelta(days=90), not_after=ends)
            path.write_bytes(issued.cert_chain_pems[0].bytes())
            line = doctor._certificate("mx", path)
            self.assertEqual(line.state, state, line)
        self.assertEqual(doctor._certificate("mx", self.folder / "none.pem").state, "warn")

    def test_pages(self) -> None:
        """Loopback, behind a proxy with TLS, and in clear to the network."""
        self.assertEqual(self.only(doctor.pages(self.settings())).state, "warn")
        behind = '[admin]\npublic_url = "https://gate.example.com"\ntrusted_hosts = ["gate.example.com"]\n'
        self.assertEqual(self.only(doctor.pages(self.settings(more=behind))).state, "ok")
        clear = '[admin]\nlisten = "tcp:8080"\ninsecure = true\n'
        self.assertEqual(self.only(doctor.pages(self.settings(more=clear))).state, "fail")
        off = '[admin]\nlisten = "off"\n'
        self.assertEqual(self.only(doctor.pages(self.settings(more=off))).state, "ok")


class ServerTests(DoctorCase):
    """Mail servers and engines."""

    def probe(
        self, *replies: bytes, backend: str = 'tls = "off"', context: ssl.SSLContext | None = None
    ) -> probes.Line:
        greeter = Greeter(self, *replies, context=context)
        settings = self.settings(f"127.0.0.1:{greeter.port}", backend=backend)
        ((name, one),) = probes.servers(settings)
        return self.only(probes.server(settings, name, one))

    def test_a_good_server(self) -> None:
        """It greets, and its words are told."""
        line = self.probe(b"220-hello\r\n220 there\r\n", b"250-mail\r\n250-SIZE 10\r\n250 STARTTLS\r\n", b"221 bye\r\n")
        self.assertEqual((line.state, line.text.partition("offers ")[2]), ("ok", "SIZE, STARTTLS"))

    def test_what_it_lacks(self) -> None:
        """TLS that the configuration wants, XCLIENT that it wants."""
        said = (b"220 there\r\n", b"250-mail\r\n250 SIZE 10\r\n", b"221 bye\r\n")
        line = self.probe(*said, backend='tls = "required"')
        self.assertEqual((line.state, "no STARTTLS" in line.text), ("fail", True))
        line = self.probe(*said, backend='tls = "off"\nclient_info = "xclient"')
        self.assertEqual((line.state, "no XCLIENT" in line.text), ("fail", True))

    def test_tls_from_the_start(self) -> None:
        """The greeting comes inside of it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        said = (b"220 there\r\n", b"250-mail\r\n250 SIZE 10\r\n", b"221 bye\r\n")
        self.assertEqual(self.probe(*said, backend='tls = "implicit"', context=context).state, "ok")

    def test_a_bad_server(self) -> None:
        """It refuses, speaks something else, hangs up, or is not there."""
        for said in ((b"554 go away\r\n",), (b"SSH-2.0-x\r\n",), (b"220 there\r\n",), (b"220-x\r\n" * 200,)):
            line = self.probe(*said)
            self.assertEqual(line.state, "fail", said)
        settings = self.settings(f"127.0.0.1:{free_port()}")
        ((name, one),) = probes.servers(settings)
        self.assertIn("does not answer", self.only(probes.server(settings, name, one)).text)

    def test_engines(self) -> None:
        """Each server of each filter that is not off; of any form."""
        port = free_port()
        filters = f"""
[[filters]]
use = "clamd"
options = {{ servers = ["unix:{self.folder}/clamd.sock"] }}
[[filters]]
use = "rspamd"
options = {{ servers = ["http://127.0.0.1:{port}"] }}
[[filters]]
use = "spamd"
mode = "off"
options = {{ servers = ["127.0.0.1:783"] }}
"""
        engines = probes.scanners(self.settings(more=filters))
        self.assertEqual([name for name, _ in engines], ["clamd", "rspamd"])
        for name, place in engines:
            self.assertEqual(self.only(probes.scanner(name, place)).state, "fail")
        with socket.create_server(("127.0.0.1", port)), socket.socket(socket.AF_UNIX) as clamd:
            clamd.bind(f"{self.folder}/clamd.sock")
            clamd.listen()
            for name, place in engines:
                self.assertEqual(self.only(probes.scanner(name, place)).state, "ok")


class WholeTests(RealCase):
    """The command."""

    def test_the_command(self) -> None:
        """All checks, as lines and as JSON; it fails where one fails, and names no port that is its own gateway's."""
        backend = free_port()
        text = f"""
local_domains = ["example.net"]
[listeners.front]
listen = ["tcp:{free_port()}:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{backend}"]
tls = "off"
[[routes]]
backend = "mail"
[resolver]
servers = ["127.0.0.1:{free_port()}"]
"""
        gate = self.gateway(text)
        made = run_program(SMTPGATE, "--config", gate.config, "--json", "doctor")
        self.assertEqual(made.returncode, 1, made.stderr)
        found = json.loads(made.stdout)
        states = {one["check"]: one["state"] for one in found["items"]}
        self.assertEqual(found["state"], "fail")
        self.assertEqual((states["gateway"], states["ports"], states["backends"], states["dns"]),
                         ("ok", "ok", "fail", "fail"))  # fmt: skip
        self.assertEqual({one["check"] for one in found["items"] if one["state"] != "ok" and not one["fix"]}, set())
        self.assertIn("disk", states)
        made = run_program(SMTPGATE, "--config", gate.config, "doctor")
        self.assertRegex(made.stdout, r"(?m)^fail  backends +mail: 127\.0\.0\.1:\d+ does not answer")

    def test_a_configuration_with_errors(self) -> None:
        """Nothing else is looked at."""
        file = self.folder / "bad.toml"
        file.write_text("nonsense = 1\n")
        made = run_program(SMTPGATE, "--config", file, "doctor", env={"PATH": os.environ["PATH"]})
        self.assertEqual((made.returncode, made.stdout), (3, ""))
        self.assertIn("nonsense", made.stderr)
