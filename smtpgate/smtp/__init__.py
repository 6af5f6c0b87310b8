"""GRAMMAR: the SMTP language, octets to values and back.

Nothing in this room knows sockets, time, policy or Twisted, so that it can be read, fuzzed and reused alone. The two
wire machines are `server.ServerConnection` (the leg to the client) and `client.ClientConnection` (the leg to the
backend); the other modules are the words that they speak.
"""
