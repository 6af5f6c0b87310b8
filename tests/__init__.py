"""Tests of smtpgate, by room: test_<room>_<module>.py."""
