"""The users of a state folder while no gateway runs: for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from smtpgate.state.database import Database
from smtpgate.state.folder import StateError, StateFolder, as_owner
from smtpgate.state.users import InlineDatabase, Users

#: The database's name in the state folder.
DATABASE = "smtpgate.sqlite"


@contextmanager
def open_users(folder: Path, in_thread: Callable[..., Any]) -> Iterator[Users]:
    """The users, under the folder's lock. Whoever asks, all that is made belongs to the folder's owner.

    Raises StateError where a gateway holds the folder, and where nothing can be read or written there.
    """
    with as_owner(folder):
        state = StateFolder(folder)
        state.lock()
        try:
            database = Database(folder / DATABASE)
            database.open()
            try:
                yield Users(InlineDatabase(database), in_thread)
            except SQLAlchemyError as error:
                reason = getattr(error, "orig", None) or error
                raise StateError(f"{database.path} cannot be used: {reason}") from error
            finally:
                database.close()
        finally:
            state.unlock()
