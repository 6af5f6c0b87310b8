"""The users of a state folder while no gateway runs: for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smtpgate.state.database import Database
from smtpgate.state.folder import StateFolder
from smtpgate.state.users import InlineDatabase, Users

#: The database's name in the state folder.
DATABASE = "smtpgate.sqlite"


@contextmanager
def open_users(folder: Path, in_thread: Callable[..., Any]) -> Iterator[Users]:
    """The users, under the folder's lock. Raises StateError where a gateway holds it."""
    state = StateFolder(folder)
    state.lock()
    try:
        database = Database(folder / DATABASE)
        database.open()
        try:
            yield Users(InlineDatabase(database), in_thread)
        finally:
            database.close()
    finally:
        state.unlock()
