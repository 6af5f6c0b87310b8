"""Tests of smtpgate.policy.clues: what a pasted text is about."""

from __future__ import annotations

import base64
import quopri
from email.message import EmailMessage

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.clues import CHARACTERS, message_id_in, reference_in

ID = "01J9UK7Q0000000000000000AA"


def bounce(encoding: str) -> str:
    """A report as a server sends it, with the refusal in one coding."""
    text = "Your message could not be delivered.\r\n" + "It was long ago and far away. " * 9
    text += f"host gate.example.com said: 550 5.7.1 No programs {ID}.3 (in reply to end of DATA)\r\n" * 2
    octets = text.encode()
    coded = {
        "7bit": octets,
        "quoted-printable": quopri.encodestring(octets),
        "base64": base64.encodebytes(octets),
    }[encoding].decode()
    return (
        "Message-ID: <report@mx.example.org>\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{coded}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        "From: ann@example.org\r\nMessage-ID:\r\n <original.7@example.org>\r\n\r\n--b--\r\n"
    )


class ReferenceTests(SynchronousTestCase):
    """`reference_in`."""

    def test_references(self) -> None:
        """Alone, in a bounce, wrapped in marks; the last one wins; other words are none."""
        for pasted in (
            ID,
            f" {ID}.2\n",
            f"550 5.7.1 no {ID}.2 (in reply to end of DATA)",
            f"<{ID}.2>",
            f"<p>550 5.7.1 no {ID}.2<br>",
            ID.lower(),
        ):
            self.assertTrue(reference_in(pasted).startswith(ID), pasted)
        self.assertEqual(reference_in(f"first {ID}.1 then {ID}.2."), f"{ID}.2")
        for pasted in ("", "hello", ID[:-1], f"x{ID}", "<1@example.org>", "A" * 200_000):
            self.assertEqual(reference_in(pasted), "")

    def test_bounces_in_each_coding(self) -> None:
        """Also where a line is cut within the reference, and where all is Base64."""
        for encoding in ("7bit", "quoted-printable", "base64"):
            self.assertEqual(reference_in(bounce(encoding)), f"{ID}.3", encoding)
        for cut in range(1, len(ID)):
            self.assertEqual(reference_in(f"a\nsaid: 550 no {ID[:cut]}=\r\n{ID[cut:]}.1 end\n"), f"{ID}.1")

    def test_what_a_library_writes(self) -> None:
        """A short text in Base64 by itself."""
        mail = EmailMessage()
        mail.set_content(f"550 {ID}.1", cte="base64")
        self.assertEqual(reference_in(mail.as_string()), f"{ID}.1")

    def test_what_does_not_end(self) -> None:
        """Nothing behind so many characters counts, and none takes long."""
        self.assertEqual(reference_in("x " * CHARACTERS + ID), "")
        for text in ("A" * 76 + "\n", "base64\n", "=\n", "Message-ID: ", "Message-ID:\n ", "base64 \n\n"):
            text = text * (CHARACTERS // len(text))
            self.assertEqual((reference_in(text), message_id_in(text)), ("", ""))

    @given(some.text())
    def test_any_text(self, text: str) -> None:
        """Gives something or nothing."""
        reference_in(text)
        message_id_in(text)


class MessageIdTests(SynchronousTestCase):
    """`message_id_in`."""

    def test_the_last_one(self) -> None:
        """That of what was sent, not that of the report."""
        self.assertEqual(message_id_in(bounce("7bit")), "original.7@example.org")
        self.assertEqual(message_id_in("to me Message-ID: <a@b> Subject: pasted into one line"), "a@b")
        for text in ("", "Message-ID: none", "Message-ID: <>", "X-Message-ID: <a@b>"):
            self.assertEqual(message_id_in(text), "", text)
