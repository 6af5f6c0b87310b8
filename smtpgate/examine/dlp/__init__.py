"""What should not leave: numbers, keys and words in texts, each found by form, proved by its check, and weighed."""
