"""Loading an export directory and generating from it."""
