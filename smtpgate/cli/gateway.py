"""The running gateway, reached over `control.sock` in its state folder; whoever may open that socket is
the owner.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smtpgate.cli.terminal import EXIT_CONFIG, Failed
from smtpgate.config.loader import ConfigErrors, load
from smtpgate.config.model import Settings
from smtpgate.config.paths import CONTROL_SOCKET, control_socket

#: Longest wait for an answer of the gateway: a reload resolves names and reads files.
TIMEOUT_S = 60.0


class Unreachable(Failed):
    """No gateway answers."""


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._state_dir = state_dir

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(control_socket(self._state_dir))


class Gateway:
    """The gateway that runs with a configuration file."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.state_dir = state_dir(config)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request to the API; raises Failed where it is refused, Unreachable where nobody answers."""
        status, content, _ = self._ask(method, path, body)
        try:
            value = json.loads(content)
        except ValueError:
            raise Failed(f"the gateway answers with something that is not JSON (status {status})") from None
        if status >= 400:
            faults = "; ".join(f"{_place(one)}: {one['message']}" for one in value.get("errors", ()))
            raise Failed(": ".join(filter(None, (value.get("detail") or value.get("title", "refused"), faults))))
        return value

    def fetch(self, path: str) -> bytes:
        """Octets that the API has."""
        return self.fetch_with_headers(path)[0]

    def fetch_with_headers(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        """The same, with the header of the answer."""
        status, content, headers = self._ask("GET", path, None)
        if status >= 400:
            self.ask("GET", path)
        return content, headers

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes, Mapping[str, str]]:
        connection = _Local(self.state_dir)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = (
                "only root and the gateway's own user may" if isinstance(error, PermissionError) else "is it running?"
            )
            raise Unreachable(f"no gateway answers at {self.state_dir / CONTROL_SOCKET}: {reason}") from error
        finally:
            connection.close()
        return answer.status, content, dict(answer.headers)


def _place(fault: Mapping[str, str]) -> str:
    """Where a fault of a request is."""
    return fault.get("parameter") or fault.get("pointer", "").strip("/") or "request"


def state_dir(config: Path) -> Path:
    """The state folder that a configuration names. The rest of the file may have faults: the running gateway must
    still be found."""
    try:
        tree = tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Failed(f"{config}: cannot be read: {error}", EXIT_CONFIG) from None
    named = tree.get("state_dir", "var")
    return Path(os.path.normpath(config.absolute().parent / (named if isinstance(named, str) else "var")))


def settings_of(config: Path) -> Settings:
    """The whole configuration; raises Failed with every problem."""
    from smtpgate.plugins import find_factories

    factories, failed = find_factories()
    try:
        return load(config, factories, failed)
    except ConfigErrors as errors:
        raise Failed(str(errors), EXIT_CONFIG) from None
