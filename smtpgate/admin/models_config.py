"""Models of what the API says of configurations that are not at work."""

from __future__ import annotations

from smtpgate.admin.models import Verdict
from smtpgate.admin.record import View


class ChangedKeyModel(View):
    """A key that is another: `how` is added, removed or changed."""

    key: str
    how: str
    line: int


class Checked(Verdict):
    """What a text would be, beside what is at work; `restart` are keys that hold only after a start. For the file
    itself, `/config/drift` tells what differs."""

    diff: str = ""
    changes: list[ChangedKeyModel] = []
    restart: list[str] = []
