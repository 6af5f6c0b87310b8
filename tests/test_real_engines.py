"""The engine filters against real engines: clamd, spamd, rspamd, OpenDKIM, c-icap; and a gateway with some of them.

Each engine is a private instance with a configuration of its own, without any network. Each is asked what it should
find and what it should not, and then it is away, slow, another program, or asked about too much.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import smtplib
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from kilter.protocol.messages import Continue, InsertHeader, Progress, ReplyCode, Skip
from kilter.protocol.messages import ProtocolFlags as Flags
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtpgate.filters.engines import clamd, hook, icap, milter, rspamd, spamd, yara
from smtpgate.filters.engines.hook import signature
from smtpgate.net.children import Children
from smtpgate.policy.event import FilterFailed, Happened
from tests import engine_kit, real_kit
from tests.engine_kit import EICAR, GTUBE, Bench, Stalling
from tests.milter_kit import Milter, MilterServer, packed
from tests.real_kit import Process, free_port, until

CLEAN = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n"
    b"Date: %s\r\n\r\nShall we meet at noon?\r\n" % formatdate().encode()
)


def attached(content: bytes, name: str = "file.bin") -> bytes:
    """A message with a file."""
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    head = CLEAN.partition(b"\r\n\r\n")[0]
    return (
        head + b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="%s"\r\n\r\n%s--b--\r\n' % (name.encode(), encoded)
    )


def long_message(octets: int) -> bytes:
    """A clean message of about that size."""
    return CLEAN + b"a line of sixty-four octets, which says nothing of any interest.\r\n" * (octets // 66)


class Listening(Process):
    """A program that is there when its port listens."""

    port: int

    def ready(self) -> Any:
        """Wait for that."""
        until(lambda: self.is_up(self.port), f"{self.name} listens")
        return self


class Clamd(Listening):
    """A clamd with two signatures of our own: the EICAR string, and one file by its digest."""

    def __init__(self, folder: Path, known: bytes = b"", limit: str = "25M") -> None:
        self.port = free_port()
        database = folder / "db"
        database.mkdir(exist_ok=True)
        (database / "test.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
        if known:
            digest = hashlib.sha256(known).hexdigest()
            (database / "test.hsb").write_text(f"{digest}:{len(known)}:PUA.Known-File:73\n")
        conf = folder / "clamd.conf"
        conf.write_text(
            f"DatabaseDirectory {database}\nTCPSocket {self.port}\nTCPAddr 127.0.0.1\nForeground yes\n"
            f"StreamMaxLength {limit}\nMaxThreads 4\nTemporaryDirectory {folder}\n"
        )
        super().__init__(folder, "clamd", "clamd", "-c", conf)


class Spamd(Listening):
    """A spamd without network tests, with two rules about what it is told of the client."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        site = folder / "spamassassin"
        site.mkdir()
        for path in Path("/etc/spamassassin").glob("*.pre"):
            shutil.copy(path, site)
        (site / "local.cf").write_text(
            "required_score 5\nuse_bayes 0\n"
            "header LOCAL_CLIENT X-Spam-Relays-External =~ /ip=192\\.0\\.2\\.7 .*helo=mail\\.example\\.org /\n"
            "score LOCAL_CLIENT 0.5\n"
            "header LOCAL_SENDER EnvelopeFrom =~ /alice\\@example\\.org/\nscore LOCAL_SENDER 0.25\n"
        )
        super().__init__(
            folder, "spamd", "spamd", "-L", "-x", "-i", "127.0.0.1", "-p", self.port, f"--siteconfigpath={site}",
            "-s", "stderr", "--min-children=1", "--max-children=2", "-u", "nobody",
        )  # fmt: skip

    def ready(self) -> Spamd:
        """It listens before it has children."""
        until(lambda: "child states: I" in self.text(), "spamd has a child")
        return self


