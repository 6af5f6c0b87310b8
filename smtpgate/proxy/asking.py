"""How far a server would let a message come: MAIL and RCPT without a message, said to it now.

Precedent: Postfix address verification (`address_verify`), swaks --quit-after RCPT.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from smtpgate.policy.asked import Asked, Step
from smtpgate.proxy.link import Link, LinkFailed
from smtpgate.smtp.address import Path
from smtpgate.smtp.command import mail_line, rcpt_line
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock

_NOBODY = Path(b"", "", "")


async def ask(
    opening: Callable[[], Awaitable[None]], link: Link, recipient: Path, deadline: float, clock: Clock
) -> Asked:
    """Open a link, say MAIL with the null sender and RCPT, take both back and leave.

    :param opening: takes the link up to where MAIL may be sent
    """
    steps: list[Step] = []
    began = clock.seconds()

    def note(stage: str, reply: Reply) -> None:
        nonlocal began
        now = clock.seconds()
        steps.append(Step(stage, reply.code, reply.text[:500], (now - began) * 1000, reply.is_positive))
        began = now

    try:
        await opening()
        note("open", Reply(220, "", (link.banner,)))
        mail = await link.ask("MAIL", mail_line(_NOBODY, {}), deadline)
        note("mail", mail)
        if mail.is_positive:
            note("rcpt", await link.ask("RCPT", rcpt_line(recipient, {}), deadline))
            await link.ask("RSET", b"RSET\r\n", deadline)
    except LinkFailed as failure:
        steps.append(Step(failure.stage, 0, failure.reason[:500], (clock.seconds() - began) * 1000, False))
        link.abort()
    else:
        link.quit()
    words = tuple(f"{word} {value}".strip() for word, value in link.capabilities.words.items())
    tls = link.tls
    if tls is None:
        return Asked(tuple(steps), link.banner, words)
    return Asked(tuple(steps), link.banner, words, tls.version, tls.is_verified)
