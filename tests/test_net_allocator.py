"""Tests of smtpgate.net.allocator, in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import unittest

from twisted.trial.unittest import SynchronousTestCase

#: Allocates and frees pieces as a session does, and prints how many page faults one of them costs.
_SCRIPT = """
import resource, sys
from smtpgate.net.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def piece():
    held = [bytearray(b"x") * 262144 for _ in range(8)]
    return len(held)
for _ in range(10):
    piece()
before = faults()
for _ in range(50):
    piece()
print((faults() - before) // 50)
"""


@unittest.skipIf(platform.libc_ver()[0] != "glibc", "the C library is not glibc")
class AllocatorTests(SynchronousTestCase):
    """`keep_memory`."""

    def test_memory_is_not_given_back_after_each_piece(self) -> None:
        """Two MiB taken again and again cost no page faults any more; without it they do."""
        faults = {}
        for word in ("keep", "leave"):
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
            environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
            run = subprocess.run(
                [sys.executable, "-c", _SCRIPT, word], env=environment, capture_output=True, check=True, timeout=60
            )
            faults[word] = int(run.stdout)
        self.assertLess(faults["keep"], 5)
        self.assertGreater(faults["leave"], 50)
