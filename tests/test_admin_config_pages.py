"""The pages about the configuration, without scripts: drafts that are checked, kept, put to work and overtaken."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

from tests.admin_kit import CONFIG, HOSTILE, Answer, Desk
from tests.revisions_kit import MANAGED, OfficeCase
from tests.test_admin_config import FACTORY, SECRET, named


class PageCase(OfficeCase):
    """Forms, as ann's browser sends them."""

    def page(self, path: str, status: int = 200, token: str = "") -> str:
        answer = self.desk.ask("GET", path, token=token or self.ann)
        self.assertEqual(answer.status, status, answer.text)
        return answer.text

    def form(self, path: str, token: str = "", **fields: object) -> Answer:
        body = urlencode({name: str(value).replace("\n", "\r\n") for name, value in fields.items()}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.desk.ask("POST", path, body=body, headers=headers, token=token or self.ann)

    def written(self, page: str) -> str:
        """What stands in the editor, as a browser reads it: the line end behind the tag is none of the text."""
        found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.S)
        assert found is not None
        return unescape(found[1])

    def base(self, page: str) -> str:
        found = re.search(r'name="base" value="(\d+)"', page)
        assert found is not None
        return found[1]


class ManagedTests(PageCase):
    """Where revisions rule."""

    def test_it_is_written_checked_and_put_to_work(self) -> None:
        """The text comes back as it was sent; the check names lines and keys; what is put to work is in the history."""
        page = self.page("/config")
        self.assertEqual((self.written(page), self.base(page)), (MANAGED, "1"))
        mine = named(MANAGED, "two.example.com") + "\t# a tab, <b>marks</b> & \u202eturned\u202c\n"
        checked = self.form("/config/draft", do="check", text=mine, base=1, message="a & b")
        self.assertEqual(checked.status, 200)
        self.assertEqual(self.written(checked.text), mine)
        self.assertIn("It can be put to work", checked.text)
        self.assertIn('<span class="added">+hostname = &#34;two.example.com&#34;</span>', checked.text)
        self.assertIn("<code>hostname</code> <small>changed</small>", checked.text)
        # What hides in a comment is shown where it is compared.
        self.assertIn("\u27e8U+202E\u27e9turned", checked.text)
        self.assertIn('value="a &amp; b"', checked.text)
        done = self.form("/config/apply", text=mine, base=1, message="a & b", minutes=0)
        self.assertEqual((done.status, done.header("location")), (303, "/config"))
        self.assertEqual(self.books.active.text, mine)
        self.assertIn("<bdi>a &amp; b</bdi>", self.page("/config"))

    def test_a_draft_is_kept_for_its_author(self) -> None:
        """With each check, whatever is wrong with it; others have their own; it can be forgotten."""
        bad = MANAGED + "x = [\n"
        checked = self.form("/config/draft", text=bad, base=1)
        self.assertIn("It cannot be put to work", checked.text)
        line = bad.count("\n")
        self.assertRegex(checked.text, rf'data-line="({line}|{line + 1})"')
        found = self.page("/config")
        self.assertEqual(self.written(found), bad)
        self.assertIn("Yours, kept", found)
        self.form("/config/draft", do="forget", text=bad, base=1)
        self.assertEqual(self.written(self.page("/config")), MANAGED)

    def test_errors_change_nothing(self) -> None:
        """422 with the text and each problem."""
        bad = MANAGED.replace("hostname", "hostnam")
        answer = self.form("/config/apply", text=bad, base=1, message="x", minutes=0)
        self.assertEqual(answer.status, 422)
        self.assertIn("the running configuration is unchanged", answer.text)
        self.assertIn('<a class="place" href="#L2"', answer.text)
        self.assertEqual(self.books.active.number, 1)

    def test_without_a_reason_it_is_not_put_to_work(self) -> None:
        """409, and what was written is there."""
        mine = named(MANAGED, "two.example.com")
        answer = self.form("/config/apply", text=mine, base=1, message="", minutes=0)
        self.assertEqual((answer.status, self.written(answer.text)), (409, mine))
        self.assertIn("say why", answer.text)

    def test_two_administrators_apart(self) -> None:
        """One text with both changes, made of the other's revision: it can be put to work as it stands."""
        self.form("/config/apply", text=MANAGED + '[log]\nlevel = "debug"\n', base=1, message="loud", minutes=0)
        late = self.form("/config/apply", text=named(MANAGED, "two.example.com"), base=1, message="name",
                         minutes=0)  # fmt: skip
        self.assertEqual((late.status, self.base(late.text)), (412, "2"))
        self.assertIn("one text with both changes", late.text)
        text = self.written(late.text)
        self.assertEqual(self.written(self.page("/config")), text)
        self.form("/config/apply", text=text, base=2, message="name", minutes=0)
        settings = self.desk.control.settings
        self.assertEqual((settings.hostname, settings.log.level), ("two.example.com", "debug"))

    def test_two_administrators_at_one_line(self) -> None:
        """Before, yours and theirs side by side; the text with marks cannot be put to work."""
        self.form("/config/apply", text=named(MANAGED, "one.example.com"), base=1, message="x", minutes=0)
        late = self.form("/config/apply", text=named(MANAGED, "two.example.com"), base=1, message="y",
                         minutes=0)  # fmt: skip
        self.assertEqual(late.status, 412)
        shown = re.findall(r"<h4>(\w+)</h4><pre>(.*?)</pre>", late.text, re.S)
        self.assertEqual([(name, unescape(text).strip()) for name, text in shown], [
            ("Before", 'hostname = "gate.example.com"'), ("Yours", 'hostname = "two.example.com"'),
            ("Theirs", 'hostname = "one.example.com"')])  # fmt: skip
        again = self.form("/config/apply", text=self.written(late.text), base=2, message="y", minutes=0)
        self.assertEqual((again.status, self.desk.control.settings.hostname), (422, "one.example.com"))

    def test_apply_with_confirm(self) -> None:
        """Every page says so, with a button that names the revision; one that is old confirms nothing."""
        mine = named(MANAGED, "two.example.com")
        self.form("/config/apply", text=mine, base=1, message="x", minutes=10)
        for path in ("/", "/config", "/help", "/config/2"):
            self.assertIn("Keep revision 2", self.page(path), path)
        self.assertNotIn("Keep revision", self.page("/help", token=self.desk.token("helpdesk")))
        self.assertIn("waits to be confirmed", self.page("/help", token=self.desk.token("helpdesk")))
        self.assertEqual(self.form("/config/confirm", revision=1).status, 409)
        self.assertEqual(self.form("/config/confirm", revision="2x").status, 400)
        self.assertEqual(self.form("/config/confirm", revision=2).status, 303)
        self.assertNotIn("Keep revision", self.page("/"))
        self.desk.clock.advance(9999)
        self.assertEqual(self.books.active.text, mine)

    def test_back_at_once_and_later(self) -> None:
        """Of one that waits by the banner's button; of others by their page."""
        self.form("/config/apply", text=named(MANAGED, "two.example.com"), base=1, message="x", minutes=10)
        self.assertEqual(self.form("/config/1/rollback").status, 303)
        self.assertEqual((self.books.active.number, self.books.pending), (1, None))
        self.assertIn("not confirmed", self.page("/config/2"))
        self.assertIn("Go back to revision 2", self.page("/config/2"))
        self.assertEqual(self.form("/config/2/rollback", message="again", minutes=0).status, 303)
        self.assertEqual((self.books.active.number, self.desk.control.settings.hostname), (3, "two.example.com"))
        self.assertEqual(self.form("/config/9/rollback", minutes=0).status, 404)

    def test_who_brought_a_line(self) -> None:
        """The page of a revision: text, difference to the one before, and to what is at work."""
        self.form("/config/apply", text=named(MANAGED, "two.example.com"), base=1, message="x", minutes=0)
        page = self.page("/config/2")
        rows = re.findall(r'<tr class="new"><td><a href="/config/(\d+)">', page)
        self.assertEqual(rows, ["1", "2", "1"])
        self.assertIn('<span class="removed">-hostname', page)
        self.assertIn('<span class="added">+hostname = &#34;gate.example.com&#34;', self.page("/config/1?from=2"))
        for path in ("/config/7", "/config/x", "/config/1?from=7"):
            self.page(path, 404)

    def test_drift(self) -> None:
        """A banner on every page, the difference, and a draft of the file."""
        self.file.write_text(named(MANAGED, "file.example.com"))
        self.assertIn('id="drift"', self.page("/config"))
        self.assertIn("The configuration file is another", self.page("/help"))
        self.assertEqual(self.form("/config/import").header("location"), "/config#editor")
        self.assertEqual(self.written(self.page("/config")), self.file.read_text())
        self.form("/config/apply", text=self.file.read_text(), base=1, message="x", minutes=0)
        self.assertNotIn('id="drift"', self.page("/config"))

    def test_a_patch(self) -> None:
        """What `patch` takes, as a file."""
        answer = self.form("/config/draft", do="patch", text=named(MANAGED, "two.example.com"), base=1)
        self.assertIn("attachment", answer.header("content-disposition"))
        self.assertIn('+hostname = "two.example.com"\n', answer.text)

    def test_secrets_and_strangers_words(self) -> None:
        """No page has a secret, and none takes what is written for markup."""
        self.books._factories = {"nowhere": FACTORY}
        text = MANAGED + SECRET + "".join(f"# {word.translate(CONTROLS)}\n" for word in HOSTILE[:7])
        self.form("/config/apply", text=text, base=1, message=HOSTILE[0], minutes=0)
        self.assertEqual(self.books.active.text, text)
        self.form("/config/draft", text=text.replace("planted", "second"), base=2)
        for path in ("/config", "/config/2", "/config/1?from=2"):
            page = self.page(path)
            self.assertNotIn("planted", page)
            self.assertNotIn("<script>window", page)
            self.assertNotIn("<svg/onload", page)

    def test_those_who_only_look(self) -> None:
        """History and texts, and no form."""
        page = self.page("/config", token=self.desk.token("auditor"))
        self.assertNotIn("<textarea", page)
        self.assertIn('id="history"', page)
        self.assertEqual(self.form("/config/draft", token=self.desk.token("auditor"), text="", base=1).status, 403)

    def test_a_form_with_faults(self) -> None:
        """Refused with words: too large, no number, an hour that is not offered."""
        self.assertEqual(self.form("/config/draft", text="#" * 300_001, base=1).status, 413)
        self.assertEqual(self.form("/config/draft", text="", base="one").status, 400)
        self.assertEqual(self.form("/config/apply", text=MANAGED, base=1, message="x", minutes=7).status, 400)


