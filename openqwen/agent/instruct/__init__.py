"""Self-instruct (§3.4): a model writes samples for its own fine-tuning, rules and people choose."""
