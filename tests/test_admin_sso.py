"""Logins at a provider of identities, over TCP: the way there and back, who is let in, and every way in which a
provider or somebody on the way could lie.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
from twisted.internet import reactor

from smtpgate.cli import probes
from smtpgate.config.loader import load
from smtpgate.config.model_sso import Provider as Settings
from smtpgate.net.public_http import PublicHTTPClient
from smtpgate.policy.addresses import may_be_called
from smtpgate.testing.resolver import FakeResolver
from tests.admin_kit import CONFIG, PASSWORD, Answer
from tests.oidc_kit import CLIENT, EC_KEY, RSA_KEY, SECRET, STRANGE_KEY, Provider, compact, shared
from tests.test_admin_entry import Browser
from tests.web_kit import OfficeOnPort, over_tcp

TABLE = """
[sso.corp]
issuer = "{issuer}"
client_id = "smtpgate"
client_secret = "sso.secret"
label = "Log in with Corp"
networks = ["127.0.0.0/8"]
second_factor = ["mfa"]
timeout = "{timeout}"
[[sso.corp.groups]]
name = "mail-owners"
role = "owner"
[[sso.corp.groups]]
name = "mail-admins"
role = "admin"
[[sso.corp.groups]]
name = "mail-help"
role = "helpdesk"
domains = ["example.net"]
"""
CALLBACK = "/login/sso/corp/back"


def with_provider(case: Any, timeout: str = "10s", host: str = "127.0.0.1") -> Provider:
    """Give a desk a provider that answers."""
    provider = Provider(case.desk.office.wall)
    issuer = provider.listen(case, host)
    folder = Path(tempfile.mkdtemp())
    case.addCleanup(shutil.rmtree, folder, True)
    (folder / "sso.secret").write_text(SECRET + "\n")
    (folder / "sso.secret").chmod(0o600)
    (folder / "gate.toml").write_text(CONFIG + TABLE.format(issuer=issuer, timeout=timeout))
    case.desk.control.revision.settings = load(folder / "gate.toml", {}, {})

    def client(settings: Settings) -> PublicHTTPClient:
        made = PublicHTTPClient(
            reactor,
            FakeResolver({"localhost": {"A": "127.0.0.1"}}),
            lambda ip: may_be_called(ip, settings.networks.contains),
            None,
            0,
            in_clear=True,
        )
        case.addCleanup(lambda: made._agents[0]._pool.closeCachedConnections() if made._agents is not None else None)
        return made

    case.desk.office.logins.client = client
    return provider


class SsoCase(OfficeOnPort):
    """A desk with a provider; Ann is the owner here, and Carla logs in there."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = with_provider(self)
        self.browser = Browser(self.wire)  # type: ignore[arg-type]

    # The way of a browser

    def away(self, browser: Browser, answer: Answer) -> dict[str, str]:
        """What a page that leads to the provider asks it for."""
        found = re.search(r'content="0; url=([^"]+)"', answer.text)
        assert found is not None, answer.text
        address = html.unescape(found[1])
        self.assertTrue(address.startswith(f"{self.provider.issuer}/login?"), address)
        return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

    def begin(self, browser: Browser, wanted: str = "/") -> dict[str, str]:
        """From the login page to the provider; who is logged in does not see that page."""
        browser.jar.pop("sg-local", None)
        return self.away(browser, browser.form("/login", "/login/sso/corp", {"next": wanted}))

    def permit(self, asked: dict[str, str]) -> str:
        """Carla has said who she is; where the browser is sent."""
        place = urlsplit(self.on_reactor(self.provider.permit, asked))
        return f"{place.path}?{place.query}"

    def back(self, browser: Browser, place: str) -> Answer:
        """A request of another site: cookies that are Strict stay at home."""
        jar, browser.jar = browser.jar, {name: value for name, value in browser.jar.items() if name == "sg-sso"}
        answer = browser.get(place, Sec_Fetch_Site="cross-site")
        gone = "sg-sso" not in browser.jar
        browser.jar = {**jar, **browser.jar}
        if gone:
            browser.jar.pop("sg-sso", None)
        return answer

    def finish(self, browser: Browser, page: Answer) -> Answer:
        """What the page of the return sends."""
        ticket = re.search(r'name="ticket" value="([^"]+)"', page.text)
        assert ticket is not None, page.text
        return browser.post("/login/sso/corp/finish", {"ticket": ticket[1]}, Sec_Fetch_Site="same-origin")

    def log_in(self, browser: Browser | None = None, wanted: str = "/") -> Answer:
        """All of it."""
        browser = browser or self.browser
        page = self.back(browser, self.permit(self.begin(browser, wanted)))
        return self.finish(browser, page) if page.status == 200 else page

    def carla(self) -> Any:
        return self.desk.users.people.get("carla")

    def rows(self, action: str) -> list[dict[str, Any]]:
        return [row for row in self.desk.users.rows if row["action"] == action]

    def refusal(self, answer: Answer, why: str) -> None:
        """It did not work; the audit says why, and the page does not."""
        self.assertIn(answer.status, (403, 429), answer.text)
        row = self.desk.users.rows[-1]
        self.assertEqual((row["result"], row["method"]), ("failed", "oidc"), row)
        self.assertIn(why, row["detail"])
        self.assertNotIn(why, answer.text)
        self.assertNotIn("sg-local", answer.cookies)
        self.assertIn(row["request_id"], answer.text)


