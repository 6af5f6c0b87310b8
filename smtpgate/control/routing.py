"""What would become of each recipient of a message, asked without a session."""

from __future__ import annotations

from smtpgate.control.views import Unknown, Way
from smtpgate.policy.question import Question
from smtpgate.policy.transaction import Session as Facts
from smtpgate.proxy.revision import Revision


def explain_route(revision: Revision, question: Question) -> list[Way]:
    """By a revision (the command line builds one without a gateway), as if the backends took them all."""
    listener, router = revision.settings.listeners.get(question.listener), revision.router
    if listener is None:
        raise Unknown(f"no listener {question.listener}; known: {', '.join(revision.settings.listeners)}")
    facts = Facts("", listener.name, listener.role)
    facts.client_ip, facts.user, facts.sni = question.client, question.user, question.sni
    ways: list[Way] = []
    taken: list[str] = []
    for path in question.recipients:
        steps = router.explain(facts, question.sender, path)
        won = next((step for step in steps if not step.failed), None if path.domain else router.default(listener.name))
        if facts.role == "mx" and not router.is_local(path):
            answer, steps = "550 5.7.1: not in local_domains, and a listener of role mx relays for nobody", []
        elif won is None:
            answer = "550 5.7.1: no route matches"
        elif taken and won.backend not in taken and listener.split == "defer":
            answer = f"452 4.5.3: route {won.number}: backend {won.backend}, in another transaction than {taken[0]}"
        elif taken and won.backend not in taken:
            answer = f"route {won.number}: backend {won.backend}, in one transaction with {' and '.join(taken)}"
            taken.append(won.backend)
        else:
            taken, answer = taken or [won.backend], f"route {won.number}: backend {won.backend}"
        ways.append(Way(str(path), answer, tuple(steps)))
    return ways
