"""Tests of the decision through the whole engine: scores, mercy, refusals that wait, marks, lists, content."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy.verdict import Finding
from smtpgate.testing import Client, Gateway, use

OK = "250 2.0.0 Ok"
RCPT_OK = "250 2.0.0 Ok"
SPAM = Finding("bad-client", "reject", "Listed", score=2.0)


class Says(Filter):
    """Says at each stage what the test wants, and keeps what it saw."""

    def __init__(self, answers: dict[str, Any], services: Any) -> None:
        self.answers = answers
        self.services = services

    def session(self, session: Any) -> Any:
        """An object for the session."""
        return _Stages(self.answers, None, self.services)

    def transaction(self, transaction: Any) -> Any:
        """An object for the transaction."""
        return _Stages(self.answers, transaction, self.services)


class _Stages:
    def __init__(self, answers: dict[str, Any], transaction: Any, services: Any) -> None:
        for stage, answer in answers.items():
            if (stage in ("connect", "helo", "auth")) == (transaction is None):
                setattr(self, stage, self._method(answer, transaction, services))

    @staticmethod
    def _method(answer: Any, transaction: Any, services: Any) -> Any:
        def method(*args: Any) -> Any:
            return answer(transaction, services) if callable(answer) else answer

        return method


def says(name: str = "says", category: str = "spam", needs_content: bool = False, **answers: Any) -> Any:
    """A filter for `Gateway`."""
    return use(
        Factory(
            name,
            Options,
            frozenset(answers),
            lambda options, services: Says(answers, services),
            category=category,
            needs_content=needs_content,
        )
    )


def greeted(gateway: Gateway) -> Client:
    """A client that has said EHLO."""
    client = gateway.connect()
    client.helo()
    return client


class DelayTests(SynchronousTestCase):
    """A guess that would refuse waits for the recipients."""

    def test_a_guess_about_the_client_refuses_its_recipients(self) -> None:
        """At connect, HELO and MAIL alike; but for postmaster and abuse, whose mail is marked."""
        for stage in ("connect", "helo", "mail"):
            for category in ("spam", "sender"):
                gateway = Gateway(says(category=category, **{stage: SPAM}))
                client = greeted(gateway)
                self.assertEqual(client.mail(), "250 2.1.0 Sender ok", stage)
                self.assertEqual(client.rcpt("bob@example.net"), "550 5.7.1 Listed")
                self.assertEqual(client.rcpt("Postmaster@example.net"), RCPT_OK)
                self.assertEqual(client.rcpt("abuse@example.net"), RCPT_OK)
                client.data()
                client.content(b"Subject: x\r\n\r\nx\r\n")
                self.assertEqual(client.end(), OK)
                (message,) = gateway.backend.messages
                self.assertEqual(message.recipients, ("Postmaster@example.net", "abuse@example.net"))
                self.assertIn(b"X-Spam-Flag: YES\r\n", message.content)
                self.assertEqual(
                    (client.verdict.action, client.verdict.spared), ("tag", "reject" if stage == "mail" else "")
                )

    def test_what_is_no_guess_refuses_at_once(self) -> None:
        """An access list says no at the door, to postmaster too."""
        for stage, category in (("connect", "policy"), ("mail", "malware")):
            gateway = Gateway(says(category=category, **{stage: SPAM}))
            client = gateway.connect()
            replies = [client.greeting, client.helo(), client.mail()]
            self.assertTrue(any(reply.startswith(("554 5.7.1", "550 5.7.1")) for reply in replies), stage)

    def test_users_of_our_own_wait_for_nothing(self) -> None:
        """On submission a guess refuses where it is made; nobody there writes to postmaster as a last resort."""
        gateway = Gateway(says(mail=SPAM), role="submission")
        client = greeted(gateway)
        client.login("alice")
        self.assertEqual(client.mail(), "550 5.7.1 Listed")

    def test_it_waits_over_messages(self) -> None:
        """A client that is refused once is refused in its next transaction."""
        gateway = Gateway(says(connect=SPAM))
        client = greeted(gateway)
        for _ in range(2):
            client.mail()
            self.assertEqual(client.rcpt("bob@example.net"), "550 5.7.1 Listed")
            client.say("RSET")

    def test_an_accept_that_names_the_filter_ends_the_wait(self) -> None:
        """An allow list may come later than the check that it silences."""
        allow = Finding("known", "accept", skips=frozenset({"says"}))
        gateway = Gateway(says(connect=SPAM), says("allow", "policy", mail=allow))
        client = greeted(gateway)
        client.mail()
        self.assertEqual(client.rcpt("bob@example.net"), RCPT_OK)


class ScoreTests(SynchronousTestCase):
    """The sum over all stages and filters."""

    SCALE = "[scores]\ntag = 5.0\nreject = 9.0\n"

    def send(
        self, *filters: Any, config: str = SCALE, recipient: str = "bob@example.net"
    ) -> tuple[str, Client, Gateway]:
        """A whole message."""
        gateway = Gateway(*filters, config=config)
        client = greeted(gateway)
        return client.message(b"Subject: x\r\nX-Spam-Flag: NO\r\n\r\nx\r\n", recipients=[recipient]), client, gateway

    def test_scores_of_session_and_message_add_up(self) -> None:
        """From connect to the end, of different filters, of lists too."""
        one = Finding("one", score=2.0)
        filters = (says("a", connect=one, mail=one), says("b", end=[one, Finding("two", score=3.5)]))
        reply, client, gateway = self.send(*filters)
        self.assertEqual(reply, "550 5.7.1 The message looks like spam")
        self.assertEqual((client.verdict.score, gateway.backend.messages), (9.5, []))

    def test_a_tagged_message_is_marked_and_claims_are_taken_out(self) -> None:
        """The reasons stand above it."""
        reply, _, gateway = self.send(says(end=Finding("two", score=5.0)))
        self.assertEqual(reply, OK)
        content = gateway.backend.messages[0].content
        self.assertIn(b"X-Spam-Flag: YES\r\nX-Spam-Score: 5.0\r\nX-Smtpgate-Verdict: tag;\r\n\tsays/two\r\n", content)
        self.assertNotIn(b"X-Spam-Flag: NO", content)

    def test_no_mark_where_none_is_wanted(self) -> None:
        """Nor a field taken out."""
        config = self.SCALE + "mark = false\n"
        _, client, gateway = self.send(says(end=Finding("two", score=5.0)), config=config)
        self.assertEqual(client.verdict.action, "tag")
        self.assertIn(b"X-Spam-Flag: NO", gateway.backend.messages[0].content)
        self.assertNotIn(b"X-Smtpgate", gateway.backend.messages[0].content)

    def test_the_sum_has_mercy(self) -> None:
        """Spam to postmaster passes, marked."""
        reply, client, _ = self.send(says(end=Finding("two", score=50.0)), recipient="postmaster@example.net")
        self.assertEqual((reply, client.verdict.spared), (OK, "reject"))

    def test_malware_to_postmaster_is_refused(self) -> None:
        """Mercy is for guesses."""
        malware = says(category="malware", end=Finding("eicar", "reject", "Malware"))
        reply, _, _ = self.send(malware, recipient="postmaster@example.net")
        self.assertEqual(reply, "550 5.7.1 Malware")

    def test_texts_of_the_operator_are_said(self) -> None:
        """By reason, at every stage."""
        config = '[replies]\nbad-client = "Ask https://example.net/why"\n'
        gateway = Gateway(says(mail=SPAM), config=config)
        client = greeted(gateway)
        client.mail()
        self.assertEqual(client.rcpt("bob@example.net"), "550 5.7.1 Ask https://example.net/why")


class ContentTests(SynchronousTestCase):
    """What filters see of the content."""

    def test_the_whole_content_is_there_at_the_end(self) -> None:
        """Dots undone, without our trace field; streamed to the backend all the same."""
        seen: list[Any] = []

        def look(transaction: Any, services: Any) -> Any:
            async def read() -> None:
                content = services.content(transaction)
                seen.append((content.octets, content.digest, await content.read()))

            return read()

        gateway = Gateway(says(category="malware", needs_content=True, end=look))
        client = greeted(gateway)
        sent = b"Subject: x\r\n\r\n.dot\r\n" + b"y" * 70000 + b"\r\n"
        self.assertEqual(client.message(sent), OK)
        ((octets, digest, content),) = seen
        self.assertEqual((octets, content), (len(sent), sent))
        import hashlib

        self.assertEqual(digest, hashlib.sha256(sent).hexdigest())
        self.assertTrue(gateway.backend.messages[0].content.endswith(sent))

    def test_a_filter_that_did_not_ask_gets_none(self) -> None:
        """It hears so, and nothing is kept for it."""

        def look(transaction: Any, services: Any) -> Any:
            services.content(transaction)

        gateway = Gateway(says(category="malware", end=look))
        client = greeted(gateway)
        client.message(b"Subject: x\r\n\r\n")
        (failed,) = gateway.failures
        self.assertIn("needs_content=True", failed.detail)

    def test_what_is_shared_is_made_once_and_ends_with_the_transaction(self) -> None:
        """Over filters; the next message has its own."""
        begun: list[str] = []

        def ask(transaction: Any, services: Any) -> Any:
            async def make() -> str:
                begun.append(transaction.id)
                return "result"

            async def wait() -> Finding:
                return Finding("got", detail=await services.once(transaction, "k", make))

            return wait()

        gateway = Gateway(says("a", mail=ask, end=ask), says("b", end=ask))
        client = greeted(gateway)
        for _ in range(2):
            client.message(b"Subject: x\r\n\r\n")
        self.assertEqual(len(begun), 2)
        self.assertEqual({one.detail for one in client.findings}, {"result"})

    def test_edits_of_a_filter_in_shadow_change_nothing(self) -> None:
        """It gets a list that nobody reads."""
        from smtpgate.policy.edits import AddField

        def edit(transaction: Any, services: Any) -> Any:
            services.edits(transaction).append(AddField(b"X-Tried: yes\r\n", "says"))

        for mode, is_there in (("enforce", True), ("shadow", False)):
            gateway = Gateway(attrs.evolve(says(header=edit), keys=f'mode = "{mode}"\n'))
            greeted(gateway).message(b"Subject: x\r\n\r\n")
            self.assertEqual(b"X-Tried" in gateway.backend.messages[0].content, is_there)
