"""HTTP requests to engines and hooks (`interfaces.IHTTPClient`), over one pool of connections.

Nothing is followed, nothing is remembered: no redirects, no cookies, no proxy. An answer is read up to a cap and no
further. Whatever goes wrong is one kind of error, with a text for the administrator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from zope.interface import implementer

from smtpgate.interfaces import HTTPFailed, IHTTPClient

#: Connections kept open to one engine.
KEPT: Final = 8


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
    """The client. Its library is loaded with the first request."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._agent: Any = None

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | list[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
        cap_octets: int,
    ) -> Deferred[Response]:
        """Ask once. Fails with HTTPFailed."""
        return ensureDeferred(self._request(method, url, headers, body, timeout_s, cap_octets))

    async def _request(
        self, method: str, url: str, headers: Any, body: bytes | None, timeout_s: float, cap_octets: int
    ) -> Response:
        from twisted.web.client import Agent, HTTPConnectionPool
        from twisted.web.http_headers import Headers

        if self._agent is None:
            pool = HTTPConnectionPool(self._reactor)
            pool.maxPersistentPerHost = KEPT
            self._agent = Agent(self._reactor, connectTimeout=timeout_s, pool=pool)
        wanted = Headers()
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            wanted.addRawHeader(name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        try:
            asked: Deferred[Any] = ensureDeferred(self._whole(method, url, wanted, body, cap_octets))
            answer: Response = await asked.addTimeout(timeout_s, self._reactor)
        except (CancelledError, HTTPFailed):
            raise
        except Exception as error:
            raise HTTPFailed(_reason(error)) from error
        return answer

    async def _whole(self, method: str, url: str, headers: Any, body: bytes | None, cap_octets: int) -> Response:
        import io

        from treq.content import collect
        from twisted.web.client import FileBodyProducer

        producer = FileBodyProducer(io.BytesIO(body), readSize=1 << 18) if body is not None else None
        response = await self._agent.request(method.encode("ascii"), url.encode("ascii"), headers, producer)
        held: list[bytes] = []
        size = 0

        def take(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > cap_octets:
                raise HTTPFailed(f"an answer of more than {cap_octets} octets")
            held.append(piece)

        await collect(response, take)
        named = {
            name.decode("latin-1").lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Response(response.code, named, b"".join(held))


def _reason(error: Exception) -> str:
    reasons = getattr(error, "reasons", None)
    if reasons:
        error = reasons[0].value
    return f"{type(error).__name__}: {error}"[:500]
