"""Filters that judge what a message holds. They look at the facts of an examination, never at octets."""
