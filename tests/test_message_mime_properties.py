"""Properties of smtpgate.message.mime: any octets, and the standard library's parser as a second witness."""

from __future__ import annotations

import email
from email import policy
from email.message import Message as LibraryMessage
from email.mime.application import MIMEApplication
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.mime import ANOMALIES, MimeLimits, walk

#: Lines that mean something, to be put together at random.
LINES = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b"--b\r\n",
            b"--b--\r\n",
            b"--bb\r\n",
            b"--b x\r\n",
            b"--b",
            b"\n",
            b"\r",
            b"\0",
            b" \r\n",
            b"\tfolded\r\n",
            b"text\r\n",
            b"Subject: x\r\n",
            b"From x\r\n",
            b": x\r\n",
            b"x : y\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b'Content-Type: multipart/mixed; boundary="bb"; boundary=b\r\n',
            b"Content-Type: multipart/digest;\r\n boundary=b\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: text/html;\r\nname=a.exe\r\n",
            b"Content-Type: message/delivery-status\r\n",
            b"Content-Type: x\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"Content-Disposition: attachment; filename*0=a; filename*1=.exe\r\n",
            b"Q29udGVudC1UeXBlOiB0ZXh0L2h0bWwNCg0KPGE+\r\n",
            b"begin 644 a\r\n#86)C\r\n`\r\nend\r\n",
        ]
    ),
    max_size=25,
).map(b"".join)
#: Text that holds no boundary line.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="-\r\x00", exclude_categories=("Cs", "Zl", "Zp")), max_size=60
)
NAMES = st.sampled_from(["a.txt", "grün.exe", "with blanks.pdf", "x" * 90 + ".doc", "日本.zip", 'quote".js'])


def leaf(text: str, kind: str, name: str) -> LibraryMessage:
    """A text or a file."""
    part: LibraryMessage
    if kind == "file":
        part = MIMEApplication(text.encode())
        part.add_header("Content-Disposition", "attachment", filename=name)
    else:
        part = MIMEText(text, kind)
    return part


def container(parts: list[LibraryMessage], kind: str) -> LibraryMessage:
    """A multipart, or the first part as an attached message."""
    if kind == "message":
        return MIMEMessage(parts[0])
    whole = MIMEMultipart(kind)
    for part in parts:
        whole.attach(part)
    return whole


MESSAGES = st.recursive(
    st.builds(leaf, TEXTS, st.sampled_from(["plain", "html", "file"]), NAMES),
    lambda inner: st.builds(
        container,
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(["mixed", "alternative", "related", "message"]),
    ),
    max_leaves=8,
)


def written(message: LibraryMessage) -> bytes:
    """As it is sent."""
    message["Subject"] = "x"
    return message.as_bytes(policy=policy.compat32.clone(linesep="\r\n"))


def library_tree(content: bytes) -> list[tuple[str, bytes | None, str | None]]:
    """What the standard library finds: type, raw body of a leaf, name."""
    found: list[tuple[str, bytes | None, str | None]] = []
    stack: list[Any] = [email.message_from_bytes(content, policy=policy.compat32)]
    while stack:
        part = stack.pop()
        if isinstance(part._payload, list):
            found.append((part.get_content_type(), None, None))
            stack += reversed(part._payload)
        else:
            body = (part._payload or "").encode("ascii", "surrogateescape")
            found.append((part.get_content_type(), body, part.get_filename()))
    return found


class AnythingTests(SynchronousTestCase):
    """Random octets and random lines."""

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(LINES | st.binary(max_size=80))
    def test_anything_is_a_message(self, content: bytes) -> None:
        """It never raises; what comes out keeps its promises, and decoding it all is bounded."""
        limits = MimeLimits(parts=20, readings=6)
        message = walk(content, limits)
        self.assertEqual((message.parts[0].parent, message.parts[0].reading), (-1, 0))
        self.assertEqual([part.reading for part in message.parts], sorted(part.reading for part in message.parts))
        self.assertLessEqual(sum(part.reading == 0 for part in message.parts), limits.parts)
        self.assertLessEqual(len(message.parts), (1 + limits.overlap) * limits.parts + 100)
        for index, part in enumerate(message.parts):
            self.assertLess(part.parent, index)
            self.assertLessEqual(len(part.decoded()), part.octets)
            self.assertTrue(all(len(one) <= part.octets for one in part.readings()))
            part.header.fields  # noqa: B018 (it is made when asked for)
        usual = [part for part in message.parts if part.reading == 0 and not part.is_container]
        decoded = sum({id(part.source): len(part.source) for part in usual}.values())
        self.assertLessEqual(sum(part.octets for part in usual), decoded)
        self.assertLessEqual({anomaly.kind for anomaly in message.anomalies}, set(ANOMALIES))

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(LINES)
    def test_what_the_library_finds_is_found_or_told(self, content: bytes) -> None:
        """Each leaf body of the standard library is one of ours in some reading, or something was told."""
        message = walk(content)
        if message.anomalies or message.limits:
            return
        ours = {bytes(part.body).rstrip(b"\r\n") for part in message.parts}
        theirs = library_tree(content)
        if any(kind == "message/delivery-status" for kind, _, _ in theirs):
            return  # The library cuts it into its blocks.
        for _, body, _ in theirs:
            if body is not None:
                self.assertIn(body.rstrip(b"\r\n"), ours, content)


class LibraryTests(SynchronousTestCase):
    """Messages that the standard library writes."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(MESSAGES)
    def test_the_same_tree(self, built: LibraryMessage) -> None:
        """Types, order, bodies to the octet and names are those that the standard library reads; nothing is odd."""
        content = written(built)
        message = walk(content)
        usual = [part for part in message.parts if part.reading == 0]
        theirs = library_tree(content)
        self.assertEqual([part.media_type for part in usual], [kind for kind, _, _ in theirs])
        for part, (_, body, name) in zip(usual, theirs, strict=True):
            self.assertEqual(part.is_container, body is None)
            if body is not None:
                self.assertEqual(bytes(part.body), body)
            if name is not None:
                self.assertEqual(part.names[0], name)
        self.assertEqual((message.anomalies, message.limits, len(message.parts)), ((), (), len(usual)))

    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(MESSAGES, st.data())
    def test_a_message_that_is_broken(self, built: LibraryMessage, data: st.DataObject) -> None:
        """Lines lost, doubled, cut or added: the library's leaves are found in some reading, or something is told."""
        lines = written(built).splitlines(keepends=True)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, max(len(lines) - 1, 0)))
            change = data.draw(st.sampled_from(["lose", "double", "cut", "blank", "junk", "lf", "move"]))
            if not lines:
                break
            line = lines[at]
            lines[at : at + 1] = {
                "lose": [],
                "double": [line, line],
                "cut": [line[: len(line) // 2]],
                "blank": [b"\r\n", line],
                "junk": [line.rstrip(b"\r\n") + b" junk\r\n"],
                "lf": [line.replace(b"\r\n", b"\n")],
                "move": [b"no field\r\n", line],
            }[change]
        content = b"".join(lines)
        message = walk(content)
        if message.anomalies or message.limits:
            return
        ours = {bytes(part.body).rstrip(b"\r\n") for part in message.parts}
        for _, body, _ in library_tree(content):
            if body is not None:
                self.assertIn(body.rstrip(b"\r\n"), ours, content)
