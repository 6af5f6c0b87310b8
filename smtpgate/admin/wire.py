"""HTTP as we take it: bodies, headers and connections with caps.

twisted.web writes a request's body to a temporary file before anyone is asked; here a body over its cap is
refused by its Content-Length, or while its chunks come, and never touches a disk. The rest of the room sees
`Answer` values and never sets a header itself.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from smtpgate.admin.answer import REPORTS, SAFE_HEADERS, Answer, as_json, plain, under
from smtpgate.admin.pace import Pace, Place

#: Largest request body, but for the few routes that take messages: one such body at a time, of a length that is said
#: before it comes.
BODY_OCTETS = 2**20
#: A request that is not complete after so long without an octet is dropped.
IDLE_S = 60.0
#: A request must have come whole after so long, however lively it drips.
REQUEST_S = 60.0
#: After a refusal the connection is kept so long, so that the refusal can be read.
LINGER_S = 1.0
HEADERS = 100
HEADER_OCTETS = 16384
#: Open connections of all browsers together, and of one address.
CONNECTIONS = 512
CONNECTIONS_PER_ADDRESS = 64
#: Asked by whoever watches over the process: they never wait in line.
HEALTH = frozenset({b"/livez", b"/readyz", b"/startupz"})
#: When a request that waited too long in line may come back.
AGAIN_S = 5


class WebRequest(Request):
    """One request.

    :ivar id: names it in the log and on error pages
    :ivar is_too_big: its body was refused; what came of it is gone
    """

    def __init__(self, channel: Any, *args: Any, **kw: Any) -> None:
        super().__init__(channel, *args, **kw)
        self.id = secrets.token_hex(8)
        self.is_too_big = False
        self.content = self._held = io.BytesIO()
        self._most = BODY_OCTETS
        self._gives_back: Callable[[], None] | None = None
        self._in_line: Place | None = None

    @property
    def body(self) -> bytes:
        """All of the body."""
        return self._held.getvalue()

    def gotLength(self, length: int | None) -> None:
        """The headers are complete. A body that announces itself as too big is not waited for."""
        if length is None or length <= BODY_OCTETS:
            return
        channel: Any = self.channel
        most = channel.site.most_octets(channel.verb, channel.place)
        if length > most:
            message = "" if most == BODY_OCTETS else "; in base64 that is a message of three quarters of it"
            self._refuse(413, "too-large", "Body too large", f"a request body has at most {most} octets{message}")
            return
        self._gives_back = channel.site.take_room()
        if self._gives_back is None:
            self._refuse(503, "busy", "Busy", "another message is being sent here; try again when it is done")
            return
        self._most = length

    def handleContentChunk(self, data: bytes) -> None:
        """Part of the body."""
        if self.is_too_big:
            return
        if self._held.tell() + len(data) > self._most:
            self._refuse(413, "too-large", "Body too large", f"a request body has at most {self._most} octets")
            return
        self._held.write(data)

    def finish(self) -> None:
        """All is said."""
        self._let_go()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        """The peer is gone."""
        self._let_go()
        super().connectionLost(reason)

    def _let_go(self) -> None:
        self.leave_line()
        gives_back, self._gives_back = self._gives_back, None
        if gives_back is not None:
            self.content = self._held = io.BytesIO()
            gives_back()

    def leave_line(self) -> None:
        """What comes now takes long and costs little, or it is over: others may go."""
        place, self._in_line = self._in_line, None
        if place is not None:
            self._pace.leave(place)

    @property
    def _pace(self) -> Pace:
        channel: Any = self.channel
        pace: Pace = channel.site.pace
        return pace

    def _refuse(self, status: int, slug: str, title: str, detail: str, again_s: int = 0) -> None:
        self._let_go()
        self.is_too_big = True
        self.content = self._held = io.BytesIO()
        text = json.dumps(self._problem(status, slug, title, detail)).encode()
        head = [
            f"HTTP/1.1 {status} {title}",
            "Connection: close",
            "Content-Type: application/problem+json",
        ]
        head += [f"{name}: {value}" for name, value in SAFE_HEADERS.items()]
        head += [f"Retry-After: {again_s}"] if again_s else []
        head += [f"X-Request-Id: {self.id}", f"Content-Length: {len(text)}", "", ""]
        channel: Any = self.channel
        channel.refuse("\r\n".join(head).encode() + text)

    def process(self) -> None:
        """The request is complete; it waits for its turn."""
        if self.is_too_big:
            return
        channel: Any = self.channel
        site = channel.site
        if site.pace is None or self.path in HEALTH:
            self._begin()
            return
        self._in_line = site.pace.place(site.who(self), self._begin, self._give_up)
        site.pace.enter(self._in_line)

    def _give_up(self) -> None:
        self._in_line = None
        detail = "mail comes first, and leaves no time for this; try again in a moment"
        self._refuse(503, "busy", "Busy", detail, AGAIN_S)

    def _begin(self) -> None:
        try:
            is_path = self.path.startswith(b"/") and unquote_to_bytes(self.path).decode("utf-8").isprintable()
        except UnicodeDecodeError:
            is_path = False
        if not self.header("host").isascii():
            # Routing reads it before we do, and only as text (RFC 9110 section 7.2).
            self._malformed("malformed host")
        elif is_path:
            self._leave_prefix()
            super().process()
        else:
            self._malformed("malformed path")

    def _malformed(self, why: str) -> None:
        """Refuse what no route could read: a word for people, a problem for programs."""
        value = self._problem(400, "malformed", "Malformed request", why)
        is_call = self.path.startswith(b"/api/")
        self.write(self.send(as_json(value, 400, "application/problem+json") if is_call else plain(why, 400)))
        self.finish()

    def _problem(self, status: int, slug: str, title: str, detail: str) -> dict[str, object]:
        """A refusal as programs read it."""
        said = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
        return {**said, "request_id": self.id}

    def _leave_prefix(self) -> None:
        """Some proxies take the path off under which they have us, and some do not."""
        prefix = self._prefix.encode()
        if prefix and self.path.startswith(prefix + b"/"):
            self.path = self.path[len(prefix) :]
            self.uri = self.uri[len(prefix) :]

    @property
    def _prefix(self) -> str:
        channel: Any = self.channel
        return str(channel.site.prefix())

    def send(self, answer: Answer) -> bytes:
        """Set status and headers; the body for klein to write."""
        answer = under(self._prefix, answer)
        self.setResponseCode(answer.status)
        headers = self.responseHeaders
        headers.removeHeader("Server")
        for name, value in {**SAFE_HEADERS, **answer.headers}.items():
            headers.setRawHeaders(name, [value])
        if self._prefix:
            policy = str(headers.getRawHeaders("Content-Security-Policy", [""])[-1])
            policy = policy.replace(f"report-uri {REPORTS}", f"report-uri {self._prefix}{REPORTS}")
            headers.setRawHeaders("Content-Security-Policy", [policy])
        headers.setRawHeaders("X-Request-Id", [self.id])
        headers.setRawHeaders("Content-Type", [answer.content_type])
        headers.setRawHeaders("Content-Length", [str(len(answer.body))])
        for cookie in answer.cookies:
            headers.addRawHeader("Set-Cookie", cookie)
        return answer.body

    def header(self, name: str) -> str:
        """The last value of a request header; "" without one."""
        return next(reversed(self.headers_of(name)), "")

    def headers_of(self, name: str) -> list[str]:
        """All values of a request header. Octets that are no UTF-8 become marks that stand for nothing."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        return [value.decode("utf-8", "replace") for value in values]

    @property
    def peer_ip(self) -> str:
        """Who is connected; "" over a unix socket."""
        peer = self.getClientAddress()
        return peer.host if isinstance(peer, IPv4Address | IPv6Address) else ""


