"""Tests of smtpgate.net.children and its other end, smtpgate.examine.child: real processes that go wrong."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtpgate.examine.child import Worker
from smtpgate.interfaces import ChildFailed
from smtpgate.net import child, children
from smtpgate.net.children import WAITING, Children
from smtpgate.policy.event import Happened
from tests.child_jobs import JOBS

#: Enough for an interpreter and little else.
MEMORY = 256 * 2**20
#: Longer than any test takes.
LONG_S = 100.0
REFUSED = (errno.EPERM, errno.EACCES, errno.EFBIG, errno.EAGAIN)


def processes() -> set[int]:
    """Our child processes, those that are dead and not waited for among them."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return found


def descriptors() -> list[str]:
    """What our open descriptors are, without their numbers."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
        except FileNotFoundError:
            # The one that the list itself was read with.
            continue
    return sorted(found)


def dead(pid: int) -> None:
    """Wait until one of our processes is dead, and leave it unwaited for."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@unittest.skipUnless(Path("/proc/self/fd").is_dir(), "what is left over is seen in /proc")
class PoolCase(TestCase):
    """A pool of children, of which nothing may be left."""

    async def setUp(self) -> None:
        """Note what there is, once the reactor has what it needs."""
        await deferLater(reactor, 0.0)
        self.told: list[Happened] = []
        self.addCleanup(self.assertEqual, processes(), set(), "processes before the test")
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual((processes(), descriptors()), (set(), before)))

    def pool(self, count: int = 1, **more: Any) -> Children:
        """One that is closed at the end."""
        pool = Children(reactor, count, MEMORY, more.pop("cpu_s", 10.0), tell=self.told.append, jobs=JOBS, **more)
        self.addCleanup(pool.close)
        return pool

    def content(self, octets: bytes) -> int:
        """A descriptor of octets, at its end as whoever wrote them left it."""
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(octets)
        file.flush()
        return file.fileno()

    def place(self) -> str:
        """Where a file may be made."""
        return os.path.abspath(self.mktemp())

    async def pid(self, pool: Children) -> int:
        """Of the child that a job gets."""
        who = await pool.run("whoami", None, {}, LONG_S)
        return int(who["pid"])

    async def failure(self, done: Deferred[dict[str, Any]]) -> tuple[str, str]:
        """How a job failed: kind and text."""
        failed: ChildFailed = await self.assertFailure(done, ChildFailed)
        return failed.kind, failed.text


class AnswerTests(PoolCase):
    """Jobs that end well."""

    async def test_a_job_gets_content_and_request(self) -> None:
        """The content mapped, from its start wherever its owner stands in it; the request as it was."""
        pool = self.pool()
        request = {"words": ["a", "ü", "\ud800"], "n": 1.5, "none": None}
        answer = await pool.run("echo", self.content(b"From: x\r\n\r\n\0\xff"), request, LONG_S)
        self.assertEqual(answer, {"content": "From: x\r\n\r\n\0\xff", "kind": "mmap", "request": request})

    async def test_no_content_is_empty_content(self) -> None:
        """No descriptor, and one of an empty file."""
        pool = self.pool()
        for descriptor in (None, self.content(b"")):
            answer = await pool.run("echo", descriptor, {}, LONG_S)
            self.assertEqual(answer, {"content": "", "kind": "bytes", "request": {}})

    async def test_the_caller_may_close_its_descriptor_at_once(self) -> None:
        """Before the child has started, and while the job waits; the next file gets its number."""
        pool = self.pool()
        done = []
        for octets in (b"one", b"two", b"three"):
            with tempfile.TemporaryFile() as file:
                file.write(octets)
                file.flush()
                done.append(pool.run("echo", file.fileno(), {}, LONG_S))
        answers = await gatherResults(done)
        self.assertEqual([answer["content"] for answer in answers], ["one", "two", "three"])

    async def test_frames_larger_than_what_the_kernel_takes_at_once(self) -> None:
        """Both ways, with a descriptor."""
        pool = self.pool()
        request = {"text": "x" * 3 * 2**20}
        answer = await pool.run("echo", self.content(b"abc"), request, LONG_S)
        self.assertEqual((answer["content"], answer["request"] == request), ("abc", True))

    async def test_a_frame_may_come_octet_by_octet(self) -> None:
        """It is one answer."""
        self.assertEqual(await self.pool().run("trickle", None, {"id": 1}, LONG_S), {"n": 1})

    async def test_what_libraries_print_is_nowhere(self) -> None:
        """More than a pipe holds does not stop the child."""
        pool = self.pool()
        self.assertEqual(await pool.run("chatter", None, {}, LONG_S), {})

    async def test_a_view_kept_too_long_harms_nobody(self) -> None:
        """Content that cannot be unmapped stays in the child, and the next job has its own."""
        pool = self.pool()
        for octets in (b"abc", b"defgh"):
            self.assertEqual(await pool.run("hold", self.content(octets), {}, LONG_S), {"octets": len(octets)})

    async def test_a_request_that_cannot_be_sent_fails_alone(self) -> None:
        """No JSON, too long, no descriptor, nothing that can be mapped."""
        pool = self.pool()
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        for descriptor, request in (
            (None, {"set": {1}}),
            (None, {"text": "x" * 2**23}),
            (9999, {}),
            (reading, {}),
        ):
            kind, _ = await self.failure(pool.run("echo", descriptor, request, LONG_S))
            self.assertEqual(kind, "error")
        self.assertEqual((await pool.run("echo", None, {}, LONG_S))["content"], "")


