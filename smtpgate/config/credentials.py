"""What the gateway logs in with at a backend, out of the file that a `credentials` key names."""

from __future__ import annotations

from smtpgate.config import model
from smtpgate.config.position import BadSyntax, read
from smtpgate.config.problem import Fault, Where
from smtpgate.config.surroundings import ReadFile


def credentials_from(file: ReadFile, where: Where) -> tuple[model.Credentials | None, list[Fault]]:
    """User and password out of the file that a `credentials` key names. No message repeats what is in it."""
    shape = 'it must hold user = "..." and password = "...", each in quotes, and nothing else'
    if file.reason:
        return None, [Fault(where, f"cannot read {file.path}: {file.reason}", shape)]
    if file.is_open_to_group:
        return None, [
            Fault(
                where,
                f"{file.path} can be read by others (mode {file.mode:04o})",
                f"make it 0600: chmod 600 {file.path}",
            )
        ]
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
