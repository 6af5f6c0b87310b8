"""How much of real spam and phishing is found, at how many false alarms: `make accuracy`. No part of the tests."""
