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


class ServiceFailed(Exception):
    """What a filter asked did not do its work; the text says why, for the administrator. No fault of the filter."""


class ChildFailed(ServiceFailed):
    """A child process did not do its job; the gateway and everybody else's jobs go on.

    :ivar kind: busy, timeout, died, lied, error or closed
    :ivar text: what is known of it, for the administrator
    """

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text


class StreamClosed(ServiceFailed):
    """The other side of a stream is gone, or could not be reached."""


class HTTPFailed(ServiceFailed):
    """A request over HTTP got no answer that could be used; the text says why.

    :ivar is_certificate: the server's certificate could not be verified
    """

    def __init__(self, text: str, is_certificate: bool = False) -> None:
        super().__init__(text)
        self.is_certificate = is_certificate


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
    category = Attribute("what it guards against, one of policy.verdict.CATEGORIES; spam and sender have mercy")
    needs_message = Attribute("True when the backend may not see the start of a message before the `end` stage")
    needs_content = Attribute("True when it asks for `services.content` or `services.examine` at `end`")
    budget_s = Attribute("longest it may hold the verdict, seconds; over 5 the message is spooled")

    def build(options, services):
        """One filter for one configuration revision. No input or output happens here.

        :return: an IFilter
        """


class IFilter(Interface):
    """One configured filter. Session and transaction objects have stage methods, each optional, plain or async.

    A stage method gives None, one Finding, or a list of them; anything else, an exception and a time-out are its
    failure, and follow its failure policy. `closed()` comes once, always, and answers nothing.
    """

    def session(session):
        """An object for one session, with `connect()`, `helo(name)`, `auth(user)`, `closed()`; or None."""

    def transaction(transaction):
        """An object for one transaction, with `mail()`, `rcpt(recipient)`, `data()`, `header(section)`,
        `body(chunk)`, `end()`, `closed()`; or None."""

    def close():
        """The revision has no session left."""


class IEngine(Interface):
    """What a filter that asks servers may provide beside `IFilter`: how these stand, for those who manage them."""

    def standing():
        """A tuple of `policy.standing.ServerStanding`, at once; () where it asks none."""

    def signatures():
        """When what its engine looks for was made, seconds since the epoch; None where the engine does not say.

        :return: an awaitable. Raises ServiceFailed
        """


class ISenders(Interface):
    """What is known of senders from their mail before. Answered at once, from memory."""

    def record(kind, name):
        """A `policy.sender.SenderRecord`, or None; `kind`: address, network (of the address `name`), name (of a host),
        sender or dkim (a proved domain)."""

    def is_correspondent(local, domain):
        """Whether our own users write to that domain; at a mailbox provider, to that mailbox."""

    def looks_like_correspondent(domain):
        """Domains that our own users write to and that this one, to which they do not, looks like: in other letters of
        the same look, or with one letter more, less or changed, or two swapped."""


class IServices(Interface):
    """What a filter may use of the gateway, and nothing else."""

    clock = Attribute("IReactorTime")
    settings = Attribute("hostname, local_domains (DomainList) and trusted_relays (NetworkList) of the configuration")
    resolver = Attribute("IResolver")
    http = Attribute("IHTTPClient")
    senders = Attribute("ISenders")
    lists = Attribute(
        "what people list while the gateway runs: client(address), sender(local, domain), hit(found); or None"
    )
    edits = Attribute("edits(transaction) gives the EditList of a running transaction")

    def run_in_worker(function, *args):
        """Run blocking work in a thread; a Deferred with its result."""

    def tell(event):
        """Tell a fact to the witnesses."""

    def once(transaction, key, make):
        """What several filters need of one transaction, made once.

        `make()` gives a coroutine; it goes on when one who waits is cancelled, and is cancelled when the transaction
        closes. A Deferred of one's own for each who asks.
        """

    def cached(key, make, keep_s):
        """What holds over transactions: one at work for each key, its result kept for `keep_s` seconds.

        It goes on when all who waited are gone, so that a late result serves the next try. A failure is not kept.

        :param key: a tuple of texts and numbers that begins with the filter's name
        """

    def content(transaction):
        """The content of a transaction (IContent), at stage `end`, for a factory with `needs_content`."""

    def examine(transaction):
        """A Deferred with the `examine.facts.Facts` of the content, the same for all filters; at stage `end`, for a
        factory with `needs_content`. Fails with ChildFailed."""

    def known(transaction):
        """What the content of a transaction has of registered documents and tables; as `examine`, a Deferred with a
        `examine.registered.Registered`. Fails with ServiceFailed."""

    def in_child(job, transaction, request):
        """Run a job on the content in a limited child process.

        :param job: one of `examine.jobs.JOBS`
        :param request: what the job is told; plain values as JSON takes them
        :return: a Deferred with the job's plain answer; fails with ChildFailed
        """

    def connect(endpoint, timeout_s):
        """Connect to "host:port", "[v6]:port" or "unix:/path"; a Deferred with an IStream."""

    def table(name):
        """A small store that outlives the process (ITable); filters of one name share it."""


