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

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from smtpgate.config.model import Settings
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.limit_rules import BY_RECIPIENT, SOON_S, Charge, Held, Rule, finding_of, fits, text_of
from smtpgate.tasks import Clock
from smtpgate.traffic.gcra import SLACK_S, Rate, Stamps

#: What comes free sooner than that is not kept over a restart, which takes as long.
LEAD_S: Final = 5.0
#: Keys of one limit that are taken over at the start.
RESTORED: Final = 1_000_000

Row = tuple[str, Any, float]


class Limiter:
    """What all limits of the gateway remember, over its revisions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch = clock.seconds()
        self.stamps: dict[str, Stamps] = {}
        self.counts: dict[str, Counter[str]] = {}
        self._met: dict[str, Counter[str]] = {}

    def now(self) -> float:
        """Seconds on the clock of the stamps, which began with the process."""
        return self._clock.seconds() - self._epoch

    def limits(self, settings: Settings) -> Limits:
        """The limits of one revision. What is known of a limit of the same name is kept."""
        rates = [limit for limit in settings.rate_limits if limit.mode != "off"]
        most = settings.limits.rate_keys // max(1, len(rates))
        stamps = {limit.name: self.stamps.get(limit.name, Stamps(most)) for limit in rates}
        for one in stamps.values():
            one.most = most
        counts = {limit.name: self.counts.get(limit.name, Counter()) for limit in settings.concurrency_limits}
        self.stamps, self.counts = stamps, counts
        most_at_work = [limit for limit in settings.concurrency_limits if limit.mode != "off"]
        names = [limit.name for limit in rates] + [limit.name for limit in most_at_work]
        met = self._met = {name: self._met.get(name, Counter()) for name in names}
        rules = [
            Rule(limit, Rate(limit.interval_s, limit.burst), stamps[limit.name], None, met[limit.name])
            for limit in rates
        ]
        rules += [Rule(limit, None, None, counts[limit.name], met[limit.name]) for limit in most_at_work]
        return Limits(rules, self.now)

    # What is kept over restarts

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over what was kept, for the limits that the first revision will have: a key is the limit's name, a blank
        and what it counts; a value is the stamp in seconds since the epoch."""
        now = self.now()
        for key, value, _ in rows:
            name, _, counted = key.partition(" ")
            tat = value - wall + now
            if tat > now:
                self.stamps.setdefault(name, Stamps(RESTORED)).put(counted, tat, now)

    def changed(self, wall: float, most: int) -> list[Row]:
        """What changed since the last time, as `restore` takes it."""
        now = self.now()
        rows: list[Row] = []
        for name, stamps in self.stamps.items():
            for key, tat in stamps.changed(now, LEAD_S, most - len(rows)):
                at = tat - now + wall
                rows.append((f"{name} {key}", at if tat else None, at if tat else 0.0))
        return rows


