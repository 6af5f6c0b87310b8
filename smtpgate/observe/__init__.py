"""WITNESSES: listeners on `policy.event`. Telling never changes doing: nothing here raises into the core."""