class LoginTests(SsoCase):
    """Who is let in, and as whom."""

    @over_tcp
    def test_S_13_a_first_login_makes_an_account_where_a_group_gives_a_role(self) -> None:
        """Code and PKCE; matched by issuer and subject, and not by a mail address that somebody here has."""
        asked = self.begin(self.browser, "/backends")
        self.assertEqual((asked["response_type"], asked["code_challenge_method"]), ("code", "S256"))
        self.assertEqual(asked["redirect_uri"], f"http://localhost:8080{CALLBACK}")
        page = self.back(self.browser, self.permit(asked))
        self.assertNotIn("sg-local", page.cookies)
        answer = self.finish(self.browser, page)
        self.assertEqual((answer.status, answer.header("location")), (303, "/backends"))
        self.assertIn("SameSite=Strict", answer.cookies["sg-local"])
        self.assertEqual(self.browser.get("/backends").status, 200)
        self.assertEqual((self.carla().role, self.carla().has_password), ("admin", False))
        self.assertEqual(self.desk.users.subjects, {(self.provider.issuer, "u-1"): "carla"})
        (row,) = self.rows("login")
        self.assertEqual((row["actor"], row["method"]), ("carla", "oidc"))
        (made,) = self.rows("user.add")
        self.assertEqual((made["actor_kind"], made["actor"], made["after"]["subject"]), ("sso", "corp", "u-1"))
        self.assertEqual(self.provider.forms[0]["code_verifier"].isascii(), True)
        self.assertTrue(self.provider.heads[0].startswith("Basic "))
        # Another name there is the same account here.
        self.provider.person["preferred_username"] = "somebody"
        self.assertEqual(self.log_in().status, 303)
        self.assertEqual(set(self.desk.users.people), {"ann", "carla"})

    @over_tcp
    def test_S_13_a_name_that_is_taken_is_no_way_in(self) -> None:
        """Who is called Ann there is not Ann here."""
        self.provider.person |= {"preferred_username": "ann", "email": "ann@example.net"}
        self.assertEqual(self.log_in().status, 303)
        self.assertEqual(self.desk.users.subjects, {(self.provider.issuer, "u-1"): "ann@corp"})
        self.assertEqual(self.desk.users.people["ann"].issuer, "")
        for number, (said, name) in enumerate((("\u202e<b>J\u00f6rg</b>", "bJorgb"), ("\u5f20", ""), (7, ""))):
            self.provider.person |= {"preferred_username": said, "sub": f"v-{number}"}
            self.assertEqual(self.log_in(Browser(self.wire)).status, 303)  # type: ignore[arg-type]
            made = self.desk.users.subjects[(self.provider.issuer, f"v-{number}")]
            self.assertRegex(made, name or r"corp-[0-9a-f]{8}")

    @over_tcp
    def test_S_13_role_and_domains_follow_the_groups_at_each_login(self) -> None:
        """Up, down, and out: then what was open ends."""
        self.log_in()
        first = dict(self.browser.jar)
        self.provider.person["groups"] = ["other", "mail-help"]
        self.assertEqual(self.log_in().status, 303)
        self.assertEqual((self.carla().role, self.carla().domains), ("helpdesk", ("example.net",)))
        (row,) = self.rows("user.change")
        self.assertEqual((row["before"]["role"], row["after"]["role"]), ("admin", "helpdesk"))
        browser = Browser(self.wire)  # type: ignore[arg-type]
        browser.jar = first
        self.assertEqual(browser.get("/account").status, 303)
        self.assertEqual(self.browser.get("/account").status, 200)
        self.provider.person["groups"] = ["other"]
        stranger = Browser(self.wire)  # type: ignore[arg-type]
        self.refusal(self.log_in(stranger), "the groups are other")
        self.assertEqual(self.browser.get("/account").status, 303)

    @over_tcp
    def test_S_13_nobody_without_a_group(self) -> None:
        """No groups, none of ours, or no list of them: no account is made."""
        for groups, why in (
            ([], "none"),
            (["zebra"], "zebra"),
            (None, "no list"),
            ([1], "no list"),
            ({"mail-admins": 1}, "no list"),
        ):
            self.provider.person["groups"] = groups
            self.refusal(self.log_in(Browser(self.wire)), why)  # type: ignore[arg-type]
        self.assertEqual(set(self.desk.users.people), {"ann"})

    @over_tcp
    def test_groups_in_a_table_and_alone(self) -> None:
        """As Keycloak has its roles, and one that is no list."""
        settings = self.desk.control.revision.settings  # type: ignore[union-attr]
        one = attrs.evolve(settings.sso["corp"], groups_claim="realm_access.roles")
        self.desk.control.revision.settings = attrs.evolve(settings, sso={"corp": one})  # type: ignore[union-attr]
        self.provider.person["realm_access"] = {"roles": "mail-owners"}
        self.assertEqual(self.log_in().status, 303)
        self.assertEqual(self.carla().role, "owner")

    @over_tcp
    def test_S_13_an_owner_of_elsewhere_is_not_counted_on(self) -> None:
        """The last owner with a password here cannot be taken away, whoever else is one there."""
        self.provider.person["groups"] = ["mail-owners"]
        self.log_in()
        head = {"If-Match": "*"}
        answer = self.wire.ask("DELETE", "/api/v1/users/ann", token=self.owner, headers=head)
        self.assertEqual(answer.status, 409, answer.text)

    @over_tcp
    def test_S_13_no_password_for_who_logs_in_elsewhere(self) -> None:
        """None is set, by nobody, and no link is made; role and domains are not changed here; shut out is shut out."""
        self.log_in()
        for path, body in (("/password", {"password": PASSWORD}), ("/invitation", {})):
            answer = self.wire.json("POST", f"/api/v1/users/carla{path}", body, token=self.owner)
            self.assertEqual(answer.status, 409, answer.text)
        head = {"If-Match": "*"}
        answer = self.wire.json("PATCH", "/api/v1/users/carla", {"role": "owner"}, token=self.owner, headers=head)
        self.assertEqual(answer.status, 409, answer.text)
        fields = {"current": PASSWORD, "password": "another horse", "again": "another horse"}
        self.assertEqual(self.browser.form("/account", "/account/password", fields).status, 409)
        stranger = Browser(self.wire)  # type: ignore[arg-type]
        self.assertEqual(stranger.log_in("carla", "").status, 401)
        answer = self.wire.json("PATCH", "/api/v1/users/carla", {"is_disabled": True}, token=self.owner, headers=head)
        self.assertEqual(answer.status, 200, answer.text)
        self.refusal(self.log_in(stranger), "shut out")

    @over_tcp
    def test_S_13_a_provider_that_is_gone_lets_nobody_stay(self) -> None:
        """Taken out of the configuration, or put at another address: its sessions are over at once."""
        self.log_in()
        self.assertEqual(self.browser.get("/account").status, 200)
        settings = self.desk.control.revision.settings  # type: ignore[union-attr]
        self.desk.control.revision.settings = attrs.evolve(settings, sso={})  # type: ignore[union-attr]
        self.assertEqual(self.browser.get("/account").status, 303)
        self.assertNotIn("Corp", Browser(self.wire).get("/login").text)  # type: ignore[arg-type]
        self.assertEqual(self.browser.form("/login", "/login/sso/corp", {}).status, 404)

    @over_tcp
    def test_S_11_one_time_codes_there_and_here(self) -> None:
        """What the provider says of its login counts where the configuration says so; else a code is wanted here."""
        settings = self.desk.control.revision.settings  # type: ignore[union-attr]
        strict = attrs.evolve(settings.admin, require_totp=("admin",))
        self.desk.control.revision.settings = attrs.evolve(settings, admin=strict)  # type: ignore[union-attr]
        self.log_in()
        self.assertEqual(self.browser.get("/backends").header("location"), "/account")
        for claim in ({"amr": ["pwd", "mfa"]}, {"acr": "mfa"}):
            browser = Browser(self.wire)  # type: ignore[arg-type]
            self.provider.person |= claim
            self.log_in(browser)
            self.assertEqual(browser.get("/backends").status, 200)
            for name in claim:
                del self.provider.person[name]
        self.desk.users.factors.set("carla", b"x" * 20, 0, [], 0.0)
        answer = self.log_in(Browser(self.wire), "/backends")  # type: ignore[arg-type]
        self.assertEqual(answer.header("location"), "/login/code?next=%2Fbackends")
        self.assertNotIn("sg-local", answer.cookies)

    @over_tcp
    def test_S_13_an_audit_that_cannot_be_written(self) -> None:
        """No account is made, and nobody's rights change; who comes as they were comes in."""
        self.desk.users.fails_audit = True
        self.assertEqual(self.log_in().status, 503)
        self.assertIsNone(self.carla())
        self.desk.users.fails_audit = False
        self.assertEqual(self.log_in().status, 303)
        self.desk.users.fails_audit = True
        self.assertEqual(self.log_in().status, 303)
        self.provider.person["groups"] = ["mail-owners"]
        self.assertEqual(self.log_in().status, 503)
        self.assertEqual(self.carla().role, "admin")