class Rspamd(Listening):
    """An rspamd with rules of our own and nothing else; its proxy speaks the milter protocol."""

    def __init__(self, folder: Path) -> None:
        self.port, self.milter_port = free_port(), free_port()
        (folder / "tld.dat").write_text("com\norg\nnet\n")
        (folder / "rules.lua").write_text("""
rspamd_config.PILLS = { score = 6.5, callback = function(task)
  return (task:get_header('Subject') or ''):find('pills') ~= nil end }
rspamd_config.LATER = { score = 0.0, callback = function(task)
  if (task:get_header('Subject') or ''):find('later') then task:set_pre_result('soft reject', 'Not now') end end }
rspamd_config.TOLD = { score = 0.5, callback = function(task)
  local from = (task:get_from('smtp') or {{}})[1].addr or ''
  return true, 1.0, { tostring(task:get_from_ip()), task:get_helo() or '', from,
    tostring(#(task:get_recipients('smtp') or {})), tostring(task:get_user()),
    tostring(task:get_request_header('TLS-Version')) } end }
rspamd_config:register_symbol{ name = 'MARK', type = 'postfilter', callback = function(task)
  task:set_milter_reply({ add_headers = { ['X-Rspamd-Test'] = 'seen' }, remove_headers = { ['X-Remove'] = 0 } }) end }
""")
        conf = folder / "rspamd.conf"
        conf.write_text(f"""
options {{
  url_tld = "{folder}/tld.dat"; disable_hyperscan = true; pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}";
  hs_cache_dir = "{folder}"; control_socket = "{folder}/control.sock mode=0600"; filters = ""; gtube_patterns = "all";
  dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "error"; }}
actions {{ reject = 15; "rewrite subject" = 8; "add header" = 6; greylist = 4; }}
worker "normal" {{ bind_socket = "127.0.0.1:{self.port}"; count = 1; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{self.milter_port}"; milter = yes; timeout = 10s; count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
lua = "{folder}/rules.lua";
""")
        folder.chmod(0o777)
        super().__init__(folder, "rspamd", "rspamd", "-f", "-i", "-c", conf, "-u", "nobody", "-g", "nogroup")

    def ready(self) -> Rspamd:
        """Both of them listen."""
        super().ready()
        until(lambda: self.is_up(self.milter_port), "rspamd's proxy listens")
        return self


class OpenDKIM(Listening):
    """An OpenDKIM that signs for example.org. `public` is the key as a TXT record holds it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        key = rsa.generate_private_key(65537, 2048)
        path = folder / "dkim.pem"
        path.touch(0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
        conf = folder / "opendkim.conf"
        conf.write_text(
            f"Socket inet:{self.port}@127.0.0.1\nMode s\nDomain example.org\nSelector test\nKeyFile {path}\n"
            "Canonicalization relaxed/simple\nInternalHosts 0.0.0.0/0\nRequireSafeKeys no\nSyslog no\n"
        )
        super().__init__(folder, "opendkim", "opendkim", "-f", "-x", conf)

    def stop(self) -> None:
        """It would wait five seconds for its listener; there is nothing that it could lose."""
        self.popen.kill()
        super().stop()


class CIcap(Listening):
    """A c-icap with its echo service, and its virus scanner before a clamd."""

    def __init__(self, folder: Path, clamd_port: int) -> None:
        self.port = free_port()
        conf = folder / "c-icap.conf"
        modules = engine_kit.VIRUS_SCAN.parent
        conf.write_text(f"""
