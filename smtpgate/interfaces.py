"""Every contract between rooms, and the one for plugins.

Plugin authors need the first part only: a factory (`IFilterFactory`) found in the `smtpgate.plugins` package, one
filter for each configuration revision, one object for each session and transaction. The second part holds the ports
through which the engine (`proxy`) meets the plumbing (`net`) and the stores (`state`); `tap` joins them.
"""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from smtpgate.smtp.reply import Reply


class ClientGone(Exception):
    """The client left; raised into the session wherever it waits.

    :ivar is_reset: it is certain that nobody reads what we write; else the client has only stopped sending
    """

    def __init__(self, reason: str, is_reset: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_reset = is_reset


class Unavailable(Exception):
    """What was asked for cannot be had now, and may be had later: the client hears a 4yz."""


class SessionClosing(Exception):
    """The session ends now.

    :ivar by: who ends it: server, drain, timeout, error or quit
    :ivar reply: what is still to be said, if anything
    """

    def __init__(self, by: str, reply: Reply | None) -> None:
        super().__init__(by)
        self.by = by
        self.reply = reply


class IFilterFactory(IPlugin):
    """Makes one filter from its options. Found by name, so it is a plugin object at module level."""

    name = Attribute("what `use` in [[filters]] calls it")
    options = Attribute("a pydantic model class: the filter's own table, documented by its fields")
    roles = Attribute("frozenset of listener roles it is meant for: mx, submission")
    stages = Attribute("frozenset of stage names it wants to be called at")
    on_error = Attribute("its default failure policy: tempfail, reject or continue")
    needs_message = Attribute("True when the backend may not see the start of a message before the `end` stage")
    budget_s = Attribute("longest it may hold the verdict, seconds; over 5 the message is spooled")

    def build(options, services):
        """One filter for one configuration revision. No input or output happens here.

        :return: an IFilter
        """


class IFilter(Interface):
    """One configured filter. Session and transaction objects have stage methods, each optional, plain or async.

    A stage method gives None or one Finding; anything else, an exception and a time-out are its failure, and follow
    its failure policy. `closed()` comes once, always, and answers nothing.
    """

    def session(session):
        """An object for one session, with `connect()`, `helo(name)`, `auth(user)`, `closed()`; or None."""

    def transaction(transaction):
        """An object for one transaction, with `mail()`, `rcpt(recipient)`, `data()`, `header(section)`,
        `body(chunk)`, `end()`, `closed()`; or None."""

    def close():
        """The revision has no session left."""


class IServices(Interface):
    """What a filter may use of the gateway, and nothing else."""

    clock = Attribute("IReactorTime")
    edits = Attribute("edits(transaction) gives the EditList of a running transaction")

    def run_in_worker(function, *args):
        """Run blocking work in a thread; a Deferred with its result."""

    def tell(event):
        """Tell a fact to the witnesses."""


class IWatcher(Interface):
    """A witness: hears every event, answers nothing, may never raise into the core."""

    def hear(event):
        """One event of policy.event."""


class IFrontLeg(Interface):
    """The leg to a client, as the session sees it (net.front)."""

    wire = Attribute("the smtp.server.ServerConnection")
    is_gone = Attribute("True when the client cannot hear us any more")

    def event(deadline):
        """Await the next wire event; raises TimeUp at `deadline`, ClientGone when the client left."""

    def input(deadline):
        """What to await when the wire says NEED_DATA; writes what the wire has to say first."""

    def flush():
        """Write what the wire has to say."""

    def sent(deadline):
        """Await that all written octets are with the kernel."""

    def start_tls(tls, deadline):
        """Await the server handshake; gives TLSFacts, raises ClientGone when it fails."""

    def proxy_header(deadline):
        """Await the PROXY header; gives smtp.proxyline.Origin or BadHeader."""

    def close(linger):
        """Flush, then end the connection; `linger` where the client may still be sending."""

    def abort():
        """End the connection at once."""


class ILinkEdge(Interface):
    """The leg to a backend, as proxy.link sees it (net.back)."""

    is_open = Attribute("True while octets can be written")
    is_full = Attribute("True while more is queued than should be")
    is_connected = Attribute("True once the connection stands, though the server may have said nothing yet")

    def write(octets):
        """Queue octets; what the kernel takes is sent at once, or at the end of the round."""

    def start_tls(tls):
        """Begin a client handshake; the owner hears `tls_started` or `lost`."""

    def close():
        """Flush and end."""

    def abort():
        """End at once."""


class ILinkOwner(Interface):
    """Who hears a backend edge."""

    def connected():
        """The connection stands."""

    def received(octets):
        """Octets came, in clear or out of TLS."""

    def drained():
        """The queue is small again."""

    def tls_started(facts):
        """The handshake is done."""

    def lost(reason):
        """The connection is over: refused, reset, closed, or TLS failed. Comes once."""


class IConnector(Interface):
    """Opens edges to backend servers."""

    def connect(address, owner, host, server_first):
        """Begin to connect to a resolved address; the owner hears what happens. Gives an ILinkEdge.

        Where the server speaks first, the owner may hear of the connection as late as that.
        """

    def resolve(host, port):
        """A Deferred with a list of addresses, as socket.getaddrinfo orders them."""


class StoreFailed(Exception):
    """A store could not do what it was asked; the text says why."""


class ILedgerStore(Interface):
    """Where the commit ledger keeps its rows. Each call gives a Deferred; a row is durable when it fires.

    It fails with `StoreFailed`, whatever the engine behind it raises.
    """

    def load(now):
        """All rows not yet expired: a list of (key, recipient, state, server, expires, transaction id, reply)."""

    def put(rows):
        """Write rows, replacing those of the same key and recipient."""

    def expire(now):
        """Forget the rows past their time."""


class ISpoolStore(Interface):
    """Where bodies that do not fit in memory are kept."""

    def open():
        """A binary file object that vanishes when closed; raises OSError when there is no room."""


class IHistoryStore(Interface):
    """Where ended sessions are kept. Each call gives a Deferred."""

    def write(ended):
        """Keep a batch of ended sessions (`policy.transaction.Session`), whose facts change no more."""

    def session(id):
        """One session's record as `policy.record.plain` makes it, or None."""

    def recent(limit, before):
        """The newest sessions."""
