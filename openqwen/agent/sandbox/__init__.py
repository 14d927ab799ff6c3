"""Untrusted programs run here and nowhere else: isolation by the operating system, with limits."""
