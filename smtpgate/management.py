"""All of the admin side of one gateway: the office with its doors, letters to people, calls out; opened and closed as
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred

from smtpgate.admin.alert_mail import AlertMails
from smtpgate.admin.digest import Digests
from smtpgate.admin.hooks import Webhooks
from smtpgate.admin.site import Office
from smtpgate.config.model import Settings
from smtpgate.config.model_hooks import Webhook
from smtpgate.config.model_sso import Provider
from smtpgate.config.paths import control_socket
from smtpgate.control import Control
from smtpgate.control.tls_sending import TLSSending
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.observe.exposition import Number
from smtpgate.policy.addresses import is_public, may_be_called
from smtpgate.policy.event import Happened
from smtpgate.state.hook_store import HookStore
from smtpgate.stores import Stores


class Management:
    """Of one gateway.

    :ivar office: what the pages and the API share
    """

    def __init__(
        self,
        control: Control,
        stores: Stores,
        metrics: Any,
        reactor: Any,
        in_thread: Callable[..., Any],
        resolver: Any,
        secret: bytes,
    ) -> None:
        """
        :param resolver: `interfaces.IResolver`, as the settings at work say
        :param secret: signs the links of letters
        """
        self._control = control
        self._reactor = reactor
        self._resolver = resolver
        table = stores.memory.table
        self.office = office = Office(
            control, stores.users, metrics, reactor, in_thread, self._say_code, table("repeats"), secret
        )
        self.digests = Digests(control, office.templates.mail, office.links, reactor, table("digest"), ensureDeferred)
        office.heard = self.digests.heard
        self._tls_sending = TLSSending(
            control,
            lambda resolver: PublicHTTPClient(reactor, resolver, is_public),
            reactor,
            table("tls-reports"),
            ensureDeferred,
        )
        control.mutes.table = table("mutes")
        self._alert_mails = AlertMails(control, reactor, table("alert-mail"), ensureDeferred)
        office.hooks = Webhooks(control, HookStore(stores.database), self._caller, reactor)
        office.logins.client = self._provider_client
        control.promises.lookup = resolver.lookup
        control.promises.http = PublicHTTPClient(reactor, resolver, is_public)

    def listen(self, settings: Settings, listen: Callable[[str, Any, str], None], folder: Path) -> None:
        """Open its doors.

        :param listen: listens on an endpoint with a factory; the last is what for
        :param folder: the state folder, where the command line comes in
        """
        for endpoint, door in ((settings.admin.listen, "web"), (settings.admin.health_listen, "health")):
            if endpoint is not None:
                listen(endpoint, self.office.site(door), "admin")
        # We hold the folder's lock, so a socket that lies there is nobody's.
        path = control_socket(folder)
        Path(path).unlink(missing_ok=True)
        self._reactor.listenUNIX(path, self.office.site("local"), mode=0o600)

    def open(self, settings: Settings) -> None:
        """The reactor runs: begin what goes on by itself."""
        if settings.admin.listen is not None:
            self.office.open()
        self.digests.open()
        self._alert_mails.open()
        self.office.hooks.open()
        ensureDeferred(self._control.mutes.load())
        self._tls_sending.open()

    def close(self) -> None:
        """End all of it."""
        self.office.close()
        self.digests.close()
        self._alert_mails.close()
        self.office.hooks.close()
        self._tls_sending.close()

    def gauges(self) -> Iterator[Number]:
        """Who is here, for the metrics."""
        return self.office.gauges()

    def _caller(self, hook: Webhook) -> PublicHTTPClient:
        """A client that goes where a webhook may be, and nowhere else."""
        return self._client(hook.networks)

    def _provider_client(self, provider: Provider) -> PublicHTTPClient:
        """A client that goes where a provider of identities may be, and nowhere else."""
        return self._client(provider.networks)

    def _client(self, networks: Any) -> PublicHTTPClient:
        may = lambda ip: may_be_called(ip, networks.contains)  # noqa: E731
        return PublicHTTPClient(self._reactor, self._resolver, may, None, 0, in_clear=True)

    def _say_code(self, code: str) -> None:
        said = f"nobody can log in yet: give this code on the admin pages within 30 minutes: {code}"
        self._control.engine.tell(Happened("admin.setup", "warning", said))