class OrderTests(PoolCase):
    """Who gets a child, and when."""

    async def test_children_come_as_jobs_need_them(self) -> None:
        """None before the first job, one for one job after the other, more for jobs at one time, never too many."""
        pool = self.pool(2)
        self.assertEqual(processes(), set())
        first = await self.pid(pool)
        self.assertEqual((await self.pid(pool), processes()), (first, {first}))
        sleeping = pool.run("sleep", None, {}, LONG_S)
        second = await self.pid(pool)
        self.assertEqual(processes(), {first, second})
        answers = await gatherResults([pool.run("whoami", None, {}, LONG_S) for _ in range(3)])
        self.assertEqual([answer["pid"] for answer in answers], [second] * 3)
        sleeping.addErrback(lambda failure: failure.trap(ChildFailed))

    async def test_children_start_one_at_a_time(self) -> None:
        """Many jobs at once are no reason to start all that there may be at once."""
        pool = self.pool(4)
        done = [pool.run("echo", None, {}, LONG_S) for _ in range(4)]
        self.assertEqual(len(processes()), 1)
        await gatherResults(done)

    async def test_jobs_are_done_in_their_order(self) -> None:
        """First come, first served."""
        pool = self.pool()
        done: list[int] = []
        waiting = [pool.run("echo", None, {"n": n}, LONG_S) for n in range(10)]
        for one in waiting:
            one.addCallback(lambda answer: done.append(answer["request"]["n"]))
        await gatherResults(waiting)
        self.assertEqual(done, list(range(10)))

    async def test_too_many_jobs_are_refused(self) -> None:
        """Those that wait stay; at the close all fail."""
        pool = self.pool()
        await self.pid(pool)
        running = pool.run("sleep", None, {}, LONG_S)
        waiting = [pool.run("echo", self.content(b"x"), {}, LONG_S) for _ in range(WAITING)]
        self.assertEqual(await self.failure(pool.run("echo", None, {}, LONG_S)), ("busy", "100 jobs are waiting"))
        closing = pool.close()
        for one in (running, *waiting, pool.run("echo", None, {}, LONG_S)):
            self.assertEqual(await self.failure(one), ("closed", ""))
        await closing
        self.assertEqual(processes(), set())

    async def test_a_job_that_no_child_is_free_for_is_busy(self) -> None:
        """It was never begun, so its time is no fault of the message; the one that runs goes on."""
        pool = self.pool()
        await self.pid(pool)
        running = pool.run("sleep", None, {}, LONG_S)
        waiting = pool.run("echo", self.content(b"x"), {}, 0.01)
        self.assertEqual(len(processes()), 1)
        self.assertEqual(await self.failure(waiting), ("busy", "no child was free for echo in time"))
        self.assertFalse(running.called)
        running.addErrback(lambda failure: failure.trap(ChildFailed))

    async def test_a_child_is_replaced_after_its_share(self) -> None:
        """What libraries leak goes with it."""
        pool = self.pool(jobs_per_child=2)
        pids = [await self.pid(pool) for _ in range(5)]
        self.assertEqual([pids.index(pid) for pid in pids], [0, 0, 2, 2, 4])

    async def test_close_can_be_asked_for_twice(self) -> None:
        """Both hear when nothing is left."""
        pool = self.pool()
        await self.pid(pool)
        await gatherResults([pool.close(), pool.close()])
        self.assertEqual(processes(), set())

    async def test_close_while_a_child_starts(self) -> None:
        """It ends too, and this is no failed start."""
        pool = self.pool()
        done = pool.run("echo", None, {}, LONG_S)
        await pool.close()
        self.assertEqual(await self.failure(done), ("closed", ""))
        self.assertEqual((processes(), self.told), (set(), []))


