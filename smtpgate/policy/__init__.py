"""DECISION: the vocabulary of mail that engine, filters and witnesses share, and the pure functions over it.

No clock, no configuration, no Twisted: values in, values out.
"""
