"""The security checklist, clocks: what becomes of all that lasts for a while when the clock is set by hours.

34, the chain of the audit goes by numbers -> test_state_users; what lasts -> `ClockTests`, back and forward
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.accounts import CODE_S
from smtpgate.admin.halves import HALF_S
from tests.admin_kit import PASSWORD, Desk
from tests.test_admin_entry import Browser, EntryCase
from tests.test_admin_totp import CodesCase

HOUR = 3600.0


def turn(desk: Desk, seconds: float) -> None:
    """Set the clock, also back."""
    desk.clock.rightNow += seconds


class ClockTests(EntryCase):
    """Logins."""

    def test_S_34_a_clock_that_goes_back_makes_no_session_longer(self) -> None:
        """It ends it: who had it logs in again. Nor does one go on that began before a step forward."""
        for steps in ((24 * HOUR, -24 * HOUR), (0.0, -3 * HOUR), (0.0, 13 * HOUR)):
            turn(self.desk, steps[0])
            browser = Browser(self.desk)
            browser.log_in()
            self.assertEqual(browser.get("/").status, 200)
            turn(self.desk, steps[1])
            self.assertEqual(browser.get("/").status, 303, str(steps))

    def test_S_34_nobody_waits_for_a_clock_that_was_set_back(self) -> None:
        """A delay after failures is as long as it would have been, and no day."""
        turn(self.desk, 24 * HOUR)
        for _ in range(5):
            Browser(self.desk).log_in(password="wrong")
        turn(self.desk, -24 * HOUR)
        late = Browser(self.desk).log_in()
        self.assertEqual(late.status, 429)
        self.assertLessEqual(int(late.header("retry-after")), 4)
        turn(self.desk, 4)
        self.assertEqual(Browser(self.desk).log_in().status, 303)

    def test_S_34_tokens_go_by_the_clock_alone(self) -> None:
        """One that has ended has ended, whichever way the clock came there; before its end it holds."""
        order = {"name": "t", "role": "owner", "days": 1}
        token = self.desk.post_json("/api/v1/tokens", order, role="owner").json()["token"]
        (found,) = [one for text, one in self.desk.users.keys.items() if text == token]
        self.assertAlmostEqual(found.expires - self.desk.office.wall(), 24 * HOUR, delta=1)
        turn(self.desk, -5 * HOUR)
        self.assertEqual(self.desk.ask("GET", "/api/v1/me", token=token).status, 200)


class FirstTests(SynchronousTestCase):
    """The first visit."""

    def test_S_34_the_code_of_the_first_visit_does_not_last(self) -> None:
        """After a step back it is another one, which the log has."""
        desk = Desk()
        turn(desk, 24 * HOUR)
        self.successResultOf(desk.office.open())
        turn(desk, -24 * HOUR)
        browser = Browser(desk)
        fields = {"code": desk.said[0], "name": "ann", "password": PASSWORD, "again": PASSWORD}
        self.assertEqual(browser.form("/setup", "/setup", fields).status, 401)
        self.assertEqual(len(desk.said), 2)
        turn(desk, CODE_S / 2)
        self.assertEqual(browser.form("/setup", "/setup", {**fields, "code": desk.said[1]}).status, 303)


class HalfTests(CodesCase):
    """Between password and code."""

    def test_S_34_half_a_login_does_not_last(self) -> None:
        """After a step back the password is wanted again."""
        self.set_up(self.browser)
        turn(self.desk, 2 * HALF_S)
        browser = self.half()
        turn(self.desk, -HALF_S - 1)
        answer = browser.get("/login/code")
        self.assertEqual((answer.status, answer.header("location")[:6]), (303, "/login"))
