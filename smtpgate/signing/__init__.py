"""Signing and encrypting what leaves: keys, DKIM signatures and S/MIME, as functions of octets."""