class Limits:
    """The limits of one revision.

    :ivar is_empty: there is none, and nobody need ask
    """

    def __init__(self, rules: Sequence[Rule], now: Callable[[], float]) -> None:
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
        return self._ask(self._asked(self._connect, session), session.charges)

    def login(self, session: Session) -> Held | None:
        """Somebody has logged in."""
        return self._ask(self._asked(self._login, session), session.charges)

    def auth(self, session: Session) -> Held | None:
        """Somebody wants to log in: whether there were too many failures."""
        return self._ask(self._asked(self._auth, session), None)

    def mail(self, transaction: Transaction) -> Held | None:
        """A message, once its sender is known."""
        session = transaction.session
        held = self._ask(self._asked(self._refused, session, transaction), None) if self._refused else None
        if held is not None and not held.is_paced:
            return held
        return self._ask(self._asked(self._mail, session, transaction), transaction.charges) or held

    def rcpt(self, transaction: Transaction, recipient: Recipient, backend: str) -> Held | None:
        """A recipient, once its backend is known."""
        session = transaction.session
        held = self._ask(self._asked(self._refused, session, transaction), None) if self._refused else None
        if held is not None and not held.is_paced:
            return held
        asked = self._asked(self._rcpt, session, transaction, recipient, backend)
        # A message counts once for each key, for all of its recipients that have that key.
        fresh, shared = [], []
        for one in asked:
            known = None
            if one.rule.limit.count != "recipients":
                known = next((k for k in transaction.charges if k.rule is one.rule and k.key == one.key), None)
            if known is None:
                fresh.append(one)
            else:
                shared.append(known)
        found = self._ask(fresh, transaction.charges)
        if found is None or found.is_paced:
            for known in shared:
                known.recipients.append(recipient)
        return found or held

    def _asked(
        self,
        rules: Iterable[Rule],
        session: Session,
        transaction: Transaction | None = None,
        recipient: Recipient | None = None,
        backend: str = "",
    ) -> list[Charge]:
        asked = []
        for rule in rules:
            if rule.has_conditions and not fits(rule.limit.when, session, transaction, recipient):
                continue
            key = rule.key(session, transaction, recipient, backend)
            if key:
                amount = 1.0
                if rule.is_octets and transaction is not None and transaction.params:
                    amount = max(1.0, float(transaction.params.get("SIZE") or 0))
                asked.append(Charge(rule, key, amount, [] if recipient is None else [recipient]))
        return asked

    def _ask(self, asked: Sequence[Charge], charges: list[Any] | None) -> Held | None:
        """Take all of it or nothing; None where nothing stands in the way.

        :param charges: where what was taken is noted; None to look only
        """
        if not asked:
            return None
        now = self._now()
        # The usual case in one piece: there is room everywhere.
        stamps = []
        for charge in asked:
            rule = charge.rule
            interval_s = rule.interval_s
            if not interval_s:
                if rule.counts[charge.key] >= rule.limit.most:
                    return self._held(asked, charges, now)
                stamps.append(0.0)
                continue
            tat = rule.stamps.get(charge.key)
            if tat < now:
                tat = now
            amount = charge.amount
            if tat - now + min(amount, rule.rate.burst) * interval_s - rule.depth_s > SLACK_S:
                return self._held(asked, charges, now)
            stamps.append(tat + amount * interval_s)
        if charges is not None:
            for charge, tat in zip(asked, stamps, strict=True):
                rule = charge.rule
                if tat:
                    rule.stamps.put(charge.key, tat, now)
                else:
                    rule.counts[charge.key] += 1
                charges.append(charge)
        return None

    def _held(self, asked: Sequence[Charge], charges: list[Any] | None, now: float) -> Held:
        """Where some limit has no room: what is to be waited for, and whether all the same it is taken."""
        findings: list[Finding] = []
        met: list[Rule] = []
        wait_s, is_paced, text, key = 0.0, True, "", ""
        for charge in asked:
            rule = charge.rule
            wait = self._wait(charge, now)
            if not wait:
                continue
            may_pace = rule.rate is not None and wait <= rule.limit.pace_s
            finding = finding_of(charge, wait, may_pace, now)
            if rule.is_shadow:
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
            for charge in asked:
                self._take(charge, now)
                charges.append(charge)
        return Held(wait_s, is_paced, tuple(findings), text, key)

    @staticmethod
    def _wait(charge: Charge, now: float) -> float:
        rule = charge.rule
        if rule.rate is None:
            return SOON_S if rule.counts[charge.key] >= rule.limit.most else 0.0
        return float(rule.rate.wait(rule.stamps.get(charge.key), now, charge.amount))

    @staticmethod
    def _take(charge: Charge, now: float, amount: float | None = None) -> None:
        rule, key = charge.rule, charge.key
        if rule.rate is None:
            rule.counts[key] += 1
        else:
            cost = charge.amount if amount is None else amount
            rule.stamps.put(key, rule.rate.take(rule.stamps.get(key), now, cost), now)

    def _give_back(self, charge: Charge) -> None:
        rule, key = charge.rule, charge.key
        if rule.rate is None:
            rule.counts[key] -= 1
            if rule.counts[key] <= 0:
                del rule.counts[key]
        else:
            rule.stamps.put(key, rule.rate.give_back(rule.stamps.get(key), charge.amount), self._now())

    # Settling

    def refused(self, transaction: Transaction, recipient: Recipient) -> None:
        """A recipient was refused for good."""
        now = self._now()
        for charge in self._asked(self._refused, transaction.session, transaction, recipient):
            self._take(charge, now)

    def not_accepted(self, transaction: Transaction, recipient: Recipient) -> None:
        """A recipient was not accepted: what was taken for it alone is given back."""
        kept = []
        for charge in transaction.charges:
            if recipient in charge.recipients:
                charge.recipients.remove(recipient)
                if not charge.recipients:
                    self._give_back(charge)
                    continue
            kept.append(charge)
        transaction.charges[:] = kept

    def login_failed(self, session: Session, amount: float = 1.0) -> None:
        """A login failed."""
        now = self._now()
        for charge in self._asked(self._auth, session):
            self._take(charge, now, amount)

    def ended(self, transaction: Transaction) -> None:
        """The outcome is known: settle what was taken."""
        now = self._now()
        outcome = transaction.outcome
        counts = outcome in ("delivered", "unacked", "unknown", "refused")
        for charge in transaction.charges:
            what = charge.rule.limit.count
            if what == "octets":
                self._give_back(charge)
                if counts:
                    self._take(charge, now, float(transaction.octets))
            elif (
                what == "transactions"
                or not (counts or what == "messages" and outcome == "aborted")
                or what == "recipients"
                and all(one.state == "deferred" for one in charge.recipients)
            ):
                self._give_back(charge)
        transaction.charges.clear()

    def withdraw(self, session: Session) -> None:
        """A connection was put off by us after all: it costs nothing."""
        for charge in session.charges:
            self._give_back(charge)
        session.charges.clear()

    def left(self, session: Session) -> None:
        """A session is over."""
        for charge in session.charges:
            if charge.rule.rate is None:
                self._give_back(charge)
        session.charges.clear()


def no_limits() -> Limits:
    """Those of a configuration without any."""
    return Limits((), lambda: 0.0)