class WebChannel(HTTPChannel):
    """One connection of a browser or a script."""

    requestFactory = WebRequest
    maxHeaders = HEADERS
    totalHeadersSize = HEADER_OCTETS
    # Requests that come before the one at work is answered stay in the kernel; reading them costs time that is mail's.
    _optimisticEagerReadSize = 0
    site: Any = None
    _is_refused = False
    _arriving: Any = None

    @property
    def verb(self) -> bytes:
        """Method of the request that comes; known before its body is."""
        return bytes(getattr(self, "_command", b""))

    @property
    def place(self) -> bytes:
        """Its path."""
        return bytes(getattr(self, "_path", b"")).partition(b"?")[0]

    def dataReceived(self, data: bytes) -> None:
        """Octets came; after a refusal they go nowhere."""
        if self._is_refused:
            return
        if self._arriving is None and not self._handlingRequest:
            self._arriving = self.callLater(REQUEST_S, self._too_slow)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """The request is complete."""
        self._arrived()
        super().allContentReceived()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """The peer is gone."""
        self._arrived()
        super().connectionLost(reason)

    def _arrived(self) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving is not None and arriving.active():
            arriving.cancel()

    def _too_slow(self) -> None:
        # An octet now and then would keep the idle timer away for ever.
        self._arriving = None
        self.forceAbortClient()

    def refuse(self, octets: bytes) -> None:
        """Answer before the request is complete, and read nothing more."""
        if self._is_refused:
            return
        self._is_refused = True
        self._arrived()
        self.setTimeout(None)
        transport: Any = self.transport
        transport.write(octets)
        # What is under way is still taken in and dropped, or a reset would overtake the answer.
        self._arriving = self.callLater(LINGER_S, transport.loseConnection)

    def _send100Continue(self) -> None:
        # Asked for by twisted.web right after the headers; a refused body must not be invited.
        if not self._is_refused:
            super()._send100Continue()


