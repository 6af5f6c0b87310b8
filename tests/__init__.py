"""Tests of smtpgate, by room: test_<room>_<module>.py.

Property tests take the same inputs each time, so that a result belongs to the code and not to the day; new ones are
looked for by `make fuzz`, and by `make properties` for these tests. A busy machine is no failure: there is no deadline.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("new", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("new" if os.environ.get("SMTPGATE_NEW_INPUTS") else "same")
