"""Secrets out of files that keys name: who else may read them, and what the gateway logs in with at a backend."""

from __future__ import annotations

from typing import Any

from smtpgate.config import model
from smtpgate.config.position import BadSyntax, read
from smtpgate.config.problem import Fault, Where
from smtpgate.config.surroundings import ReadFile


def is_ours(file: ReadFile, where: Where, hint: str, faults: list[Fault], **more: Any) -> bool:
    """Whether a file with a secret can be read, and by nobody else; a fault says why not.

    :param hint: what to write where it is not there
    :param more: for `Fault`
    """
    if file.reason:
        faults.append(Fault(where, f"cannot read {file.path}: {file.reason}", hint, **more))
    elif file.is_open_to_group:
        message = f"{file.path} can be read by others (mode {file.mode:04o})"
        faults.append(Fault(where, message, f"make it 0600: chmod 600 {file.path}", **more))
    else:
        return True
    return False


def credentials_from(file: ReadFile, where: Where) -> tuple[model.Credentials | None, list[Fault]]:
    """User and password out of the file that a `credentials` key names. No message repeats what is in it."""
    shape = 'it must hold user = "..." and password = "...", each in quotes, and nothing else'
    faults: list[Fault] = []
    if not is_ours(file, where, shape, faults):
        return None, faults
    try:
        tree = read(file.octets.decode("utf-8")).tree
    except BadSyntax as error:
        return None, [Fault(where, f"{file.path} is no TOML at line {error.line}", shape)]
    except UnicodeDecodeError:
        return None, [Fault(where, f"{file.path} is not UTF-8", shape)]
    user, password = tree.get("user"), tree.get("password")
    if set(tree) != {"user", "password"} or not isinstance(user, str) or not isinstance(password, str):
        return None, [Fault(where, f"{file.path} has the wrong keys", shape)]
    if not user or not password or "\0" in user + password:
        return None, [Fault(where, f"{file.path} has an empty user or password", shape)]
    return model.Credentials(user, model.Secret(password)), []
