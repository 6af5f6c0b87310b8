"""Plays golden sessions (`script`) in the gateway in memory, and says what came otherwise than it should.

`python -m smtpgate.testing` calls `rehearse` for one script after the other. A play stops at the first reply that is
not as expected, since what follows would make no sense; all other expectations go on. At its end nothing may be left
over: no reply that nobody expected, no failure of a filter, no logged error.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from smtpgate.message.header import HeaderSection
from smtpgate.policy.event import FilterFailed
from smtpgate.policy.verdict import Finding
from smtpgate.testing import Client, ContractBroken, Gateway
from smtpgate.testing.head import Complaint
from smtpgate.testing.scenery import Found, build, raised
from smtpgate.testing.script import BadScript, Script, Step, Wanted, read_script

#: In place of a reply.
CLOSED, SILENT = "<closed>", "<silent>"


class _Stop(Exception):
    """The play cannot go on."""


def rehearse(path: Path, found: Found) -> list[Complaint]:
    """Play a script; what was not as it should be, nothing where it passed."""
    errors = _Errors()
    globalLogPublisher.addObserver(errors)
    try:
        script = read_script(path)
        complaints = _Play(script, build(script, found)).run()
        # A Deferred that failed unheard tells of it when it is thrown away.
        gc.collect()
    except BadScript as bad:
        return bad.complaints
    finally:
        globalLogPublisher.removeObserver(errors)
    last = script.steps[-1].line
    return complaints + [Complaint(path, last, f"an error was logged: {text}") for text in errors.texts]


@implementer(ILogObserver)
class _Errors:
    """Hears of errors that nobody has seen to."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: Any) -> None:
        """Anything that is logged."""
        if "log_failure" in event:
            self.texts.append(raised(event["log_failure"].value))


