"""A hook for smtpgate in plain Python: mail with more than twenty recipients waits for a person, bulk is marked.

Start it with a port and the file that holds the secret: `python size_hook.py 8085 /etc/smtpgate/hook.secret`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = Path(sys.argv[2]).read_bytes().strip()


def is_signed(given: str, body: bytes) -> bool:
    """Whether the gateway wrote this, within the last five minutes."""
    try:
        fields = dict(part.split("=", 1) for part in given.split(","))
        seconds = int(fields["t"])
    except (ValueError, KeyError):
        return False
    wanted = hmac.new(SECRET, b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, fields.get("v1", "")) and abs(time.time() - seconds) < 300


def judge(event: dict[str, Any]) -> dict[str, Any]:
    """The answer to one message."""
    count = len(event["envelope"]["recipients"])
    if count > 20:
        return {"action": "defer", "reason": "many", "text": f"Please ask before you write to {count} people"}
    names = {name.lower() for name, _ in event["header"]}
    if "list-unsubscribe" in names:
        return {"action": "continue", "edits": [{"op": "add", "name": "X-Bulk", "value": "yes"}]}
    return {"action": "continue"}


class Hook(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not is_signed(self.headers.get("X-Smtpgate-Signature", ""), body):
            self.send_error(403)
            return
        answer = json.dumps(judge(json.loads(body))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook)
    print(f"listening on {server.server_port}", flush=True)  # noqa: T201
    server.serve_forever()
