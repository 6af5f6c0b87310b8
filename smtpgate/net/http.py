"""HTTP requests to engines and hooks (`interfaces.IHTTPClient`), over one pool of connections.

Nothing is followed and nothing is remembered: no redirects, no cookies, no proxy, no credentials out of an address. An
answer is read up to a cap and no further. For https the certificate is checked against the system's authorities and
the name. Whatever goes wrong is one kind of error, with a text for the administrator.

A request is a question, so it may be asked twice: where a connection that was kept open turns out to be closed before
anything was answered, it is asked once more over a new one.

RFC 9110 section 9.2.2 (asking again), RFC 9112 section 9.3 (persistence).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from smtpgate.interfaces import HTTPFailed, IHTTPClient
from smtpgate.net.stream import cancellable

#: Connections kept open to one server, and how long; servers keep them for a minute or so (nginx: 75 s).
KEPT: Final = 8
KEPT_S: Final = 30

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@attrs.frozen
class Response:
    """An answer, whole.

    :ivar headers: the first value of each, by name in lower case
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@implementer(IHTTPClient)
class HTTPClient:
    """The client. Its libraries are loaded with the first request."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._agents: tuple[Any, Any] | None = None

    def request(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        timeout_s: float,
        cap_octets: int,
    ) -> Deferred[Response]:
        """Ask.

        :param headers: pairs where one name has several values
        :param timeout_s: from now to the last octet of the answer
        :param cap_octets: most octets of the answer's body
        :return: fails with HTTPFailed
        """
        return ensureDeferred(self._request(method, url, headers, body, timeout_s, cap_octets))

    async def _request(
        self, method: str, url: str, headers: Headers, body: bytes | None, timeout_s: float, cap_octets: int
    ) -> Response:
        asked = ensureDeferred(self._ask(method, url, headers, body, cap_octets))
        try:
            answer: Response = await asked.addTimeout(timeout_s, self._reactor)
        except (CancelledError, HTTPFailed):
            raise
        except TimeoutError:
            raise HTTPFailed(f"no answer within {timeout_s:g} s") from None
        except Exception as error:
            raise HTTPFailed(_reason(error), _is_certificate(error)) from error
        return answer

    async def _ask(self, method: str, url: str, headers: Headers, body: bytes | None, cap_octets: int) -> Response:
        wanted = _headers(headers)
        keeping, fresh = self._made()
        try:
            return await _whole(keeping, method, url, wanted, body, cap_octets)
        except Exception as error:
            if not _was_closed(error):
                raise
        return await _whole(fresh, method, url, wanted, body, cap_octets)

    def _made(self) -> tuple[Any, Any]:
        """One that keeps connections, and one that does not."""
        if self._agents is None:
            from twisted.web.client import HTTPConnectionPool

            pool = HTTPConnectionPool(self._reactor)
            pool.maxPersistentPerHost = KEPT
            pool.cachedConnectionTimeout = KEPT_S
            # Asking again is done here, for every method.
            pool.retryAutomatically = False
            self._agents = self._agent(pool), self._agent(None)
        return self._agents

    def _agent(self, pool: Any) -> Any:
        from twisted.web.client import Agent

        return Agent(self._reactor, pool=pool)


def _headers(given: Headers) -> Any:
    """Raises HTTPFailed for a value that no header may have: nothing is cut or bent."""
    from twisted.web.http_headers import Headers as Fields

    fields = Fields()
    for name, value in given.items() if isinstance(given, Mapping) else given:
        if not value.isprintable() and any(ord(one) < 32 or ord(one) == 127 for one in value):
            raise HTTPFailed(f"the header {name} cannot have such a value")
        fields.addRawHeader(name.encode("ascii"), value.encode("utf-8", "backslashreplace"))
    return fields


async def _whole(agent: Any, method: str, url: str, headers: Any, body: bytes | None, cap_octets: int) -> Response:
    producer = _Octets(body) if body is not None else None
    response = await cancellable(agent.request(method.encode("ascii"), url.encode("ascii"), headers, producer))
    reader = _Body(cap_octets)
    response.deliverBody(reader)
    whole = await reader.done
    named = {
        name.decode("latin-1").lower(): values[0].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    return Response(response.code, named, whole)


@implementer(IBodyProducer)
class _Octets:
    """The body of a request, written at once: an answer that comes before its end would confuse Twisted's client."""

    def __init__(self, octets: bytes) -> None:
        self.length = len(octets)
        self._octets = octets

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is written."""

    def resumeProducing(self) -> None:
        """It is written."""

    def stopProducing(self) -> None:
        """It is written."""


class _Body(Protocol):
    """Reads the body of an answer up to a cap; `done` gives it, and ends the connection when it is cancelled."""

    def __init__(self, cap_octets: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._leave())
        self._cap_octets = cap_octets
        self._held = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        if self.done.called:
            return
        self._held += data
        if len(self._held) > self._cap_octets:
            self._leave()
            self.done.errback(HTTPFailed(f"an answer of more than {self._cap_octets} octets"))

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's signature
        """Its end; one that only the end of the connection could tell is taken for one (RFC 9112 section 6.3)."""
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self._held))
        else:
            self.done.errback(reason)

    def _leave(self) -> None:
        self._held = bytearray()
        if self.transport is not None:
            self.transport.loseConnection()


def _was_closed(error: Exception) -> bool:
    """Whether a connection was closed before any answer, as one is that was kept too long."""
    from twisted.web.client import ResponseNeverReceived

    return isinstance(error, ResponseNeverReceived) and all(
        reason.check(ConnectionDone, ConnectionLost) is not None for reason in error.reasons
    )


def _is_certificate(error: Exception) -> bool:
    from OpenSSL.SSL import Error
    from service_identity import VerificationError

    causes = [reason.value for reason in getattr(error, "reasons", None) or ()] or [error]
    return any(
        isinstance(one, VerificationError) or isinstance(one, Error) and "certificate" in str(one) for one in causes
    )


def _reason(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)
    known = reasons[0].value if reasons else error
    return f"{type(known).__name__}: {known}".rstrip(": ")[:500]
