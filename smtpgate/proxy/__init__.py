"""ENGINE: what a command means, where mail goes, and when it is committed. Async logic without sockets."""