class WayTests(SsoCase):
    """What goes through the browser."""

    @over_tcp
    def test_S_13_state_is_of_one_browser_and_taken_once(self) -> None:
        """Of another browser, of another login, of yesterday, and twice: no."""
        stranger = Browser(self.wire)  # type: ignore[arg-type]
        place = self.permit(self.begin(self.browser))
        self.refusal(self.back(stranger, place), "no such login")
        # Whoever tried it has used it up.
        self.refusal(self.back(self.browser, place), "no such login")
        place = self.permit(self.begin(self.browser))
        page = self.back(self.browser, place)
        stranger.jar = {}
        self.refusal(self.finish(stranger, page), "no such login")
        page = self.back(self.browser, self.permit(self.begin(self.browser)))
        self.assertEqual(self.finish(self.browser, page).status, 303)
        self.refusal(self.finish(self.browser, page), "no such login")
        place = self.permit(self.begin(self.browser))
        self.on_reactor(self.desk.clock.advance, 601)
        self.refusal(self.back(self.browser, place), "no such login")
        for query in ("", "?state=", "?state=x&code=y", "?code=y", "?error=x"):
            self.refusal(self.back(self.browser, CALLBACK + query), "no such login")

    @over_tcp
    def test_S_13_what_is_held_opens_nothing(self) -> None:
        """Of state, nonce and cookie only digests are in memory, and the verifier is not."""
        asked = self.begin(self.browser)
        (flow,) = self.desk.office.logins.flows._away.values()
        held = repr(attrs.asdict(flow)) + repr(list(self.desk.office.logins.flows._away))
        for word in (asked["state"], asked["nonce"], self.browser.jar["sg-sso"]):
            self.assertNotIn(word, held)
        self.assertGreaterEqual(min(len(asked["state"]), len(asked["nonce"])), 43)

    @over_tcp
    def test_S_07_the_cookies_of_the_way(self) -> None:
        """What comes back from another site is Lax, short, and no session's; over TLS no site can set it."""
        answer = self.browser.form("/login", "/login/sso/corp", {})
        line = answer.cookies["sg-sso"]
        self.assertIn("SameSite=Lax", line)
        self.assertIn("HttpOnly", line)
        self.assertIn("Max-Age=600", line)
        secure = Browser(self.wire, host="admin.example.com")  # type: ignore[arg-type]
        line = secure.form("/login", "/login/sso/corp", {}).cookies["__Host-sg-sso"]
        self.assertIn("; Secure", line)

    @over_tcp
    def test_S_13_no_open_redirect(self) -> None:
        """`next` is a place here."""
        for wanted in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"):
            self.assertEqual(self.log_in(wanted=wanted).header("location"), "/", wanted)
            self.browser.jar.clear()

    @over_tcp
    def test_S_16_a_login_is_begun_by_our_own_form(self) -> None:
        """Neither by a link nor by a form of another site."""
        self.assertEqual(self.browser.post("/login/sso/corp", {}).status, 403)
        self.assertEqual(self.browser.get("/login/sso/corp").status, 303)
        token = self.browser.token("/login")
        answer = self.browser.post("/login/sso/corp", {"csrf": token}, Sec_Fetch_Site="cross-site")
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.provider.asked, [])

    @over_tcp
    def test_S_06_a_session_before_is_not_gone_on_with(self) -> None:
        """A login has a new id, and ends what the browser had."""
        self.browser.log_in()
        before = self.browser.jar["sg-local"]
        old = Browser(self.wire)  # type: ignore[arg-type]
        old.jar = {"sg-local": before}
        strange = Browser(self.wire)  # type: ignore[arg-type]
        strange.jar = {}
        asked = self.begin(strange)
        strange.jar["sg-local"] = before
        page = self.back(strange, self.permit(asked))
        self.finish(strange, page)
        self.assertNotEqual(strange.jar["sg-local"], before)
        self.assertEqual(old.get("/account").status, 303)

    @over_tcp
    def test_S_13_the_provider_says_no_or_is_another(self) -> None:
        """Its errors, an answer without a code, and one of another issuer (RFC 9207)."""
        for said, why in (
            ({"error": "access_denied"}, "access_denied"),
            ({"error": "<b>\r\nX: y"}, "an error"),
            ({"iss": "https://evil.example"}, "not of this provider"),
            ({"code": ""}, "no code"),
            ({"code": "a b"}, "no code"),
            ({"code": "never-given"}, "invalid_grant"),
        ):
            self.provider.said = said
            self.refusal(self.log_in(Browser(self.wire)), why)  # type: ignore[arg-type]
        self.provider.said = {}
        self.provider.described["authorization_response_iss_parameter_supported"] = True
        self.desk.office.logins._issuers.clear()
        self.refusal(self.log_in(), "not of this provider")
        self.provider.said = {"iss": self.provider.issuer}
        self.on_reactor(self.desk.clock.advance, 1000)
        self.assertEqual(self.log_in().status, 303)

    @over_tcp
    def test_logins_under_way_have_an_end(self) -> None:
        """So many of one network; the newest stays."""
        for _ in range(60):
            asked = self.begin(Browser(self.wire))  # type: ignore[arg-type]
        self.assertEqual(len(self.desk.office.logins.flows), 50)
        browser = Browser(self.wire)  # type: ignore[arg-type]
        asked = self.begin(browser)
        self.assertEqual(self.back(browser, self.permit(asked)).status, 200)