class IChildren(Interface):
    """Limited child processes (net.children)."""

    def run(job, descriptor, request, timeout_s):
        """Run a job on the content behind a descriptor; a Deferred with its plain answer, fails with ChildFailed."""


class IResolver(Interface):
    """The one resolver for all filters."""

    def lookup(name, kind):
        """Ask for records, as ("example.net", "MX").

        :return: a Deferred with `policy.names.Answer`; it never fails but by cancellation
        """


class IContent(Interface):
    """The octets of one message as the client sent them, header section first, dots undone."""

    octets = Attribute("their number")
    digest = Attribute("SHA-256 of them all, in hex")

    def pieces():
        """An async iterator over all of it, from the start."""

    def read():
        """Await all of it; for messages that are known to be small."""

    def descriptor():
        """Await a descriptor of a nameless file that holds all of it; it is closed with the transaction."""


class IStream(Interface):
    """A connection to an engine (net.stream). Each call that waits raises StreamClosed where the peer is gone."""

    is_open = Attribute("True until it was closed by either side")

    def write(octets):
        """Queue octets."""

    def drained():
        """Await that little is queued."""

    def read(n_max):
        """Await octets, at most so many; b"" at the end."""

    def read_exactly(n):
        """Await so many octets."""

    def read_until(mark, cap):
        """Await all octets up to and with `mark`; raises ValueError where that is more than `cap`."""

    def close():
        """Flush and end."""

    def abort():
        """End at once."""


class IHTTPClient(Interface):
    """Requests to engines over HTTP (net.http)."""

    def request(method, url, headers, body, timeout_s, cap_octets):
        """A Deferred with status, headers and body (at most `cap_octets`); fails with HTTPFailed."""


class ITable(Interface):
    """Small values under text keys, each with a time to live. Each call gives a Deferred."""

    def get(key):
        """The value, or None."""

    def put(key, value, keep_s):
        """Keep a plain value, as JSON takes it."""


class IWatcher(Interface):
    """A witness: hears of events, answers nothing, may never raise into the core."""

    hears = Attribute("the kinds of events that it hears of; None for all")

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
    tls_fault = Attribute("what of the server's certificate ended a handshake (RFC 8460 section 4.3), or ''")

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


class Taken(Exception):
    """A name is in use, by now."""


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


class IRegister(Interface):
    """Where registered documents and tables are kept, as hashes alone. Each call blocks, and is for a thread.

    It raises `StoreFailed`.
    """

    def listed():
        """What there is: a list of dicts with `kind` (fingerprint, table), `name`, `octets`, `changed` (seconds since
        the epoch) and what the file says of itself."""

    def put(kind, name, content):
        """Keep a file, in place of the one of that name. It is there whole or not at all."""

    def remove(kind, name):
        """Forget one; False where there is none."""

    def request():
        """What a child is told that looks for them: the `key` in hex, and the paths of all `fingerprints` and
        `tables`."""


