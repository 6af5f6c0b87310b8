"""Checks of who sends: the client and its names, by what the DNS says of them.

They are guesses, and so they score; a refusal is what an administrator turns on. None of them is heard for clients that
logged in or are trusted, and none has an effect when the DNS does not answer. `base` has what they share.
"""