class _Connection:
    """One client, with what it has heard last."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard = ""
        self._greeting = client.greeting

    def read(self) -> str:
        """The next reply, or what stands in its place."""
        reply, self._greeting = self._greeting, ""
        reply = reply or self.client.read()
        if not reply:
            return CLOSED if self.client.is_closed else SILENT
        self.heard = reply
        return reply


class _Play:
    """One script at work."""

    def __init__(self, script: Script, gateway: Gateway) -> None:
        self._script = script
        self._gateway = gateway
        self._connections: dict[str, _Connection] = {}
        self._current: _Connection | None = None
        self._complaints: list[Complaint] = []
        #: Findings, failures and requests that a step has asked for: each serves one.
        self._seen: dict[str, list[Any]] = {}
        self._steps: dict[str, Callable[[Step], None]] = {
            "C": self._say,
            "c": self._send,
            "D": self._message,
            "L": self._log_in,
            "W": self._wait,
            "N": self._connect,
            "U": self._go_back,
            "X": self._hang_up,
            "S": self._expect_reply,
            "F": self._expect_finding,
            "!F": self._expect_no_finding,
            "V": self._expect_verdict,
            "E": self._expect_failure,
            "B": self._expect_line,
            "!B": self._expect_no_line,
            "B#": self._expect_messages,
            "H": self._expect_request,
        }

    def run(self) -> list[Complaint]:
        """Play it."""
        step = self._script.steps[0]
        try:
            for step in self._script.steps:
                self._steps[step.mark](step)
        except _Stop:
            pass
        except ConnectionError:
            self._complain(step, "the connection is over")
        except ContractBroken as broken:
            self._complain(step, str(broken))
        except Exception as error:
            self._complain(step, raised(error))
        else:
            for name, connection in self._connections.items():
                while (reply := connection.read()) not in (CLOSED, SILENT):
                    of = f' on connection "{name}"' if name else ""
                    self._complain(step, f"at the end a reply is left over{of}: {json.dumps(reply)}")
        self._close(step)
        for failed in self._left("failure", self._gateway.failures):
            self._complain(step, f"a filter failed, and no E: expects it: {_failure(failed)}")
        return self._complaints

    def _close(self, step: Step) -> None:
        try:
            self._gateway.close()
        except ContractBroken as broken:
            if not any(one.text == str(broken) for one in self._complaints):
                self._complain(step, str(broken))
        except Exception as error:
            self._complain(step, f"at the end: {raised(error)}")

    def _complain(self, step: Step, text: str) -> None:
        self._complaints.append(Complaint(self._script.path, step.line, text))

    def _left(self, kind: str, things: Iterable[Any]) -> list[Any]:
        """Those that no step has asked for yet."""
        left = list(things)
        for one in self._seen.get(kind, ()):
            if one in left:
                left.remove(one)
        return left

    def _take(self, kind: str, things: Iterable[Any], fits: Callable[[Any], bool]) -> bool:
        found = next((one for one in self._left(kind, things) if fits(one)), None)
        if found is not None:
            self._seen.setdefault(kind, []).append(found)
        return found is not None

    @property
    def _connection(self) -> _Connection:
        if self._current is None:
            self._open("", self._script.head.client)
        assert self._current is not None
        return self._current

    def _open(self, name: str, ip: str) -> None:
        self._current = self._connections[name] = _Connection(self._gateway.connect(ip))

    # What the client does

    def _say(self, step: Step) -> None:
        self._connection.client.send(step.text.encode() + b"\r\n")

    def _send(self, step: Step) -> None:
        self._connection.client.send(step.value)

    def _message(self, step: Step) -> None:
        connection = self._connection
        if not connection.heard.startswith("354"):
            heard = json.dumps(connection.heard) if connection.heard else "nothing"
            self._complain(step, f"a message follows the reply 354, which S: must have taken; the last was {heard}")
            raise _Stop
        lines = step.value.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
        octets = b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines)
        connection.client.send(octets + b".\r\n")

    def _log_in(self, step: Step) -> None:
        connection = self._connection
        reply = connection.client.login(step.text)
        if not reply.startswith("235"):
            self._complain(step, f"the login was to succeed, came {json.dumps(reply)}")
            raise _Stop

    def _wait(self, step: Step) -> None:
        self._gateway.advance(step.value)

    def _connect(self, step: Step) -> None:
        name, ip = step.value
        self._open(name, ip or self._script.head.client)

    def _go_back(self, step: Step) -> None:
        self._current = self._connections[step.value]

    def _hang_up(self, step: Step) -> None:
        self._connection.client.hang_up()

    # What is expected

    def _expect_reply(self, step: Step) -> None:
        reply = self._connection.read()
        if step.value.fullmatch(reply) is None:
            self._complain(step, f"expected the reply /{step.text}/, came {json.dumps(reply)}")
            raise _Stop

    def _expect_finding(self, step: Step) -> None:
        found = self._connection.client.findings
        if not self._take(f"finding {id(self._current)}", found, lambda one: _fits(one, step.value)):
            left = self._left(f"finding {id(self._current)}", found)
            self._complain(step, f"expected the finding {step.text}, came {_listed(map(_finding, left))}")

    def _expect_no_finding(self, step: Step) -> None:
        found = [one for one in self._connection.client.findings if _fits(one, step.value)]
        if found:
            self._complain(step, f"expected no finding {step.text}, came {_listed(map(_finding, found))}")

    def _expect_verdict(self, step: Step) -> None:
        action, score, would = step.value
        facts = self._connection.client.session
        transaction = facts.transaction or (facts.transactions[-1] if facts.transactions else None)
        verdict = transaction.verdict if transaction is not None else None
        if verdict is not None:
            came: tuple[str, float, str] = (verdict.action, verdict.score, verdict.would)
        else:
            # Where nothing was found nothing is decided.
            came = ("accept" if transaction is not None and transaction.outcome == "delivered" else "none", 0.0, "")
        if came[0] != action or came[2] != would or score is not None and abs(came[1] - score) > 1e-9:
            said = f"{came[0]} {came[1]:g}" + (f" would {came[2]}" if came[2] else "")
            self._complain(step, f"expected the verdict {step.text}, came {said}")

    def _expect_failure(self, step: Step) -> None:
        def fits(one: FilterFailed) -> bool:
            return all(word in ("*", is_) for word, is_ in zip(step.value, (one.filter, one.stage, one.kind)))

        failures = self._gateway.failures
        if not self._take("failure", failures, fits):
            left = _listed(map(_failure, self._left("failure", failures)))
            self._complain(step, f"expected the failure {step.text}, came {left}")

    def _lines(self) -> list[str]:
        """The last message that the backend got: envelope, header fields unfolded, body."""
        messages = self._gateway.backend.messages
        if not messages:
            return []
        last = messages[-1]
        head, empty, body = last.content.partition(b"\r\n\r\n")
        fields = [one.raw.replace(b"\r\n", b"") for one in HeaderSection(head + empty).fields]
        lines = [f"MAIL FROM:<{last.sender}>", *(f"RCPT TO:<{one}>" for one in last.recipients)]
        lines += [line.decode("utf-8", "backslashreplace") for line in fields]
        return lines + ["", *body.decode("utf-8", "backslashreplace").split("\r\n")]

    def _expect_line(self, step: Step) -> None:
        if not any(step.value.fullmatch(line) for line in self._lines()):
            lines = self._lines()
            came = "its header is " + " | ".join(lines[: lines.index("")]) if lines else "it has got no message"
            self._complain(step, f"expected that the backend got a line /{step.text}/; {came}")

    def _expect_no_line(self, step: Step) -> None:
        found = next((line for line in self._lines() if step.value.fullmatch(line)), None)
        if found is not None:
            self._complain(step, f"expected that the backend got no line /{step.text}/, came {json.dumps(found)}")

    def _expect_messages(self, step: Step) -> None:
        count = len(self._gateway.backend.messages)
        if count != step.value:
            self._complain(
                step, f"expected that the backend has got so many messages: {step.value}; it has got {count}"
            )

    def _expect_request(self, step: Step) -> None:
        requests = [f"{one[0]} {one[1]} {(one[3] or b'').decode('utf-8', 'backslashreplace')}".rstrip()
                    for one in self._gateway.http.requests]  # fmt: skip
        if not self._take("request", requests, lambda one: step.value.fullmatch(one) is not None):
            left = _listed(map(json.dumps, self._left("request", requests)))
            self._complain(step, f"expected the request /{step.text}/, came {left}")


def _fits(found: Finding, wanted: Wanted) -> bool:
    return (
        wanted.filter in ("*", found.filter)
        and wanted.reason in ("*", found.reason)
        and wanted.action in ("*", found.action)
        and (wanted.score is None or abs(wanted.score - found.score) < 1e-9)
        and wanted.is_shadow in (None, found.is_shadow)
    )


def _finding(found: Finding) -> str:
    words = [found.filter, found.reason, found.action, f"{found.score:g}", "shadow" if found.is_shadow else ""]
    return " ".join(filter(None, words)) + (f" ({found.detail})" if found.detail else "")


def _failure(failed: FilterFailed) -> str:
    return f"{failed.filter} {failed.stage} {failed.kind} ({failed.detail})"


def _listed(texts: Iterable[str]) -> str:
    return "; ".join(texts) or "nothing"
