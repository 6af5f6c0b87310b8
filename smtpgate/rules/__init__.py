"""EXPRESSIONS: what a condition of a rule may speak of, what it means, and when it can be judged."""
