"""LABORATORY: what a message holds. Libraries read hostile bytes here, in a child process that may die without harm."""