class ProofTests(SsoCase):
    """In place of the password that is asked for again."""

    def old(self) -> None:
        """Carla logged in long ago."""
        self.provider.person["groups"] = ["mail-owners"]
        self.log_in()
        self.on_reactor(self.desk.clock.advance, 700)

    @over_tcp
    def test_S_12_a_login_anew_in_place_of_a_password(self) -> None:
        """The form that was sent waits, and is gone on with."""
        self.old()
        sent = {"name": "dora", "role": "helpdesk", "domains": "", "addresses": ""}
        question = self.browser.form("/access", "/access/users", sent)
        self.assertEqual(question.status, 401)
        self.assertNotIn('type="password"', question.text)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', question.text.partition("<main")[2]))
        asked = self.away(self.browser, self.browser.post("/prove/sso", hidden))
        self.assertEqual((asked["prompt"], asked["max_age"]), ("login", "0"))
        page = self.finish(self.browser, self.back(self.browser, self.permit(asked)))
        self.assertEqual(page.status, 200)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text.partition("<main")[2]))
        self.assertIn('action="/access/users"', page.text)
        self.assertNotIn("dora", self.desk.users.people)
        self.assertEqual(self.browser.post("/access/users", hidden).status, 200)
        self.assertIn("dora", self.desk.users.people)
        self.assertEqual([row["method"] for row in self.rows("proof")], ["oidc"])

    @over_tcp
    def test_S_12_a_page_waits_too(self) -> None:
        """And is come back to."""
        self.old()
        self.assertIn("Log in with Corp", self.browser.get("/prove?next=/system").text)
        fields = {"csrf": self.browser.token("/account"), "next": "/system"}
        asked = self.away(self.browser, self.browser.post("/prove/sso", fields))
        answer = self.finish(self.browser, self.back(self.browser, self.permit(asked)))
        self.assertEqual(answer.header("location"), "/system")

    @over_tcp
    def test_S_12_somebody_else_or_an_old_login_there_proves_nothing(self) -> None:
        """Nor a session that is over meanwhile, nor a provider that does not say when."""

        def no_time(header: Any, claims: Any) -> None:
            del claims["auth_time"]

        def old_time(header: Any, claims: Any) -> None:
            claims["auth_time"] -= 3600

        for bend, person, why in (
            (no_time, {}, "does not say when"),
            (old_time, {}, "did not log in there anew"),
            (lambda header, claims: None, {"sub": "u-2", "preferred_username": "eve"}, "somebody else logged in there"),
        ):
            self.old()
            fields = {"csrf": self.browser.token("/account"), "next": "/system"}
            asked = self.away(self.browser, self.browser.post("/prove/sso", fields))
            self.provider.bend, before = bend, self.provider.person
            self.provider.person = {**before, **person}
            answer = self.finish(self.browser, self.back(self.browser, self.permit(asked)))
            self.provider.person, self.provider.bend = before, lambda header, claims: None
            self.refusal(answer, why)
            self.assertEqual(self.rows("proof"), [])
        self.old()
        fields = {"csrf": self.browser.token("/account"), "next": "/system"}
        asked = self.away(self.browser, self.browser.post("/prove/sso", fields))
        page = self.back(self.browser, self.permit(asked))
        del self.browser.jar["sg-local"]
        self.refusal(self.finish(self.browser, page), "session of the proof is over")

    @over_tcp
    def test_S_12_the_api_and_who_has_a_password(self) -> None:
        """There the proof is one of pages; and Ann has nothing to log in to."""
        self.log_in()
        csrf = self.browser.token("/account")
        head = {"Content-Type": "application/json", "X-CSRF-Token": csrf, **self.browser._headers({})}
        answer = self.wire.ask("POST", "/api/v1/auth/reauth", body=b'{"password": "x"}', headers=head)
        self.assertEqual(answer.status, 409, answer.text)
        ann = Browser(self.wire)  # type: ignore[arg-type]
        ann.log_in()
        self.assertEqual(ann.post("/prove/sso", {"csrf": ann.token("/account")}).status, 409)
        self.assertEqual(ann.post("/prove/sso", {}).status, 403)


