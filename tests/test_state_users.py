"""Tests of smtpgate.state.users and offline: who may manage the gateway, and what they did."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa
from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import Taken
from smtpgate.state import passwords
from smtpgate.state.database import Database
from smtpgate.state.folder import StateFolder, StateLocked
from smtpgate.state.offline import DATABASE, open_users
from smtpgate.state.users import InlineDatabase, Token, Users


@attrs.frozen
class Actor:
    """Who does something."""

    kind: str = "user"
    name: str = "anna"


class UsersCase(SynchronousTestCase):
    """A fresh database, without threads."""

    def setUp(self) -> None:
        """Open it; hashes need not be dear."""
        self.patch(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.patch(passwords, "_nobody", "")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.addCleanup(self.database.close)
        self.now = 1000.0
        self.users = Users(InlineDatabase(self.database), maybeDeferred, lambda: self.now)

    def done(self, work: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        """The result of something that needs no waiting."""
        return self.successResultOf(work if isinstance(work, Deferred) else Deferred.fromCoroutine(work))

    def octets(self) -> bytes:
        """Everything on the disk."""
        return b"".join(path.read_bytes() for path in self.database.path.parent.iterdir())

    def execute(self, statement: str, *values: Any) -> None:
        """Change a table behind the program's back."""
        connection = sqlite3.connect(self.database.path)
        try:
            connection.execute(statement, values)
            connection.commit()
        finally:
            connection.close()


class SubjectTests(UsersCase):
    """Users who log in elsewhere."""

    def test_matched_by_issuer_and_subject(self) -> None:
        """Both, letter by letter; a user with a password here is nobody there."""
        self.done(self.users.add_user("anna", "owner", "a long phrase of hers"))
        self.done(self.users.add_subject("carla", "admin", ("example.net",), "https://id.example.com", "u-1"))
        found = self.done(self.users.by_subject("https://id.example.com", "u-1"))
        self.assertEqual((found.name, found.role, found.domains), ("carla", "admin", ("example.net",)))
        self.assertEqual((found.issuer, found.has_password), ("https://id.example.com", False))
        for issuer, subject in (("https://id.example.com/", "u-1"), ("https://id.example.com", "U-1"), ("", "")):
            self.assertIsNone(self.done(self.users.by_subject(issuer, subject)))

    def test_one_account_for_a_subject(self) -> None:
        """A name and a subject are taken once; the subject of a user who was removed is free."""
        self.done(self.users.add_subject("carla", "admin", (), "i", "u-1"))
        self.assertRaises(Taken, self.users.add_subject, "carla", "admin", (), "i", "u-2")
        self.assertRaises(sa.exc.IntegrityError, self.users.add_subject, "dora", "admin", (), "i", "u-1")
        self.done(self.users.add_subject("dora", "admin", (), "j", "u-1"))
        self.done(self.users.remove_user("carla"))
        self.done(self.users.add_subject("eve", "admin", (), "i", "u-1"))

    def test_no_password_and_no_owner_to_count_on(self) -> None:
        """Whoever calls: none is set, none logs in by one, and a gateway with no other owner is still to be set up."""
        self.done(self.users.add_subject("carla", "owner", (), "i", "u-1"))
        self.done(self.users.set_password("carla", "a long phrase of hers"))
        self.assertIsNone(self.done(self.users.verify("carla", "a long phrase of hers")))
        self.assertIsNone(self.done(self.users.verify("carla", "")))
        self.assertFalse(self.done(self.users.has_owner()))


