"""CONTENT: what travels inside DATA, read without being changed."""