class LogoutTests(SsoCase):
    """Out here, and out there."""

    @over_tcp
    def test_a_logout_goes_on_to_the_provider(self) -> None:
        """The session here is over before; where the provider has no logout it ends here."""
        self.log_in()
        token = self.browser.token("/account")
        answer = self.browser.post("/logout", {"csrf": token})
        found = re.search(r'content="0; url=([^"]+)"', answer.text)
        assert found is not None
        address = urlsplit(html.unescape(found[1]))
        query = parse_qs(address.query)
        self.assertEqual(address.path, "/realms/staff/logout")
        self.assertEqual(query["post_logout_redirect_uri"], ["http://localhost:8080/login"])
        self.assertEqual(query["client_id"], [CLIENT])
        self.assertEqual(query["id_token_hint"][0].count("."), 2)
        self.assertEqual(self.browser.get("/account").status, 303)
        self.provider.described["end_session_endpoint"] = None
        self.desk.office.logins._issuers.clear()
        self.log_in()
        answer = self.browser.post("/logout", {"csrf": self.browser.token("/account")})
        self.assertEqual((answer.status, answer.header("location")), (303, "/login"))


def bent(**more: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Other claims; None takes one away."""

    def bend(header: dict[str, Any], claims: dict[str, Any]) -> None:
        for name, value in more.items():
            value = value(claims) if callable(value) else value
            if value is None:
                claims.pop(name, None)
            else:
                claims[name] = value

    return bend


def headed(**more: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Other words in the header of a token."""

    def bend(header: dict[str, Any], claims: dict[str, Any]) -> None:
        header.update(more)

    return bend


def twice(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A claim that is there twice: which one counts is another matter for each reader."""
    text = json.dumps({**claims, "sub": "u-1"})[:-1] + ', "sub": "u-9"}'
    return compact(header, text, RSA_KEY.sign)


def endless(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A number that is none, though JSON has it for one."""
    text = json.dumps({**claims, "exp": 7}).replace('"exp": 7', '"exp": 1e999')
    return compact(header, text, RSA_KEY.sign)


def cut(header: dict[str, Any], claims: dict[str, Any]) -> str:
    head, body, _ = compact(header, claims, RSA_KEY.sign).split(".")
    return f"{head}.{body}."


def changed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    head, _, mac = compact(header, claims, RSA_KEY.sign).split(".")
    return f"{head}.{compact(header, {**claims, 'groups': ['mail-owners']}, RSA_KEY.sign).split('.')[1]}.{mac}"


#: What a token may be, and what the audit says of it.
LIES: tuple[tuple[str, str, Any, str], ...] = (
    ("no algorithm", "token", lambda h, c: compact({**h, "alg": "none"}, c, lambda data: b""), "signed with none"),
    ("no algorithm in capitals", "token", lambda h, c: compact({**h, "alg": "NONE"}, c, lambda data: b""), "NONE"),
    ("the public key as a secret", "token", shared, "signed with HS256"),
    ("an algorithm that is not taken", "bend", headed(alg="RS512"), "signed with RS512"),
    ("an algorithm that is no text", "bend", headed(alg=["RS256"]), "nothing known"),
    ("a key of another kind", "bend", headed(kid="ec-1"), "not for RS256"),
    ("the kind of another key", "bend", headed(alg="ES256"), "not for ES256"),
    ("a strange key", "token", lambda h, c: compact(h, c, STRANGE_KEY.sign), "signature of the token is wrong"),
    ("an unknown key", "bend", headed(kid="rsa-9"), "does not have"),
    ("a key that is no text", "bend", headed(kid=7), "no proper name"),
    ("a key that it brings", "bend", headed(jwk=STRANGE_KEY.jwk()), "has jwk"),
    ("the address of a key", "bend", headed(jku="http://127.0.0.1:1/keys"), "has jku"),
    ("the address of a certificate", "bend", headed(x5u="http://127.0.0.1:1/"), "has x5u"),
    ("a certificate", "bend", headed(x5c=["x"]), "has x5c"),
    ("something critical", "bend", headed(crit=["exp"]), "has crit"),
    ("another type", "bend", headed(typ="at+jwt"), "no ID token"),
    ("a key twice", "token", twice, "a key twice"),
    ("no number", "token", lambda h, c: compact(h, '{"exp": NaN}', RSA_KEY.sign), "NaN"),
    ("no object", "token", lambda h, c: compact(h, "[1]", RSA_KEY.sign), "no JSON object"),
    ("no JSON", "token", lambda h, c: compact(h, "{", RSA_KEY.sign), "no JSON"),
    ("without a signature", "token", cut, "signature of the token is wrong"),
    ("with other claims", "token", changed, "signature of the token is wrong"),
    ("two parts", "token", lambda h, c: "a.b", "three parts"),
    ("five parts", "token", lambda h, c: "a.b.c.d.e", "three parts"),
    ("padding", "token", lambda h, c: "e30=.e30.e30", "base64url"),
    ("too long", "token", lambda h, c: compact(h, {**c, "x": "y" * 33000}, RSA_KEY.sign), "more than"),
    ("another issuer", "bend", bent(iss="https://evil.example"), "of https://evil.example"),
    ("an issuer but for a slash", "bend", bent(iss=lambda c: c["iss"] + "/"), "the token is of"),
    ("no issuer", "bend", bent(iss=None), "of nobody"),
    ("another client", "bend", bent(aud="other"), "for somebody else"),
    ("no client", "bend", bent(aud=None), "for somebody else"),
    ("several clients", "bend", bent(aud=[CLIENT, "other"]), "given to somebody else"),
    ("another party", "bend", bent(azp="other"), "given to somebody else"),
    ("over", "bend", bent(exp=lambda c: c["iat"] - 61), "is over"),
    ("no end", "bend", bent(exp=None), "no proper exp"),
    ("an end in words", "bend", bent(exp="tomorrow"), "no proper exp"),
    ("an end that is true", "bend", bent(exp=True), "no proper exp"),
    ("an end without end", "token", endless, "no proper exp"),
    ("of the future", "bend", bent(iat=lambda c: c["iat"] + 120), "of the future"),
    ("of before", "bend", bent(iat=lambda c: c["iat"] - 120), "older than this login"),
    ("not yet", "bend", bent(nbf=lambda c: c["iat"] + 120), "does not hold yet"),
    ("another nonce", "bend", bent(nonce="x"), "of another login"),
    ("no nonce", "bend", bent(nonce=None), "of another login"),
    ("another access token", "bend", bent(at_hash="x"), "does not fit"),
    ("no subject", "bend", bent(sub=None), "no proper subject"),
    ("an empty subject", "bend", bent(sub=""), "no proper subject"),
    ("a subject of several", "bend", bent(sub=["u-1"]), "no proper subject"),
    ("a subject with an end", "bend", bent(sub="u-1\x00"), "no proper subject"),
)  # fmt: skip


class LieTests(SsoCase):
    """Each refused, with its reason in the audit and none on the page."""

    @over_tcp
    def test_S_13_tokens_that_lie(self) -> None:
        """The table; and after all of it a good one is taken."""
        for name, how, call, why in LIES:
            self.provider.bend, self.provider.token = (lambda header, claims: None), None
            setattr(self.provider, how, call)
            self.on_reactor(self.desk.clock.advance, 1000)
            try:
                self.refusal(self.log_in(Browser(self.wire)), why)  # type: ignore[arg-type]
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
        self.assertEqual(set(self.desk.users.people), {"ann"})
        self.provider.bend, self.provider.token = (lambda header, claims: None), None
        self.on_reactor(self.desk.clock.advance, 1000)
        self.assertEqual(self.log_in().status, 303)

    @over_tcp
    def test_tokens_that_are_right_in_another_way(self) -> None:
        """Elliptic curves, no name of a key, several clients with a party, a little off in time."""
        for key, bend in (
            (EC_KEY, bent()),
            (RSA_KEY, lambda header, claims: header.pop("kid")),
            (RSA_KEY, lambda header, claims: header.pop("typ")),
            (RSA_KEY, bent(aud=[CLIENT, "other"], azp=CLIENT)),
            (RSA_KEY, bent(aud=[CLIENT])),
            (RSA_KEY, bent(at_hash=None)),
            (RSA_KEY, bent(iat=lambda c: c["iat"] + 50)),
            (RSA_KEY, bent(exp=lambda c: c["iat"] - 50)),
        ):
            self.provider.key, self.provider.bend = key, bend  # type: ignore[assignment]
            self.assertEqual(self.log_in(Browser(self.wire)).status, 303)  # type: ignore[arg-type]

    @over_tcp
    def test_S_13_a_provider_that_lies_of_itself(self) -> None:
        """Its description, its keys, its answers: nothing is gone on with."""
        path = "/.well-known/openid-configuration"
        for change, why in (
            ({"described": {"issuer": "https://evil.example"}}, "calls itself https://evil.example"),
            ({"described": {"issuer": None}}, "calls itself nobody"),
            ({"described": {"authorization_endpoint": "javascript:alert(1)"}}, "no proper authorization_endpoint"),
            ({"described": {"authorization_endpoint": 'http://127.0.0.1/"><script>'}}, "no proper authorization"),
            (
                {"described": {"token_endpoint": "http://198.51.100.1/token"}},
                "token_endpoint of the provider has no TLS",
            ),
            ({"described": {"jwks_uri": "file:///etc/passwd"}}, "no proper jwks_uri"),
            ({"described": {"jwks_uri": None}}, "no proper jwks_uri"),
            ({"described": {"code_challenge_methods_supported": ["plain"]}}, "PKCE"),
            ({"statuses": {path: 302}}, "302, and redirects are not followed"),
            ({"statuses": {path: 500}}, "500"),
            ({"bodies": {path: b"{" * 100000}}, "no JSON"),
            ({"bodies": {path: b'{"issuer": "a", "issuer": "b"}'}}, "a key twice"),
            ({"bodies": {path: b" " * 300000}}, "more than 262144 octets"),
            ({"keys": []}, "no keys"),
            ({"keys": [STRANGE_KEY.jwk()]}, "signature of the token is wrong"),
            ({"keys": [RSA_KEY.jwk(), STRANGE_KEY.jwk()]}, "several keys"),
            ({"keys": [{**RSA_KEY.jwk(), "use": "enc"}]}, "not for RS256"),
            ({"keys": [{**RSA_KEY.jwk(), "alg": "RS512"}]}, "not for RS256"),
            ({"keys": [{**RSA_KEY.jwk(), "n": "AQAB"}]}, "bits"),
            ({"keys": [{**RSA_KEY.jwk(), "n": 5}]}, "is none"),
            ({"keys": [{**RSA_KEY.jwk(), "e": "AA"}]}, "is none"),
            ({"keys": [{"kty": "oct", "kid": "rsa-1", "k": "AAAA"}]}, "not for RS256"),
            ({"keys": [None, 7, "x"]}, "does not have"),
            ({"statuses": {"/keys": 404}}, "404"),
            ({"statuses": {"/token": 302}}, "302"),
            ({"statuses": {"/token": 500}}, "500"),
            ({"bodies": {"/token": b"{}"}}, "no ID token"),
            ({"bodies": {"/token": b'{"id_token": 7}'}}, "no ID token"),
        ):
            issuer, good = self.provider.issuer, dict(self.provider.__dict__)
            for name, value in change.items():
                setattr(self.provider, name, value)
            self.desk.office.logins._issuers.clear()
            self.on_reactor(self.desk.clock.advance, 1000)
            browser = Browser(self.wire)  # type: ignore[arg-type]
            answer = browser.form("/login", "/login/sso/corp", {})
            if answer.status == 200:
                asked = self.away(browser, answer)
                answer = self.finish(browser, self.back(browser, self.permit(asked)))
            try:
                self.refusal(answer, why)
            except AssertionError as error:
                raise AssertionError(f"{change}: {error}") from error
            for name in change:
                setattr(self.provider, name, good[name])
            self.assertEqual(self.provider.issuer, issuer)

    @over_tcp
    def test_S_13_a_key_that_is_new(self) -> None:
        """Keys are asked for again where a token has one that is not known, and once a minute at most."""
        self.log_in()
        self.assertEqual(self.provider.asked.count("/keys"), 1)
        self.provider.keys = [EC_KEY.jwk()]
        self.provider.key = EC_KEY
        self.provider.bend = headed(kid="new")
        for _ in range(3):
            self.refusal(self.log_in(Browser(self.wire)), "does not have")  # type: ignore[arg-type]
        self.assertEqual(self.provider.asked.count("/keys"), 1)
        self.on_reactor(self.desk.clock.advance, 61)
        self.provider.keys = [{**EC_KEY.jwk(), "kid": "new"}]
        self.assertEqual(self.log_in().status, 303)
        self.assertEqual(self.provider.asked.count("/keys"), 2)
        self.assertEqual(self.provider.asked.count("/.well-known/openid-configuration"), 1)


class DeadTests(SsoCase):
    """A provider that does not answer keeps nobody else waiting."""

    def setUp(self) -> None:
        super().setUp()
        self.provider = with_provider(self, timeout="0.5s")

    @over_tcp
    def test_S_13_a_dead_provider_holds_no_login_by_password(self) -> None:
        """The page does not ask it, Ann comes in while others wait, and the waiting ends."""
        self.provider.hangs = {"/.well-known/openid-configuration", "/token"}
        page = self.browser.get("/login")
        self.assertIn("Log in with Corp", page.text)
        self.assertEqual(self.provider.asked, [])
        self.assertEqual(self.browser.log_in().status, 303)
        stranger = Browser(self.wire)  # type: ignore[arg-type]
        answer = stranger.form("/login", "/login/sso/corp", {})
        self.refusal(answer, "no answer within 0.5 s")
        # It is left alone for a while.
        self.refusal(stranger.form("/login", "/login/sso/corp", {}), "no answer within 0.5 s")
        self.assertEqual(self.provider.asked.count("/.well-known/openid-configuration"), 1)
        self.provider.hangs = {"/token"}
        self.on_reactor(self.desk.clock.advance, 11)
        self.refusal(self.log_in(stranger), "no answer within 0.5 s")
        self.provider.hangs = set()
        self.assertEqual(self.log_in(stranger).status, 303)

    @over_tcp
    def test_S_27_a_provider_inside_that_nobody_listed(self) -> None:
        """The guard of calls out keeps it."""
        settings = self.desk.control.revision.settings  # type: ignore[union-attr]
        from smtpgate.config.patterns import NO_NETWORKS

        one = attrs.evolve(settings.sso["corp"], networks=NO_NETWORKS)
        self.desk.control.revision.settings = attrs.evolve(settings, sso={"corp": one})  # type: ignore[union-attr]
        self.refusal(self.browser.form("/login", "/login/sso/corp", {}), "has no public address")
        self.assertEqual(self.provider.asked, [])


class ApiTests(SsoCase):
    """What the API and the page say of providers."""

    @over_tcp
    def test_list_and_test(self) -> None:
        """Where browsers are sent back to stands in it, the secret nowhere."""
        answer = self.wire.ask("GET", "/api/v1/sso", token=self.owner)
        (one,) = answer.json()["items"]
        self.assertEqual((one["name"], one["redirect"]), ("corp", f"http://localhost:8080{CALLBACK}"))
        self.assertEqual(one["groups"][2], {"group": "mail-help", "role": "helpdesk", "domains": ["example.net"]})
        self.assertNotIn(SECRET, answer.text)
        found = self.wire.json("POST", "/api/v1/sso/corp/test", {}, token=self.owner).json()
        self.assertEqual((found["ok"], found["keys"], found["told"]), (True, 2, ""))
        self.provider.keys = [{"kty": "oct"}]
        found = self.wire.json("POST", "/api/v1/sso/corp/test", {}, token=self.owner).json()
        self.assertEqual((found["ok"], found["told"]), (False, "none of its keys is for RS256, ES256"))
        self.provider.described = {"issuer": "https://other.example"}
        found = self.wire.json("POST", "/api/v1/sso/corp/test", {}, token=self.owner).json()
        self.assertIn("calls itself https://other.example", found["told"])
        self.assertEqual(self.wire.json("POST", "/api/v1/sso/other/test", {}, token=self.owner).status, 404)

    @over_tcp
    def test_the_doctor_asks_it_too(self) -> None:
        """Without a gateway: who it is, and whether anybody comes in by it."""
        (one,) = self.desk.office.logins.providers().values()

        def line(settings: Settings = one) -> tuple[str, str]:
            (found,) = probes.provider(settings)
            self.assertEqual(bool(found.fix), found.state != "ok")
            return found.state, found.text

        self.assertEqual(line(), ("ok", "corp: it answers, and is who it should be"))
        self.assertEqual(line(attrs.evolve(one, groups=()))[0], "warn")
        self.provider.described = {"issuer": "https://other.example"}
        self.assertEqual(line(), ("warn", "corp: it calls itself 'https://other.example'"))
        self.provider.bodies = {"/.well-known/openid-configuration": b"[" * 100000}
        self.assertIn("does not answer", line()[1])
        self.assertIn("does not answer", line(attrs.evolve(one, issuer="http://127.0.0.1:1"))[1])

    @over_tcp
    def test_who_is_from_where(self) -> None:
        """On the page Access, and in the list of users."""
        self.log_in()
        ann = Browser(self.wire)  # type: ignore[arg-type]
        ann.log_in()
        page = ann.get("/access").text
        self.assertIn("by <bdi", page)
        self.assertIn(f"http://localhost:8080{CALLBACK}", page)
        users = self.wire.ask("GET", "/api/v1/users", token=self.owner).json()["items"]
        self.assertEqual({one["name"]: one["issuer"] for one in users}, {"ann": "", "carla": self.provider.issuer})
        answer = ann.post("/access/sso/corp/test", {"csrf": ann.token("/access")})
        self.assertIn("it answers, with 2 keys", answer.text)
        self.assertEqual(ann.get("/access/users/carla").status, 200)
        self.assertEqual(self.desk.office.meter.counts["admin_logins_total", "oidc", "ok"], 1)