PidFile {folder}/c-icap.pid
CommandsSocket {folder}/c-icap.ctl
Port 127.0.0.1:{self.port}
StartServers 1
MaxServers 1
MinSpareThreads 2
MaxSpareThreads 4
ThreadsPerChild 4
User root
Group root
TmpDir {folder}
ModulesDir {modules}
ServicesDir {modules}
TemplateDir /usr/share/c_icap/templates/
LoadMagicFile /etc/c-icap/c-icap.magic
ServerLog {folder}/server.log
AccessLog {folder}/access.log
Module common clamd_mod.so
clamd_mod.ClamdHost 127.0.0.1
clamd_mod.ClamdPort {clamd_port}
Service echo srv_echo.so
Service antivirus_module virus_scan.so
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE
virus_scan.DefaultEngine clamd
virus_scan.MaxObjectSize 5M
""")
        super().__init__(folder, "c-icap", "c-icap", "-N", "-D", "-f", conf)


class EngineCase(TestCase):
    """A folder for engines, and the bench."""

    timeout = 120
    programs: tuple[str, ...] = ()

    def setUp(self) -> None:
        """What the test needs is there."""
        engine_kit.need(*self.programs)
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-engine-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, True)

    def start(self, process: Any) -> Any:
        """Have a process ended with the test, and wait until it serves."""
        self.addCleanup(process.stop)
        return process.ready()

    def bench(self, factory: Any, options: str, **more: Any) -> Bench:
        """A filter."""
        bench = Bench(factory, options, **more)
        self.addCleanup(self.cleared, bench)
        self.addCleanup(bench.close)
        return bench

    async def cleared(self, bench: Bench) -> None:
        """Connections that were kept are closed."""
        agents = bench.services.http._agents
        if agents is not None:
            await agents[0]._pool.closeCachedConnections()
        await deferLater(reactor, 0.05)

    async def action(self, bench: Bench, content: bytes, **more: Any) -> str:
        """What becomes of a message."""
        verdict = await bench.message(content, **more)
        return verdict.action

    def failed(self, bench: Bench) -> list[str]:
        """Why it failed."""
        return [event.detail for event in bench.events if isinstance(event, FilterFailed)]

    async def unusable(self, factory: Any, options: str, place: str, *, is_spoken_to_first: bool = False) -> None:
        """A server that is away, deaf, silent, or another program: the message waits.

        :param place: of a server, with {port} for its port
        """
        silent, deaf = Stalling(), Stalling(is_deaf=True)
        others = [
            Stalling(says)
            for says in (b"220 mail.example.org ESMTP\r\n", b"HTTP/1.0 200 OK\r\n\r\nhello", b"\0" * 5000)
        ]
        for server in (silent, deaf, *others):
            self.addCleanup(server.close)
        for port in (free_port(), silent.port, deaf.port, *(other.port for other in others)):
            bench = self.bench(
                factory, f'servers = "{place.format(port=port)}"\ntimeout = "400ms"\n{options}', on_error="tempfail"
            )
            verdict = await bench.message(long_message(200_000) + b"%d\r\n" % port)
            self.assertEqual(verdict.action, "defer")
            assert verdict.decided_by is not None
            self.assertEqual(verdict.decided_by.reason, "filter-failed")
            self.assertTrue(self.failed(bench))


class ClamdTests(EngineCase):
    """`clamd`."""

    programs = ("clamd",)

    async def test_what_is_found(self) -> None:
        """In the text, in an attachment, by the digest of a file; by an upload and without one."""
        known = os.urandom(3000)
        server = self.start(Clamd(self.folder, known))
        bench = self.bench(clamd.factory, f'servers = "127.0.0.1:{server.port}"')
        self.assertEqual(await self.action(bench, CLEAN), "accept")
        self.assertEqual(await self.action(bench, long_message(3_000_000)), "accept")
        for content in (CLEAN + EICAR + b"\r\n", attached(EICAR), long_message(3_000_000) + EICAR + b"\r\n"):
            verdict = await bench.message(content)
            self.assertEqual(verdict.action, "reject")
            assert verdict.decided_by is not None
            self.assertEqual(
                (verdict.decided_by.reason, verdict.decided_by.detail), ("malware", "Eicar-Test.UNOFFICIAL")
            )
            self.assertEqual(str(verdict.decided_by.reply().code), "550")
        verdict = await bench.message(attached(known))
        self.assertEqual((verdict.action, bench.findings[0].detail), ("tag", "PUA.Known-File.UNOFFICIAL"))
        self.assertEqual(self.failed(bench), [])

    async def test_too_large_for_clamd(self) -> None:
        """B-186: its limit is heard though it hangs up in the middle, by an upload and without one."""
        server = self.start(Clamd(self.folder, limit="1M"))
        bench = self.bench(clamd.factory, f'servers = "127.0.0.1:{server.port}"\non_oversize = "reject"')
        for pieces in (10_000, 10 << 20):
            verdict = await bench.message(long_message(8_000_000), pieces=pieces)
            assert verdict.decided_by is not None
            self.assertEqual(verdict.decided_by.reason, "clamd-too-large", self.failed(bench))
            self.assertEqual(verdict.decided_by.code, 552)

    async def test_away_and_back(self) -> None:
        """It is told once that it is away; when it is back the next trial finds it."""
        server = self.start(Clamd(self.folder))
        bench = self.bench(clamd.factory, f'servers = "127.0.0.1:{server.port}"\nfailures = 2')
        self.assertEqual(await self.action(bench, CLEAN), "accept")
        server.stop()
        for number in range(4):
            self.assertEqual(await self.action(bench, CLEAN + b"%d\r\n" % number), "defer")
        self.assertIn("no server to ask", self.failed(bench)[-1])
        back = Clamd.__new__(Clamd)
        back.port = server.port
        Process.__init__(back, self.folder, "clamd", "clamd", "-c", self.folder / "clamd.conf")
        self.start(back)
        await deferLater(reactor, 2.1)
        self.assertEqual(await self.action(bench, CLEAN + EICAR), "reject")
        told = [event.name for event in bench.events if isinstance(event, Happened)]
        self.assertEqual(told, ["engine.down", "engine.up"])

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(clamd.factory, "", "127.0.0.1:{port}")


class SpamdTests(EngineCase):
    """`spamd`."""

    programs = ("spamd",)

    async def test_what_is_found(self) -> None:
        """The test string; what it knows of client and sender; a large message is not shown to it."""
        server = self.start(Spamd(self.folder))
        bench = self.bench(spamd.factory, f'servers = "127.0.0.1:{server.port}"\nreject = 100.0')
        self.assertEqual(await self.action(bench, CLEAN), "accept")
        (found,) = bench.findings
        self.assertIn("LOCAL_CLIENT", found.detail)
        self.assertIn("LOCAL_SENDER", found.detail)
        self.assertLess(found.score, 5)
        verdict = await bench.message(CLEAN + GTUBE + b"\r\n")
        self.assertEqual(verdict.action, "reject")
        self.assertGreater(bench.findings[0].score, 300)
        self.assertIn("GTUBE", bench.findings[0].detail)
        await bench.message(long_message(1_000_000))
        self.assertEqual([one.reason for one in bench.findings], ["spamd-too-large"])
        self.assertEqual(self.failed(bench), [])

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(spamd.factory, "", "127.0.0.1:{port}")


class RspamdTests(EngineCase):
    """`rspamd`, and rspamd as a milter."""

    programs = ("rspamd",)

    async def test_what_is_found(self) -> None:
        """Actions, scores, what it was told; header fields as it asks."""
        server = self.start(Rspamd(self.folder))
        bench = self.bench(rspamd.factory, f'servers = "http://127.0.0.1:{server.port}"\nheaders = true')
        self.assertEqual(await self.action(bench, CLEAN.replace(b"Subject", b"X-Remove: 1\r\nSubject")), "accept")
        (found,) = bench.findings
        self.assertEqual((found.reason, found.score), ("rspamd-no-action", 0.2))
        self.assertIn("TOLD 0.5 [192.0.2.7, mail.example.org, alice@example.org]", found.detail)
        edits = bench.transaction_facts.edits.edits
        self.assertEqual([type(one).__name__ for one in edits], ["RemoveField", "AddField"])
        self.assertEqual(edits[1].raw, b"X-Rspamd-Test: seen\r\n")
        self.assertEqual(await self.action(bench, CLEAN.replace(b"lunch", b"pills")), "tag")
        self.assertEqual(bench.findings[0].reason, "rspamd-add-header")
        verdict = await bench.message(CLEAN.replace(b"lunch", b"later"))
        assert verdict.decided_by is not None
        self.assertEqual((verdict.action, verdict.decided_by.public), ("defer", "Not now"))
        verdict = await bench.message(CLEAN + GTUBE + b"\r\n")
        assert verdict.decided_by is not None
        self.assertEqual((verdict.action, verdict.decided_by.public), ("reject", "Gtube pattern"))
        self.assertEqual(self.failed(bench), [])

    async def test_too_large(self) -> None:
        """It passes, with a note."""
        bench = self.bench(rspamd.factory, f'servers = "http://127.0.0.1:{free_port()}"\nmax_octets = "1 MB"')
        self.assertEqual(await self.action(bench, long_message(2_000_000)), "accept")
        self.assertEqual([one.reason for one in bench.findings], ["rspamd-too-large"])

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(rspamd.factory, "", "http://127.0.0.1:{port}")

    async def test_as_a_milter(self) -> None:
        """Another milter than libmilter's: a refusal with its own text, marks in the header, several messages."""
        server = self.start(Rspamd(self.folder))
        bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.milter_port}"')
        self.assertEqual(await self.action(bench, CLEAN), "accept", self.failed(bench))
        raws = [one.raw for one in bench.transaction_facts.edits.edits]
        self.assertIn(b"X-Rspamd-Test: seen\r\n", raws)
        session = bench.session()
        run = bench.chain.session(session)
        await bench.run(run, "connect")
        await bench.run(run, "helo", session.helo)
        for content, action in ((CLEAN, "accept"), (CLEAN + GTUBE + b"\r\n", "reject"), (CLEAN, "accept")):
            verdict = await bench.transaction(run, session, content)
            self.assertEqual(verdict.action, action, self.failed(bench))
        run.close()
        self.assertEqual(self.failed(bench), [])


