"""A certificate that is given in place of a listener's, and handshakes with it."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import crypto
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import site
from smtpgate.admin.every import ROUTES
from smtpgate.control import SYSTEM, certificate_files, certificates, chains, tls_promises
from smtpgate.control.views import Invalid, Refused
from smtpgate.net.tls import ServerTLS
from tests.admin_kit import CONFIG, PASSWORD, ApiCase, Desk
from tests.browser_kit import BrowserCase, shoot
from tests.test_admin_entry import Browser
from tests.test_admin_tls import NOW, make, pem

DER = serialization.Encoding.DER
SAN = x509.SubjectAlternativeName.oid


def odd_key() -> bytes:
    """A private key of a curve that `cryptography` does not know."""
    key = ec.generate_private_key(ec.SECP256R1())
    octets = key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return wrapped("PRIVATE KEY", octets.replace(P256, UNKNOWN))


def odd_certificate() -> bytes:
    """A certificate with such a key."""
    made = make("odd", ec.generate_private_key(ec.SECP256R1()), names=("mx.example.net",))
    return wrapped("CERTIFICATE", made.public_bytes(DER).replace(P256, UNKNOWN))


def wrapped(kind: str, octets: bytes) -> bytes:
    """As PEM."""
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(octets).decode()}-----END {kind}-----\n".encode()


#: Names of curves in DER: P-256 (1.2.840.10045.3.1.7), and its neighbour prime239v1.
P256, UNKNOWN = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030104")


class FilesCase(SynchronousTestCase):
    """An authority with one in between, and a folder."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.root_key, self.middle_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.root = make("Root", self.root_key, days=900)
        self.middle = make("Middle", self.middle_key, ("Root", self.root_key), 400)
        self.leaf = make("mx", self.key, ("Middle", self.middle_key), names=("mx.example.net",))
        self.authorities = [self.root.public_bytes(DER)]


