"""Tests of smtpgate.state.passwords: argon2 hashes, two at a time in the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.state import passwords as module
from smtpgate.state.passwords import AT_ONCE, WAITING, Checker, PasswordFile, TooBusy, hash_password, is_right
from smtpgate.state.users import Users

#: Hashes of a test need not be dear.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def begin(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """A coroutine under way."""
    return Deferred.fromCoroutine(coroutine)


def at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A thread that is done at once."""
    return succeed(function(*args))


class Threads:
    """Threads that are done when the test says so."""

    def __init__(self) -> None:
        self.running: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """As `deferToThread` does, whose Deferred can be cancelled while the thread goes on."""
        done: Deferred[Any] = Deferred()
        self.running.append((done, function, args))
        return done

    def finish(self) -> None:
        """The oldest thread is done."""
        done, function, args = self.running.pop(0)
        try:
            result = function(*args)
        except Exception as error:
            done.errback(error)
        else:
            done.callback(result)

    def finish_all(self) -> None:
        """Until none is left."""
        while self.running:
            self.finish()


class HashTests(SynchronousTestCase):
    """`hash_password` and `is_right`."""

    def test_S_09_a_hash_is_argon2id_with_a_salt(self) -> None:
        """The same password twice is two hashes, and both are right."""
        one, two = hash_password("secret"), hash_password("secret")
        self.assertTrue(one.startswith("$argon2id$v=19$"))
        self.assertNotEqual(one, two)
        self.assertTrue(is_right(one, "secret") and is_right(two, "secret"))
        self.assertFalse(is_right(one, "Secret"))

    def test_what_is_no_hash_is_nobody_s(self) -> None:
        """Whatever stands there; least of all the password itself."""
        good = CHEAP.hash("secret")
        for hashed in (
            "secret",
            "$argon2id$",
            good[:-5],
            good + "x",
            "$2b$12$abcdefghijklmnopqrstuv",
            "ü",
            "{PLAIN}secret",
            "\0",
        ):
            self.assertFalse(is_right(hashed, "secret"), hashed)

    def test_odd_passwords(self) -> None:
        """Empty, long, in any script; one that cannot be written is wrong, and nothing breaks."""
        for password in ("", "x" * 10_000, "пароль", "a\0b"):
            self.assertTrue(is_right(CHEAP.hash(password), password))
        self.assertFalse(is_right(CHEAP.hash("x"), "\udcff"))

    def test_S_10_a_user_that_does_not_exist_costs_the_same(self) -> None:
        """A whole check is made, against a hash that nobody knows the password of."""
        asked: list[tuple[str, str]] = []

        class Hasher:
            def verify(self, hashed: str, password: str) -> bool:
                asked.append((hashed, password))
                return True

            def hash(self, password: str) -> str:
                return CHEAP.hash(password)

        self.patch(module, "_nobody", "")
        self.patch(module, "_hasher", Hasher())
        for _ in range(2):
            self.assertFalse(is_right(None, "secret"))
        (one, password), (two, _) = asked
        self.assertTrue(one.startswith("$argon2id$"))
        self.assertEqual((one, password), (two, "secret"))


class TurnTests(SynchronousTestCase):
    """`Checker`: the turns of the process."""

    def setUp(self) -> None:
        """Nobody is being checked."""
        self.threads = Threads()
        self.assertEqual((module._turns.tokens, module._turns.waiting), (AT_ONCE, []))
        self.addCleanup(lambda: self.assertEqual((module._turns.tokens, module._turns.waiting), (AT_ONCE, [])))

    def test_S_09_two_at_a_time_over_all_listeners_and_the_admin(self) -> None:
        """However many checkers there are; the next begins when one is done, in order."""
        files = [PasswordFile(Path("/none"), self.threads) for _ in range(3)]
        waiting = [begin(file._checker.run(lambda n=number: n)) for number, file in enumerate(files)]
        waiting.append(begin(Users(None, self.threads)._checker.run(lambda: 3)))
        self.assertEqual(len(self.threads.running), AT_ONCE)
        self.threads.finish()
        self.assertEqual(self.successResultOf(waiting[0]), 0)
        self.assertEqual(len(self.threads.running), AT_ONCE)
        self.threads.finish_all()
        self.assertEqual([self.successResultOf(one) for one in waiting[1:]], [1, 2, 3])

    def test_S_09_so_many_may_wait_and_no_more(self) -> None:
        """One more hears at once that it must come again; when there is room it is taken."""
        checkers = [Checker(self.threads), Checker(self.threads)]
        waiting = [begin(checkers[number % 2].run(lambda: True)) for number in range(AT_ONCE + WAITING)]
        self.failureResultOf(begin(checkers[0].run(lambda: True)), TooBusy)
        self.threads.finish()
        last = begin(checkers[1].run(lambda: True))
        self.assertNoResult(last)
        self.threads.finish_all()
        for one in (*waiting, last):
            self.assertTrue(self.successResultOf(one))

    def test_who_hangs_up_makes_no_room(self) -> None:
        """A thread cannot be stopped: its turn ends with it. Else who comes and goes would start any number."""
        checker = Checker(self.threads)
        gone = [begin(checker.run(lambda: True)) for _ in range(AT_ONCE)]
        for one in gone:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        next_one = begin(checker.run(lambda: True))
        self.assertEqual(len(self.threads.running), AT_ONCE)
        self.threads.finish()
        self.assertEqual(len(self.threads.running), AT_ONCE)
        self.threads.finish_all()
        self.assertTrue(self.successResultOf(next_one))

    def test_who_hangs_up_while_waiting_waits_no_more(self) -> None:
        """Its place is free, and its check is never made."""
        checker = Checker(self.threads)
        busy = [begin(checker.run(lambda: True)) for _ in range(AT_ONCE)]
        waiting = begin(checker.run(lambda: self.fail("nobody wants to know")))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.threads.finish_all()
        for one in busy:
            self.assertTrue(self.successResultOf(one))

    def test_a_check_that_fails_gives_its_turn_back(self) -> None:
        """In the thread, and where there is no thread to be had."""
        checker = Checker(self.threads)
        failing = begin(checker.run(int, "x"))
        self.threads.finish_all()
        self.failureResultOf(failing, ValueError)

        def none_left(function: object, *args: object) -> None:
            raise RuntimeError("can't start new thread")

        self.failureResultOf(begin(Checker(none_left).run(int)), RuntimeError)