class MilterTests(EngineCase):
    """`milter` with OpenDKIM, and with a milter of our own over real sockets."""

    programs = ("opendkim",)

    async def test_opendkim_signs(self) -> None:
        """The signature that it asks for holds over what the backend gets, of small messages and large ones."""
        server = self.start(OpenDKIM(self.folder))
        bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.port}"')
        for content in (CLEAN, CLEAN.replace(b"lunch", b"a subject\r\n\tof two  lines "), long_message(3_000_000)):
            self.assertEqual(await self.action(bench, content), "accept", self.failed(bench))
            facts = bench.transaction_facts
            assert facts.header is not None
            head, missed = facts.edits.apply(facts.header)
            self.assertEqual(missed, ())
            signed = head + content[len(facts.header.octets) :]
            self.assertTrue(signed.startswith(b"DKIM-Signature: "), signed[:200])
            self.assertTrue(dkim.verify(signed, dnsfunc=lambda name, timeout=5: server.public))
            self.assertFalse(dkim.verify(signed + b"x\r\n", dnsfunc=lambda name, timeout=5: server.public))
        self.assertEqual(await self.action(bench, CLEAN.replace(b"alice@example.org", b"a@other.example")), "accept")
        self.assertEqual(bench.transaction_facts.edits.edits, [])
        self.assertEqual(self.failed(bench), [])

    async def test_many_messages_in_one_session(self) -> None:
        """One connection; what is broken off in between leaves the rest alone."""
        server = self.start(OpenDKIM(self.folder))
        bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.port}"')
        session = bench.session()
        run = bench.chain.session(session)
        await bench.run(run, "connect")
        await bench.run(run, "helo", session.helo)
        for number in range(5):
            verdict = await bench.transaction(run, session, CLEAN + b"%d\r\n" % number)
            self.assertEqual(
                (verdict.action, len(bench.transaction_facts.edits.edits)), ("accept", 1), self.failed(bench)
            )
            mail = bench.chain.transaction(bench.transaction_facts, run)
            await bench.run(mail, "mail")
            mail.close()
        run.close()
        self.assertEqual(self.failed(bench), [])

    async def test_another_milter(self) -> None:
        """Signs of life, a refusal of one recipient, SKIP, header fields, over a socket."""

        class Busy(Milter):
            flags = Flags.SKIP | Flags.NR_HDR

        def end(message: Any) -> Any:
            return [Progress(), InsertHeader(0, "X-Seen", b"yes"), Continue()]

        answers = {
            "rcpt": lambda said: [ReplyCode(b"550 5.1.1 No eve\0") if b"eve@" in bytes(said.recipient) else Continue()],
            "body": [Skip()],
            "end": end,
        }
        server = MilterServer(lambda: Busy(answers))
        self.addCleanup(server.close)
        bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.port}"')
        verdict = await bench.message(long_message(500_000), recipients=("eve@example.net", "bob@example.net"))
        self.assertEqual(verdict.action, "accept", self.failed(bench))
        self.assertEqual([one.state for one in bench.transaction_facts.recipients], ["refused", "accepted"])
        self.assertEqual([one.raw for one in bench.transaction_facts.edits.edits], [b"X-Seen: yes\r\n"])
        (heard,) = server.milters
        self.assertEqual(len(heard.sizes), 1)
        await deferLater(reactor, 0.05)
        self.assertEqual(heard.names()[-1], "close")

    async def test_one_that_lies(self) -> None:
        """Garbage at the end of the message, and an end in the middle of a frame."""
        for said in (b"garbage garbage", packed(Continue())[:3]):
            server = MilterServer(lambda: Milter({"end": said}))
            self.addCleanup(server.close)
            bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.port}"\ntimeout = "400ms"')
            self.assertEqual(await self.action(bench, CLEAN), "defer")

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(milter.factory, "", "127.0.0.1:{port}")


