"""`twistd` that kills itself with SIGKILL at one step of putting a configuration to work: KILL_AT says at which.

The steps are the calls that an order makes, and the moment within the database's transaction before it is committed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.control import Control
from smtpgate.state import revision_store
from smtpgate.state.revision_store import RevisionStore


def die() -> None:
    """Now, without a word to anybody."""
    os.kill(os.getpid(), signal.SIGKILL)


def watch(owner: Any, name: str) -> None:
    """Steps before and after a call."""
    call = getattr(owner, name)

    def wrapped(*args: Any) -> Any:
        if os.environ.get("KILL_AT") == f"before {name}":
            die()
        done = call(*args)
        return done.addCallback(after) if isinstance(done, Deferred) else awaited(done)

    def after(result: Any) -> Any:
        if os.environ.get("KILL_AT") == f"after {name}":
            die()
        return result

    async def awaited(done: Any) -> Any:
        return after(await done)

    setattr(owner, name, wrapped)


def within(name: str) -> None:
    """A step inside a transaction: all is written, and nothing is committed."""
    call = getattr(revision_store, name)

    def wrapped(connection: Any, *args: Any) -> Any:
        result = call(connection, *args)
        if os.environ.get("KILL_AT") == f"within {name}":
            die()
        return result

    setattr(revision_store, name, wrapped)


def main() -> None:
    """Run twistd with the steps watched."""
    for name in ("add", "point"):
        within(name)
        watch(RevisionStore, name)
    watch(Control, "put_to_work")
    from twisted.scripts.twistd import run

    sys.argv[0] = "twistd"
    run()


if __name__ == "__main__":
    main()
