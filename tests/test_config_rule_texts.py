"""Rules edited in a text: only their own lines change, and what comes out says the same of all else."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.rule_texts import blocks, find, of_text, put, remove, reordered, with_mode
from smtpgate.config.text_blocks import NotSo

TEXT = """hostname = "gate.example.com"

# The first: of the board.
[[rules]]
name = "one"
when = '''
subject == "[[rules]]"
'''
action = "tag"
[rules.headers]
"X-A" = "b"

# Of the second,
# over two lines.
[[rules]]
name   = "two"      # a word
action = "reject"
mode   = "shadow"   # for a while

[[rules]]
name = "three"
action = "note"

# What follows is not a rule.
[log]
level = "info"
"""
FRESH = '# new\n[[rules]]\nname = "four"\naction = "note"\n'


class TextTests(SynchronousTestCase):
    """One text with three rules."""

    def names(self, text: str) -> list[str]:
        return [rule["name"] for rule in tomllib.loads(text)["rules"]]

    def test_where_they_stand(self) -> None:
        """With their comments and tables, and without what belongs to the next."""
        found = {one.name: one.text for one in blocks(TEXT)}
        self.assertEqual(list(found), ["one", "two", "three"])
        self.assertTrue(found["one"].startswith("# The first") and found["one"].endswith('"X-A" = "b"\n'))
        self.assertTrue(found["two"].startswith("# Of the second,\n# over"))
        self.assertEqual(found["three"], '[[rules]]\nname = "three"\naction = "note"\n')
        self.assertEqual(blocks('hostname = "x"\n'), [])

    def test_put(self) -> None:
        """Behind all, before one, or in the place of that name; the rest is the same, line for line."""
        behind = put(TEXT, FRESH)
        self.assertEqual(self.names(behind), ["one", "two", "three", "four"])
        self.assertIn("# What follows is not a rule.\n[log]", behind)
        self.assertEqual(self.names(put(TEXT, FRESH, "two")), ["one", "four", "two", "three"])
        self.assertIn('action = "note"\n\n# Of the second', put(TEXT, FRESH, "two"))
        changed = put(TEXT, FRESH.replace("four", "two"))
        self.assertEqual(self.names(changed), ["one", "two", "three"])
        self.assertNotIn("Of the second", changed)
        self.assertEqual(tomllib.loads(changed)["rules"][1], {"name": "two", "action": "note"})
        self.assertEqual(self.names(put('hostname = "x"\n', FRESH)), ["four"])
        self.assertEqual(self.names(put("", FRESH)), ["four"])

    def test_remove(self) -> None:
        """It, and nothing else."""
        left = remove(TEXT, "two")
        self.assertEqual(self.names(left), ["one", "three"])
        self.assertEqual(tomllib.loads(left)["log"], {"level": "info"})
        self.assertNotIn("Of the second", left)
        self.assertEqual(self.names(remove(remove(TEXT, "one"), "three")), ["two"])

    def test_mode(self) -> None:
        """Where it stands, its comment stays; else behind the name."""
        self.assertIn('mode   = "enforce"   # for a while', with_mode(TEXT, "two", "enforce"))
        other = with_mode(TEXT, "one", "off")
        self.assertEqual(tomllib.loads(other)["rules"][0]["mode"], "off")
        self.assertEqual(tomllib.loads(other)["rules"][0]["headers"], {"X-A": "b"})

    def test_a_mode_that_is_none(self) -> None:
        """What a condition says over several lines is not touched."""
        text = '[[rules]]\nname = "a"\nwhen = """\nmode = "x"\n"""\naction = "note"\n'
        self.assertRaises(NotSo, with_mode, text, "a", "off")

    def test_order(self) -> None:
        """Each takes its comments along."""
        other = reordered(TEXT, ["three", "one", "two"])
        self.assertEqual(self.names(other), ["three", "one", "two"])
        self.assertEqual(sorted(other.split("\n")), sorted(TEXT.split("\n")))
        for wrong in (["one"], ["one", "two", "two"], ["one", "two", "four"]):
            self.assertRaises(NotSo, reordered, TEXT, wrong)

    def test_what_cannot_be_edited(self) -> None:
        """No TOML, rules in one value, a name that is not there, rules without one."""
        for text in ("rules = [", 'rules = [{ name = "a", action = "note" }]\n'):
            self.assertRaises(NotSo, blocks, text)
        self.assertRaises(NotSo, find, TEXT, "five")
        for text in ("", '[log]\nlevel = "info"\n', '[[rules]]\naction = "note"\n', FRESH + FRESH, FRESH + "[log]\n"):
            self.assertRaises(NotSo, of_text, text)

    @given(st.permutations(["one", "two", "three"]), st.sampled_from(["enforce", "shadow", "off"]))
    def test_all_else_says_the_same(self, names: list[str], mode: str) -> None:
        """Whatever is done to rules, other tables are as they were, and so are the rules that are not named."""
        before = tomllib.loads(TEXT)
        after = tomllib.loads(with_mode(reordered(TEXT, names), names[0], mode))
        self.assertEqual(
            {k: v for k, v in after.items() if k != "rules"}, {k: v for k, v in before.items() if k != "rules"}
        )
        rules = {one["name"]: one for one in after["rules"]}
        for one in before["rules"]:
            if one["name"] == names[0]:
                one["mode"] = mode
            self.assertEqual(rules[one["name"]], one)