class WebSite(Site):
    """Listens for browsers, for scripts, for the command line, or for health checks.

    :ivar door: "web", "local" (the unix socket: whoever may open it is the owner) or "health"
    """

    requestFactory = WebRequest
    displayTracebacks = False

    def __init__(
        self,
        resource: IResource,
        clock: Any,
        door: str,
        large: Callable[[bytes, bytes], int] = lambda verb, path: 0,
        prefix: Callable[[], str] = str,
        pace: Pace | None = None,
        who: Callable[[WebRequest], str] = lambda request: request.peer_ip,
    ) -> None:
        """
        :param pace: the lines in which requests wait; None: nobody waits at this door
        :param who: by what a request is told from those of others in line: its address
        :param prefix: the path under which a proxy has the site, "" where it is at the root
        :param large: the most octets that a body may have, by method and path; 0 where that is as for all
        """
        super().__init__(resource, reactor=clock, timeout=IDLE_S, parsePOSTFormSubmission=False)
        self.door = door
        self._large = large
        self.prefix = prefix
        self.pace = pace
        self.who = who
        self._has_room = True
        self._by_address: dict[str, int] = {}
        self._open = 0

    def log(self, request: Any) -> None:
        """No access log: changes are in the audit, numbers in the metrics."""

    def most_octets(self, verb: bytes, path: bytes) -> int:
        """The largest body that a route takes."""
        return max(self._large(verb, path.removeprefix(self.prefix().encode())), BODY_OCTETS)

    def take_room(self) -> Callable[[], None] | None:
        """Room for one body over BODY_OCTETS, and how it is given back; None where another has it."""
        if not self._has_room:
            return None
        self._has_room = False

        def give_back() -> None:
            self._has_room = True

        return give_back

    def startFactory(self) -> None:
        """Nothing to open."""

    def stopFactory(self) -> None:
        """Nothing to close."""

    def buildProtocol(self, addr: Any) -> Any:
        """A channel, unless too many are open."""
        address = addr.host if isinstance(addr, IPv4Address | IPv6Address) else ""
        if self._open >= CONNECTIONS or self._by_address.get(address, 0) >= CONNECTIONS_PER_ADDRESS:
            return None
        channel: Any = _Counted()
        channel.requestFactory = WebRequest
        channel.site = self
        channel.factory = self
        channel.timeOut = self.timeOut
        channel.callLater = self.reactor.callLater
        channel.on_lost = self._entered(address)
        return channel

    def connected(self, transport: Any) -> None:
        """A connection is there."""
        if self.pace is not None:
            self.pace.connected(getattr(transport, "server", None))

    def _entered(self, address: str) -> Callable[[], None]:
        self._open += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1

        def left() -> None:
            self._open -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

        return left


class _Counted(WebChannel):
    """A channel that its site counts."""

    on_lost: Any = None

    def connectionMade(self) -> None:
        """One more."""
        super().connectionMade()
        self.site.connected(self.transport)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """One less."""
        self.on_lost()
        super().connectionLost(reason)