class TroubleTests(PoolCase):
    """Jobs that end badly."""

    async def contained(self, job: str, request: dict[str, Any], timeout_s: float = LONG_S, **more: Any) -> Any:
        """How a job fails while another one runs and a third waits: both are done, and the pool goes on."""
        pool = self.pool(2, **more)
        first = await self.pid(pool)
        other = pool.run("sleep", None, {}, LONG_S)
        await self.pid(pool)
        bad = pool.run(job, self.content(b"bad"), request, timeout_s)
        next_one = pool.run("echo", self.content(b"good"), {}, LONG_S)
        failed = await self.failure(bad)
        self.assertEqual((await next_one)["content"], "good")
        self.assertFalse(other.called)
        self.assertIn(first, processes())
        self.assertEqual(self.told, [])
        other.addErrback(lambda failure: failure.trap(ChildFailed))
        await pool.close()
        return failed

    async def test_a_job_without_end_is_killed(self) -> None:
        """Whatever signals it ignores."""
        for job in ("sleep", "deaf", "mute"):
            kind, text = await self.contained(job, {}, 0.1)
            if job != "mute":
                self.assertEqual((kind, text), ("timeout", f"{job} took too long"))
            else:
                self.assertEqual((kind, text), ("died", "mute: SIGKILL"))

    async def test_no_job_has_longer_than_the_pool_grants(self) -> None:
        """Whatever its caller has time for."""
        pool = self.pool(wall_s=0.1)
        self.assertEqual((await self.failure(pool.run("sleep", None, {}, LONG_S)))[0], "timeout")

    async def test_a_crash_is_told_with_its_place(self) -> None:
        """Signal and function."""
        kind, text = await self.contained("crash", {})
        self.assertEqual(kind, "died")
        self.assertTrue(text.startswith("crash: SIGSEGV: "), text)
        self.assertIn("in crash", text)

    async def test_an_end_is_told_with_its_code(self) -> None:
        """No answer is no answer."""
        self.assertEqual(await self.contained("leave", {}), ("died", "leave: exit code 7"))
        nameless = signal.SIGRTMIN + 3
        self.assertEqual(await self.contained("leave", {"signal": nameless}), ("died", f"leave: signal {nameless}"))

    async def test_cpu_time_is_limited(self) -> None:
        """Long before its wall time is over."""
        kind, text = await self.contained("burn", {}, cpu_s=0.1)
        self.assertEqual(kind, "died")
        self.assertTrue(text.startswith("burn: SIGXCPU, its CPU time is used up: "), text)
        self.assertIn("in burn", text)

    async def test_cpu_time_is_granted_to_each_job_anew(self) -> None:
        """What earlier jobs used is not taken off."""
        pool = self.pool(cpu_s=7.0)
        await pool.run("devour", None, {}, LONG_S).addErrback(lambda failure: failure.trap(ChildFailed))
        used, soft, _ = (await pool.run("whoami", None, {}, LONG_S))["cpu"]
        self.assertGreaterEqual(soft, used + 6.5)
        self.assertLess(soft, used + 9)

    async def test_a_child_killed_by_the_system_fails_its_job_only(self) -> None:
        """As the kernel does when memory runs out."""
        pool = self.pool()
        pid = await self.pid(pool)
        done = pool.run("sleep", None, {}, LONG_S)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(await self.failure(done), ("died", "sleep: SIGKILL"))
        self.assertNotEqual(await self.pid(pool), pid)

    async def test_a_child_that_died_idle_fails_nobody(self) -> None:
        """A job given to it before that was noticed goes to another, how many ever died."""
        pool = self.pool(2)
        await gatherResults([pool.run("chatter", None, {}, LONG_S) for _ in range(20)])
        pids = processes()
        self.assertEqual(len(pids), 2)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            dead(pid)
        self.assertEqual((await pool.run("echo", self.content(b"abc"), {}, LONG_S))["content"], "abc")

    async def test_a_child_that_died_idle_is_replaced(self) -> None:
        """Before there is a job for it."""
        pool = self.pool()
        pid = await self.pid(pool)
        os.kill(pid, signal.SIGKILL)
        while pid in processes():
            await deferLater(reactor, 0.0)
        self.assertEqual(len(processes()), 1)
        self.assertEqual((await pool.run("echo", None, {}, LONG_S))["content"], "")

    async def test_a_child_that_died_over_half_a_request_fails_nobody(self) -> None:
        """The job is done by another; one that nobody waits for is dropped."""
        pool = self.pool()
        for is_wanted in (True, False):
            pid = await self.pid(pool)
            os.kill(pid, signal.SIGSTOP)
            done = pool.run("echo", self.content(b"abc"), {"text": "x" * 2**20}, LONG_S)
            if not is_wanted:
                done.cancel()
                await self.assertFailure(done, CancelledError)
            os.kill(pid, signal.SIGKILL)
            if is_wanted:
                self.assertEqual((await done)["content"], "abc")
            self.assertNotEqual(await self.pid(pool), pid)

    async def test_nonsense_is_a_lie(self) -> None:
        """Whatever a child says that is no answer to its job, it is killed, and only that job fails."""
        deep = "[" * 100000
        for job, request, why in (
            ("jabber", {"octets": "\xff" * 100}, "it began a frame of 4294967295 octets"),
            ("jabber", {"octets": "\0\x80\0\1"}, "it began a frame of 8388609 octets"),
            ("jabber", {"octets": "\0\0\0\3{]}"}, "it does not speak JSON"),
            ("jabber", {"octets": "\0\0\0\0"}, "it does not speak JSON"),
            ("jabber", {"octets": "\0\0\0\2[]"}, "it does not speak JSON"),
            ("jabber", {"octets": "\0\1\x86\xa0" + deep}, "it does not speak JSON"),
            ("claim", {"said": {"id": 3}}, "it gave no answer"),
            ("claim", {"said": {"id": 3, "answer": [1]}}, "it gave no answer"),
            ("claim", {"said": {"id": 3, "error": 1, "text": ""}}, "it gave no answer"),
            ("claim", {"said": {"id": 3, "error": "", "text": []}}, "it gave no answer"),
            ("claim", {"said": {"ready": []}}, "it answered another job"),
            ("twice", {"id": 3}, "it said more than it was asked"),
        ):
            pool = self.pool()
            pids = await self.pid(pool), await self.pid(pool)
            done, waiting = pool.run(job, None, request, LONG_S), pool.run("whoami", None, {}, LONG_S)
            kind, text = await self.failure(done)
            self.assertEqual((kind, text.removeprefix(f"{job}: ")), ("lied", why))
            self.assertNotIn((await waiting)["pid"], pids)
            await pool.close()

    async def test_an_answer_that_nobody_asked_for_ends_the_child(self) -> None:
        """Its job was answered before; the next one is done by another child."""
        pool = self.pool()
        pid = await self.pid(pool)
        self.assertEqual(await pool.run("unasked", None, {"id": 2}, LONG_S), {})
        self.assertNotEqual(await self.pid(pool), pid)

    async def test_a_late_second_answer_is_not_taken_for_the_next_job(self) -> None:
        """That job is done by another child."""
        pool = self.pool()
        await pool.run("later", None, {"id": 1}, LONG_S)
        answer = await pool.run("echo", self.content(b"abc"), {}, LONG_S)
        self.assertEqual(answer["content"], "abc")

    async def test_what_a_job_raises_is_told_without_its_words(self) -> None:
        """Type and place; the same child goes on."""
        pool = self.pool()
        pid = await self.pid(pool)
        for job, said in (
            ("refuse", "ValueError: child_jobs.py:"),
            ("panic", "Panic: child_jobs.py:"),
            ("resign", "SystemExit: child_jobs.py:"),
            ("dig", "RecursionError: child_jobs.py:"),
            ("devour", "MemoryError: child_jobs.py:"),
            ("number", "TypeError: child.py:"),
            ("strange", "TypeError: encoder.py:"),
            ("absent", "ModuleNotFoundError: No module named 'tests.no_such_module'"),
            ("unheard-of", "KeyError: child.py:"),
        ):
            kind, text = await self.failure(pool.run(job, self.content(b"x"), {}, LONG_S))
            self.assertEqual(kind, "error")
            self.assertTrue(text.startswith(f"{job}: {said}"), text)
            self.assertNotIn("words of the message", text)
        self.assertEqual(await self.pid(pool), pid)

    async def test_an_answer_that_is_too_long_is_an_error(self) -> None:
        """One octet more than a frame may have, and the child goes on; as many as it may have are taken."""
        pool = self.pool()
        around = len(json.dumps({"id": 1, "answer": {"text": ""}}))
        fits = 2**23 - around
        self.assertEqual(len((await pool.run("huge", None, {"octets": fits}, LONG_S))["text"]), fits)
        self.assertEqual(
            await self.failure(pool.run("huge", None, {"octets": fits + 1}, LONG_S)),
            ("error", "huge: TooLarge: an answer of 8388609 octets"),
        )


