"""Guessing passwords: who tries many different ones, and who only has a wrong one.

What counts is how many *different* secrets were tried, as keyed digests that never leave memory: a phone that tries
last year's password a thousand times has made one guess. They are counted for each network (different pairs of account
and secret), for each account (from wherever), and for each secret (over how many accounts: a spray).

A network that guesses too much is not heard any more, but for accounts that have logged in from there not long ago, and
the more of these there are the more it may guess: an office behind one address has many who mistype. An account that is
attacked is only slowed down for strangers, never closed: no stranger can lock its owner out.

Precedents: weakforced counts alike; fail2ban #779 and Mailu #2880 are what happens without it (B-200).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

import attrs

#: Guesses are remembered for so long.
WINDOW_S: Final = 3600.0
#: Different pairs that a network may get wrong, and so many more for each account that works there.
NETWORK_GUESSES: Final = 10
PER_ACCOUNT: Final = 5
#: A network over twice that is banned.
BAN_FACTOR: Final = 2
#: Different secrets for one account, from wherever, after which strangers to it wait.
ACCOUNT_GUESSES: Final = 10
#: Accounts that one secret was tried on, after which it is a spray.
SPRAYED: Final = 10
#: A login is remembered for so long as a sign that the account belongs there.
GOOD_S: Final = 30 * 86400.0
#: How long a stranger to an attacked account waits, and one that repeats itself.
SLOW_S: Final = 3.0
REPEAT_S: Final = 1.0
#: Tries that count as one guess where nobody sees what was tried.
BLIND_TRIES: Final = 5
#: Entries of each table, and values in one of them; the oldest go.
MOST: Final = 20_000
VALUES: Final = 256


class _Seen:
    """Different values for each key within the window, in bounded memory."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()

    def add(self, key: str, value: bytes, now: float) -> bool:
        """Whether that value is new for the key."""
        values = self._by_key.get(key)
        if values is None:
            values = self._by_key[key] = OrderedDict()
            if len(self._by_key) > MOST:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        is_new = now - values.pop(value, float("-inf")) > WINDOW_S
        values[value] = now
        if len(values) > VALUES:
            values.popitem(last=False)
        return is_new

    def count(self, key: str, now: float) -> int:
        """How many different ones there were."""
        values = self._by_key.get(key)
        if values is None:
            return 0
        while values and now - next(iter(values.values())) > WINDOW_S:
            values.popitem(last=False)
        if not values:
            del self._by_key[key]
        return len(values)


@attrs.frozen
class Answer:
    """What becomes of an attempt to log in.

    :ivar is_heard: the password is asked about
    :ivar wait_s: the reply waits so long
    :ivar reason: for the log
    """

    is_heard: bool = True
    wait_s: float = 0.0
    reason: str = ""


@attrs.frozen
class Failure:
    """What a failed login has come to.

    :ivar bans: the network is to be banned, and why
    """

    bans: str = ""


class Guesses:
    """All failed logins. Times are seconds of any one clock."""

    def __init__(self, secret: bytes) -> None:
        """
        :param secret: keys the digests; a new one for each process
        """
        self._secret = secret
        self._of_network = _Seen()
        self._of_account = _Seen()
        self._of_secret = _Seen()
        self._accounts_of_network = _Seen()
        self._shown_of_network = _Seen()
        self._blind: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._good_of_network: dict[str, int] = {}

    def _digest(self, *parts: str) -> bytes:
        digest = hashlib.blake2b(key=self._secret, digest_size=12)
        for part in parts:
            octets = part.encode("utf-8", "surrogateescape")
            digest.update(b"%d:" % len(octets) + octets)
        return digest.digest()

    def is_at_home(self, account: str, network: str, now: float) -> bool:
        """Whether that account has logged in from there not long ago."""
        return now - self._good.get((account.lower(), network), float("-inf")) < GOOD_S

    def allowed(self, network: str) -> int:
        """How many different guesses a network has: no more than leaves a ban within what is remembered."""
        return min(NETWORK_GUESSES + PER_ACCOUNT * self._good_of_network.get(network, 0), VALUES // BAN_FACTOR)

    def ask(self, account: str, network: str, now: float) -> Answer:
        """Somebody wants to log in.

        :param account: "" where it is not known yet
        """
        if account and self.is_at_home(account, network, now):
            return Answer()
        if self._of_network.count(network, now) >= self.allowed(network):
            if not account and self._good_of_network.get(network):
                # Some account is at home there; which one this is will show.
                return Answer()
            return Answer(False, 0.0, "too many different passwords from this network")
        if account and self._of_account.count(account.lower(), now) >= ACCOUNT_GUESSES:
            return Answer(True, SLOW_S, "the account is being guessed at")
        return Answer()

    def failed(self, account: str, secret: str | None, network: str, now: float) -> tuple[Failure, float]:
        """A login failed: what that comes to, and how long the reply waits.

        :param secret: None where the mechanism does not show it: `BLIND_TRIES` of an account count as one guess then,
            and nobody is banned for them, for all may have been the same
        """
        account = account.lower()
        is_shown = secret is not None
        if secret is None:
            secret = f"\0{self._tries(account, network) // BLIND_TRIES}"
        pair = self._digest(account, secret)
        if not self._of_network.add(network, pair, now):
            return Failure(), REPEAT_S
        self._of_account.add(account, self._digest("secret", secret), now)
        self._accounts_of_network.add(network, self._digest("account", account), now)
        word = self._digest("secret", secret).hex()
        if is_shown:
            self._of_secret.add(word, self._digest("account", account), now)
        guesses, allowed = self._of_network.count(network, now), self.allowed(network)
        if is_shown:
            self._shown_of_network.add(network, pair, now)
        if self._shown_of_network.count(network, now) >= BAN_FACTOR * allowed:
            accounts = self._accounts_of_network.count(network, now)
            return Failure(f"{guesses} different passwords for {accounts} accounts within an hour"), 0.0
        sprayed = self._of_secret.count(word, now)
        if sprayed >= SPRAYED and not self._good_of_network.get(network):
            return Failure(f"a password that was tried on {sprayed} accounts within an hour"), 0.0
        return Failure(), 0.0

    def _tries(self, account: str, network: str) -> int:
        """How many there were before of an account whose secrets do not show."""
        key = (account, network)
        tries = self._blind.pop(key, 0)
        self._blind[key] = tries + 1
        if len(self._blind) > MOST:
            self._blind.popitem(last=False)
        return tries

    def succeeded(self, account: str, network: str, now: float) -> None:
        """A login succeeded: the account is at home there."""
        key = (account.lower(), network)
        if self._good.pop(key, None) is None:
            self._good_of_network[network] = self._good_of_network.get(network, 0) + 1
        self._good[key] = now
        while len(self._good) > MOST or now - next(iter(self._good.values())) > GOOD_S:
            self._forget(next(iter(self._good)))

    def _forget(self, key: tuple[str, str]) -> None:
        del self._good[key]
        self._good_of_network[key[1]] -= 1
        if not self._good_of_network[key[1]]:
            del self._good_of_network[key[1]]

    def last_login(self, account: str, network: str) -> float | None:
        """When that account last logged in from there."""
        return self._good.get((account.lower(), network))