class UserTests(UsersCase):
    """Names and passwords."""

    def test_S_02_nobody_is_there_in_the_beginning(self) -> None:
        """So the first one is let in by a code."""
        self.assertFalse(self.done(self.users.has_owner()))
        self.assertEqual(self.done(self.users.users()), [])
        self.assertIsNone(self.done(self.users.verify("anna", "x")))

    def test_a_user_logs_in_with_the_right_password(self) -> None:
        """And with no other, and no other user with it."""
        self.done(self.users.add_user("anna", "operator", "secret"))
        user = self.done(self.users.verify("anna", "secret"))
        self.assertEqual((user.name, user.role, user.created), ("anna", "operator", 1000.0))
        for name, password in (("anna", "Secret"), ("anna", ""), ("Anna", "secret"), ("bob", "secret"), ("", "")):
            self.assertIsNone(self.done(self.users.verify(name, password)), (name, password))

    def test_only_owners_count_as_owners(self) -> None:
        """Somebody must be able to do everything."""
        self.done(self.users.add_user("anna", "operator", "x"))
        self.assertFalse(self.done(self.users.has_owner()))
        self.done(self.users.add_user("bob", "owner", "x"))
        self.assertTrue(self.done(self.users.has_owner()))
        self.done(self.users.remove_user("bob"))
        self.assertFalse(self.done(self.users.has_owner()))

    def test_a_name_is_given_once(self) -> None:
        """The first keeps its password."""
        self.done(self.users.add_user("anna", "owner", "one"))
        self.failureResultOf(Deferred.fromCoroutine(self.users.add_user("anna", "owner", "two")), Taken)
        self.assertIsNotNone(self.done(self.users.verify("anna", "one")))
        self.assertEqual(len(self.done(self.users.users())), 1)

    def test_another_password(self) -> None:
        """The old one is no longer good."""
        self.done(self.users.add_user("anna", "owner", "one"))
        self.done(self.users.set_password("anna", "two"))
        self.assertIsNone(self.done(self.users.verify("anna", "one")))
        self.assertEqual(self.done(self.users.verify("anna", "two")).role, "owner")

    def test_a_mark_is_of_one_password(self) -> None:
        """The same for whoever asks, also where the hash was made anew; another one for the same password set again."""
        self.done(self.users.add_user("anna", "owner", "a long phrase of hers"))
        first = self.done(self.users.verify("anna", "a long phrase of hers")).mark
        self.assertEqual(first, self.done(self.users.user("anna")).mark)
        self.patch(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
        anew = self.done(self.users.verify("anna", "a long phrase of hers")).mark
        self.assertNotEqual(anew, first)
        self.assertEqual(anew, self.done(self.users.user("anna")).mark)
        again = self.done(self.users.set_password("anna", "a long phrase of hers")).mark
        self.assertEqual(len({first, anew, again}), 3)
        self.assertIsNone(self.done(self.users.set_password("nobody", "a long phrase of hers")))

    def test_a_removed_user_is_gone(self) -> None:
        """The others are not; they are listed by name."""
        for name in ("carol", "anna", "bob"):
            self.done(self.users.add_user(name, "viewer", "x"))
        self.done(self.users.remove_user("bob"))
        self.assertIsNone(self.done(self.users.verify("bob", "x")))
        self.assertEqual([user.name for user in self.done(self.users.users())], ["anna", "carol"])

    def test_S_09_no_password_is_on_the_disk(self) -> None:
        """Nor is it in the text of what is kept."""
        self.done(self.users.add_user("anna", "owner", "correct horse battery"))
        self.done(self.users.set_password("anna", "staple staple staple"))
        for secret in (b"correct horse", b"staple staple"):
            self.assertNotIn(secret, self.octets())

    def test_S_19_names_are_values_and_no_statements(self) -> None:
        """Whatever they are made of."""
        for name in ("x'; DROP TABLE users; --", "a\0b", "ü", "%", "x" * 1000):
            self.done(self.users.add_user(name, "viewer", "p"))
            self.assertEqual(self.done(self.users.verify(name, "p")).name, name)


class TokenTests(UsersCase):
    """Tokens of programs."""

    def add(self, name: str = "grafana", role: str = "viewer", expires: float = 0.0) -> str:
        """A new one."""
        return str(self.done(self.users.add_token(name, role, expires)))

    def check(self, text: str) -> Token | None:
        """Whose it is."""
        found: Token | None = self.done(self.users.check_token(text, "192.0.2.1"))
        return found

    def test_S_14_a_token_is_known_by_its_text(self) -> None:
        """Each has its own; only a digest is on the disk."""
        one, two = self.add(), self.add("prometheus", "operator")
        self.assertNotEqual(one, two)
        self.assertRegex(one, r"\Asgt_[0-9a-f]{8}_[A-Za-z0-9_-]{43}\Z")
        found = self.check(two)
        assert found is not None
        self.assertEqual((found.name, found.role), ("prometheus", "operator"))
        self.assertNotIn(one.split("_", 2)[2].encode(), self.octets())

    def test_S_14_what_is_no_token_is_nobody_s(self) -> None:
        """Parts of one, and the text of one with the number of another."""
        one, two = self.add(), self.add()
        id, secret = one.split("_", 2)[1:]
        other = two.split("_", 2)[1]
        parts = ["", "sgt", "sgt_", f"sgt_{id}", f"sgt_{id}_", f"sgt__{secret}", secret, "sgt_%_x", "ü_ü_ü"]
        bent = [
            f"sgt_{id}_{secret}x",
            f"sgt_{id}_{secret[:-1]}",
            f"SGT_{id}_{secret}",
            f"sgt_{other}_{secret}",
            f" {one}",
        ]
        for text in (*parts, *bent):
            self.assertIsNone(self.check(text), text)

    def test_S_14_a_token_expires(self) -> None:
        """At its second; then it is not listed either."""
        text = self.add(expires=2000.0)
        self.now = 1999.9
        self.assertIsNotNone(self.check(text))
        self.assertEqual(len(self.done(self.users.tokens())), 1)
        self.now = 2000.0
        self.assertIsNone(self.check(text))
        self.assertEqual(self.done(self.users.tokens()), [])

    def test_S_14_a_revoked_token_is_gone(self) -> None:
        """The others are not."""
        one, two = self.add(), self.add()
        self.done(self.users.revoke_token(one.split("_")[1]))
        self.assertIsNone(self.check(one))
        self.assertIsNotNone(self.check(two))

    def test_its_use_is_noted_now_and_then(self) -> None:
        """Not with each request: that would be a write each."""
        text = self.add()
        for now, noted in ((1100.0, 1100.0), (1159.0, 1100.0), (1161.0, 1161.0)):
            self.now = now
            self.check(text)
            self.assertEqual(self.done(self.users.tokens())[0].last_used, noted)

    def test_a_token_is_good_where_its_use_cannot_be_noted(self) -> None:
        """A full disk locks nobody out."""
        text = self.add()
        self.execute("CREATE TRIGGER full BEFORE UPDATE ON tokens BEGIN SELECT RAISE(FAIL, 'no room'); END")
        self.now = 1100.0
        self.assertIsNotNone(self.check(text))
        self.assertEqual(self.done(self.users.tokens())[0].last_used, 0.0)


class AuditTests(UsersCase):
    """What was done, and by whom."""

    def write(self, *targets: str) -> None:
        """One row each."""
        for target in targets:
            self.now += 1
            self.done(self.users.audit(Actor(), "server.drain", target, "why"))

    def verified(self) -> str:
        """What is wrong with the chain."""
        return str(self.done(self.users.log.verify()).reason)

    def without_triggers(self) -> None:
        """Take away what keeps honest programs from it."""
        for verb in ("update", "delete"):
            self.execute(f"DROP TRIGGER audit_no_{verb}")

    def test_rows_are_read_newest_first_by_pages(self) -> None:
        """With all that was said."""
        self.write("a", "b", "c")
        rows = self.done(self.users.log.find(2))
        self.assertEqual([(row["seq"], row["target"]) for row in rows], [(3, "c"), (2, "b")])
        self.assertEqual((rows[0]["actor"], rows[0]["action"], rows[0]["time"]), ("anna", "server.drain", 1003.0))
        self.assertEqual([row["target"] for row in self.done(self.users.log.find(2, before=2))], ["a"])

    def test_a_whole_chain_has_nothing_wrong(self) -> None:
        """Empty, short or long."""
        self.assertEqual(self.verified(), "")
        self.write(*(f"t{number}" for number in range(20)))
        self.assertEqual(self.verified(), "")

    def test_S_34_rows_cannot_be_changed_or_deleted(self) -> None:
        """The database itself says so."""
        self.write("a")
        for statement in ("UPDATE audit SET target = 'b'", "DELETE FROM audit"):
            error = self.assertRaises(sqlite3.IntegrityError, self.execute, statement)
            self.assertIn("the audit is only added to", str(error))
        self.assertEqual(self.verified(), "")

    def test_S_34_every_change_behind_its_back_shows(self) -> None:
        """In whatever column, in the middle or at the end, and where rows are missing or in another order."""
        self.without_triggers()
        self.write("a", "b", "c", "d")
        columns = (
            "time",
            "actor_kind",
            "actor",
            "action",
            "target",
            "detail",
            "result",
            "source",
            "request_id",
            "more",
        )
        columns = (*columns, "hash", "form")
        rows = self.database.now(lambda c: [tuple(row) for row in c.execute(sa.text("SELECT * FROM audit"))])

        def restored() -> None:
            self.execute("DELETE FROM audit")
            for row in rows:
                self.execute(f"INSERT INTO audit VALUES ({', '.join('?' * len(row))})", *row)
            self.assertEqual(self.verified(), "")

        for column in columns:
            value = {"time": 9.0, "form": 1}.get(column, "x")
            self.execute(f"UPDATE audit SET {column} = ? WHERE seq = 2", value)
            self.assertEqual(self.verified(), "row 2 was changed", column)
            restored()
        for statement, said in (
            ("DELETE FROM audit WHERE seq = 2", "row 2 is missing"),
            ("DELETE FROM audit WHERE seq = 4", "row 4 is missing"),
            ("DELETE FROM audit", "row 1 is missing"),
            ("DELETE FROM audit WHERE seq < 3", "row 1 is missing"),
            ("UPDATE audit SET seq = 10 WHERE seq = 4", "row 4 is missing"),
            ("UPDATE audit SET seq = CASE seq WHEN 2 THEN -1 WHEN 3 THEN 2 ELSE seq END", "row 1 is missing"),
        ):
            self.execute(statement)
            self.assertEqual(self.verified(), said, statement)
            restored()

    def test_S_34_another_beginning_and_another_end_show(self) -> None:
        """A first row with a good hash of its own, the last rows cut off with a chain that is good up to there, and a
        chain that is good by itself in the place of ours, while its end is noted apart."""
        self.without_triggers()
        self.write("a", "b", "c")
        columns = "seq, time, actor_kind, actor, action, target, detail, hash, form, result, source, request_id, more"
        rows = self.database.now(lambda c: [tuple(row) for row in c.execute(sa.text(f"SELECT {columns} FROM audit"))])
        said = ["", 1, 5.0, "user", "eve", "x", "y", ""]
        genesis = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        values = (*said[1:], genesis, 1, "ok", "", "", "")
        self.execute("DELETE FROM audit WHERE seq = 1")
        self.execute(f"INSERT INTO audit ({columns}) VALUES ({', '.join('?' * 13)})", *values)
        self.assertEqual(self.verified(), "row 2 was changed")
        self.execute("DELETE FROM audit WHERE seq > 1")
        self.assertNotEqual(self.verified(), "")
        self.execute("DELETE FROM audit")
        self.execute(f"INSERT INTO audit ({columns}) VALUES ({', '.join('?' * 13)})", *rows[0])
        self.assertNotEqual(self.verified(), "")
        self.execute(f"INSERT INTO audit ({columns}) VALUES ({', '.join('?' * 13)})", *rows[1])
        self.assertEqual(self.verified(), "row 3 is missing")

    def test_S_34_rows_that_were_put_on_top_show(self) -> None:
        """The end of the chain is noted apart."""
        self.write("a")
        self.execute("INSERT INTO audit VALUES (2, 1.0, 'user', 'eve', 'x', 'y', 'z', 'h', 2, 'ok', '', '', '')")
        self.assertEqual(self.verified(), "row 2 was changed")

    def test_the_chain_goes_on_after_a_restart(self) -> None:
        """Its end is on the disk."""
        self.write("a")
        path = self.database.path
        self.database.close()
        self.database = Database(path)
        self.database.open()
        self.addCleanup(self.database.close)
        self.users = Users(InlineDatabase(self.database), maybeDeferred, lambda: self.now)
        self.write("b")
        self.assertEqual(self.verified(), "")
        self.assertEqual([row["seq"] for row in self.done(self.users.log.find(9))], [2, 1])

    def test_rows_of_the_first_form_keep_their_hashes(self) -> None:
        """They and those of the second are one chain; none is passed off as one of the other form."""
        self.without_triggers()
        before = ""
        for seq, target in ((1, "a"), (2, "b")):
            said = [before, seq, 1000.0, "user", "ann", "x", target, ""]
            before = hashlib.sha256(json.dumps(said).encode()).hexdigest()
            names = "seq, time, actor_kind, actor, action, target, detail, hash"
            self.execute(f"INSERT INTO audit ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *said[1:], before)
        self.execute("UPDATE audit_head SET seq = 2, hash = ?", before)
        self.assertEqual(self.verified(), "")
        self.write("c")
        self.assertEqual(self.verified(), "")
        rows = self.done(self.users.log.find(9))
        self.assertEqual([row["form"] for row in rows], [2, 1, 1])
        self.assertEqual([row["prev_hash"] for row in rows], [rows[1]["hash"], rows[2]["hash"], ""])
        self.assertEqual(rows[2]["more"], {})
        self.execute("UPDATE audit SET form = 2 WHERE seq = 1")
        self.assertEqual(self.verified(), "row 1 was changed")

    def test_S_34_a_clock_that_is_set_back_is_told(self) -> None:
        """The chain is whole all the same: it goes by numbers."""
        for at in (100.0, 50.0, 49.5, 200.0, 190.0):
            self.now = at
            self.write("a")
        chain = self.done(self.users.log.verify())
        self.assertEqual((chain.reason, chain.rows, chain.steps), ("", 5, ((2, 50.0), (5, 10.0))))

    def test_rows_are_found(self) -> None:
        """By each of what can be looked for; percent signs are percent signs."""
        write = self.users.log.write
        for number, (kind, name, action, target, context) in enumerate(
            (
                ("user", "ann", "user.add", "bob", {"source": "192.0.2.1", "result": "ok"}),
                ("user", "ann", "user.remove", "bo%b", {"source": "192.0.2.2", "after": {"a": "é\ud800"}}),
                ("token", "ann", "users", "x", {"result": "denied", "request_id": "r"}),
                ("cli", "uid 0", "token.add", "ci", {"before": "x" * 20_000}),
            )
        ):
            self.now = 100.0 + number
            self.done(write(kind, name, action, target, f"detail {number}", context))
        for wanted, found in (
            ({}, [4, 3, 2, 1]),
            ({"actor": "ann"}, [3, 2, 1]),
            ({"kind": "user"}, [2, 1]),
            ({"action": "user"}, [2, 1]),
            ({"action": "user.add"}, [1]),
            ({"action": "us%"}, []),
            ({"target": "%"}, [2]),
            ({"result": "denied"}, [3]),
            ({"result": "ok", "kind": "user"}, [2, 1]),
            ({"source": "192.0.2.2"}, [2]),
            ({"since": 101.0, "until": 103.0}, [3, 2]),
            ({"q": "detail 3"}, [4]),
            ({"q": "ANN"}, [3, 2, 1]),
        ):
            self.assertEqual([row["seq"] for row in self.done(self.users.log.find(9, 0, wanted))], found, wanted)
        self.assertEqual([row["seq"] for row in self.done(self.users.log.find(2, 4))], [3, 2])
        (last, *_, second, first) = self.done(self.users.log.find(9))
        self.assertEqual(len(last["more"]["before"]["cut"]), 8000)
        self.assertEqual(second["more"], {"after": {"a": "é\ud800"}})
        self.assertEqual((first["result"], first["source"]), ("ok", "192.0.2.1"))
        self.assertEqual(self.verified(), "")


class OfflineTests(SynchronousTestCase):
    """`open_users`: the command line while no gateway runs."""

    def test_users_of_a_folder(self) -> None:
        """What one command wrote the next one reads; the folder is free afterwards."""
        folder = Path(self.mktemp()).absolute()
        with open_users(folder, maybeDeferred) as users:
            self.successResultOf(Deferred.fromCoroutine(users.add_token("x", "owner", 0.0)))
        self.assertTrue((folder / DATABASE).exists())
        with open_users(folder, maybeDeferred) as users:
            self.assertEqual([token.name for token in self.successResultOf(users.tokens())], ["x"])

    def test_a_gateway_that_runs_keeps_its_folder(self) -> None:
        """The command says so in place of writing beside it."""
        folder = Path(self.mktemp()).absolute()
        held = StateFolder(folder)
        held.lock()
        self.addCleanup(held.unlock)
        self.assertRaises(StateLocked, open_users(folder, maybeDeferred).__enter__)

    def test_a_command_that_fails_lets_go(self) -> None:
        """The lock does not outlive it."""
        folder = Path(self.mktemp()).absolute()
        with self.assertRaises(ZeroDivisionError):
            with open_users(folder, maybeDeferred):
                raise ZeroDivisionError
        with open_users(folder, maybeDeferred):
            pass


class LimitTests(UsersCase):
    """What users and tokens are limited to, and sessions of browsers, on the disk."""

    def test_limits_are_kept(self) -> None:
        """As they were given; a token is nobody's from elsewhere."""
        self.done(self.users.add_user("anna", "helpdesk", "secret", ("example.net",)))
        self.done(self.users.change_user("anna", "auditor", ("a.example", "b.example"), False))
        user = self.done(self.users.user("anna"))
        self.assertEqual((user.role, user.domains, user.is_disabled), ("auditor", ("a.example", "b.example"), False))
        self.done(self.users.change_user("anna", "auditor", (), True))
        self.assertIsNone(self.done(self.users.verify("anna", "secret")))
        networks = ("192.0.2.0/24",)
        text = self.done(self.users.add_token("t", "", 0.0, ("stats:read",), ("a.example",), networks, "user anna"))
        found = self.done(self.users.check_token(text, "::ffff:192.0.2.9"))
        self.assertEqual((found.scopes, found.domains, found.networks), (("stats:read",), ("a.example",), networks))
        for address in ("198.51.100.1", "", "x"):
            self.assertIsNone(self.done(self.users.check_token(text, address)), address)

    def test_what_is_not_asked_for_stays(self) -> None:
        """Whoever is shut out stays so when their role is changed, and has the role of now when they are let in."""
        self.done(self.users.add_user("anna", "helpdesk", "secret", ("example.net",)))
        for change, expected in (
            ((None, None, True), ("helpdesk", ("example.net",), True)),
            (("auditor", ("a.example",), None), ("auditor", ("a.example",), True)),
            ((None, (), None), ("auditor", (), True)),
            ((None, None, False), ("auditor", (), False)),
            ((None, None, None), ("auditor", (), False)),
        ):
            self.done(self.users.change_user("anna", *change))
            user = self.done(self.users.user("anna"))
            self.assertEqual((user.role, user.domains, user.is_disabled), expected)

    def test_S_08_sessions_end_with_what_they_rest_on(self) -> None:
        """In one transaction; those of others stay, and the oldest make room."""
        sessions = self.users.sessions
        for name in ("anna", "bob"):
            self.done(self.users.add_user(name, "owner", "x"))

        def begin(digest: str, user: str, at: float) -> None:
            one = sessions.make(digest, f"id-{digest}", user, "csrf", "192.0.2.1", "browser", at, at, at)
            self.done(sessions.keep(one, 2, 100.0))

        for digest, user, at in (("1", "anna", 200.0), ("2", "anna", 201.0), ("3", "bob", 50.0), ("4", "anna", 202.0)):
            begin(digest, user, at)
        self.assertEqual([one.digest for one in self.done(sessions.all())], ["4", "2"])
        begin("5", "bob", 203.0)
        changes = (
            lambda: self.users.set_password("anna", "y"),
            lambda: self.users.change_user("anna", "helpdesk", (), False),
            lambda: self.users.remove_user("anna"),
        )
        for number, change in enumerate(changes):
            begin(f"again-{number}", "anna", 300.0 + number)
            self.done(change())
            self.assertEqual([one.digest for one in self.done(sessions.all())], ["5"])