class CancelTests(PoolCase):
    """Callers that give up."""

    async def cancelled(self, done: Deferred[Any]) -> None:
        """Cancel, and see that it is heard."""
        done.cancel()
        await self.assertFailure(done, CancelledError)

    async def test_a_job_that_waits_is_dropped(self) -> None:
        """The jobs around it are done."""
        pool = self.pool()
        one, two, three = (pool.run("echo", self.content(b"x"), {"n": n}, LONG_S) for n in range(3))
        await self.cancelled(two)
        self.assertEqual([(await done)["request"]["n"] for done in (one, three)], [0, 2])

    async def test_a_job_that_is_nearly_done_spares_its_child(self) -> None:
        """Its answer is for nobody."""
        pool = self.pool()
        pid = await self.pid(pool)
        await self.cancelled(pool.run("digest", self.content(b"x"), {}, LONG_S))
        self.assertEqual(await self.pid(pool), pid)

    async def test_a_job_that_goes_on_is_killed(self) -> None:
        """Nobody pays for it with more than the grace."""
        self.patch(children, "GRACE_S", 0.01)
        pool = self.pool()
        pid = await self.pid(pool)
        await self.cancelled(pool.run("sleep", None, {}, LONG_S))
        self.assertNotEqual(await self.pid(pool), pid)

    async def test_a_job_that_dies_after_that_is_told_to_nobody(self) -> None:
        """And the next one has a new child."""
        pool = self.pool()
        for job in ("crash", "jabber", "refuse"):
            await self.pid(pool)
            await self.cancelled(pool.run(job, None, {"octets": "\xff" * 9}, LONG_S))
        self.assertEqual((await pool.run("echo", None, {}, LONG_S))["content"], "")