class IcapTests(EngineCase):
    """`icap` with c-icap."""

    programs = ("c-icap", "clamd")

    async def test_what_is_found(self) -> None:
        """By its virus scanner; its echo service lets everything pass, also where it gives the message back."""
        behind = self.start(Clamd(self.folder))
        server = self.start(CIcap(self.folder, behind.port))
        base = f"icap://127.0.0.1:{server.port}"
        for service, method in (("echo", "RESPMOD"), ("echo", "REQMOD"), ("virus_scan", "RESPMOD")):
            bench = self.bench(icap.factory, f'servers = "{base}/{service}"\nmethod = "{method}"')
            for content in (CLEAN, long_message(2_000_000), CLEAN):
                self.assertEqual(await self.action(bench, content), "accept", self.failed(bench))
            verdict = await bench.message(attached(EICAR))
            if service == "echo":
                self.assertEqual(verdict.action, "accept")
                continue
            assert verdict.decided_by is not None
            self.assertEqual((verdict.action, verdict.decided_by.reason), ("reject", "malware"))
            self.assertIn("Eicar-Test", verdict.decided_by.detail)
            self.assertEqual(await self.action(bench, long_message(2_000_000) + EICAR + b"\r\n"), "reject")
            self.assertEqual(self.failed(bench), [])

    async def test_a_service_that_is_not_there(self) -> None:
        """The message waits, and so it does where the scanner behind it has gone."""
        behind = self.start(Clamd(self.folder))
        server = self.start(CIcap(self.folder, behind.port))
        behind.stop()
        for service in ("nonsense", "virus_scan"):
            bench = self.bench(icap.factory, f'servers = "icap://127.0.0.1:{server.port}/{service}"')
            self.assertEqual(await self.action(bench, attached(EICAR)), "defer", service)
            self.assertTrue(self.failed(bench))

    async def test_too_large(self) -> None:
        """It waits, as shipped."""
        bench = self.bench(icap.factory, f'servers = "icap://127.0.0.1:{free_port()}/avscan"\nmax_octets = "1 MB"')
        self.assertEqual(await self.action(bench, long_message(2_000_000)), "defer")
        self.assertEqual([one.reason for one in bench.findings], ["icap-too-large"])

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(icap.factory, "", "icap://127.0.0.1:{port}/avscan")