CONTROLS = dict.fromkeys(range(32), " ")


class FileTests(PageCase):
    """Where the file rules."""

    text = CONFIG

    def test_a_change_is_tried_and_taken_away(self) -> None:
        """It is checked and compared; there is no button to put it to work, and the form of one does nothing."""
        page = self.page("/config")
        self.assertNotIn('value="apply"', page)
        self.assertIn("Take away as a patch", page)
        mine = named(CONFIG, "two.example.com")
        self.assertIn("It can be put to work", self.form("/config/draft", text=mine, base=1).text)
        refused = self.form("/config/apply", text=mine, base=1, message="x", minutes=0)
        self.assertEqual((refused.status, self.books.active.number), (409, 1))
        self.assertIn("the file rules", refused.text)
        self.assertEqual(self.written(self.page("/config")), mine)

    def test_a_file_that_was_edited(self) -> None:
        """It is said on this page, with the difference; on others it is no trouble."""
        self.file.write_text(named(CONFIG, "file.example.com"))
        self.assertIn("The file is another than what is at work", self.page("/config"))
        self.assertNotIn("The configuration file is another", self.page("/help"))

    def test_begun_on_the_last_that_worked(self) -> None:
        """Every page says so."""
        self.books.fallback = "what should rule is broken (line 3)"
        self.assertIn("began on the last configuration that worked", self.page("/help"))


class BareTests(PageCase):
    """A gateway that keeps nothing."""

    def test_there_is_no_history(self) -> None:
        """The page says so, and shows what is at work."""
        self.desk = Desk()
        self.ann = self.desk.token("owner")
        self.assertIn("No history", self.page("/config"))
        self.assertEqual(self.form("/config/draft", text="", base=1).status, 409)
