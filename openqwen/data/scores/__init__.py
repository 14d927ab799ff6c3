"""Model-based scores of documents (§2.1): perplexity, quality, offence, and who decides."""