class YaraTests(EngineCase):
    """`yara` in real child processes."""

    async def test_in_a_child(self) -> None:
        """Rules are compiled in a limited child; each child learns them once."""
        events: list[Any] = []
        children = Children(reactor, 2, 768 << 20, 10.0, tell=events.append)
        self.addCleanup(children.close)
        (self.folder / "a.yar").write_text(
            'rule needle { meta: severity = "high" strings: $a = "needle-1234" condition: $a }\n'
            + "\n".join(f'rule r{n} {{ strings: $a = "pattern{n}" condition: $a }}' for n in range(1000))
        )
        bench = self.bench(yara.factory, f'rules = "{self.folder}"', children=children)
        self.assertEqual(await self.action(bench, CLEAN), "accept", self.failed(bench))
        self.assertEqual(await self.action(bench, attached(b"a needle-1234")), "reject", self.failed(bench))
        self.assertEqual(bench.findings[0].detail, "needle in file.bin")
        self.assertEqual((self.failed(bench), events), ([], []))


class HookTests(EngineCase):
    """`hook` with a server of Twisted."""

    async def test_a_hook(self) -> None:
        """Its signature holds, its answer counts; then it is away."""
        secret = self.folder / "secret"
        secret.touch(0o600)
        secret.write_text("0123456789abcdef" * 2)
        seen: list[bool] = []

        class Judge(Resource):
            isLeaf = True

            def render_POST(self, request: Any) -> bytes:
                body = request.content.read()
                given = request.getHeader("X-Smtpgate-Signature")
                seconds = int(given.partition(",")[0].removeprefix("t="))
                seen.append(given == signature(b"0123456789abcdef" * 2, seconds, body))
                event = json.loads(body)
                is_bad = b"pills" in base64.b64decode(event["content"])
                return json.dumps({"action": "reject" if is_bad else "continue", "text": "No pills"}).encode()

        site = Site(Judge())
        site.noisy = False  # type: ignore[attr-defined]
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        bench = self.bench(
            hook.factory,
            f'servers = "http://127.0.0.1:{port.getHost().port}/"\nsecret_file = "{secret}"\ncontent = "base64"',
        )
        self.assertEqual(await self.action(bench, CLEAN), "accept", self.failed(bench))
        self.assertEqual(await self.action(bench, CLEAN.replace(b"lunch", b"pills")), "reject")
        self.assertEqual(seen, [True, True])

    async def test_unusable(self) -> None:
        """Whatever else listens there."""
        await self.unusable(hook.factory, 'content = "base64"', "http://127.0.0.1:{port}/")


