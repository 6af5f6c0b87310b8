"""TRAFFIC: who goes first, how much and how fast. Arithmetic over times that are given; no clock, no waiting."""