class LookTests(FilesCase):
    """`look`."""

    def look(self, *parts: Any, now: datetime = NOW) -> certificate_files.Given:
        return certificate_files.look(pem(*parts), now.timestamp(), self.authorities)

    def test_a_good_one(self) -> None:
        """In whatever order key and certificates stand, and with whatever beside them; nobody reads the key in it."""
        for parts in ((self.key, self.leaf, self.middle), (self.leaf, self.middle, self.key)):
            given = self.look(*parts)
            self.assertEqual((given.names, given.doubt), (("mx.example.net",), ""))
        dirty = b"subject=mx\n" + pem(self.key, self.leaf) + b"# a word\n"
        given = certificate_files.look(dirty, NOW.timestamp(), self.authorities)
        self.assertNotIn(b"word", given.octets)
        self.assertIn("issuer", given.doubt)
        self.assertNotIn("PRIVATE", repr(given))

    def test_what_is_wrong(self) -> None:
        """Each in its own words."""
        other = ec.generate_private_key(ec.SECP256R1())
        small = rsa.generate_private_key(65537, 1024)
        edwards = ed25519.Ed25519PrivateKey.generate()
        for words, parts in (
            ("not that of the first", (other, self.leaf, self.middle)),
            ("certificate 2 has not signed", (self.key, self.leaf, self.root)),
            ("certificate 2 has not signed", (self.key, self.leaf, self.root, self.middle)),
            ("no private key", (self.leaf, self.middle)),
            ("no certificate", (self.key,)),
            ("names no host", (self.key, make("mx", self.key, ("Middle", self.middle_key)), self.middle)),
            ("1024 bits", (small, make("mx", small, names=("mx.example.net",)))),
            ("Ed25519", (edwards, self.leaf)),
        ):
            error = self.assertRaises(Invalid, self.look, *parts)
            self.assertIn(words, str(error))
        late, early = NOW + timedelta(days=91), NOW - timedelta(days=11)
        self.assertIn("expired", str(self.assertRaises(Invalid, self.look, self.key, self.leaf, now=late)))
        self.assertIn("not valid yet", str(self.assertRaises(Invalid, self.look, self.key, self.leaf, now=early)))
        locked = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
        for octets, words in ((locked, "password"), (b"", "no private key"), (b"x" * 200_001, "too large")):
            error = self.assertRaises(Invalid, certificate_files.look, octets, NOW.timestamp(), [])
            self.assertIn(words, str(error))

    def test_what_cannot_be_read(self) -> None:
        """A kind of key that is not known, a certificate that is not as it should be: refused in words, wherever in the
        chain; and the page of certificates says so of a file that somebody else put there."""
        broken = self.broken(x509.UnrecognizedExtension(SAN, b"\x01\x02garbage"))
        below = make("mx", self.key, ("odd", self.middle_key), names=("mx.example.net",))
        path = self.folder / "mx.pem"
        for name, octets in (
            ("a key", odd_key() + pem(self.leaf)),
            ("its certificate", pem(self.key) + odd_certificate()),
            ("one above", pem(self.key, below) + odd_certificate()),
            ("a name", pem(self.key, broken)),
        ):
            error = self.assertRaises(Invalid, certificate_files.look, octets, NOW.timestamp(), self.authorities)
            self.assertTrue("kind that is not known" in str(error), (name, str(error)))
            path.write_bytes(octets)
            (chain,) = chains.read([(path, ("mx",))], NOW.timestamp(), self.authorities)
            self.assertTrue(chain.problem or name == "one above", name)
            self.assertEqual(len(certificates.read([(path, ("mx",))])), 1)
            offered = tls_promises.offered([(path, ("mx",))], NOW.timestamp(), self.authorities)
            self.assertEqual(len(offered), int(name == "a key"), name)

    def test_a_handshake_with_what_cannot_be_read(self) -> None:
        """Is a problem in words."""
        path = self.folder / "mx.pem"
        path.write_bytes(pem(self.key, self.leaf, self.middle))
        server = ServerTLS((path,))
        broken = self.broken(x509.UnrecognizedExtension(SAN, b"\x01\x02garbage"))
        for context in server.contexts:
            context.use_certificate(crypto.X509.from_cryptography(broken))
        found = certificate_files.shake(server, "", "", NOW.timestamp(), self.authorities)
        self.assertIn("cannot be read", found.problem)

    def broken(self, extension: x509.ExtensionType) -> x509.Certificate:
        """A certificate with an extension that is none."""
        who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx")])
        made = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(self.key.public_key())
        made = made.serial_number(5).not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=90))
        return made.add_extension(extension, False).sign(self.key, hashes.SHA256())

    def test_a_place(self) -> None:
        """One step, for its owner only; not over a link, nor where there is nothing."""
        path, link = self.folder / "mx.pem", self.folder / "link.pem"
        path.write_bytes(b"old")
        path.chmod(0o644)
        link.symlink_to(path)
        self.assertEqual(certificate_files.put(path, b"new"), b"old")
        self.assertEqual((path.read_bytes(), path.stat().st_mode & 0o777), (b"new", 0o600))
        self.assertEqual(sorted(one.name for one in self.folder.iterdir()), ["link.pem", "mx.pem"])
        self.assertIn("link", str(self.assertRaises(Refused, certificate_files.put, link, b"x")))
        self.assertRaises(Refused, certificate_files.put, self.folder / "none.pem", b"x")

    def test_handshakes(self) -> None:
        """What a client sees, by the name that it asks for and the version that it has."""
        path, other = self.folder / "mx.pem", self.folder / "other.pem"
        path.write_bytes(pem(self.key, self.leaf, self.middle))
        second = make("other", self.key, ("Middle", self.middle_key), names=("other.example.net",))
        other.write_bytes(pem(self.key, second, self.middle))
        server = ServerTLS((path, other))

        def shake(name: str, version: str = "") -> certificate_files.Shaken:
            return certificate_files.shake(server, name, version, NOW.timestamp(), self.authorities)

        found = shake("mx.example.net")
        self.assertEqual((found.problem, found.version, found.doubt), ("", "TLSv1.3", ""))
        self.assertEqual(
            (shake("other.example.net").names, shake("").names), (("other.example.net",), ("mx.example.net",))
        )
        self.assertEqual(shake("other.example.net", "TLSv1.2").version, "TLSv1.2")
        self.assertNotEqual(shake("strange.example.net").doubt, "")
        server = ServerTLS((path,))
        for context in server.contexts:
            context.set_min_proto_version(certificate_files.VERSIONS["TLSv1.3"])
        self.assertIn("protocol", shake("mx.example.net", "TLSv1.2").problem)


