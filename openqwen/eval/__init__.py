"""Measures of a model: perplexity by length, passkey retrieval (§2.3.2, Table 3)."""
