"""Tests of smtpgate.config.model."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import MappingProxyType

import attrs
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import model
from smtpgate.config.loader import loads
from smtpgate.config.model import FilterUse, Limits, Listener, Log, Secret, Settings, Timeouts

SMALLEST = """\
hostname = "gate.example.com"
local_domains = ["example.net"]
[listeners.mx]
listen = "tcp:25"
[listeners.submission]
listen = "tcp:587"
role = "submission"
auth = "relay"
[backends.mail]
servers = "unix:/run/mail.sock"
[[routes]]
backend = "mail"
"""


class SecretTests(SynchronousTestCase):
    """`Secret`."""

    def test_secret_shows_nothing(self) -> None:
        """Not in repr, str, format, nor inside of another value."""
        secret = Secret("hunter2")
        credentials = model.Credentials("gate", secret)
        for shown in (
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret:>20}",
            f"{secret!r}",
            repr(credentials),
        ):
            self.assertNotIn("hunter2", shown)
        self.assertEqual(secret.reveal(), "hunter2")

    def test_secret_cannot_be_copied_out(self) -> None:
        """Pickles end in files."""
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            self.assertRaises(TypeError, way, Secret("hunter2"))

    def test_secrets_compare_by_content(self) -> None:
        """A reload sees whether a password changed."""
        self.assertEqual(Secret("a"), Secret("a"))
        self.assertNotEqual(Secret("a"), Secret("b"))
        self.assertNotEqual(Secret("a"), "a")
        self.assertEqual(hash(Secret("a")), hash(Secret("a")))


class TreeTests(SynchronousTestCase):
    """The classes of the tree."""

    def test_everything_is_frozen_and_slotted(self) -> None:
        """No part of the program can change what the operator said."""
        for name in (
            "Log",
            "Admin",
            "Limits",
            "Timeouts",
            "Listener",
            "Server",
            "Credentials",
            "Backend",
            "Route",
        ):
            kind = getattr(model, name)
            self.assertTrue(hasattr(kind, "__slots__"), name)
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, Log(), "level", "debug")
        settings = Settings("gate.example.com", Path("/var"), listeners={"mx": Listener("mx", ("tcp:25",))})
        self.assertIsInstance(settings.listeners, MappingProxyType)

    def test_mapping_of_settings_does_not_follow_its_source(self) -> None:
        """The tree keeps what it was made with."""
        source = {"mx": Listener("mx", ("tcp:25",))}
        settings = Settings("gate.example.com", Path("/var"), listeners=source)
        source.clear()
        self.assertEqual(list(settings.listeners), ["mx"])

    def test_role_fills_in_what_is_not_given(self) -> None:
        """Servers are held to the protocol, mail programs are waited for."""
        mx, submission = Listener("a", (), role="mx"), Listener("b", (), role="submission", auth="local")
        self.assertEqual((mx.early_talker, mx.strict_sync, mx.auth_required), ("reject", True, False))
        self.assertEqual(
            (submission.early_talker, submission.strict_sync, submission.auth_required),
            ("queue", False, True),
        )
        # Without AUTH nobody has what is required, and only relay_from is left.
        self.assertTrue(Listener("c", (), role="submission").auth_required)

    def test_verdict_depends_on_the_role_unless_given(self) -> None:
        """A person waits on submission."""
        self.assertEqual([Timeouts().verdict_for(role) for role in ("mx", "submission")], [45.0, 20.0])
        self.assertEqual(Timeouts(verdict_s=10.0).verdict_for("mx"), 10.0)

    def test_listeners_compare_by_content(self) -> None:
        """A reload can see that a listener is as it was."""
        self.assertEqual(Listener("a", ("tcp:25",)), Listener("a", ("tcp:25",)))
        self.assertEqual(hash(Listener("a", ("tcp:25",))), hash(Listener("a", ("tcp:25",))))

    def test_filter_is_named_as_it_is_used(self) -> None:
        """A name of its own is for a filter that is used twice."""
        self.assertEqual(FilterUse(1, 1, "spf").name, "spf")
        self.assertEqual(FilterUse(1, 1, "spf", "strict").name, "strict")

    def test_defaults_are_those_of_the_file(self) -> None:
        """The classes and the schema say the same."""
        settings = loads(SMALLEST)
        self.assertEqual(settings.log, Log())
        self.assertEqual(settings.admin, model.Admin())
        self.assertEqual(settings.limits, Limits())
        self.assertEqual(settings.timeouts, Timeouts())
        self.assertEqual(settings.listeners["mx"], Listener("mx", ("tcp:25",)))
        self.assertEqual(
            settings.listeners["submission"],
            Listener("submission", ("tcp:587",), role="submission", auth="relay"),
        )
        servers = (model.Server("unix:/run/mail.sock", "", None, "/run/mail.sock"),)
        self.assertEqual(settings.backends["mail"], model.Backend("mail", servers))
        self.assertEqual(settings.routes, (model.Route(1, 11, backend="mail"),))