class StartTests(PoolCase):
    """Children that cannot be started."""

    async def setUp(self) -> None:
        """Pauses that nobody notices."""
        await super().setUp()
        self.patch(children, "PAUSE_S", 0.001)
        self.patch(children, "PAUSE_MOST_S", 0.01)
        self.python = sys.executable

    def program(self, text: str) -> str:
        """A shell script in place of the interpreter."""
        path = Path(self.place())
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        path.chmod(stat.S_IRWXU)
        return str(path)

    async def test_one_is_started_ahead(self) -> None:
        """Once, and it does the first job; a pool that was closed starts none."""
        pool = self.pool()
        self.assertEqual(len(processes()), 0)
        pool.prepare()
        pool.prepare()
        (ahead,) = processes()
        self.assertEqual(await self.pid(pool), ahead)
        await pool.close()
        pool.prepare()
        self.assertEqual(processes(), set())

    async def test_an_outage_is_told_once_and_its_end_once(self) -> None:
        """Jobs fail meanwhile, at once, and are done again afterwards."""
        for program, reason in (
            ("/nowhere/python", "No such file or directory: '/nowhere/python'"),
            (self.program("echo first >&2; echo the reason >&2; exit 3"), "exit code 3: the reason"),
            (self.program("echo hello >&0"), "it began a frame of 1751477356 octets"),
            (self.program("printf '\\0\\0\\0\\014{\"ready\": 1}' >&0; sleep 1000"), "it said something else"),
            (self.program("printf '\\0\\0\\0\\002{}' >&0; sleep 1000"), "it said something else"),
        ):
            self.told.clear()
            pool = self.pool()
            self.patch(sys, "executable", program)
            kind, text = await self.failure(pool.run("echo", self.content(b"x"), {}, LONG_S))
            self.assertEqual(kind, "died")
            self.assertIn(reason, text)
            at_once = pool.run("echo", None, {}, LONG_S)
            self.assertTrue(at_once.called)
            self.assertEqual((await self.failure(at_once))[0], "died")
            (event,) = self.told
            self.assertEqual((event.name, event.level), ("children.failing", "error"))
            self.assertIn(reason, str(dict(event.fields)["reason"]))
            self.patch(sys, "executable", self.python)
            up: Deferred[None] = Deferred()
            self.patch(pool, "_tell", lambda event: (self.told.append(event), up.callback(None)))
            await up
            self.assertEqual((self.told[-1].name, self.told[-1].level), ("children.up", "info"))
            self.assertEqual((await pool.run("echo", None, {}, LONG_S))["content"], "")
            self.assertEqual(len(self.told), 2)
            await pool.close()

    async def test_a_child_that_is_never_ready_is_an_outage(self) -> None:
        """It is killed, with what it started."""
        self.patch(children, "START_S", 0.3)
        held = self.place()
        os.mkfifo(held)
        end = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, end)
        self.patch(sys, "executable", self.program(f"exec 9> {held}; sleep 1000; sleep 1000"))
        kind, text = await self.failure(self.pool().run("echo", None, {}, LONG_S))
        self.assertEqual(kind, "died")
        self.assertIn("it was not ready after", text)
        open_ends = select.poll()
        open_ends.register(end)
        self.assertEqual(open_ends.poll(1000 * LONG_S), [(end, select.POLLHUP)])

    async def test_one_failed_start_is_no_outage(self) -> None:
        """The job waits, and nothing is told."""
        mark = self.place()
        once = self.program(f'if test -e {mark}; then exec {self.python} "$@"; fi; : > {mark}; exit 1')
        self.patch(sys, "executable", once)
        self.assertEqual((await self.pool().run("echo", self.content(b"x"), {}, LONG_S))["content"], "x")
        self.assertEqual(self.told, [])

    async def test_children_that_live_work_on_in_an_outage(self) -> None:
        """What cannot be started is another one."""
        pool = self.pool(2)
        pid = await self.pid(pool)
        self.patch(sys, "executable", "/nowhere/python")
        failing: Deferred[None] = Deferred()
        self.patch(pool, "_tell", lambda event: failing.callback(None))
        # One job keeps the child, the second asks for another.
        kept = pool.run("jabber", None, {"octets": ""}, LONG_S)
        waiting = pool.run("echo", None, {}, LONG_S)
        await failing
        self.assertEqual((kept.called, waiting.called, processes()), (False, False, {pid}))
        os.kill(pid, signal.SIGKILL)
        self.assertEqual((await self.failure(kept))[0], "died")
        self.assertEqual((await self.failure(waiting))[0], "died")

    async def test_a_job_that_lost_its_child_waits_like_any_other(self) -> None:
        """Where no other comes it was never begun."""
        self.patch(children, "PAUSE_S", 1000.0)
        self.patch(children, "PAUSE_MOST_S", 1000.0)
        pool = self.pool()
        pid = await self.pid(pool)
        self.patch(sys, "executable", "/nowhere/python")
        os.kill(pid, signal.SIGSTOP)
        done = pool.run("echo", self.content(b"x"), {"text": "x" * 2**20}, 0.5)
        os.kill(pid, signal.SIGKILL)
        dead(pid)
        self.assertEqual((await self.failure(done))[0], "busy")

    async def test_close_in_a_pause_starts_nothing_more(self) -> None:
        """What waits fails."""
        self.patch(children, "PAUSE_S", 1000.0)
        self.patch(children, "PAUSE_MOST_S", 1000.0)
        self.patch(sys, "executable", "/nowhere/python")
        pool = self.pool()
        done = pool.run("echo", None, {}, LONG_S)
        await pool.close()
        self.assertEqual(await self.failure(done), ("closed", ""))


