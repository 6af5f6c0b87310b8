"""HTTPS to hosts that others name: over public addresses only, so that their DNS cannot lead us inside.

It is for all calls out of the gateway: what strangers' DNS names (reports, policies), and what the operator's
configuration does (webhooks), which may list networks of its own beside. Connections are kept, so that who may be
connected to is the client's, and not the request's. Names are looked up by our resolver, and the connection goes to
an address that was looked at, so that no second look-up can answer otherwise. The certificate is checked against the
name, whatever the address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smtpgate.config.endpoint import is_address
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import HTTPClient
from smtpgate.policy.names import Answer


class PublicHTTPClient(HTTPClient):
    """The client."""

    def __init__(
        self,
        reactor: Any,
        resolver: Any,
        is_allowed: Callable[[str], bool],
        trust_root: Any = None,
        port: int = 443,
        in_clear: bool = False,
    ) -> None:
        """
        :param resolver: an `interfaces.IResolver`
        :param is_allowed: whether an address may be connected to
        :param trust_root: authorities; None: those of the system
        :param port: of all servers; 0: that of the address
        :param in_clear: http is asked for too, where the address says so
        """
        super().__init__(reactor)
        self._factory = _Endpoints(reactor, resolver, is_allowed, trust_root, port, in_clear)

    def _agent(self, pool: Any) -> Any:
        from twisted.web.client import Agent

        return Agent.usingEndpointFactory(self._reactor, self._factory, pool=pool)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Gives the endpoint of an address of the Web."""

    def __init__(
        self, reactor: Any, resolver: Any, is_allowed: Callable[[str], bool], root: Any, port: int, in_clear: bool
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._root = root
        self._port = port
        self._in_clear = in_clear

    def endpointForURI(self, uri: Any) -> Any:
        """TLS to one of its addresses."""
        from twisted.internet.ssl import optionsForClientTLS, platformTrust

        host = uri.host.decode("ascii").removeprefix("[").removesuffix("]")
        looked = _Looked(self._reactor, self._resolver, self._is_allowed, host, self._port or uri.port)
        if uri.scheme == b"http" and self._in_clear:
            return looked
        if uri.scheme != b"https":
            raise HTTPFailed("only https is asked for")
        return wrapClientTLS(optionsForClientTLS(host, trustRoot=self._root or platformTrust()), looked)


@implementer(IStreamClientEndpoint)
class _Looked:
    """A host whose addresses are looked at before one is connected to."""

    def __init__(self, reactor: Any, resolver: Any, is_allowed: Callable[[str], bool], host: str, port: int) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._host = host
        self._port = port

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect to the first address that answers."""
        return ensureDeferred(self._connect(factory))

    async def _addresses(self) -> list[str]:
        if is_address(self._host):
            # Written as one: it is looked at like any other.
            return [self._host]
        answers: list[Answer] = [await self._resolver.lookup(self._host, kind) for kind in ("A", "AAAA")]
        return [str(address) for answer in answers for address in answer.records if answer.status == "ok"]

    async def _connect(self, factory: Any) -> Any:
        found = await self._addresses()
        allowed = [address for address in found if self._is_allowed(address)]
        if not allowed:
            raise HTTPFailed(f"{self._host} has no {'public ' if found else ''}address")
        last: Exception | None = None
        for address in allowed[:4]:
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                return await kind(self._reactor, address, self._port, timeout=5).connect(factory)
            except OSError as error:
                last = error
            except Exception as error:
                # Twisted's own errors of connecting are no OSError.
                last = error
        assert last is not None
        raise last
