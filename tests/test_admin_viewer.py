"""The content of held mail for its managers: who reads it, what they see, what they may take away."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

import attrs

from smtpgate.config.loader import loads
from smtpgate.examine.viewing import view
from smtpgate.proxy.services import Examination, Services
from smtpgate.testing.ports import Children
from tests.admin_kit import CONFIG, HOSTILE
from tests.test_admin_quarantine import QuarantineCase

BOUNDARY = "=_b"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
MAIL = (
    b"Received: from relay.example.org (relay.example.org [192.0.2.7]) by gate.example.com with ESMTPS id 1; "
    b"Sat, 28 Nov 2026 05:10:10 +0000\r\n"
    b"Received: from desk (unknown [203.0.113.9])\r\n\tby relay.example.org with SMTP; "
    b"Sat, 28 Nov 2026 06:00:00 +0100\r\n"
    b'From: "service@paypal.com" <x@evil.example>\r\n'
    b"Reply-To: y@other.example\r\n"
    b"Subject: =?utf-8?q?K=C3=B6nto?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary==_b\r\n\r\n"
    b"--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello <b>you</b>.\r\n"
    b"--=_b\r\nContent-Type: text/html\r\n\r\n"
    b'<p>Log in at <a href="http://paypa1.com/">www.paypal.com</a><script>hurt</script>'
    b'<img src="cid:logo@x"><img src="http://evil.example/pixel"></p>\r\n'
    b"--=_b\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b'--=_b\r\nContent-Type: application/pdf; name="../../in\xe2\x80\xaevoice.pdf"\r\n\r\nMZ program\r\n'
    b"--=_b--\r\n"
)


class ViewerCase(QuarantineCase):
    """A desk that can look into mail."""

    config = CONFIG

    def setUp(self) -> None:
        super().setUp()
        self.children = Children()
        services = object.__new__(Services)
        services._children = self.children
        services._examination = Examination({"limits": {}}, 5.0)
        self.desk.control.revision.services = services
        if self.config != CONFIG:
            self.desk.control.revision.settings = loads(self.config, "/nowhere/gate.toml")

    def held(self, mail: bytes = MAIL, **more: Any) -> str:
        """A held message with a content."""
        body = self.successResultOf(self.vault.begin())
        self.successResultOf(body.write(mail))
        self.successResultOf(body.finish())
        return self.hold("b", body=body.name, octets=len(mail), **more)

    def page(self, path: str, role: str = "owner") -> Any:
        """A page for a token of a role."""
        return self.desk.ask("GET", path, role=role)

    def readings(self) -> list[str]:
        """What the audit says of who read."""
        return [row["detail"] for row in self.desk.users.rows if row["action"] == "content.read"]


class ViewTests(ViewerCase):
    """What is seen."""

    def test_all_of_it(self) -> None:
        """Texts, the way it came, parts by their octets, links, and what is made to deceive."""
        id = self.held()
        found = self.get(f"/quarantine/{id}/view")
        self.assertEqual(found["texts"][0]["text"].strip(), "Hello <b>you</b>.")
        self.assertEqual([hop["delay_ms"] for hop in found["hops"]], [None, 610_000])
        self.assertEqual((found["hops"][0]["sender"], found["hops"][1]["receiver"]), ("desk", "gate.example.com"))
        parts = {one["number"]: one for one in found["parts"]}
        self.assertTrue(parts[""]["is_container"])
        self.assertEqual((parts["3"]["kind"], parts["3"]["octets"]), ("image", 28))
        self.assertIn("type-mismatch", parts["4"]["flags"])
        self.assertEqual(len(parts["4"]["digest"]), 64)
        self.assertEqual({field["name"]: field["value"] for field in found["fields"]}["Subject"], "Könto")
        self.assertIn("paypa1.com", [link["host"] for link in found["links"]])
        self.assertEqual(
            {(one["kind"], one["real"]) for one in found["warnings"]},
            {
                ("name-is-address", "x@evil.example"),
                ("answers-elsewhere", "y@other.example"),
                ("text-is-other-host", "paypa1.com"),
                ("link-looks-like", "paypa1.com"),
            },
        )
        self.assertEqual(self.readings(), ["held as spam; its content on a page"])

    def test_the_page(self) -> None:
        """Text is text, the frame is empty of rights, and one reading is one line of the audit."""
        id, token = self.held(), self.desk.token("quarantine-manager")
        answer = self.desk.ask("GET", f"/quarantine/{id}/view", token=token)
        self.assertEqual(answer.status, 200)
        self.assertIn("Hello &lt;b&gt;you&lt;/b&gt;.", answer.text)
        self.assertIn('sandbox="" referrerpolicy="no-referrer" loading="lazy"', answer.text)
        self.assertIn(f'src="/quarantine/{id}/frame/2"', answer.text)
        policy = answer.header("content-security-policy")
        self.assertIn("frame-src 'self'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("hurt</script>", answer.text)
        frame = self.desk.ask("GET", f"/quarantine/{id}/frame/2", token=token)
        self.assertEqual(frame.status, 200)
        self.assertIn('<span class="lead">www.paypal.com</span><span class="host">paypa1.com</span>', frame.text)
        self.assertIn('src="data:image/png;base64,', frame.text)
        for word in ("hurt", "evil.example", "href"):
            self.assertNotIn(word, frame.text)
        self.assertEqual(len(self.readings()), 1)

    def test_S_24_the_frame_is_locked(self) -> None:
        """Its policy: nothing runs, nothing is fetched, nobody else frames it; the answers that refuse too."""
        id = self.held()
        for number, status in (("2", 200), ("1", 404), ("9", 404)):
            answer = self.page(f"/quarantine/{id}/frame/{number}")
            self.assertEqual(answer.status, status)
            policy = answer.header("content-security-policy")
            for one in ("sandbox", "default-src 'none'", "img-src data:", "frame-ancestors 'self'"):
                self.assertIn(one, policy.split("; "))
            self.assertNotIn("allow-", policy)
            self.assertEqual(answer.header("x-frame-options"), "SAMEORIGIN")
            self.assertEqual(answer.header("referrer-policy"), "no-referrer")

    def test_S_23_hostile_mail(self) -> None:
        """Whatever a stranger wrote into subject, names, text and header is text on the page."""
        for text in HOSTILE:
            word = text.encode("utf-8", "replace").replace(b"\0", b"")
            quoted = word.replace(b"\\", b"").replace(b'"', b"'")
            mail = b"Subject: " + word + b"\r\nX-Odd" + word[:9].replace(b" ", b"") + b": " + word
            mail += (
                b'\r\nContent-Type: application/x; name="'
                + quoted
                + b'"\r\nReceived: from '
                + word
                + b"\r\n\r\n"
                + word
            )
            answer = self.page(f"/quarantine/{self.held(mail)}/view")
            self.assertEqual(answer.status, 200, text)
            self.assertNotIn(b"<script>window", answer.body)
            self.assertNotIn(b"<img src=x", answer.body)
            self.assertNotIn(b"<svg/onload", answer.body)
            self.assertNotIn(b"49{% raw", answer.body)

    def test_the_child_fails(self) -> None:
        """The page says so, what is held stays, and it can be downloaded all the same; the API says later."""
        id = self.held()
        self.children.fails = "timeout"
        answer = self.page(f"/quarantine/{id}/view")
        self.assertEqual(answer.status, 503)
        self.assertIn("cannot be shown now", answer.text)
        self.assertIn(f"/quarantine/{id}/content", answer.text)
        self.assertEqual(self.asked(f"/quarantine/{id}/view").status, 503)
        self.assertEqual(self.page(f"/quarantine/{id}/frame/2").status, 503)
        self.desk.control.revision.services = None
        self.assertEqual(self.asked(f"/quarantine/{id}/view").status, 503)
        self.assertEqual(self.page(f"/quarantine/{id}/content").body, MAIL)

    def test_anything_is_a_message(self) -> None:
        """The job answers for octets of any kind."""
        for mail in (b"", b"\r\n", b"\0" * 100, os.urandom(2000), b"Received: ;;\r\nReceived: from by by; x\r\n\r\n"):
            found = view(mail, {"own": ["example.net"]})
            self.assertEqual(found["facts"].get("octets", 0), len(mail))


class ReaderTests(ViewerCase):
    """Who reads, and why."""

    config = CONFIG + "[quarantine.classes.dlp]\nreason = true\n[quarantine.classes.spam]\nreason = false\n"

    def test_S_28_who_may_not(self) -> None:
        """Looks at the list, and at no content; nothing is in the audit."""
        id = self.held()
        for path in (f"/quarantine/{id}/view", f"/quarantine/{id}/parts/1", f"/quarantine/{id}/content"):
            for role in ("helpdesk", "operator", "auditor"):
                self.assertEqual(self.desk.ask("GET", f"/api/v1{path}", role=role).status, 403)
                self.assertEqual(self.page(path, role).status, 403)
        self.assertEqual(self.readings(), [])

    def test_S_28_without_an_audit_nothing_is_read(self) -> None:
        """Not one octet."""
        id = self.held()
        self.desk.users.fails_audit = True
        for path in ("view", "parts/1", "content", "frame/2"):
            answer = self.page(f"/quarantine/{id}/{path}")
            self.assertEqual(answer.status, 503, path)
            self.assertNotIn(b"Hello", answer.body)
        self.assertEqual(self.asked(f"/quarantine/{id}/content").status, 503)

    def test_S_28_a_reason(self) -> None:
        """Of a class that asks for one: no octet without, and with it the audit has it."""
        id = self.held(held_as="dlp")
        for path in ("view", "parts/1", "content"):
            answer = self.asked(f"/quarantine/{id}/{path}")
            self.assertEqual((answer.status, answer.json()["type"]), (403, "/problems/reason-required"), path)
        self.assertEqual(self.asked(f"/quarantine/{id}/content?reason=%20").status, 403)
        # What was said holds for one session: that of the API said nothing for others.
        token, other = self.desk.token("owner"), self.desk.token("owner")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        place = f"/quarantine/{id}/view"
        first = self.desk.ask("GET", place, token=token)
        self.assertIn("Why do you read it?", first.text)
        self.assertNotIn("Hello", first.text)
        self.assertEqual(self.desk.ask("GET", f"/quarantine/{id}/frame/2", token=token).status, 403)
        self.assertEqual(self.desk.ask("POST", place, body=b"reason=", headers=form, token=token).status, 422)
        self.assertEqual(self.readings(), [])
        said = self.desk.ask("POST", place, body=b"reason=ticket+4711", headers=form, token=token)
        self.assertEqual((said.status, said.header("location")), (303, place))
        self.assertIn("Hello", self.desk.ask("GET", place, token=token).text)
        self.assertEqual(self.desk.ask("GET", f"/quarantine/{id}/frame/2", token=token).status, 200)
        self.assertEqual(self.readings(), ["held as dlp; its content on a page; reason: ticket 4711"])
        self.assertIn("Why do you read it?", self.desk.ask("GET", place, token=other).text)
        self.desk.clock.advance(601)
        self.assertIn("Why do you read it?", self.desk.ask("GET", place, token=token).text)
        self.assertEqual(self.asked(f"/quarantine/{id}/content?reason=because").status, 200)
        self.assertEqual(self.readings()[-1], "held as dlp; reason: because")


class FileTests(ViewerCase):
    """What is taken away."""

    def test_S_26_a_part(self) -> None:
        """Decoded, as a file of no type with a name that means nothing, and a policy; one that is not there is 404."""
        id = self.held()
        answer = self.page(f"/quarantine/{id}/parts/4")
        self.assertEqual((answer.status, answer.body), (200, b"MZ program"))
        self.assertEqual(answer.header("content-type"), "application/octet-stream")
        self.assertEqual(answer.header("content-security-policy"), "sandbox; default-src 'none'")
        name = answer.header("content-disposition").partition('filename="')[2].rstrip('"')
        self.assertRegex(name, r"^[A-Za-z0-9][A-Za-z0-9._-]*\.pdf$")
        self.assertEqual(self.page(f"/quarantine/{id}/parts/3").body, PNG)
        for number in ("", "9", "TEXT", "../1", "%2e%2e"):
            self.assertEqual(self.page(f"/quarantine/{id}/parts/{number}").status, 404, number)
        self.assertIn("held as spam; part 4", self.readings())

    def test_S_26_malware(self) -> None:
        """In an archive with a password, and only for who may have it."""
        id = self.held(held_as="malware")
        for path in ("content", "parts/4"):
            self.assertEqual(self.page(f"/quarantine/{id}/{path}", "quarantine-manager").status, 403)
        self.assertNotIn(f"/quarantine/{id}/parts/", self.page(f"/quarantine/{id}/view", "quarantine-manager").text)
        self.assertIn(f"/quarantine/{id}/parts/4", self.page(f"/quarantine/{id}/view", "admin").text)
        for path, octets in (("content", MAIL), ("parts/4", b"MZ program")):
            answer = self.page(f"/quarantine/{id}/{path}", "admin")
            self.assertEqual(answer.status, 200, answer.text if answer.status != 200 else "")
            self.assertNotIn(b"program", answer.body)
            self.assertIn('.zip"', answer.header("content-disposition"))
            archive = zipfile.ZipFile(io.BytesIO(answer.body))
            (one,) = archive.namelist()
            self.assertEqual(archive.read(one, pwd=b"infected"), octets)
            self.assertRaises(RuntimeError, archive.read, one)
        self.assertEqual(self.asked(f"/quarantine/{id}/content?sealed=no").body, MAIL)

    def test_too_large(self) -> None:
        """Nothing comes in place of a part of it."""
        id = self.held()
        value = attrs.evolve(self.successResultOf(self.vault.get(id)), id=self.vault.fresh_id(), octets=2**30)
        self.successResultOf(self.vault.keep([value], []))
        for path in ("parts/1", "content"):
            answer = self.asked(f"/quarantine/{value.id}/{path}")
            self.assertEqual((answer.status, "no more than 100 are read" in answer.text), (409, True), path)