class UploadTests(ApiCase):
    """Over HTTP, and by the form."""

    PLACE = "/api/v1/tls/certificates/of/mx"

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.path = self.folder / "mx.pem"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path.write_bytes(self.pem("old.example.net"))
        text = CONFIG.replace('tls = "off"', f'tls = "optional"\ncertificates = ["{self.path}"]', 1)
        self.desk = Desk(text)
        self.desk.users.add_user("ann", "owner", PASSWORD)
        self.owner = self.desk.token("owner")
        control = self.desk.control
        # The clock of the desk is of another day than the certificates.
        control.certificates._wall = lambda: datetime.now(UTC).timestamp()
        self.applied: list[bytes] = []
        self.fails = False

        async def put_to_work(settings: Any) -> None:
            self.applied.append(self.path.read_bytes())
            if self.fails:
                raise OSError("no")

        control.put_to_work = put_to_work

    def pem(self, name: str) -> bytes:
        made = make("Own", self.key, days=3650, names=(name,))
        return pem(self.key, made)

    def upload(self, octets: bytes, tag: str = "*", query: str = "") -> Any:
        import json

        body = json.dumps({"pem": octets.decode()}).encode()
        head = {"Content-Type": "application/json", "If-Match": tag, "Content-Length": str(len(body))}
        return self.desk.ask("PUT", self.PLACE + query, body=body, headers=head, token=self.owner)

    def test_it_is_put_to_work(self) -> None:
        """By the version that is meant; its key is in no answer, log, event or audit."""
        tag = self.desk.ask("GET", self.PLACE, token=self.owner).header("etag")
        tried = self.upload(self.pem("new.example.net"), tag, "?dry_run=1")
        self.assertEqual((tried.status, self.applied), (200, []))
        answer = self.upload(self.pem("new.example.net"), tag)
        self.assertEqual((answer.status, answer.json()["names"]), (200, ["new.example.net"]))
        self.assertIn("signed by itself", answer.json()["doubt"])
        self.assertEqual((len(self.applied), self.path.stat().st_mode & 0o777), (1, 0o600))
        self.assertEqual(self.get("/tls/certificates/of/mx")["names"], ["new.example.net"])
        self.assertEqual(self.upload(self.pem("late.example.net"), tag).status, 412)
        told = f"{answer.text} {self.desk.users.rows} {self.desk.control.events}"  # type: ignore[attr-defined]
        secret = self.path.read_text().splitlines()[1]
        self.assertNotIn(secret, told)
        (row,) = [one for one in self.desk.users.rows if one["action"] == "tls.upload"]
        self.assertIn("new.example.net", row["detail"])

    def test_a_bad_one_keeps_the_old(self) -> None:
        """One that is wrong, one that cannot be put to work, one that cannot be audited."""
        before = self.path.read_bytes()
        self.assertEqual(self.upload(self.pem("x.example.net").replace(b"PRIVATE", b"PUBLIC")).status, 422)
        self.assertEqual(self.applied, [])
        self.fails = True
        self.assertEqual(self.upload(self.pem("new.example.net")).status, 409)
        self.assertEqual((self.path.read_bytes(), len(self.applied)), (before, 1))
        self.fails, self.desk.users.fails_audit = False, True
        self.assertGreaterEqual(self.upload(self.pem("new.example.net")).status, 500)
        self.assertEqual((self.path.read_bytes(), len(self.applied)), (before, 1))

    def test_beside_another_change(self) -> None:
        """One at a time: what comes meanwhile is refused before it writes anything, so that what is at work is what is
        in the file, whichever of them fails."""
        control = self.desk.control
        renew = partial(control.configuration.renew, SYSTEM)
        threads: list[tuple[Deferred[Any], Any]] = []
        holds: list[Deferred[None]] = []
        at_work = [self.path.read_bytes()]

        def in_thread(call: Any, *args: Any) -> Deferred[Any]:
            threads.append((Deferred(), partial(call, *args)))
            return threads[-1][0]

        def turn() -> None:
            done, call = threads.pop(0)
            done.callback(call())

        async def put_to_work(settings: Any) -> None:
            read = self.path.read_bytes()
            holds.append(Deferred())
            await holds[-1]
            at_work[0] = read

        def begin(name: str) -> tuple[bytes, list[Any]]:
            octets, ends = self.pem(name), []
            given = certificate_files.look(octets, datetime.now(UTC).timestamp(), [])
            work = control.certificates.replace("mx", self.path, given, renew)
            ensureDeferred(work).addBoth(lambda end: ends.append(getattr(end, "value", end)))
            return given.octets, ends

        control.put_to_work = put_to_work
        control.certificates._in_thread = in_thread
        for fails in (False, True):
            before = self.path.read_bytes()
            octets, ends = begin("first.example.net")
            # Before it is written, before it is at work, and while the old one is given back.
            for step in range(3 if fails else 2):
                inode = self.path.stat().st_ino
                (refused,) = begin("second.example.net")[1]
                self.assertIsInstance(refused, Refused)
                self.assertRaises(Refused, self.result, control.configuration.reload(SYSTEM))
                self.assertRaises(Refused, self.result, renew())
                self.assertEqual((len(threads), self.path.stat().st_ino), (0 if step == 1 else 1, inode))
                if step != 1:
                    turn()
                elif fails:
                    holds.pop().errback(OSError("no"))
                else:
                    holds.pop().callback(None)
            self.assertEqual(isinstance(ends[0], Refused), fails)
            self.assertEqual(self.path.read_bytes(), before if fails else octets)
            self.assertEqual(at_work[0], self.path.read_bytes())
        # A reload goes on: nothing is written.
        inode = self.path.stat().st_ino
        again = ensureDeferred(renew())
        (refused,) = begin("second.example.net")[1]
        self.assertIsInstance(refused, Refused)
        self.assertEqual((threads, self.path.stat().st_ino), ([], inode))
        holds.pop().callback(None)
        self.successResultOf(again)

    def result(self, work: Any) -> Any:
        """What it comes to at once."""
        done = ensureDeferred(work)
        failure: list[Any] = []
        done.addErrback(failure.append)
        if failure:
            failure[0].raiseException()
        return self.successResultOf(done)

    def test_another_file_by_now(self) -> None:
        """What was looked at is not the listener's file any more: nothing is written."""
        other = self.folder / "other.pem"
        other.write_bytes(b"x")
        given = certificate_files.look(self.pem("new.example.net"), datetime.now(UTC).timestamp(), [])
        renew = partial(self.desk.control.configuration.renew, SYSTEM)
        work = self.desk.control.certificates.replace("mx", other, given, renew)
        self.assertIn("another file", str(self.assertRaises(Refused, self.result, work)))
        self.assertEqual((other.read_bytes(), self.applied), (b"x", []))

    def test_what_cannot_be_given_back(self) -> None:
        """Is said: the file is not that at work."""
        control = self.desk.control

        async def put_to_work(settings: Any) -> None:
            self.path.unlink()
            raise OSError("no room")

        control.put_to_work = put_to_work
        answer = self.upload(self.pem("new.example.net"))
        self.assertEqual(answer.status, 409)
        self.assertIn("no room", answer.text)
        self.assertIn("the file is another now", answer.text)

    def test_by_the_form(self) -> None:
        """What was typed is not shown again."""
        head = {"Content-Type": "application/x-www-form-urlencoded"}

        def form(**fields: str) -> Any:
            body = urlencode(fields).encode()
            return self.desk.ask("POST", "/tls/upload", body=body, headers=head, token=self.owner)

        wrong = self.pem("new.example.net").decode().replace("CERTIFICATE", "CERT")
        answer = form(listener="mx", pem=wrong)
        self.assertEqual((answer.status, "no certificate" in answer.text), (422, True))
        self.assertNotIn(wrong.splitlines()[1], answer.text)
        self.assertEqual(form(listener="mx", pem=self.pem("new.example.net").decode()).status, 303)
        self.assertEqual(form(listener="none", pem="x").status, 404)

    def test_by_the_form_of_the_page(self) -> None:
        """As a browser sends it: a file, or the text, and the key goes nowhere but into the file. A password that is
        old is asked for first, and the form is filled in again."""
        browser = Browser(self.desk)
        browser.log_in()
        page = browser.get("/tls").text
        self.assertIn('action="/tls/upload" method="post" enctype="multipart/form-data"', page)
        for name, field in (("file.example.net", "file"), ("text.example.net", "pem")):
            octets = self.pem(name)
            fields = {"csrf": browser.token("/tls"), "listener": "mx", "pem": b"", "file": b"", field: octets}
            self.assertEqual(self.in_parts(browser, **fields).status, 303)
            self.assertEqual(self.get("/tls/certificates/of/mx")["names"], [name])
        before = self.path.read_bytes()
        self.desk.clock.advance(601)
        for field in ("file", "pem"):
            octets = self.pem("late.example.net")
            fields = {"csrf": browser.token("/tls"), "listener": "mx", field: octets}
            asked = self.in_parts(browser, **fields, carried=b"", proof=PASSWORD)
            self.assertEqual(asked.status, 401)
            self.assertIn("fill it in again", asked.text)
            self.assertIn('name="next" value="/tls"', asked.text)
            key = octets.decode().splitlines()[1]
            for packed in (key, quote_plus(key), base64.b64encode(octets).decode()[40:80]):
                self.assertNotIn(packed, asked.text)
            self.assertNotIn('name="carried"', asked.text)
        self.assertEqual(self.path.read_bytes(), before)
        proved = browser.form("/prove", "/prove", {"next": "/tls", "proof": PASSWORD})
        self.assertEqual((proved.status, proved.header("location")), (303, "/tls"))
        self.assertEqual(self.in_parts(browser, **fields).status, 303)
        self.assertEqual(self.get("/tls/certificates/of/mx")["names"], ["late.example.net"])

    def in_parts(self, browser: Browser, **fields: Any) -> Any:
        """What the page answers to a form as browsers send it."""
        parts = []
        for name, value in fields.items():
            named = f'name="{name}"' + ('; filename="mx.pem"' if name == "file" and value else "")
            named += '; filename=""' if name == "file" and not value else ""
            octets = value if isinstance(value, bytes) else value.encode()
            parts.append(f"--XyZ\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + octets + b"\r\n")
        head = browser._headers({"Content-Type": "multipart/form-data; boundary=XyZ"})
        return self.desk.ask("POST", "/tls/upload", body=b"".join(parts) + b"--XyZ--\r\n", headers=head)


class FormsTests(SynchronousTestCase):
    """All forms that bring files."""

    def test_what_the_pages_send_is_taken(self) -> None:
        """A template sends a form in parts where its route takes one, and nowhere else."""
        sent = set()
        for path in (Path(site.__file__).parent / "templates").glob("*.html"):
            for form in re.findall(r"<form[^>]*>", path.read_text(encoding="utf-8")):
                if "multipart/form-data" in form:
                    (action,) = re.findall(r'action="([^"#?]*)', form)
                    sent.add(action)
        self.assertEqual(sent, {route.path for route in ROUTES if route.takes_files})
        self.assertGreater(len(sent), 2)

    def test_files_do_not_wait_for_the_password(self) -> None:
        """Where a form brings files and wants one, it is filled in again: files are not carried."""
        for route in ROUTES:
            self.assertTrue(not (route.takes_files and route.is_guarded) or route.again, route.path)


class BrowserTests(BrowserCase):
    """The form in Chromium."""

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="smtpgate-tls-"))
        self.addCleanup(shutil.rmtree, folder, True)
        self.path, self.given = folder / "mx.pem", folder / "given.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        for path, name in ((self.path, "old.example.net"), (self.given, "new.example.net")):
            path.write_bytes(pem(key, make("Own", key, days=3650, names=(name,))))
        self.text = CONFIG.replace('tls = "off"', f'tls = "optional"\ncertificates = ["{self.path}"]', 1)
        super().setUp()

    def fill(self) -> None:
        """The clock of the desk is of another day than the certificates."""
        self.desk.control.certificates._wall = lambda: datetime.now(UTC).timestamp()

    def test_a_file(self) -> Deferred[None]:
        """It is chosen, and at work."""
        return self.visit(self.walk)

    def walk(self, page: Any) -> None:
        page.goto(f"{self.base}/tls")
        page.wait_for_selector("text=old.example.net")
        page.set_input_files("#upload-file", str(self.given))
        page.click("#upload button")
        page.wait_for_selector("text=new.example.net")
        shoot(page, "tls-upload")
        self.assertIn(b"PRIVATE KEY", self.path.read_bytes())
