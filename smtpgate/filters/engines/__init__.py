"""Engines outside of the gateway: scanners, spam filters, milters, ICAP servers, hooks, and YARA rules.

Each is a filter like any other. What they share is in `base` (options, size limits, kept answers) and in `servers`
(fail-over, the breaker, how many questions at once). Each has its wire apart, as pure functions from octets to values:
what an engine says is read strictly, and whatever it says wrongly is a failure and never an acceptance. A failure is
raised, so that the failure policy of the filter acts: malware engines refuse for the time being, spam engines let pass.
"""
