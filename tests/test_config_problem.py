"""Tests of smtpgate.config.problem."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.problem import ConfigErrors, Problem, count, dotted, nearest, one_of, quoted


class WordsTests(SynchronousTestCase):
    """How values and keys are shown."""

    def test_quoted_escapes_what_could_reach_a_terminal(self) -> None:
        """Control characters of a value never leave as they are."""
        self.assertEqual(quoted('a"b\n\x1b[31m\x9b'), r'"a\"b\n\u001b[31m\u009b"')

    def test_quoted_cuts_long_values(self) -> None:
        """A value cannot flood the log."""
        self.assertEqual(len(quoted("x" * 10000)), 60)
        self.assertTrue(quoted("x" * 10000).endswith('..."'))

    def test_quoted_shows_values_as_toml_does(self) -> None:
        """Switches are small letters; tables and lists are not repeated, they may hold secrets."""
        shown = [quoted(value) for value in (True, 5, {"password": "x"}, ["x"])]
        self.assertEqual(shown, ["true", "5", "a table", "a list"])

    def test_dotted_writes_the_path_of_a_key(self) -> None:
        """Names that need quotes have them, entries of arrays have numbers."""
        self.assertEqual(dotted(("routes", 2, "backend")), "routes[2].backend")
        self.assertEqual(dotted(("listeners", "my mx", "tls")), 'listeners."my mx".tls')
        self.assertEqual(dotted(()), "")

    def test_nearest_finds_misspellings_only(self) -> None:
        """A word that is like none of those known means nothing."""
        self.assertEqual(nearest("minimun", ["minimum", "tls"]), "minimum")
        self.assertEqual(nearest("colour", ["minimum", "tls"]), "")

    def test_one_of_tells_what_there_is(self) -> None:
        """A hint names the likely one and all others."""
        self.assertEqual(one_of("mial", ["mail", "archive"], "-"), 'did you mean "mail"? known: mail, archive')
        self.assertEqual(one_of("x", ["mail"], "-"), "known: mail")
        self.assertEqual(one_of("x", [], "there is none"), "there is none")


class ProblemTests(SynchronousTestCase):
    """How problems print and sort."""

    def test_problem_prints_place_key_message_and_hint(self) -> None:
        """One line holds all that an operator needs."""
        problem = Problem(
            "etc/smtpgate.toml",
            41,
            7,
            "listeners.mx.tls",
            'unknown value "requird"',
            "use one of off, optional, required, implicit",
        )
        self.assertEqual(
            str(problem),
            'etc/smtpgate.toml:41:7  listeners.mx.tls  unknown value "requird";'
            " use one of off, optional, required, implicit",
        )

    def test_warning_says_so(self) -> None:
        """A warning is told from an error at a glance."""
        self.assertEqual(str(Problem("a", 1, 2, "b", "c", severity="warning")), "a:1:2  b  warning: c")

    def test_problem_of_the_whole_file_has_no_line(self) -> None:
        """A file that cannot be read has no lines."""
        self.assertEqual(str(Problem("a", 0, 0, "", "cannot be read")), "a  cannot be read")

    def test_errors_are_sorted_by_line_and_counted(self) -> None:
        """All problems print in the order of the file, with their number below."""
        late, early = Problem("a", 2, 1, "", "late"), Problem("a", 1, 1, "", "early", severity="warning")
        error = ConfigErrors([late, early])
        self.assertEqual(error.problems, (early, late))
        self.assertEqual(str(error), "a:1:1  warning: early\na:2:1  late\n1 error, 1 warning")

    def test_count_speaks_plainly(self) -> None:
        """None and many are said in words."""
        self.assertEqual(count([]), "no problems")
        self.assertEqual(count([Problem("a", 1, 1, "", "x")] * 2), "2 errors")
