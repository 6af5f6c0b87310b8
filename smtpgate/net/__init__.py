"""PLUMBING: sockets, TLS and timers. It moves octets and knows no policy and no reply text.

Both legs work on descriptors of their own (`net.poller`) instead of Twisted's transports: what is written goes to the
kernel at once, or where several sockets are served in one go at the end of it, and the poller is asked only when the
kernel would not take it. That is where most of the CPU of a
proxy goes (docs/performance.md).
"""
