"""`python -m smtpgate.cli`, where the command itself is not on the path."""

import sys

from smtpgate.cli import main

sys.exit(main())
