"""The decoder and its long-context methods, pure torch, written for one device (§2.3)."""
