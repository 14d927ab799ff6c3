"""Rule filters: quality, repetition, code, offensive terms."""
