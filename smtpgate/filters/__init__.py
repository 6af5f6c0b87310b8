"""SHELF: the built-in filters. Each goes through the same contract as a stranger's: no private door for ours.

A filter says what it found (`policy.verdict.Finding`); what becomes of it is decided elsewhere. The factories of this
shelf are listed in `smtpgate.plugins.builtin`.
"""