class ConfinementTests(PoolCase):
    """What a child has, and what it can do."""

    async def test_a_child_has_nothing_of_ours(self) -> None:
        """No secret of the environment, no descriptor, no folder, no Twisted."""
        os.environ["SMTPGATE_TEST_SECRET"] = "x"
        self.addCleanup(os.environ.pop, "SMTPGATE_TEST_SECRET")
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        os.set_inheritable(file.fileno(), True)
        who = await self.pool().run("whoami", None, {}, LONG_S)
        self.assertLessEqual(
            set(who["environment"]), {"PATH", "LANG", "LC_CTYPE", "PYTHONPATH", "MALLOC_ARENA_MAX", "LD_LIBRARY_PATH"}
        )
        self.assertEqual(who["descriptors"], ["/dev/null"] * 3 + ["pipe", "socket"])
        self.assertEqual(who["place"], "/")
        self.assertNotIn("twisted", who["modules"])
        self.assertNotIn("smtpgate.interfaces", who["modules"])

    async def test_a_child_has_limits(self) -> None:
        """No core dump, few descriptors, so much memory, files of no size."""
        limits = (await self.pool().run("whoami", None, {}, LONG_S))["limits"]
        self.assertEqual(limits, {"CORE": [0, 0], "NOFILE": [64, 64], "AS": [MEMORY, MEMORY], "FSIZE": [0, 0]})

    async def test_a_child_gives_way(self) -> None:
        """Mail that passes goes before mail that is looked at."""
        who = await self.pool().run("whoami", None, {}, LONG_S)
        self.assertEqual(who["niceness"], min(19, os.nice(0) + 5))

    async def test_a_child_that_was_taken_over_can_do_nothing(self) -> None:
        """It changes no file and not the content, begins no process, opens no socket, signals nobody."""
        folder = self.place()
        os.mkdir(folder)
        old = os.open(f"{folder}/old", os.O_CREAT | os.O_RDWR)
        self.addCleanup(os.close, old)
        os.write(old, b"old")
        pool = self.pool()
        content = self.content(b"content")
        came = await pool.run("attempt", content, {"folder": folder}, LONG_S)
        needs = {
            "landlock": ("change the content", "truncate", "remove", "make a folder"),
            "seccomp": ("fork", "run", "open a socket", "signal the gateway", "limit the gateway", "change the mode"),
        }
        for name, tries in needs.items():
            if name not in pool.confined:
                for one in tries:
                    del came[one]
        for name, number in came.items():
            self.assertIn(number, REFUSED, name)
        self.assertEqual(os.pread(content, 100, 0), b"content")
        if "landlock" in pool.confined:
            self.assertEqual((os.listdir(folder), os.pread(old, 100, 0)), (["old"], b"old"))