class ICounterStore(Interface):
    """Where what is counted outlives the process: rows of a text key and a plain value, by space.

    Memory answers for every message; the store only hears what changed. So an engine that several gateways share may
    be behind it: each goes on with what it has while that is away. Each call gives a Deferred, and fails with
    `StoreFailed`.
    """

    def load(space, now):
        """All rows of a space that have not expired: a list of (key, value, expires)."""

    def put(space, rows):
        """Write rows, replacing those of the same key; a value of None takes its row away."""

    def expire(now):
        """Forget the rows past their time."""


class ISeriesStore(Interface):
    """Where counts over time are kept (`policy.counted`): by the minute for 48 hours, by the hour for 400 days. Each
    call gives a Deferred, and fails with `StoreFailed`."""

    def put(minutes):
        """Add to what is there: pairs of a minute, seconds since the epoch, and its counts by metric and labels."""

    def load(names, step, begin, end):
        """Rows (metric, when the step began, counts by labels) of a step of 60 or 3600 seconds, by time."""

    def oldest():
        """When the first step began that is kept; None where none is."""


class ITalkerStore(Interface):
    """Where it is kept who was seen most (`policy.sketch`). Calls give a Deferred, and fail with `StoreFailed`."""

    def put(hour, kinds):
        """Write an hour in place of what was written of it: by kind, rows of a name and its counts, and the floor."""

    def load(kind, step, begin, end):
        """(When it began, rows, floor) of steps of 3600 or 86400 seconds, by time."""

    def load_now(kind, hour):
        """The same of one hour, at once."""


class IVault(Interface):
    """Where held messages and letters are (`policy.held`), durably. Each call gives a Deferred, and fails with
    `StoreFailed`; what it wrote is on the disk when it fires. `state.vault` says more of each."""

    def begin():
        """A file for the octets of a message: `write(octets)`, `finish()`, `abandon()`; `name` is what rows call it."""

    def open(name):
        """A binary file object of such a file."""

    def keep(messages, letters):
        """Put rows in, all or none."""

    def known(key):
        """The message that was held for the same try, or None."""

    def settle(ids, *, is_taken):
        """Of pending letters: they go, or they never were."""

    def withdraw(ids):
        """Delete held messages and give the ids of those that were there."""

    def post(letter, fates):
        """Write a letter, anew or changed; `fates`: by address of a recipient of its held message, state and reply."""

    def go_on(letter, fates):
        """Write a letter anew, as `post`; False, and nothing is written, where it was taken back meanwhile."""

    def due(now, limit):
        """Letters to be tried."""

    def done(letter, fates, returned=()):
        """A letter is over; `fates` as in `post`; `returned`: what came back of it is held."""


class ITickets(Interface):
    """Where tickets are (`policy.ticket`). Each call but the first two gives a Deferred, and fails with `StoreFailed`;
    `state.ticket_store` says more of each."""

    on_way = Attribute("a set of ids: tickets with which a message is on its way")

    def key(rule, sender, recipients, digest):
        """By which a message is known when it comes again."""

    def fresh_id():
        """Of a new ticket."""

    def find(key):
        """The newest ticket of a message, or None."""

    def put(ticket):
        """Write one."""

    def change(id, before, state, expires, reason, decided_by):
        """Another state, where it is in one of those in `before`."""


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

    def search(query, limit, before):
        """Messages that fit a `policy.query.Query`, newest first (`policy.found.Found`).

        :param before: `place` of a page before; 0 for the newest
        """

    def count(query):
        """How many messages fit, when they came, and what the newest have (`policy.found.Counted`)."""

    def erase(address, step):
        """Take an address out of all that is kept (a coroutine); of how many messages."""

    def without(query):
        """What would fit without each clause of a query (`policy.found.Without`)."""

    def begun_since(at, limit, after):
        """Sessions that began at or after a time, the oldest first; `after`: id of one that began then, to go on."""

    def edge(limit):
        """When the session began that as many as `limit` came after; 0.0 where there are fewer."""
