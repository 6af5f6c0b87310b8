"""WORKSHOP: what a wanted change of a message does to its octets, planned where hostile octets are read."""