SPEAK = """
import json, sys
from smtpgate.examine import confinement
{before}
settings = json.dumps({{"memory_octets": 1 << 28, "cpu_s": 5, "answer_octets": 10000, "jobs": {jobs}, "warm": []}})
sys.argv = ["child", settings]
from smtpgate.examine.child import main
main()
"""
#: A filter of system calls as a unit with SystemCallFilter=~@resources has it: setpriority kills, Landlock too.
KILLING = """
import ctypes, struct
confinement._control(38, ctypes.c_ulong(1))
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 141), (6, 0, 0, 0x80000000), (0x15, 0, 1, 444), (6, 0, 0, 0x80000000),
         (6, 0, 0, 0x7FFF0000)]
octets = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
confinement._control(22, ctypes.c_ulong(2), ctypes.byref(confinement._Program(len(steps), ctypes.addressof(octets))))
"""
#: A system that has neither.
BARE = "confinement._LIBC = None"


class ProcessTests(SynchronousTestCase):
    """Both sides, without the pool."""

    @unittest.skipUnless(Path("/proc/self/fd").is_dir(), "a file is opened again by way of /proc")
    def test_the_content_is_opened_for_reading_only(self) -> None:
        """With a place of its own, for a file without a name too."""
        with tempfile.TemporaryFile() as file:
            file.write(b"abc")
            file.flush()
            ours = child.open_again(file.fileno())
            self.addCleanup(os.close, ours)
            self.assertEqual(os.read(ours, 10), b"abc")
            self.assertRaises(OSError, os.write, ours, b"x")
            self.assertEqual(file.tell(), 3)

    def child(self, before: str = "") -> tuple[subprocess.Popen[bytes], socket.socket]:
        """A process and our end of its socket."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", SPEAK.format(before=before, jobs=JOBS)], stdin=theirs)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, ours

    def heard(self, channel: socket.socket) -> Any:
        """The next frame."""
        (length,) = struct.unpack("!I", channel.recv(4, socket.MSG_WAITALL))
        return json.loads(channel.recv(length, socket.MSG_WAITALL))

    def ask(self, channel: socket.socket, job: str = "echo", **request: str) -> Any:
        """Have a job done without content."""
        octets = json.dumps({"id": 1, "job": job, "has_content": False, "request": request}).encode()
        channel.sendall(struct.pack("!I", len(octets)) + octets)
        return self.heard(channel)["answer"]

    def test_it_ends_with_its_socket(self) -> None:
        """As after the end of the gateway, where no signal tells of that."""
        process, channel = self.child()
        self.heard(channel)
        channel.close()
        self.assertEqual(process.wait(), 0)

    def test_signals_for_the_gateway_do_not_end_it(self) -> None:
        """A service manager sends them to all its processes, and the gateway drains."""
        process, channel = self.child()
        self.heard(channel)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        self.assertEqual(self.ask(channel)["content"], "")

    @unittest.skipUnless(os.uname().machine == "x86_64", "with numbers of x86-64")
    def test_a_filter_that_kills_for_what_it_would_like_is_no_harm(self) -> None:
        """It goes without that."""
        _, channel = self.child(KILLING)
        self.assertNotIn("landlock", self.heard(channel)["ready"])
        self.assertEqual(self.ask(channel)["content"], "")

    def test_a_system_that_has_neither_is_no_harm(self) -> None:
        """Limits that every system has are left: no file is written to."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        Path(folder, "old").write_bytes(b"old")
        _, channel = self.child(BARE)
        self.assertEqual(self.heard(channel), {"ready": []})
        came = self.ask(channel, "attempt", folder=folder)
        for name in ("write", "append", "overwrite", "write in memory"):
            self.assertEqual(came[name], errno.EFBIG, name)

    @unittest.skipUnless(hasattr(os, "pidfd_open"), "the end of a process that is not ours is seen by pidfd_open")
    def test_a_gateway_that_is_killed_leaves_no_child(self) -> None:
        """Not even one that is busy and reads nothing."""
        gateway = subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE)
        assert gateway.stdout is not None
        with gateway.stdout:
            pids = list(map(int, gateway.stdout.readline().split()))
        self.assertEqual(len(pids), 2)
        ends = [os.pidfd_open(pid) for pid in pids]
        gateway.kill()
        gateway.wait()
        for end in ends:
            self.assertEqual(select.select([end], [], [], LONG_S)[0], [end])
            os.close(end)

    def test_a_worker_wants_the_descriptor_that_was_announced(self) -> None:
        """A message is never taken for an empty one."""
        worker = Worker(JOBS, 1000)
        asked = {"id": 5, "job": "echo", "has_content": True, "request": {}}
        said = json.loads(worker.answer(asked, -1))
        self.assertEqual((said["id"], said["error"]), (5, "OSError"))


#: A process with one child that is idle and one that is busy; it prints their numbers.
GATEWAY = """
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from smtpgate.net.children import Children
from tests.child_jobs import JOBS

async def go():
    pool = Children(reactor, 2, 1 << 28, 50.0, jobs=JOBS)
    first = await pool.run("whoami", None, {}, 50)
    pool.run("sleep", None, {}, 50)
    second = await pool.run("whoami", None, {}, 50)
    print(first["pid"], second["pid"], flush=True)

reactor.callWhenRunning(lambda: ensureDeferred(go()))
reactor.run()
"""
