"""Makes ``twistd smtpgate`` known; smtpgate.tap is imported only when that command is chosen."""

from twisted.application.service import ServiceMaker

smtpgate = ServiceMaker("smtpgate", "smtpgate.tap", "An SMTP proxy gateway", "smtpgate")
