"""Deduplication: by URL, by exact text after normalisation, by MinHash with true Jaccard (§2.1)."""