class GatewayTests(real_kit.RealCase):
    """A whole gateway with clamd, rspamd and OpenDKIM."""

    def test_mail_through_three_engines(self) -> None:
        """Malware and spam are refused in the session; what passes is signed, and arrives."""
        engine_kit.need("clamd", "rspamd", "opendkim")
        engines = {name: self.folder / name for name in ("clamd", "rspamd", "opendkim")}
        for folder in engines.values():
            folder.mkdir()
        scanner = self.start(Clamd(engines["clamd"]))
        spam = self.start(Rspamd(engines["rspamd"]))
        signer = self.start(OpenDKIM(engines["opendkim"]))
        plugins = self.folder / "plugins" / "smtpgate" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "engines_of_test.py").write_text(
            "from smtpgate.filters.engines.clamd import factory as clamd\n"
            "from smtpgate.filters.engines.rspamd import factory as rspamd\n"
            "from smtpgate.filters.engines.milter import factory as milter\n"
        )
        background = self.background()
        (server,) = self.fast_servers(background, 1, 0.0)
        gate = self.gateway(
            f"""
local_domains = ["example.net"]
[listeners.front]
listen = "tcp:0:interface=127.0.0.1"
tls = "off"
[backends.mail]
servers = "127.0.0.1:{server.port}"
tls = "off"
[[routes]]
backend = "mail"
[[filters]]
use = "clamd"
[filters.options]
servers = "127.0.0.1:{scanner.port}"
[[filters]]
use = "rspamd"
[filters.options]
servers = "http://127.0.0.1:{spam.port}"
[[filters]]
use = "milter"
[filters.options]
servers = "127.0.0.1:{signer.port}"
""",
            env={"PYTHONPATH": f"{self.folder / 'plugins'}:{':'.join(path for path in sys.path if path)}"},
        )
        replies = []
        with smtplib.SMTP("127.0.0.1", gate.port(), "client.example.org", 30) as client:
            for content in (CLEAN, CLEAN + EICAR + b"\r\n", CLEAN + GTUBE + b"\r\n", long_message(1_000_000), CLEAN):
                client.ehlo()
                client.mail("alice@example.org")
                client.rcpt("bob@example.net")
                replies.append(client.data(content)[0])
        self.assertEqual(replies, [250, 550, 550, 250, 250])
        self.assertEqual(gate.crashed(), [])
        done = until(lambda: len(got := gate.events("message.done")) >= 5 and got, "the log is written")
        self.assertEqual([line["outcome"] for line in done].count("delivered"), 3)
        self.assertEqual(
            [line.get("reason") for line in done if line["outcome"] == "refused"], ["malware", "rspamd-reject"]
        )
        self.figures("5 messages through clamd, rspamd and OpenDKIM")