class FileTests(SynchronousTestCase):
    """`PasswordFile`."""

    def setUp(self) -> None:
        """An empty file."""
        self.path = Path(self.mktemp())
        self.path.write_text("")
        self.file = PasswordFile(self.path, at_once)

    def login(self, user: str, password: str) -> bool:
        """Whether it is right."""
        return bool(self.successResultOf(begin(self.file.check(user, password))))

    def test_users_and_hashes(self) -> None:
        """With comments, empty lines, blanks and Windows line ends between them."""
        one, two = CHEAP.hash("one"), CHEAP.hash("two")
        self.path.write_text(f"# users\r\n\r\n  anna : {one} \r\nbob@example.net:{two}\r\n#eve:{one}\r\n", newline="")
        self.assertTrue(self.login("anna", "one"))
        self.assertTrue(self.login("bob@example.net", "two"))
        for user, password in (
            ("anna", "two"),
            ("Anna", "one"),
            ("eve", "one"),
            ("#eve", "one"),
            ("", "one"),
            ("bob", "two"),
        ):
            self.assertFalse(self.login(user, password), user)

    def test_names_in_any_script(self) -> None:
        """The file is UTF-8, with or without a mark at its start."""
        hashed = CHEAP.hash("x")
        for octets in (f"jörg:{hashed}".encode(), b"\xef\xbb\xbf" + f"jörg:{hashed}\n".encode()):
            self.path.write_bytes(octets)
            self.assertTrue(self.login("jörg", "x"), octets)

    def test_bad_lines_let_nobody_in_and_keep_nobody_out(self) -> None:
        """A name without hash, a hash without name, other hashes, clear text, other encodings."""
        hashed = CHEAP.hash("x")
        self.path.write_bytes(
            b"anna\ncarol:\n:" + hashed.encode() + b"\neve:x\nfrank:$2b$12$abc\nj\xf6rg:" + hashed.encode()
            + b"\nbob:" + hashed.encode() + b"\n"
        )  # fmt: skip
        for user in ("anna", "carol", "", "eve", "frank", "jörg", "j\ufffdrg "):
            self.assertFalse(self.login(user, "x"), user)
            self.assertFalse(self.login(user, ""), user)
        self.assertTrue(self.login("bob", "x"))

    def test_a_change_holds_at_the_next_login(self) -> None:
        """Written in place, or put in its place with the same size and time."""
        self.path.write_text(f"anna:{CHEAP.hash('old')}\n")
        self.assertTrue(self.login("anna", "old"))
        before = self.path.stat()
        fresh = self.path.with_name("fresh")
        fresh.write_text(f"anna:{CHEAP.hash('new')}\n")
        os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
        fresh.replace(self.path)
        self.assertFalse(self.login("anna", "old"))
        self.assertTrue(self.login("anna", "new"))
        self.path.write_text("")
        self.assertFalse(self.login("anna", "new"))

    def test_the_file_is_read_once_as_long_as_it_is_the_same(self) -> None:
        """A login costs one look at its age: what has the same is taken for the same."""
        self.path.write_text(f"anna:{CHEAP.hash('one')}\n")
        self.assertTrue(self.login("anna", "one"))
        before = self.path.stat()
        self.path.write_text(f"anna:{CHEAP.hash('two')}\n")
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertTrue(self.login("anna", "one"))
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        self.assertTrue(self.login("anna", "two"))

    def test_a_file_that_is_gone_is_an_error_and_no_refusal(self) -> None:
        """And as soon as it is back, logins are right again."""
        text = f"anna:{CHEAP.hash('x')}\n"
        self.path.unlink()
        threads = Threads()
        self.file = PasswordFile(self.path, threads)
        waiting = begin(self.file.check("anna", "x"))
        threads.finish_all()
        self.failureResultOf(waiting, FileNotFoundError)
        self.path.write_text(text)
        waiting = begin(self.file.check("anna", "x"))
        threads.finish_all()
        self.assertTrue(self.successResultOf(waiting))
