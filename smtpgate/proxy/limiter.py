"""Rate and concurrency limits: whom each counts, what a message takes of it, and what is given back.

A limit is asked as early as all its keys are known: at the connection, at MAIL, or at RCPT. What is asked for together
is taken together or not at all. Where waiting a little is enough the reply is paced; else the client hears a 4yz that
says when to come back, and then there is room for it.

What was taken is settled by the outcome, when that is known: mail that was deferred, by whomever, and recipients that
were not accepted cost nothing, so that no limit ever counts what another check has put off (a client that comes back as
it was told would else run into it). What counts is what was delivered or refused, and a message that a client gave up.

Precedents: Postfix anvil and its reply codes (450 and 421 4.7.0), KumoMTA's GCRA throttles, rspamd's ratelimit by any
combination of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from smtpgate.policy.held import TAKEN
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.limit_rules import BY_RECIPIENT, SOON_S, Charge, Held, Rule, finding_of, fits, text_of


class Limits:
    """The limits of one revision.

    :ivar is_empty: there is none, and nobody need ask
    """

    def __init__(
        self, rules: Sequence[Rule], now: Callable[[], float], begin: Callable[[], None] = lambda: None
    ) -> None:
        """
        :param begin: called when they are put to work
        """
        self.begin = begin
        self.now = self._now = now
        self.is_empty = not rules
        self.rules = tuple(rules)
        self._connect = self._of("connections", "sessions")
        self._login = tuple(rule for rule in self._of("sessions") if "user" in rule.limit.by)
        self._connect = tuple(rule for rule in self._connect if rule not in self._login)
        mail = self._of("messages", "octets", "transactions")
        self._mail = tuple(rule for rule in mail if not set(rule.limit.by) & BY_RECIPIENT)
        recipients = self._of("recipients")
        self._rcpt = (*recipients, *(rule for rule in mail if rule not in self._mail))
        self._refused = self._of("refused_recipients")
        self._auth = self._of("auth_failures")
        self.has_mail = bool(self._mail or self._refused)
        self.has_rcpt = bool(self._rcpt or self._refused)

    def _of(self, *counts: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.limit.count in counts)

    # Asking

    def connect(self, session: Session) -> Held | None:
        """A connection, once its client is known."""
        return self._ask(self._connect, session, session.charges)

    def login(self, session: Session) -> Held | None:
        """Somebody has logged in."""
        for charge in [one for one in session.charges if one.rule in self._login]:
            # Of an earlier login of the same session, which came to nothing.
            session.charges.remove(charge)
            self._give_back(charge, 0.0)
        return self._ask(self._login, session, session.charges)

    def auth(self, session: Session) -> Held | None:
        """Somebody wants to log in: whether there were too many failures."""
        return self._look(self._auth, session)

    def mail(self, transaction: Transaction) -> Held | None:
        """A message, once its sender is known."""
        session = transaction.session
        held = self._look(self._refused, session, transaction) if self._refused else None
        if held is not None and not held.is_paced:
            # Nothing is taken, but who comes back when the one has room must not hear of the other then.
            return _longer(held, self._held(self._asked(self._mail, session, transaction), None, self._now()))
        asked = self._ask(self._mail, session, transaction.charges, transaction)
        return asked if held is None else _both(held, asked)

    def rcpt(self, transaction: Transaction, recipient: Recipient, backend: str) -> Held | None:
        """A recipient, once its backend is known."""
        session = transaction.session
        held = None
        if self._refused and len(transaction.recipients) > transaction.accepted:
            # One was refused since MAIL asked.
            held = self._look(self._refused, session, transaction)
        if held is not None and not held.is_paced:
            wanted = self._asked(self._rcpt, session, transaction, recipient, backend)
            return _longer(held, self._held(wanted, None, self._now(), transaction.put_off))
        asked = self._ask(self._rcpt, session, transaction.charges, transaction, recipient, backend)
        return asked if held is None else _both(held, asked)

    def _asked(
        self,
        rules: Iterable[Rule],
        session: Session,
        transaction: Transaction | None = None,
        recipient: Recipient | None = None,
        backend: str = "",
    ) -> list[Charge]:
        """One of each limit that is about it."""
        asked = []
        for rule in rules:
            if rule.has_conditions and not fits(rule.limit.when, session, transaction, recipient):
                continue
            key = rule.key(session, transaction, recipient, backend)
            if key:
                recipients = [] if recipient is None else [recipient]
                asked.append(Charge(rule, key, _amount(transaction) if rule.is_octets else 1.0, recipients))
        return asked

    def _look(self, rules: Iterable[Rule], session: Session, transaction: Transaction | None = None) -> Held | None:
        """Whether there is room for one more; nothing is taken."""
        now = self._now()
        for rule in rules:
            if rule.has_conditions and not fits(rule.limit.when, session, transaction, None):
                continue
            key = rule.key(session, transaction, None, "")
            if key and rule.stamps.get(key) - now > rule.room_s:
                return self._held(self._asked(rules, session, transaction), None, now)
        return None

    def _ask(
        self,
        rules: Sequence[Rule],
        session: Session,
        charges: list[Any],
        transaction: Transaction | None = None,
        recipient: Recipient | None = None,
        backend: str = "",
    ) -> Held | None:
        """Take all of it or nothing; None where nothing stands in the way.

        A message counts once for each key, for all of its recipients that have that key.

        :param charges: where what was taken is noted
        """
        if not rules:
            return None
        now, mark = self._now(), len(charges)
        shared: list[Charge] = []
        for rule in rules:
            if rule.has_conditions and not fits(rule.limit.when, session, transaction, recipient):
                continue
            key = rule.key(session, transaction, recipient, backend)
            if not key:
                continue
            if recipient is not None and not rule.is_of_recipients and charges:
                known = _known(charges, rule, key)
                if known is not None:
                    shared.append(known)
                    continue
            stamps = rule.stamps
            if stamps is None:
                if rule.counts[key] >= rule.limit.most:
                    break
                rule.counts[key] += 1
                amount, tat = 1.0, now
            else:
                amount = _amount(transaction) if rule.is_octets else 1.0
                room_s = rule.room_s if amount == 1.0 else rule.room_for(amount)
                tat = stamps.take(key, now, amount * rule.interval_s, room_s)
                if tat < 0.0:
                    break
            charges.append(Charge(rule, key, amount, [] if recipient is None else [recipient], tat, rule.rate))
        else:
            if recipient is not None:
                for known in shared:
                    known.recipients.append(recipient)
            return None
        # One has no room: what was taken of the others is given back, and all are looked at.
        for charge in charges[mark:]:
            self._give_back(charge, now)
        del charges[mark:]
        fresh, shared = [], []
        for charge in self._asked(rules, session, transaction, recipient, backend):
            is_shared = recipient is not None and not charge.rule.is_of_recipients
            known = _known(charges, charge.rule, charge.key) if is_shared else None
            if known is None:
                fresh.append(charge)
            else:
                shared.append(known)
        held = self._held(
            fresh, charges, now, transaction.put_off if transaction is not None and recipient is not None else None
        )
        if recipient is not None and held.is_paced:
            for known in shared:
                known.recipients.append(recipient)
        return held

    def _held(
        self, asked: Sequence[Charge], charges: list[Any] | None, now: float, put_off: dict[Any, float] | None = None
    ) -> Held:
        """Where some limit has no room: what is to be waited for, and whether all the same it is taken.

        :param put_off: of its message, what was told to come again before: all of them will come together
        """
        findings: list[Finding] = []
        met: list[Rule] = []
        taken: list[Charge] = []
        wait_s, is_paced, text, key = 0.0, True, "", ""
        for charge in asked:
            rule = charge.rule
            before = put_off.get((rule.limit.name, charge.key), 0.0) if put_off and rule.is_of_recipients else 0.0
            wait = self._wait(charge, now, before)
            if not wait:
                taken.append(charge)
                continue
            may_pace = rule.rate is not None and wait <= rule.limit.pace_s
            finding = finding_of(charge, wait, may_pace, now)
            if may_pace or not rule.is_shadow:
                taken.append(charge)
            if rule.is_shadow:
                # What it would have refused is not taken of it: else it would count what it never lets in.
                rule.met["shadow"] += 1
                findings.append(finding)
                continue
            met.append(rule)
            is_paced = is_paced and may_pace
            if wait > wait_s:
                # The one that is waited for longest speaks.
                findings.insert(0, finding)
                wait_s, text, key = wait, text_of(charge, wait), charge.key
            else:
                findings.append(finding)
        for rule in met:
            rule.met["paced" if is_paced else "refused"] += 1
        if charges is not None and is_paced:
            for charge in taken:
                self._take(charge, now)
                charges.append(charge)
        elif put_off is not None and not is_paced:
            for charge in asked:
                name = (charge.rule.limit.name, charge.key)
                put_off[name] = put_off.get(name, 0.0) + charge.amount
        return Held(wait_s, is_paced, tuple(findings), text, key, tuple(met))

    @staticmethod
    def _wait(charge: Charge, now: float, before: float = 0.0) -> float:
        rule = charge.rule
        if rule.rate is None:
            return SOON_S if rule.counts[charge.key] >= rule.limit.most else 0.0
        return float(rule.rate.wait(rule.stamps.get(charge.key), now, before + charge.amount))

    @staticmethod
    def _take(charge: Charge, now: float, amount: float | None = None) -> None:
        rule, key = charge.rule, charge.key
        if rule.rate is None:
            rule.counts[key] += 1
        else:
            cost = charge.amount if amount is None else amount
            charge.base, charge.rate = max(rule.stamps.get(key), now), rule.rate
            rule.stamps.put(key, rule.rate.take(charge.base, now, cost), now)

    def _give_back(self, charge: Charge, now: float) -> None:
        rule, key = charge.rule, charge.key
        if rule.rate is None:
            rule.counts[key] -= 1
            if rule.counts[key] <= 0:
                del rule.counts[key]
        else:
            self._settle(charge, 0.0, now)

    # Settling

    def refused(self, transaction: Transaction, recipient: Recipient) -> None:
        """A recipient was refused for good."""
        now = self._now()
        for charge in self._asked(self._refused, transaction.session, transaction, recipient):
            self._take(charge, now)

    def not_accepted(self, transaction: Transaction, recipient: Recipient) -> None:
        """A recipient was not accepted: what was taken for it alone is given back."""
        kept, now = [], self._now()
        for charge in transaction.charges:
            if recipient in charge.recipients:
                charge.recipients.remove(recipient)
                if not charge.recipients:
                    self._give_back(charge, now)
                    continue
            kept.append(charge)
        transaction.charges[:] = kept

    def login_failed(self, session: Session, amount: float = 1.0) -> None:
        """A login failed."""
        now = self._now()
        for charge in self._asked(self._auth, session, None, None):
            self._take(charge, now, amount)

    def ended(self, transaction: Transaction) -> None:
        """The outcome is known: settle what was taken."""
        outcome = transaction.outcome
        counts = outcome in ("delivered", "unacked", "unknown", "refused") or outcome in TAKEN
        now = self._now()
        put_off = {one for one in transaction.recipients if one.state == "deferred"} if counts else None
        for charge in transaction.charges:
            rule, recipients = charge.rule, charge.recipients
            # Of one that counts by recipients: what was put off for all of them.
            is_spared = put_off is None or bool(put_off and recipients) and put_off.issuperset(recipients)
            if rule.is_octets:
                self._settle(charge, 0.0 if is_spared else float(transaction.octets), now)
            elif rule.is_of_recipients:
                if is_spared:
                    self._give_back(charge, now)
            elif not rule.interval_s or is_spared and outcome != "aborted":
                # What is at work has its end; a message that the client gave up counts, one that was put off does not.
                self._give_back(charge, now)
        transaction.charges.clear()

    @staticmethod
    def _settle(charge: Charge, amount: float, now: float) -> None:
        """What was held back becomes what it took."""
        rule, key = charge.rule, charge.key
        tat = rule.stamps.get(key)
        if tat <= now and not amount:
            return
        base = charge.base
        if charge.rate is not rule.rate:
            # The time since then counts in the new measure.
            base = rule.changed_at + (base - rule.changed_at) * rule.rate.interval_s / charge.rate.interval_s
        rule.stamps.put(key, rule.rate.settle(tat, now, base, charge.amount, amount), now)

    def withdraw(self, session: Session) -> None:
        """A connection was put off by us after all: it costs nothing."""
        now = self._now()
        for charge in session.charges:
            self._give_back(charge, now)
        session.charges.clear()

    def left(self, session: Session) -> None:
        """A session is over."""
        for charge in session.charges:
            if charge.rule.rate is None:
                # What is at work has no time.
                self._give_back(charge, 0.0)
        session.charges.clear()


def _amount(transaction: Transaction | None) -> float:
    """Octets that a message will have, as its client says; one where it does not."""
    size = transaction.params.get("SIZE") if transaction is not None and transaction.params else None
    return max(1.0, float(size)) if size else 1.0


def _known(charges: Iterable[Charge], rule: Rule, key: str) -> Charge | None:
    """What a message has taken of that limit already."""
    for charge in charges:
        if charge.rule is rule and charge.key == key:
            return charge
    return None


def _longer(held: Held, other: Held) -> Held:
    """The one that is waited for longer speaks."""
    if other.wait_s <= held.wait_s or other.is_paced:
        return held
    return attrs.evolve(other, findings=other.findings + held.findings, met=other.met + held.met)


def _both(paced: Held, other: Held | None) -> Held:
    """One that is waited for, and what another says beside it."""
    if other is None:
        return paced
    if not other.is_paced or other.wait_s >= paced.wait_s:
        first, second = other, paced
    else:
        first, second = paced, other
    return attrs.evolve(first, findings=first.findings + second.findings, met=first.met + second.met)


def no_limits() -> Limits:
    """Those of a configuration without any."""
    return Limits((), lambda: 0.0)
