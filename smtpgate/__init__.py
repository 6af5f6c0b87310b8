"""smtpgate: an SMTP proxy gateway on Twisted.

Start reading at docs/flow.md: it walks one message through the rooms of this package.
"""

__version__ = "0.1.0"
